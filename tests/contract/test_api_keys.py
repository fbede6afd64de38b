"""API keys over real sockets: scopes of every route, rooms they reach, rotation, limits, what survives a restart."""

import re
from typing import Any

import msgspec
import pytest

from broker.api.api_keys import LAST_USED_STEP_S, MAX_API_KEYS
from broker.api.routes import ROUTES, Access, Route
from broker.protocol import ApiKeyCreate, RoomCreate, Scope
from broker.store.redis import RedisStore
from client_demo.headless.api import BrokerClient, Refused
from tests.support.broker_server import API_KEY, Api, running_broker

OPERATED = [route for route in ROUTES if route.access in (Access.OPERATOR, Access.MODERATOR)]


async def new_key(api: Api, *scopes: str, token: str = API_KEY, **fields: Any) -> Any:
    wish = {"name": "a program", "scopes": scopes or ["rooms:read"]} | fields
    return await api.ok("POST", "/v1/api-keys", wish, token=token)


async def new_secret(api: Api, *scopes: str, token: str = API_KEY, **fields: Any) -> str:
    return (await new_key(api, *scopes, token=token, **fields))["secret"]


# --- Scopes ---------------------------------------------------------------------------------------------


def test_every_operators_route_names_its_scope():
    assert [route.path for route in OPERATED if route.scope is None] == []
    others = {(r.method, r.path) for r in ROUTES if r.scope is not None and r not in OPERATED}
    assert others == {("DELETE", "/v1/sessions/{session}")}


@pytest.mark.parametrize("route", OPERATED, ids=lambda route: f"{route.method} {route.path}")
async def test_a_key_without_the_routes_scope_is_told_which(api, route: Route):
    secret = await new_secret(api, *(scope.value for scope in Scope if scope is not route.scope))
    path = re.sub(r"\{\w+\}", "x", route.path)
    status, problem, _ = await api.call(route.method, path, token=secret)
    assert (status, problem["type"]) == (403, "urn:farstage:problem:scope-missing")
    assert route.scope.value in problem["detail"]


@pytest.mark.parametrize("route", OPERATED, ids=lambda route: f"{route.method} {route.path}")
async def test_the_routes_scope_alone_opens_it(api, route: Route):
    secret = await new_secret(api, route.scope.value)
    status, _, _ = await api.call(route.method, re.sub(r"\{\w+\}", "x", route.path), token=secret)
    assert status not in (401, 403, 429, 500)


async def test_the_openapi_document_names_the_scopes(api):
    paths = (await api.ok("GET", "/v1/openapi.json"))["paths"]
    for route in OPERATED:
        assert paths[route.path][route.method.lower()]["x-scope"] == route.scope.value


async def test_ending_anybodys_session_needs_the_scope_and_the_room(api):
    await api.node()
    await api.edge()
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    session = f"/v1/sessions/{(await api.join())['session']}"
    reader = await new_secret(api, "participants:read")
    assert await api.problem("DELETE", session, token=reader) == (403, "scope-missing")
    elsewhere = await new_secret(api, "participants:write", room_prefix="other")
    assert await api.problem("DELETE", session, token=elsewhere) == (403, "room-not-allowed")
    await api.ok("DELETE", session, token=await new_secret(api, "participants:write", room_prefix="dem"))


# --- Rooms a key reaches ----------------------------------------------------------------------------------


async def test_a_key_reaches_only_rooms_of_its_prefix(api):
    await api.ok("POST", "/v1/rooms", {"room": "other"})
    secret = await new_secret(api, "rooms:read", "rooms:write", "tokens:write", room_prefix="hall-")
    named = (await api.ok("POST", "/v1/rooms", {}, token=secret))["room"]
    assert named.startswith("hall-")
    assert await api.problem("POST", "/v1/rooms", {"room": "lobby"}, token=secret) == (403, "room-not-allowed")
    assert [room["room"] for room in (await api.ok("GET", "/v1/rooms", token=secret))["rooms"]] == [named]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/tokens")):
        there, nowhere = f"/v1/rooms/other{path}", f"/v1/rooms/nothing{path}"
        assert await api.problem(method, there, token=secret) == (403, "room-not-allowed")
        assert await api.problem(method, nowhere, token=secret) == (403, "room-not-allowed")


