"""A viewer without a screen: joins a room, receives and decodes its video, reads the barcode, sends input."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import av
import numpy as np
import structlog
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtp import RtpPacket

from broker.protocol import (
    DATA_CHANNEL_CONTROL,
    DATA_CHANNEL_INPUT,
    ClientEvent,
    ClientMessage,
    Ended,
    EndReason,
    Input,
    JoinGrant,
    decode_client_event,
    encode,
)
from client_demo.headless import barcode
from client_demo.headless.api import BrokerClient
from client_demo.headless.jitter_buffer import PromptJitterBuffer, RepeatingNackGenerator

_log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 15.0
MAX_PENDING_INPUTS = 256
_FRAME_NUMBER_MODULUS = 1 << 24
_INPUT_MODULUS = 1 << 16


@dataclass(slots=True)
class Reception:
    """What a viewer has seen so far. Delays in milliseconds."""

    frames: int = 0
    frames_lost: int = 0
    crc_failures: int = 0
    barcodes: int = 0
    bytes_received: int = 0
    width: int = 0
    height: int = 0
    first_frame_s: float | None = None
    last_frame_s: float | None = None
    longest_gap_s: float = 0.0
    last_frame_number: int | None = None
    last_input: int | None = None
    input_to_photon_ms: list[float] = field(default_factory=list)


class HeadlessViewer:
    """One session's viewer; an async context manager that is connected once entered. `on_event` gets every event.

    One that does not decode counts the bytes it receives and costs next to nothing: an audience for tests and load.
    """

    def __init__(
        self,
        client: BrokerClient,
        grant: JoinGrant,
        on_event: Callable[[ClientEvent], None] = lambda _: None,
        *,
        decodes: bool = True,
    ) -> None:
        self.grant = grant
        self.reception = Reception()
        self.events: deque[ClientEvent] = deque(maxlen=1000)
        self.frame_arrived = asyncio.Event()
        """Set at each decoded frame; clear it to wait for the next."""
        self.last_picture: av.VideoFrame | None = None
        self._client = client
        self._on_event = on_event
        self._decodes = decodes
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._channels_open = asyncio.Event()
        self._pending: deque[tuple[int, float]] = deque(maxlen=MAX_PENDING_INPUTS)
        self._sequence = 0
        self._reader: asyncio.Task[None] | None = None
        self._input: RTCDataChannel
        self._control: RTCDataChannel

    async def __aenter__(self) -> "HeadlessViewer":
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._connect()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up, without leaving the room."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        await self._connection.close()

    @property
    def connection_state(self) -> str:
        """State of the WebRTC connection, as the browser API names it."""
        return str(self._connection.connectionState)

    @property
    def ended(self) -> EndReason | None:
        """Why the session is over; `None` while it is not. Without a word from the edge: the connection was lost."""
        told = next((event.reason for event in reversed(self.events) if isinstance(event, Ended)), None)
        return told or (EndReason.CONNECTION_LOST if self.connection_state in ("failed", "closed") else None)

    def send_input(self, **hands: float | bool) -> int:
        """Send the state of the hands (fields of `Input`) if the channel is open; returns its sequence number."""
        self._sequence += 1
        if self._input.readyState == "open":
            self._pending.append((self._sequence, time.perf_counter()))
            message = Input(seq=self._sequence, **hands)  # type: ignore[arg-type]
            self._input.send(encode(message).decode())
        return self._sequence

    def send(self, message: ClientMessage) -> None:
        """Send a control message."""
        self._control.send(encode(message).decode())

    async def _connect(self) -> None:
        connection = self._connection
        connection.addTransceiver("video", direction="recvonly")
        self._input = connection.createDataChannel(DATA_CHANNEL_INPUT, ordered=False, maxRetransmits=0)
        self._control = connection.createDataChannel(DATA_CHANNEL_CONTROL)
        self._control.on("message", self._take_event)
        self._control.on("open", self._channels_open.set)
        connection.on("track", self._take_track)
        await connection.setLocalDescription(await connection.createOffer())
        answer = await self._client.offer(self.grant, connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        await self._channels_open.wait()

    def _take_track(self, track: MediaStreamTrack) -> None:
        receiver = next(entry for entry in self._connection.getReceivers() if entry.track is track)
        buffers = vars(receiver)
        buffers["_RTCRtpReceiver__jitter_buffer"] = PromptJitterBuffer()
        buffers["_RTCRtpReceiver__nack_generator"] = RepeatingNackGenerator()
        inner = receiver._handle_rtp_packet

        async def count(packet: RtpPacket, arrival_time_ms: int) -> None:
            self.reception.bytes_received += len(packet.payload)
            if self._decodes:
                await inner(packet, arrival_time_ms=arrival_time_ms)

        buffers["_handle_rtp_packet"] = count
        self._reader = asyncio.create_task(self._read(track))

    async def _read(self, track: MediaStreamTrack) -> None:
        while True:
            try:
                picture = await track.recv()
            except MediaStreamError:
                return
            if isinstance(picture, av.VideoFrame):
                self._take_picture(picture)

    def _take_picture(self, picture: av.VideoFrame) -> None:
        now = time.perf_counter()
        reception = self.reception
        reception.frames += 1
        reception.width, reception.height = picture.width, picture.height
        if reception.last_frame_s is None:
            reception.first_frame_s = now
        else:
            reception.longest_gap_s = max(reception.longest_gap_s, now - reception.last_frame_s)
        reception.last_frame_s = now
        self.last_picture = picture
        self._read_barcode(picture, now)
        self.frame_arrived.set()

    def _read_barcode(self, picture: av.VideoFrame, now: float) -> None:
        reception = self.reception
        plane = picture.planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
            : picture.height, : picture.width
        ]
        stamp = barcode.read(luma)
        if stamp is None:
            reception.crc_failures += 1
            return
        reception.barcodes += 1
        if reception.last_frame_number is not None:
            step = (stamp.frame_number - reception.last_frame_number) % _FRAME_NUMBER_MODULUS
            if 1 < step < 1000:
                reception.frames_lost += step - 1
        reception.last_frame_number = stamp.frame_number
        reception.last_input = stamp.input_seq
        self._match_inputs(stamp.input_seq, now)

    def _match_inputs(self, shown: int, now: float) -> None:
        while self._pending:
            sequence, sent = self._pending[0]
            if (shown - sequence) % _INPUT_MODULUS >= _INPUT_MODULUS // 2:
                return
            self._pending.popleft()
            self.reception.input_to_photon_ms.append((now - sent) * 1000.0)

    def _take_event(self, message: str | bytes) -> None:
        event = decode_client_event(message)
        self.events.append(event)
        self._on_event(event)
