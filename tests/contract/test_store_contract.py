"""What every store must do: one suite over the memory store and a real Redis. Time is the caller's, so no waiting."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from broker.store.factory import open_store
from broker.store.interface import ClaimOrder, ReleaseOrder, Store, StoredClaim, StoreUnavailable
from broker.store.memory import MemoryStore
from broker.store.redis import RedisStore
from tests.support.redis_server import RedisServer

NOW = 1_900_000_000.0


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis)])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield MemoryStore()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    redis = RedisStore(server.url, prefix=f"{{{uuid.uuid4().hex}}}")
    yield redis
    await redis.close()


async def claimed(store: Store, key: str, amount: int = 1, *, pool: str = "p", capacity: int = 10, now: float = NOW):
    claim = await store.claim(pool, key, amount, capacity, 30.0, now)
    assert claim is not None
    return claim


async def test_records_are_kept_until_deleted(store: Store):
    await store.save({("rooms", "a"): b"1", ("rooms", "b"): b"2", ("views", "a"): b"3"})
    await store.save({("rooms", "a"): None, ("rooms", "b"): b"4"})
    assert await store.load("rooms") == {"b": b"4"}
    assert await store.load("views") == {"a": b"3"}
    assert await store.load("sessions") == {}


async def test_identity_stays_while_the_data_does(store: Store):
    identity = await store.identity()
    await store.save({("rooms", "a"): b"1"})
    assert await store.identity() == identity


@pytest.mark.redis
async def test_identity_tells_that_redis_has_lost_its_data(redis_server: RedisServer):
    store = RedisStore(redis_server.url, prefix=f"{{{uuid.uuid4().hex}}}")
    identity = await store.identity()
    await store._client.flushall()
    assert await store.identity() != identity
    await store.close()


async def test_agents_are_forgotten_when_they_expire(store: Store):
    await store.put_agents({"node:a": b"1", "node:b": b"2"}, NOW + 10)
    await store.put_agents({"node:b": b"3"}, NOW + 20)
    await store.put_agents({}, NOW + 20)
    assert await store.agents(NOW) == {"node:a": b"1", "node:b": b"3"}
    assert await store.agents(NOW + 10) == {"node:b": b"3"}
    assert await store.agents(NOW + 20) == {}


async def test_claims_never_exceed_capacity(store: Store):
    await claimed(store, "a", 4)
    await claimed(store, "b", 6)
    assert await store.claim("p", "c", 1, 10, 30.0, NOW) is None
    assert await store.claimed("p", NOW) == 10


async def test_many_claims_at_once_do_not_overbook(store: Store):
    claims = await asyncio.gather(*(store.claim("p", f"k{i}", 3, 10, 30.0, NOW) for i in range(20)))
    assert sum(claim is not None for claim in claims) == 3
    assert await store.claimed("p", NOW) == 9


async def test_pools_are_counted_apart(store: Store):
    await claimed(store, "a", 10, pool="p")
    await claimed(store, "a", 10, pool="q")
    assert await store.claimed("p", NOW) == await store.claimed("q", NOW) == 10


async def test_fences_rise_strictly_and_above_the_floor(store: Store):
    first = await claimed(store, "a", pool="p")
    second = await claimed(store, "a", pool="q")
    assert second.fence > first.fence
    third = await store.claim("p", "a", 1, 10, 30.0, NOW, fence_floor=1_800_000_000_000)
    assert third is not None
    assert third.fence == 1_800_000_000_001
    assert (await claimed(store, "b")).fence == third.fence + 1


async def test_claiming_again_replaces_the_claim(store: Store):
    await claimed(store, "a", 8)
    again = await claimed(store, "a", 10)
    assert await store.claimed("p", NOW) == 10
    assert not await store.release("p", "a", again.fence - 1)
    assert await store.claimed("p", NOW) == 10
    assert await store.release("p", "a", again.fence)
    assert await store.claimed("p", NOW) == 0


async def test_an_expired_claim_frees_its_capacity(store: Store):
    await claimed(store, "a", 10)
    assert await store.claim("p", "b", 1, 10, 30.0, NOW + 29.9) is None
    assert await store.claim("p", "b", 1, 10, 30.0, NOW + 30.0) is not None
    assert await store.claimed("p", NOW + 30.0) == 1


async def test_a_renewed_claim_lives_on(store: Store):
    claim = await claimed(store, "a", 10)
    assert await store.renew(claim, 10, 30.0, NOW + 20)
    assert await store.claimed("p", NOW + 45) == 10


async def test_an_expired_claim_is_renewed_only_into_free_capacity(store: Store):
    claim = await claimed(store, "a", 10)
    other = await claimed(store, "b", 1, now=NOW + 31)
    assert not await store.renew(claim, 10, 30.0, NOW + 32)
    assert await store.release("p", "b", other.fence)
    assert await store.renew(claim, 10, 30.0, NOW + 33)
    assert await store.claimed("p", NOW + 33) == 10


async def test_a_claim_made_anew_cannot_be_renewed_by_its_old_fence(store: Store):
    old = await claimed(store, "a")
    new = await claimed(store, "a")
    assert not await store.renew(old, 10, 30.0, NOW)
    assert await store.renew(new, 10, 30.0, NOW)


async def test_renewing_into_an_emptied_store_keeps_later_fences_above(store: Store):
    foreign = StoredClaim(pool="p", key="a", amount=2, fence=5_000, expires_at=0.0)
    assert await store.renew(foreign, 10, 30.0, NOW)
    assert (await claimed(store, "b")).fence > 5_000


async def test_a_token_is_spent_once(store: Store):
    results = await asyncio.gather(*(store.use_token("t", NOW + 60, NOW) for _ in range(10)))
    assert sorted(results) == [False] * 9 + [True]
    assert not await store.use_token("t", NOW + 60, NOW + 59)
    await store.restore_token("t")
    assert await store.use_token("t", NOW + 60, NOW)


async def test_spent_tokens_are_forgotten_once_expired(store: Store):
    assert await store.use_token("t", NOW + 60, NOW)
    assert await store.use_token("t", NOW + 120, NOW + 60)


async def test_revocations_hold_until_they_expire(store: Store):
    await store.revoke("t", NOW + 60, NOW)
    await store.revoke("t", NOW + 30, NOW)
    assert await store.is_revoked("t", NOW + 59)
    assert not await store.is_revoked("t", NOW + 60)
    assert not await store.is_revoked("other", NOW)


@pytest.mark.redis
async def test_redis_away_is_store_unavailable_and_comes_back(redis_server: RedisServer):
    server = RedisServer()
    server.start()
    store = open_store(server.url)
    try:
        await store.ping()
        server.kill()
        with pytest.raises(StoreUnavailable):
            await store.ping()
        with pytest.raises(StoreUnavailable):
            await store.claim("p", "a", 1, 1, 30.0, NOW)
        server.start()
        await store.ping()
        assert await store.claim("p", "a", 1, 1, 30.0, NOW) is not None
    finally:
        await store.close()
        server.close()


def test_an_unknown_store_url_names_the_known_ones():
    with pytest.raises(ValueError, match="memory:, redis://"):
        open_store("postgres://localhost")


async def test_several_orders_are_carried_out_in_their_order(store: Store):
    held = await claimed(store, "a", 10)
    orders: list[ClaimOrder | ReleaseOrder] = [
        ClaimOrder("p", "b", 10, 10),
        ReleaseOrder("p", "a", held.fence),
        ReleaseOrder("p", "a", held.fence),
        ClaimOrder("p", "b", 10, 10),
        ClaimOrder("q", "b", 4, 4, 1_800_000_000_000),
        ClaimOrder("p", "c", 1, 10),
    ]
    refused, released, gone, fence, above, full = await store.settle(orders, 30.0, NOW)
    assert (refused, released, gone, full) == (None, 1, None, None)
    assert fence is not None
    assert fence > held.fence
    assert above == 1_800_000_000_001
    assert await store.claimed("p", NOW) == 10
    assert await store.claimed("p", NOW + 31) == 0
    assert await store.settle([], 30.0, NOW) == []


async def test_more_orders_than_one_script_takes_do_not_overbook(store: Store):
    answers = await store.settle([ClaimOrder("p", f"k{i}", 1, 150) for i in range(200)], 30.0, NOW)
    fences = [fence for fence in answers if fence is not None]
    assert len(fences) == 150 == await store.claimed("p", NOW)
    assert fences == sorted(set(fences))
    assert answers[150:] == [None] * 50


async def test_claims_that_share_a_round_trip_expire_each_at_its_own_time(store: Store):
    await asyncio.gather(store.claim("p", "a", 1, 10, 10.0, NOW), store.claim("p", "b", 2, 10, 20.0, NOW + 5))
    assert await store.claimed("p", NOW + 9) == 3
    assert await store.claimed("p", NOW + 11) == 2
    assert await store.claimed("p", NOW + 26) == 0


async def test_a_log_is_read_back_newest_first_from_where_one_stopped(store: Store):
    await store.append("audit", [b"1", b"2"], 100)
    await store.append("audit", [b"3"], 100)
    await store.append("other", [b"x"], 100)
    newest = await store.read_back("audit", None, 2)
    assert [entry for _, entry in newest] == [b"3", b"2"]
    assert newest[0][0] > newest[1][0]
    await store.append("audit", [b"4"], 100)
    assert [entry for _, entry in await store.read_back("audit", newest[-1][0], 10)] == [b"1"]
    assert await store.read_back("audit", (0, 0), 10) == []
    assert await store.read_back("nothing", None, 10) == []


async def test_a_log_keeps_the_last_entries_and_lets_the_oldest_go(store: Store):
    for number in range(20):
        await store.append("audit", [b"%d" % (number * 50 + i) for i in range(50)], 100)
    kept = [int(entry) for _, entry in await store.read_back("audit", None, 1000)]
    assert 100 <= len(kept) <= 300
    assert kept == list(range(999, 999 - len(kept), -1))
