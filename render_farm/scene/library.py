"""The scenes a node can show: the built-in campus and the operator's own glTF files, by name."""

import re
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

import structlog

from render_farm.scene.gltf import load_scene
from render_farm.scene.limits import SceneLimits
from render_farm.scene.model import Scene, SceneError

_log = structlog.get_logger(__name__)

_BUILT_IN = Path(__file__).parent / "assets"
_SUFFIXES = (".glb", ".gltf")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
NAME_RULE = "letters, digits, '_', '.', '-', at most 64, beginning with a letter or digit"


class SceneLibrary:
    """Scenes by name, read when first asked for and kept until forgotten. Safe to use from several threads.

    `extra_dirs` are searched for `*.glb` and `*.gltf`; a scene's name is its file's stem, asked for in any case. The
    first directory that has a name wins, the built-in scenes come last.
    """

    def __init__(self, extra_dirs: Iterable[Path] = (), limits: SceneLimits | None = None) -> None:
        self._limits = limits or SceneLimits()
        self._paths = _scan((*extra_dirs, _BUILT_IN))
        self._scenes: dict[str, Scene] = {}
        self._lock = Lock()

    def names(self) -> list[str]:
        """All scenes that can be asked for, sorted."""
        return sorted(self._paths)

    def path(self, name: str) -> Path:
        """The file of a scene. Raises `SceneError` for an unknown name."""
        for known, path in self._paths.items():
            if known.lower() == name.lower():
                return path
        raise SceneError(f"there is no scene {name!r}; known are {', '.join(self.names())}")

    def load(self, name: str) -> Scene:
        """The scene, the same object until it is forgotten. Blocks on first use; raises `SceneError`."""
        path = self.path(name)
        with self._lock:
            if path.stem not in self._scenes:
                self._scenes[path.stem] = load_scene(path, path.stem, self._limits)
            return self._scenes[path.stem]

    def forget(self, name: str) -> None:
        """Free a scene's memory; it is read again when it is next asked for."""
        with self._lock:
            self._scenes.pop(name, None)


def _scan(folders: Iterable[Path]) -> dict[str, Path]:
    """Scene files by name; one whose name cannot be a scene's is left out, and the log says why."""
    paths: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise SceneError(f"the scene folder {str(folder)!r} does not exist")
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in _SUFFIXES:
                continue
            if not _NAME.fullmatch(path.stem):
                _log.warning("scene_left_out", file=str(path), remedy=f"rename it: {NAME_RULE}")
            elif path.stem.lower() not in (name.lower() for name in paths):
                paths[path.stem] = path
    return paths
