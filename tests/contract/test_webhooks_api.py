"""Webhooks over real sockets: signed, retried, in order per room, dead letters, and nowhere they must not go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from broker.api.webhook_deliveries import MAX_IN_FLIGHT
from broker.api.webhook_retry import RetryPolicy
from broker.api.webhooks import MAX_WEBHOOKS
from broker.protocol import (
    DeliveryState,
    EventType,
    ParticipantLeftEvent,
    ViewerConnected,
    WebhookCreate,
    WebhookPatch,
    decode_event,
)
from client_demo.headless.api import BrokerClient
from tests.support.broker_server import API_KEY, Api, running_broker
from tests.support.webhook_receiver import Received, Receiver, answers, running_receiver

PATIENT = RetryPolicy((0.02,) * 500)
NEVER_AGAIN = RetryPolicy(())
REACHES_LOOPBACK: dict[str, Any] = {
    "webhook_networks": ("127.0.0.0/8",),
    "webhook_http": True,
    "webhook_retry": PATIENT,
    "webhook_timeout_s": 5.0,
}
ROOM_EVENTS = ["room.created", "room.closed"]


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_broker(**REACHES_LOOPBACK) as api:
        yield api


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as receiver:
        yield receiver


async def hook(api: Api, url: str, events: list[str] = ROOM_EVENTS, **fields: Any) -> tuple[str, str]:
    """A webhook's path in the API and its secret."""
    grant = await api.ok("POST", "/v1/webhooks", {"url": url, "events": events} | fields)
    return f"/v1/webhooks/{grant['webhook']['webhook']}", grant["secret"]


async def new_key(api: Api, *scopes: str, **fields: Any) -> str:
    return (await api.ok("POST", "/v1/api-keys", {"name": "x", "scopes": scopes} | fields))["secret"]


async def until(api: Api, path: str, **fields: Any) -> Any:
    """The webhook, once it has these fields."""
    async with asyncio.timeout(10):
        while True:
            webhook = await api.ok("GET", path)
            if all(webhook[name] == value for name, value in fields.items()):
                return webhook
            await asyncio.sleep(0.01)


# --- Events ---------------------------------------------------------------------------------------------


async def test_a_rooms_life_is_told_in_order_and_signed(api, receiver):
    _, secret = await hook(api, receiver.url, [event.value for event in EventType])
    await api.node()
    edge = await api.edge()
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    grant = await api.join(identity="alice", role="host")
    await edge.send(ViewerConnected(session=grant["session"]))
    told = [await receiver.next() for _ in range(2)]
    await api.ok("DELETE", "/v1/rooms/demo")
    told += [await receiver.next() for _ in range(2)]
    types = [received.event["type"] for received in told]
    assert types == ["room.created", "participant.joined", "participant.left", "room.closed"]
    assert all(received.is_signed_by(secret) for received in told)
    assert len({received.id for received in told}) == 4
    joined, left = told[1].event["data"], decode_event(told[2].body)
    assert joined == {
        "room": "demo",
        "participant": grant["participant"],
        "session": grant["session"],
        "identity": "alice",
        "role": "host",
    }
    assert isinstance(left, ParticipantLeftEvent)
    assert (left.data.participant, left.data.reason) == (grant["participant"], "room_closed")
    assert left.data.usage.participant_s >= 0.0


async def test_who_waits_at_a_door_is_told(api, receiver):
    await hook(api, receiver.url, ["participant.waiting"])
    await api.ok("POST", "/v1/rooms", {"room": "demo", "waiting_room": True})
    ticket = await api.ok("POST", "/v1/rooms/demo/join", {}, token=await api.join_token(identity="bob"))
    event = (await receiver.next()).event
    expected = {"room": "demo", "ticket": ticket["ticket"], "identity": "bob", "role": "visitor"}
    assert (event["type"], event["data"]) == ("participant.waiting", expected)


async def test_an_empty_node_that_is_drained_is_told(api, receiver):
    await hook(api, receiver.url, ["node.drained"])
    await api.node("n1")
    await api.ok("POST", "/v1/nodes/n1/drain", {})
    assert (await receiver.next()).event["data"] == {"node": "n1"}


