"""The media engine: Rust threads that share nothing while they send, behind one call a picture.

One UDP port for all viewers and publishers, and the same port over TCP for those whose network blocks UDP. What they
do comes back in batches through a descriptor that the event loop watches. `edge/native` is the source, `_native.pyi`
its surface.
"""

import asyncio
import datetime
import ipaddress
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
import structlog
from numpy.typing import NDArray

from broker.protocol import Codec, EndReason
from edge._native import NativeCore
from edge.engine import (
    VIEWER_STATISTICS,
    DescribedLayers,
    MediaFrame,
    OfferError,
    PublishedPicture,
    PublisherAnswer,
    PublisherSettings,
    ViewerHandler,
    ViewerSettings,
    check_fragment,
)
from edge.identity import make_identity
from edge.profiles import answerable_profiles, publishable_profiles

_log = structlog.get_logger(__name__)

NATIVE_ROW = np.dtype(
    [
        ("session", "<u8"),
        ("rtt_ms", "<f4"),
        ("jitter_ms", "<f4"),
        ("loss", "<f4"),
        ("reports", "<u8"),
        ("estimate_bps", "<f8"),
        ("measured_bps", "<f8"),
        ("sent_bytes", "<u8"),
        ("packets_sent", "<u8"),
        ("frames_skipped", "<u8"),
        ("keyframe_requests", "<u8"),
        ("repeats_refused", "<u8"),
        ("layer", "u1"),
        ("wanted_layer", "u1"),
        ("nacks", "<u8"),
        ("freezes", "<u8"),
    ]
)
"""A row as the native side writes it: `VIEWER_STATISTICS` with a number for the session."""

PLAYOUT_DELAY_MS = (0, 100)
"""Least and most; a most of 0 makes Chrome drop pictures that H.264 needs."""
MAX_SHARDS = 64
REMEMBERED_MOMENTS = 64
"""Timestamps whose picture id is known: a layer may be encoded so many pictures later than another."""
LOOPBACK = "127.0.0.1"
"""Offered by a machine without any network: its own browser still gets in."""


@dataclass(slots=True)
class _Stream:
    number: int
    codec: Codec
    viewers: int = 0
    refused: bool = False
    """Whether its latest picture could not be sent; only the first of a row is logged."""
    _picture_ids: dict[int, int] = field(default_factory=dict)
    """By timestamp, newest last."""
    _moments: int = 0

    def picture_id(self, timestamp: int) -> int:
        """15 bits that count moments: a viewer's picture ids rise also where it goes over to another layer."""
        known = self._picture_ids.get(timestamp)
        if known is None:
            self._moments += 1
            known = self._picture_ids[timestamp] = self._moments & 0x7FFF
            if len(self._picture_ids) > REMEMBERED_MOMENTS:
                del self._picture_ids[next(iter(self._picture_ids))]
        return known


