"""One view on this node: its encoder, its outgoing streams, and what is asked of it."""

import asyncio
import time
from dataclasses import dataclass

from broker.protocol import PutView
from edge.trunk import Flag, OutgoingStream, StreamFeedback
from render_farm import barcode
from render_farm.encoder.interface import EncodedPicture, EncoderSettings, VideoEncoder
from render_farm.encoder.opening import open_encoder
from render_farm.pacing import Demand, ViewPacing, Work
from render_farm.renderer.interface import PlanarFrame

MIN_BITRATE_BPS = 150_000
START_BITS_PER_PIXEL = 0.09
"""2.5 Mbit/s at 1280x720 and 30 frames/s."""
BITRATE_STEP = 0.05
"""Smaller changes of the target are not worth reconfiguring the encoder."""
INTERVAL_SMOOTHING = 0.1
LONGEST_INTERVAL_S = 1.0
"""A longer pause is a rest, not a frame rate."""
PACE_RANGE = (0.75, 4.0)


@dataclass(frozen=True, slots=True)
class Shot:
    """What a picture shows: taken when the world was sampled."""

    frame_number: int
    capture_time_us: int
    input_sequence: int
    work: Work
    refinement_step: int
    keyframe: bool


class LiveView:
    """A view being drawn. `encode` runs in a worker thread, everything else on the event loop."""

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
        self.keyframe_wanted = True
        self.frame_number = 0
        self.frames_dropped = 0
        self._stamped = stamped
        self._bitrate_bps = self._start_bitrate_bps()
        self._encoder: VideoEncoder | None = None
        self._encoder_settings: EncoderSettings | None = None
        self._encoder_bitrate_bps = 0
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

    @property
    def watched(self) -> bool:
        """Whether anybody watches."""
        return any(stream.accepted and feedback.viewers > 0 for stream, feedback in self.streams.items())

    def take_feedback(self, stream: OutgoingStream, feedback: StreamFeedback) -> None:
        """An edge told who watches and what their network takes."""
        if stream not in self.streams:
            return
        self.streams[stream] = feedback
        known = [entry.bitrate_bps for entry in self.streams.values() if entry.viewers and entry.bitrate_bps]
        if known:
            self._bitrate_bps = round(min(max(min(known), MIN_BITRATE_BPS), self.put.max_bitrate_bps))

    def demand(self, *, resting: bool) -> Demand:
        """What is asked of the view now."""
        return Demand(self.watched, resting, self.keyframe_wanted)

    def encode(self, frame: PlanarFrame, shot: Shot) -> EncodedPicture | None:
        """Encode a drawn frame; `None` if the refinement has nothing left to send. Raises `EncoderError`."""
        try:
            return self._encode(frame, shot)
        finally:
            if self._ended:
                self.close_encoder()

    def _encode(self, frame: PlanarFrame, shot: Shot) -> EncodedPicture | None:
        self._note_interval(shot)
        encoder = self._open_encoder(frame.width, frame.height)
        if self._stamped:
            stamp = barcode.Stamp(shot.frame_number, shot.capture_time_us // 1000, shot.input_sequence)
            barcode.draw(frame, stamp)
        if shot.work is Work.REFINE:
            return encoder.refine(frame, step=shot.refinement_step)
        return encoder.encode(frame, keyframe=shot.keyframe)

    def _note_interval(self, shot: Shot) -> None:
        interval_s = (shot.capture_time_us - self._last_capture_us) / 1e6
        self._last_capture_us = shot.capture_time_us
        if 0.0 < interval_s < LONGEST_INTERVAL_S:
            self._interval_s += INTERVAL_SMOOTHING * (interval_s - self._interval_s)

    def _paced_bitrate_bps(self) -> int:
        """The bitrate to ask an encoder for that believes in `put.fps`, where pictures come slower or faster."""
        low, high = PACE_RANGE
        return round(self._bitrate_bps * min(max(self._interval_s * self.put.fps, low), high))

    def _open_encoder(self, width: int, height: int) -> VideoEncoder:
        """The encoder for pictures of this size: one that was drawn before the view changed is encoded as it is."""
        put = self.put
        bitrate_bps = self._paced_bitrate_bps()
        wanted = EncoderSettings(put.codec, width, height, put.fps, bitrate_bps, put.profile)
        known = self._encoder_settings
        if self._encoder is None or known is None or _shape(known) != _shape(wanted):
            self.close_encoder()
            self._encoder, self._encoder_settings = open_encoder(wanted), wanted
            self._encoder_bitrate_bps = bitrate_bps
        elif abs(bitrate_bps - self._encoder_bitrate_bps) > BITRATE_STEP * self._encoder_bitrate_bps:
            self._encoder.set_bitrate(bitrate_bps)
            self._encoder_bitrate_bps = bitrate_bps
        return self._encoder

    def send(self, picture: EncodedPicture, shot: Shot) -> bool:
        """Send an encoded picture to every edge. Returns whether any took it."""
        flags = (Flag.KEYFRAME if picture.keyframe else 0) | (Flag.REFINEMENT if shot.work is Work.REFINE else 0)
        taken = False
        for stream in self.streams:
            sent = stream.send(
                picture.payload,
                flags=flags,
                capture_time_us=shot.capture_time_us,
                input_sequence=shot.input_sequence,
            )
            self.keyframe_wanted = self.keyframe_wanted or (stream.accepted and not sent)
            taken = taken or sent
        return taken

    def close_when_idle(self) -> None:
        """The view has ended; a worker thread may still be encoding its last picture and then closes the encoder."""
        self._ended = True
        if not self.under_way:
            self.close_encoder()

    def close_encoder(self) -> None:
        """Free the encoder; the next picture opens one and is a keyframe."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


def _shape(settings: EncoderSettings) -> tuple[object, ...]:
    return (settings.codec, settings.width, settings.height, settings.fps, settings.profile)


def capture_time_us() -> int:
    """Unix microseconds, for the moment the world is sampled."""
    return time.time_ns() // 1000
