"""Handlers of rooms, their participants and their join tokens."""

import secrets

from aiohttp import web

from broker.api.bodies import json_response, read_body
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER
from broker.api.presentation import show_participant, show_room
from broker.api.principal import Principal, principal_of
from broker.api.problems import ApiError, store_unavailable
from broker.api.room_settings import DEFAULTS, given, layered
from broker.api.schedules import changed_schedule
from broker.api.timestamps import rfc3339
from broker.core import publishing
from broker.core.effects import Effect
from broker.core.schedule import Schedule
from broker.core.state import RoomRecord, State
from broker.protocol import (
    AUDIENCE_JOIN,
    AUDIENCE_PUBLISH,
    ParticipantPatch,
    Role,
    RoomCreate,
    RoomPatch,
    RoomSettings,
    TokenGrant,
    TokenRequest,
)

QUOTA_RETRY_S = 60.0
"""Rooms close when they have been empty for a while: a minute is a fair guess when there will be a place."""


def require_store(controller: Controller) -> None:
    """What operators change must not be lost, so it waits for the store."""
    if not controller.store_ready:
        raise store_unavailable()


async def create_room(request: web.Request) -> web.Response:
    """Create a room, by a template if one is named; 409 if the name is taken."""
    controller = request.app[CONTROLLER]
    body = await read_body(request, RoomCreate)
    require_store(controller)
    principal = principal_of(request)
    room = _new_room(controller, principal, body)
    principal.require_room(room.room)
    await controller.step(lambda: _create_within_quota(controller, principal, room))
    return json_response(show_room(room), 201, {"Location": f"/v1/rooms/{room.room}"})


def _new_room(controller: Controller, principal: Principal, body: RoomCreate) -> RoomRecord:
    """The room as body, template and defaults say. Raises `ApiError`."""
    settings = layered(body, _template(controller, principal, body.template), DEFAULTS)
    unix_now = controller.unix_now()
    schedule = changed_schedule(Schedule(), settings, unix_now, controller.now())
    fields = {name: value for name, value in given(settings).items() if name not in Schedule.__struct_fields__}
    return RoomRecord(
        **fields,
        room=body.room or f"{principal.room_prefix or 'room-'}{secrets.token_hex(4)}",
        created_at=rfc3339(unix_now),
        owner=principal.key,
        schedule=schedule or Schedule(),
    )


def _template(controller: Controller, principal: Principal, name: str | None) -> RoomSettings:
    if name is None:
        return RoomSettings()
    principal.require_room(name)
    return controller.templates.get(name).settings


def _create_within_quota(controller: Controller, principal: Principal, room: RoomRecord) -> list[Effect]:
    """Under the controller's lock, so that two requests at once do not both take the last place."""
    owned = rooms_owned(controller.brain.state, principal.key)
    if principal.max_rooms is not None and owned >= principal.max_rooms:
        detail = f"the key has {owned} rooms of {principal.max_rooms}; close one"
        raise ApiError("quota-exceeded", 429, "The key has as many rooms as it may", detail, QUOTA_RETRY_S)
    return controller.brain.create_room(room, controller.now())


def rooms_owned(state: State, key: str) -> int:
    """How many open rooms an API key has made."""
    return sum(room.owner == key for room in state.rooms.values())


async def get_room(request: web.Request) -> web.Response:
    """One room."""
    return json_response(show_room(request.app[CONTROLLER].brain.state.room(request.match_info["room"])))


async def patch_room(request: web.Request) -> web.Response:
    """Change limits, openness or metadata of a room."""
    controller, name = request.app[CONTROLLER], request.match_info["room"]
    body = await read_body(request, RoomPatch)
    require_store(controller)

    def decide() -> list[Effect]:
        now, room = controller.now(), controller.brain.state.room(name)
        schedule = changed_schedule(room.schedule, body, controller.unix_now(), now)
        return controller.brain.patch_room(name, body, now, schedule)

    await controller.step(decide)
    return json_response(show_room(controller.brain.state.room(name)))


async def delete_room(request: web.Request) -> web.Response:
    """Close a room and end its sessions."""
    controller, name = request.app[CONTROLLER], request.match_info["room"]
    require_store(controller)
    await controller.step(lambda: controller.brain.close_room(name))
    return web.Response(status=204)


async def create_token(request: web.Request) -> web.Response:
    """Mint a single-use join token, and a link that carries it in its fragment, which no server sees.

    Or a publish token, and the endpoint that takes it as a bearer.
    """
    controller, name = request.app[CONTROLLER], request.match_info["room"]
    body = await read_body(request, TokenRequest)
    room = controller.brain.state.room(name)
    if body.publish:
        publishing.require_stage(room)
    unix_now = controller.unix_now()
    role = Role.SPEAKER if body.publish and body.role is not Role.HOST else body.role
    token_id = controller.authority.new_token_id()
    token = controller.authority.mint(
        AUDIENCE_PUBLISH if body.publish else AUDIENCE_JOIN,
        body.identity,
        body.ttl_s,
        unix_now,
        room=room.room,
        role=role.value,
        name=body.display_name,
        token_id=token_id,
    )
    public_url = controller.settings.public_url.rstrip("/")
    endpoint = f"{public_url}/v1/rooms/{room.room}/whip"
    link = endpoint if body.publish else f"{public_url}/?room={room.room}#token={token}"
    expires_at = rfc3339(unix_now + body.ttl_s)
    return json_response(TokenGrant(token=token, token_id=token_id, link=link, expires_at=expires_at), 201)


async def patch_participant(request: web.Request) -> web.Response:
    """Change a participant's role or mute them."""
    controller = request.app[CONTROLLER]
    room, name = request.match_info["room"], request.match_info["participant"]
    body = await read_body(request, ParticipantPatch)
    await controller.step(lambda: controller.brain.patch_participant(room, name, body))
    return json_response(show_participant(controller.brain.state, controller.brain.participant(room, name)))
