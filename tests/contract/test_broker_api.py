"""The broker's API over real sockets: what works, and every refusal with its status and stable type."""

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from broker.api.controller import Controller, StandingBy
from broker.api.rate_limit import RateLimiter
from broker.core.state import CoreSettings
from broker.protocol import (
    AUDIENCE_JOIN,
    AUDIENCE_OPERATOR,
    AUDIENCE_TRUNK,
    DropSession,
    EventType,
    NodeHeartbeat,
    NodeLoad,
    PutSession,
    PutView,
    PutWorld,
    ViewerConnected,
    ViewerReport,
    ViewHolding,
    ViewStarted,
    encode,
)
from broker.protocol.report_batch import batch_of
from broker.store.redis import RedisStore
from broker.tokens import TokenAuthority, TokenVerifier
from tests.support.broker_farm import node_key
from tests.support.broker_server import API_KEY, Agent, Api, running_broker
from tests.support.stored_claims import commands_answered


@pytest.fixture
async def fleet(api: Api) -> tuple[Agent, Agent]:
    """One node, one edge and the room `demo`."""
    agents = await api.node(), await api.edge()
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    return agents


async def until(condition, limit_s: float = 10.0):
    """Poll until the awaited condition holds."""
    async with asyncio.timeout(limit_s):
        while True:
            if value := await condition():
                return value
            await asyncio.sleep(0.02)


# --- Rooms ----------------------------------------------------------------------------------------------


async def test_a_room_is_created_read_changed_and_closed(api):
    created = await api.ok("POST", "/v1/rooms", {"room": "hall", "mode": "conference", "metadata": {"a": "b"}})
    assert (created["mode"], created["scene"], created["metadata"]) == ("conference", "campus", {"a": "b"})
    assert await api.ok("GET", "/v1/rooms/hall") == created
    changed = await api.ok("PATCH", "/v1/rooms/hall", {"max_participants": 1000, "open": True})
    assert (changed["max_participants"], changed["open"], changed["metadata"]) == (1000, True, {"a": "b"})
    assert [room["room"] for room in (await api.ok("GET", "/v1/rooms"))["rooms"]] == ["hall"]
    await api.ok("DELETE", "/v1/rooms/hall")
    assert await api.problem("GET", "/v1/rooms/hall") == (404, "room-unknown")


async def test_a_room_without_a_name_gets_one(api):
    names = {(await api.ok("POST", "/v1/rooms", {}))["room"] for _ in range(3)}
    assert len(names) == 3


async def test_a_room_name_is_taken_once(api):
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    assert await api.problem("POST", "/v1/rooms", {"room": "demo"}) == (409, "room-exists")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"max_participants": "many"}, "$.max_participants"),
        ({"max_participants": 0}, "$.max_participants"),
        ({"rom": "demo"}, "rom"),
        ({"room": "../etc"}, "$.room"),
        ({"room": "demo\n"}, "$.room"),
        ({"mode": "disco"}, "$.mode"),
        ({"metadata": {"k": 3}}, "$.metadata"),
        ([], "object"),
    ],
)
async def test_a_malformed_body_is_refused_naming_key_and_path(api, body, named):
    status, answer, _ = await api.call("POST", "/v1/rooms", body)
    assert (status, answer["type"]) == (400, "urn:farstage:problem:malformed")
    assert named in answer["detail"]
    assert await api.metric('farstage_messages_malformed_total{source="http"}') == 1


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"[" * 60_000, b'{"room": "a"} x'])
async def test_what_is_not_json_is_malformed(api, raw):
    assert await api.problem("POST", "/v1/rooms", raw=raw) == (400, "malformed")


async def test_a_large_body_is_refused(api):
    assert await api.problem("POST", "/v1/rooms", raw=b" " * 70_000) == (413, "too-large")


@pytest.mark.parametrize(
    ("path", "content_type"), [("/v1/rooms", "application/json"), ("/v1/rooms/hall/whep", "application/sdp")]
)
async def test_a_body_that_never_arrives_times_out(path, content_type):
    async with running_broker(body_timeout_s=0.2) as api:
        await api.ok("POST", "/v1/rooms", {"room": "hall", "open": True})
        host, port = api.base.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Length: 100", f"Content-Type: {content_type}"]
        lines.append(f"Authorization: Bearer {api.controller.settings.api_key}")
        writer.write("\r\n".join([*lines, "", "{"]).encode())
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()


async def test_unknown_paths_and_methods_are_problems(api):
    assert await api.problem("GET", "/v1/nothing") == (404, "not-found")
    assert await api.problem("PUT", "/v1/rooms") == (405, "method-not-allowed")
    assert (await api.call("PUT", "/v1/rooms"))[2]["Allow"] == "GET,POST"


