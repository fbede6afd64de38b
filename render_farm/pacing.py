"""When a view is drawn, and how: a pure state machine per view."""

from dataclasses import dataclass
from enum import Enum, auto


class Work(Enum):
    """What to do with a view at this tick."""

    NOTHING = auto()
    ENCODE = auto()
    REFINE = auto()


@dataclass(frozen=True, slots=True)
class Demand:
    """What is wanted of a view now."""

    watched: bool
    resting: bool
    keyframe: bool


EARLY_SHARE = 0.15
"""A view is drawn up to this share of its interval early, so that views of one rate share a batch."""


HASTE_SHARE = 0.25
"""Fresh input may raise a view's frame rate by this share on average, so that it shows sooner."""
HASTE_CREDIT = 2.0
"""Frames' worth of haste that can be saved up."""
SOONEST_SHARE = 0.4
"""Even in haste two pictures are this share of an interval apart."""


class ViewPacing:
    """Keeps one view to its frame rate; at rest it refines until nothing is left to send. Times in seconds.

    Input that arrives between two pictures would wait half an interval on average. `hasten` draws the next picture
    at once and moves the rhythm along, so that a client that sends input at the frame rate soon has every picture
    drawn right after its input. The haste is paid from a credit, so a flood of input cannot raise the load.
    """

    def __init__(self, fps: int) -> None:
        self.interval_s = 1.0 / fps
        self.refinement_step = 0
        self.refined = False
        self._next_s = 0.0
        self._last_s = float("-inf")
        self._credit = HASTE_CREDIT

    def set_fps(self, fps: int) -> None:
        """Change the frame rate."""
        self.interval_s = 1.0 / fps

    @property
    def next_s(self) -> float:
        """When the view is next due."""
        return self._next_s

    def hasten(self, now: float) -> bool:
        """Fresh input came: draw sooner if there is credit. Returns whether the next picture was moved forward."""
        sooner = max(now, self._last_s + SOONEST_SHARE * self.interval_s)
        saved = (self._next_s - sooner) / self.interval_s
        if saved <= 0.0 or saved > self._credit:
            return False
        self._credit -= saved
        self._next_s = sooner
        return True

    def plan(self, now: float, demand: Demand) -> Work:
        """What to do at `now`. Anything but `NOTHING` counts as done."""
        if now < self._next_s - EARLY_SHARE * self.interval_s:
            return Work.NOTHING
        self._next_s = max(self._next_s + self.interval_s, now + self.interval_s * (1.0 - EARLY_SHARE))
        if not demand.watched:
            return Work.NOTHING
        earned = HASTE_SHARE * min((now - self._last_s) / self.interval_s, HASTE_CREDIT / HASTE_SHARE)
        self._credit = min(HASTE_CREDIT, self._credit + earned)
        self._last_s = now
        if not demand.resting or demand.keyframe:
            self.refinement_step, self.refined = 0, False
            return Work.ENCODE
        return Work.NOTHING if self.refined else Work.REFINE

    def refinement_sent(self, *, finished: bool) -> None:
        """One refinement picture is out; `finished` when nothing was left to send."""
        self.refinement_step += 1
        self.refined = finished