async def test_a_key_makes_no_key_with_more_power_than_its_own(api):
    maker = await new_secret(api, "keys:write", "keys:read", "rooms:read", room_prefix="hall-", requests_per_minute=60)
    stronger = {"name": "x", "scopes": ["rooms:write"], "room_prefix": "hall-"}
    assert await api.problem("POST", "/v1/api-keys", stronger, token=maker) == (403, "scope-missing")
    wider = {"name": "x", "scopes": ["rooms:read"]}
    assert await api.problem("POST", "/v1/api-keys", wider, token=maker) == (403, "room-not-allowed")
    child = await new_key(api, "rooms:read", token=maker, room_prefix="hall-a", requests_per_minute=9000)
    assert child["api_key"]["requests_per_minute"] == 60
    stranger = (await new_key(api, "rooms:write", room_prefix="hall-"))["api_key"]["key"]
    assert await api.problem("POST", f"/v1/api-keys/{stranger}/rotate", token=maker) == (403, "scope-missing")
    assert await api.problem("DELETE", f"/v1/api-keys/{stranger}", token=maker) == (403, "scope-missing")
    hidden = (await new_key(api, "rooms:read"))["api_key"]["key"]
    assert await api.problem("DELETE", f"/v1/api-keys/{hidden}", token=maker) == (404, "key-unknown")
    listed = {key["key"] for key in (await api.ok("GET", "/v1/api-keys", token=maker))["api_keys"]}
    assert hidden not in listed
    assert child["api_key"]["key"] in listed


# --- Secrets ----------------------------------------------------------------------------------------------


async def test_the_secret_is_shown_once_and_only_its_hash_is_kept(api):
    grant = await new_key(api, "rooms:read", name="booking")
    key, secret = grant["api_key"]["key"], grant["secret"]
    assert secret not in str(await api.ok("GET", f"/v1/api-keys/{key}"))
    await api.controller.tick()
    (stored,) = (await api.controller.store.load("api-keys")).values()
    assert secret.rpartition("_")[2].encode() not in stored
    assert msgspec.json.decode(stored)["name"] == "booking"


@pytest.mark.parametrize("change", ["last character", "other id", "no id", "bytes"])
async def test_a_wrong_secret_is_refused(api, change):
    secret = await new_secret(api)
    last = "A" if secret[-1] != "A" else "B"
    wrong = {
        "last character": secret[:-1] + last,
        "other id": "fsk_k-0000000000000000_" + secret.split("_", 2)[2],
        "no id": "fsk_",
        "bytes": "fsk_\udce4\udcf6",
    }[change]
    assert await api.problem("GET", "/v1/rooms", token=wrong) == (401, "key-refused")
    await api.ok("GET", "/v1/rooms", token=secret)


async def test_a_rotated_secret_stays_good_for_the_overlap(api):
    now = api.controller.unix_now()
    api.controller.unix_now = lambda: now
    grant = await new_key(api, "rooms:read")
    rotate, first = f"/v1/api-keys/{grant['api_key']['key']}/rotate", grant["secret"]
    second = (await api.ok("POST", rotate, {"overlap_s": 60}))["secret"]
    now += 59
    await api.ok("GET", "/v1/rooms", token=first)
    await api.ok("GET", "/v1/rooms", token=second)
    now += 1
    assert await api.problem("GET", "/v1/rooms", token=first) == (401, "key-refused")
    third = await api.ok("POST", rotate)
    assert third["api_key"]["previous_secret_until"] is not None
    now += 86_399
    await api.ok("GET", "/v1/rooms", token=second)
    fourth = (await api.ok("POST", rotate, {"overlap_s": 0}))["secret"]
    for former in (second, third["secret"]):
        assert await api.problem("GET", "/v1/rooms", token=former) == (401, "key-refused")
    await api.ok("GET", "/v1/rooms", token=fourth)


async def test_a_key_ends_when_it_expires_or_is_withdrawn(api):
    now = api.controller.unix_now()
    api.controller.unix_now = lambda: now
    short = await new_secret(api, "keys:write", "rooms:read", expires_in_s=100)
    child = await new_secret(api, "rooms:read", token=short, expires_in_s=1000)
    withdrawn = await new_key(api, "rooms:read")
    await api.ok("DELETE", f"/v1/api-keys/{withdrawn['api_key']['key']}")
    assert await api.problem("GET", "/v1/rooms", token=withdrawn["secret"]) == (401, "key-refused")
    now += 99
    await api.ok("GET", "/v1/rooms", token=short)
    now += 1
    for ended in (short, child):
        assert await api.problem("GET", "/v1/rooms", token=ended) == (401, "key-refused")


async def test_the_last_use_is_noted_coarsely(api):
    now = 1_900_000_000.0
    api.controller.unix_now = lambda: now
    grant = await new_key(api, "rooms:read")
    path = f"/v1/api-keys/{grant['api_key']['key']}"
    assert (await api.ok("GET", path))["last_used_at"] is None
    await api.ok("GET", "/v1/rooms", token=grant["secret"])
    first = (await api.ok("GET", path))["last_used_at"]
    now += LAST_USED_STEP_S / 4
    await api.ok("GET", "/v1/rooms", token=grant["secret"])
    assert (await api.ok("GET", path))["last_used_at"] == first
    now += LAST_USED_STEP_S
    await api.ok("GET", "/v1/rooms", token=grant["secret"])
    assert (await api.ok("GET", path))["last_used_at"] > first