# --- Who may -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/rooms"),
        ("POST", "/v1/rooms"),
        ("DELETE", "/v1/rooms/demo"),
        ("POST", "/v1/rooms/demo/tokens"),
        ("GET", "/v1/rooms/demo/participants"),
        ("GET", "/v1/nodes"),
        ("POST", "/v1/nodes/n1/drain"),
        ("GET", "/v1/edges"),
    ],
)
async def test_operators_endpoints_need_an_operator(api, method, path):
    assert await api.problem(method, path, token=None) == (401, "token-missing")
    assert (await api.problem(method, path, token="guess"))[0] == 401
    node_token = api.agent_token("node", "n1")
    assert await api.problem(method, path, token=node_token) == (401, "token-audience")


async def test_an_operator_token_is_as_good_as_the_key(api):
    token = api.authority.mint(AUDIENCE_OPERATOR, "ops", 60, time.time())
    assert await api.ok("GET", "/v1/rooms", token=token) == {"rooms": []}


async def test_a_host_moderates_their_own_room_and_no_other(api, fleet):
    await api.ok("POST", "/v1/rooms", {"room": "other"})
    host, visitor = await api.join(role="host"), await api.join(identity="bob")
    people = f"/v1/rooms/demo/participants/{visitor['participant']}"
    muted = await api.ok("PATCH", people, {"muted": True}, token=host["session_token"])
    assert muted["muted"]
    assert await api.problem("PATCH", people, {}, token=visitor["session_token"]) == (403, "not-permitted")
    assert await api.metric('farstage_tokens_refused_total{reason="audience"}') == 0
    elsewhere = "/v1/rooms/other/participants"
    assert await api.problem("GET", elsewhere, token=host["session_token"]) == (403, "token-wrong-room")


# --- Joining --------------------------------------------------------------------------------------------


async def test_a_join_grants_a_session_on_an_edge(api, fleet):
    node, edge = fleet
    grant = await api.join(display_name="Älice", role="host")
    assert (grant["display_name"], grant["role"], grant["mode"], grant["edge"]) == ("Älice", "host", "explore", "e1")
    assert grant["whep_url"] == f"http://127.0.0.1:8081/whep/{grant['session']}"
    assert (await node.expect(PutWorld)).participants[0].display_name == "Älice"
    view = await node.expect(PutView)
    admitted = await edge.expect(PutSession)
    assert (admitted.session, admitted.stream) == (grant["session"], view.stream) == (grant["session"], grant["stream"])
    verifier = TokenVerifier(api.authority.public_key_pem)
    trunk = verifier.verify(view.targets[0].token, AUDIENCE_TRUNK, time.time())
    assert (trunk.sub, trunk.edge) == ("n1", "e1")
    assert verifier.verify(grant["session_token"], "farstage:session", time.time()).sub == grant["session"]


async def test_the_link_carries_the_token_in_its_fragment(api, fleet):
    token = await api.ok("POST", "/v1/rooms/demo/tokens", {"identity": "a", "display_name": "A"})
    assert token["link"] == f"http://127.0.0.1:8080/?room=demo#token={token['token']}"


async def test_a_join_token_is_good_once(api, fleet):
    token = await api.join_token()
    answers = await asyncio.gather(*(api.call("POST", "/v1/rooms/demo/join", {}, token=token) for _ in range(5)))
    assert sorted(status for status, _, _ in answers) == [201, 403, 403, 403, 403]
    assert {answer["type"] for status, answer, _ in answers if status == 403} == {"urn:farstage:problem:token-replayed"}
    assert await api.metric('farstage_tokens_refused_total{reason="replayed"}') == 4


async def test_wrong_tokens_do_not_join(api, fleet):
    await api.ok("POST", "/v1/rooms", {"room": "other"})
    path, now = "/v1/rooms/demo/join", time.time()
    assert await api.problem("POST", path, {}, token=None) == (401, "token-missing")
    assert await api.problem("POST", path, {}, token="x.y.z") == (401, "token-malformed")
    assert await api.problem("POST", path, {}, token=await api.join_token("other")) == (403, "token-wrong-room")
    expired = api.authority.mint(AUDIENCE_JOIN, "a", 60, now - 61, room="demo", role="visitor")
    assert await api.problem("POST", path, {}, token=expired) == (401, "token-expired")
    forged = TokenAuthority(b"f" * 32).mint(AUDIENCE_JOIN, "a", 60, now, room="demo", role="host")
    assert await api.problem("POST", path, {}, token=forged) == (401, "token-signature")
    odd_role = api.authority.mint(AUDIENCE_JOIN, "a", 60, now, room="demo", role="emperor")
    assert await api.problem("POST", path, {}, token=odd_role) == (401, "token-malformed")


