"""The edge's HTTP surface over real sockets: WHEP refusals, probing, health."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping

import aiohttp
import msgspec
import pytest
from aiohttp.test_utils import TestServer
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection

from broker.protocol import (
    AUDIENCE_SESSION,
    AUDIENCE_TRUNK,
    MAX_SDP_BYTES,
    Codec,
    H264Profile,
    Mode,
    Problem,
    PutSession,
    Role,
    SessionState,
    Welcome,
)
from broker.tokens import TokenAuthority
from edge.app import EDGE_PROCESS, MAX_PROBE_BYTES, EdgeProcess, EdgeSettings, create_app
from edge.engine import RestartUnsupported, ice_credentials

AUTHORITY = TokenAuthority(b"s" * 32)
STRANGER = TokenAuthority(b"x" * 32)


class Edge:
    """A running edge that has met its broker's key but not its broker, with session `s1` placed on it."""

    def __init__(self, http: aiohttp.ClientSession, process: EdgeProcess, url: str) -> None:
        self.http, self.process, self.url = http, process, url

    async def ask(
        self, method: str, path: str, token: str | None = None, **request
    ) -> tuple[int, Problem | None, object]:
        headers = dict(request.pop("headers", {}))
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        async with self.http.request(method, self.url + path, headers=headers, **request) as response:
            body = await response.read()
            if response.content_type == "application/problem+json":
                return response.status, msgspec.json.decode(body, type=Problem), response.headers
            return response.status, None, response.headers


def session_token(session: str = "s1", authority: TokenAuthority = AUTHORITY, audience: str = AUDIENCE_SESSION) -> str:
    return authority.mint(audience, session, 3600.0, time.time(), edge="edge-1")


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    settings = EdgeSettings(
        edge="edge-1",
        region="here",
        broker_url="http://127.0.0.1:9",
        token="t",
        public_url="http://127.0.0.1:9",
        trunk_url="ws://127.0.0.1:9/trunk",
        max_viewers=1,
    )
    app = create_app(settings)
    process = app[EDGE_PROCESS]
    process.link.welcome = Welcome(broker="b", heartbeat_interval_s=1.0, token_public_key=AUTHORITY.public_key_pem)
    put = PutSession(
        session="s1",
        participant="p1",
        room="r",
        mode=Mode.EXPLORE,
        role=Role.VISITOR,
        muted=False,
        stream="v1",
        fence=1,
        codec=Codec.H264,
        profile=H264Profile.CONSTRAINED_BASELINE,
        state=SessionState.CONNECTING,
    )
    process.hub.put_session(put)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        yield Edge(http, process, str(server.make_url("")).rstrip("/"))


async def real_offer() -> tuple[RTCPeerConnection, str]:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    return connection, connection.localDescription.sdp


SDP = {"Content-Type": "application/sdp"}


async def test_offer_is_answered_as_whep_defines(edge: Edge) -> None:
    connection, offer = await real_offer()
    status, _, headers = await edge.ask("POST", "/whep/s1", session_token(), data=offer, headers=SDP)
    assert status == 201
    assert headers["Content-Type"].startswith("application/sdp")
    assert headers["Location"] == "/whep/s1"
    fragment = {"Content-Type": "application/trickle-ice-sdpfrag", "If-Match": headers["ETag"]}
    status, _, _ = await edge.ask(
        "PATCH", "/whep/s1", session_token(), data="a=end-of-candidates\r\n", headers=fragment
    )
    assert status == 204
    status, _, _ = await edge.ask("DELETE", "/whep/s1", session_token())
    assert status == 200
    await connection.close()


