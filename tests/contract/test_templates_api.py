"""Templates and schedules over the API: what a room is made with, what is refused, and what a restart keeps."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from broker.protocol import Mode, PageQuery, Role, RoomCreate, RoomPatch, RoomSettings
from client_demo.headless.api import BrokerClient, Refused
from tests.support.broker_server import API_KEY, Api, running_broker
from tests.support.redis_server import RedisServer

LECTURE = "/v1/templates/lecture"


def in_s(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


async def test_a_room_takes_what_its_body_says_then_its_template_then_the_default(api: Api) -> None:
    await api.ok("PUT", LECTURE, {"mode": "conference", "max_participants": 7, "limits": {"speaker": 2}})
    room = await api.ok("POST", "/v1/rooms", {"room": "a", "template": "lecture", "max_participants": 50})
    assert (room["mode"], room["max_participants"], room["limits"]) == ("conference", 50, {"speaker": 2})
    assert (room["scene"], room["open"], room["open_at"]) == ("campus", False, None)
    await api.ok("PUT", LECTURE, {"open": True})
    assert (await api.ok("GET", "/v1/rooms/a"))["mode"] == "conference", "a room made from it stays as it is"
    assert (await api.ok("POST", "/v1/rooms", {"template": "lecture"}))["mode"] == "explore"


async def test_a_template_is_kept_replaced_listed_and_forgotten(api: Api) -> None:
    made = await api.ok("PUT", LECTURE, {"scene": "campus"})
    assert made["settings"] == {"scene": "campus"}
    assert (await api.ok("GET", LECTURE))["changed_at"] == made["changed_at"]
    async with BrokerClient(api.base, API_KEY) as client:
        for name in ("b", "a"):
            await client.put_template(name, RoomSettings(mode=Mode.GALLERY))
        names = [entry.template for entry in await client.templates(PageQuery(limit=1))]
        assert names == ["a", "b", "lecture"]
        assert (await client.template("a")).settings == RoomSettings(mode=Mode.GALLERY)
        assert (await client.create_room(RoomCreate(template="a"))).mode is Mode.GALLERY
        await client.delete_template("a")
        with pytest.raises(Refused) as caught:
            await client.create_room(RoomCreate(template="a"))
        assert caught.value.problem.type.endswith("template-unknown")
    for method in ("GET", "DELETE"):
        assert await api.problem(method, "/v1/templates/a") == (404, "template-unknown")


async def test_a_key_sees_and_uses_only_templates_under_its_prefix(api: Api) -> None:
    await api.ok("PUT", LECTURE, {})
    wish = {"name": "d", "scopes": ["rooms:read", "rooms:write"], "room_prefix": "hall-"}
    token = (await api.ok("POST", "/v1/api-keys", wish))["secret"]
    for method in ("GET", "PUT", "DELETE"):
        assert await api.problem(method, LECTURE, {}, token=token) == (403, "room-not-allowed")
    assert await api.problem("POST", "/v1/rooms", {"template": "lecture"}, token=token) == (403, "room-not-allowed")
    await api.ok("PUT", "/v1/templates/hall-small", {"max_participants": 3}, token=token)
    assert len((await api.ok("GET", "/v1/templates", token=token))["templates"]) == 1
    room = await api.ok("POST", "/v1/rooms", {"template": "hall-small"}, token=token)
    assert room["max_participants"] == 3


@pytest.mark.parametrize(
    "body",
    [{"modes": 1}, {"limits": {"king": 1}}, {"limits": {"host": -1}}, {"open_at": "2030-01-01T10:00:00"},
     {"expected_audience": -1}, {"room": "x"}],
)  # fmt: skip
async def test_settings_that_make_no_sense_are_refused_by_name(api: Api, body: dict) -> None:
    assert await api.problem("PUT", LECTURE, body) == (400, "malformed")
    assert await api.problem("PUT", "/v1/templates/two%20words", {}) == (400, "malformed")


async def test_a_schedule_that_cannot_be_kept_is_refused(api: Api) -> None:
    await api.ok("POST", "/v1/rooms", {"room": "demo", "open_at": in_s(600)})
    for body in (
        {"close_at": in_s(-1)},
        {"open_at": in_s(100), "close_at": in_s(50)},
        {"open_at": "9999-12-31T23:59:59-23:59"},
        {"close_at": "0001-01-01T00:00:00+23:59"},
    ):
        for method, path in (("POST", "/v1/rooms"), ("PUT", LECTURE), ("PATCH", "/v1/rooms/demo")):
            assert await api.problem(method, path, body) == (422, "schedule-impossible")
    assert await api.problem("PATCH", "/v1/rooms/demo", {"close_at": in_s(60)}) == (422, "schedule-impossible")


async def test_who_comes_too_early_is_told_the_time_and_a_host_is_not(api: Api) -> None:
    await api.node()
    await api.edge()
    opens = datetime.fromtimestamp(int(time.time()) + 3600, UTC)
    async with BrokerClient(api.base, API_KEY) as client:
        room = await client.create_room(RoomCreate(room="demo", open_at=opens, expected_audience=50))
        assert room.open_at == opens.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        status, problem, headers = await api.call("POST", "/v1/rooms/demo/join", {}, token=await api.join_token())
        assert (status, problem["type"]) == (409, "urn:farstage:problem:room-not-open")
        assert str(room.open_at) in problem["detail"]
        assert 3500 < int(headers["Retry-After"]) <= 3600
        assert (await api.join(role="host"))["role"] == Role.HOST
        assert (await client.patch_room("demo", RoomPatch(open_at=None))).open_at is None
        await api.join()


async def test_schedules_follow_the_clock_when_it_is_set(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.ok("POST", "/v1/rooms", {"room": "demo", "close_at": in_s(3600)})
    await api.ok("POST", "/v1/rooms", {"room": "later", "close_at": in_s(10_000)})
    unix_now = api.controller.unix_now
    monkeypatch.setattr(api.controller, "unix_now", lambda: unix_now() + 3601)
    await api.controller.tick()
    assert set(api.controller.brain.state.rooms) == {"later"}
    schedule = api.controller.brain.state.rooms["later"].schedule
    assert schedule.closes_at_s - api.controller.now() == pytest.approx(10_000 - 3601, abs=5)


async def test_the_scaling_signal_shows_schedule_and_trend(api: Api) -> None:
    await api.edge(max_viewers=100)
    await api.ok("POST", "/v1/rooms", {"room": "demo", "open_at": in_s(300), "expected_audience": 150})
    edges = (await api.ok("GET", "/v1/scaling"))["edges"]
    assert (edges["trend"], edges["scheduled"], edges["expected"], edges["wanted"]) == (0.0, 150.0, 150.0, 2)
    assert await api.metric('farstage_agents_wanted{kind="edge"}') == 2.0


async def test_a_role_that_is_full_is_refused_by_name(api: Api) -> None:
    await api.node()
    await api.edge()
    await api.ok("POST", "/v1/rooms", {"room": "demo", "limits": {"speaker": 1}})
    await api.join(role="speaker")
    visitor = await api.join()
    token = await api.join_token(role="speaker")
    assert await api.problem("POST", "/v1/rooms/demo/join", {}, token=token) == (409, "role-full")
    path = f"/v1/rooms/demo/participants/{visitor['participant']}"
    assert await api.problem("PATCH", path, {"role": "speaker"}) == (409, "role-full")
    await api.ok("PATCH", "/v1/rooms/demo", {"limits": {}})
    await api.ok("POST", "/v1/rooms/demo/join", {}, token=token)


@pytest.mark.redis
async def test_templates_and_schedules_outlive_the_broker(redis_server: RedisServer) -> None:
    closes = in_s(200)
    async with running_broker(store_url=redis_server.url) as api:
        await api.ok("PUT", LECTURE, {"mode": "conference", "limits": {"host": 1}})
        settings = (await api.ok("GET", LECTURE))["settings"]
        await api.ok("POST", "/v1/rooms", {"room": "demo", "template": "lecture", "close_at": closes})
        await api.ok("POST", "/v1/rooms", {"room": "early", "open_at": closes})
    async with running_broker(store_url=redis_server.url) as api:
        assert (await api.ok("GET", LECTURE))["settings"] == settings
        assert (await api.ok("GET", "/v1/rooms/demo"))["limits"] == {"host": 1}
        state = api.controller.brain.state
        left_s = state.rooms["demo"].schedule.closes_at_s - api.controller.now()
        assert 150 < left_s <= 200
        assert await api.problem("POST", "/v1/rooms/early/join", {}, token=await api.join_token("early")) == (
            409,
            "room-not-open",
        )
