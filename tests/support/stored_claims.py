"""What Redis itself says of places taken, and how much it has been asked: read past the broker's own code."""

from dataclasses import dataclass

import redis.asyncio as redis_client

from tests.support.redis_server import RedisServer

PREFIX = "{farstage}:pool:"
SUFFIX = ":details"


@dataclass(frozen=True, slots=True)
class StoredClaim:
    """One live claim."""

    amount: int
    fence: int


Claims = dict[str, dict[str, StoredClaim]]
"""By pool and key."""


async def stored_claims(server: RedisServer, now: float) -> Claims:
    """All claims that have not expired at `now` (Unix seconds). Checks that every pool's sum is that of its claims."""
    async with redis_client.Redis.from_url(server.url) as client:
        pools = [key.decode().removeprefix(PREFIX).removesuffix(SUFFIX) async for key in client.scan_iter("*" + SUFFIX)]
        return {pool: await _pool(client, pool, now) for pool in pools}


async def _pool(client: redis_client.Redis, pool: str, now: float) -> dict[str, StoredClaim]:
    async with client.pipeline(transaction=True) as transaction:
        transaction.hgetall(PREFIX + pool + SUFFIX)
        transaction.zrangebyscore(PREFIX + pool + ":expiries", f"({now}", "+inf")
        transaction.get(PREFIX + pool + ":sum")
        details, live, total = await transaction.execute()
    claims = {key.decode(): StoredClaim(*map(int, detail.split(b":"))) for key, detail in details.items()}
    assert sum(claim.amount for claim in claims.values()) == int(total or 0), pool
    return {key: claims[key] for key in map(bytes.decode, live)}


async def stored_names(server: RedisServer, collection: str) -> set[str]:
    """The names of a collection's records."""
    async with redis_client.Redis.from_url(server.url) as client:
        return {name.decode() for name in await client.hkeys("{farstage}:" + collection)}


async def commands_answered(server: RedisServer, command: str = "") -> int:
    """How many commands of a kind, or all, the server has carried out since its start, those in scripts included."""
    async with redis_client.Redis.from_url(server.url) as client:
        answered = await client.info("commandstats")
    return sum(entry["calls"] for name, entry in answered.items() if not command or name == f"cmdstat_{command}")
