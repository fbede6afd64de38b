"""The scenes a node holds ready to draw: those of its worlds, and a few that were used lately."""

from collections.abc import Collection

import structlog

from render_farm.renderer.interface import Renderer
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Scene

_log = structlog.get_logger(__name__)

MOST_IDLE = 3
"""Scenes kept ready without a world, so that who comes back need not wait; more would fill the GPU's memory."""


class ResidentScenes:
    """Loads scenes into `library` and `renderer`, and forgets the least recently used ones that are idle."""

    def __init__(self, library: SceneLibrary, renderer: Renderer) -> None:
        self._library = library
        self._renderer = renderer
        self._recent: dict[Scene, None] = {}
        """In order of use, latest last."""

    async def load(self, scene: Scene) -> None:
        """Make a scene of the library drawable. Raises `RenderError` if it does not fit."""
        await self._renderer.load(scene)
        self._recent.pop(scene, None)
        self._recent[scene] = None

    async def forget_idle(self, in_use: Collection[Scene]) -> None:
        """Free all scenes but those `in_use` and the `MOST_IDLE` used last."""
        idle = [scene for scene in self._recent if scene not in in_use]
        for scene in idle[: max(0, len(idle) - MOST_IDLE)]:
            _log.info("scene_forgotten", scene=scene.name)
            del self._recent[scene]
            self._library.forget(scene.name)
            await self._renderer.unload(scene)
