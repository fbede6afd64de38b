"""The media engine that needs only pip: aiortc, fed with pictures that are already encoded.

It serves small rooms, machines without the native engine, and tests as an independent implementation. A viewer's
tracks yield `av.Packet`, which aiortc packetises without an encoder; what the browser reports in RTCP is read off
before aiortc handles it. The edge is passive in ICE: candidates a client names are ignored, so it never sends to an
address that has not proved it holds the session's credentials.
"""

import asyncio
import dataclasses
import fractions
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import aiortc.codecs
import av
import numpy as np
import structlog
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCDataChannel, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcrtpparameters import ParametersDict, RTCRtcpFeedback, RTCRtpCodecCapability, RTCRtpCodecParameters
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_PSFB_FIR,
    RTCP_PSFB_PLI,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpSrPacket,
    RtpPacket,
    unpack_remb_fci,
)
from aiortc.utils import uint16_gt
from numpy.typing import NDArray

from broker.protocol import Codec, EndReason
from edge import ice_guard
from edge.engine import (
    VIEWER_STATISTICS,
    DescribedLayers,
    MediaFrame,
    OfferError,
    PublisherAnswer,
    PublisherSettings,
    RestartUnsupported,
    ViewerHandler,
    ViewerSettings,
    check_fragment,
    ice_credentials,
)
from edge.layer_choice import LayerChoice
from edge.profiles import answerable_profiles
from edge.retransmission import RetransmissionBudget

_log = structlog.get_logger(__name__)

MAX_QUEUED_PICTURES = 10
"""Pictures waiting for one viewer; a viewer further behind skips to the next keyframe."""
MAX_QUEUED_AUDIO_FRAMES = 5
MAX_BUFFERED_MESSAGE_BYTES = 256 * 1024
"""Data waiting for a viewer that does not read; further messages to it are dropped."""
MAX_MEDIA_SECTIONS = 8
MAX_CHANNELS = 8
"""Data channels of one viewer by label; of one label the newest counts."""
CONNECT_TIMEOUT_S = 20.0

_VIDEO_TIME_BASE = fractions.Fraction(1, 90_000)
_AUDIO_TIME_BASE = fractions.Fraction(1, 48_000)
_CANDIDATE_LINE = re.compile(r"^a=(candidate:.*|end-of-candidates)\r?\n", re.MULTILINE)


_MAIN_FAMILY = ("4d001f", "64001f", "640c1f")
"""What decodes H.264 main: main, high and constrained high."""


def _offer_main_profiles() -> None:
    """Let aiortc answer H.264 main and high, which it can packetise but does not list."""
    video = aiortc.codecs.CODECS["video"]
    known = {codec.parameters.get("profile-level-id") for codec in video}
    for profile_level_id in _MAIN_FAMILY:
        if profile_level_id not in known:
            _offer_profile(profile_level_id)


def _offer_profile(profile_level_id: str) -> None:
    video = aiortc.codecs.CODECS["video"]
    payload_type = max(codec.payloadType or 0 for codec in video) + 1
    parameters: ParametersDict = {
        "level-asymmetry-allowed": "1",
        "packetization-mode": "1",
        "profile-level-id": profile_level_id,
    }
    feedback = [
        RTCRtcpFeedback("nack"),
        RTCRtcpFeedback("nack", "pli"),
        RTCRtcpFeedback("ccm", "fir"),
        RTCRtcpFeedback("goog-remb"),
    ]
    video.append(
        RTCRtpCodecParameters(
            "video/H264", 90_000, payloadType=payload_type, rtcpFeedback=feedback, parameters=parameters
        )
    )
    rtx = RTCRtpCodecParameters("video/rtx", 90_000, payloadType=payload_type + 1, parameters={"apt": payload_type})
    video.append(rtx)


