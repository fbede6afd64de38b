"""Muting, telling and moving over the API: who may, what is refused by name, and what the edge is told."""

import pytest

from broker.protocol import (
    MAX_DATA_BYTES,
    MAX_DATA_DEPTH,
    DataMessage,
    DropSession,
    EndReason,
    JoinRequest,
    MoveTo,
    MuteAll,
    Role,
    RoomData,
    TellViewers,
    TokenRequest,
    ViewerConnected,
)
from client_demo.headless.api import BrokerClient, MustWait, Refused
from tests.support.broker_server import API_KEY, Agent, Api, running_broker
from tests.support.redis_server import RedisServer

DATA = "/v1/rooms/demo/data"
MUTE = "/v1/rooms/demo/mute"


@pytest.fixture
async def edge(api: Api) -> Agent:
    return await furnish(api)


async def furnish(api: Api) -> Agent:
    """A node, rooms `demo` and `other`, and the edge whose part the test plays."""
    await api.node(units=20.0)
    edge = await api.edge()
    for room in ("demo", "other"):
        await api.ok("POST", "/v1/rooms", {"room": room})
    return edge


async def live(api: Api, edge: Agent, role: str = "visitor") -> dict:
    """Somebody in `demo` whose connection stands."""
    grant = await api.join(role=role)
    await edge.send(ViewerConnected(session=grant["session"]))
    while not api.controller.brain.state.sessions[grant["session"]].connected:
        await api.ok("GET", "/v1/rooms")
    return grant


async def test_a_host_mutes_the_room_and_a_visitor_does_not(api: Api, edge: Agent) -> None:
    host, visitor = await api.join(role="host"), await api.join()
    assert await api.ok("POST", MUTE, {}, token=host["session_token"]) == {"changed": 1}
    assert await api.problem("POST", MUTE, {}, token=visitor["session_token"]) == (403, "not-permitted")
    assert await api.problem("POST", "/v1/rooms/other/mute", token=host["session_token"]) == (403, "token-wrong-room")
    async with BrokerClient(api.base, API_KEY) as client:
        assert await client.mute_all("demo") == 0
        assert await client.mute_all("demo", MuteAll(muted=False, roles=(Role.VISITOR,))) == 1


async def test_data_reaches_the_edge_with_who_sent_it(api: Api, edge: Agent) -> None:
    host = await live(api, edge, role="host")
    value = {"poll": [1, 2.5, None, "三"]}
    sent = await api.ok("POST", DATA, {"topic": "poll", "value": value}, token=host["session_token"])
    assert sent == {"participants": 1}
    told = await edge.expect(TellViewers)
    assert told.event == RoomData(topic="poll", value=value, sender=host["participant"])
    async with BrokerClient(api.base, API_KEY) as client:
        assert await client.send_data("demo", DataMessage(binary=b"\x00\xff")) == 1
    assert (await edge.expect(TellViewers)).event == RoomData(topic="notice", binary=b"\x00\xff")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"value": 1, "binary": "AA=="},
        {"value": "x" * MAX_DATA_BYTES},
        {"binary": "A" * (MAX_DATA_BYTES * 2)},
        {"binary": "not base64"},
        {"value": 1, "to": []},
        {"value": 1, "roles": ["king"]},
        {"value": 1, "topic": "two words"},
    ],
)
async def test_data_that_cannot_be_sent_is_refused_by_name(api: Api, edge: Agent, body: dict) -> None:
    assert await api.problem("POST", DATA, body) == (400, "malformed")


async def test_data_is_not_nested_more_deeply_than_receivers_read(api: Api, edge: Agent) -> None:
    for depth, status in ((MAX_DATA_DEPTH, 200), (MAX_DATA_DEPTH + 1, 400), (1500, 400)):
        raw = b'{"value":' + b"[" * depth + b"]" * depth + b"}"
        assert (await api.call("POST", DATA, raw=raw))[0] == status


async def test_data_for_strangers_or_too_often_is_refused(api: Api, edge: Agent) -> None:
    visitor = await api.join()
    assert await api.problem("POST", DATA, {"value": 1, "to": ["nobody"]}) == (404, "participant-unknown")
    assert await api.problem("POST", "/v1/rooms/none/data", {"value": 1}) == (404, "room-unknown")
    assert await api.problem("POST", DATA, {"value": 1}, token=visitor["session_token"]) == (403, "not-permitted")
    statuses = [(await api.call("POST", DATA, {"value": 1}))[0] for _ in range(62)]
    assert statuses[:59] == [200] * 59
    assert statuses[-1] == 429


async def test_a_participant_is_moved_with_the_token_the_edge_hands_on(api: Api, edge: Agent) -> None:
    session = await live(api, edge, role="speaker")
    async with BrokerClient(api.base, API_KEY) as client:
        started = await client.move("demo", session["participant"], "other")
        assert (started.room, started.to) == ("demo", "other")
        event = (await edge.expect(TellViewers)).event
        assert isinstance(event, MoveTo)
        grant = await client.join("other", JoinRequest(), event.token)
        assert (grant.room, grant.role, grant.display_name) == ("other", Role.SPEAKER, "Alice")
        await edge.expect(DropSession, session=session["session"], reason=EndReason.MOVED)
        with pytest.raises(Refused) as caught:
            await client.join("other", JoinRequest(), event.token)
        assert caught.value.problem.type.endswith("token-replayed")