async def test_a_full_room_refuses_and_leaves_the_token_good(api, fleet):
    await api.ok("PATCH", "/v1/rooms/demo", {"max_participants": 1})
    first, token = await api.join(), await api.join_token(identity="bob")
    status, answer, headers = await api.call("POST", "/v1/rooms/demo/join", {}, token=token)
    assert (status, answer["type"]) == (409, "urn:farstage:problem:room-full")
    assert int(headers["Retry-After"]) >= 1
    assert answer["retry_after_s"] > 0
    await api.ok("DELETE", f"/v1/sessions/{first['session']}", token=first["session_token"])
    await api.ok("POST", "/v1/rooms/demo/join", {}, token=token)


async def test_a_full_farm_refuses_with_a_time_to_retry(api):
    await api.node(units=1.0)
    await api.edge()
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    await api.join()
    status, answer, headers = await api.call("POST", "/v1/rooms/demo/join", {}, token=await api.join_token())
    assert (status, answer["type"]) == (503, "urn:farstage:problem:farm-full")
    assert "Retry-After" in headers
    assert await api.metric('farstage_placements_total{result="farm-full"}') == 1


async def test_without_nodes_or_edges_joins_are_told_so(api):
    await api.ok("POST", "/v1/rooms", {"room": "demo"})
    assert await api.problem("POST", "/v1/rooms/demo/join", {}, token=await api.join_token()) == (503, "no-edge")
    await api.edge()
    assert await api.problem("POST", "/v1/rooms/demo/join", {}, token=await api.join_token()) == (503, "no-node")


async def test_an_unknown_room_cannot_be_joined(api):
    assert await api.problem("POST", "/v1/rooms/nowhere/join", {}, token=None) == (404, "room-unknown")


async def test_guests_join_open_rooms_by_name_alone(api, fleet):
    await api.ok("PATCH", "/v1/rooms/demo", {"open": True})
    path = "/v1/rooms/demo/join"
    assert await api.problem("POST", path, {}, token=None) == (400, "malformed")
    grant = await api.ok("POST", path, {"display_name": "Guest"}, token=None)
    assert grant["role"] == "visitor"


async def test_guests_of_one_address_are_limited():
    async with running_broker(guest_joins_per_minute=2) as api:
        await api.ok("POST", "/v1/rooms", {"room": "demo", "open": True})
        answers = [await api.call("POST", "/v1/rooms/demo/join", {"display_name": "G"}, token=None) for _ in range(3)]
        assert [status for status, _, _ in answers] == [503, 503, 429]
        assert int(answers[2][2]["Retry-After"]) > 1


def test_the_rate_limit_refills_and_forgets_the_longest_unseen():
    limiter = RateLimiter(per_minute=60)
    assert [limiter.wait_s("a", 0.0) for _ in range(60)] == [0.0] * 60
    assert limiter.wait_s("a", 0.0) == pytest.approx(1.0)
    assert limiter.wait_s("b", 0.0) == 0.0
    assert limiter.wait_s("a", 1.0) == 0.0


# --- Sessions -------------------------------------------------------------------------------------------


async def test_participants_are_shown_with_state_and_telemetry(api, fleet):
    node, edge = fleet
    grant = await api.join()
    view = await node.expect(PutView)
    await edge.send(ViewerConnected(session=grant["session"]))
    await edge.report(ViewerReport(session=grant["session"], rtt_ms=12.5))
    await node.send(ViewStarted(view=view.view, fence=view.fence))

    async def shown():
        people = (await api.ok("GET", "/v1/rooms/demo/participants"))["participants"]
        return people[0] if people[0]["report"] else None

    person = await until(shown)
    assert (person["state"], person["node"], person["report"]["rtt_ms"]) == ("live", "n1", 12.5)
    assert await api.metric('farstage_sessions{state="live"}') == 1


async def test_removal_ends_the_session_and_revokes_its_tokens(api, fleet):
    grant = await api.join()
    await api.ok("DELETE", f"/v1/rooms/demo/participants/{grant['participant']}")
    assert (await fleet[1].expect(DropSession)).reason == "removed"
    resume = f"/v1/sessions/{grant['session']}/resume"
    assert await api.problem("POST", resume, {}, token=grant["session_token"]) == (403, "token-revoked")
    gone = f"/v1/rooms/demo/participants/{grant['participant']}"
    assert await api.problem("DELETE", gone) == (404, "participant-unknown")


async def test_a_session_is_resumed_with_its_own_token_only(api, fleet):
    alice, bob = await api.join(), await api.join(identity="bob")
    path = f"/v1/sessions/{alice['session']}/resume"
    again = await api.ok("POST", path, {}, token=alice["session_token"])
    assert (again["session"], again["stream"]) == (alice["session"], alice["stream"])
    assert await api.problem("POST", path, {}, token=bob["session_token"]) == (403, "token-wrong-subject")
    assert await api.problem("POST", path, {}, token=None) == (401, "token-missing")


