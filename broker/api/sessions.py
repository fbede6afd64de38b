"""Handlers of joining, resuming and leaving: what clients call."""

import secrets
from dataclasses import dataclass

import structlog
from aiohttp import web

from broker.api.auth import (
    bearer_token,
    is_revoked,
    refuse,
    require_session,
    require_session_or_operator,
    verify_for_room,
)
from broker.api.bodies import json_response, read_body
from broker.api.client_address import address_of, network_of
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER, GUEST_LIMITER, RESHAPE_LIMITER, TRUSTED_PROXIES
from broker.api.knocking import knock, queue_up
from broker.api.presentation import grant, show_probe_target
from broker.api.problems import ApiError, malformed
from broker.api.timestamps import rfc3339
from broker.core import moving, queues, waiting
from broker.core.joining import Join
from broker.core.probing import probe_targets
from broker.core.refusals import Refusal
from broker.core.state import RoomRecord
from broker.core.tickets import Wish
from broker.protocol import (
    AUDIENCE_JOIN,
    EndReason,
    JoinRequest,
    ProbeTargetList,
    Role,
    SessionPatch,
)
from broker.tokens import TokenRefusal

log = structlog.get_logger("broker")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who joins, as their token says, or as a guest says."""

    identity: str
    display_name: str
    role: Role
    token_id: str | None = None
    expires_at: float = 0.0


async def list_probe_targets(request: web.Request) -> web.Response:
    """The edges a client should measure before it joins."""
    edges = request.app[CONTROLLER].brain.state.edges
    targets = probe_targets(edges.values(), secrets.randbelow(len(edges) or 1))
    return json_response(ProbeTargetList(targets=[show_probe_target(edge) for edge in targets]))


async def join(request: web.Request) -> web.Response:
    """Place a newcomer: spend the join token, choose edge and node, grant a session.

    Where the room has a waiting room, all but hosts and speakers get a ticket instead; and, if they wish, all for whom
    there is no place.
    """
    controller = request.app[CONTROLLER]
    began = controller.now()
    body = await read_body(request, JoinRequest)
    room = controller.brain.state.room(request.match_info["room"])
    who = await identify(request, controller, room, body)
    is_moved = moving.expected(controller.brain.state, room, who.token_id) is not None
    if waiting.must_wait(room, who.role) and not is_moved:
        return await knock(controller, room, who)
    wanted = join_for(request, room, who, body)
    try:
        session = await place(controller, wanted, who)
    except Refusal as refusal:
        if not body.wait_when_full or refusal.kind not in queues.CURABLE:
            raise
        return await queue_up(controller, room, who, wish_of(wanted), refusal.kind)
    controller.metrics.placement_seconds.observe(controller.now() - began)
    placed = controller.brain.state.session(session)
    log.info("session placed", session=session, room=room.room, edge=placed.edge)
    return json_response(grant(controller, placed), 201)


def join_for(request: web.Request, room: RoomRecord, who: Identity, body: JoinRequest) -> Join:
    """What the core is asked for, with fresh names."""
    controller = request.app[CONTROLLER]
    return Join(
        room=room.room,
        session=f"s-{secrets.token_hex(12)}",
        participant=f"p-{secrets.token_hex(6)}",
        view=f"v-{secrets.token_hex(8)}",
        identity=who.identity,
        display_name=who.display_name,
        role=who.role,
        joined_at=rfc3339(controller.unix_now()),
        token_id=who.token_id,
        probes=body.probes,
        network=network_of(address_of(request, request.app[TRUSTED_PROXIES])),
        codecs=body.codecs,
        viewport=body.viewport,
    )


def wish_of(join: Join) -> Wish:
    """What a join asks of the farm."""
    return Wish(probes=join.probes, network=join.network, codecs=join.codecs, viewport=join.viewport)


async def identify(request: web.Request, controller: Controller, room: RoomRecord, body: JoinRequest) -> Identity:
    """Who joins, by the request's join token or, in an open room, as a guest. Raises `ApiError`."""
    token = bearer_token(request)
    if token is None and room.open:
        return await _guest(request, controller, body)
    claims = await verify_for_room(controller, token, AUDIENCE_JOIN, room.room)
    try:
        role = Role(claims.role or Role.VISITOR.value)
    except ValueError as error:
        raise refuse(controller, TokenRefusal.MALFORMED) from error
    return Identity(claims.sub, claims.name or body.display_name or claims.sub, role, claims.jti, float(claims.exp))


