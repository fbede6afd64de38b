"""When a webhook that failed is tried again, and when it is given up."""

from dataclasses import dataclass

STANDARD_DELAYS_S = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
"""The schedule of Standard Webhooks 1.0.0 ("Deliverability and reliability"): ten attempts within 76 hours."""
SPREAD = 0.1
"""Of a delay, either way: what failed together does not come again together."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long after each failed attempt the next one is made; after the last an event is a dead letter."""

    delays_s: tuple[float, ...] = STANDARD_DELAYS_S

    def __post_init__(self) -> None:
        if any(delay_s <= 0 for delay_s in self.delays_s):
            raise ValueError("webhook_retry: give delays of more than 0 s")

    def delay_s(self, attempts: int, jitter: float) -> float | None:
        """Seconds until the next attempt after so many; `None` if there is none. `jitter` is from 0 to 1."""
        if attempts > len(self.delays_s):
            return None
        return self.delays_s[attempts - 1] * (1.0 - SPREAD + 2.0 * SPREAD * jitter)
