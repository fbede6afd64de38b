"""One view on this node: its encoders, its outgoing streams, and what is asked of it."""

import asyncio
import time
from dataclasses import dataclass

from broker.protocol import PutView
from edge.trunk import Flag, OutgoingStream, StreamFeedback, StreamOpen
from render_farm import barcode
from render_farm.encoder.frames import scaled
from render_farm.encoder.interface import EncodedPicture, EncoderSettings
from render_farm.layers import MIN_BITRATE_BPS, LayerDemand, LayerEncoder, describe, layer_bitrate_bps, layer_size
from render_farm.pacing import Demand, ViewPacing, Work
from render_farm.renderer.interface import PlanarFrame

START_BITS_PER_PIXEL = 0.09
"""2.5 Mbit/s at 1280x720 and 30 frames/s."""
INTERVAL_SMOOTHING = 0.1
LONGEST_INTERVAL_S = 1.0
"""A longer pause is a rest, not a frame rate."""
PACE_RANGE = (0.75, 4.0)


@dataclass(frozen=True, slots=True)
class Shot:
    """What a picture shows, taken when the world was sampled, and what is to be encoded of it."""

    frame_number: int
    capture_time_us: int
    input_sequence: int
    work: Work
    refinement_step: int
    layers: frozenset[int] = frozenset({0})
    keyframes: frozenset[int] = frozenset()
    """The layers whose picture must be one to start from."""


