"""Times in the API: RFC 3339 text in UTC, such as `2026-11-29T09:41:00.123Z`, for Unix seconds."""

from datetime import UTC, datetime


def rfc3339(unix_s: float) -> str:
    """A Unix time as RFC 3339 text in UTC."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_seconds(text: str) -> float:
    """The Unix time of RFC 3339 text. Raises `ValueError` if it is none, or lacks its offset from UTC."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} lacks an offset from UTC; end it with Z")
    return moment.timestamp()
