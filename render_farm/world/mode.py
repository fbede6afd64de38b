"""What a mode decides: where a participant stands, what their input does, and which camera a view has."""

from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from broker.protocol import Input, Role
from broker.token_bucket import TokenBucket
from render_farm.renderer.interface import Camera

CHAT_LINES_PER_S = 0.5
CHAT_LINES_BURST = 5.0
HANDS_PER_S = 1.0
HANDS_BURST = 6.0
"""Each change of a hand is told to everybody."""


class Retained(msgspec.Struct, omit_defaults=True):
    """What a view leaves at its edge so that a successor goes on: at most a few hundred bytes of JSON."""

    position: tuple[float, float, float] | None = None
    yaw_base: float = 0.0
    input: Input | None = None
    exhibit: str | None = None
    stage_camera: str | None = None
    hands: list[str] = []


@dataclass(slots=True)
class Person:
    """A participant in the world. `yaw_base` is the yaw at which the client's own sum of turning is zero."""

    participant: str
    display_name: str
    role: Role
    muted: bool
    hue: float
    seat: int | None = None
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw_base: float = 0.0
    hand_raised: bool = False
    exhibit: str | None = None
    input: Input = field(default_factory=lambda: Input(seq=0))
    input_time_s: float = float("-inf")
    """When input last changed something."""
    heard_time_s: float = float("-inf")
    """When input last arrived at all."""
    chat_bucket: TokenBucket = field(default_factory=lambda: TokenBucket(CHAT_LINES_PER_S, CHAT_LINES_BURST))
    hand_bucket: TokenBucket = field(default_factory=lambda: TokenBucket(HANDS_PER_S, HANDS_BURST))
    present: bool = False
    """Whether a viewer is connected; only then does the avatar appear."""

    @property
    def yaw(self) -> float:
        """Where the person faces."""
        return self.yaw_base + self.input.yaw


class ModeRules(Protocol):
    """One room mode. Pure: time steps come in as arguments."""

    shows_avatars: bool
    """Whether people see each other in the picture."""
    refines_at_rest: bool
    """Whether a view whose input rests becomes a refined still picture."""

    def place(self, person: Person, index: int) -> None:
        """Give a newcomer, the `index`-th of the room, their place."""

    def rebase(self, person: Person) -> None:
        """The person's client counts its input from zero again; the camera must not jump."""

    def step(self, person: Person, elapsed_s: float) -> None:
        """Let the person's held input act for `elapsed_s`."""

    def camera(self, person: Person | None, aspect: float) -> Camera:
        """The camera of the person's view, for a picture `aspect` times as wide as high; the shared one for `None`."""
