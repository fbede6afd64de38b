"""The audit log over real sockets: who changed what or tried to, found by actor, action, target and time, kept."""

import re
from typing import Any

import pytest

from broker.api import audit, audit_routes
from broker.api.auth import HOST_REQUESTS_PER_MINUTE
from broker.api.routes import ROUTES, Route
from broker.api.timestamps import rfc3339
from broker.protocol import AuditQuery
from client_demo.headless.api import BrokerClient
from tests.support.broker_server import API_KEY, Api, running_broker

CHANGING = [route for route in ROUTES if route.scope is not None and route.method != "GET"]


async def entries(api: Api, query: str = "", **more: Any) -> list[Any]:
    return (await api.ok("GET", f"/v1/audit?limit=500{query}", **more))["entries"]


async def new_key(api: Api, *scopes: str, **fields: Any) -> tuple[str, str]:
    grant = await api.ok("POST", "/v1/api-keys", {"name": "x", "scopes": scopes} | fields)
    return grant["api_key"]["key"], grant["secret"]


# --- What is noted ------------------------------------------------------------------------------------------


async def test_an_entry_says_who_did_what_to_what_when_from_where_and_how_it_ended(api):
    key, secret = await new_key(api, "rooms:write")
    before = rfc3339(api.controller.unix_now())
    await api.ok("POST", "/v1/rooms", {"room": "demo"}, token=secret)
    await api.problem("DELETE", "/v1/rooms/gone", token=secret)
    refused, made, *_ = await entries(api)
    assert before <= made.pop("at") <= refused.pop("at") <= rfc3339(api.controller.unix_now())
    assert made.pop("entry") < refused.pop("entry")
    where = {"actor": key, "address": "127.0.0.1"}
    assert made == where | {
        "action": "POST /v1/rooms", "target": "/v1/rooms/demo", "room": "demo", "status": 201, "problem": "",
    }  # fmt: skip
    assert refused == where | {
        "action": "DELETE /v1/rooms/{room}", "target": "/v1/rooms/gone", "room": "gone", "status": 404,
        "problem": "room-unknown",
    }  # fmt: skip


@pytest.mark.parametrize("route", CHANGING, ids=lambda route: f"{route.method} {route.path}")
async def test_every_route_that_changes_something_is_noted_whether_allowed_or_not(api, route: Route):
    path = re.sub(r"\{\w+\}", "x", route.path)
    key, secret = await new_key(api, "usage:read")
    status, problem = await api.problem(route.method, path, token=secret)
    assert (status, problem) == (403, "scope-missing")
    status, _, _ = await api.call(route.method, path)
    allowed, refused, *_ = await entries(api)
    action = f"{route.method} {route.path}"
    assert (refused["actor"], refused["action"], refused["status"], refused["problem"]) == (key, action, 403, problem)
    assert (allowed["actor"], allowed["action"], allowed["status"]) == ("root", action, status)


async def test_reading_and_strangers_leave_no_entries(api):
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    await api.ok("GET", "/v1/rooms")
    await api.problem("DELETE", "/v1/rooms/demo", token=None)
    await api.problem("DELETE", "/v1/rooms/demo", token="guess")
    await api.problem("DELETE", "/v1/rooms/demo", token="fsk_k-0_guess")
    assert [entry["action"] for entry in await entries(api)] == ["POST /v1/rooms"]


async def test_a_key_that_asks_too_often_does_not_push_others_entries_out(api):
    now = api.controller.now()
    api.controller.now = lambda: now
    _, secret = await new_key(api, "rooms:write", requests_per_minute=4)
    for _ in range(10):
        await api.call("DELETE", "/v1/rooms/x", token=secret)
    assert [entry["status"] for entry in await entries(api)] == [404, 201]


