"""WHEP at the edge (draft-ietf-wish-whep): SDP offers of admitted sessions in, answers out.

`POST /whep/{session}` answers an offer, `PATCH` takes trickled candidates and restarts ICE, `DELETE` ends the viewer.
The ETag stands for the ICE session (RFC 9725, section 4.3.1): a trickling client names the present one, a restarting
one `*`, and each restart has a new one. Every request carries the session token as a bearer; a session the broker has
not placed here (any more) is 404.
"""

import asyncio
import secrets
import time
from collections.abc import Callable
from weakref import WeakValueDictionary

import structlog
from aiohttp import web

from broker.protocol import AUDIENCE_JOIN, AUDIENCE_PUBLISH, AUDIENCE_SESSION, MAX_SDP_BYTES, Claims, EndReason
from broker.tokens import TokenRefusal, TokenRefused, TokenVerifier
from edge.engine import MediaEngine, OfferError, RestartUnsupported, ViewerSettings
from edge.hub import StreamHub
from edge.problems import problem

_log = structlog.get_logger(__name__)

SDP = "application/sdp"
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Expose-Headers": "Location, ETag, Retry-After, Accept-Patch",
    "Accept-Post": "application/sdp",
    "Access-Control-Max-Age": "600",
    "Timing-Allow-Origin": "*",
}
"""Clients come from the broker's origin or the operator's own site; tokens, not cookies, carry authority."""

ADMISSION_POLLS = 50
ADMISSION_POLL_S = 0.02
"""A client with a good token may be faster than the broker's message that admits it: it is waited for, a second."""


