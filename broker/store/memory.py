"""The embedded store: everything in this process, gone with it. For one broker on one machine."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from broker.store.interface import MAX_QUEUED_PUBLICATIONS, RecordKey, StoredClaim


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
        self._pools: dict[str, dict[str, StoredClaim]] = {}
        self._spent: dict[str, float] = {}
        self._revoked: dict[str, float] = {}
        self._subscribers: dict[str, set[asyncio.Queue[bytes]]] = {}

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

    def _live_claims(self, pool: str, now: float) -> dict[str, StoredClaim]:
        live = {key: claim for key, claim in self._pools.get(pool, {}).items() if claim.expires_at > now}
        self._pools[pool] = live
        return live

    async def claim(
        self, pool: str, key: str, amount: int, capacity: int, ttl_s: float, now: float, fence_floor: int = 0
    ) -> StoredClaim | None:
        """See `Store.claim`."""
        claims = self._live_claims(pool, now)
        others = sum(claim.amount for claim in claims.values() if claim.key != key)
        if others + amount > capacity:
            return None
        self._fence = max(self._fence, fence_floor) + 1
        claims[key] = StoredClaim(pool=pool, key=key, amount=amount, fence=self._fence, expires_at=now + ttl_s)
        return claims[key]

    async def renew(self, claim: StoredClaim, capacity: int, ttl_s: float, now: float) -> bool:
        """See `Store.renew`."""
        claims = self._live_claims(claim.pool, now)
        held = claims.get(claim.key)
        if held is not None and held.fence != claim.fence:
            return False
        if held is None and sum(c.amount for c in claims.values()) + claim.amount > capacity:
            return False
        self._fence = max(self._fence, claim.fence)
        claims[claim.key] = StoredClaim(
            pool=claim.pool, key=claim.key, amount=claim.amount, fence=claim.fence, expires_at=now + ttl_s
        )
        return True

    async def release(self, pool: str, key: str, fence: int) -> bool:
        """See `Store.release`."""
        claims = self._pools.get(pool, {})
        if key not in claims or claims[key].fence != fence:
            return False
        del claims[key]
        if not claims:
            del self._pools[pool]
        return True

    async def claimed(self, pool: str, now: float) -> int:
        """See `Store.claimed`."""
        return sum(claim.amount for claim in self._live_claims(pool, now).values())

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

    async def publish(self, channel: str, payload: bytes) -> int:
        """See `Store.publish`."""
        queues = self._subscribers.get(channel, set())
        for queue in queues:
            if not queue.full():
                queue.put_nowait(payload)
        return len(queues)

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """See `Store.subscribe`."""
        queue: asyncio.Queue[bytes] = asyncio.Queue(MAX_QUEUED_PUBLICATIONS)
        self._subscribers.setdefault(channel, set()).add(queue)
        try:
            yield _drain(queue)
        finally:
            self._subscribers[channel].discard(queue)
            if not self._subscribers[channel]:
                del self._subscribers[channel]

    async def close(self) -> None:
        """Nothing to let go of."""


async def _drain(queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while True:
        yield await queue.get()
