"""The store's part: claims with rising fences, granted as long as they fit."""

from broker.core.effects import Claim, Release


class Book:
    """As the store does it: a claim that does not fit is refused, and every fence is newer than any before."""

    def __init__(self) -> None:
        self._pools: dict[str, dict[str, tuple[int, int]]] = {}
        """Amount and fence by pool and key."""
        self._totals: dict[str, int] = {}
        self._fence = 0
        self.granted = 0
        self.refused = 0

    def claim(self, effect: Claim) -> int | None:
        """The fence, or `None` if there is no room."""
        held = self._pools.setdefault(effect.pool, {})
        total = self._totals.get(effect.pool, 0) - held.get(effect.key, (0, 0))[0] + effect.amount
        if total > effect.capacity:
            self.refused += 1
            return None
        self._fence = max(self._fence, effect.fence_floor) + 1
        held[effect.key] = effect.amount, self._fence
        self._totals[effect.pool] = total
        self.granted += 1
        return self._fence

    def release(self, effect: Release) -> None:
        """Give one back, unless it has been claimed anew since."""
        held = self._pools.get(effect.pool, {})
        amount, fence = held.get(effect.key, (0, 0))
        if fence == effect.fence:
            del held[effect.key]
            self._totals[effect.pool] -= amount