async def test_picture_takes_another_shape_for_its_own_participant_only_and_not_without_end(api, fleet):
    alice, bob = await api.join(), await api.join(identity="bob")
    path, turned = f"/v1/sessions/{alice['session']}", {"viewport": {"width": 720, "height": 1280}}
    await api.ok("PATCH", path, turned, token=alice["session_token"])
    again = await api.ok("POST", f"{path}/resume", {}, token=alice["session_token"])
    assert again["height"] > again["width"]
    assert await api.problem("PATCH", path, turned, token=bob["session_token"]) == (403, "token-wrong-subject")
    assert await api.problem("PATCH", path, {}, token=alice["session_token"]) == (400, "malformed")
    answers = [await api.call("PATCH", path, turned, token=alice["session_token"]) for _ in range(40)]
    assert answers[-1][0] == 429
    assert int(answers[-1][2]["Retry-After"]) >= 1


async def test_scene_no_node_has_is_refused_and_any_case_is_known(api, fleet):
    status, problem, _ = await api.call("POST", "/v1/rooms", {"room": "odd", "scene": "atlantis"})
    assert (status, problem["type"]) == (422, "urn:farstage:problem:scene-unknown")
    assert "campus" in problem["detail"]
    assert (await api.ok("POST", "/v1/rooms", {"room": "odd", "scene": "Campus"}))["scene"] == "Campus"


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ({"Content-Encoding": "gzip"}, b"xx", (400, "malformed")),
        ({"Content-Encoding": "deflate"}, b"xx", (400, "malformed")),
    ],
)
async def test_bytes_that_fit_no_header_are_the_clients_fault(api, headers, body, expected):
    sent = {"Authorization": f"Bearer {API_KEY}", **headers}
    async with api.client.post(f"{api.base}/v1/rooms", data=body, headers=sent) as response:
        answer = await response.json(content_type=None)
    assert (response.status, answer["type"].rpartition(":")[2]) == expected


async def test_token_of_bytes_that_are_no_text_is_refused(api):
    host, port = api.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/rooms HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"token-malformed" in answer


@pytest.mark.parametrize("name", ["", " ", "\t", "a\nb", "a\x00", "\u202eevil", "x" * 49])
async def test_name_that_cannot_be_shown_is_refused(api, fleet, name):
    await api.ok("PATCH", "/v1/rooms/demo", {"open": True})
    assert await api.problem("POST", "/v1/rooms/demo/join", {"display_name": name}, token=None) == (400, "malformed")


@pytest.mark.parametrize("name", ["Ada", "林婉", "O'Brien-Müller Jr.", "👩\u200d🔬 Kim", "عائشة"])
async def test_names_of_all_peoples_are_taken(api, fleet, name):
    await api.ok("PATCH", "/v1/rooms/demo", {"open": True})
    answer = await api.ok("POST", "/v1/rooms/demo/join", {"display_name": name}, token=None)
    assert answer["display_name"] == name


async def test_an_operator_may_end_any_session(api, fleet):
    grant = await api.join()
    token = api.authority.mint(AUDIENCE_OPERATOR, "ops", 60, time.time())
    await api.ok("DELETE", f"/v1/sessions/{grant['session']}", token=token)
    assert (await api.ok("GET", "/v1/rooms/demo"))["participants"] == 0


async def test_who_has_left_cannot_resume(api, fleet):
    grant = await api.join()
    await api.ok("DELETE", f"/v1/sessions/{grant['session']}", token=grant["session_token"])
    path = f"/v1/sessions/{grant['session']}/resume"
    assert await api.problem("POST", path, {}, token=grant["session_token"]) == (410, "session-ended")


async def test_probe_targets_are_public_and_cross_origin(api, fleet):
    _, answer, headers = await api.call("GET", "/v1/probe-targets", token=None)
    assert answer["targets"] == [{"edge": "e1", "region": "r1", "probe_url": "http://127.0.0.1:8081/probe"}]
    assert headers["Access-Control-Allow-Origin"] == "*"


async def test_browsers_of_other_origins_may_join_but_not_operate(api):
    status, _, headers = await api.call("OPTIONS", "/v1/rooms/demo/join", token=None)
    assert (status, headers["Access-Control-Allow-Methods"]) == (204, "POST")
    assert "Authorization" in headers["Access-Control-Allow-Headers"]
    assert (await api.call("OPTIONS", "/v1/rooms", token=None))[0] == 405
    _, _, headers = await api.call("POST", "/v1/rooms/demo/join", {}, token=None)
    assert headers["Access-Control-Allow-Origin"] == "*"


# --- The fleet ------------------------------------------------------------------------------------------


async def test_nodes_and_edges_are_shown(api, fleet):
    await fleet[0].send(NodeHeartbeat(load=NodeLoad(cpu_share=0.5)))

    async def beaten():
        node = (await api.ok("GET", "/v1/nodes"))["nodes"][0]
        return node if node["load"]["cpu_share"] else None

    assert (await until(beaten))["state"] == "ready"
    assert (await api.ok("GET", "/v1/edges"))["edges"][0]["capability"]["max_viewers"] == 100


