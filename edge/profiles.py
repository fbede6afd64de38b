"""Which H.264 profiles an SDP answer may name for a stream's own: those whose decoders or encoders go with it."""

from broker.protocol import H264Profile

_FAMILIES: dict[H264Profile, tuple[str, ...]] = {
    H264Profile.CONSTRAINED_BASELINE: ("42e0", "4200"),
    H264Profile.MAIN: ("4d", "64"),
}
_WITHIN: dict[H264Profile, tuple[str, ...]] = {
    H264Profile.CONSTRAINED_BASELINE: ("42e0", "42c0", "4200"),
    H264Profile.MAIN: ("4d", "42e0", "42c0", "4200"),
}


def answerable_profiles(profile: H264Profile | None) -> tuple[str, ...]:
    """Beginnings of the `profile-level-id`s that may be answered to a viewer (RFC 6184, section 8.1), best first."""
    return _FAMILIES[profile or H264Profile.CONSTRAINED_BASELINE]


def publishable_profiles(profile: H264Profile | None) -> tuple[str, ...]:
    """The same for what is received: profiles whose streams the decoders of `profile` play, best first."""
    return _WITHIN[profile or H264Profile.CONSTRAINED_BASELINE]
