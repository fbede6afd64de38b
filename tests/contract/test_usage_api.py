"""`GET /v1/usage`: sums by day and room, filters that are checked, and nothing forgotten when a broker restarts."""

import asyncio

import pytest

from broker.core import metering
from client_demo.headless.api import BrokerClient
from tests.support.broker_server import API_KEY, Api, running_broker
from tests.support.redis_server import RedisServer


async def used(api: Api, query: str = "") -> dict:
    return await api.ok("GET", f"/v1/usage{query}")


async def until_used(api: Api, unit_s: float) -> dict:
    async with asyncio.timeout(15):
        while (report := await used(api))["total"]["unit_s"] < unit_s:
            await asyncio.sleep(0.1)
        return report


async def test_usage_is_told_by_day_and_room_and_in_sum(api: Api) -> None:
    await api.node()
    await api.edge()
    for room in ("alpha", "beta"):
        await api.ok("POST", "/v1/rooms", {"room": room})
        await api.join(room)
    report = await until_used(api, 2.0)
    assert [row["room"] for row in report["rows"]] == ["alpha", "beta"]
    assert all(row["sessions"] == 1 for row in report["rows"])
    assert report["total"]["cost"] > 0
    assert report["total"]["energy_wh"] > 0
    (day,) = (await used(api, "?group_by=day"))["rows"]
    assert (day["room"], day["sessions"]) == ("", 2)
    (alpha,) = (await used(api, "?room=alpha&group_by=room"))["rows"]
    assert alpha["day"] == ""
    assert (await used(api, "?to=2020-01-01"))["rows"] == []
    assert (await used(api, f"?from={day['day']}&to={day['day']}&room=alpha"))["rows"][0]["sessions"] == 1
    (participant,) = (await api.ok("GET", "/v1/rooms/alpha/participants"))["participants"]
    assert participant["usage"]["unit_s"] > 0


@pytest.mark.parametrize(
    "query", ["?since=2020-01-01", "?from=yesterday", "?to=2020-1-1", "?group_by=key", "?from=٢٠٢٠-٠١-٠١"]
)
async def test_what_cannot_be_asked_is_refused_by_name(api: Api, query: str) -> None:
    assert await api.problem("GET", f"/v1/usage{query}") == (400, "malformed")


async def test_usage_is_the_operators_to_see(api: Api) -> None:
    assert (await api.problem("GET", "/v1/usage", token=None))[0] == 401


async def test_the_typed_client_reads_the_bill_and_the_scaling_signal(api: Api) -> None:
    await api.node()
    await api.edge()
    await api.ok("POST", "/v1/rooms", {"room": "alpha"})
    await api.join("alpha")
    await until_used(api, 1.0)
    async with BrokerClient(api.base, API_KEY) as client:
        report = await client.usage(room="alpha", group_by="room")
        assert [row.room for row in report.rows] == ["alpha"]
        assert (await client.usage(last_day="2020-01-01")).rows == []
        signal = await client.scaling()
    assert (signal.nodes.ready, signal.edges.ready) == (1, 1)


@pytest.mark.redis
async def test_usage_outlives_a_broker(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metering, "PERSIST_EVERY_S", 0.5)
    async with running_broker(store_url=redis_server.url) as api:
        await api.node()
        await api.edge()
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        await api.join("demo")
        before = (await until_used(api, 1.5))["total"]["unit_s"]
    async with running_broker(store_url=redis_server.url) as api:
        (row,) = (await used(api))["rows"]
        assert row["room"] == "demo"
        assert row["usage"]["unit_s"] >= before - 1.1