async def test_a_node_is_drained_and_the_drain_called_off(api, fleet):
    drained = await api.ok("POST", "/v1/nodes/n1/drain", {"deadline_s": 5})
    assert drained["state"] in ("draining", "drained")
    assert (await api.ok("DELETE", "/v1/nodes/n1/drain"))["state"] == "ready"
    assert await api.problem("POST", "/v1/nodes/n9/drain", {}) == (404, "agent-unknown")
    assert (await api.ok("POST", "/v1/edges/e1/drain"))["state"] in ("draining", "drained")


async def test_a_killed_nodes_session_goes_on_elsewhere():
    async with running_broker(core=CoreSettings(heartbeat_interval_s=20.0, reconnect_grace_s=0.1)) as api:
        first, edge = await api.node("n1"), await api.edge()
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        grant = await api.join()
        view = await first.expect(PutView)
        second = await api.node("n2")
        await first.socket.close()
        moved = await second.expect(PutView)
        assert (moved.view, moved.stream) == (view.view, grant["stream"])
        assert moved.fence > view.fence
        assert (await edge.expect(PutSession, fence=moved.fence)).state == "replacing"


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ('{"type":"register_node"}', "malformed"),
        ('{"type":"node_heartbeat","load":{}}', "must be a registration"),
        ("not json", "malformed"),
    ],
)
async def test_an_agent_that_does_not_register_is_closed_with_a_reason(api, first, reason):
    agent = Agent(await api.dial(api.agent_token("node", "n1")))
    await agent.socket.send_str(first)
    code, why = await agent.closed()
    assert code == 1008
    assert reason in why
    assert await api.metric('farstage_messages_malformed_total{source="control"}') == 1


async def test_an_agent_that_says_nothing_is_closed():
    async with running_broker(register_timeout_s=0.1) as api:
        agent = Agent(await api.dial(api.agent_token("node", "n1")))
        assert await agent.closed() == (1008, "no registration in time")


async def test_an_agent_cannot_register_under_another_name(api):
    token = api.agent_token("node", "n1")
    api.agent_token = lambda kind, name: token  # type: ignore[method-assign]
    agent = Agent(await api.dial(token))
    await agent.socket.send_str(
        '{"type":"register_node","node":"n2","region":"r","version":"1","capability":'
        '{"renderer":"cpu","device":"d","units":1,"codecs":[],"scenes":[]}}'
    )
    code, why = await agent.closed()
    assert (code, "another agent" in why) == (1008, True)


async def test_a_registered_agent_that_talks_nonsense_is_closed_and_others_go_on(api, fleet):
    node, edge = fleet
    await node.socket.send_str('{"type":"viewer_connected","session":"x"}')
    assert (await node.closed())[0] == 1008
    await edge.socket.send_bytes(b"{}")
    assert (await edge.closed())[0] == 1008
    assert (await api.call("GET", "/livez", token=None))[0] == 200


async def test_a_message_over_the_limit_closes_the_socket(api, fleet):
    await fleet[0].socket.send_str(" " * (1024 * 1024 + 1))
    assert (await fleet[0].closed())[0] == 1009


async def test_an_agent_that_does_not_read_is_cut_off_and_others_go_on():
    async with running_broker(agent_write_limit_s=0.2) as api:
        deaf, edge = await api.node("n1"), await api.edge()
        connection = deaf.socket._response.connection
        assert connection is not None
        connection.transport.pause_reading()
        big = PutWorld(room="demo", mode="explore", scene="campus", participants=[])
        padding = encode(big) + b" " * 900_000
        link = api.controller._links[node_key("n1")]
        for _ in range(40):
            link.send(padding)

        async def gone():
            return not api.controller.is_linked(link)

        await until(gone)
        assert not edge.socket.closed


async def test_a_newer_connection_of_an_agent_takes_over(api, fleet):
    again = await api.node("n1")
    code, why = await fleet[0].closed()
    assert (code, "newer" in why) == (1008, True)
    await api.join()
    await again.expect(PutView)
    assert (await api.ok("GET", "/v1/nodes"))["nodes"][0]["state"] == "ready"


@pytest.mark.parametrize("token", [None, "x", "operator"])
async def test_the_control_socket_needs_an_agents_token(api, token):
    if token == "operator":
        token = api.authority.mint(AUDIENCE_OPERATOR, "n1", 60, time.time())
    assert (await api.problem("GET", "/v1/control", token=token))[0] == 401


async def test_agents_are_told_when_the_broker_goes():
    async with running_broker() as api:
        node = await api.node()
        closing = asyncio.create_task(node.closed())
        api.controller.close_links()
        assert (await closing)[0] == 1001


# --- Operations -----------------------------------------------------------------------------------------