async def test_a_webhook_is_told_only_of_its_events_and_rooms(api, receiver):
    await hook(api, receiver.url, ["room.closed"], room_prefix="hall-")
    for room in ("lobby", "hall-1"):
        await api.ok("POST", "/v1/rooms", {"room": room})
        await api.ok("DELETE", f"/v1/rooms/{room}")
    assert (await receiver.next()).event["data"] == {"room": "hall-1"}
    assert len(receiver.requests) == 1


# --- Retries, order, dead letters -------------------------------------------------------------------------


async def test_a_failed_delivery_is_repeated_under_the_same_id(api, receiver):
    receiver.answer = answers(500, 404)
    path, secret = await hook(api, receiver.url)
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    attempts = [await receiver.next() for _ in range(3)]
    assert len({received.id for received in attempts}) == 1
    assert len({received.body for received in attempts}) == 1
    assert all(received.is_signed_by(secret) for received in attempts)
    await until(api, path, waiting=0, dead_letters=0)
    assert await api.metric('farstage_webhooks_total{result="failed"}') == 2
    assert await api.metric('farstage_webhooks_total{result="delivered"}') == 1


async def test_a_failing_delivery_holds_only_its_own_rooms_line(api, receiver):
    stuck, is_released = [], asyncio.Event()

    async def answer(received: Received) -> web.Response:
        if received.event["data"]["room"] == "a" and not is_released.is_set():
            stuck.append(received.event["type"])
            return web.Response(status=503)
        return web.Response()

    receiver.answer = answer
    path, _ = await hook(api, receiver.url)
    for room in ("a", "b", "c"):
        await api.ok("POST", "/v1/rooms", {"room": room})
        await api.ok("DELETE", f"/v1/rooms/{room}")
    await until(api, path, waiting=2)
    assert set(stuck) == {"room.created"}
    is_released.set()
    await until(api, path, waiting=0)
    taken = [(r.event["data"]["room"], r.event["type"]) for r in receiver.requests]
    for room in ("b", "c"):
        assert [event for name, event in taken if name == room] == ROOM_EVENTS
    assert [event for name, event in taken if name == "a"][-2:] == ROOM_EVENTS


async def test_what_was_given_up_is_listed_and_sent_again(receiver):
    async with running_broker(**REACHES_LOOPBACK | {"webhook_retry": NEVER_AGAIN}) as api:
        receiver.answer = answers(500, 500, 500)
        path, secret = await hook(api, receiver.url, ["room.created"])
        for room in ("a", "b", "c"):
            await api.ok("POST", "/v1/rooms", {"room": room})
        await until(api, path, dead_letters=3, waiting=0)
        listed = await api.ok("GET", f"{path}/deliveries?state=dead&limit=2")
        rest = await api.ok("GET", f"{path}/deliveries?state=dead&limit=2&cursor={listed['next_cursor']}")
        letters = listed["deliveries"] + rest["deliveries"]
        assert [letter["room"] for letter in letters] == ["a", "b", "c"]
        assert [letter["last_error"] for letter in letters] == ["HTTP 500"] * 3
        assert [letter["attempts"] for letter in letters] == [1, 1, 1]
        assert await api.ok("GET", f"{path}/deliveries?state=waiting") == {"deliveries": []}
        first = await api.ok("POST", f"{path}/redeliver", {"deliveries": [letters[1]["delivery"], "msg_unknown"]})
        assert first == {"redelivered": 1}
        assert await api.ok("POST", f"{path}/redeliver") == {"redelivered": 2}
        await until(api, path, dead_letters=0, waiting=0)
        again = receiver.requests[3:]
        assert [received.id for received in again] == [letters[n]["delivery"] for n in (1, 0, 2)]
        assert all(received.is_signed_by(secret) for received in again)


async def test_410_switches_a_webhook_off_until_an_operator_switches_it_on(api, receiver):
    receiver.answer = answers(410)
    path, _ = await hook(api, receiver.url)
    await api.ok("POST", "/v1/rooms", {"room": "a"})
    webhook = await until(api, path, enabled=False)
    assert "410" in webhook["disabled_reason"]
    assert webhook["waiting"] == 1
    await api.ok("POST", "/v1/rooms", {"room": "b"})
    assert (await api.ok("GET", path))["waiting"] == 1, "nothing new is noted for one that is off"
    assert len(receiver.requests) == 1
    assert (await api.ok("PATCH", path, {"enabled": True}))["disabled_reason"] == ""
    await until(api, path, waiting=0)
    assert [received.event["data"]["room"] for received in receiver.requests] == ["a", "a"]


