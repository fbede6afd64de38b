"""Before a waiting room, or where all is full: a join becomes a ticket."""

import secrets
from typing import TYPE_CHECKING

import structlog
from aiohttp import web
from msgspec.structs import replace

from broker.api.bodies import json_response
from broker.api.controller import Controller
from broker.api.presentation import show_ticket
from broker.api.timestamps import rfc3339
from broker.core import waiting
from broker.core.refusals import RefusalKind
from broker.core.state import RoomRecord
from broker.core.tickets import TicketRecord, Wish
from broker.protocol import AUDIENCE_TICKET

if TYPE_CHECKING:
    from broker.api.sessions import Identity

log = structlog.get_logger("broker")


async def knock(controller: Controller, room: RoomRecord, who: "Identity") -> web.Response:
    """Give a ticket to one who must wait: 202 with its place and where to poll.

    The join token is not spent yet; coming again with it gives the same ticket. Raises `Refusal`.
    """
    ticket = _ticket_for(controller, room, who)
    await controller.step(lambda: controller.brain.knock(ticket, controller.now()))
    return _answer(controller, room, who, ticket)


async def queue_up(
    controller: Controller, room: RoomRecord, who: "Identity", wish: Wish, refused: RefusalKind
) -> web.Response:
    """Give a ticket to one for whom there is no place: 202 likewise. Raises `Refusal`."""
    ticket = replace(_ticket_for(controller, room, who), wish=wish)
    await controller.step(lambda: controller.brain.queue_up(ticket, refused, controller.now()))
    return _answer(controller, room, who, ticket)


def _answer(controller: Controller, room: RoomRecord, who: "Identity", ticket: TicketRecord) -> web.Response:
    state = controller.brain.state
    ticket = waiting.by_token(state, room, who.token_id) or waiting.ticket_of(state, room.room, ticket.ticket)
    log.info("waiting", room=room.room, ticket=ticket.ticket, queue=ticket.queue)
    settings = controller.settings.core
    ttl_s = settings.waiting_limit_s + settings.admitted_for_s
    token = controller.authority.mint(AUDIENCE_TICKET, ticket.ticket, ttl_s, controller.unix_now(), room=room.room)
    answer = show_ticket(controller, ticket, token)
    headers = {"Location": answer.poll_url, "Retry-After": str(round(answer.retry_after_s))}
    return json_response(answer, 202, headers)


def _ticket_for(controller: Controller, room: RoomRecord, who: "Identity") -> TicketRecord:
    return TicketRecord(
        ticket=f"t-{secrets.token_hex(12)}",
        room=room.room,
        identity=who.identity,
        display_name=who.display_name,
        role=who.role,
        asked_at=rfc3339(controller.unix_now()),
        token_id=who.token_id,
        token_expires_at=who.expires_at,
    )
