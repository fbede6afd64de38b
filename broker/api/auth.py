"""Who is asking: operators, hosts in their own room, participants with their session, newcomers with a join token."""

import hmac

from aiohttp import web

from broker.api.controller import Controller
from broker.api.keys import CONTROLLER
from broker.api.problems import ApiError, from_token
from broker.core.state import SessionRecord
from broker.protocol import AUDIENCE_OPERATOR, AUDIENCE_SESSION, Claims, Role
from broker.store.interface import StoreUnavailable
from broker.tokens import TokenRefusal, TokenRefused

_SCHEME = "bearer "


def bearer_token(request: web.Request) -> str | None:
    """The token of the `Authorization` header (RFC 6750), if there is one."""
    header = request.headers.get("Authorization", "")
    return header[len(_SCHEME) :].strip() if header[: len(_SCHEME)].lower() == _SCHEME else None


def refuse(controller: Controller, reason: TokenRefusal) -> ApiError:
    """Count a refused token and say why."""
    controller.metrics.tokens_refused.labels(reason.value).inc()
    return from_token(TokenRefused(reason))


def verify(controller: Controller, token: str | None, audience: str) -> Claims:
    """The claims of a token for `audience`; raises `ApiError`."""
    if token is None:
        raise refuse(controller, TokenRefusal.MISSING)
    try:
        return controller.verifier.verify(token, audience, controller.unix_now())
    except TokenRefused as refused:
        raise refuse(controller, refused.reason) from refused


def _is_api_key(controller: Controller, token: str) -> bool:
    return hmac.compare_digest(token.encode(errors="surrogateescape"), controller.settings.api_key.encode())


async def require_operator(request: web.Request) -> None:
    """Let operators pass: the API key, or an operator token."""
    controller, token = request.app[CONTROLLER], bearer_token(request)
    if token is None or not _is_api_key(controller, token):
        verify(controller, token, AUDIENCE_OPERATOR)


def _is_operator(controller: Controller, token: str | None) -> bool:
    """Whether this is an operator, without counting a refusal if not."""
    if token is None or _is_api_key(controller, token):
        return token is not None
    try:
        controller.verifier.verify(token, AUDIENCE_OPERATOR, controller.unix_now())
    except TokenRefused:
        return False
    return True


async def require_moderator(request: web.Request) -> None:
    """Let operators pass, and hosts with the session token of this very room."""
    controller, token = request.app[CONTROLLER], bearer_token(request)
    if _is_operator(controller, token):
        return
    session = await session_of(controller, token)
    if session.room != request.match_info["room"]:
        raise refuse(controller, TokenRefusal.WRONG_ROOM)
    if session.role is not Role.HOST:
        raise ApiError("not-permitted", 403, "Only hosts may do this")


async def require_session(request: web.Request) -> SessionRecord:
    """The session of the path, with its own session token. Raises `ApiError`, `Refusal`."""
    controller = request.app[CONTROLLER]
    claims = verify(controller, bearer_token(request), AUDIENCE_SESSION)
    if claims.sub != request.match_info["session"]:
        raise refuse(controller, TokenRefusal.WRONG_SUBJECT)
    return await _live_session(controller, claims)


async def require_session_or_operator(request: web.Request) -> SessionRecord:
    """The session of the path, for its participant or an operator."""
    controller, token = request.app[CONTROLLER], bearer_token(request)
    if _is_operator(controller, token):
        return controller.brain.state.session(request.match_info["session"])
    return await require_session(request)


async def session_of(controller: Controller, token: str | None) -> SessionRecord:
    """The session a session token belongs to. Raises `ApiError`, `Refusal`."""
    return await _live_session(controller, verify(controller, token, AUDIENCE_SESSION))


async def _live_session(controller: Controller, claims: Claims) -> SessionRecord:
    if await is_revoked(controller, claims.sub):
        raise refuse(controller, TokenRefusal.REVOKED)
    return controller.brain.state.session(claims.sub)


async def verify_for_room(controller: Controller, token: str | None, audience: str, room: str) -> Claims:
    """The claims of a token for this room that has not been revoked; raises `ApiError`."""
    claims = verify(controller, token, audience)
    if claims.room != room:
        raise refuse(controller, TokenRefusal.WRONG_ROOM)
    if await is_revoked(controller, claims.jti):
        raise refuse(controller, TokenRefusal.REVOKED)
    return claims


async def is_revoked(controller: Controller, token_id: str) -> bool:
    """Whether the store knows it as revoked; while the store is away, what is not here any more is refused anyway."""
    try:
        return await controller.use_store(lambda: controller.store.is_revoked(token_id, controller.unix_now()))
    except StoreUnavailable:
        return False
