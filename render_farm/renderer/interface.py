"""What a renderer is: a batch of views in, a planar frame for each of them out.

Coordinates are right-handed with y up, metres; at yaw 0 a camera looks along -z, positive yaw turns left.
A renderer draws the barcode never: the node stamps it on the frame afterwards (`render_farm.barcode`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from render_farm.scene.model import Scene


class PixelLayout(StrEnum):
    """Memory layouts of a 4:2:0 frame, named as FFmpeg names them."""

    I420 = "yuv420p"
    NV12 = "nv12"


@dataclass(frozen=True, slots=True)
class PlanarFrame:
    """One drawn view, BT.709 limited range.

    `pixels`: uint8, C-contiguous, shape (height * 3 // 2, width). Rows [0, height) are luma. For I420 the rest
    is the U plane, then the V plane, each (height // 2, width // 2) laid out densely; for NV12 it is one plane
    of interleaved U, V, shape (height // 2, width). The renderer may reuse the memory once the next batch
    but one is asked for, so whoever keeps a frame longer copies it.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    layout: PixelLayout


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera. `position` is (x, y, z) in metres; `vertical_fov` in radians."""

    position: tuple[float, float, float]
    yaw: float
    pitch: float
    vertical_fov: float = 1.0


@dataclass(frozen=True, slots=True)
class AvatarFrame:
    """Everybody who can be seen in one world at one instant; row i of every array is one avatar.

    `positions`: float32 (n, 3), the point between the feet; `yaws`: float32 (n,); `hues`: float32 (n,) in [0, 1);
    `names`: n display names; `hands_raised`: bool (n,); `seated`: bool (n,); `ids`: n participant identifiers.
    """

    positions: NDArray[np.float32]
    yaws: NDArray[np.float32]
    hues: NDArray[np.float32]
    names: tuple[str, ...]
    hands_raised: NDArray[np.bool_]
    seated: NDArray[np.bool_]
    ids: tuple[str, ...]

    @staticmethod
    def empty() -> "AvatarFrame":
        """A world without people."""
        return AvatarFrame(
            positions=np.zeros((0, 3), np.float32),
            yaws=np.zeros(0, np.float32),
            hues=np.zeros(0, np.float32),
            names=(),
            hands_raised=np.zeros(0, np.bool_),
            seated=np.zeros(0, np.bool_),
            ids=(),
        )


@dataclass(frozen=True, slots=True)
class View:
    """One camera on one world for one frame; `width` and `height` are even and at most 3840.

    `hidden_avatar` is the index into `avatars` of the camera's owner, who does not see themself.
    `refine` asks for the best picture the renderer can draw (a gallery at rest), at whatever cost.
    """

    scene: Scene
    avatars: AvatarFrame
    camera: Camera
    width: int
    height: int
    hidden_avatar: int | None = None
    refine: bool = False


class RenderError(Exception):
    """The batch could not be drawn; the message names the limit or the fault and the remedy."""


class Renderer(Protocol):
    """Draws batches of views. One instance per process; `render` is never called concurrently with itself."""

    name: str
    """`cpu` or `wgpu`."""
    device: str
    """The device in words, for operators."""
    max_views: int
    """Views that `render` takes at once."""

    async def load(self, scene: Scene) -> None:
        """Make a scene resident; drawing an unloaded scene loads it. Raises `RenderError` if it does not fit."""

    async def unload(self, scene: Scene) -> None:
        """Free what `load` took, after the batch that is being drawn."""

    async def render(self, views: Sequence[View]) -> Sequence[PlanarFrame]:
        """Draw all views, in order. The picture of a view does not depend on the others in the batch.

        Raises `RenderError`. Never blocks the event loop for longer than a millisecond.
        """

    def close(self) -> None:
        """Free the device."""


@dataclass(frozen=True, slots=True)
class RendererSettings:
    """What is common to all renderers."""

    max_views: int = 64
    max_view_pixels: int = 3840 * 2160
