"""Tokens that are withdrawn, and with them everything that came of them."""

import msgspec
from aiohttp import web

from broker.api.controller import Controller
from broker.api.keys import CONTROLLER
from broker.api.problems import malformed
from broker.api.rooms import require_store
from broker.core.state import SessionRecord
from broker.protocol import MAX_TOKEN_TTL_S, EndReason, TokenId


async def revoke_all(controller: Controller, token_ids: list[str], for_s: float) -> None:
    """Have the store refuse these tokens and sessions for so long."""
    unix_now = controller.unix_now()
    for token_id in token_ids:
        await controller.use_store(lambda name=token_id: controller.store.revoke(name, unix_now + for_s, unix_now))  # type: ignore[misc]


def tokens_of(controller: Controller, session: SessionRecord) -> list[str]:
    """All that lets a participant in: their session, what they came with, and what they are moved with."""
    moves = [move.token_id for move in controller.brain.state.moves.values() if move.session == session.session]
    return [session.session, *filter(None, [session.token_id]), *moves]


async def revoke_token(request: web.Request) -> web.Response:
    """Withdraw a join or publish token; whoever came with it goes. One that was never used will not be."""
    controller = request.app[CONTROLLER]
    token_id = _token_id(request)
    state = controller.brain.state
    state.room(request.match_info["room"])
    require_store(controller)
    came = [session for session in state.sessions.values() if session.token_id == token_id]
    names = [name for session in came for name in tokens_of(controller, session)]
    await revoke_all(controller, [token_id, *names], MAX_TOKEN_TTL_S)
    await controller.step(lambda: controller.brain.revoke(token_id))
    return web.Response(status=204)


async def remove_participant(request: web.Request) -> web.Response:
    """End a participant's session and revoke their tokens."""
    controller = request.app[CONTROLLER]
    session = controller.brain.participant(request.match_info["room"], request.match_info["participant"])
    for_s = max(controller.settings.session_token_ttl_s, MAX_TOKEN_TTL_S if session.publishes else 0.0)
    await revoke_all(controller, tokens_of(controller, session), for_s)
    await controller.step(lambda: controller.brain.end_session(session.session, EndReason.REMOVED))
    return web.Response(status=204)


def _token_id(request: web.Request) -> str:
    try:
        return msgspec.convert(request.match_info["token"], TokenId)
    except msgspec.ValidationError as error:
        raise malformed(f"{error} - in the path") from error
