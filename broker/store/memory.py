"""The embedded store: everything in this process, gone with it. For one broker on one machine."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from msgspec.structs import replace

from broker.store.interface import ClaimOrder, EntryId, RecordKey, ReleaseOrder, StoredClaim


@dataclass(slots=True)
class _Pool:
    """A pool's claims, with their sum, and a time before which none of them expires."""

    claims: dict[str, StoredClaim] = field(default_factory=dict)
    total: int = 0
    none_expires_before: float = float("inf")

    def put(self, claim: StoredClaim) -> None:
        self.drop(claim.key)
        self.claims[claim.key] = claim
        self.total += claim.amount
        self.none_expires_before = min(self.none_expires_before, claim.expires_at)

    def drop(self, key: str) -> None:
        claim = self.claims.pop(key, None)
        if claim is not None:
            self.total -= claim.amount

    def purge(self, now: float) -> None:
        if now < self.none_expires_before:
            return
        for key in [key for key, claim in self.claims.items() if claim.expires_at <= now]:
            self.drop(key)
        self.none_expires_before = min((claim.expires_at for claim in self.claims.values()), default=float("inf"))

    def held(self, key: str) -> int:
        claim = self.claims.get(key)
        return claim.amount if claim is not None else 0


class MemoryStore:
    """`Store` in dictionaries.

    `first_fence` should be higher than any fence an earlier broker gave: the start time in milliseconds will do,
    so that nodes that outlived a broker do not hold newer fences than the next broker gives.
    """

    name = "memory"

    def __init__(self, first_fence: int = 0) -> None:
        self._fence = first_fence
        self._records: dict[str, dict[str, bytes]] = {}
        self._agents: dict[str, tuple[bytes, float]] = {}
        self._pools: dict[str, _Pool] = {}
        self._spent: dict[str, float] = {}
        self._revoked: dict[str, float] = {}
        self._logs: dict[str, deque[tuple[EntryId, bytes]]] = {}

    async def ping(self) -> None:
        """Memory always answers."""

    async def identity(self) -> str:
        """See `Store.identity`; memory loses nothing while it lives."""
        return "memory"

    async def save(self, changes: Mapping[RecordKey, bytes | None]) -> None:
        """See `Store.save`."""
        for (collection, name), record in changes.items():
            records = self._records.setdefault(collection, {})
            if record is None:
                records.pop(name, None)
            else:
                records[name] = record

    async def load(self, collection: str) -> dict[str, bytes]:
        """See `Store.load`."""
        return dict(self._records.get(collection, {}))

    async def put_agents(self, agents: Mapping[str, bytes], expires_at: float) -> None:
        """See `Store.put_agents`."""
        self._agents.update({name: (record, expires_at) for name, record in agents.items()})

    async def agents(self, now: float) -> dict[str, bytes]:
        """See `Store.agents`."""
        self._agents = {name: entry for name, entry in self._agents.items() if entry[1] > now}
        return {name: record for name, (record, _) in self._agents.items()}

    def _live(self, pool: str, now: float) -> _Pool:
        entry = self._pools.setdefault(pool, _Pool())
        entry.purge(now)
        return entry

    async def claim(
        self, pool: str, key: str, amount: int, capacity: int, ttl_s: float, now: float, fence_floor: int = 0
    ) -> StoredClaim | None:
        """See `Store.claim`."""
        entry = self._live(pool, now)
        if entry.total - entry.held(key) + amount > capacity:
            return None
        self._fence = max(self._fence, fence_floor) + 1
        claim = StoredClaim(pool=pool, key=key, amount=amount, fence=self._fence, expires_at=now + ttl_s)
        entry.put(claim)
        return claim

    async def renew(self, claim: StoredClaim, capacity: int, ttl_s: float, now: float) -> bool:
        """See `Store.renew`."""
        entry = self._live(claim.pool, now)
        held = entry.claims.get(claim.key)
        if held is not None and held.fence != claim.fence:
            return False
        if held is None and entry.total + claim.amount > capacity:
            return False
        self._fence = max(self._fence, claim.fence)
        entry.put(replace(claim, expires_at=now + ttl_s))
        return True

    async def release(self, pool: str, key: str, fence: int) -> bool:
        """See `Store.release`."""
        entry = self._pools.get(pool)
        if entry is None or key not in entry.claims or entry.claims[key].fence != fence:
            return False
        entry.drop(key)
        if not entry.claims:
            del self._pools[pool]
        return True

    async def settle(self, orders: Sequence[ClaimOrder | ReleaseOrder], ttl_s: float, now: float) -> list[int | None]:
        """See `Store.settle`."""
        answers: list[int | None] = []
        for order in orders:
            if isinstance(order, ReleaseOrder):
                answers.append(1 if await self.release(order.pool, order.key, order.fence) else None)
                continue
            claim = await self.claim(order.pool, order.key, order.amount, order.capacity, ttl_s, now, order.fence_floor)
            answers.append(None if claim is None else claim.fence)
        return answers

    async def claimed(self, pool: str, now: float) -> int:
        """See `Store.claimed`."""
        return self._live(pool, now).total

    async def use_token(self, token_id: str, expires_at: float, now: float) -> bool:
        """See `Store.use_token`."""
        self._spent = {name: expiry for name, expiry in self._spent.items() if expiry > now}
        if token_id in self._spent:
            return False
        self._spent[token_id] = expires_at
        return True

    async def restore_token(self, token_id: str) -> None:
        """See `Store.restore_token`."""
        self._spent.pop(token_id, None)

    async def revoke(self, token_id: str, expires_at: float, now: float) -> None:
        """See `Store.revoke`."""
        self._revoked = {name: expiry for name, expiry in self._revoked.items() if expiry > now}
        self._revoked[token_id] = max(expires_at, self._revoked.get(token_id, 0.0))

    async def is_revoked(self, token_id: str, now: float) -> bool:
        """See `Store.is_revoked`."""
        return self._revoked.get(token_id, 0.0) > now

    async def append(self, log: str, entries: Sequence[bytes], keep: int) -> None:
        """See `Store.append`."""
        kept = self._logs.setdefault(log, deque())
        for entry in entries:
            number = kept[-1][0][0] + 1 if kept else 1
            kept.append(((number, 0), entry))
        while len(kept) > keep:
            kept.popleft()

    async def read_back(self, log: str, before: EntryId | None, limit: int) -> list[tuple[EntryId, bytes]]:
        """See `Store.read_back`."""
        newest_first = reversed(self._logs.get(log, ()))
        return list(islice((entry for entry in newest_first if before is None or entry[0] < before), limit))

    async def close(self) -> None:
        """Nothing to let go of."""
