"""Which picture a viewer gets: codec, size, frame rate, bitrate, and what drawing it costs.

One unit is one 1280x720 view at 30 frames/s. The core counts in thousandths of it (milliunits), because
integers add up exactly and a claim must never be refused or granted by a rounding error.

Where the client's line is narrow, or capacity is scarce, a viewer gets less than was wished, rung by rung down a
`PictureLadder`, before being refused. A view that was stepped down stays so until it is placed anew: it does not grow
back when others leave.
"""

import heapq
import math
from collections.abc import Sequence

from msgspec import Struct, structs

from broker.protocol import Codec, H264Profile, VideoCapability, Viewport

UNIT_PIXELS_PER_S = 1280 * 720 * 30
MIN_SIDE_PIXELS = 160
MIN_BITRATE_BPS = 300_000
BITS_PER_PIXEL = 0.12
"""About 3.3 Mbit/s at 720p30: clean pictures from x264 superfast."""
LEAST_BITS_PER_PIXEL = 0.045
"""About 1.2 Mbit/s at 720p30: below it a smaller picture looks better."""
BANDWIDTH_SHARE = 0.8
"""How much of a client's measured bandwidth the picture may count on."""

CodecChoice = tuple[Codec, H264Profile | None]


class PictureLimits(Struct, frozen=True, kw_only=True):
    """The largest picture the deployment gives: `max_long_side` and `max_pixels` in pixels, `fps` per second."""

    max_long_side: int = 1280
    max_pixels: int = 1280 * 720
    fps: int = 30
    stage_layers: int = 3
    """Simulcast layers of a stage, which is for viewers with all kinds of lines."""


class PictureLadder(Struct, frozen=True, kw_only=True):
    """What is offered instead of the wished picture, best first.

    `steps` are factors of the wished width and height, and of the wished frame rate. No step goes below
    `min_long_side` pixels, unless the wish itself did.
    """

    steps: tuple[tuple[float, float], ...] = ((1.0, 1.0), (0.75, 1.0), (0.5, 1.0), (0.5, 0.5), (0.25, 0.5))
    min_long_side: int = 320


class Picture(Struct, frozen=True, kw_only=True):
    """What a view is drawn and encoded as."""

    width: int
    height: int
    fps: int
    codec: Codec
    profile: H264Profile | None
    layers: int = 1
    """Simulcast layers, each with half the width and height of the next higher one."""

    @property
    def milliunits(self) -> int:
        """What drawing and encoding it costs, rounded up to thousandths of a unit."""
        pixels = sum(self.width * self.height >> 2 * below for below in range(self.layers))
        return math.ceil(pixels * self.fps * 1000 / UNIT_PIXELS_PER_S)

    @property
    def max_bitrate_bps(self) -> int:
        """Where adaptive bitrate stops rising."""
        return max(MIN_BITRATE_BPS, int(self.width * self.height * self.fps * BITS_PER_PIXEL))

    @property
    def least_bitrate_bps(self) -> int:
        """The bitrate below which a smaller picture looks better."""
        return int(self.width * self.height * self.fps * LEAST_BITS_PER_PIXEL)


def codec_choices(capabilities: Sequence[VideoCapability]) -> list[CodecChoice]:
    """What a client can play, best first: H.264 main (High decoders play it too), constrained baseline, VP8."""
    if not capabilities:
        return [(Codec.H264, H264Profile.CONSTRAINED_BASELINE)]
    profiles = [p.lower() for c in capabilities if c.codec is Codec.H264 for p in (c.profiles or ["42e0"])]
    choices: list[CodecChoice] = []
    if any(p.startswith(("4d", "64")) for p in profiles):
        choices.append((Codec.H264, H264Profile.MAIN))
    if any(p.startswith("42") for p in profiles):
        choices.append((Codec.H264, H264Profile.CONSTRAINED_BASELINE))
    if any(c.codec is Codec.VP8 for c in capabilities):
        choices.append((Codec.VP8, None))
    return choices or [(Codec.H264, H264Profile.CONSTRAINED_BASELINE)]


def stage_choices(capabilities: Sequence[VideoCapability]) -> list[CodecChoice]:
    """As `codec_choices`, for a picture shared by everyone: the one H.264 profile that all decoders play."""
    choices = [choice for choice in codec_choices(capabilities) if choice[1] is not H264Profile.MAIN]
    return choices or [(Codec.H264, H264Profile.CONSTRAINED_BASELINE)]