@pytest.mark.parametrize(
    ("token", "status", "kind"),
    [
        (None, 401, "token-missing"),
        ("", 401, "token-missing"),
        ("abc.def.ghi", 401, "token-malformed"),
        (session_token(authority=STRANGER), 401, "token-signature"),
        (session_token(audience=AUDIENCE_TRUNK), 401, "token-audience"),
        (AUTHORITY.mint(AUDIENCE_SESSION, "s1", 1.0, time.time() - 100), 401, "token-expired"),
        (session_token("s2"), 403, "token-wrong-session"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_wrong_token_is_refused_by_name(
    edge: Edge, method: str, token: str | None, status: int, kind: str
) -> None:
    answered, problem, _ = await edge.ask(method, "/whep/s1", token, data="v=0", headers=SDP)
    assert (answered, problem.type if problem else None) == (status, f"urn:farstage:problem:{kind}")


async def test_session_that_is_not_placed_here_is_unknown(edge: Edge) -> None:
    status, problem, _ = await edge.ask("POST", "/whep/s9", session_token("s9"), data="v=0", headers=SDP)
    assert status == 404
    assert problem is not None
    assert problem.type.endswith("unknown-session")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "kind"),
    [
        (b"hello", "application/sdp", 400, "bad-offer"),
        (b"\xff\xfe", "application/sdp", 400, "bad-offer"),
        (b"v=0\r\n" + b"a=x\r\n" * MAX_SDP_BYTES, "application/sdp", 400, "bad-offer"),
        (b"{}", "application/json", 415, "unsupported-media-type"),
    ],
)
async def test_body_that_is_no_offer_is_refused_and_counted(
    edge: Edge, body: bytes, content_type: str, status: int, kind: str
) -> None:
    headers = {"Content-Type": content_type}
    answered, problem, _ = await edge.ask("POST", "/whep/s1", session_token(), data=body, headers=headers)
    assert (answered, problem.type if problem else None) == (status, f"urn:farstage:problem:{kind}")
    async with edge.http.get(edge.url + "/metrics") as response:
        exposition = await response.text()
    assert "farstage_edge_publishers 0.0" in exposition
    assert f"farstage_edge_offers_refused_total {float(kind == 'bad-offer')}" in exposition


async def test_client_that_is_faster_than_its_admission_is_waited_for(edge: Edge) -> None:
    put = edge.process.hub.session("s1")
    assert put is not None
    connection, offer = await real_offer()
    asking = asyncio.create_task(edge.ask("POST", "/whep/s2", session_token("s2"), data=offer, headers=SDP))
    await edge.ask("GET", "/probe")
    edge.process.hub.put_session(msgspec.structs.replace(put, session="s2"))
    assert (await asking)[0] == 201
    await connection.close()


async def test_publisher_is_told_that_it_does_not_watch(edge: Edge) -> None:
    put = edge.process.hub.session("s1")
    assert put is not None
    edge.process.hub.put_session(msgspec.structs.replace(put, session="s3", publishes=True))
    connection, offer = await real_offer()
    status, problem, _ = await edge.ask("POST", "/whep/s3", session_token("s3"), data=offer, headers=SDP)
    assert status == 403
    assert problem is not None
    assert problem.type.endswith("not-a-viewer")
    await connection.close()


async def test_session_that_offers_without_end_is_slowed_down(edge: Edge) -> None:
    answers = [await edge.ask("POST", "/whep/s1", session_token(), data="v=0", headers=SDP) for _ in range(10)]
    statuses = [status for status, _, _ in answers]
    assert statuses[0] == 400
    assert statuses[-1] == 429
    assert int(answers[-1][2]["Retry-After"]) >= 1


async def test_viewer_of_a_full_edge_may_connect_again(edge: Edge) -> None:
    edge.process.hub.on_connected("s1")
    connection, offer = await real_offer()
    assert (await edge.ask("POST", "/whep/s1", session_token(), data=offer, headers=SDP))[0] == 201
    await connection.close()


async def test_offers_of_one_session_at_once_are_answered_one_after_the_other(edge: Edge) -> None:
    made = [await real_offer() for _ in range(3)]
    answers = await asyncio.gather(
        *(edge.ask("POST", "/whep/s1", session_token(), data=offer, headers=SDP) for _, offer in made)
    )
    assert [status for status, _, _ in answers] == [201, 201, 201]
    for connection, _ in made:
        await connection.close()


FRAGMENT = "application/trickle-ice-sdpfrag"
RESTART = "a=ice-ufrag:anew\r\na=ice-pwd:AnotherPasswordOf24Bytes\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"


async def patch(edge: Edge, fragment: str, etag: str | None) -> tuple[int, str, Mapping[str, str]]:
    headers = {"Content-Type": FRAGMENT, "Authorization": f"Bearer {session_token()}"}
    if etag is not None:
        headers["If-Match"] = etag
    async with edge.http.patch(f"{edge.url}/whep/s1", data=fragment, headers=headers) as response:
        return response.status, await response.text(), response.headers


async def test_candidates_for_another_connection_are_told_apart_by_their_etag(edge: Edge) -> None:
    connection, offer = await real_offer()
    _, _, former = await edge.ask("POST", "/whep/s1", session_token(), data=offer, headers=SDP)
    _, _, headers = await edge.ask("POST", "/whep/s1", session_token(), data=offer, headers=SDP)
    assert former["ETag"] != headers["ETag"]
    for etag, expected in ((headers["ETag"], 204), ("*", 204), (former["ETag"], 412), ('"other"', 412), (None, 428)):
        status, _, _ = await patch(edge, "a=end-of-candidates", etag)
        assert status == expected, etag
    await connection.close()


async def test_restart_of_ice_is_answered_with_new_credentials_and_a_new_etag(edge: Edge) -> None:
    connection, offer = await real_offer()
    _, _, headers = await edge.ask("POST", "/whep/s1", session_token(), data=offer, headers=SDP)
    status, fragment, renewed = await patch(edge, RESTART, '"*"')
    assert status == 200
    assert renewed["Content-Type"].startswith(FRAGMENT)
    assert renewed["ETag"] != headers["ETag"]
    assert "a=mid:0" in fragment
    assert fragment.rstrip().endswith("a=end-of-candidates")
    assert ice_credentials(fragment) not in (None, ice_credentials(offer), ice_credentials(RESTART))
    assert (await patch(edge, "a=end-of-candidates", headers["ETag"]))[0] == 412
    assert (await patch(edge, RESTART, renewed["ETag"]))[0] == 204, "the present credentials restart nothing"
    again, problem, _ = await patch(edge, RESTART.replace("anew", "again"), "*")
    assert again == 400, "one restart a second"
    assert "once a second" in problem
    await connection.close()


async def test_engine_that_cannot_restart_ice_says_so(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(session: str, fragment: str) -> None:
        raise RestartUnsupported("this engine cannot restart ICE")

    monkeypatch.setattr(edge.process.engine, "trickle", refuse)
    status, problem, _ = await patch(edge, RESTART, "*")
    assert status == 422
    assert "cannot restart ICE" in problem


async def test_method_that_is_not_allowed_says_which_are(edge: Edge) -> None:
    status, _, headers = await edge.ask("PUT", "/whep/s1")
    assert status == 405
    assert "POST" in headers["Allow"]


async def test_full_edge_says_when_to_ask_again(edge: Edge) -> None:
    put = edge.process.hub.session("s1")
    assert put is not None
    edge.process.hub.put_session(msgspec.structs.replace(put, session="s2"))
    edge.process.hub.on_connected("s2")
    status, problem, headers = await edge.ask("POST", "/whep/s1", session_token(), data="v=0", headers=SDP)
    assert status == 503
    assert problem is not None
    assert problem.type.endswith("edge-full")
    assert int(headers["Retry-After"]) >= 1


async def test_probe_answers_with_what_was_asked_and_no_more(edge: Edge) -> None:
    assert (await edge.ask("GET", "/probe"))[0] == 204
    async with edge.http.get(edge.url + "/probe?bytes=1000") as response:
        assert len(await response.read()) == 1000
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    for query in ("bytes=-1", f"bytes={MAX_PROBE_BYTES + 1}", "bytes=many"):
        assert (await edge.ask("GET", f"/probe?{query}"))[0] == 400


async def test_trunk_needs_a_token_for_this_edge(edge: Edge) -> None:
    for token in (None, session_token(), AUTHORITY.mint(AUDIENCE_TRUNK, "node-1", 60.0, time.time(), edge="edge-2")):
        status, problem, _ = await edge.ask("GET", "/trunk", token)
        assert status in (401, 403)
        assert problem is not None


async def test_edge_without_its_broker_is_alive_but_not_ready(edge: Edge) -> None:
    assert (await edge.ask("GET", "/livez"))[0] == 200
    assert (await edge.ask("GET", "/readyz"))[0] == 503


async def test_unknown_path_is_a_problem_document(edge: Edge) -> None:
    status, problem, _ = await edge.ask("GET", "/nothing")
    assert status == 404
    assert problem is not None
    assert problem.status == 404


async def test_browsers_of_other_origins_are_let_in(edge: Edge) -> None:
    status, _, headers = await edge.ask("OPTIONS", "/whep/s1")
    assert status == 204
    assert "Authorization" in headers["Access-Control-Allow-Headers"]
    assert "Location" in headers["Access-Control-Expose-Headers"]