async def test_a_receiver_that_never_answers_times_out_and_harms_nobody(receiver):
    async with running_receiver() as slow, running_broker(**REACHES_LOOPBACK | {"webhook_timeout_s": 0.3}) as api:
        never = asyncio.Event()

        async def answer(received: Received) -> web.Response:
            await never.wait()
            return web.Response()

        slow.answer = answer
        stuck, _ = await hook(api, slow.url)
        await hook(api, receiver.url)
        for number in range(MAX_IN_FLIGHT * 3):
            await api.ok("POST", "/v1/rooms", {"room": f"r{number}"})
        assert await receiver.next_events(MAX_IN_FLIGHT * 3) == ["room.created"] * MAX_IN_FLIGHT * 3
        for _ in range(MAX_IN_FLIGHT + 1):
            await slow.next()
        [first, *_] = (await api.ok("GET", f"{stuck}/deliveries"))["deliveries"]
        assert first["last_error"] == "no answer within 0.3 s"
        assert first["state"] == "waiting"


async def test_a_test_event_is_one_attempt_whose_end_is_told(api, receiver):
    path, secret = await hook(api, receiver.url)
    result = await api.ok("POST", f"{path}/test")
    assert (result["delivered"], result["status"], result["error"]) == (True, 204, "")
    received = await receiver.next()
    assert received.event["type"] == "webhook.test"
    assert received.is_signed_by(secret)
    receiver.answer = answers(403)
    result = await api.ok("POST", f"{path}/test")
    assert (result["delivered"], result["status"], result["error"]) == (False, 403, "HTTP 403")
    assert len(receiver.requests) == 2


# --- Secrets --------------------------------------------------------------------------------------------


async def test_both_secrets_sign_during_a_rotation_and_only_the_new_one_afterwards(api, receiver):
    path, first = await hook(api, receiver.url, ["room.created"])
    grant = await api.ok("POST", f"{path}/rotate", {"overlap_s": 60})
    assert grant["webhook"]["previous_secret_until"] is not None
    second = grant["secret"]
    await api.ok("POST", "/v1/rooms", {"room": "a"})
    during = await receiver.next()
    assert during.is_signed_by(first)
    assert during.is_signed_by(second)
    later = api.controller.unix_now() + 60
    api.controller.unix_now = lambda: later
    await api.ok("POST", "/v1/rooms", {"room": "b"})
    after = await receiver.next()
    assert not after.is_signed_by(first)
    assert after.is_signed_by(second)
    assert (await api.ok("GET", path))["previous_secret_until"] is None


async def test_the_secret_is_shown_once_and_does_not_stand_in_the_store(api, receiver):
    path, secret = await hook(api, receiver.url)
    assert secret.startswith("whsec_")
    shown = str(await api.ok("GET", path)) + str(await api.ok("GET", "/v1/webhooks"))
    (stored,) = (await api.controller.store.load("webhooks")).values()
    assert "whsec_" not in shown
    assert secret.removeprefix("whsec_").encode() not in stored


# --- Restarts -------------------------------------------------------------------------------------------


async def test_webhooks_and_what_they_were_to_be_told_survive_a_restart(redis_server, receiver):
    stored = REACHES_LOOPBACK | {"store_url": redis_server.url}
    async with running_broker(**stored) as api:
        receiver.answer = answers(*[500] * 1000)
        path, secret = await hook(api, receiver.url)
        gone, _ = await hook(api, receiver.url)
        await api.ok("DELETE", gone)
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        await api.ok("DELETE", "/v1/rooms/demo")
        sent = await receiver.next()
    receiver.requests.clear()
    receiver.answer = answers()
    async with running_broker(**stored) as api:
        await until(api, path, waiting=0)
        assert [received.event["type"] for received in receiver.requests] == ROOM_EVENTS
        assert receiver.requests[0].id == sent.id
        assert all(received.is_signed_by(secret) for received in receiver.requests)
        assert len((await api.ok("GET", "/v1/webhooks"))["webhooks"]) == 1
        await api.controller.tick()
        assert await api.controller.store.load("webhook-deliveries") == {}