class WhepRoutes:
    """The WHEP resource of one edge."""

    def __init__(
        self,
        hub: StreamHub,
        engine: MediaEngine,
        max_viewers: int,
        verifier: Callable[[], TokenVerifier | None],
    ) -> None:
        self.offers_refused = 0
        self.tokens_refused = 0
        self._hub = hub
        self._engine = engine
        self._max_viewers = max_viewers
        self._verifier = verifier
        self._answering: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Held while a session's offer is answered: the next one waits, and then replaces it."""
        self._etags: dict[str, str] = {}
        """Of the sessions that were answered."""

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the edge's application."""
        return [
            web.post("/whep/{session}", self.offer),
            web.patch("/whep/{session}", self.trickle),
            web.delete("/whep/{session}", self.end),
        ]

    async def offer(self, request: web.Request) -> web.Response:
        """Answer an SDP offer with 201."""
        session = request.match_info["session"]
        refusal = await self.refusal(request, session)
        if refusal is not None:
            return refusal
        if request.content_type != SDP:
            return problem("unsupported-media-type", 415, f"The offer must be {SDP}")
        put = self._hub.session(session)
        if put is None:
            return _unknown(session)
        if put.publishes:
            return problem("not-a-viewer", 403, "This session publishes; it does not watch", "POST to /whip instead.")
        if not self._hub.take_offer(session):
            return problem("too-many-requests", 429, "Too many offers of this session", "", 2.0)
        if self._hub.viewers_besides(session) >= self._max_viewers:
            return problem("edge-full", 503, "This edge is full", f"It serves {self._max_viewers} viewers.", 5.0)
        try:
            offer_sdp = await read_sdp(request)
            start_bps = self._hub.line_bps(session)
            viewer = ViewerSettings(session, put.stream, put.codec, put.profile, start_bps)
            async with self._answering.setdefault(session, asyncio.Lock()):
                answer = await self._engine.answer(viewer, offer_sdp)
        except OfferError as error:
            self.offers_refused += 1
            return problem("bad-offer", 400, "The SDP offer cannot be used", str(error)[:300])
        _log.info("viewer_answered", session=session, stream=put.stream)
        return self.created(session, f"/whep/{session}", answer)

    def created(self, session: str, location: str, answer_sdp: str) -> web.Response:
        """What an accepted offer is answered with."""
        headers = {"Location": location, "ETag": self._renew_etag(session), "Accept-Patch": _FRAGMENT_TYPE}
        return web.Response(text=answer_sdp, status=201, content_type=SDP, headers=headers)

    def _renew_etag(self, session: str) -> str:
        """The ETag of a session's new ICE session. Those of sessions that have left the edge are forgotten."""
        if len(self._etags) > 2 * self._max_viewers:
            self._etags = {known: etag for known, etag in self._etags.items() if self._hub.session(known) is not None}
        etag = self._etags[session] = f'"{secrets.token_hex(8)}"'
        return etag

    async def trickle(self, request: web.Request) -> web.Response:
        """Take candidates (RFC 8840), or restart ICE with the fragment's credentials (RFC 9725, section 4.3.3)."""
        session = request.match_info["session"]
        refusal = await self.refusal(request, session)
        if refusal is not None:
            return refusal
        condition = request.headers.get("If-Match")
        if condition is None:
            return problem(
                "etag-missing", 428, "If-Match is required", 'The ETag of the answer, or "*" to restart ICE.'
            )
        if condition not in (*_ANY_ETAG, self._etags.get(session)):
            return problem("etag-mismatch", 412, "The ETag is of another connection")
        if request.content_type != _FRAGMENT_TYPE:
            return problem("unsupported-media-type", 415, f"Candidates must be {_FRAGMENT_TYPE}")
        try:
            answer = await self._engine.trickle(session, await read_sdp(request))
        except RestartUnsupported as error:
            return problem("restart-unsupported", 422, "ICE cannot be restarted", str(error))
        except OfferError as error:
            return problem("bad-fragment", 400, "The SDP fragment cannot be used", str(error)[:300])
        if answer is None:
            return web.Response(status=204)
        _log.info("ice_restarted", session=session)
        headers = {"ETag": self._renew_etag(session)}
        return web.Response(text=answer, status=200, content_type=_FRAGMENT_TYPE, headers=headers)

    async def end(self, request: web.Request) -> web.Response:
        """End the viewer, as the visitor leaves."""
        session = request.match_info["session"]
        refusal = await self.refusal(request, session)
        if refusal is not None:
            return refusal
        await self._engine.close(session)
        self._hub.on_gone(session, EndReason.LEFT)
        return web.Response(status=200)

    async def refusal(self, request: web.Request, session: str) -> web.Response | None:
        """Why the bearer of the request's token may not act for this session; `None` if they may."""
        verifier = self._verifier()
        if verifier is None:
            return problem("edge-starting", 503, "This edge has not met its broker yet", "", 1.0)
        token = bearer_token(request)
        if token is None:
            return problem("token-missing", 401, "A session token is required", "Send it as a bearer token.")
        try:
            is_bearer = self._is_bearer(verifier, token, session)
        except TokenRefused as error:
            self.tokens_refused += 1
            return problem(f"token-{error.reason.value.replace('_', '-')}", 401, "The session token is not accepted")
        if not is_bearer:
            self.tokens_refused += 1
            return problem("token-wrong-session", 403, "The token belongs to another session")
        return None if await self._is_admitted(session) else _unknown(session)

    def _is_bearer(self, verifier: TokenVerifier, token: str, session: str) -> bool:
        """Whether the token is the session's own, or the one that made it. Raises `TokenRefused`."""
        claims = _claims(verifier, token)
        if claims.aud == AUDIENCE_SESSION:
            return claims.sub == session
        put = self._hub.session(session)
        return put is not None and put.token_id == claims.jti

    async def _is_admitted(self, session: str) -> bool:
        for _ in range(ADMISSION_POLLS):
            if self._hub.session(session) is not None:
                return True
            await asyncio.sleep(ADMISSION_POLL_S)
        return False


_ANY_ETAG = ("*", '"*"')
"""RFC 9725 writes it with quotes, RFC 9110 without."""
_FRAGMENT_TYPE = "application/trickle-ice-sdpfrag"


def _claims(verifier: TokenVerifier, token: str) -> Claims:
    """The claims of a session's token, or of a join or publish token. Raises `TokenRefused`."""
    for audience in (AUDIENCE_SESSION, AUDIENCE_JOIN):
        try:
            return verifier.verify(token, audience, time.time())
        except TokenRefused as error:
            if error.reason is not TokenRefusal.AUDIENCE:
                raise
    return verifier.verify(token, AUDIENCE_PUBLISH, time.time())


def _unknown(session: str) -> web.Response:
    return problem("unknown-session", 404, "This session is not placed on this edge", f"Session {session}; join again.")


def bearer_token(request: web.Request) -> str | None:
    """The bearer token of a request, `None` without one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


async def read_sdp(request: web.Request) -> str:
    """The body as SDP text. Raises `OfferError`."""
    body = await request.content.read(MAX_SDP_BYTES + 1)
    while not request.content.at_eof() and len(body) <= MAX_SDP_BYTES:
        body += await request.content.read(MAX_SDP_BYTES + 1 - len(body))
    if len(body) > MAX_SDP_BYTES:
        raise OfferError(f"the body exceeds {MAX_SDP_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise OfferError("the body is not UTF-8") from error