async def test_who_is_moved_while_the_farm_is_full_waits_for_a_place_and_stays_meanwhile(api: Api) -> None:
    await api.node(units=20.0)
    edge = await api.edge(max_viewers=2)
    for room in ("demo", "other"):
        await api.ok("POST", "/v1/rooms", {"room": room})
    session, filler = await live(api, edge), await api.join()
    async with BrokerClient(api.base, API_KEY) as client:
        await client.move("demo", session["participant"], "other")
        token = (await edge.expect(TellViewers)).event.token
        with pytest.raises(MustWait) as caught:
            await client.join("other", JoinRequest(wait_when_full=True), token)
        assert {entry.session for entry in await client.sessions()} == {session["session"], filler["session"]}
        await api.ok("DELETE", f"/v1/sessions/{filler['session']}")
        grant = await client.wait_for_entry(caught.value.ticket, JoinRequest(), 10)
        assert grant.room == "other"
        assert [entry.session for entry in await client.sessions()] == [grant.session]
        assert api.controller.brain.state.tickets == {}


async def test_moves_that_cannot_be_are_refused_by_name(api: Api, edge: Agent) -> None:
    session = await live(api, edge)
    path = f"/v1/rooms/demo/participants/{session['participant']}/move"
    await api.ok("POST", "/v1/rooms", {"room": "closed", "locked": True})
    assert await api.problem("POST", path, {"to": "closed"}) == (423, "room-locked")
    assert await api.problem("POST", path, {"to": "none"}) == (404, "room-unknown")
    assert await api.problem("POST", path, {"to": "demo"}) == (409, "not-movable")
    assert (await api.problem("POST", path, {"to": "other"}, token=session["session_token"]))[0] == 401
    nobody = "/v1/rooms/demo/participants/nobody/move"
    assert await api.problem("POST", nobody, {"to": "other"}) == (404, "participant-unknown")
    key = await api.ok("POST", "/v1/api-keys", {"name": "d", "scopes": ["participants:write"], "room_prefix": "demo"})
    assert await api.problem("POST", path, {"to": "other"}, token=key["secret"]) == (403, "room-not-allowed")


async def test_a_withdrawn_token_ends_its_session_and_lets_nobody_in(api: Api, edge: Agent) -> None:
    async with BrokerClient(api.base, API_KEY) as client:
        used, unused = [
            await client.mint_token("demo", TokenRequest(identity="ada", display_name="Ada")) for _ in range(2)
        ]
        grant = await client.join("demo", JoinRequest(), used.token)
        for token in (used, unused, used):
            await client.revoke_token("demo", token.token_id)
        await edge.expect(DropSession, session=grant.session, reason=EndReason.TOKEN_REVOKED)
        for token in (used, unused):
            assert (await api.problem("POST", "/v1/rooms/demo/join", {}, token=token.token)) == (403, "token-revoked")
        resume = f"/v1/sessions/{grant.session}/resume"
        assert await api.problem("POST", resume, {}, token=grant.session_token) == (403, "token-revoked")
        assert await client.participants("demo") == []


async def test_a_token_withdrawn_while_it_is_being_used_leaves_no_session(
    api: Api, edge: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, brain = api.controller.store, api.controller.brain
    grant = await api.ok("POST", "/v1/rooms/demo/tokens", {"identity": "ada", "display_name": "Ada"})
    spend = store.use_token

    async def spend_while_it_is_withdrawn(*arguments) -> bool:
        is_spent = await spend(*arguments)
        await api.ok("DELETE", f"/v1/rooms/demo/tokens/{grant['token_id']}")
        return is_spent

    monkeypatch.setattr(store, "use_token", spend_while_it_is_withdrawn)
    assert await api.problem("POST", "/v1/rooms/demo/join", {}, token=grant["token"]) == (403, "token-revoked")
    assert brain.state.sessions == {}


async def test_who_is_removed_on_the_way_does_not_arrive(api: Api, edge: Agent) -> None:
    session = await live(api, edge)
    path = f"/v1/rooms/demo/participants/{session['participant']}"
    await api.ok("POST", path + "/move", {"to": "other"})
    token = (await edge.expect(TellViewers)).event.token
    await api.ok("DELETE", path)
    assert await api.problem("POST", "/v1/rooms/other/join", {}, token=token) == (403, "token-revoked")


async def test_only_a_key_for_tokens_of_the_room_withdraws_them(api: Api, edge: Agent) -> None:
    wish = {"name": "d", "scopes": ["rooms:write"]}
    without_scope = (await api.ok("POST", "/v1/api-keys", wish))["secret"]
    elsewhere = (await api.ok("POST", "/v1/api-keys", {**wish, "scopes": ["tokens:write"], "room_prefix": "x"}))[
        "secret"
    ]
    path = "/v1/rooms/demo/tokens/abc"
    assert await api.problem("DELETE", path, token=without_scope) == (403, "scope-missing")
    assert await api.problem("DELETE", path, token=elsewhere) == (403, "room-not-allowed")
    host = await api.join(role="host")
    assert (await api.problem("DELETE", path, token=host["session_token"]))[0] == 401
    assert await api.problem("DELETE", "/v1/rooms/demo/tokens/a%20b") == (400, "malformed")
    assert await api.problem("DELETE", "/v1/rooms/none/tokens/abc") == (404, "room-unknown")


@pytest.mark.redis
async def test_a_kept_place_outlives_the_broker(redis_server: RedisServer) -> None:
    async with running_broker(store_url=redis_server.url) as api:
        edge = await furnish(api)
        session = await live(api, edge)
        await api.ok("POST", f"/v1/rooms/demo/participants/{session['participant']}/move", {"to": "other"})
        token = (await edge.expect(TellViewers)).event.token
    async with running_broker(store_url=redis_server.url) as api:
        await api.node(units=20.0)
        edge = await api.edge(sessions=[session["session"]])
        await api.ok("PATCH", "/v1/rooms/other", {"locked": True})
        grant = await api.ok("POST", "/v1/rooms/other/join", {}, token=token)
        assert grant["room"] == "other"
        await edge.expect(DropSession, session=session["session"], reason=EndReason.MOVED)
