"""Explore: everybody walks with a camera of their own and sees the others."""

from render_farm.renderer.interface import Camera
from render_farm.scene.model import Places
from render_farm.world.mode import Person
from render_farm.world.walking import EYE_HEIGHT_M, walk

MAX_PITCH = 1.4


class Explore:
    """Rules of `Mode.EXPLORE`."""

    shows_avatars = True
    refines_at_rest = False

    def __init__(self, places: Places) -> None:
        self._places = places

    def place(self, person: Person, index: int) -> None:
        """Newcomers take the spawn points in turn."""
        x, y, z, yaw = (float(value) for value in self._places.spawns[index % len(self._places.spawns)])
        person.position, person.yaw_base = (x, y, z), yaw

    def rebase(self, person: Person) -> None:
        """Where the person faces now becomes their new base."""
        person.yaw_base = person.yaw

    def step(self, person: Person, elapsed_s: float) -> None:
        """Walk."""
        person.position = walk(person.position, person.yaw, person.input, elapsed_s, self._places)

    def camera(self, person: Person | None, aspect: float) -> Camera:
        """The eyes of the person; the first spawn point for a view without an owner."""
        if person is None:
            x, y, z, yaw = (float(value) for value in self._places.spawns[0])
            return Camera((x, y + EYE_HEIGHT_M, z), yaw, 0.0)
        x, y, z = person.position
        pitch = min(max(person.input.pitch, -MAX_PITCH), MAX_PITCH)
        return Camera((x, y + EYE_HEIGHT_M, z), person.yaw, pitch)
