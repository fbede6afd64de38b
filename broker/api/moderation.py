"""Handlers of what is done to a whole room, and of moving participants between rooms."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog
from aiohttp import web
from msgspec import UNSET, UnsetType

from broker.api.bodies import json_response, read_body
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER, DATA_LIMITER
from broker.api.principal import SESSION_MARK, Principal, principal_of
from broker.api.problems import ApiError, malformed
from broker.api.rooms import require_store
from broker.api.timestamps import rfc3339
from broker.core.effects import Effect
from broker.core.state import SessionRecord
from broker.protocol import (
    AUDIENCE_JOIN,
    MAX_DATA_BYTES,
    MAX_DATA_DEPTH,
    DataMessage,
    DataSent,
    MoveRequest,
    MoveStarted,
    MuteAll,
    MutedParticipants,
    RoomData,
    encode,
)

log = structlog.get_logger("broker")

T = TypeVar("T")


async def mute_all(request: web.Request) -> web.Response:
    """Mute, or unmute, everybody of some roles."""
    controller, room = request.app[CONTROLLER], request.match_info["room"]
    body = await read_body(request, MuteAll)
    changed = await _count(controller, lambda: controller.brain.mute_all(room, body))
    log.info("all muted", room=room, muted=body.muted, changed=changed)
    return json_response(MutedParticipants(changed=changed))


async def _count(controller: Controller, decide: Callable[[], tuple[list[Effect], int]]) -> int:
    """Carry a decision out; how many it concerned."""
    counts: list[int] = []

    def effects() -> list[Effect]:
        decided, count = decide()
        counts.append(count)
        return decided

    await controller.step(effects)
    return counts[0]


async def send_data(request: web.Request) -> web.Response:
    """Hand data to the clients of a room, or to some of them."""
    controller, room = request.app[CONTROLLER], request.match_info["room"]
    body = await read_body(request, DataMessage)
    require_fit_to_send(body)
    controller.brain.state.room(room)
    wait_s = request.app[DATA_LIMITER].wait_s(room, controller.now())
    if wait_s:
        raise ApiError("too-many-requests", 429, "Too much data for this room", retry_after_s=wait_s)
    sender = _sender(controller, principal_of(request))
    data = RoomData(topic=body.topic, value=body.value, binary=body.binary, sender=sender)
    to, roles = _given(body.to), _given(body.roles)
    reached = await _count(controller, lambda: controller.brain.send_data(room, data, to, roles))
    log.info("data sent", room=room, topic=body.topic, participants=reached)
    return json_response(DataSent(participants=reached))


def require_fit_to_send(body: DataMessage) -> None:
    """Raise 400 unless there is either a value or binary data, small and flat enough for every receiver."""
    if (body.value is UNSET) is (body.binary is UNSET):
        raise malformed("give either `value`, any JSON, or `binary`, base64")
    if body.value is UNSET:
        return
    if _depth(body.value) > MAX_DATA_DEPTH:
        raise malformed(f"Nested more than {MAX_DATA_DEPTH} deep - at `$.value`")
    if (size := len(encode(body.value))) > MAX_DATA_BYTES:
        raise malformed(f"Expected at most {MAX_DATA_BYTES} bytes of JSON, got {size} - at `$.value`")


def _depth(value: Any) -> int:
    """How many lists and objects are inside one another."""
    level, depth = [value], 0
    while outer := [part for part in level if isinstance(part, list | dict)]:
        level = [inner for part in outer for inner in (part.values() if isinstance(part, dict) else part)]
        depth += 1
    return depth


def _given(value: Sequence[T] | UnsetType) -> Sequence[T] | None:
    return None if value is UNSET else value


def _sender(controller: Controller, principal: Principal) -> str | None:
    """The host who sends, `None` for an operator."""
    if not principal.key.startswith(SESSION_MARK):
        return None
    return controller.brain.state.session(principal.key.removeprefix(SESSION_MARK)).participant


async def move_participant(request: web.Request) -> web.Response:
    """Keep a place in another room and tell the participant's client to go there."""
    controller = request.app[CONTROLLER]
    room, name = request.match_info["room"], request.match_info["participant"]
    body = await read_body(request, MoveRequest)
    principal_of(request).require_room(body.to)
    require_store(controller)
    session = controller.brain.participant(room, name)
    ttl_s = controller.settings.core.move_within_s
    token, token_id, expires_at = _token_for(controller, session, body.to, ttl_s)
    await controller.step(lambda: controller.brain.move(session.session, body.to, token, token_id, controller.now()))
    log.info("participant moves", session=session.session, room=room, to=body.to)
    answer = MoveStarted(participant=name, room=room, to=body.to, expires_at=rfc3339(expires_at))
    return json_response(answer, 202)


def _token_for(controller: Controller, session: SessionRecord, to: str, ttl_s: float) -> tuple[str, str, float]:
    """A join token for another room that makes a participant what they are here; its id, and when it expires."""
    unix_now, token_id = controller.unix_now(), controller.authority.new_token_id()
    token = controller.authority.mint(
        AUDIENCE_JOIN,
        session.identity,
        ttl_s,
        unix_now,
        room=to,
        role=session.role.value,
        name=session.display_name,
        token_id=token_id,
    )
    return token, token_id, unix_now + ttl_s
