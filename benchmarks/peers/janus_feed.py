"""Feeds Janus's mountpoints with the stream as RTP, and hears in RTCP when a viewer needs a keyframe."""

import asyncio
import struct
from collections.abc import Callable

from benchmarks.peers.h264_rtp import Packetiser
from farstage.bench.source import SourceFrame

SSRC = 0x46415253
REPORT_INTERVAL_FRAMES = 15
"""A sender report this often: Janus learns from it where its keyframe requests are to go."""

_PSFB, _PLI, _FIR = 206, 1, 4
_SENDER_REPORT = struct.Struct(">BBHIQIII")


class RtpFeed:
    """One mountpoint's packets: out from one socket, RTCP of the mountpoint in on the same."""

    def __init__(
        self, transport: asyncio.DatagramTransport, payload_type: int, rtp: tuple[str, int], rtcp: tuple[str, int]
    ) -> None:
        self._transport, self._rtp, self._rtcp = transport, rtp, rtcp
        self._packetiser = Packetiser(payload_type, SSRC)
        self._frames = self._packets = self._bytes = 0

    def send(self, frame: SourceFrame) -> None:
        """Send one picture."""
        if self._frames % REPORT_INTERVAL_FRAMES == 0:
            self._report(frame.timestamp)
        self._frames += 1
        for packet in self._packetiser.packets(frame.payload, frame.timestamp):
            self._transport.sendto(packet, self._rtp)
            self._packets += 1
            self._bytes += len(packet) - 12

    def close(self) -> None:
        """Close the socket."""
        self._transport.close()

    def _report(self, timestamp: int) -> None:
        clock = (timestamp << 32) // 90_000
        counts = (self._packets & 0xFFFFFFFF, self._bytes & 0xFFFFFFFF)
        report = _SENDER_REPORT.pack(0x80, 200, 6, SSRC, clock, timestamp & 0xFFFFFFFF, *counts)
        self._transport.sendto(report, self._rtcp)


class _RtcpReader(asyncio.DatagramProtocol):
    def __init__(self, on_keyframe_needed: Callable[[], None]) -> None:
        self._on_keyframe_needed = on_keyframe_needed

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Look through a compound packet (RFC 3550, section 6.1) for a PLI or FIR."""
        while len(data) >= 4:
            if data[1] == _PSFB and data[0] & 0x1F in (_PLI, _FIR):
                self._on_keyframe_needed()
                return
            data = data[4 * (1 + int.from_bytes(data[2:4])) :]


async def open_feed(
    payload_type: int, rtp_port: int, rtcp_port: int, on_keyframe_needed: Callable[[], None]
) -> RtpFeed:
    """Open a feed to a mountpoint's ports on loopback."""
    loop = asyncio.get_running_loop()
    address = "127.0.0.1"
    transport, _ = await loop.create_datagram_endpoint(lambda: _RtcpReader(on_keyframe_needed), local_addr=(address, 0))
    return RtpFeed(transport, payload_type, (address, rtp_port), (address, rtcp_port))
