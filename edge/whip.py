"""WHIP at the edge (RFC 9725): the offers of publishers the broker has placed here in, answers out.

`POST /whip/{session}` comes from the broker, which has chosen this edge; `PATCH` and `DELETE`, as WHEP's, from the
publisher itself, with the publish token it gave the broker.
"""

import structlog
from aiohttp import web

from edge.engine import MediaEngine, OfferError, PublisherSettings
from edge.hub import StreamHub
from edge.problems import problem
from edge.whep import SDP, WhepRoutes, read_sdp

_log = structlog.get_logger(__name__)

MAX_LAYERS = 3
"""Encodings of one publisher that are taken."""


class WhipRoutes:
    """The WHIP resource of one edge; `whep` knows who may and how connections are changed and ended."""

    def __init__(self, hub: StreamHub, engine: MediaEngine, whep: WhepRoutes) -> None:
        self._hub = hub
        self._engine = engine
        self._whep = whep

    def routes(self) -> list[web.RouteDef]:
        """The routes to add to the edge's application."""
        return [
            web.post("/whip/{session}", self.offer),
            web.patch("/whip/{session}", self._whep.trickle),
            web.delete("/whip/{session}", self._whep.end),
        ]

    async def offer(self, request: web.Request) -> web.Response:
        """Answer a publisher's SDP offer with 201."""
        session = request.match_info["session"]
        refusal = await self._whep.refusal(request, session)
        if refusal is not None:
            return refusal
        if request.content_type != SDP:
            return problem("unsupported-media-type", 415, f"The offer must be {SDP}")
        put = self._hub.session(session)
        if put is None or not put.publishes:
            return problem("not-a-publisher", 403, "This session watches; it does not publish")
        if not self._hub.take_offer(session):
            return problem("too-many-requests", 429, "Too many offers of this session", "", 2.0)
        try:
            settings = PublisherSettings(session, put.codec, put.profile, MAX_LAYERS)
            answer = await self._engine.answer_publisher(settings, await read_sdp(request))
        except OfferError as error:
            self._whep.offers_refused += 1
            return problem("bad-offer", 400, "The SDP offer cannot be used", str(error)[:300])
        self._hub.publish(session, encodings=len(answer.rids))
        _log.info("publisher_answered", session=session, stream=put.stream, encodings=list(answer.rids))
        return self._whep.created(session, f"/whip/{session}", answer.sdp)
