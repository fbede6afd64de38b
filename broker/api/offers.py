"""SDP offers through the broker, for encoders and players that know one URL and one token: WHIP and WHEP.

WHIP (RFC 9725) publishes a conference's stage from OBS, FFmpeg, GStreamer, a browser or another renderer; WHEP
(draft-ietf-wish-whep) watches a room with any player. The broker places the session as it places any, hands the offer
to the edge and the edge's answer back. What follows (trickled candidates, ending) goes to the edge itself, whose
resource `Location` names, with the same token.

A join token is spent by the first offer. A publish token may come again, and then replaces its former session.
"""

import re
from contextlib import suppress

import aiohttp
import structlog
from aiohttp import hdrs, web
from msgspec.structs import replace

from broker.api.auth import bearer_token, verify_for_room
from broker.api.bodies import read_raw
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER, EDGE_HTTP, PUBLISH_LIMITER
from broker.api.presentation import grant
from broker.api.problems import ApiError
from broker.api.sessions import Identity, identify, join_for, place
from broker.core import publishing
from broker.core.refusals import Refusal
from broker.core.state import RoomRecord
from broker.protocol import (
    AUDIENCE_PUBLISH,
    Claims,
    Codec,
    EndReason,
    H264Profile,
    JoinRequest,
    Role,
    VideoCapability,
)

log = structlog.get_logger("broker")

SDP = "application/sdp"
MAX_PROFILES = 32
"""Of an offer; the limit of `VideoCapability.profiles`."""
PLAYER = "Player"
"""The display name of a player that comes to an open room without a token."""
_CODEC = re.compile(r"^a=rtpmap:\d+ (H264|VP8)/90000\s*$", re.MULTILINE | re.IGNORECASE)
_PROFILE = re.compile(r"^a=fmtp:\d+ .*profile-level-id=([0-9a-f]{4})", re.MULTILINE | re.IGNORECASE)
_HANDED_ON = (hdrs.ETAG, "Accept-Patch", "Link")


async def publish(request: web.Request) -> web.Response:
    """WHIP: place a publisher and answer its offer through the edge it was given."""
    controller, room = _room(request)
    claims = await verify_for_room(controller, bearer_token(request), AUDIENCE_PUBLISH, room.room)
    wait_s = request.app[PUBLISH_LIMITER].wait_s(claims.jti, controller.now())
    if wait_s:
        raise ApiError("too-many-requests", 429, "Too many offers with this token", retry_after_s=wait_s)
    offer = await _read_offer(request)
    session = await _place_publisher(request, room, claims, _codecs(offer))
    return await _answer(request, controller, session, offer, "whip")


async def watch(request: web.Request) -> web.Response:
    """WHEP: place a viewer and answer its offer through the edge it was given."""
    controller, room = _room(request)
    offer = await _read_offer(request)
    body = JoinRequest(codecs=_codecs(offer), display_name=PLAYER if bearer_token(request) is None else None)
    who = await identify(request, controller, room, body)
    session = await place(controller, join_for(request, room, who, body), who)
    return await _answer(request, controller, session, offer, "whep")


def _room(request: web.Request) -> tuple[Controller, RoomRecord]:
    controller = request.app[CONTROLLER]
    if request.content_type != SDP:
        raise ApiError("unsupported-media-type", 415, f"The offer must be {SDP}")
    return controller, controller.brain.state.room(request.match_info["room"])


async def _read_offer(request: web.Request) -> str:
    try:
        return (await read_raw(request)).decode()
    except UnicodeDecodeError as error:
        raise ApiError("bad-offer", 400, "The SDP offer cannot be used", "it is not UTF-8") from error


async def _place_publisher(
    request: web.Request, room: RoomRecord, claims: Claims, codecs: list[VideoCapability]
) -> str:
    controller = request.app[CONTROLLER]
    former = publishing.of_room(controller.brain.state, room)
    if former is not None and former.token_id == claims.jti:
        await controller.step(lambda: controller.brain.end_session(former.session, EndReason.LEFT))
    who = Identity(claims.sub, claims.name or claims.sub, Role(claims.role or Role.SPEAKER.value), claims.jti)
    join = replace(join_for(request, room, who, JoinRequest(codecs=codecs)), publishes=True)
    outcome = await controller.step(lambda: controller.brain.join(join, controller.now()))
    if (refusal := outcome.refused.get(join.session)) is not None:
        raise refusal
    return join.session


def _codecs(offer: str) -> list[VideoCapability]:
    """The codecs of ours that an offer names. Raises `ApiError` if there are none."""
    offered = {name.upper() for name in _CODEC.findall(offer)}
    if not offered:
        raise ApiError("bad-offer", 400, "The SDP offer cannot be used", "it offers neither H264 nor VP8")
    profiles = [profile.lower() for profile in _PROFILE.findall(offer)[:MAX_PROFILES]]
    h264 = VideoCapability(codec=Codec.H264, profiles=profiles or [H264Profile.CONSTRAINED_BASELINE.value])
    vp8 = VideoCapability(codec=Codec.VP8)
    return [capability for capability in (h264, vp8) if capability.codec.value in offered]


async def _answer(
    request: web.Request, controller: Controller, session: str, offer: str, resource: str
) -> web.Response:
    """What the edge of a session answers; a session without an answer is ended."""
    try:
        response = await _hand_on(request.app[EDGE_HTTP], controller, session, offer, resource)
    except BaseException:
        await _take_back(controller, session)
        raise
    if response.status != web.HTTPCreated.status_code:
        await _take_back(controller, session)
    return response


async def _hand_on(
    http: aiohttp.ClientSession, controller: Controller, session: str, offer: str, resource: str
) -> web.Response:
    granted = grant(controller, controller.brain.state.session(session))
    edge_url = controller.brain.state.edges[granted.edge].public_url.rstrip("/")
    path = f"/{resource}/{session}"
    headers = {hdrs.AUTHORIZATION: f"Bearer {granted.session_token}", hdrs.CONTENT_TYPE: SDP}
    try:
        async with http.post(edge_url + path, data=offer.encode(), headers=headers) as answer:
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        detail = f"edge {granted.edge}: {str(error) or 'it took too long'}"
        raise ApiError("edge-unreachable", 502, "The edge does not answer", detail, 2.0) from error
    if answer.status != web.HTTPCreated.status_code:
        return web.Response(status=answer.status, body=body, content_type=answer.content_type)
    log.info("offer answered", resource=resource, session=session, room=granted.room, edge=granted.edge)
    handed_on = {name: answer.headers[name] for name in _HANDED_ON if name in answer.headers}
    location = edge_url + answer.headers.get(hdrs.LOCATION, path)
    return web.Response(status=201, body=body, content_type=SDP, headers={**handed_on, hdrs.LOCATION: location})


async def _take_back(controller: Controller, session: str) -> None:
    with suppress(Refusal):
        await controller.step(lambda: controller.brain.end_session(session, EndReason.CONNECT_TIMEOUT))
