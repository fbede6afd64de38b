"""Handlers of locks and waiting rooms: those who wait poll and come in; hosts and operators list, admit and refuse."""

from collections.abc import Sequence

import structlog
from aiohttp import web
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from broker.api.auth import bearer_token, is_revoked, refuse, verify_for_room
from broker.api.bodies import json_response, read_body
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER, TICKET_LIMITER
from broker.api.listing import Key, page, read_query
from broker.api.presentation import grant, show_room, show_ticket, show_waiting
from broker.api.problems import ApiError
from broker.api.rooms import require_store
from broker.api.sessions import Identity, join_for, place
from broker.core import queues, waiting
from broker.core.refusals import Refusal
from broker.core.state import RoomRecord
from broker.core.tickets import TicketRecord
from broker.protocol import (
    AUDIENCE_TICKET,
    JoinRequest,
    Role,
    RoomPatch,
    TicketQuery,
    TicketState,
    WaitingDecided,
    WaitingDecision,
    WaitingList,
    WaitingQuery,
    WaitingTicket,
)
from broker.tokens import TokenRefusal

log = structlog.get_logger("broker")


async def lock_room(request: web.Request) -> web.Response:
    """Let nobody new in but hosts."""
    return await _set_lock(request, locked=True)


async def unlock_room(request: web.Request) -> web.Response:
    """Let people in again."""
    return await _set_lock(request, locked=False)


async def _set_lock(request: web.Request, *, locked: bool) -> web.Response:
    controller, name = request.app[CONTROLLER], request.match_info["room"]
    require_store(controller)
    await controller.step(lambda: controller.brain.patch_room(name, RoomPatch(locked=locked), controller.now()))
    return json_response(show_room(controller.brain.state.room(name)))


# --- Those who wait -------------------------------------------------------------------------------------


async def poll(request: web.Request) -> web.Response:
    """Where the ticket stands; with `wait_s` the answer is held until that changes."""
    controller, room, name = await _ticket(request)
    _limit(request, controller, name)
    query = read_query(request, TicketQuery)
    if (ended := controller.brain.state.ended_tickets.get(name)) is None:
        await controller.step(lambda: controller.brain.poll_ticket(room, name, controller.now()))
        ticket = waiting.ticket_of(controller.brain.state, room, name)
        if query.wait_s and ticket.state is TicketState.WAITING:
            await controller.ticket_news.wait(name, query.wait_s)
        ended = controller.brain.state.ended_tickets.get(name)
    if ended is not None:
        return json_response(_ended(controller, room, name, ended))
    answer = show_ticket(controller, waiting.ticket_of(controller.brain.state, room, name))
    return json_response(answer, headers={"Retry-After": str(round(answer.retry_after_s))})


def _ended(controller: Controller, room: str, name: str, how: TicketState) -> WaitingTicket:
    gone = TicketRecord(ticket=name, room=room, identity="", display_name="", role=Role.VISITOR, asked_at="")
    gone.state = how
    return show_ticket(controller, gone)


async def leave_queue(request: web.Request) -> web.Response:
    """Wait no longer."""
    controller, room, name = await _ticket(request)
    await controller.step(lambda: controller.brain.leave_queue(room, name))
    return web.Response(status=204)