class _PacketTrack(MediaStreamTrack):
    """A track whose frames are encoded already; bounded, newest wins at a keyframe."""

    def __init__(self, kind: str, capacity: int, time_base: fractions.Fraction) -> None:
        self.kind = kind
        super().__init__()
        self._packets: asyncio.Queue[av.Packet[Any] | None] = asyncio.Queue(capacity + 1)
        self._capacity = capacity
        self._time_base = time_base
        self.awaiting_keyframe = True
        self.frames_skipped = 0
        self.freezes = 0
        self._newest: int | None = None
        self.leaving: int | None = None
        """Timestamp of the packet given out last, until its first RTP packet is sent."""

    def put(self, payload: bytes | memoryview, timestamp: int, *, keyframe: bool) -> bool:
        """Queue a frame. Returns False when the viewer needs a keyframe before it can go on.

        Time rises: where another layer's keyframe shows the moment that was sent already, it comes a tick later.
        """
        if self.awaiting_keyframe and not keyframe:
            self.frames_skipped += 1
            return False
        if self._packets.qsize() >= self._capacity:
            self.freezes += not self.awaiting_keyframe
            self.awaiting_keyframe = True
            self.frames_skipped += 1
            return False
        self.awaiting_keyframe = False
        packet: av.Packet[Any] = av.Packet(bytes(payload))
        if self._newest is not None:
            timestamp = max(timestamp, self._newest + 1)
        self._newest = timestamp
        packet.pts = timestamp
        packet.time_base = self._time_base
        self._packets.put_nowait(packet)
        return True

    async def recv(self) -> "av.Packet[Any]":
        packet = await self._packets.get()
        if packet is None:
            raise MediaStreamError
        self.leaving = packet.pts
        return packet

    def stop(self) -> None:
        super().stop()
        if not self._packets.full():
            self._packets.put_nowait(None)


class _Viewer:
    """One connection and what its RTCP has told."""

    def __init__(self, settings: ViewerSettings, engine: "AiortcEngine") -> None:
        self.settings = settings
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.video = _PacketTrack("video", MAX_QUEUED_PICTURES, _VIDEO_TIME_BASE)
        self.audio = _PacketTrack("audio", MAX_QUEUED_AUDIO_FRAMES, _AUDIO_TIME_BASE)
        self.channels: dict[str, RTCDataChannel] = {}
        self.connected = False
        self.ice_credentials: tuple[str, str] | None = None
        self.deadline: asyncio.TimerHandle | None = None
        self.rtt_ms = self.jitter_ms = self.loss = self.estimate_bps = float("nan")
        self.sent_bytes = 0
        self.packets_sent = 0
        self.reports = 0
        self.keyframe_requests = 0
        self.nacks = 0
        self.layers = LayerChoice(settings.start_bps, engine.layers.of(settings.stream))
        self.retransmissions = RetransmissionBudget()
        self._engine = engine

    def take_rtcp(self, packet: AnyRtcpPacket, sender: aiortc.RTCRtpSender) -> None:
        """Read what the engine needs off an RTCP packet for our video."""
        ssrc = sender._ssrc
        if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
            for report in packet.reports:
                if report.ssrc == ssrc:
                    self._take_report(report, vars(sender))
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt in (RTCP_PSFB_PLI, RTCP_PSFB_FIR):
            self.keyframe_requests += 1
            self._engine.handler.on_keyframe_needed(self.settings.stream, self.layers.wanted)
        elif isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
            self._take_remb(packet, ssrc)

    def _take_report(self, report: RtcpReceiverInfo, sender: dict[str, Any]) -> None:
        """Loss, jitter, and the round trip as it was this time: aiortc's own is a mean over many seconds."""
        self.reports += 1
        self.loss = report.fraction_lost / 256.0
        self.jitter_ms = report.jitter / 90.0
        if report.dlsr and report.lsr == sender["_RTCRtpSender__lsr"]:
            away_s = time.time() - sender["_RTCRtpSender__lsr_time"]
            self.rtt_ms = max(0.0, (away_s - report.dlsr / 65_536) * 1000.0)

    def _take_remb(self, packet: RtcpPsfbPacket, ssrc: int) -> None:
        try:
            bitrate_bps, ssrcs = unpack_remb_fci(packet.fci)
        except ValueError:
            return
        if ssrc in ssrcs:
            self.estimate_bps = float(bitrate_bps)
            self.layers.take_estimate(self.estimate_bps, self._engine.layers.of(self.settings.stream))

    def row(self) -> tuple[str | float | int, ...]:
        """The viewer's statistics in the order of `VIEWER_STATISTICS`."""
        return (
            self.settings.session,
            self.rtt_ms,
            self.jitter_ms,
            self.loss,
            self.reports,
            self.estimate_bps,
            math.nan,
            self.sent_bytes,
            self.packets_sent,
            self.video.frames_skipped,
            self.keyframe_requests,
            self.retransmissions.refused,
            self.layers.shown,
            self.layers.wanted,
            self.nacks,
            self.video.freezes,
        )


