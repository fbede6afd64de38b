"""Who is asking: operators, hosts in their own room, participants with their session, newcomers with a join token."""

import hmac

from aiohttp import web

from broker.api.api_keys import SECRET_MARK
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER, KEY_LIMITER, SCOPE
from broker.api.principal import PRINCIPAL, ROOT, SESSION_MARK, Principal
from broker.api.problems import ApiError, from_token
from broker.core.state import SessionRecord
from broker.protocol import AUDIENCE_OPERATOR, AUDIENCE_SESSION, Claims, Role
from broker.store.interface import StoreUnavailable
from broker.tokens import TokenRefusal, TokenRefused

HOST_REQUESTS_PER_MINUTE = 600.0
"""Stops a host's page that runs wild from keeping the broker busy, and from filling the audit log."""
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


def _is_root_key(controller: Controller, token: str) -> bool:
    return hmac.compare_digest(token.encode(errors="surrogateescape"), controller.settings.api_key.encode())


def _operator(controller: Controller, token: str | None) -> Principal:
    """Whom the root key, an API key or an operator token names. Raises `ApiError`."""
    if token is not None and _is_root_key(controller, token):
        return Principal(key=ROOT)
    if token is not None and token.startswith(SECRET_MARK):
        return controller.api_keys.principal(token, controller.unix_now())
    claims = verify(controller, token, AUDIENCE_OPERATOR)
    per_minute = controller.settings.key_requests_per_minute
    return Principal(key=f"operator:{claims.sub}", requests_per_minute=per_minute, expires_at=float(claims.exp))


def _limit(request: web.Request, principal: Principal) -> None:
    """Raise 429 if they ask too often."""
    limiter, now = request.app[KEY_LIMITER], request.app[CONTROLLER].now()
    wait_s = limiter.wait_s(principal.key, principal.requests_per_minute, now)
    if wait_s:
        detail = f"{principal.key} may send {principal.requests_per_minute:g} requests a minute"
        raise ApiError("rate-limited", 429, "Too many requests with this key", detail, wait_s)


def _admit(request: web.Request, principal: Principal) -> None:
    """Let them pass if their limits, their scopes and the rooms they reach allow this. Raises `ApiError`."""
    request[PRINCIPAL] = principal
    _limit(request, principal)
    principal.require(request[SCOPE])
    if (room := request.match_info.get("room")) is not None:
        principal.require_room(room)


async def require_operator(request: web.Request) -> None:
    """Let operators pass who have the route's scope: the root key, an API key, or an operator token."""
    _admit(request, _operator(request.app[CONTROLLER], bearer_token(request)))


def _is_operator(controller: Controller, token: str | None) -> bool:
    """Whether this claims to be an operator, without counting a refusal if not."""
    if token is None or token.startswith(SECRET_MARK) or _is_root_key(controller, token):
        return token is not None
    try:
        controller.verifier.verify(token, AUDIENCE_OPERATOR, controller.unix_now())
    except TokenRefused:
        return False
    return True


async def require_moderator(request: web.Request) -> None:
    """Let operators pass who have the route's scope, and hosts with the session token of this very room."""
    controller, token = request.app[CONTROLLER], bearer_token(request)
    if _is_operator(controller, token):
        return await require_operator(request)
    session = await session_of(controller, token)
    if session.room != request.match_info["room"]:
        raise refuse(controller, TokenRefusal.WRONG_ROOM)
    if session.role is not Role.HOST:
        raise ApiError("not-permitted", 403, "Only hosts may do this")
    request[PRINCIPAL] = Principal(
        key=f"{SESSION_MARK}{session.session}",
        scopes=frozenset(),
        room_prefix=session.room,
        requests_per_minute=HOST_REQUESTS_PER_MINUTE,
    )
    _limit(request, request[PRINCIPAL])
    return None


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
        await require_operator(request)
        session = controller.brain.state.session(request.match_info["session"])
        request[PRINCIPAL].require_room(session.room)
        return session
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
