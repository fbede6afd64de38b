"""Conference: one stage view for everybody; people sit in the hall, a host moves the camera."""

from render_farm.renderer.interface import Camera
from render_farm.scene.model import Places, StageCamera
from render_farm.world.explore import MAX_PITCH
from render_farm.world.mode import Person
from render_farm.world.walking import EYE_HEIGHT_M, walk


class Conference:
    """Rules of `Mode.CONFERENCE`."""

    shows_avatars = True
    refines_at_rest = False

    def __init__(self, places: Places) -> None:
        self._places = places
        self._cameras = {camera.name: camera for camera in places.stage_cameras} or {"spawn": _spawn_camera(places)}
        self.stage_camera = next(iter(self._cameras))
        self.director: Person | None = None
        """The host whose input moves the camera away from its place."""
        self._offset_position = self._chosen().position
        self._yaw_base = 0.0

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the stage cameras."""
        return tuple(self._cameras)

    def choose(self, camera: str, director: Person | None) -> bool:
        """Switch to a stage camera; False if there is none of this name."""
        if camera not in self._cameras:
            return False
        self.stage_camera = camera
        self.director = director
        self._offset_position = self._chosen().position
        self._yaw_base = -director.input.yaw if director is not None else 0.0
        return True

    def place(self, person: Person, index: int) -> None:
        """Everybody has the seat the broker gave them; who has none stands unseen."""
        if person.seat is not None and person.seat < len(self._places.seats):
            x, y, z, yaw = (float(value) for value in self._places.seats[person.seat])
            person.position, person.yaw_base = (x, y, z), yaw

    def rebase(self, person: Person) -> None:
        """The director's turning so far stays."""
        if person is self.director:
            self._yaw_base += person.input.yaw

    def step(self, person: Person, elapsed_s: float) -> None:
        """The director's walking moves the camera."""
        if person is self.director:
            yaw = self._chosen().yaw + self._yaw_base + person.input.yaw
            x, y, z = self._offset_position
            self._offset_position = walk((x, y, z), yaw, person.input, elapsed_s, self._places)

    def camera(self, person: Person | None, aspect: float) -> Camera:
        """The stage camera, whoever asks."""
        chosen = self._chosen()
        if self.director is None:
            return Camera(chosen.position, chosen.yaw, chosen.pitch)
        pitch = min(max(chosen.pitch + self.director.input.pitch, -MAX_PITCH), MAX_PITCH)
        return Camera(self._offset_position, chosen.yaw + self._yaw_base + self.director.input.yaw, pitch)

    def _chosen(self) -> StageCamera:
        return self._cameras[self.stage_camera]


def _spawn_camera(places: Places) -> StageCamera:
    x, y, z, yaw = (float(value) for value in places.spawns[0])
    return StageCamera("spawn", (x, y + EYE_HEIGHT_M, z), yaw, 0.0)