class NativeEngine:
    """`edge.engine.MediaEngine` on `edge/native`."""

    name = "native"
    takes_publishers = True

    def __init__(
        self,
        handler: ViewerHandler,
        host_addresses: Iterable[str] = (),
        *,
        port: int = 0,
        shards: int = 0,
        announced: Iterable[str] = (),
        playout_delay_ms: tuple[int, int] = PLAYOUT_DELAY_MS,
        avoid_gso: bool = False,
    ) -> None:
        """Bind `port` (0: a free one) on `host_addresses` (empty: the machine's own); `shards` 0: one a core.

        Raises `OSError` if the port cannot be had.
        """
        certificate, private_key = make_identity(datetime.datetime.now(datetime.UTC))
        self.handler = handler
        self.core = NativeCore(
            bind=list(host_addresses) or machine_addresses(),
            announce=list(announced),
            port=port,
            shards=min(shards or os.cpu_count() or 1, MAX_SHARDS),
            certificate=certificate,
            private_key=private_key,
            playout_delay_ms=playout_delay_ms,
            avoid_gso=avoid_gso,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers: dict[str, int] = {}
        self._viewers: dict[int, ViewerSettings] = {}
        self._publishers: dict[int, str] = {}
        self._connected: set[int] = set()
        self._streams: dict[str, _Stream] = {}
        self._layers = DescribedLayers()
        self._stream_names: dict[int, str] = {}
        self._next_number = 1
        _log.info(
            "native_engine_listens",
            addresses=self.core.addresses(),
            shards=self.core.shards(),
            send_mode=self.core.send_mode(),
        )

    async def answer(self, viewer: ViewerSettings, offer_sdp: str) -> str:
        """See `MediaEngine.answer`."""
        self._listen()
        stream = self._watch(viewer)
        number = self._new_number()
        profiles = list(answerable_profiles(viewer.profile)) if viewer.codec is Codec.H264 else []
        try:
            answer = self.core.answer(
                number,
                stream.number,
                offer_sdp,
                encoding=viewer.codec.value.upper(),
                profiles=profiles,
                start_bps=viewer.start_bps,
            )
        except ValueError as error:
            self._unwatch(viewer.stream)
            raise OfferError(str(error)) from error
        self._end(viewer.session, farewell=False)
        self._numbers[viewer.session] = number
        self._viewers[number] = viewer
        return answer

    async def answer_publisher(self, publisher: PublisherSettings, offer_sdp: str) -> PublisherAnswer:
        """See `MediaEngine.answer_publisher`."""
        self._listen()
        number = self._new_number()
        profiles = list(publishable_profiles(publisher.profile)) if publisher.codec is Codec.H264 else []
        try:
            answer, rids = self.core.answer_publisher(
                number,
                offer_sdp,
                encoding=publisher.codec.value.upper(),
                profiles=profiles,
                max_layers=publisher.max_layers,
            )
        except ValueError as error:
            raise OfferError(str(error)) from error
        self._end(publisher.session, farewell=False)
        self._numbers[publisher.session] = number
        self._publishers[number] = publisher.session
        return PublisherAnswer(answer, tuple(rids))

    def request_picture_start(self, session: str, layer: int) -> None:
        """See `MediaEngine.request_picture_start`."""
        number = self._numbers.get(session)
        if number is not None:
            self.core.request_keyframe(number, layer)

    def _listen(self) -> None:
        """Hear events from the first offer on; before, there are none."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self.core.events_fd(), self._take_events)

    def _new_number(self) -> int:
        self._next_number += 1
        return self._next_number

    def _watch(self, viewer: ViewerSettings) -> _Stream:
        stream = self._streams.get(viewer.stream)
        if stream is None:
            stream = self._streams[viewer.stream] = _Stream(self._new_number(), viewer.codec)
            self._stream_names[stream.number] = viewer.stream
            self.core.set_layers(stream.number, list(self._layers.of(viewer.stream)))
        stream.codec = viewer.codec
        stream.viewers += 1
        return stream

    def _unwatch(self, name: str) -> None:
        stream = self._streams[name]
        stream.viewers -= 1
        if stream.viewers == 0:
            del self._streams[name], self._stream_names[stream.number]
            self.core.set_layers(stream.number, [])

    async def trickle(self, session: str, fragment: str) -> str | None:
        """See `MediaEngine.trickle`; candidates are checked for form and not used, as ICE here is lite."""
        check_fragment(fragment)
        number = self._numbers.get(session)
        if number is None:
            return None
        try:
            return self.core.trickle(number, fragment)
        except ValueError as error:
            raise OfferError(str(error)) from error

    def set_layers(self, stream: str, bitrates_bps: Sequence[float]) -> None:
        """See `MediaEngine.set_layers`."""
        layers = self._layers.describe(stream, bitrates_bps)
        watched = self._streams.get(stream)
        if watched is not None:
            self.core.set_layers(watched.number, list(layers))

    def send(self, stream: str, frame: MediaFrame) -> None:
        """See `MediaEngine.send`."""
        watched = self._streams.get(stream)
        if watched is None:
            return
        try:
            self.core.send(
                watched.number,
                watched.codec.value,
                bytes(frame.payload),
                keyframe=frame.keyframe,
                timestamp=frame.timestamp & 0xFFFFFFFF,
                picture_id=watched.picture_id(frame.timestamp),
                layer=frame.layer,
            )
        except ValueError as error:
            if not watched.refused:
                _log.warning("picture_not_sent", stream=stream, reason=str(error))
            watched.refused = True
            self.handler.on_keyframe_needed(stream, frame.layer)
        else:
            watched.refused = False

    def send_audio(self, session: str, opus_frame: bytes, timestamp: int) -> None:
        """See `MediaEngine.send_audio`."""
        number = self._numbers.get(session)
        if number is not None:
            self.core.send_audio(number, timestamp & 0xFFFFFFFF, opus_frame)

    def send_message(self, sessions: Iterable[str], channel: str, data: bytes) -> None:
        """See `MediaEngine.send_message`."""
        numbers = [number for session in sessions if (number := self._numbers.get(session)) is not None]
        if numbers:
            self.core.send_message(numbers, channel, data)

    def statistics(self) -> NDArray[np.void]:
        """See `MediaEngine.statistics`."""
        rows = np.frombuffer(self.core.statistics(), dtype=NATIVE_ROW)
        rows = rows[[int(number) in self._connected for number in rows["session"]]]
        result = np.empty(len(rows), dtype=VIEWER_STATISTICS)
        result["session"] = [self._viewers[int(number)].session for number in rows["session"]]
        for column in (NATIVE_ROW.names or ())[1:]:
            result[column] = rows[column]
        return result

    def refusals(self) -> dict[str, int]:
        """See `MediaEngine.refusals`."""
        return self.core.counters()

    def send_latency(self) -> list[tuple[float, int]]:
        """See `MediaEngine.send_latency`."""
        return self.core.latency()

    async def close(self, session: str) -> None:
        """See `MediaEngine.close`."""
        self._end(session, farewell=True)

    def _end(self, session: str, *, farewell: bool) -> None:
        """End a session's connection. One that connects anew hears no farewell: its page would show black meanwhile."""
        number = self._numbers.get(session)
        if number is not None:
            self.core.close(number, farewell=farewell)
            self._forget(number)

    async def shutdown(self) -> None:
        """See `MediaEngine.shutdown`."""
        for session in list(self._numbers):
            await self.close(session)
        if self._loop is not None:
            self._loop.remove_reader(self.core.events_fd())
        await asyncio.to_thread(self.core.stop)

    def _forget(self, number: int) -> None:
        viewer = self._viewers.pop(number, None)
        session = viewer.session if viewer is not None else self._publishers.pop(number, None)
        self._connected.discard(number)
        if session is not None and self._numbers.get(session) == number:
            del self._numbers[session]
        if viewer is not None:
            self._unwatch(viewer.stream)

    def _session(self, number: int) -> str | None:
        viewer = self._viewers.get(number)
        return viewer.session if viewer is not None else self._publishers.get(number)

    # --- what the native side tells ---

    def _take_events(self) -> None:
        for event in self.core.events():
            try:
                self._take_event(event)
            except Exception:
                _log.exception("event_failed", event_name=event[0])

    def _take_event(self, event: tuple[Any, ...]) -> None:
        name, number = event[0], event[1]
        if name in ("keyframe_needed", "picture_left"):
            stream = self._stream_names.get(number)
            if stream is not None:
                self._take_stream_event(name, stream, event)
            return
        session = self._session(number)
        if session is None:
            return
        match name:
            case "connected":
                self._connected.add(number)
                self.handler.on_connected(session)
            case "channel_open":
                self.handler.on_channel_open(session, event[2])
            case "message":
                self.handler.on_message(session, event[2], event[3])
            case "voice":
                self.handler.on_voice(session, event[2])
            case "picture":
                layer, keyframe, capture_time_us, sequence, payload = event[2:]
                picture = PublishedPicture(payload, keyframe, layer, sequence, capture_time_us)
                self.handler.on_published(session, picture)
            case "gone":
                self._forget(number)
                self.handler.on_gone(session, EndReason.CONNECTION_LOST)

    def _take_stream_event(self, name: str, stream: str, event: tuple[Any, ...]) -> None:
        if name == "keyframe_needed":
            self.handler.on_keyframe_needed(stream, event[2])
        else:
            self.handler.on_picture_leaving(stream, event[2])


def machine_addresses() -> list[str]:
    """This machine's addresses but loopback and link-local ones; loopback if there is no other."""
    found = []
    for entries in psutil.net_if_addrs().values():
        for entry in entries:
            try:
                address = ipaddress.ip_address(entry.address)
            except ValueError:
                continue
            if not (address.is_loopback or address.is_link_local or address.is_multicast):
                found.append(str(address))
    return found or [LOOPBACK]