async def test_a_hosts_deeds_are_noted_without_their_address_and_a_visitors_attempts_are_not(api):
    await api.node()
    await api.edge()
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    host, visitor = await api.join(role="host"), await api.join(identity="bob")
    people = f"/v1/rooms/demo/participants/{visitor['participant']}"
    await api.ok("PATCH", people, {"muted": True}, token=host["session_token"])
    await api.ok("PUT", "/v1/rooms/demo/lock", token=host["session_token"])
    await api.problem("PATCH", people, {"muted": False}, token=visitor["session_token"])
    await api.ok("DELETE", f"/v1/sessions/{visitor['session']}", token=visitor["session_token"])
    locked, muted, *before = await entries(api)
    assert muted["actor"] == locked["actor"] == f"session:{host['session']}"
    assert muted["target"] == people
    assert muted["address"] == locked["address"] != "127.0.0.1"
    assert re.fullmatch(r"[0-9a-f]{16}", muted["address"])
    assert {entry["actor"] for entry in before} == {"root"}


async def test_no_secret_stands_in_the_log(api):
    key, secret = await new_key(api, "rooms:write")
    rotated = await api.ok("POST", f"/v1/api-keys/{key}/rotate")
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    token = await api.join_token()
    webhook = {"url": "https://example.org/?token=hidden-in-the-url", "events": ["room.created"]}
    granted = await api.ok("POST", "/v1/webhooks", webhook)
    text = str(await entries(api))
    for hidden in (secret, rotated["secret"], token, granted["secret"], "hidden-in-the-url", API_KEY):
        assert hidden not in text


# --- Finding ---------------------------------------------------------------------------------------------


async def test_entries_are_found_by_actor_action_target_and_time(api):
    clock = api.controller.unix_now()
    api.controller.unix_now = lambda: clock
    key, secret = await new_key(api, "rooms:write")
    for room in ("a", "ab", "b"):
        clock += 10
        await api.ok("POST", "/v1/rooms", {"room": room}, token=secret)
    clock += 10
    await api.ok("POST", "/v1/rooms/a/tokens", {"identity": "x", "display_name": "X"})
    await api.ok("DELETE", "/v1/rooms/a")

    def targets(found: list[Any]) -> list[str]:
        return [entry["target"] for entry in found]

    assert targets(await entries(api, f"&actor={key}")) == ["/v1/rooms/b", "/v1/rooms/ab", "/v1/rooms/a"]
    assert targets(await entries(api, "&action=DELETE%20/v1/rooms/{room}")) == ["/v1/rooms/a"]
    assert targets(await entries(api, "&target=/v1/rooms/a")) == ["/v1/rooms/a", "/v1/rooms/a/tokens", "/v1/rooms/a"]
    since, until = rfc3339(clock - 30), rfc3339(clock - 10)
    assert targets(await entries(api, f"&since={since}&until={until}")) == ["/v1/rooms/ab", "/v1/rooms/a"]
    assert await entries(api, "&actor=nobody") == []


async def test_pages_show_each_entry_once_while_others_are_added(api):
    for number in range(7):
        await api.ok("POST", "/v1/rooms", {"room": f"r{number}"})
    seen, cursor = [], ""
    while True:
        page = await api.ok("GET", f"/v1/audit?limit=3{cursor}")
        seen += [entry["target"] for entry in page["entries"]]
        if "next_cursor" not in page:
            break
        cursor = f"&cursor={page['next_cursor']}"
        await api.ok("POST", "/v1/rooms", {})
    assert seen == [f"/v1/rooms/r{number}" for number in reversed(range(7))]


async def test_a_condition_that_hardly_ever_holds_gives_short_pages_not_long_reads(api, monkeypatch):
    monkeypatch.setattr(audit_routes, "READ_AT_ONCE", 2)
    monkeypatch.setattr(audit_routes, "MAX_READ", 4)
    for number in range(6):
        await api.ok("POST", "/v1/rooms", {"room": f"r{number}"})
    page = await api.ok("GET", "/v1/audit?target=/v1/rooms/r0")
    assert page["entries"] == []
    page = await api.ok("GET", f"/v1/audit?target=/v1/rooms/r0&cursor={page['next_cursor']}")
    assert [entry["target"] for entry in page["entries"]] == ["/v1/rooms/r0"]


