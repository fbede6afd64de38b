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
    "query",
    ["?since=2020-01-01", "?from=yesterday", "?to=2020-1-1", "?group_by=key,key", "?group_by=", "?from=٢٠٢٠-٠١-٠١"],
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


async def test_usage_is_told_by_key_also_after_room_and_key_are_gone(api: Api) -> None:
    await api.node(units=8.0)
    await api.edge()
    wish = {"name": "booking", "scopes": ["rooms:write"]}
    grant = await api.ok("POST", "/v1/api-keys", wish)
    key = grant["api_key"]["key"]
    for room, token in (("alpha", grant["secret"]), ("beta", grant["secret"]), ("gamma", API_KEY)):
        await api.ok("POST", "/v1/rooms", {"room": room}, token=token)
        await api.join(room)
    await until_used(api, 3.0)
    await api.ok("DELETE", "/v1/rooms/alpha")
    await api.ok("DELETE", f"/v1/api-keys/{key}")
    booked, own = (await used(api, "?group_by=key"))["rows"]
    assert [(row["day"], row["room"], row["key"], row["sessions"]) for row in (booked, own)] == [
        ("", "", key, 2),
        ("", "", "root", 1),
    ]
    async with BrokerClient(api.base, API_KEY) as client:
        report = await client.usage(key=key, group_by="room,key")
    assert [(row.room, row.key) for row in report.rows] == [("alpha", key), ("beta", key)]
    assert [row["key"] for row in (await used(api))["rows"]] == ["", "", ""]


async def test_a_room_made_again_by_another_key_is_billed_to_that_key(api: Api) -> None:
    await api.node()
    await api.edge()
    secret = (await api.ok("POST", "/v1/api-keys", {"name": "b", "scopes": ["rooms:write"]}))["secret"]
    for token in (API_KEY, secret):
        await api.ok("POST", "/v1/rooms", {"room": "hall"}, token=token)
        await api.join("hall")
        before = (await used(api))["total"]["unit_s"]
        await until_used(api, before + 0.5)
        await api.ok("DELETE", "/v1/rooms/hall")
    rows = (await used(api, "?group_by=room,key"))["rows"]
    assert [row["room"] for row in rows] == ["hall", "hall"]
    assert len({row["key"] for row in rows}) == 2
    (row,) = (await used(api, "?group_by=room"))["rows"]
    assert row["sessions"] == 2


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
        assert (await used(api, "?group_by=key"))["rows"][0]["key"] == "root"
        assert row["usage"]["unit_s"] >= before - 1.1