async def test_every_route_is_in_the_openapi_document(api):
    spec = await api.ok("GET", "/v1/openapi.json", token=None)
    assert spec["openapi"] == "3.1.0"
    assert spec["paths"]["/v1/rooms/{room}/join"]["post"]["requestBody"]
    assert {*spec["webhooks"]} == {*EventType, "webhook.test"}
    references = {part.split('"')[0] for part in str(spec).replace("'", '"').split("#/components/schemas/")[1:]}
    assert references <= set(spec["components"]["schemas"])
    names = [op["operationId"] for methods in spec["paths"].values() for op in methods.values()]
    assert len(set(names)) == len(names)
    status, page, _ = await api.call("GET", "/v1/docs", token=None)
    assert (status, b"http://" in page, b"https://" in page) == (200, False, False)


async def test_a_broker_stops_although_a_library_lost_the_cancellation(monkeypatch):
    begun = asyncio.Event()

    async def lose_it(controller: Controller) -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    monkeypatch.setattr(Controller, "tick", lose_it)
    async with asyncio.timeout(20):
        async with running_broker():
            await begun.wait()


async def test_pages_are_served_and_nothing_beside_them(tmp_path: Path):
    root = tmp_path / "web"
    (root / "sdk").mkdir(parents=True)
    (tmp_path / "secret.js").write_text("secret")
    for name in ("index.html", "operator.html", "sdk/farstage.js", ".hidden.js", "notes.txt"):
        (root / name).write_text(name)
    async with running_broker(web_root=root) as api:
        for path, name in (
            ("/", "index.html"),
            ("/operator", "operator.html"),
            ("/sdk/farstage.js", "sdk/farstage.js"),
        ):
            assert (await api.call("GET", path, token=None))[1] == name.encode()
        for path in ("/../secret.js", "/%2e%2e/secret.js", "/.hidden.js", "/notes.txt", "/sdk", "/v1/none"):
            assert (await api.problem("GET", path, token=None))[0] == 404
        assert await api.problem("PUT", "/v1/rooms", token=None) == (405, "method-not-allowed")


@pytest.mark.redis
async def test_a_broker_restarted_over_redis_finds_rooms_and_sessions(redis_server):
    async with running_broker(store_url=redis_server.url) as api:
        node, edge = await api.node(), await api.edge()
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        grant = await api.join()
        view = await node.expect(PutView)
        await edge.send(ViewerConnected(session=grant["session"]))
        await api.controller.record_agents()
        token = await api.join_token()
        await api.ok("POST", "/v1/rooms/demo/join", {}, token=token)
    async with running_broker(store_url=redis_server.url) as api:
        assert (await api.ok("GET", "/v1/rooms/demo"))["participants"] == 2
        await api.node(views=[ViewHolding(view=view.view, fence=view.fence)])
        await api.edge(sessions=[grant["session"]])
        path = f"/v1/sessions/{grant['session']}/resume"
        again = await api.ok("POST", path, {}, token=grant["session_token"])
        assert again["stream"] == grant["stream"]
        assert await api.problem("POST", "/v1/rooms/demo/join", {}, token=token) == (403, "token-replayed")


@pytest.mark.redis
async def test_while_redis_is_away_sessions_go_on_and_readiness_flips(redis_server):
    settings = CoreSettings(heartbeat_interval_s=20.0, reconnect_grace_s=0.1)
    async with running_broker(store_url=redis_server.url, core=settings, store_probe_interval_s=0.05) as api:
        first, edge = await api.node("n1"), await api.edge()
        second = await api.node("n2")
        await api.ok("POST", "/v1/rooms", {"room": "demo", "open": True})
        await api.ok("POST", "/v1/rooms", {"room": "idle"})
        grant = await api.join()
        home = (await api.ok("GET", "/v1/rooms/demo/participants"))["participants"][0]["node"]
        owner, other = (first, second) if home == "n1" else (second, first)
        view = await owner.expect(PutView)
        redis_server.kill()

        async def is_ready():
            return (await api.call("GET", "/readyz", token=None))[0] == 200

        async def is_not_ready():
            return not await is_ready()

        await until(is_not_ready)
        assert (await api.call("GET", "/livez", token=None))[0] == 200
        guest = {"display_name": "G"}
        assert await api.problem("POST", "/v1/rooms/demo/join", guest, token=None) == (503, "store-unavailable")
        assert await api.problem("POST", "/v1/rooms", {"room": "x"}) == (503, "store-unavailable")
        await owner.socket.close()
        moved = await other.expect(PutView)
        assert moved.fence > view.fence
        assert (await edge.expect(PutSession, fence=moved.fence)).session == grant["session"]
        redis_server.start()
        await until(is_ready)
        await api.ok("POST", "/v1/rooms/demo/join", guest, token=None)
        assert (await api.ok("GET", "/v1/rooms/demo"))["participants"] == 2
        stored = await api.controller.store.load("rooms"), await api.controller.store.load("sessions")
        assert [len(records) for records in stored] == [2, 2], "the emptied store was filled again"
        used = await api.controller.store.claimed(f"edge:{grant['edge']}", api.controller.unix_now())
        assert used == 2


