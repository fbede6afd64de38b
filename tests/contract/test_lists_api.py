"""Lists of the API: conditions, pages that stay right while things come and go, and what bad queries get."""

from collections.abc import AsyncIterator

import pytest

from broker.protocol import ParticipantQuery, PutSession, Role, RoomCreate, RoomQuery, SessionQuery, ViewerConnected
from client_demo.headless.api import BrokerClient
from tests.support.broker_server import API_KEY, Api


@pytest.fixture
async def client(api: Api) -> AsyncIterator[BrokerClient]:
    async with BrokerClient(api.base, API_KEY) as client:
        yield client


def names(answer: dict) -> list[str]:
    return [room["room"] for room in answer["rooms"]]


async def test_rooms_are_found_by_every_condition_and_by_all_together(api, client):
    await api.node()
    await api.edge()
    await client.create_room(RoomCreate(room="hall", mode="conference", metadata={"city": "x=y", "floor": "1"}))
    await client.create_room(RoomCreate(room="hall-2", mode="conference", open=True, metadata={"city": "b"}))
    await client.create_room(RoomCreate(room="tour"))
    await api.join("tour")

    async def found(**fields) -> list[str]:
        return [room.room for room in await client.rooms(RoomQuery(**fields))]

    assert await found(mode="conference") == ["hall", "hall-2"]
    assert await found(mode="conference", open=False) == ["hall"]
    assert await found(open=True) == ["hall-2"]
    assert await found(name_prefix="hall-") == ["hall-2"]
    assert await found(metadata=["city=x=y"]) == ["hall"]
    assert await found(metadata=["city=x=y", "floor=2"]) == []
    assert await found(metadata=["city=x=y", "floor=1"]) == ["hall"]
    assert await found(scene="nowhere") == []
    assert await found(has_participants=True) == await found(node="n1") == ["tour"]
    assert await found(has_participants=False) == ["hall", "hall-2"]


async def test_pages_show_each_lasting_room_once_while_others_come_and_go(api):
    for index in range(12):
        await api.ok("POST", "/v1/rooms", {"room": f"r{index:02}"})
    first = await api.ok("GET", "/v1/rooms?limit=5")
    assert names(first) == ["r00", "r01", "r02", "r03", "r04"]
    await api.ok("DELETE", "/v1/rooms/r04")
    await api.ok("DELETE", "/v1/rooms/r01")
    await api.ok("DELETE", "/v1/rooms/r06")
    await api.ok("POST", "/v1/rooms", {"room": "r00b"})
    second = await api.ok("GET", f"/v1/rooms?limit=5&cursor={first['next_cursor']}")
    assert names(second) == ["r05", "r07", "r08", "r09", "r10"]
    last = await api.ok("GET", f"/v1/rooms?limit=5&cursor={second['next_cursor']}")
    assert (names(last), "next_cursor" in last) == (["r11"], False)


async def test_a_list_has_fifty_entries_unless_asked_and_the_client_gets_them_all(api, client):
    for index in range(53):
        await api.ok("POST", "/v1/rooms", {"room": f"r{index:02}"})
    assert len((await api.ok("GET", "/v1/rooms"))["rooms"]) == 50
    assert len(await client.rooms(RoomQuery(limit=20))) == len(await client.rooms()) == 53


async def test_participants_and_sessions_are_found_by_their_conditions(api, client):
    await api.node(units=9.0)
    edge = await api.edge("e1")
    for room in ("a", "b"):
        await client.create_room(RoomCreate(room=room))
    host = await api.join("a", identity="ada", role="host")
    await api.join("a", identity="bob")
    await api.join("b", identity="ada")
    await edge.send(ViewerConnected(session=host["session"]))
    await edge.expect(PutSession, session=host["session"], state="live")

    async def people(**fields) -> list[str]:
        return [entry.identity for entry in await client.participants("a", ParticipantQuery(**fields))]

    assert await people() == ["ada", "bob"]
    assert await people(role=Role.HOST) == await people(state="live") == await people(identity="ada") == ["ada"]
    assert await people(edge="e2") == await people(hand_raised=True) == []
    assert await people(edge="e1", hand_raised=False, limit=1) == ["ada", "bob"]

    async def sessions(**fields) -> list[tuple[str, str]]:
        return [(entry.room, entry.identity) for entry in await client.sessions(SessionQuery(**fields))]

    assert await sessions(limit=2) == [("a", "ada"), ("a", "bob"), ("b", "ada")]
    assert await sessions(identity="ada") == [("a", "ada"), ("b", "ada")]
    assert await sessions(room="b", node="n1") == [("b", "ada")]
    assert await sessions(node="n2") == []


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "$.limit"),
        ("limit=501", "$.limit"),
        ("limit=many", "$.limit"),
        ("limit=5&limit=6", "'limit'"),
        ("mod=explore", "mod"),
        ("mode=disco", "$.mode"),
        ("open=perhaps", "$.open"),
        ("metadata=novalue", "$.metadata"),
        ("cursor=", "$.cursor"),
        ("cursor=!!", "next_cursor"),
        ("cursor=eyJ9", "next_cursor"),
        ("cursor=%00%ff", "next_cursor"),
        ("cursor=W10", "next_cursor"),
        ("cursor=WyJzZXNzaW9ucyIsImEiXQ", "list of sessions"),
        ("cursor=" + "A" * 600, "$.cursor"),
    ],
)
async def test_a_bad_query_is_refused_naming_the_parameter(api, query, named):
    status, answer, _ = await api.call("GET", "/v1/rooms?" + query)
    assert (status, answer["type"]) == (400, "urn:farstage:problem:bad-query")
    assert named in answer["detail"]


async def test_a_host_lists_their_own_room_only_and_never_all_sessions(api):
    await api.node()
    await api.edge()
    for room in ("a", "b"):
        await api.ok("POST", "/v1/rooms", {"room": room})
    token = (await api.join("a", role="host"))["session_token"]
    assert len((await api.ok("GET", "/v1/rooms/a/participants?role=host", token=token))["participants"]) == 1
    assert await api.problem("GET", "/v1/rooms/b/participants", token=token) == (403, "token-wrong-room")
    assert (await api.problem("GET", "/v1/sessions", token=token))[0] == 401


async def test_the_document_names_the_parameters_of_lists(api):
    document = await api.ok("GET", "/v1/openapi.json", token=None)
    parameters = {entry["name"]: entry for entry in document["paths"]["/v1/rooms"]["get"]["parameters"]}
    assert parameters["limit"]["schema"]["maximum"] == 500
    assert parameters["mode"]["schema"]["$ref"].rsplit("/", 1)[1] in document["components"]["schemas"]
