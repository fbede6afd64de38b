"""What a media engine is: it ends WebRTC connections, fans encoded frames out to them, and takes those of publishers.

Calls cross this boundary in batches: one `send` a frame however many people watch, one `statistics` array a
second for all viewers. A handler is told what viewers and publishers do. Implementations: `aiortc_engine` (pip only),
`native`.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from broker.protocol import Codec, EndReason, H264Profile
from edge.trunk import MAX_LAYERS

VIEWER_STATISTICS = np.dtype(
    [
        ("session", "U64"),
        ("rtt_ms", "f4"),
        ("jitter_ms", "f4"),
        ("loss", "f4"),
        ("reports", "u8"),
        ("estimate_bps", "f8"),
        ("measured_bps", "f8"),
        ("sent_bytes", "u8"),
        ("packets_sent", "u8"),
        ("frames_skipped", "u8"),
        ("keyframe_requests", "u8"),
        ("repeats_refused", "u8"),
        ("layer", "u1"),
        ("wanted_layer", "u1"),
        ("nacks", "u8"),
        ("freezes", "u8"),
    ]
)
"""One row a viewer. Counters run from the viewer's start; NaN stands for not measured yet.

`rtt_ms`, `jitter_ms` and `loss` are those of the latest receiver report (RFC 3550, section 6.4.2) for the video;
`reports` counts these. `estimate_bps` is the receiver's own (REMB), `measured_bps` what the engine found by the
arrival of every packet (transport-wide congestion control). `repeats_refused`: packets asked for again and not
repeated, as the budget was spent or the last repeat may still arrive. `layer` is the simulcast layer the viewer is
shown, `wanted_layer` the one it is to get. `nacks`: packets asked for again. `freezes`: times its picture stood still
until the next keyframe, as pictures were skipped or lost beyond repair.
"""

MAX_DESCRIBED_STREAMS = 4096
"""Streams whose layers are remembered; beyond, the one described longest ago is taken to have one layer again."""


_FRAGMENT_LINE = re.compile(r"^[a-z]=[^\r\n]{0,1024}$")


class OfferError(Exception):
    """An SDP offer or trickle fragment cannot be used; the message says what is wrong with it."""


class RestartUnsupported(OfferError):
    """The fragment asks for an ICE restart, and this engine has none."""


def ice_credentials(sdp: str) -> tuple[str, str] | None:
    """The first ICE user name fragment and password (RFC 8839, section 5.4) in SDP; `None` unless it has both."""
    ufrag, password = (re.search(rf"^a={name}:(\S+)", sdp, re.MULTILINE) for name in ("ice-ufrag", "ice-pwd"))
    return (ufrag[1], password[1]) if ufrag and password else None


def check_fragment(fragment: str) -> None:
    """Check the form of an SDP fragment (RFC 8840). Raises `OfferError`."""
    for line in fragment.splitlines():
        if line and not _FRAGMENT_LINE.match(line):
            raise OfferError(f"not a line of an SDP fragment (RFC 8840): {line[:80]!r}")


@dataclass(frozen=True, slots=True)
class ViewerSettings:
    """What a viewer is to get. `start_bps`: what its line is thought to take, before the engine knows better."""

    session: str
    stream: str
    codec: Codec
    profile: H264Profile | None = None
    start_bps: float = 2_500_000.0


@dataclass(frozen=True, slots=True)
class MediaFrame:
    """One encoded video picture for the viewers of a stream, on the stream's own unbroken timeline.

    `timestamp`: RTP units (90 kHz), rising, not wrapped; the same in all layers for the same moment. `layer`: the
    simulcast layer, 0 the lowest.
    """

    payload: bytes | memoryview
    keyframe: bool
    timestamp: int
    layer: int = 0


@dataclass(frozen=True, slots=True)
class PublisherSettings:
    """What a publisher is to send. `max_layers`: of its simulcast encodings, as many are taken, three at most."""

    session: str
    codec: Codec
    profile: H264Profile | None = None
    max_layers: int = 3


@dataclass(frozen=True, slots=True)
class PublisherAnswer:
    """The answer to a publisher's offer.

    `rids`: names of the layers that were taken, in the order of the offer's `a=simulcast`, which need not be one of
    quality; a layer's number is its place here. A publisher without simulcast has one layer, whose name is empty.
    """

    sdp: str
    rids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishedPicture:
    """One encoded picture of a publisher, whole: Annex B for H.264, sized units without delimiter for AV1.

    `keyframe`: decoding can begin here, with the parameter sets in the payload. `sequence`: rises by one with each
    picture of the layer; the number of a picture that was lost is left out, so after a gap nothing decodes before the
    next keyframe. `capture_time_us`: Unix time, rising in each layer; the layers' pictures of one moment have the same,
    but for a millisecond.
    """

    payload: bytes
    keyframe: bool
    layer: int
    sequence: int
    capture_time_us: int


class DescribedLayers:
    """What the layers of streams take, for the viewers who join later; bounded."""

    def __init__(self) -> None:
        self._bitrates_bps: dict[str, tuple[float, ...]] = {}

    def describe(self, stream: str, bitrates_bps: Sequence[float]) -> tuple[float, ...]:
        """Remember a stream's layers, or forget them if there are none. Returns what is remembered."""
        layers = tuple(max(0.0, float(bitrate_bps)) for bitrate_bps in bitrates_bps[:MAX_LAYERS])
        self._bitrates_bps.pop(stream, None)
        if layers:
            self._bitrates_bps[stream] = layers
            if len(self._bitrates_bps) > MAX_DESCRIBED_STREAMS:
                del self._bitrates_bps[next(iter(self._bitrates_bps))]
        return layers

    def of(self, stream: str) -> tuple[float, ...]:
        """What a stream's layers take, lowest first; empty if nothing is known of it."""
        return self._bitrates_bps.get(stream, ())


