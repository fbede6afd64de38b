"""Who is admitted to this edge, and what each stream's audience can take and its sources are. No I/O.

`Session` is one admitted client with what limits it; `Stream` the sessions that watch one stream, and where its
pictures come from: nodes and other edges over trunks, and publishers among the sessions.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from broker import protocol
from broker.permissions import may_be_heard
from broker.protocol import PutSession, ViewerReport
from broker.token_bucket import TokenBucket
from edge.adaptation import (
    LineEstimate,
    LineReport,
    highest_layer_bps,
    layer_within,
    least_bitrates_bps,
    stream_bitrate_bps,
)
from edge.input_timer import InputTimer
from edge.publication import Publication
from edge.relay import ChildrenFeedback
from edge.switching import StreamSwitch
from edge.trunk import StreamFeedback, StreamOpen, TrunkConnection

VOICE_FRAMES_PER_S = 60.0
AUDIO_RATE_HZ = 48_000
AUDIO_FRAME_SAMPLES = 960
OFFERS_PER_S = 0.5
OFFERS_BURST = 6.0
"""Each offer costs a DTLS handshake and sockets; a client that reconnects with back-off needs no more."""
PUBLISHED_PICTURES_PER_S = 240.0
"""Over all encodings of a publisher: three at 60 a second and some room. Stops one from busying the event loop."""


@dataclass(frozen=True, slots=True)
class PublisherSource:
    """What a session publishes, as a source of its stream."""

    session: str


TrunkSource = tuple[TrunkConnection, int]
SourceKey = TrunkSource | PublisherSource


@dataclass(slots=True)
class Session:
    """One client that the broker has admitted: a viewer or a publisher, connected or awaited."""

    put: PutSession
    line: LineEstimate
    connected: bool = False
    sent_bytes: int = 0
    reports: int = 0
    publication: Publication | None = None
    """What it sends, if it publishes and its offer was answered."""
    layer: int = -1
    """The simulcast layer the viewer is shown; -1 before the engine has told."""
    wanted_layer: int | None = None
    """The simulcast layer the viewer is to get; `None` before the engine has told."""
    client_report: protocol.ClientReport | None = None
    bucket: TokenBucket = field(
        default_factory=lambda: TokenBucket(protocol.MAX_CLIENT_MESSAGES_PER_S, protocol.MAX_CLIENT_MESSAGES_PER_S)
    )
    picture_bucket: TokenBucket = field(
        default_factory=lambda: TokenBucket(PUBLISHED_PICTURES_PER_S, PUBLISHED_PICTURES_PER_S)
    )
    voice_bucket: TokenBucket = field(default_factory=lambda: TokenBucket(VOICE_FRAMES_PER_S, VOICE_FRAMES_PER_S))
    offer_bucket: TokenBucket = field(default_factory=lambda: TokenBucket(OFFERS_PER_S, OFFERS_BURST))
    refused_messages: int = 0
    counted: dict[str, int] = field(default_factory=dict)
    """What the engine's counters stood at."""
    fresh: bool = False
    """Whether the viewer counts its input from zero and no source has been told."""
    hears: bool = False
    """Whether its control channel is open."""
    unheard: list[bytes] = field(default_factory=list)
    """What the broker has for it while the channel is not open yet; on a slow line that takes a second."""
    held_messages: list[bytes] = field(default_factory=list)
    held_input: bytes | None = None
    audio_timestamp: int = 0
    """RTP time, 48 kHz, of the sound sent last."""

    @property
    def watches(self) -> bool:
        """Whether its viewer is connected."""
        return self.connected and not self.put.publishes

    @property
    def is_heard(self) -> bool:
        """Whether the room hears its microphone."""
        return may_be_heard(self.put.role, self.put.mode, muted=self.put.muted)

    def next_audio_timestamp(self, capture_time_us: int) -> int:
        """RTP time of a sound: rises by at least a frame each time, also when the node is replaced."""
        captured = capture_time_us * AUDIO_RATE_HZ // 1_000_000
        self.audio_timestamp = max(captured, self.audio_timestamp + AUDIO_FRAME_SAMPLES)
        return self.audio_timestamp

    def report(self, row: NDArray[np.void], elapsed_s: float) -> ViewerReport:
        """What to tell the broker of the last `elapsed_s`, from a row of `VIEWER_STATISTICS`; counting begins anew."""
        sent_bytes = int(row["sent_bytes"])
        sent_bps = max(0, sent_bytes - self.sent_bytes) * 8.0 / max(elapsed_s, 1e-3)
        self.sent_bytes = sent_bytes
        is_news, self.reports = int(row["reports"]) != self.reports, int(row["reports"])
        rtt_ms, loss = (float(row["rtt_ms"]), float(row["loss"])) if is_news else (math.nan, math.nan)
        told = LineReport(sent_bps, rtt_ms, loss, float(row["estimate_bps"]), float(row["measured_bps"]))
        self.line.update(told, elapsed_s)
        self.layer, self.wanted_layer = int(row["layer"]), int(row["wanted_layer"])
        self.refused_messages = 0
        claimed, self.client_report = self.client_report, None
        return ViewerReport(
            session=self.put.session,
            rtt_ms=_known(row["rtt_ms"]),
            jitter_ms=_known(row["jitter_ms"]),
            loss=_known(row["loss"]),
            sent_bps=sent_bps,
            estimate_bps=self.line.bps,
            layer=self.layer,
            **(msgspec.structs.asdict(claimed) if claimed is not None else {}),
        )

    def risen(self, row: NDArray[np.void], counter: str) -> int:
        """By how much one of the engine's counters has risen; with each connection it begins at zero."""
        value, before = int(row[counter]), self.counted.get(counter, 0)
        self.counted[counter] = value
        return value - before if value >= before else value

    def layer_for(self, least_bps: list[float]) -> int:
        """The layer it is to get; if it has just come, the highest its line is thought to take."""
        return layer_within(least_bps, self.line.bps) if self.wanted_layer is None else self.wanted_layer