async def test_there_is_a_limit_of_keys(api):
    keys = api.controller.api_keys
    record = keys.get((await new_key(api))["api_key"]["key"])
    keys.records |= {f"k-{n}": record for n in range(MAX_API_KEYS - 1)}
    wish = {"name": "x", "scopes": ["rooms:read"]}
    assert await api.problem("POST", "/v1/api-keys", wish) == (409, "too-many-keys")


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"name": "x", "scopes": []}, "$.scopes"),
        ({"name": "x", "scopes": ["everything"]}, "$.scopes"),
        ({"name": "x\n", "scopes": ["rooms:read"]}, "$.name"),
        ({"name": "x", "scopes": ["rooms:read"], "room_prefix": "../"}, "$.room_prefix"),
        ({"name": "x", "scopes": ["rooms:read"], "requests_per_minute": 0}, "$.requests_per_minute"),
        ({"name": "x", "scopes": ["rooms:read"], "expires_in_s": -1}, "$.expires_in_s"),
    ],
)
async def test_a_malformed_wish_is_refused(api, wish, named):
    status, answer, _ = await api.call("POST", "/v1/api-keys", wish)
    assert (status, answer["type"]) == (400, "urn:farstage:problem:malformed")
    assert named in answer["detail"]


# --- Limits -----------------------------------------------------------------------------------------------


async def test_each_key_has_its_own_rate_limit(api):
    now = api.controller.now()
    api.controller.now = lambda: now
    slow = await new_secret(api, "rooms:read", requests_per_minute=12)
    other = await new_secret(api, "rooms:read", requests_per_minute=12)
    for _ in range(3):
        await api.ok("GET", "/v1/rooms", token=slow)
    status, problem, headers = await api.call("GET", "/v1/rooms", token=slow)
    assert (status, problem["type"]) == (429, "urn:farstage:problem:rate-limited")
    assert headers["Retry-After"] == "5"
    await api.ok("GET", "/v1/rooms", token=other)
    now += 5
    await api.ok("GET", "/v1/rooms", token=slow)
    for _ in range(400):
        await api.ok("GET", "/v1/rooms")


async def test_a_key_has_a_quota_of_rooms(api):
    secret = await new_secret(api, "rooms:write", max_rooms=2)
    for name in ("a", "b"):
        await api.ok("POST", "/v1/rooms", {"room": name}, token=secret)
    status, problem, headers = await api.call("POST", "/v1/rooms", {"room": "c"}, token=secret)
    assert (status, problem["type"]) == (429, "urn:farstage:problem:quota-exceeded")
    assert headers["Retry-After"] == "60"
    await api.ok("POST", "/v1/rooms", {"room": "c"})
    await api.ok("DELETE", "/v1/rooms/a", token=secret)
    await api.ok("POST", "/v1/rooms", {"room": "d"}, token=secret)


# --- Restarts and outages ---------------------------------------------------------------------------------


async def test_keys_and_their_quotas_survive_a_restart(redis_server):
    async with running_broker(store_url=redis_server.url) as api:
        grant = await new_key(api, "rooms:write", "rooms:read", max_rooms=1)
        rotated = await api.ok("POST", f"/v1/api-keys/{grant['api_key']['key']}/rotate", {"overlap_s": 500})
        gone = await new_key(api)
        await api.ok("DELETE", f"/v1/api-keys/{gone['api_key']['key']}")
        await api.ok("POST", "/v1/rooms", {"room": "demo"}, token=rotated["secret"])
    async with running_broker(store_url=redis_server.url) as api:
        for secret in (grant["secret"], rotated["secret"]):
            await api.ok("GET", "/v1/rooms", token=secret)
        assert await api.problem("GET", "/v1/rooms", token=gone["secret"]) == (401, "key-refused")
        more = await api.problem("POST", "/v1/rooms", {"room": "more"}, token=grant["secret"])
        assert more == (429, "quota-exceeded")


async def test_keys_are_written_again_after_the_store_was_wiped(redis_server):
    async with running_broker(store_url=redis_server.url) as api:
        secret = await new_secret(api, "rooms:read")
        redis_server.kill()
        await api.controller.probe_store()
        wish = {"name": "x", "scopes": ["rooms:read"]}
        assert await api.problem("POST", "/v1/api-keys", wish) == (503, "store-unavailable")
        await api.ok("GET", "/v1/rooms", token=secret)
        redis_server.start()
        await api.controller.probe_store()
        store = RedisStore(redis_server.url)
        assert len(await store.load("api-keys")) == 1
        await store.close()
        await api.ok("GET", "/v1/rooms", token=secret)


async def test_the_typed_client_makes_rotates_and_withdraws_keys(api):
    async with BrokerClient(api.base, API_KEY) as root:
        grant = await root.create_api_key(ApiKeyCreate(name="typed", scopes=[Scope.ROOMS_READ]))
        key = grant.api_key.key
        rotated = await root.rotate_api_key(key, overlap_s=0)
        async with BrokerClient(api.base, rotated.secret) as limited:
            assert await limited.rooms() == []
            with pytest.raises(Refused, match="rooms:write"):
                await limited.create_room(RoomCreate(room="x"))
        assert [listed.name for listed in await root.api_keys()] == ["typed"]
        await root.delete_api_key(key)
        assert await root.api_keys() == []