@pytest.mark.redis
async def test_a_broker_started_before_redis_waits_for_it(redis_server):
    redis_server.kill()
    async with running_broker(store_url=redis_server.url, store_probe_interval_s=0.05) as api:
        assert (await api.problem("GET", "/readyz", token=None)) == (503, "not-ready")
        assert await api.problem("GET", "/v1/control", token=api.agent_token("node", "n1")) == (503, "standing-by")
        redis_server.start()

        async def is_ready():
            return (await api.call("GET", "/readyz", token=None))[0] == 200

        await until(is_ready)
        await api.node()


@pytest.mark.redis
async def test_a_second_broker_stands_by_and_takes_over_with_everything(redis_server):
    quick = {"store_url": redis_server.url, "store_probe_interval_s": 0.05}
    async with AsyncExitStack() as leader:
        one = await leader.enter_async_context(running_broker(**quick, name="one"))
        await one.ok("POST", "/v1/rooms", {"room": "demo"})
        async with running_broker(**quick, name="two") as two:
            assert await two.problem("GET", "/readyz", token=None) == (503, "not-ready")
            assert await two.problem("GET", "/v1/rooms") == (503, "standing-by")
            assert (await two.call("GET", "/livez", token=None))[0] == 200
            await leader.aclose()

            async def has_taken_over():
                return (await two.call("GET", "/readyz", token=None))[0] == 200

            await until(has_taken_over)
            assert (await two.ok("GET", "/v1/rooms/demo"))["room"] == "demo"


@pytest.mark.redis
async def test_a_broker_that_lost_its_lead_steps_down(redis_server):
    async with running_broker(store_url=redis_server.url, store_probe_interval_s=3600.0) as api:
        node = await api.node()
        rival = RedisStore(redis_server.url)
        try:
            later = api.controller.unix_now() + 60
            assert await rival.claim("brokers:lead", "rival", 1, 1, 600.0, later) is not None
            await api.controller.probe_store()
            assert (await node.closed())[0] == 1001
            assert await api.problem("GET", "/v1/rooms") == (503, "standing-by")
        finally:
            await rival.close()


@pytest.mark.redis
async def test_a_broker_that_stood_still_decides_nothing_before_it_knows_whether_it_still_leads(redis_server):
    async with running_broker(store_url=redis_server.url, store_probe_interval_s=3600.0) as api:
        controller = api.controller
        node = await api.node()
        await api.edge()
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        token = await api.join_token()
        rival = RedisStore(redis_server.url)
        try:
            later = controller.unix_now() + 60
            assert await rival.claim("brokers:lead", "rival", 1, 1, 600.0, later) is not None
            controller.now = lambda: time.monotonic() + controller.settings.lead_ttl_s
            join = await api.problem("POST", "/v1/rooms/demo/join", {}, token=token)
            assert join == (503, "standing-by")
            assert (await node.closed())[0] == 1001
            assert await rival.claimed("edge:e1", later) == 0, "nothing was booked"
            with pytest.raises(StandingBy):
                await controller.step(lambda: controller.brain.tick(controller.now()))
        finally:
            await rival.close()


@pytest.mark.redis
async def test_a_broker_that_stood_still_while_nobody_took_over_goes_on(redis_server):
    async with running_broker(store_url=redis_server.url, store_probe_interval_s=3600.0) as api:
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        api.controller.now = lambda: time.monotonic() + 60.0
        assert (await api.ok("GET", "/v1/rooms/demo"))["room"] == "demo"
        assert (await api.call("GET", "/readyz", token=None))[0] == 200


@pytest.mark.redis
async def test_who_stands_by_leaves_an_emptied_store_to_the_broker_that_leads(redis_server):
    settings = {"store_url": redis_server.url, "store_probe_interval_s": 3600.0}
    async with running_broker(**settings, name="one") as one, running_broker(**settings, name="two") as two:
        await one.ok("POST", "/v1/rooms", {"room": "demo"})
        redis_server.flush()
        await two.controller.probe_store()
        assert await two.problem("GET", "/readyz", token=None) == (503, "not-ready")
        await one.controller.probe_store()
        await two.controller.probe_store()
        assert (await one.ok("GET", "/v1/rooms/demo"))["room"] == "demo"
        assert set(await two.controller.store.load("rooms")) == {"demo"}


@pytest.mark.redis
async def test_who_stands_by_takes_an_emptied_store_over_if_nobody_else_does(redis_server):
    settings = {"store_url": redis_server.url, "store_probe_interval_s": 3600.0}
    async with running_broker(**settings, name="one"), running_broker(**settings, name="two") as two:
        redis_server.flush()
        await two.controller.probe_store()
        two.controller.now = lambda: time.monotonic() + two.controller.settings.lead_ttl_s
        await two.controller.probe_store()
        assert (await two.call("GET", "/readyz", token=None))[0] == 200


