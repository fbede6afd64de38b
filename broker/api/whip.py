"""WHIP (RFC 9725): publishing a conference's stage from OBS, FFmpeg, GStreamer, a browser or another renderer.

The endpoint is one URL of the broker for all edges: it places the publisher as it places any session, hands the offer
to the edge and the edge's answer back. What follows (trickled candidates, ending) goes to the edge itself, whose
resource `Location` names. The same publish token may come again, and then replaces its former session.
"""

import re
import secrets
from contextlib import suppress

import aiohttp
import structlog
from aiohttp import hdrs, web

from broker.api.auth import bearer_token, is_revoked, refuse, verify
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER, EDGE_HTTP, PUBLISH_LIMITER
from broker.api.presentation import grant, rfc3339
from broker.api.problems import ApiError
from broker.core import publishing
from broker.core.refusals import Refusal
from broker.core.sessions import Join
from broker.core.state import RoomRecord
from broker.protocol import (
    AUDIENCE_PUBLISH,
    MAX_SDP_BYTES,
    Claims,
    Codec,
    EndReason,
    H264Profile,
    Role,
    VideoCapability,
)
from broker.tokens import TokenRefusal

log = structlog.get_logger("broker")

SDP = "application/sdp"
_CODEC = re.compile(r"^a=rtpmap:\d+ (H264|VP8)/90000\s*$", re.MULTILINE | re.IGNORECASE)
_HANDED_ON = (hdrs.ETAG, "Accept-Patch", "Link")


async def publish(request: web.Request) -> web.Response:
    """Place a publisher and answer its offer through the edge it was given."""
    controller = request.app[CONTROLLER]
    if request.content_type != SDP:
        raise ApiError("unsupported-media-type", 415, f"The offer must be {SDP}")
    room = controller.brain.state.room(request.match_info["room"])
    claims = await _publisher(request, controller, room)
    wait_s = request.app[PUBLISH_LIMITER].wait_s(claims.jti, controller.now())
    if wait_s:
        raise ApiError("too-many-requests", 429, "Too many offers with this token", retry_after_s=wait_s)
    offer = await _read_offer(request)
    session = await _place(controller, room, claims, offer)
    try:
        return await _hand_on(request.app[EDGE_HTTP], controller, session, offer)
    except BaseException:
        await _take_back(controller, session)
        raise


async def _publisher(request: web.Request, controller: Controller, room: RoomRecord) -> Claims:
    claims = verify(controller, bearer_token(request), AUDIENCE_PUBLISH)
    if claims.room != room.room:
        raise refuse(controller, TokenRefusal.WRONG_ROOM)
    if await is_revoked(controller, claims.jti):
        raise refuse(controller, TokenRefusal.REVOKED)
    return claims


async def _read_offer(request: web.Request) -> str:
    body = await request.content.read(MAX_SDP_BYTES + 1)
    while not request.content.at_eof() and len(body) <= MAX_SDP_BYTES:
        body += await request.content.read(MAX_SDP_BYTES + 1 - len(body))
    if len(body) > MAX_SDP_BYTES:
        raise ApiError("too-large", 413, "The offer is too large", f"it exceeds {MAX_SDP_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise ApiError("bad-offer", 400, "The SDP offer cannot be used", "it is not UTF-8") from error


async def _place(controller: Controller, room: RoomRecord, claims: Claims, offer: str) -> str:
    former = publishing.of_room(controller.brain.state, room)
    if former is not None and former.token_id == claims.jti:
        await controller.step(lambda: controller.brain.end_session(former.session, EndReason.LEFT))
    join = Join(
        room=room.room,
        session=f"s-{secrets.token_hex(12)}",
        participant=f"p-{secrets.token_hex(6)}",
        view=f"v-{secrets.token_hex(8)}",
        identity=claims.sub,
        display_name=claims.name or claims.sub,
        role=Role(claims.role or Role.SPEAKER.value),
        joined_at=rfc3339(controller.unix_now()),
        token_id=claims.jti,
        codecs=_codecs(offer),
        publishes=True,
    )
    outcome = await controller.step(lambda: controller.brain.join(join, controller.now()))
    if (refusal := outcome.refused.get(join.session)) is not None:
        raise refusal
    return join.session


def _codecs(offer: str) -> list[VideoCapability]:
    """What the publisher can send, for the choice of the stage. Raises `ApiError` if it is nothing of ours."""
    offered = {name.upper() for name in _CODEC.findall(offer)}
    if not offered:
        raise ApiError("bad-offer", 400, "The SDP offer cannot be used", "it offers neither H264 nor VP8")
    profiles = [H264Profile.CONSTRAINED_BASELINE.value]
    return [
        VideoCapability(codec=codec, profiles=profiles if codec is Codec.H264 else [])
        for codec in Codec
        if codec.value in offered
    ]


async def _hand_on(http: aiohttp.ClientSession, controller: Controller, session: str, offer: str) -> web.Response:
    """Have the edge answer, and say what it says."""
    granted = grant(controller, controller.brain.state.session(session))
    edge_url = controller.brain.state.edges[granted.edge].public_url.rstrip("/")
    headers = {hdrs.AUTHORIZATION: f"Bearer {granted.session_token}", hdrs.CONTENT_TYPE: SDP}
    try:
        async with http.post(f"{edge_url}/whip/{session}", data=offer.encode(), headers=headers) as answer:
            body = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ApiError(
            "edge-unreachable", 502, "The edge does not answer", f"edge {granted.edge}: {error}", 2.0
        ) from error
    if answer.status != 201:
        await _take_back(controller, session)
        return web.Response(status=answer.status, body=body, content_type=answer.content_type)
    log.info("publisher placed", session=session, room=granted.room, edge=granted.edge)
    handed_on = {name: answer.headers[name] for name in _HANDED_ON if name in answer.headers}
    location = edge_url + answer.headers.get(hdrs.LOCATION, f"/whip/{session}")
    return web.Response(status=201, body=body, content_type=SDP, headers={**handed_on, hdrs.LOCATION: location})


async def _take_back(controller: Controller, session: str) -> None:
    """End a session whose publisher got no answer."""
    with suppress(Refusal):
        await controller.step(lambda: controller.brain.end_session(session, EndReason.CONNECT_TIMEOUT))
