"""The size of a picture that a decoder can start from, read off its first bytes.

H.264: the sequence parameter set (ITU-T H.264, section 7.3.2.1.1); VP8: the frame header (RFC 6386, section 9.1).
"""

from collections.abc import Iterator

from broker.protocol import Codec

_SPS = 7
_CHROMA_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
"""Profiles whose parameter set says more of chroma and depth."""
_MAX_SPS_BYTES = 512
_MAX_HEAD_BYTES = 4096
"""Parameter sets come before everything that is large."""
MAX_SIDE = 16_384
_VP8_START_CODE = b"\x9d\x01\x2a"


def picture_size(codec: Codec, payload: bytes) -> tuple[int, int] | None:
    """Width and height of a keyframe (H.264 in Annex B format, or VP8); `None` if they cannot be read."""
    try:
        size = _vp8_size(payload) if codec is Codec.VP8 else _h264_size(payload[:_MAX_HEAD_BYTES])
    except IndexError:
        return None
    return size if size is not None and all(0 < side <= MAX_SIDE for side in size) else None


def _h264_size(head: bytes) -> tuple[int, int] | None:
    return next((_sps_size(unit) for unit in _units(head)), None)


def _vp8_size(payload: bytes) -> tuple[int, int] | None:
    if len(payload) < 10 or payload[0] & 1 or payload[3:6] != _VP8_START_CODE:
        return None
    return int.from_bytes(payload[6:8], "little") & 0x3FFF, int.from_bytes(payload[8:10], "little") & 0x3FFF


def _units(payload: bytes) -> Iterator[bytes]:
    """The parameter sets of an access unit, without start codes."""
    start = payload.find(b"\0\0\1")
    while 0 <= start < len(payload) - 3:
        following = payload.find(b"\0\0\1", start + 3)
        if payload[start + 3] & 0x1F == _SPS:
            end = len(payload) if following < 0 else following
            yield payload[start + 4 : min(end, start + 4 + _MAX_SPS_BYTES)].replace(b"\0\0\3", b"\0\0")
        start = following


class _Bits:
    """Reads bits, most significant first; `IndexError` at the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, count: int) -> int:
        value = 0
        for _ in range(count):
            value = value << 1 | self._data[self._at >> 3] >> (7 - (self._at & 7)) & 1
            self._at += 1
        return value

    def unsigned(self) -> int:
        """An Exp-Golomb code (section 9.1)."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip_scaling_list(self, entries: int) -> None:
        last = scale = 8
        for _ in range(entries):
            if scale:
                code = self.unsigned()
                scale = (last + ((code + 1) // 2 if code & 1 else -(code // 2)) + 256) % 256
            last = scale or last


def _sps_size(sps: bytes) -> tuple[int, int]:
    bits = _Bits(sps)
    profile = bits.take(8)
    bits.take(16)
    bits.unsigned()
    chroma_format = _skip_chroma(bits) if profile in _CHROMA_PROFILES else 1
    bits.unsigned()
    _skip_picture_order(bits)
    bits.unsigned()
    bits.take(1)
    width_mbs, height_maps = bits.unsigned() + 1, bits.unsigned() + 1
    frame_mbs_only = bits.take(1)
    if not frame_mbs_only:
        bits.take(1)
    bits.take(1)
    left, right, top, bottom = (bits.unsigned() for _ in range(4)) if bits.take(1) else (0, 0, 0, 0)
    unit_x = 2 if chroma_format in (1, 2) else 1
    unit_y = (2 if chroma_format == 1 else 1) * (2 - frame_mbs_only)
    width = width_mbs * 16 - unit_x * (left + right)
    return width, height_maps * 16 * (2 - frame_mbs_only) - unit_y * (top + bottom)


def _skip_chroma(bits: _Bits) -> int:
    chroma_format = bits.unsigned()
    if chroma_format == 3:
        bits.take(1)
    bits.unsigned()
    bits.unsigned()
    bits.take(1)
    if bits.take(1):
        for index in range(12 if chroma_format == 3 else 8):
            if bits.take(1):
                bits.skip_scaling_list(16 if index < 6 else 64)
    return chroma_format


def _skip_picture_order(bits: _Bits) -> None:
    kind = bits.unsigned()
    if kind == 0:
        bits.unsigned()
    elif kind == 1:
        bits.take(1)
        bits.unsigned()
        bits.unsigned()
        for _ in range(min(bits.unsigned(), 255)):
            bits.unsigned()
