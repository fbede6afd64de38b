"""The scenes a node can show: the built-in campus and the operator's own glTF files, by name."""

from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from render_farm.scene.gltf import load_scene
from render_farm.scene.limits import SceneLimits
from render_farm.scene.model import Scene, SceneError

_BUILT_IN = Path(__file__).parent / "assets"
_SUFFIXES = (".glb", ".gltf")


class SceneLibrary:
    """Scenes by name, read when first asked for and kept until forgotten. Safe to use from several threads.

    `extra_dirs` are searched for `*.glb` and `*.gltf`; a scene's name is its file's stem in lower case. The first
    directory that has a name wins, the built-in scenes come last.
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
        try:
            return self._paths[name]
        except KeyError:
            raise SceneError(f"there is no scene {name!r}; known are {', '.join(self.names())}") from None

    def load(self, name: str) -> Scene:
        """The scene, the same object until it is forgotten. Blocks on first use; raises `SceneError`."""
        with self._lock:
            if name not in self._scenes:
                self._scenes[name] = load_scene(self.path(name), name, self._limits)
            return self._scenes[name]

    def forget(self, name: str) -> None:
        """Free a scene's memory; it is read again when it is next asked for."""
        with self._lock:
            self._scenes.pop(name, None)


def _scan(folders: Iterable[Path]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise SceneError(f"the scene folder {str(folder)!r} does not exist")
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in _SUFFIXES:
                paths.setdefault(path.stem.lower(), path)
    return paths
