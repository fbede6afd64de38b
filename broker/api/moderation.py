"""Handlers of what is done to a whole room, and of moving participants between rooms."""

from collections.abc import Sequence
from typing import TypeVar

import structlog
from aiohttp import web
from msgspec import UNSET, UnsetType

from broker.api.auth import bearer_token
from broker.api.bodies import json_response, read_body
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER, DATA_LIMITER
from broker.api.presentation import rfc3339
from broker.api.problems import ApiError
from broker.api.rooms import require_store
from broker.core.effects import Effect
from broker.protocol import (
    AUDIENCE_JOIN,
    AUDIENCE_SESSION,
    DataMessage,
    DataSent,
    MoveRequest,
    MoveStarted,
    MuteAll,
    MutedParticipants,
    RoomData,
)
from broker.tokens import TokenRefused

log = structlog.get_logger("broker")

T = TypeVar("T")


async def mute_all(request: web.Request) -> web.Response:
    """Mute, or unmute, everybody but some."""
    controller, room = request.app[CONTROLLER], request.match_info["room"]
    body = await read_body(request, MuteAll)
    changed: list[int] = []

    def decide() -> list[Effect]:
        effects, count = controller.brain.mute_all(room, body)
        changed.append(count)
        return effects

    await controller.step(decide)
    log.info("all muted", room=room, muted=body.muted, changed=changed[0])
    return json_response(MutedParticipants(changed=changed[0]))


async def send_data(request: web.Request) -> web.Response:
    """Hand text to the clients of a room, or to some of them."""
    controller, room = request.app[CONTROLLER], request.match_info["room"]
    body = await read_body(request, DataMessage)
    controller.brain.state.room(room)
    wait_s = request.app[DATA_LIMITER].wait_s(room, controller.now())
    if wait_s:
        raise ApiError("too-many-requests", 429, "Too much data for this room", retry_after_s=wait_s)
    data = RoomData(topic=body.topic, text=body.text, sender=_sender(controller, bearer_token(request)))
    reached: list[int] = []

    def decide() -> list[Effect]:
        effects, count = controller.brain.send_data(room, data, _given(body.to), _given(body.roles))
        reached.append(count)
        return effects

    await controller.step(decide)
    log.info("data sent", room=room, topic=body.topic, participants=reached[0])
    return json_response(DataSent(participants=reached[0]))


def _given(value: Sequence[T] | UnsetType) -> Sequence[T] | None:
    return None if value is UNSET else value


def _sender(controller: Controller, token: str | None) -> str | None:
    """The participant who sends, `None` for an operator; the guard has let either pass."""
    try:
        claims = controller.verifier.verify(token or "", AUDIENCE_SESSION, controller.unix_now())
    except TokenRefused:
        return None
    return controller.brain.state.session(claims.sub).participant


async def move_participant(request: web.Request) -> web.Response:
    """Keep a place in another room and tell the participant's client to go there."""
    controller = request.app[CONTROLLER]
    room, name = request.match_info["room"], request.match_info["participant"]
    body = await read_body(request, MoveRequest)
    require_store(controller)
    session, unix_now = controller.brain.participant(room, name), controller.unix_now()
    ttl_s = controller.settings.core.move_within_s
    token = controller.authority.mint(
        AUDIENCE_JOIN,
        session.identity,
        ttl_s,
        unix_now,
        room=body.to,
        role=session.role.value,
        name=session.display_name,
    )
    token_id = controller.verifier.verify(token, AUDIENCE_JOIN, unix_now).jti
    await controller.step(lambda: controller.brain.move(session.session, body.to, token, token_id, controller.now()))
    log.info("participant moves", session=session.session, room=room, to=body.to)
    answer = MoveStarted(participant=name, room=room, to=body.to, expires_at=rfc3339(unix_now + ttl_s))
    return json_response(answer, 202)
