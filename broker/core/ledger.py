"""The core's own book of capacity claims: what it has asked the store for and been granted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class LedgerEntry:
    """One claim. `fence` is 0 until the store has granted it."""

    amount: int
    fence: int = 0


@dataclass(slots=True)
class Ledger:
    """Claims by pool (a node's milliunits, an edge's places) and key (a view, a session)."""

    _pools: dict[str, dict[str, LedgerEntry]] = field(default_factory=dict)
    _totals: dict[str, int] = field(default_factory=dict)
    on_change: Callable[[str, int], None] = lambda pool, total: None
    """Told the pool and what is claimed of it, after each change."""

    def add(self, pool: str, key: str, amount: int, fence: int = 0) -> None:
        """Enter a claim; one of the same key in the same pool is replaced."""
        self.remove(pool, key)
        self._pools.setdefault(pool, {})[key] = LedgerEntry(amount, fence)
        self._totals[pool] = self.claimed(pool) + amount
        self.on_change(pool, self.claimed(pool))

    def grant(self, pool: str, key: str, fence: int) -> bool:
        """Note the fence of a claim; false if the claim is not in the book (any more)."""
        entry = self._pools.get(pool, {}).get(key)
        if entry is None:
            return False
        entry.fence = fence
        return True

    def remove(self, pool: str, key: str) -> LedgerEntry | None:
        """Strike a claim out."""
        entries = self._pools.get(pool, {})
        entry = entries.pop(key, None)
        if entry is not None:
            self._totals[pool] -= entry.amount
        if not entries:
            self._pools.pop(pool, None)
            self._totals.pop(pool, None)
        if entry is not None:
            self.on_change(pool, self.claimed(pool))
        return entry

    def get(self, pool: str, key: str) -> LedgerEntry | None:
        """The claim, if there is one."""
        return self._pools.get(pool, {}).get(key)

    def claimed(self, pool: str) -> int:
        """Sum of a pool's claims."""
        return self._totals.get(pool, 0)

    def entries(self) -> Iterator[tuple[str, str, LedgerEntry]]:
        """Every claim as (pool, key, entry)."""
        for pool, entries in self._pools.items():
            for key, entry in entries.items():
                yield pool, key, entry
