"""Reception like a browser's: each picture at once, none that misses a part of its past, and requests repeated."""

import re

from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import RtpPacket

GIVE_UP_TICKS = 22_500
"""A quarter of a second of RTP time: what has not been repeated by then is given up, and a keyframe is asked for."""
KEYFRAME_AGAIN_TICKS = 45_000
PACKET_AGAIN_TICKS = 9_000
"""A tenth of a second: a missing packet is asked for twice more before it is given up."""
_TIMESTAMP_MODULUS = 1 << 32
_H264_KEYFRAME = re.compile(rb"\x00\x00\x01[\x05\x25\x45\x65\x07\x27\x47\x67]")
"""A slice of an IDR picture (NAL type 5), or a sequence parameter set (7), in Annex B."""
_VP8_KEYFRAME = b"\x9d\x01\x2a"
"""Start code of a key frame, after its three bytes of frame tag (RFC 6386, section 9.1)."""


class RepeatingNackGenerator(NackGenerator):
    """aiortc's asks for a packet when it is first missed, and so once; the request or the repeat may be lost too."""

    def __init__(self) -> None:
        super().__init__()
        self._asked_at = 0

    def add(self, packet: RtpPacket) -> bool:
        """Take a packet; returns whether to ask for what is missing now."""
        is_due = super().add(packet) or _is_past(self._asked_at, packet.timestamp, PACKET_AGAIN_TICKS)
        if not (is_due and self.missing):
            return False
        self._asked_at = packet.timestamp
        return True


class PromptJitterBuffer(JitterBuffer):
    """aiortc's gives a picture out when the next one begins, this one at its marker bit (RFC 6184, 5.1).

    It waits `GIVE_UP_TICKS` for a missing packet; then it drops what it holds, asks for a keyframe and gives nothing
    out before that, as what follows a gap cannot be decoded.
    """

    def __init__(self) -> None:
        super().__init__(capacity=512, is_video=True)
        self._waiting_since: int | None = None
        """Timestamp of the first packet that has come since a picture was given out."""
        self._asked_at: int | None = None
        """Timestamp at which a keyframe was asked for last; `None` when none is awaited."""

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take a packet; returns whether to ask for a keyframe, and the picture that is complete now."""
        ask, frame = super().add(packet)
        if frame is not None:
            self._waiting_since = None
        elif self._waiting_since is None:
            self._waiting_since = packet.timestamp
        elif _is_past(self._waiting_since, packet.timestamp, GIVE_UP_TICKS):
            self._restart()
            ask = True
        if ask and self._asked_at is None:
            self._asked_at = packet.timestamp
        if self._asked_at is None:
            return ask, frame
        if frame is not None and is_keyframe(frame.data):
            self._asked_at = None
            return False, frame
        if _is_past(self._asked_at, packet.timestamp, KEYFRAME_AGAIN_TICKS):
            self._asked_at, ask = packet.timestamp, True
        return ask, None

    def _restart(self) -> None:
        self.remove(self.capacity)
        self._origin = None
        self._waiting_since = None

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        packets: list[RtpPacket] = []
        for count in range(self._capacity):
            packet = self._packets[((self._origin or 0) + count) % self._capacity]
            if packet is None or (packets and packet.timestamp != packets[0].timestamp):
                break
            packets.append(packet)
            if packet.marker:
                frame = JitterFrame(b"".join(vars(entry)["_data"] for entry in packets), packet.timestamp)
                self.remove(len(packets))
                return frame
        return super()._remove_frame(sequence_number)


def is_keyframe(encoded: bytes) -> bool:
    """Whether a decoder can start at this picture, H.264 (Annex B) or VP8."""
    return encoded[3:6] == _VP8_KEYFRAME or _H264_KEYFRAME.search(encoded) is not None


def _is_past(since: int, now: int, ticks: int) -> bool:
    return ticks < (now - since) % _TIMESTAMP_MODULUS < _TIMESTAMP_MODULUS // 2
