"""The shared store: Redis (or Valkey) 6.2 or newer, one instance or a primary with replicas.

Everything that must be atomic is a Lua script (`broker.store.scripts`). A call that takes longer than
`TIMEOUT_S` counts as an outage. Fences survive only as long as Redis' data does: switch on its append-only file.
"""

import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import redis.asyncio as redis_client
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from broker.store import scripts
from broker.store.claiming import MAX_BATCH, ClaimQueue, Order
from broker.store.interface import ClaimOrder, EntryId, RecordKey, ReleaseOrder, StoredClaim, StoreUnavailable

TIMEOUT_S = 1.0
MAX_CONNECTIONS = 512
_ENTRY_FIELD = b"e"
_BEFORE_ALL = (0, 0)
"""Redis has no id below it, and refuses to look there."""
NEVER = 0.0
"""A release happens whatever the time is, and lets nothing expire."""


class RedisStore:
    """`Store` on the Redis at `url`; all keys begin with `prefix`, in one hash slot."""

    name = "redis"

    def __init__(self, url: str, prefix: str = "{farstage}") -> None:
        self._prefix = prefix
        self._client: redis_client.Redis = redis_client.Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
            max_connections=MAX_CONNECTIONS,
        )
        register = self._client.register_script
        self._settle = register(scripts.SETTLE)
        self._queue = ClaimQueue(self._send_orders)
        self._renew = register(scripts.RENEW)
        self._claimed = register(scripts.CLAIMED)
        self._use_token = register(scripts.USE_TOKEN)
        self._revoke = register(scripts.REVOKE)
        self._agents = register(scripts.AGENTS)

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    def _pool_keys(self, pool: str) -> list[str]:
        parts = [self._key("pool", pool, part) for part in ("expiries", "details", "sum")]
        return [*parts, self._key("fence")]

    async def _ask(self, call: Any) -> Any:
        try:
            return await call
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreUnavailable(f"redis does not answer: {type(error).__name__}: {error}") from error

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._ask(self._client.ping())

    async def identity(self) -> str:
        """See `Store.identity`."""
        pipeline = self._client.pipeline(transaction=True)
        pipeline.set(self._key("identity"), secrets.token_hex(8), nx=True)
        pipeline.get(self._key("identity"))
        _, identity = await self._ask(pipeline.execute())
        return str(identity.decode())

    async def save(self, changes: Mapping[RecordKey, bytes | None]) -> None:
        """See `Store.save`."""
        pipeline = self._client.pipeline(transaction=True)
        for (collection, name), record in changes.items():
            if record is None:
                pipeline.hdel(self._key(collection), name)
            else:
                pipeline.hset(self._key(collection), name, cast("str", record))
        await self._ask(pipeline.execute())

    async def load(self, collection: str) -> dict[str, bytes]:
        """See `Store.load`."""
        records: dict[bytes, bytes] = await self._ask(self._client.hgetall(self._key(collection)))
        return {name.decode(): record for name, record in records.items()}

    async def put_agents(self, agents: Mapping[str, bytes], expires_at: float) -> None:
        """See `Store.put_agents`."""
        if not agents:
            return
        pipeline = self._client.pipeline(transaction=True)
        for name, record in agents.items():
            pipeline.hset(self._key("agents"), name, cast("str", record))
            pipeline.zadd(self._key("agents", "expiries"), {name: expires_at})
        await self._ask(pipeline.execute())

    async def agents(self, now: float) -> dict[str, bytes]:
        """See `Store.agents`."""
        keys = [self._key("agents", "expiries"), self._key("agents")]
        flat: list[bytes] = await self._ask(self._agents(keys=keys, args=[now]))
        return {name.decode(): record for name, record in zip(flat[::2], flat[1::2], strict=True)}

    async def claim(
        self, pool: str, key: str, amount: int, capacity: int, ttl_s: float, now: float, fence_floor: int = 0
    ) -> StoredClaim | None:
        """See `Store.claim`."""
        order = Order(ClaimOrder(pool, key, amount, capacity, fence_floor), now, now + ttl_s)
        fence = await self._queue.ask(order)
        if fence is None:
            return None
        return StoredClaim(pool=pool, key=key, amount=amount, fence=fence, expires_at=now + ttl_s)

    async def renew(self, claim: StoredClaim, capacity: int, ttl_s: float, now: float) -> bool:
        """See `Store.renew`."""
        args: list[str | float] = [claim.key, claim.amount, capacity, now + ttl_s, now, claim.fence]
        return bool(await self._ask(self._renew(keys=self._pool_keys(claim.pool), args=args)))

    async def release(self, pool: str, key: str, fence: int) -> bool:
        """See `Store.release`."""
        return bool(await self._queue.ask(Order(ReleaseOrder(pool, key, fence), NEVER, NEVER)))

    async def settle(self, orders: Sequence[ClaimOrder | ReleaseOrder], ttl_s: float, now: float) -> list[int | None]:
        """See `Store.settle`."""
        timed = [Order(order, now, now + ttl_s) for order in orders]
        answers: list[int | None] = []
        for start in range(0, len(timed), MAX_BATCH):
            answers += await self._send_orders(timed[start : start + MAX_BATCH])
        return answers

    async def _send_orders(self, orders: Sequence[Order]) -> list[int | None]:
        """One script for all; raises `StoreUnavailable`."""
        keys: list[str] = [self._key("fence")]
        args: list[str | float] = []
        indices: dict[str, int] = {}
        for what, now, expires_at in orders:
            if (index := indices.get(what.pool)) is None:
                index = indices[what.pool] = len(indices)
                keys += self._pool_keys(what.pool)[:3]
            if isinstance(what, ClaimOrder):
                args += [index, what.key, what.amount, what.capacity, what.fence_floor, now, expires_at]
            else:
                args += [index, what.key, what.fence, -1, 0, now, expires_at]
        answers: list[bytes | None] = await self._ask(self._settle(keys=keys, args=args))
        return [None if answer is None else int(answer) for answer in answers]

    async def claimed(self, pool: str, now: float) -> int:
        """See `Store.claimed`."""
        total: int = await self._ask(self._claimed(keys=self._pool_keys(pool), args=[now]))
        return total

    async def use_token(self, token_id: str, expires_at: float, now: float) -> bool:
        """See `Store.use_token`."""
        args: list[str | float] = [token_id, expires_at, now]
        return bool(await self._ask(self._use_token(keys=[self._key("spent")], args=args)))

    async def restore_token(self, token_id: str) -> None:
        """See `Store.restore_token`."""
        await self._ask(self._client.zrem(self._key("spent"), token_id))

    async def revoke(self, token_id: str, expires_at: float, now: float) -> None:
        """See `Store.revoke`."""
        await self._ask(self._revoke(keys=[self._key("revoked")], args=[token_id, expires_at, now]))

    async def is_revoked(self, token_id: str, now: float) -> bool:
        """See `Store.is_revoked`."""
        expires_at: float | None = await self._ask(self._client.zscore(self._key("revoked"), token_id))
        return expires_at is not None and expires_at > now

    async def append(self, log: str, entries: Sequence[bytes], keep: int) -> None:
        """See `Store.append`."""
        pipeline = self._client.pipeline(transaction=True)
        for entry in entries:
            pipeline.xadd(self._key("log", log), {_ENTRY_FIELD: entry}, maxlen=keep, approximate=True)
        await self._ask(pipeline.execute())

    async def read_back(self, log: str, before: EntryId | None, limit: int) -> list[tuple[EntryId, bytes]]:
        """See `Store.read_back`."""
        if before == _BEFORE_ALL:
            return []
        end = "+" if before is None else f"({before[0]}-{before[1]}"
        found = await self._ask(self._client.xrevrange(self._key("log", log), end, "-", count=limit))
        return [(_entry_id(name), fields[_ENTRY_FIELD]) for name, fields in found]

    async def close(self) -> None:
        """See `Store.close`."""
        await self._queue.close()
        with suppress(RedisError, OSError):
            await self._client.aclose()


def _entry_id(name: bytes) -> EntryId:
    milliseconds, _, number = name.partition(b"-")
    return int(milliseconds), int(number)