async def test_a_webhook_that_is_off_stays_off_after_a_restart(redis_server, receiver):
    stored = REACHES_LOOPBACK | {"store_url": redis_server.url}
    async with running_broker(**stored) as api:
        receiver.answer = answers(410)
        path, _ = await hook(api, receiver.url)
        other, _ = await hook(api, receiver.url, ["room.closed"])
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        await until(api, path, enabled=False)
    async with running_broker(**stored) as api:
        await api.ok("DELETE", "/v1/rooms/demo")
        await until(api, other, waiting=0)
        webhook = await api.ok("GET", path)
        assert (webhook["enabled"], webhook["waiting"], "410" in webhook["disabled_reason"]) == (False, 1, True)
        assert [received.event["type"] for received in receiver.requests] == ["room.created", "room.closed"]


async def test_what_was_taken_before_a_broker_stopped_is_not_sent_again(redis_server, receiver):
    stored = REACHES_LOOPBACK | {"store_url": redis_server.url, "tick_interval_s": 3600.0, "watch_interval_s": 3600.0}
    async with running_broker(**stored) as api:
        path, _ = await hook(api, receiver.url)
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        await until(api, path, waiting=0)
    async with running_broker(**stored) as api:
        assert (await api.ok("GET", path))["waiting"] == 0
        assert len(receiver.requests) == 1


async def test_the_broker_that_takes_over_delivers_what_the_former_could_not(redis_server, receiver):
    stored = REACHES_LOOPBACK | {"store_url": redis_server.url, "store_probe_interval_s": 0.05}
    async with AsyncExitStack() as leader, running_receiver() as away:
        away.answer = answers(*[503] * 10_000)
        one = await leader.enter_async_context(running_broker(**stored, name="one"))
        path, secret = await hook(one, away.url)
        async with running_broker(**stored, name="two") as two:
            await one.ok("POST", "/v1/rooms", {"room": "demo"})
            sent = await away.next()
            await leader.aclose()
            async with asyncio.timeout(10):
                while (await two.call("GET", "/readyz", token=None))[0] != 200:
                    await asyncio.sleep(0.01)
            await two.ok("PATCH", path, {"url": receiver.url})
            taken = await receiver.next()
            assert taken.id == sent.id
            assert taken.is_signed_by(secret)
            await until(two, path, waiting=0)


async def test_webhooks_wait_for_the_store_and_are_written_again_after_it_was_wiped(redis_server, receiver):
    async with running_broker(**REACHES_LOOPBACK, store_url=redis_server.url) as api:
        path, _ = await hook(api, receiver.url)
        redis_server.kill()
        await api.controller.probe_store()
        wish = {"url": receiver.url, "events": ROOM_EVENTS}
        assert await api.problem("POST", "/v1/webhooks", wish) == (503, "store-unavailable")
        assert await api.problem("DELETE", path) == (503, "store-unavailable")
        redis_server.start()
        await api.controller.probe_store()
        assert len(await api.controller.store.load("webhooks")) == 1


# --- Where they may not go ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
        "https://user:password@example.org/",
        "ftp://example.org/",
        "https:///nowhere",
        "https://example.org:99999/",
        "https://example.org/\u0000",
    ],
)
async def test_urls_that_only_the_broker_reaches_are_refused(url):
    async with running_broker() as api:
        wish = {"url": url, "events": ROOM_EVENTS}
        assert await api.problem("POST", "/v1/webhooks", wish) == (422, "webhook-url-refused")
        path, _ = await hook(api, "https://example.org/hook")
        assert await api.problem("PATCH", path, {"url": url}) == (422, "webhook-url-refused")
        assert (await api.ok("GET", path))["url"] == "https://example.org/hook"


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f000001", "127.1", "0177.0.0.1"])
async def test_a_name_or_spelling_that_means_this_machine_reaches_nothing(receiver, host):
    async with running_broker(webhook_http=True) as api:
        path, _ = await hook(api, receiver.url.replace("127.0.0.1", host))
        result = await api.ok("POST", f"{path}/test")
        assert (result["delivered"], result["status"]) == (False, None)
        assert "127.0.0.1" not in result["error"]
        assert receiver.requests == []