class ViewerHandler(Protocol):
    """What an engine tells. Called on the event loop; must not block."""

    def on_connected(self, session: str) -> None:
        """The viewer's or publisher's DTLS handshake is complete."""

    def on_channel_open(self, session: str, channel: str) -> None:
        """The viewer opened this data channel."""

    def on_message(self, session: str, channel: str, data: bytes) -> None:
        """A data-channel message arrived; text comes as UTF-8."""

    def on_voice(self, session: str, opus_frame: bytes) -> None:
        """A frame of the viewer's microphone, or of the publisher's sound, arrived."""

    def on_published(self, session: str, picture: PublishedPicture) -> None:
        """A picture of a publisher arrived whole."""

    def on_keyframe_needed(self, stream: str, layer: int) -> None:
        """A viewer of the stream waits for a keyframe of this layer."""

    def on_picture_leaving(self, stream: str, timestamp: int) -> None:
        """The first packet of the stream's picture with this timestamp was handed to a socket, for whichever viewer."""

    def on_gone(self, session: str, reason: EndReason) -> None:
        """The viewer's or publisher's connection ended; the engine has freed it."""


class MediaEngine(Protocol):
    """Ends WebRTC connections. Unknown sessions are ignored everywhere, as they may have just ended."""

    name: str
    takes_publishers: bool
    """Whether `answer_publisher` can succeed."""

    async def answer(self, viewer: ViewerSettings, offer_sdp: str) -> str:
        """Create the viewer's connection and return the SDP answer. A former one of the session is replaced.

        Raises `OfferError`.
        """

    async def answer_publisher(self, publisher: PublisherSettings, offer_sdp: str) -> PublisherAnswer:
        """Create the connection of a publisher (WHIP, RFC 9725). A former one of the session is replaced.

        Raises `OfferError`, also where the engine takes no publishers.
        """

    def request_picture_start(self, session: str, layer: int) -> None:
        """Ask a publisher for a keyframe of a layer; requests in quick succession become one."""

    async def trickle(self, session: str, fragment: str) -> str | None:
        """Take remote candidates from an SDP fragment (RFC 8840).

        A fragment whose ICE credentials are not the viewer's present ones asks for an ICE restart (RFC 8839, section
        4.4.1.1.1) and is answered with the fragment that this returns; media, DTLS and channels go on meanwhile.

        Raises `OfferError`: for a malformed fragment, for more than one restart a second; `RestartUnsupported`.
        """

    def set_layers(self, stream: str, bitrates_bps: Sequence[float]) -> None:
        """The stream has these simulcast layers, lowest first, each taking about so many bits a second.

        Before any call, or with an empty one, it has one layer. Holds for viewers who join later too, until the empty
        call forgets it.
        """

    def send(self, stream: str, frame: MediaFrame) -> None:
        """Send a picture to the stream's viewers who get its layer. Never waits; a slow viewer skips to a keyframe.

        Pictures of layers that the stream was not described with are dropped and counted as `layers_refused`.
        """

    def send_audio(self, session: str, opus_frame: bytes, timestamp: int) -> None:
        """Send one 20 ms Opus frame to one viewer; `timestamp` in 48 kHz units, rising."""

    def send_message(self, sessions: Iterable[str], channel: str, data: bytes) -> None:
        """Send a text message to viewers that have this data channel open."""

    def statistics(self) -> NDArray[np.void]:
        """One row of dtype `VIEWER_STATISTICS` for each connected viewer."""

    def refusals(self) -> dict[str, int]:
        """What was dropped or refused since the start, by reason."""

    def send_latency(self) -> list[tuple[float, int]]:
        """Histogram of the time from a picture's arrival to its last packet handed to the kernel.

        Upper ends of the buckets in microseconds, rising, and the pictures in each; empty if not measured.
        """

    async def close(self, session: str) -> None:
        """End a viewer or publisher, without a call of `on_gone`."""

    async def shutdown(self) -> None:
        """End all viewers and publishers."""
