"""Times of the wall clock as texts for people."""

from datetime import UTC, datetime


def rfc3339(unix_s: float) -> str:
    """A Unix time as RFC 3339 text in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
