"""Locked rooms and waiting rooms over the API: asking, polling, deciding, coming in, and what outsiders get."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker.protocol import (
    JoinRequest,
    LatencyCap,
    Mode,
    Probe,
    RoomCreate,
    RoomPatch,
    RoomQuery,
    TicketState,
    WaitsFor,
)
from client_demo.headless.api import BrokerClient, MustWait, NotAdmitted, Refused
from tests.support.broker_server import API_KEY, Api, running_broker
from tests.support.redis_server import RedisServer

WAITING = "/v1/rooms/demo/waiting"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_broker() as api:
        await api.node()
        await api.edge()
        await api.ok("POST", "/v1/rooms", {"room": "demo", "waiting_room": True, "open": True})
        yield api


@pytest.fixture
async def client(api: Api) -> AsyncIterator[BrokerClient]:
    async with BrokerClient(api.base, API_KEY) as client:
        yield client


async def ask(client: BrokerClient, name: str = "Gast", token: str = ""):
    with pytest.raises(MustWait) as caught:
        await client.join("demo", JoinRequest(display_name=name), token)
    return caught.value.ticket


async def test_a_guest_waits_is_let_in_and_joins(api, client):
    ticket = await ask(client)
    assert (ticket.state, ticket.position) == (TicketState.WAITING, 1)
    entry = asyncio.create_task(client.wait_for_entry(ticket, JoinRequest(), 30))
    [waiting] = await client.waiting("demo")
    assert (waiting.display_name, waiting.position, waiting.ticket) == ("Gast", 1, ticket.ticket)
    assert await client.admit("demo", [ticket.ticket]) == [ticket.ticket]
    grant = await entry
    assert (grant.room, grant.display_name) == ("demo", "Gast")
    assert await client.waiting("demo") == []
    assert (await client.poll(ticket)).state is TicketState.JOINED


async def test_the_answer_says_where_and_when_to_poll(api):
    status, answer, headers = await api.call("POST", "/v1/rooms/demo/join", {"display_name": "A"}, token=None)
    assert (status, headers["Location"], headers["Retry-After"]) == (202, answer["poll_url"], "3")
    assert "token" not in await api.ok("GET", answer["poll_url"], token=answer["token"])


async def test_an_invitation_keeps_its_place_and_is_spent_on_coming_in(api, client):
    token = await api.join_token()
    ticket = await ask(client, token=token)
    assert (await ask(client, token=token)).ticket == ticket.ticket
    await client.admit("demo")
    grant = await client.wait_for_entry(ticket, JoinRequest(), 5)
    assert grant.display_name == "Alice"
    again = await ask(client, token=token)
    await client.admit("demo")
    with pytest.raises(Refused) as caught:
        await client.wait_for_entry(again, JoinRequest(), 5)
    assert caught.value.problem.type.endswith("token-replayed")


async def test_a_refused_one_is_told_at_once_and_their_invitation_is_withdrawn(api, client):
    token = await api.join_token()
    ticket = await ask(client, token=token)
    entry = asyncio.create_task(client.wait_for_entry(ticket, JoinRequest(), 30))
    await client.refuse("demo", [ticket.ticket])
    with pytest.raises(NotAdmitted) as caught:
        await entry
    assert caught.value.state is TicketState.REFUSED
    assert await api.problem("POST", "/v1/rooms/demo/join", {}, token=token) == (403, "token-revoked")
    assert await api.problem("DELETE", ticket.poll_url, token=ticket.token) == (410, "ticket-ended")


async def test_who_gives_up_leaves_the_queue(api, client):
    ticket = await ask(client)
    with pytest.raises(NotAdmitted) as caught:
        await client.wait_for_entry(ticket, JoinRequest(), 0.01)
    assert caught.value.state is TicketState.WAITING
    assert await client.waiting("demo") == []
    assert (await client.poll(ticket)).state is TicketState.LEFT


async def test_a_host_decides_with_their_session_and_a_visitor_does_not(api, client):
    host = (await api.join(role="host"))["session_token"]
    ticket = await ask(client)
    listed = await api.ok("GET", WAITING, token=host)
    assert [entry["ticket"] for entry in listed["waiting"]] == [ticket.ticket]
    assert (await api.ok("POST", WAITING + "/admit", {}, token=host))["tickets"] == [ticket.ticket]
    visitor = (await client.wait_for_entry(ticket, JoinRequest(), 5)).session_token
    for method, path in (("GET", WAITING), ("POST", WAITING + "/admit"), ("PUT", "/v1/rooms/demo/lock")):
        assert await api.problem(method, path, token=visitor) == (403, "not-permitted")
    assert (await api.problem("POST", WAITING + "/refuse", token=ticket.token))[0] == 401


async def test_only_its_own_token_opens_a_ticket(api, client):
    mine, other = await ask(client), await ask(client)
    assert await api.problem("GET", mine.poll_url, token=other.token) == (403, "token-wrong-subject")
    assert (await api.problem("GET", mine.poll_url, token=API_KEY))[0] == 401
    assert (await api.problem("POST", mine.poll_url + "/join", {}, token=other.token))[0] == 403
    assert await api.problem("POST", mine.poll_url + "/join", {}, token=mine.token) == (409, "still-waiting")
    await api.ok("POST", "/v1/rooms", {"room": "other", "waiting_room": True})
    elsewhere = mine.poll_url.replace("demo", "other")
    assert await api.problem("GET", elsewhere, token=mine.token) == (403, "token-wrong-room")


async def test_polling_without_a_pause_is_limited(api, client):
    ticket = await ask(client)
    statuses = [(await api.call("GET", ticket.poll_url, token=ticket.token))[0] for _ in range(62)]
    assert statuses[:60] == [200] * 60
    assert statuses[-1] == 429


async def test_a_newer_poll_ends_the_older_one(api, client):
    ticket = await ask(client)
    older = asyncio.create_task(client.poll(ticket, 5))
    while ticket.ticket not in api.controller.ticket_news._polls:
        await asyncio.sleep(0)
    newer = asyncio.create_task(client.poll(ticket, 5))
    assert (await older).state is TicketState.WAITING
    assert not newer.done()
    await client.admit("demo")
    assert (await newer).state is TicketState.ADMITTED


async def test_a_locked_room_says_so_and_opens_again(api, client):
    assert (await client.lock_room("demo")).locked
    status, answer, _ = await api.call("POST", "/v1/rooms/demo/join", {"display_name": "A"}, token=None)
    assert (status, answer["type"]) == (423, "urn:farstage:problem:room-locked")
    assert [room.room for room in await client.rooms(RoomQuery(locked=True))] == ["demo"]
    host = await api.join(role="host")
    await api.ok("DELETE", "/v1/rooms/demo/lock", token=host["session_token"])
    await ask(client)
    assert (await api.ok("GET", "/v1/rooms/demo"))["waiting"] == 1


async def test_a_player_cannot_wait(api):
    offer = b"v=0\r\na=rtpmap:96 H264/90000\r\n"
    headers = {"Content-Type": "application/sdp"}
    async with api.client.post(api.base + "/v1/rooms/demo/whep", data=offer, headers=headers) as response:
        assert (response.status, (await response.json(content_type=None))["type"]) == (
            403,
            "urn:farstage:problem:waiting-room",
        )


async def test_tickets_survive_a_restart_of_the_broker():
    server = RedisServer()
    server.start()
    try:
        async with running_broker(store_url=server.url) as api, BrokerClient(api.base, API_KEY) as client:
            await client.create_room(RoomCreate(room="demo", waiting_room=True, open=True))
            first, second = await ask(client), await ask(client)
        async with running_broker(store_url=server.url) as api, BrokerClient(api.base, API_KEY) as client:
            assert [entry.ticket for entry in await client.waiting("demo")] == [first.ticket, second.ticket]
            assert (await client.poll(second)).position == 2
            await client.patch_room("demo", RoomPatch(waiting_room=False))
            assert (await client.poll(first)).state is TicketState.ADMITTED
    finally:
        server.close()


# --- Queues for places ----------------------------------------------------------------------------------

PATIENT_GUEST = JoinRequest(display_name="Gast", wait_when_full=True)


@pytest.fixture
async def full(api: Api, client: BrokerClient):
    """A room with one place, which is taken: the session that has it."""
    await client.create_room(RoomCreate(room="tiny", max_participants=1, open=True))
    return await client.join("tiny", JoinRequest(display_name="Inside"))


async def wait_for_place(client: BrokerClient, room: str = "tiny"):
    with pytest.raises(MustWait) as caught:
        await client.join(room, PATIENT_GUEST)
    return caught.value.ticket


async def test_who_wishes_waits_for_a_place_and_gets_it_when_it_is_free(client, full):
    with pytest.raises(Refused):
        await client.join("tiny", JoinRequest(display_name="Impatient"))
    ticket, second = await wait_for_place(client), await wait_for_place(client)
    assert [(t.waits_for, t.position) for t in (ticket, second)] == [(WaitsFor.CAPACITY, 1), (WaitsFor.CAPACITY, 2)]
    entry = asyncio.create_task(client.wait_for_entry(ticket, PATIENT_GUEST, 30))
    await client.leave(full)
    grant = await entry
    assert grant.room == "tiny"
    assert (await client.poll(second)).position == 1
    [shown] = await client.waiting("tiny")
    assert (shown.ticket, shown.waits_for) == (second.ticket, WaitsFor.CAPACITY)


async def test_an_admitted_one_whose_place_is_gone_keeps_the_turn(api, client, full):
    ticket = await wait_for_place(client)
    await client.leave(full)
    async with asyncio.timeout(10):
        while (await client.poll(ticket, wait_s=5)).state is not TicketState.ADMITTED:
            pass
    await client.create_room(RoomCreate(room="hall", mode=Mode.CONFERENCE, open=True))
    await api.ok("POST", "/v1/edges/e1/drain", {"deadline_s": 60})
    body = {"wait_when_full": True}
    status, answer, _ = await api.call("POST", f"{ticket.poll_url}/join", body, token=ticket.token)
    assert (status, answer["type"]) == (503, "urn:farstage:problem:no-edge"), "waiting does not help against that"
    await api.ok("DELETE", "/v1/edges/e1/drain")
    await api.ok("PATCH", "/v1/rooms/tiny", {"limits": {"visitor": 0}})
    status, answer, _ = await api.call("POST", f"{ticket.poll_url}/join", body, token=ticket.token)
    assert (status, answer["state"], answer["position"]) == (202, "waiting", 1)
    await api.ok("PATCH", "/v1/rooms/tiny", {"limits": {}})
    assert (await client.wait_for_entry(ticket, PATIENT_GUEST, 30)).room == "tiny"


async def test_a_room_with_caps_takes_the_near_at_once_and_the_far_later(client):
    caps = [LatencyCap(rtt_ms=50.0), LatencyCap(after_s=0.5, rtt_ms=500.0)]
    room = await client.create_room(RoomCreate(room="near", open=True, latency_caps=caps))
    assert room.latency_caps == caps
    near, far = [Probe(edge="e1", rtt_ms=5.0)], [Probe(edge="e1", rtt_ms=90.0)]
    await client.join("near", JoinRequest(display_name="Near", probes=near))
    with pytest.raises(Refused) as refused:
        await client.join("near", JoinRequest(display_name="Far", probes=far))
    assert refused.value.problem.type.endswith(":too-far")
    patient = JoinRequest(display_name="Far", probes=far, wait_when_full=True)
    with pytest.raises(MustWait) as caught:
        await client.join("near", patient)
    assert (await client.wait_for_entry(caught.value.ticket, patient, 30)).room == "near"