class LiveView:
    """A view being drawn. `encode` runs in worker threads, one a layer, everything else on the event loop."""

    def __init__(self, put: PutView, *, stamped: bool) -> None:
        self.put = put
        self.pacing = ViewPacing(put.fps)
        self.streams: dict[OutgoingStream, StreamFeedback] = {}
        self.edges: dict[OutgoingStream, str] = {}
        self.leaving: dict[OutgoingStream, float] = {}
        """Streams that are no longer wanted, and when they end; their edges may still wait for what follows."""
        self.started = False
        self.under_way = 0
        """Pictures being drawn or encoded."""
        self.encoding = asyncio.Lock()
        """Held while a picture is encoded: they are encoded one at a time, in order."""
        self.keyframes_wanted = set(range(put.layers))
        self.frame_number = 0
        self.frames_dropped = 0
        self._stamped = stamped
        self._encoders = [LayerEncoder() for _ in range(put.layers)]
        self._demand = LayerDemand(put.layers)
        self._fed: set[tuple[OutgoingStream, int]] = set()
        """Edges and layers that had a keyframe, or get one with the latest shot, and every picture since."""
        self._bitrate_bps = self._start_bitrate_bps()
        self._interval_s = 1.0 / put.fps
        """How far apart pictures really are, on average."""
        self._last_capture_us = 0
        self._ended = False

    def _start_bitrate_bps(self) -> int:
        put = self.put
        return min(put.max_bitrate_bps, round(put.width * put.height * put.fps * START_BITS_PER_PIXEL))

    def update(self, put: PutView) -> None:
        """The broker changed the view."""
        if put.fps != self.put.fps:
            self.pacing.set_fps(put.fps)
            self._interval_s = 1.0 / put.fps
        self.put = put

    # --- edges ---

    def description(self) -> StreamOpen:
        """How the view's stream is offered to an edge."""
        put = self.put
        return StreamOpen(
            stream=put.stream,
            fence=put.fence,
            codec=put.codec,
            width=put.width,
            height=put.height,
            fps=put.fps,
            layers=describe(put.width, put.height, put.max_bitrate_bps, len(self._encoders)),
        )

    def feed(self, stream: OutgoingStream, edge: str) -> None:
        """Send the view to one more edge."""
        self.streams[stream] = StreamFeedback(viewers=0)
        self.edges[stream] = edge

    def drop(self, stream: OutgoingStream) -> None:
        """Send the view to this edge no longer."""
        self.streams.pop(stream, None)
        self.edges.pop(stream, None)
        self.leaving.pop(stream, None)
        self._demand.forget(stream)
        self._fed = {fed for fed in self._fed if fed[0] is not stream}

    def opened(self, stream: OutgoingStream, now: float) -> None:
        """An edge accepted the stream and has nothing of it yet."""
        for layer in range(len(self._encoders)):
            self._fed.discard((stream, layer))
            self.want_keyframe(stream, layer, now)

    def want_keyframe(self, stream: OutgoingStream, layer: int, now: float) -> None:
        """Somebody on this edge needs a picture of this layer to start from."""
        if layer < len(self._encoders):
            self._demand.ask(stream, layer, now)
            self.keyframes_wanted.add(layer)

    def take_feedback(self, stream: OutgoingStream, feedback: StreamFeedback, now: float) -> None:
        """An edge told who watches and what their network takes."""
        if stream not in self.streams:
            return
        self.streams[stream] = feedback
        self._demand.told(stream, feedback.layers, now)
        known = [entry.bitrate_bps for entry in self.streams.values() if entry.viewers and entry.bitrate_bps]
        if known:
            self._bitrate_bps = round(min(max(min(known), MIN_BITRATE_BPS), self.put.max_bitrate_bps))

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return any(stream.accepted and feedback.viewers > 0 for stream, feedback in self.streams.items())

    # --- pictures ---

    def demand(self, *, resting: bool) -> Demand:
        """What is asked of the view now."""
        return Demand(self.watched, resting, bool(self.keyframes_wanted))

    def take_shot(self, input_sequence: int, work: Work, capture_time_us: int, now: float) -> Shot:
        """The world is sampled now: decide what to encode of it."""
        self.frame_number += 1
        self._note_interval(capture_time_us)
        layers = self._wanted_layers(now)
        keyframes = frozenset(self.keyframes_wanted & layers)
        self.keyframes_wanted.clear()
        return Shot(
            self.frame_number, capture_time_us, input_sequence, work, self.pacing.refinement_step, layers, keyframes
        )

    def _wanted_layers(self, now: float) -> frozenset[int]:
        """What some edge wants; who newly wants a layer begins with a keyframe."""
        wanted = {(stream, layer) for stream in self.streams for layer in self._demand.of(stream, now)}
        new = {(stream, layer) for stream, layer in wanted - self._fed if stream.accepted}
        self._fed = (self._fed & wanted) | new
        self.keyframes_wanted.update(layer for _, layer in new)
        return frozenset(layer for _, layer in wanted)

    def _note_interval(self, capture_time_us: int) -> None:
        interval_s = (capture_time_us - self._last_capture_us) / 1e6
        self._last_capture_us = capture_time_us
        if 0.0 < interval_s < LONGEST_INTERVAL_S:
            self._interval_s += INTERVAL_SMOOTHING * (interval_s - self._interval_s)

    def encode(self, frame: PlanarFrame, shot: Shot, layer: int = 0) -> EncodedPicture | None:
        """Encode one layer of a drawn frame; `None` if the refinement has nothing left to send.

        Raises `EncoderError`.
        """
        below = len(self._encoders) - 1 - layer
        if below:
            frame = scaled(frame, *layer_size(frame.width, frame.height, below))
        if self._stamped:
            stamp = barcode.Stamp(shot.frame_number, shot.capture_time_us // 1000, shot.input_sequence)
            barcode.draw(frame, stamp)
        return self._encoders[layer].encode(
            frame,
            self._settings(frame, below),
            keyframe=layer in shot.keyframes,
            refinement_step=shot.refinement_step if shot.work is Work.REFINE else None,
        )

    def _settings(self, frame: PlanarFrame, below: int) -> EncoderSettings:
        """For pictures of this size: one that was drawn before the view changed is encoded as it is."""
        put = self.put
        bitrate_bps = layer_bitrate_bps(put.max_bitrate_bps, below) if below else self._bitrate_bps
        return EncoderSettings(put.codec, frame.width, frame.height, put.fps, self._paced(bitrate_bps), put.profile)

    def _paced(self, bitrate_bps: int) -> int:
        """The bitrate to ask an encoder for that believes in `put.fps`, where pictures come slower or faster."""
        low, high = PACE_RANGE
        return round(bitrate_bps * min(max(self._interval_s * self.put.fps, low), high))

    def send(self, picture: EncodedPicture, shot: Shot, layer: int = 0) -> bool:
        """Send an encoded picture to every edge that wants its layer. Returns whether any took it."""
        flags = (Flag.KEYFRAME if picture.keyframe else 0) | (Flag.REFINEMENT if shot.work is Work.REFINE else 0)
        taken = False
        for stream in self._takers(picture, layer):
            sent = stream.send(
                picture.payload,
                flags=flags,
                capture_time_us=shot.capture_time_us,
                input_sequence=shot.input_sequence,
                layer=layer,
            )
            taken = taken or sent
            if sent:
                self._fed.add((stream, layer))
            else:
                self._fed.discard((stream, layer))
        return taken

    def _takers(self, picture: EncodedPicture, layer: int) -> list[OutgoingStream]:
        now = time.monotonic()
        wanting = [stream for stream in self.streams if layer in self._demand.of(stream, now)]
        return [stream for stream in wanting if picture.keyframe or (stream, layer) in self._fed]

    # --- the end ---

    def picture_done(self) -> None:
        """A picture under way is sent or lost."""
        self.under_way -= 1
        if self._ended:
            self.close_when_idle()

    def close_when_idle(self) -> None:
        """The view has ended; its encoders are freed once no worker thread uses them any more."""
        self._ended = True
        if not self.under_way:
            self.close_encoders()

    def close_encoders(self) -> None:
        """Free the encoders; the next pictures open new ones and are keyframes."""
        for encoder in self._encoders:
            encoder.close()


def capture_time_us() -> int:
    """Unix microseconds, for the moment the world is sampled."""
    return time.time_ns() // 1000
