"""Gallery: each visitor turns one exhibit in front of them; at rest the picture is refined."""

import math

from render_farm.renderer.interface import Camera
from render_farm.scene.model import Exhibit, Places
from render_farm.world.mode import Person

DEFAULT_DISTANCE_RADII = 2.7
MIN_DISTANCE_RADII = 1.15
MAX_DISTANCE_RADII = 8.0
DEFAULT_ELEVATION = 0.22
MIN_ELEVATION = -0.15
MAX_ELEVATION = 1.35
MIN_HEIGHT_M = 0.15
VERTICAL_FOV = 0.8
LOOK_BELOW = 0.05
"""Radians by which the exhibit stands above the middle, clear of the buttons at the lower edge."""


class Gallery:
    """Rules of `Mode.GALLERY`."""

    shows_avatars = False
    refines_at_rest = True

    def __init__(self, places: Places) -> None:
        self._exhibits = {exhibit.exhibit: exhibit for exhibit in places.exhibits}
        x, y, z, _ = (float(value) for value in places.spawns[0])
        self._nothing = Exhibit("nothing", {}, (x, y + 1.0, z), 1.0)

    def place(self, person: Person, index: int) -> None:
        """Newcomers begin at the first exhibit."""
        person.exhibit = next(iter(self._exhibits), None)
        person.position = self._exhibit(person).position

    def rebase(self, person: Person) -> None:
        """Where the person faces now becomes their new base."""
        person.yaw_base = person.yaw

    def step(self, person: Person, elapsed_s: float) -> None:
        """Nothing moves by itself here."""

    def has(self, exhibit: str) -> bool:
        """Whether the scene has this exhibit."""
        return exhibit in self._exhibits

    def camera(self, person: Person | None, aspect: float) -> Camera:
        """An orbit around the person's exhibit."""
        exhibit = self._exhibit(person)
        held = person.input if person is not None else None
        yaw = exhibit.yaw + (person.yaw_base + held.yaw if person is not None and held is not None else 0.0)
        elevation = DEFAULT_ELEVATION - (held.pitch if held is not None else 0.0)
        elevation = min(max(elevation, MIN_ELEVATION), MAX_ELEVATION)
        radii = DEFAULT_DISTANCE_RADII * math.exp(-(held.zoom if held is not None else 0.0))
        distance = exhibit.radius * min(max(radii, MIN_DISTANCE_RADII), MAX_DISTANCE_RADII) * max(1.0, 1.0 / aspect)
        x, y, z = exhibit.position
        eye_y = max(y + distance * math.sin(elevation), MIN_HEIGHT_M)
        horizontal = distance * math.cos(elevation)
        position = (x + horizontal * math.sin(yaw), eye_y, z + horizontal * math.cos(yaw))
        return Camera(position, yaw, -math.atan2(eye_y - y, horizontal) - LOOK_BELOW, VERTICAL_FOV)

    def _exhibit(self, person: Person | None) -> Exhibit:
        name = person.exhibit if person is not None else None
        return self._exhibits.get(name or "", self._nothing)