async def test_a_key_of_some_rooms_sees_entries_of_those_only(api):
    _, secret = await new_key(api, "audit:read", room_prefix="hall-")
    for room in ("lobby", "hall-1"):
        await api.ok("POST", "/v1/rooms", {"room": room})
        await api.ok("DELETE", f"/v1/rooms/{room}")
    assert {entry["room"] for entry in await entries(api, token=secret)} == {"hall-1"}
    assert await api.problem("GET", "/v1/audit", token=(await new_key(api, "rooms:read"))[1]) == (403, "scope-missing")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("since=yesterday", "since"),
        ("until=2026-11-29T09:00:00", "until"),
        ("cursor=!", "cursor"),
        ("limit=0", "limit"),
        ("who=me", "who"),
        ("actor=", "actor"),
    ],
)
async def test_a_query_that_cannot_be_used_is_refused(api, query, named):
    status, answer, _ = await api.call("GET", f"/v1/audit?{query}")
    assert (status, answer["type"]) == (400, "urn:farstage:problem:bad-query")
    assert named in answer["detail"]


async def test_a_forged_position_in_a_cursor_does_not_reach_the_store(redis_server):
    async with running_broker(store_url=redis_server.url) as api:
        for key in (["99999999999999999999999", "0"], ["-1", "0"], ["1"], ["x", "y"]):
            cursor = audit_routes.encode_cursor("audit", tuple(key))
            assert await api.problem("GET", f"/v1/audit?cursor={cursor}") == (400, "bad-query")
        assert api.controller.store_ready


# --- Keeping ----------------------------------------------------------------------------------------------


async def test_the_log_survives_a_restart_and_is_bounded(redis_server):
    async with running_broker(store_url=redis_server.url, audit_entries=100) as api:
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
    async with running_broker(store_url=redis_server.url, audit_entries=100) as api:
        assert [entry["target"] for entry in await entries(api)] == ["/v1/rooms/demo"]
        for _ in range(500):
            await api.call("DELETE", "/v1/rooms/none")
        assert 100 <= len(await entries(api)) < 500


async def test_entries_wait_while_the_store_is_away(redis_server):
    async with running_broker(store_url=redis_server.url) as api:
        redis_server.kill()
        await api.controller.probe_store()
        assert await api.problem("POST", "/v1/rooms", {"room": "demo"}) == (503, "store-unavailable")
        assert await api.problem("GET", "/v1/audit") == (503, "store-unavailable")
        redis_server.start()
        await api.controller.probe_store()
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        assert [entry["status"] for entry in await entries(api)] == [201, 503]


async def test_what_waits_for_the_store_is_bounded_and_what_is_lost_is_counted(redis_server, monkeypatch):
    monkeypatch.setattr(audit, "MAX_WAITING", 3)
    async with running_broker(store_url=redis_server.url) as api:
        redis_server.kill()
        await api.controller.probe_store()
        for number in range(5):
            await api.problem("DELETE", f"/v1/rooms/r{number}")
        redis_server.start()
        await api.controller.probe_store()
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        found = [entry["target"] for entry in await entries(api)]
        assert found == ["/v1/rooms/demo", "/v1/rooms/r4", "/v1/rooms/r3", "/v1/rooms/r2"]
        assert await api.metric("farstage_audit_entries_lost_total") == 2


async def test_a_hosts_page_that_runs_wild_is_slowed_down(api):
    now = api.controller.now()
    api.controller.now = lambda: now
    await api.node()
    await api.edge()
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    host = (await api.join(role="host"))["session_token"]
    at_once = round(HOST_REQUESTS_PER_MINUTE / 4)
    for _ in range(at_once):
        await api.ok("GET", "/v1/rooms/demo/waiting", token=host)
    assert await api.problem("PUT", "/v1/rooms/demo/lock", token=host) == (429, "rate-limited")
    await api.ok("PUT", "/v1/rooms/demo/lock")


async def test_the_typed_client_reads_the_log_page_by_page(api):
    async with BrokerClient(api.base, API_KEY) as client:
        for number in range(5):
            await api.ok("POST", "/v1/rooms", {"room": f"r{number}"})
        found = [entry.target async for entry in client.audit(AuditQuery(limit=2, actor="root"))]
        assert found == [f"/v1/rooms/r{number}" for number in reversed(range(5))]
