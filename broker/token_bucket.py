"""A token bucket for every role's limits: the time comes in as an argument, nothing else is needed."""


class TokenBucket:
    """Allows `rate_per_s` on average and `burst` at once."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._updated_s: float | None = None

    def take(self, now: float) -> bool:
        """Whether one more is allowed at `now` (monotonic seconds); if so it counts."""
        if self._updated_s is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._updated_s) * self._rate_per_s)
        self._updated_s = now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    @property
    def wait_s(self) -> float:
        """Seconds from the last `take` until one more is allowed; 0 if it is already."""
        return max(0.0, 1.0 - self._tokens) / self._rate_per_s
