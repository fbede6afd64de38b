"""The store's part: claims with rising fences, granted as long as they fit."""

from broker.core.effects import Claim, Release


class Book:
    """As the store does it: a claim that does not fit is refused, and every fence is newer than any before."""

    def __init__(self) -> None:
        self._pools: dict[str, dict[str, int]] = {}
        self._totals: dict[str, int] = {}
        self._fence = 0
        self.granted = 0
        self.refused = 0

    def claim(self, effect: Claim) -> int | None:
        """The fence, or `None` if there is no room."""
        held = self._pools.setdefault(effect.pool, {})
        total = self._totals.get(effect.pool, 0) - held.get(effect.key, 0) + effect.amount
        if total > effect.capacity:
            self.refused += 1
            return None
        held[effect.key] = effect.amount
        self._totals[effect.pool] = total
        self._fence = max(self._fence, effect.fence_floor) + 1
        self.granted += 1
        return self._fence

    def release(self, effect: Release) -> None:
        """Give one back."""
        self._totals[effect.pool] -= self._pools[effect.pool].pop(effect.key)

    def total(self, pool: str) -> int:
        """What is claimed of a pool."""
        return self._totals.get(pool, 0)
