"""Which H.264 profiles an SDP answer may name for a stream's own: those whose decoders play it too."""

from broker.protocol import H264Profile

_FAMILIES: dict[H264Profile, tuple[str, ...]] = {
    H264Profile.CONSTRAINED_BASELINE: ("42e0", "4200"),
    H264Profile.MAIN: ("4d", "64"),
}


def answerable_profiles(profile: H264Profile | None) -> tuple[str, ...]:
    """Beginnings of the `profile-level-id`s that may be answered (RFC 6184, section 8.1), best first."""
    return _FAMILIES[profile or H264Profile.CONSTRAINED_BASELINE]