@pytest.mark.redis
async def test_fences_rise_though_the_store_has_forgotten_which_it_gave(redis_server):
    async with running_broker(store_url=redis_server.url, store_probe_interval_s=3600.0) as api:
        node, edge = await api.node(), await api.edge()
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        await api.join()
        before = (await node.expect(PutView)).fence
        await edge.expect(PutSession)
        redis_server.flush()
        await api.join(identity="bob")
        assert (await node.expect(PutView)).fence > before


@pytest.mark.redis
async def test_an_emptied_store_is_filled_without_writing_anything_twice(redis_server):
    settings = {"store_url": redis_server.url, "store_probe_interval_s": 3600.0, "guest_joins_per_minute": 1e6}
    async with running_broker(**settings) as api:
        await api.node(units=1000.0)
        await api.edge(max_viewers=1000)
        await api.ok("POST", "/v1/rooms", {"room": "demo", "mode": "conference", "open": True, "max_participants": 500})
        guest = {"display_name": "G"}
        await asyncio.gather(*(api.ok("POST", "/v1/rooms/demo/join", guest, token=None) for _ in range(100)))
        redis_server.kill()
        redis_server.start()

        async def is_filled():
            await api.controller.probe_store()
            return (await api.call("GET", "/readyz", token=None))[0] == 200

        await until(is_filled)
        assert len(await api.controller.store.load("sessions")) == 100
        assert await api.controller.store.claimed("edge:e1", api.controller.unix_now()) == 100
        sessions_and_claims, others = 200, 30
        assert await commands_answered(redis_server, "hset") < sessions_and_claims + others


@pytest.mark.redis
async def test_a_broker_that_dies_soon_after_an_agent_came_has_told_the_store_of_it(redis_server):
    async with running_broker(store_url=redis_server.url) as api:
        await api.node("n1")

        async def is_known():
            return "node:n1" in await api.controller.store.agents(api.controller.unix_now())

        await until(is_known, api.controller.settings.claim_ttl_s / 20)


@pytest.mark.redis
async def test_there_may_be_more_agents_than_connections_to_redis(redis_server, monkeypatch):
    monkeypatch.setattr("broker.store.redis.MAX_CONNECTIONS", 8)
    async with running_broker(store_url=redis_server.url) as api:
        for number in range(20):
            await api.edge(f"e{number}")
        await api.node(units=16.0)
        await api.ok("POST", "/v1/rooms", {"room": "demo"})
        for number in range(5):
            await api.join(identity=f"i{number}")
        assert (await api.call("GET", "/readyz", token=None))[0] == 200


# --- The whole ------------------------------------------------------------------------------------------


async def test_regions_moves_and_networks_are_shown_and_a_region_is_drained_and_called_back(api, fleet):
    _, edge = fleet
    grant = await api.join()
    await edge.send(ViewerConnected(session=grant["session"]))
    await edge.report(ViewerReport(session=grant["session"], rtt_ms=12.5), ViewerReport(session="nobody"))

    async def shown():
        (region,) = (await api.ok("GET", "/v1/regions"))["regions"]
        return region if region["rtt_ms"] else None

    region = await until(shown)
    assert (region["region"], region["nodes_ready"], region["viewers"]) == ("r1", 1, 1)
    assert region["rtt_ms"] == {"p50": 12.5, "p95": 12.5}
    assert region["quality"] > 90
    networks = await api.ok("GET", "/v1/networks")
    assert networks == {"networks": [], "reports_refused": {"stranger": 1}}, "one session does not speak for all"
    assert await api.metric('farstage_reports_refused_total{cause="stranger"}') == 1
    await api.node("n2")
    await api.ok("POST", "/v1/nodes/n1/drain", {"deadline_s": 60})
    (move,) = (await api.ok("GET", "/v1/moves"))["moves"]
    assert (move["room"], move["from_node"], move["to_node"], move["planned"]) == ("demo", "n1", "n2", True)
    drained = await api.ok("POST", "/v1/regions/r1/drain", {"deadline_s": 60})
    assert (drained["nodes_ready"], drained["edges_ready"]) == (0, 0)
    back = await api.ok("DELETE", "/v1/regions/r1/drain")
    assert (back["nodes_ready"], back["edges_ready"]) == (2, 1)
    unknown = await api.problem("POST", "/v1/regions/elsewhere/drain", {"deadline_s": 60})
    assert unknown == (404, "region-unknown")


async def test_binary_that_is_no_report_closes_the_connection_and_is_counted(api, fleet):
    node, edge = fleet
    await edge.socket.send_bytes(b"FSR1 is not enough")
    assert (await edge.socket.receive(10)).data == 1008
    assert await api.metric('farstage_messages_malformed_total{source="control"}') == 1
    await node.socket.send_bytes(batch_of([], 1, 0.0).encode())
    assert (await node.socket.receive(10)).data == 1008, "a node has no viewers to speak of"
