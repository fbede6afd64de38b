"""From input to packet: how long a viewer's input takes to show in what leaves for them. Pure."""

from collections import deque

MAX_TIMED_INPUTS = 64
TIMINGS_KEPT = 2000


class InputTimer:
    """Times a stream's inputs from their arrival to the first packet of the picture that shows them."""

    def __init__(self) -> None:
        self._arrived: deque[tuple[int, float]] = deque(maxlen=MAX_TIMED_INPUTS)
        self._shown_at: dict[int, list[float]] = {}

    def arrived(self, sequence: int, now: float) -> None:
        """An input came in at `now`."""
        self._arrived.append((sequence, now))

    def shown(self, sequence: int, timestamp: int) -> None:
        """The picture with this timestamp shows all inputs up to `sequence`."""
        arrivals: list[float] = []
        while self._arrived and self._arrived[0][0] <= sequence:
            arrivals.append(self._arrived.popleft()[1])
        if arrivals:
            while len(self._shown_at) >= MAX_TIMED_INPUTS:
                del self._shown_at[next(iter(self._shown_at))]
            self._shown_at[timestamp] = arrivals

    def left(self, timestamp: int, now: float) -> list[float]:
        """The picture's first packet left at `now`; returns its inputs' delays in milliseconds."""
        return [(now - arrival) * 1000.0 for arrival in self._shown_at.pop(timestamp, ())]