class AiortcEngine:
    """`edge.engine.MediaEngine` on aiortc. One event loop; about 14 microseconds a packet and viewer."""

    name = "aiortc"
    takes_publishers = False

    def __init__(self, handler: ViewerHandler, host_addresses: Iterable[str] = ()) -> None:
        ice_guard.install(host_addresses)
        _offer_main_profiles()
        self.handler = handler
        self.layers = DescribedLayers()
        self._layers_refused = 0
        self._viewers: dict[str, _Viewer] = {}
        self._watching: dict[str, dict[str, _Viewer]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def answer(self, viewer: ViewerSettings, offer_sdp: str) -> str:
        """See `MediaEngine.answer`."""
        _check_offer(offer_sdp)
        await self.close(viewer.session)
        entry = _Viewer(viewer, self)
        entry.ice_credentials = ice_credentials(offer_sdp)
        self._viewers[viewer.session] = entry
        self._watching.setdefault(viewer.stream, {})[viewer.session] = entry
        try:
            return await self._negotiate(entry, _CANDIDATE_LINE.sub("", offer_sdp))
        except BaseException:
            await self._free(entry)
            raise

    async def _negotiate(self, viewer: _Viewer, offer_sdp: str) -> str:
        connection = viewer.connection
        connection.on("datachannel", lambda channel: self._take_channel(viewer, channel))
        connection.on("connectionstatechange", lambda: self._connection_changed(viewer))
        try:
            self._add_tracks(viewer, offer_sdp)
            await connection.setRemoteDescription(RTCSessionDescription(offer_sdp, "offer"))
            description = await connection.createAnswer()
            await connection.setLocalDescription(description)
        except Exception as error:
            # aiortc's SDP code raises whatever a malformed line provokes (AssertionError, KeyError, ...).
            raise OfferError(f"the offer cannot be answered: {type(error).__name__}: {error}") from error
        self._tap(viewer)
        viewer.deadline = asyncio.get_running_loop().call_later(CONNECT_TIMEOUT_S, self._give_up, viewer)
        return str(connection.localDescription.sdp)

    def _add_tracks(self, viewer: _Viewer, offer_sdp: str) -> None:
        video = viewer.connection.addTransceiver(viewer.video, direction="sendonly")
        video.setCodecPreferences(_codec_preferences(viewer.settings))
        if "m=audio" in offer_sdp:
            audio = viewer.connection.addTransceiver(viewer.audio, direction="sendrecv")
            audio.setCodecPreferences(_opus())

    def _tap(self, viewer: _Viewer) -> None:
        """Stand between the transport and aiortc's sender and receiver, to read RTCP and take Opus undecoded."""
        for transceiver in viewer.connection.getTransceivers():
            if transceiver.kind == "video":
                self._tap_rtcp(viewer, transceiver.sender)
                self._limit_retransmissions(viewer, transceiver.sender)
                self._tap_sending(viewer, transceiver.sender)
            else:
                vars(transceiver.receiver)["_handle_rtp_packet"] = self._voice_sink(viewer)

    def _tap_sending(self, viewer: _Viewer, sender: "aiortc.RTCRtpSender") -> None:
        transport: Any = sender.transport
        inner, video_ssrc = transport._send_rtp, sender._ssrc.to_bytes(4)

        async def send(data: bytes) -> None:
            await inner(data)
            if 64 <= data[1] & 0x7F < 96 or data[8:12] != video_ssrc:
                return
            viewer.retransmissions.earn()
            leaving = viewer.video.leaving
            if leaving is not None:
                viewer.video.leaving = None
                self.handler.on_picture_leaving(viewer.settings.stream, leaving)

        vars(transport)["_send_rtp"] = send

    def _tap_rtcp(self, viewer: _Viewer, sender: "aiortc.RTCRtpSender") -> None:
        inner = sender._handle_rtcp_packet

        async def handle(packet: AnyRtcpPacket) -> None:
            viewer.take_rtcp(packet, sender)
            await inner(packet)

        vars(sender)["_handle_rtcp_packet"] = handle

    def _limit_retransmissions(self, viewer: _Viewer, sender: "aiortc.RTCRtpSender") -> None:
        inner, now = sender._retransmit, asyncio.get_running_loop().time

        async def retransmit(sequence_number: int) -> None:
            viewer.nacks += 1
            rtt_s = 0.0 if math.isnan(viewer.rtt_ms) else viewer.rtt_ms / 1000.0
            if viewer.retransmissions.allows(sequence_number, rtt_s, now()):
                await inner(sequence_number)

        vars(sender)["_retransmit"] = retransmit

    def _voice_sink(self, viewer: _Viewer) -> Callable[..., Awaitable[None]]:
        """Hand on Opus undecoded, in order; a packet that was overtaken is lost, as sound does not wait."""
        newest: int | None = None

        async def take(packet: RtpPacket, arrival_time_ms: int) -> None:
            nonlocal newest
            late = newest is not None and not uint16_gt(packet.sequence_number, newest)
            if packet.payload and not late:
                newest = packet.sequence_number
                self.handler.on_voice(viewer.settings.session, packet.payload)

        return take

    def _take_channel(self, viewer: _Viewer, channel: RTCDataChannel) -> None:
        session = viewer.settings.session
        former = viewer.channels.get(channel.label)
        if former is None and len(viewer.channels) >= MAX_CHANNELS:
            channel.close()
            return
        if former is not None:
            former.close()
        viewer.channels[channel.label] = channel

        def take(message: str | bytes) -> None:
            data = message.encode() if isinstance(message, str) else message
            self.handler.on_message(session, channel.label, data)

        channel.on("message", take)
        self.handler.on_channel_open(session, channel.label)

    def _connection_changed(self, viewer: _Viewer) -> None:
        state = viewer.connection.connectionState
        if state == "connected" and not viewer.connected:
            viewer.connected = True
            if viewer.deadline is not None:
                viewer.deadline.cancel()
            self.handler.on_connected(viewer.settings.session)
            self.handler.on_keyframe_needed(viewer.settings.stream, viewer.layers.wanted)
        elif state in ("failed", "closed"):
            self._lose(viewer)

    def _give_up(self, viewer: _Viewer) -> None:
        _log.info("viewer_connect_timeout", session=viewer.settings.session)
        self._lose(viewer)

    def _lose(self, viewer: _Viewer) -> None:
        if self._viewers.get(viewer.settings.session) is not viewer:
            return
        task = asyncio.create_task(self._free(viewer))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        self.handler.on_gone(viewer.settings.session, EndReason.CONNECTION_LOST)

    async def answer_publisher(self, publisher: PublisherSettings, offer_sdp: str) -> PublisherAnswer:
        """See `MediaEngine.answer_publisher`; aiortc hands out decoded pictures alone, so there are no publishers."""
        raise OfferError("publishing needs the native engine: install Rust, then make native")

    def request_picture_start(self, session: str, layer: int) -> None:
        """See `MediaEngine.request_picture_start`; there are no publishers."""

    async def trickle(self, session: str, fragment: str) -> str | None:
        """See `MediaEngine.trickle`; candidates are checked for form and not used, as ICE here is passive."""
        check_fragment(fragment)
        viewer, credentials = self._viewers.get(session), ice_credentials(fragment)
        if viewer is not None and credentials not in (None, viewer.ice_credentials):
            raise RestartUnsupported("this engine cannot restart ICE; send a new offer")
        return None

    def set_layers(self, stream: str, bitrates_bps: Sequence[float]) -> None:
        """See `MediaEngine.set_layers`."""
        self.layers.describe(stream, bitrates_bps)

    def send(self, stream: str, frame: MediaFrame) -> None:
        """See `MediaEngine.send`."""
        if frame.layer >= max(1, len(self.layers.of(stream))):
            self._layers_refused += 1
            return
        needed: set[int] = set()
        for viewer in self._watching.get(stream, {}).values():
            if not viewer.connected:
                continue
            admitted = viewer.layers.admits(frame.layer, frame.timestamp, keyframe=frame.keyframe)
            if viewer.layers.shown != viewer.layers.wanted:
                needed.add(viewer.layers.wanted)
            if not admitted:
                continue
            if viewer.video.put(frame.payload, frame.timestamp, keyframe=frame.keyframe):
                viewer.sent_bytes += len(frame.payload)
                viewer.packets_sent += 1 + len(frame.payload) // 1200
            else:
                needed.add(viewer.layers.wanted)
        for layer in sorted(needed):
            self.handler.on_keyframe_needed(stream, layer)

    def send_audio(self, session: str, opus_frame: bytes, timestamp: int) -> None:
        """See `MediaEngine.send_audio`."""
        viewer = self._viewers.get(session)
        if viewer is not None and viewer.connected:
            viewer.audio.put(opus_frame, timestamp, keyframe=True)

    def send_message(self, sessions: Iterable[str], channel: str, data: bytes) -> None:
        """See `MediaEngine.send_message`."""
        text = data.decode()
        for session in sessions:
            viewer = self._viewers.get(session)
            target = viewer.channels.get(channel) if viewer is not None else None
            if (
                target is not None
                and target.readyState == "open"
                and target.bufferedAmount < MAX_BUFFERED_MESSAGE_BYTES
            ):
                target.send(text)

    def statistics(self) -> NDArray[np.void]:
        """See `MediaEngine.statistics`."""
        rows = [viewer.row() for viewer in self._viewers.values() if viewer.connected]
        return np.array(rows, dtype=VIEWER_STATISTICS)

    def refusals(self) -> dict[str, int]:
        """See `MediaEngine.refusals`."""
        return {**dataclasses.asdict(ice_guard.counters), "layers_refused": self._layers_refused}

    def send_latency(self) -> list[tuple[float, int]]:
        """See `MediaEngine.send_latency`; not measured here."""
        return []

    async def close(self, session: str) -> None:
        """See `MediaEngine.close`."""
        viewer = self._viewers.get(session)
        if viewer is not None:
            await self._free(viewer)

    async def shutdown(self) -> None:
        """See `MediaEngine.shutdown`."""
        await asyncio.gather(*(self._free(viewer) for viewer in list(self._viewers.values())), *self._closing)

    async def _free(self, viewer: _Viewer) -> None:
        session, stream = viewer.settings.session, viewer.settings.stream
        if self._viewers.get(session) is viewer:
            del self._viewers[session]
        watching = self._watching.get(stream, {})
        if watching.get(session) is viewer:
            del watching[session]
            if not watching:
                del self._watching[stream]
        if viewer.deadline is not None:
            viewer.deadline.cancel()
        viewer.video.stop()
        viewer.audio.stop()
        try:
            await viewer.connection.close()
        except Exception as error:
            # aiortc cannot close what a hostile offer left half built; nothing of it has a socket yet.
            _log.warning("connection_half_built", session=session, error=repr(error))


def _codec_preferences(viewer: ViewerSettings) -> list[RTCRtpCodecCapability]:
    capabilities = aiortc.RTCRtpSender.getCapabilities("video").codecs
    families: tuple[str, ...] = ("",)
    if viewer.codec is Codec.H264:
        families = answerable_profiles(viewer.profile)
    chosen = [codec for family in families for codec in capabilities if _matches(codec, viewer.codec, family)]
    return chosen + [codec for codec in capabilities if codec.mimeType == "video/rtx"]


def _opus() -> list[RTCRtpCodecCapability]:
    capabilities = aiortc.RTCRtpSender.getCapabilities("audio").codecs
    return [codec for codec in capabilities if codec.mimeType == "audio/opus"]


def _matches(codec: RTCRtpCodecCapability, wanted: Codec, family: str) -> bool:
    if codec.mimeType.split("/")[1].upper() != wanted.value.upper():
        return False
    return str(codec.parameters.get("profile-level-id", "")).lower().startswith(family)


def _check_offer(offer_sdp: str) -> None:
    lines = offer_sdp.splitlines()
    sections = [line for line in lines if line.startswith("m=")]
    if not offer_sdp.startswith("v=0"):
        raise OfferError("the body is not an SDP offer: it does not begin with v=0")
    if not any(line.startswith("m=video ") for line in sections):
        raise OfferError("the offer has no video section to receive")
    if len(sections) > MAX_MEDIA_SECTIONS:
        raise OfferError(f"the offer has {len(sections)} media sections; the limit is {MAX_MEDIA_SECTIONS}")
    if "a=fingerprint:" not in offer_sdp or "a=ice-ufrag:" not in offer_sdp:
        raise OfferError("the offer lacks a DTLS fingerprint or ICE credentials")
    if not _receives_video(lines):
        raise OfferError("the video section must receive: a=recvonly or a=sendrecv")
    mids = [line.removeprefix("a=mid:").strip() for line in lines if line.startswith("a=mid:")]
    bundle = next((line for line in lines if line.startswith("a=group:BUNDLE ")), "").split()[1:]
    if len(sections) == 1 and not bundle:
        bundle = mids
    if len(mids) != len(sections) or len(set(mids)) != len(mids) or set(bundle) != set(mids):
        raise OfferError("the offer must bundle all its media sections, each with a mid (a=group:BUNDLE, a=mid)")


def _receives_video(lines: list[str]) -> bool:
    """Whether the first video section asks for video; without a direction it does (RFC 8866, section 6.7)."""
    start = next(index for index, line in enumerate(lines) if line.startswith("m=video "))
    for line in lines[start + 1 :]:
        if line.startswith("m="):
            break
        if line.strip() in ("a=sendonly", "a=inactive"):
            return False
    return True
