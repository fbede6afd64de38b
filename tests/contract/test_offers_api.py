"""WHIP and WHEP through the broker, over real sockets: a broker, and an edge's HTTP side."""

import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.protocol import (
    AUDIENCE_PUBLISH,
    AUDIENCE_SESSION,
    DropSession,
    EndReason,
    PutSession,
    PutView,
    ViewerConnected,
)
from tests.support.broker_server import Agent, Api, running_broker

OFFER = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 H264/90000\r\n"
ANSWER = "v=0\r\nan answer\r\n"
WHIP = "/v1/rooms/hall/whip"


class EdgeHttp:
    """What the broker asks of an edge."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.status = 201

    async def offer(self, request: web.Request) -> web.Response:
        session = request.match_info["session"]
        token = request.headers["Authorization"].removeprefix("Bearer ")
        self.asked.append((session, token, await request.text()))
        if self.status != 201:
            return web.json_response({"type": "urn:farstage:problem:bad-offer", "status": 400}, status=self.status)
        headers = {"Location": request.path, "ETag": '"one"'}
        return web.Response(status=201, text=ANSWER, content_type="application/sdp", headers=headers)


class Stage:
    """A conference `hall` on a broker, with one node and one edge."""

    def __init__(self, api: Api, http: EdgeHttp, edge: Agent, edge_url: str) -> None:
        self.api, self.http, self.edge, self.edge_url = api, http, edge, edge_url

    async def token(self, room: str = "hall", **fields) -> str:
        return await self.api.join_token(room, publish=True, **fields)

    async def publish(self, token: str | None, offer: str | bytes = OFFER, path: str = WHIP, kind="application/sdp"):
        headers = {"Content-Type": kind} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = offer if isinstance(offer, bytes) else offer.encode()
        async with self.api.client.post(self.api.base + path, data=data, headers=headers) as response:
            body = await response.read()
            return response.status, body, response.headers

    async def problem(self, *arguments, **more) -> tuple[int, str]:
        status, body, _ = await self.publish(*arguments, **more)
        return status, body.decode().split("urn:farstage:problem:")[1].split('"')[0]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    http, app = EdgeHttp(), web.Application()
    app.add_routes([web.post("/whip/{session}", http.offer), web.post("/whep/{session}", http.offer)])
    async with running_broker() as api, TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        await api.node()
        edge = await api.edge(public_url=url)
        await api.ok("POST", "/v1/rooms", {"room": "hall", "mode": "conference"})
        yield Stage(api, http, edge, url)


async def test_offer_is_answered_by_the_edge_that_the_broker_chose(stage):
    status, body, headers = await stage.publish(await stage.token(display_name="Camera one"))
    assert (status, body.decode()) == (201, ANSWER)
    ((session, token, offer),) = stage.http.asked
    assert offer == OFFER
    assert headers["Location"] == f"{stage.edge_url}/whip/{session}"
    assert headers["ETag"] == '"one"'
    assert stage.api.controller.verifier.verify(token, AUDIENCE_SESSION, 0.0 + stage.api.controller.unix_now()).sub == (
        session
    )
    put = await stage.edge.expect(PutSession, session=session)
    assert put.publishes
    (shown,) = (await stage.api.ok("GET", "/v1/rooms/hall/participants"))["participants"]
    assert (shown["display_name"], shown["role"], shown["publishes"]) == ("Camera one", "speaker", True)


async def test_token_grant_names_the_endpoint_to_paste_into_an_encoder(stage):
    granted = await stage.api.ok(
        "POST", "/v1/rooms/hall/tokens", {"identity": "cam", "display_name": "Cam", "publish": True}
    )
    assert granted["link"].endswith(WHIP)


async def test_token_may_come_again_and_replaces_its_former_session(stage):
    token = await stage.token()
    await stage.publish(token)
    await stage.publish(token)
    first, second = (session for session, _, _ in stage.http.asked)
    assert (await stage.edge.expect(DropSession)).session == first
    sessions = [p["session"] for p in (await stage.api.ok("GET", "/v1/rooms/hall/participants"))["participants"]]
    assert sessions == [second]


async def test_second_publisher_is_refused_while_there_is_one(stage):
    await stage.publish(await stage.token())
    assert await stage.problem(await stage.token(identity="other")) == (409, "stage-taken")


async def test_removed_publisher_cannot_come_back_with_its_token(stage):
    token = await stage.token()
    await stage.publish(token)
    (shown,) = (await stage.api.ok("GET", "/v1/rooms/hall/participants"))["participants"]
    await stage.api.ok("DELETE", f"/v1/rooms/hall/participants/{shown['participant']}")
    assert (await stage.edge.expect(DropSession)).reason is EndReason.REMOVED
    assert await stage.problem(token) == (403, "token-revoked")


async def test_only_a_publish_token_of_this_room_publishes(stage):
    await stage.api.ok("POST", "/v1/rooms", {"room": "other", "mode": "conference"})
    assert await stage.problem(None) == (401, "token-missing")
    assert await stage.problem(await stage.api.join_token("hall")) == (401, "token-audience")
    assert await stage.problem(await stage.token("other")) == (403, "token-wrong-room")
    assert stage.http.asked == []


async def test_publish_token_does_not_join(stage):
    token = await stage.token()
    assert await stage.api.problem("POST", "/v1/rooms/hall/join", {}, token=token) == (401, "token-audience")


async def test_room_without_a_stage_is_refused(stage):
    await stage.api.ok("POST", "/v1/rooms", {"room": "walk", "mode": "explore"})
    body = {"identity": "cam", "display_name": "Cam", "publish": True}
    assert await stage.api.problem("POST", "/v1/rooms/walk/tokens", body) == (409, "no-stage")
    token = stage.api.authority.mint(AUDIENCE_PUBLISH, "cam", 60, time.time(), room="walk", role="speaker")
    assert await stage.problem(token, path="/v1/rooms/walk/whip") == (409, "no-stage")


@pytest.mark.parametrize(
    ("offer", "kind", "expected"),
    [
        (OFFER, "text/plain", (415, "unsupported-media-type")),
        ("v=0\r\na=rtpmap:96 VP9/90000\r\n", "application/sdp", (400, "bad-offer")),
        (b"\xff\xfe", "application/sdp", (400, "bad-offer")),
        (b"x" * 70_000, "application/sdp", (413, "too-large")),
    ],
)
async def test_offer_that_cannot_be_used_is_refused_and_leaves_nobody_behind(stage, offer, kind, expected):
    assert await stage.problem(await stage.token(), offer, kind=kind) == expected
    assert (await stage.api.ok("GET", "/v1/rooms/hall/participants"))["participants"] == []


async def test_edge_that_refuses_the_offer_is_heard_and_leaves_nobody_behind(stage):
    stage.http.status = 400
    status, body, _ = await stage.publish(await stage.token())
    assert status == 400
    assert b"bad-offer" in body
    assert (await stage.api.ok("GET", "/v1/rooms/hall/participants"))["participants"] == []


async def test_edge_that_does_not_answer_is_an_error_that_names_it(stage):
    stage.api.controller.brain.state.edges["e1"].public_url = "http://127.0.0.1:1"
    assert await stage.problem(await stage.token()) == (502, "edge-unreachable")
    assert (await stage.api.ok("GET", "/v1/rooms/hall/participants"))["participants"] == []


async def test_flood_of_offers_with_one_token_is_limited(stage):
    token = await stage.token()
    statuses = [(await stage.publish(token))[0] for _ in range(20)]
    assert statuses[0] == 201
    assert statuses[-1] == 429


async def test_publisher_and_its_audience_share_the_stage(stage):
    await stage.publish(await stage.token())
    ((session, _, _),) = stage.http.asked
    await stage.edge.send(ViewerConnected(session=session))
    grant = await stage.api.join("hall", identity="bob", display_name="Bob")
    put = await stage.edge.expect(PutSession, session=session)
    assert put.stream == grant["stream"]
    node = stage.api.agents[0]
    assert (await node.expect(PutView)).stream == grant["stream"]


# --- WHEP -----------------------------------------------------------------------------------------------

WHEP = "/v1/rooms/hall/whep"


async def test_player_with_one_url_and_a_join_token_watches(stage):
    token = await stage.api.join_token("hall", display_name="Player", identity="tv")
    status, body, headers = await stage.publish(token, path=WHEP)
    assert (status, body.decode()) == (201, ANSWER)
    ((session, _, offer),) = stage.http.asked
    assert offer == OFFER
    assert headers["Location"] == f"{stage.edge_url}/whep/{session}"
    put = await stage.edge.expect(PutSession, session=session)
    assert not put.publishes
    assert put.token_id, "by which the edge knows the player again"
    assert await stage.problem(token, path=WHEP) == (403, "token-replayed")


async def test_player_needs_no_token_where_a_room_is_open(stage):
    await stage.api.ok("POST", "/v1/rooms", {"room": "foyer", "mode": "conference", "open": True})
    status, _, _ = await stage.publish(None, path="/v1/rooms/foyer/whep")
    assert status == 201
    assert await stage.problem(None, path=WHEP) == (401, "token-missing")


async def test_codec_and_profile_of_a_player_are_read_off_its_offer(stage):
    await stage.api.ok("POST", "/v1/rooms", {"room": "walk", "mode": "explore", "open": True})
    main = OFFER + "a=fmtp:96 packetization-mode=1;profile-level-id=4D001F\r\n"
    await stage.publish(None, main, path="/v1/rooms/walk/whep")
    assert (await stage.edge.expect(PutSession)).profile == "4d00"
    await stage.publish(None, "v=0\r\na=rtpmap:97 VP8/90000\r\n", path="/v1/rooms/walk/whep")
    assert (await stage.edge.expect(PutSession)).codec == "VP8"


async def test_offer_of_a_player_that_its_edge_refuses_is_not_left_in_the_room(stage):
    stage.http.status = 400
    assert (await stage.publish(await stage.api.join_token("hall"), path=WHEP))[0] == 400
    assert (await stage.api.ok("GET", "/v1/rooms/hall/participants"))["participants"] == []
