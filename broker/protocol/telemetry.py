"""What is measured of each viewer, once a second."""

from typing import Annotated

from msgspec import Meta

from broker.protocol.terms import Count, Identifier, Message, Milliseconds, Ratio


class DecodeStatistics(Message, frozen=True):
    """What a client says of its decoder over the last second; absent before it knows."""

    frames_per_s: Annotated[float, Meta(ge=0, le=1000)] | None = None
    frames_dropped: Count | None = None
    freezes: Count | None = None
    jitter_buffer_ms: Milliseconds | None = None
    decode_ms: Milliseconds | None = None
    input_to_photon_ms: Milliseconds | None = None
    width: Annotated[int, Meta(ge=0, le=16_384)] | None = None
    height: Annotated[int, Meta(ge=0, le=16_384)] | None = None


class ViewerLine(Message, frozen=True, kw_only=True):
    """A viewer's line over the last sixteen reports, as its edge measured it; absent where it has not been.

    Averages are those of the middle half; nine in ten reports do not exceed the high ones, and exceed the low one.
    """

    rtt_ms: float | None = None
    rtt_high_ms: float | None = None
    jitter_ms: float | None = None
    jitter_high_ms: float | None = None
    loss: float | None = None
    loss_high: float | None = None
    bandwidth_bps: float | None = None
    bandwidth_low_bps: float | None = None


class ViewerReport(DecodeStatistics, frozen=True, kw_only=True):
    """One viewer over one second: what its edge measured, and the decoder's figures as the client claims them."""

    session: Identifier
    rtt_ms: Milliseconds | None = None
    jitter_ms: Milliseconds | None = None
    loss: Ratio | None = None
    sent_bps: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    estimate_bps: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    received_bps: Annotated[float, Meta(ge=0, le=1e12)] = 0.0
    """Of a publisher: all its encodings."""
    layer: Annotated[int, Meta(ge=0, le=255)] | None = None
    """The simulcast layer it is shown, 0 the lowest."""
