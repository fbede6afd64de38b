"""H.264 in RTP (RFC 6184, packetization mode 1), in packets of even size: what feeds a server that takes RTP.

Small units are gathered into one STAP-A, a unit that does not fit is cut into FU-As as equal as they can be, so that
the packets are as many and as large as the ones the native engine makes of the same picture.
"""

import struct

MAX_PAYLOAD_BYTES = 1160
"""Largest RTP payload: leaves room for extensions, SRTP and IPv6 below an MTU of 1,280."""

_STAP_A, _FU_A = 24, 28
_FU_HEADER_BYTES = 2
_IMPORTANCE, _TYPE = 0x60, 0x1F
_HEADER = struct.Struct(">BBHII")


def payloads(access_unit: bytes, limit: int = MAX_PAYLOAD_BYTES) -> list[bytes]:
    """Return the RTP payloads of one picture in Annex B format."""
    found: list[bytes] = []
    waiting: list[bytes] = []
    for unit in units(access_unit):
        if waiting and _aggregate_bytes([*waiting, unit]) > limit:
            found.append(_aggregate(waiting))
            waiting = []
        if len(unit) > limit:
            found += _fragments(unit, limit)
        else:
            waiting.append(unit)
    return found + ([_aggregate(waiting)] if waiting else [])


def units(access_unit: bytes) -> list[bytes]:
    """Split an Annex B access unit into its NAL units, without their start codes."""
    parts = access_unit.split(b"\x00\x00\x01")[1:]
    return [unit for unit in (part.rstrip(b"\x00") for part in parts) if unit]


class Packetiser:
    """Numbers one stream's packets."""

    def __init__(self, payload_type: int, ssrc: int) -> None:
        self._payload_type = payload_type
        self._ssrc = ssrc
        self._sequence = 0

    def packets(self, access_unit: bytes, timestamp: int) -> list[bytes]:
        """Return a picture's RTP packets; the last one carries the marker."""
        bodies = payloads(access_unit)
        return [self._packet(body, timestamp, last=number == len(bodies)) for number, body in enumerate(bodies, 1)]

    def _packet(self, body: bytes, timestamp: int, *, last: bool) -> bytes:
        second = self._payload_type | (0x80 if last else 0)
        header = _HEADER.pack(0x80, second, self._sequence, timestamp & 0xFFFFFFFF, self._ssrc)
        self._sequence = (self._sequence + 1) & 0xFFFF
        return header + body


def _aggregate_bytes(gathered: list[bytes]) -> int:
    return 1 + sum(2 + len(unit) for unit in gathered)


def _aggregate(gathered: list[bytes]) -> bytes:
    """One unit stands alone, several share a STAP-A (section 5.7.1)."""
    if len(gathered) == 1:
        return gathered[0]
    importance = max(unit[0] & _IMPORTANCE for unit in gathered)
    return bytes([importance | _STAP_A]) + b"".join(len(unit).to_bytes(2) + unit for unit in gathered)


def _fragments(unit: bytes, limit: int) -> list[bytes]:
    """Cut a unit into FU-As (section 5.8), each as large as the others or one byte larger."""
    body = unit[1:]
    count = -(-len(body) // (limit - _FU_HEADER_BYTES))
    bounds = [len(body) * index // count for index in range(count + 1)]
    indicator = unit[0] & _IMPORTANCE | _FU_A
    fragments = []
    for index in range(count):
        ends = (0x80 if index == 0 else 0) | (0x40 if index == count - 1 else 0)
        header = bytes([indicator, ends | unit[0] & _TYPE])
        fragments.append(header + body[bounds[index] : bounds[index + 1]])
    return fragments