async def _guest(request: web.Request, controller: Controller, body: JoinRequest) -> Identity:
    wait_s = request.app[GUEST_LIMITER].wait_s(address_of(request, request.app[TRUSTED_PROXIES]), controller.now())
    if wait_s:
        raise ApiError("too-many-requests", 429, "Too many joins from this address", retry_after_s=wait_s)
    if body.display_name is None:
        raise malformed("Object missing required field `display_name` - at `$`: guests say their name")
    await controller.use_store(controller.store.ping)
    return Identity(f"guest-{secrets.token_hex(4)}", body.display_name, Role.VISITOR)


async def place(controller: Controller, request: Join, who: Identity) -> str:
    """Spend the token and place the session; a session that is refused leaves the token good."""
    await _spend(controller, who)
    try:
        outcome = await controller.step(lambda: controller.brain.join(request, controller.now()))
        if (refusal := outcome.refused.get(request.session)) is not None:
            raise refusal
    except Refusal as refusal:
        controller.metrics.placements.labels(refusal.kind.value).inc()
        if who.token_id is not None:
            token_id = who.token_id
            await controller.use_store(lambda: controller.store.restore_token(token_id))
        raise
    controller.metrics.placements.labels("placed").inc()
    await _require_still_good(controller, who)
    return request.session


async def _require_still_good(controller: Controller, who: Identity) -> None:
    """End what was just placed if its token was withdrawn meanwhile. Raises `ApiError`.

    Whoever withdraws tells the store first and ends what is there then, so one of the two sees the other.
    """
    token_id = who.token_id
    if token_id is not None and await is_revoked(controller, token_id):
        await controller.step(lambda: controller.brain.revoke(token_id))
        raise refuse(controller, TokenRefusal.REVOKED)


async def _spend(controller: Controller, who: Identity) -> None:
    if who.token_id is None:
        return
    token_id, unix_now = who.token_id, controller.unix_now()
    if not await controller.use_store(lambda: controller.store.use_token(token_id, who.expires_at, unix_now)):
        raise refuse(controller, TokenRefusal.REPLAYED)


async def resume(request: web.Request) -> web.Response:
    """Grant a session anew to a participant who lost the connection; the body's probes help to choose an edge."""
    controller = request.app[CONTROLLER]
    body = await read_body(request, JoinRequest)
    name = (await require_session(request)).session
    outcome = await controller.step(lambda: controller.brain.resume(name, body.probes, controller.now()))
    if (refusal := outcome.refused.get(name)) is not None:
        raise refusal
    return json_response(grant(controller, controller.brain.state.session(name)))


async def reshape(request: web.Request) -> web.Response:
    """Give a participant's own picture the shape of their screen, as it is now."""
    controller = request.app[CONTROLLER]
    body = await read_body(request, SessionPatch)
    name = (await require_session(request)).session
    wait_s = request.app[RESHAPE_LIMITER].wait_s(name, controller.now())
    if wait_s:
        raise ApiError("too-many-requests", 429, "The picture has changed too often", retry_after_s=wait_s)
    await controller.step(lambda: controller.brain.reshape(name, body.viewport))
    return web.Response(status=204)


async def leave(request: web.Request) -> web.Response:
    """End a session because its participant leaves."""
    controller = request.app[CONTROLLER]
    name = (await require_session_or_operator(request)).session
    await controller.step(lambda: controller.brain.end_session(name, EndReason.LEFT))
    return web.Response(status=204)