def own_picture(viewport: Viewport, limits: PictureLimits, choice: CodecChoice) -> Picture:
    """The picture of a participant's own camera: the viewport's aspect, as large as the limits allow."""
    width, height = _limited(viewport.width, viewport.height, limits)
    fps = min(viewport.max_fps, limits.fps)
    return Picture(width=width, height=height, fps=fps, codec=choice[0], profile=choice[1])


def stage_picture(choice: CodecChoice, layers: int) -> Picture:
    """The conference stage: the same for everyone, whatever their screens, in layers for narrow lines."""
    return Picture(width=1280, height=720, fps=30, codec=choice[0], profile=choice[1], layers=layers)


def within_bandwidth(wished: Picture, bandwidth_bps: float | None, ladder: PictureLadder) -> Picture:
    """The best rung whose pictures are still fair at this bandwidth (`None`: unknown), or the lowest."""
    if bandwidth_bps is None:
        return wished
    pictures = rungs(wished, ladder)
    return next((p for p in pictures if p.least_bitrate_bps <= bandwidth_bps * BANDWIDTH_SHARE), pictures[-1])


def within_budget(wished: Picture, milliunits: int) -> Picture:
    """The picture, made as much smaller as it takes to cost no more than `milliunits`.

    Its longer side alone shrinks last, when the shorter one and the frame rate are at their least.
    """
    picture, scale = wished, math.sqrt(milliunits / wished.milliunits)
    while picture.milliunits > milliunits and min(picture.width, picture.height) > MIN_SIDE_PIXELS:
        picture, scale = _sized(picture, wished, scale), scale * 0.98
    while picture.milliunits > milliunits and picture.fps > 1:
        picture = structs.replace(picture, fps=picture.fps - 1)
    while picture.milliunits > milliunits and max(picture.width, picture.height) > MIN_SIDE_PIXELS:
        picture, scale = _sized(picture, wished, scale), scale * 0.98
    return picture


def _sized(picture: Picture, wished: Picture, scale: float) -> Picture:
    return structs.replace(picture, width=_even(wished.width * scale), height=_fourth(wished.height * scale))


def rungs(wished: Picture, ladder: PictureLadder) -> list[Picture]:
    """The pictures that may be offered for `wished`, best and dearest first, each cheaper than the one before.

    Simulcast layers go first: one layer that adapts to its viewers is better than several small ones.
    """
    pictures = [wished]
    for scale, rate in ladder.steps:
        picture = _scaled(structs.replace(wished, layers=1), scale, rate, ladder.min_long_side)
        if picture.milliunits < pictures[-1].milliunits:
            pictures.append(picture)
    return pictures


def fit(wishes: Sequence[Picture], free: int, ladder: PictureLadder) -> list[Picture] | None:
    """The best pictures for views that share `free` milliunits, in the order of `wishes`; `None` if there are none.

    The dearest steps down first, so that all suffer alike.
    """
    ladders = [rungs(wish, ladder) for wish in wishes]
    chosen = [0] * len(wishes)
    needed = sum(wish.milliunits for wish in wishes)
    dearest = [(-wish.milliunits, index) for index, wish in enumerate(wishes)]
    heapq.heapify(dearest)
    while needed > free and dearest:
        cost, index = heapq.heappop(dearest)
        if chosen[index] + 1 == len(ladders[index]):
            continue
        chosen[index] += 1
        cheaper = ladders[index][chosen[index]].milliunits
        needed += cost + cheaper
        heapq.heappush(dearest, (-cheaper, index))
    return None if needed > free else [steps[at] for steps, at in zip(ladders, chosen, strict=True)]


def _scaled(wished: Picture, scale: float, rate: float, min_long_side: int) -> Picture:
    long_side, short_side = max(wished.width, wished.height), min(wished.width, wished.height)
    scale = min(1.0, max(scale, min_long_side / long_side, MIN_SIDE_PIXELS / short_side))
    return structs.replace(
        wished,
        width=_even(wished.width * scale),
        height=_fourth(wished.height * scale),
        fps=max(1, math.floor(wished.fps * rate)),
    )


def _limited(width: int, height: int, limits: PictureLimits) -> tuple[int, int]:
    scale = min(
        1.0,
        limits.max_long_side / max(width, height),
        math.sqrt(limits.max_pixels / (width * height)),
    )
    return _even(width * scale), _fourth(height * scale)


def _even(side: float) -> int:
    return max(MIN_SIDE_PIXELS, int(side + 1e-6) // 2 * 2)


def _fourth(side: float) -> int:
    """Encoders share a picture's memory if its height is a multiple of four, and must copy it otherwise."""
    return max(MIN_SIDE_PIXELS, int(side + 1e-6) // 4 * 4)