async def test_only_the_networks_that_are_allowed_are_reached():
    async with running_broker(webhook_networks=("10.0.0.0/8",)) as api:
        await hook(api, "https://10.1.2.3/hook")
        wish = {"url": "https://192.168.0.1/", "events": ROOM_EVENTS}
        assert await api.problem("POST", "/v1/webhooks", wish) == (422, "webhook-url-refused")


async def test_a_redirect_is_a_failure_and_is_not_followed(api, receiver):
    receiver.answer = answers(307, Location="/inside")
    path, _ = await hook(api, receiver.url)
    result = await api.ok("POST", f"{path}/test")
    assert (result["delivered"], result["status"]) == (False, 307)
    assert [received.path for received in receiver.requests] == ["/hook"]


# --- Who may what -------------------------------------------------------------------------------------------


async def test_nobody_is_told_through_a_webhook_what_they_may_not_read(api, receiver):
    key = await new_key(api, "webhooks:write", "webhooks:read", "rooms:read")
    people = {"url": receiver.url, "events": ["participant.joined"]}
    assert await api.problem("POST", "/v1/webhooks", people, token=key) == (403, "scope-missing")
    own = await api.ok("POST", "/v1/webhooks", {"url": receiver.url, "events": ROOM_EVENTS}, token=key)
    mine = f"/v1/webhooks/{own['webhook']['webhook']}"
    assert await api.problem("PATCH", mine, {"events": ["node.lost"]}, token=key) == (403, "scope-missing")
    path, _ = await hook(api, receiver.url, ["participant.joined"])
    for method, below, body in (
        ("PATCH", "", {"url": "http://127.0.0.1:1/mine"}),
        ("POST", "/rotate", {}),
        ("GET", "/deliveries", None),
    ):
        assert await api.problem(method, path + below, body, token=key) == (403, "scope-missing")


async def test_a_key_of_some_rooms_makes_and_sees_webhooks_of_those_only(api, receiver):
    key = await new_key(api, "webhooks:write", "webhooks:read", "rooms:read", room_prefix="hall-")
    wish = {"url": receiver.url, "events": ROOM_EVENTS}
    assert await api.problem("POST", "/v1/webhooks", wish, token=key) == (403, "room-not-allowed")
    path, _ = await hook(api, receiver.url)
    assert await api.problem("DELETE", path, token=key) == (404, "webhook-unknown")
    await api.ok("POST", "/v1/webhooks", wish | {"room_prefix": "hall-a"}, token=key)
    assert len((await api.ok("GET", "/v1/webhooks", token=key))["webhooks"]) == 1


async def test_there_is_a_limit_of_webhooks(api, receiver):
    for _ in range(MAX_WEBHOOKS):
        await hook(api, receiver.url)
    wish = {"url": receiver.url, "events": ROOM_EVENTS}
    assert await api.problem("POST", "/v1/webhooks", wish) == (409, "too-many-webhooks")


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"events": []}, "$.events"),
        ({"events": ["room.painted"]}, "$.events"),
        ({"url": "x" * 2000}, "$.url"),
        ({"name": ""}, "$.name"),
        ({"room_prefix": "../"}, "$.room_prefix"),
        ({"secret": "whsec_mine"}, "secret"),
    ],
)
async def test_a_malformed_wish_is_refused(api, wish, named):
    status, answer, _ = await api.call(
        "POST", "/v1/webhooks", {"url": "https://example.org/", "events": ROOM_EVENTS} | wish
    )
    assert (status, answer["type"]) == (400, "urn:farstage:problem:malformed")
    assert named in answer["detail"]


async def test_the_typed_client_manages_webhooks(api, receiver):
    async with BrokerClient(api.base, API_KEY) as client:
        wish = WebhookCreate(url=receiver.url, events=[EventType.ROOM_CREATED], name="booking")
        webhook = (await client.create_webhook(wish)).webhook.webhook
        assert (await client.test_webhook(webhook)).delivered
        changed = await client.patch_webhook(webhook, WebhookPatch(enabled=False))
        assert [listed.webhook for listed in await client.webhooks()] == [changed.webhook]
        assert (await client.rotate_webhook(webhook, overlap_s=0)).webhook.previous_secret_until is None
        assert await client.deliveries(webhook, DeliveryState.DEAD) == []
        assert await client.redeliver(webhook) == 0
        assert (await client.webhook(webhook)).name == "booking"
        await client.delete_webhook(webhook)
        assert await client.webhooks() == []
