"""Virtual time: what is to happen, in order."""

import heapq
import itertools
from collections.abc import Callable

Action = Callable[[], None]


class Agenda:
    """`now` in seconds from the beginning; of what is due at the same time, the first noted comes first."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done = 0
        self._due: list[tuple[float, int, Action]] = []
        self._order = itertools.count()

    def after(self, seconds: float, action: Action) -> None:
        """Do this in so many seconds."""
        heapq.heappush(self._due, (self.now + seconds, next(self._order), action))

    def every(self, seconds: float, action: Action) -> None:
        """Do this again and again, first after one interval; never if the interval is 0."""
        if seconds <= 0:
            return

        def again() -> None:
            action()
            self.after(seconds, again)

        self.after(seconds, again)

    def run(self, until_s: float) -> None:
        """Let everything happen that is due by then."""
        due = self._due
        while due and due[0][0] <= until_s:
            self.now, _, action = heapq.heappop(due)
            self.done += 1
            action()
        self.now = until_s