async def redeem(request: web.Request) -> web.Response:
    """Come in with an admitted ticket; a session that is refused leaves it good.

    Who would rather wait for a place again, if it is gone, keeps the ticket and its turn (202).
    """
    controller, room_name, name = await _ticket(request)
    _limit(request, controller, name)
    body = await read_body(request, JoinRequest)
    ticket = waiting.ticket_of(controller.brain.state, room_name, name)
    if ticket.token_id is not None and await is_revoked(controller, ticket.token_id):
        raise refuse(controller, TokenRefusal.REVOKED)
    await controller.step(lambda: controller.brain.poll_ticket(room_name, name, controller.now()))
    who = Identity(ticket.identity, ticket.display_name, ticket.role, ticket.token_id, ticket.token_expires_at)
    room = controller.brain.state.room(room_name)
    try:
        session = await place(controller, replace(join_for(request, room, who, body), ticket=name), who)
    except Refusal as refusal:
        if not body.wait_when_full or refusal.kind not in queues.CURABLE:
            raise
        kind = refusal.kind
        await controller.step(lambda: controller.brain.wait_again(room_name, name, kind, controller.now()))
        return json_response(show_ticket(controller, ticket), 202)
    log.info("ticket redeemed", session=session, room=room_name)
    return json_response(grant(controller, controller.brain.state.session(session)), 201)


async def _ticket(request: web.Request) -> tuple[Controller, str, str]:
    """The controller, room and ticket of the path, with the ticket's own token. Raises `ApiError`."""
    controller, room, name = request.app[CONTROLLER], request.match_info["room"], request.match_info["ticket"]
    claims = await verify_for_room(controller, bearer_token(request), AUDIENCE_TICKET, room)
    if claims.sub != name:
        raise refuse(controller, TokenRefusal.WRONG_SUBJECT)
    return controller, room, name


def _limit(request: web.Request, controller: Controller, ticket: str) -> None:
    wait_s = request.app[TICKET_LIMITER].wait_s(ticket, controller.now())
    if wait_s:
        raise ApiError("too-many-requests", 429, "This ticket is polled too often", retry_after_s=wait_s)


# --- Those who decide -----------------------------------------------------------------------------------


async def list_waiting(request: web.Request) -> web.Response:
    """Who waits before a room, in order of coming."""
    state, query = request.app[CONTROLLER].brain.state, read_query(request, WaitingQuery)
    room = state.room(request.match_info["room"])
    places = waiting.positions(state, room)
    shown, cursor = page(f"waiting before {room.room}", waiting.of_room(state, room), _by_coming, query)
    return json_response(WaitingList(waiting=[show_waiting(ticket, places) for ticket in shown], next_cursor=cursor))


def _by_coming(ticket: TicketRecord) -> Key:
    return (ticket.asked_at, ticket.ticket)


async def admit(request: web.Request) -> web.Response:
    """Let these in, or everybody who waits."""
    controller, room, names = await _decision(request)
    return await _decide(controller, room, names, admitted=True)


async def refuse_entry(request: web.Request) -> web.Response:
    """Send these away, or everybody who waits; the invitations they came with are good no longer."""
    controller, room, names = await _decision(request)
    chosen = waiting.of_room(controller.brain.state, room)
    chosen = [t for t in chosen if (t.state is TicketState.WAITING if names is None else t.ticket in names)]
    answer = await _decide(controller, room, names, admitted=False)
    unix_now = controller.unix_now()
    for token_id, until in [(t.token_id, t.token_expires_at) for t in chosen if t.state is TicketState.REFUSED]:
        if token_id is not None:
            await controller.use_store(lambda i=token_id, u=until: controller.store.revoke(i, u, unix_now))  # type: ignore[misc]
    return answer


async def _decision(request: web.Request) -> tuple[Controller, RoomRecord, Sequence[str] | None]:
    controller = request.app[CONTROLLER]
    body = await read_body(request, WaitingDecision)
    require_store(controller)
    names: Sequence[str] | UnsetType = body.tickets
    return controller, controller.brain.state.room(request.match_info["room"]), None if names is UNSET else names


async def _decide(
    controller: Controller, room: RoomRecord, names: Sequence[str] | None, *, admitted: bool
) -> web.Response:
    outcome = await controller.step(
        lambda: controller.brain.decide(room.room, names, controller.now(), admitted=admitted)
    )
    log.info("waiting decided", room=room.room, admitted=admitted, tickets=len(outcome.tickets))
    return json_response(WaitingDecided(tickets=outcome.tickets))