@dataclass(slots=True)
class Stream:
    """One stream on this edge: its sources and who watches it."""

    name: str
    switch: StreamSwitch[SourceKey] = field(default_factory=StreamSwitch)
    descriptions: dict[SourceKey, StreamOpen] = field(default_factory=dict)
    """How each source describes it."""
    layered: SourceKey | None = None
    """The source whose layers the engine has been told."""
    sessions: dict[str, Session] = field(default_factory=dict)
    retained_state: bytes | None = None
    timer: InputTimer = field(default_factory=InputTimer)
    published_s: float = 0.0
    """When a publisher's picture came last."""

    @property
    def on_air(self) -> bool:
        """Whether a publisher's picture is shown."""
        return isinstance(self.switch.shown, PublisherSource)

    @property
    def owner(self) -> TrunkSource | None:
        """The node or edge that owns the stream."""
        owner = self.switch.owner
        return None if isinstance(owner, PublisherSource) else owner

    @property
    def description(self) -> StreamOpen | None:
        """How the publisher on air, else its owner describes it; `None` without either."""
        source = self.switch.shown if self.on_air else self.switch.owner
        return None if source is None else self.descriptions[source]

    def most_bps(self, source: SourceKey) -> list[float]:
        """The most that each of a source's simulcast layers takes, lowest first; empty where there is only one."""
        bitrates_bps = [layer.max_bitrate_bps for layer in self.descriptions[source].layers]
        return bitrates_bps if len(bitrates_bps) > 1 else []

    def feedback(self, most_bps: list[float], behind: ChildrenFeedback) -> StreamFeedback:
        """What to tell a source with these layers of the viewers here and `behind` other edges."""
        watching = [session for session in self.sessions.values() if session.watches]
        lines_bps = [session.line.bps for session in watching]
        viewers = len(watching) + behind.viewers
        if not most_bps or not viewers:
            return StreamFeedback(viewers=viewers, bitrate_bps=stream_bitrate_bps(lines_bps, behind.lines))
        least_bps = least_bitrates_bps(most_bps)
        wanted = [session.layer_for(least_bps) for session in watching]
        layers = [wanted.count(layer) + told for layer, told in enumerate(_padded(behind.layers, len(most_bps)))]
        bitrate_bps = highest_layer_bps(lines_bps, most_bps, behind.lines)
        return StreamFeedback(viewers=viewers, bitrate_bps=bitrate_bps, layers=layers)


def _padded(counts: list[int], length: int) -> list[int]:
    return [*counts[:length], *[0] * (length - len(counts))]


def _known(value: Any) -> float | None:
    number = float(value)
    return None if math.isnan(number) else min(max(number, 0.0), 60_000.0)
