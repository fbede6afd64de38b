"""What an encoder says of the picture it has just made: libav's `AV_PKT_DATA_QUALITY_STATS` packet side data.

Layout (libavcodec/packet.h): little-endian u32 quality (quantiser times `FF_QP2LAMBDA`), u8 picture type, u8 error
count, u16 reserved, then a u64 sum of squared errors for each plane, if the encoder was told to measure them.
"""

import math
import struct
from dataclasses import dataclass

from av.packet import Packet
from av.video.stream import VideoStream

_LAMBDA_PER_QUANTISER = 118
_HEADER = struct.Struct("<IBBH")
_PEAK = 255


@dataclass(frozen=True, slots=True)
class Quality:
    """`quantiser` in the codec's own scale; `psnr_db` of luma against the source frame, where it was measured."""

    quantiser: float
    psnr_db: float | None


def of_packet(packet: "Packet[VideoStream]", luma_pixels: int) -> Quality | None:
    """Return what the encoder says of this packet's picture of `luma_pixels`, if anything."""
    if not packet.has_sidedata("quality_stats"):
        return None
    statistics = bytes(packet.get_sidedata("quality_stats"))
    quality, _, error_count, _ = _HEADER.unpack_from(statistics)
    squared_errors = struct.unpack_from("<Q", statistics, _HEADER.size)[0] if error_count else None
    return Quality(quality / _LAMBDA_PER_QUANTISER, _psnr_db(squared_errors, luma_pixels))


def _psnr_db(squared_errors: int | None, pixels: int) -> float | None:
    if squared_errors is None:
        return None
    return 10 * math.log10(_PEAK**2 * pixels / max(squared_errors, 1))
