"""Every endpoint once: the table registers the routes and the OpenAPI document is generated from it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from aiohttp import web

from broker import protocol
from broker.api import (
    api_key_routes,
    audit_routes,
    auth,
    control,
    fleet,
    lists,
    moderation,
    offers,
    regions,
    revocation,
    rooms,
    sessions,
    template_routes,
    usage,
    waiting,
    webhook_routes,
)
from broker.api.idempotency import once
from broker.api.keys import CONTROLLER, SCOPE
from broker.api.problems import standing_by

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Access(StrEnum):
    """Who may call an endpoint."""

    PUBLIC = "public"
    JOIN_TOKEN = "join token, or nobody's if the room is open"
    PUBLISHER = "publish token of this room"
    SESSION = "session token of this session"
    TICKET = "token of this ticket"
    MODERATOR = "operator, or a host of this room with their session token"
    OPERATOR = "operator"
    AGENT = "node or edge token"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint. `statuses` are the problem statuses it may give beside the ones every endpoint may."""

    method: str
    path: str
    handler: Handler
    summary: str
    tag: str
    access: Access
    body: type[protocol.Message] | None = None
    answer: type[protocol.Message] | None = None
    query: type[protocol.Message] | None = None
    """The parameters of the query string."""
    status: int = 200
    statuses: tuple[int, ...] = ()
    scope: protocol.Scope | None = None
    """What an operator needs for it; hosts in their own room and participants in their session need none."""
    accepted: type[protocol.Message] | None = None
    """What it answers with 202, where it may."""
    media_type: str = "application/json"
    """Of body and answer; where it is not JSON there are no structs for them."""

    @property
    def takes_idempotency_key(self) -> bool:
        """Whether a request that is sent again with the same key is not carried out twice."""
        return self.method == "POST" and self.media_type == "application/json"

    @property
    def is_cross_origin(self) -> bool:
        """Whether pages of other origins may call it."""
        return self.access in (Access.PUBLIC, Access.JOIN_TOKEN, Access.PUBLISHER, Access.SESSION, Access.TICKET)


ROUTES: tuple[Route, ...] = (
    Route(
        method="POST", path="/v1/rooms", handler=rooms.create_room, tag="rooms", access=Access.OPERATOR,
        summary="Create a room", body=protocol.RoomCreate, answer=protocol.Room, status=201,
        statuses=(404, 409, 422, 503),
        scope=protocol.Scope.ROOMS_WRITE,
    ),
    Route(
        method="GET", path="/v1/rooms", handler=lists.list_rooms, tag="rooms", access=Access.OPERATOR,
        summary="List rooms", answer=protocol.RoomList, query=protocol.RoomQuery, scope=protocol.Scope.ROOMS_READ,
    ),
    Route(
        method="GET", path="/v1/rooms/{room}", handler=rooms.get_room, tag="rooms", access=Access.OPERATOR,
        summary="One room", answer=protocol.Room, statuses=(404,),
        scope=protocol.Scope.ROOMS_READ,
    ),
    Route(
        method="PATCH", path="/v1/rooms/{room}", handler=rooms.patch_room, tag="rooms", access=Access.OPERATOR,
        summary="Change a room", body=protocol.RoomPatch, answer=protocol.Room, statuses=(404, 422, 503),
        scope=protocol.Scope.ROOMS_WRITE,
    ),
    Route(
        method="DELETE", path="/v1/rooms/{room}", handler=rooms.delete_room, tag="rooms", access=Access.OPERATOR,
        summary="Close a room and end its sessions", status=204, statuses=(404, 503),
        scope=protocol.Scope.ROOMS_WRITE,
    ),
    Route(
        method="GET", path="/v1/templates", handler=template_routes.list_templates, tag="templates",
        access=Access.OPERATOR, summary="List templates of rooms", answer=protocol.TemplateList,
        query=protocol.PageQuery, scope=protocol.Scope.ROOMS_READ,
    ),
    Route(
        method="GET", path="/v1/templates/{template}", handler=template_routes.get_template, tag="templates",
        access=Access.OPERATOR, summary="One template", answer=protocol.Template, statuses=(404,),
        scope=protocol.Scope.ROOMS_READ,
    ),
    Route(
        method="PUT", path="/v1/templates/{template}", handler=template_routes.put_template, tag="templates",
        access=Access.OPERATOR, summary="Make or replace a template", body=protocol.RoomSettings,
        answer=protocol.Template, statuses=(409, 422, 503), scope=protocol.Scope.ROOMS_WRITE,
    ),
    Route(
        method="DELETE", path="/v1/templates/{template}", handler=template_routes.delete_template, tag="templates",
        access=Access.OPERATOR, summary="Forget a template; rooms made from it stay", status=204,
        statuses=(404, 503), scope=protocol.Scope.ROOMS_WRITE,
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/tokens", handler=rooms.create_token, tag="rooms",
        access=Access.OPERATOR, summary="Mint a single-use join token and its link, or a publish token",
        body=protocol.TokenRequest, answer=protocol.TokenGrant, status=201, statuses=(404, 409),
        scope=protocol.Scope.TOKENS_WRITE,
    ),
    Route(
        method="DELETE", path="/v1/rooms/{room}/tokens/{token}", handler=revocation.revoke_token, tag="rooms",
        access=Access.OPERATOR, summary="Withdraw a join or publish token, and end the session it was used for",
        status=204, statuses=(404, 503), scope=protocol.Scope.TOKENS_WRITE,
    ),
    Route(
        method="GET", path="/v1/rooms/{room}/participants", handler=lists.list_participants, tag="participants",
        access=Access.MODERATOR, summary="List participants", answer=protocol.ParticipantList,
        query=protocol.ParticipantQuery, statuses=(404,), scope=protocol.Scope.PARTICIPANTS_READ,
    ),
    Route(
        method="PATCH", path="/v1/rooms/{room}/participants/{participant}", handler=rooms.patch_participant,
        tag="participants", access=Access.MODERATOR, summary="Change a participant's role, or mute them",
        body=protocol.ParticipantPatch, answer=protocol.Participant, statuses=(404, 409),
        scope=protocol.Scope.PARTICIPANTS_WRITE,
    ),
    Route(
        method="DELETE", path="/v1/rooms/{room}/participants/{participant}", handler=revocation.remove_participant,
        tag="participants", access=Access.MODERATOR, summary="Remove a participant and revoke their tokens",
        status=204, statuses=(404, 503),
        scope=protocol.Scope.PARTICIPANTS_WRITE,
    ),
    Route(
        method="GET", path="/v1/probe-targets", handler=sessions.list_probe_targets, tag="sessions",
        access=Access.PUBLIC, summary="The edges to measure before joining", answer=protocol.ProbeTargetList,
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/join", handler=sessions.join, tag="sessions", access=Access.JOIN_TOKEN,
        summary="Join a room: place a session", body=protocol.JoinRequest, answer=protocol.JoinGrant, status=201,
        statuses=(404, 409, 423, 429, 503), accepted=protocol.WaitingTicket,
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/participants/{participant}/move", handler=moderation.move_participant,
        tag="participants", access=Access.OPERATOR, summary="Send a participant to another room",
        body=protocol.MoveRequest, answer=protocol.MoveStarted, status=202, statuses=(404, 409, 423, 503),
        scope=protocol.Scope.PARTICIPANTS_WRITE,
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/mute", handler=moderation.mute_all, tag="participants",
        access=Access.MODERATOR, summary="Mute everybody, or some roles", body=protocol.MuteAll,
        answer=protocol.MutedParticipants, statuses=(404,), scope=protocol.Scope.PARTICIPANTS_WRITE,
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/data", handler=moderation.send_data, tag="participants",
        access=Access.MODERATOR, summary="Hand data to the clients of a room, or to some", body=protocol.DataMessage,
        answer=protocol.DataSent, statuses=(404, 429), scope=protocol.Scope.PARTICIPANTS_WRITE,
    ),
    Route(
        method="PUT", path="/v1/rooms/{room}/lock", handler=waiting.lock_room, tag="waiting", access=Access.MODERATOR,
        summary="Let nobody new in but hosts", answer=protocol.Room, statuses=(404, 503),
        scope=protocol.Scope.ROOMS_WRITE,
    ),
    Route(
        method="DELETE", path="/v1/rooms/{room}/lock", handler=waiting.unlock_room, tag="waiting",
        access=Access.MODERATOR, summary="Let people in again", answer=protocol.Room, statuses=(404, 503),
        scope=protocol.Scope.ROOMS_WRITE,
    ),
    Route(
        method="GET", path="/v1/rooms/{room}/waiting", handler=waiting.list_waiting, tag="waiting",
        access=Access.MODERATOR, summary="Who waits to be let in", answer=protocol.WaitingList,
        query=protocol.WaitingQuery, statuses=(404,),
        scope=protocol.Scope.PARTICIPANTS_READ,
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/waiting/admit", handler=waiting.admit, tag="waiting",
        access=Access.MODERATOR, summary="Let some in, or everybody who waits", body=protocol.WaitingDecision,
        answer=protocol.WaitingDecided, statuses=(404, 410, 503),
        scope=protocol.Scope.PARTICIPANTS_WRITE,
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/waiting/refuse", handler=waiting.refuse_entry, tag="waiting",
        access=Access.MODERATOR, summary="Send some away, or everybody who waits", body=protocol.WaitingDecision,
        answer=protocol.WaitingDecided, statuses=(404, 410, 503),
        scope=protocol.Scope.PARTICIPANTS_WRITE,
    ),
    Route(
        method="GET", path="/v1/rooms/{room}/waiting/{ticket}", handler=waiting.poll, tag="waiting",
        access=Access.TICKET, summary="Where a ticket stands", answer=protocol.WaitingTicket,
        query=protocol.TicketQuery, statuses=(404, 429),
    ),
    Route(
        method="DELETE", path="/v1/rooms/{room}/waiting/{ticket}", handler=waiting.leave_queue, tag="waiting",
        access=Access.TICKET, summary="Wait no longer", status=204, statuses=(404, 410),
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/waiting/{ticket}/join", handler=waiting.redeem, tag="waiting",
        access=Access.TICKET, summary="Come in with an admitted ticket", body=protocol.JoinRequest,
        answer=protocol.JoinGrant, status=201, statuses=(404, 409, 410, 429, 503), accepted=protocol.WaitingTicket,
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/whip", handler=offers.publish, tag="sessions", access=Access.PUBLISHER,
        summary="Publish a conference's stage (WHIP, RFC 9725): an SDP offer in, the answer out", status=201,
        statuses=(404, 409, 415, 429, 502, 503), media_type="application/sdp",
    ),
    Route(
        method="POST", path="/v1/rooms/{room}/whep", handler=offers.watch, tag="sessions", access=Access.JOIN_TOKEN,
        summary="Watch a room with any player (WHEP): an SDP offer in, the answer out", status=201,
        statuses=(404, 409, 415, 423, 429, 502, 503), media_type="application/sdp",
    ),
    Route(
        method="GET", path="/v1/sessions", handler=lists.list_sessions, tag="sessions", access=Access.OPERATOR,
        summary="List the sessions of all rooms", answer=protocol.SessionList, query=protocol.SessionQuery,
        scope=protocol.Scope.PARTICIPANTS_READ,
    ),
    Route(
        method="POST", path="/v1/sessions/{session}/resume", handler=sessions.resume, tag="sessions",
        access=Access.SESSION, summary="Connect again after a lost connection", body=protocol.JoinRequest,
        answer=protocol.JoinGrant, statuses=(404, 410, 503),
    ),
    Route(
        method="PATCH", path="/v1/sessions/{session}", handler=sessions.reshape, tag="sessions",
        access=Access.SESSION, summary="The picture area has another shape", body=protocol.SessionPatch,
        status=204, statuses=(404, 410, 429),
    ),
    Route(
        method="DELETE", path="/v1/sessions/{session}", handler=sessions.leave, tag="sessions",
        access=Access.SESSION, summary="Leave", status=204, statuses=(404, 410),
        scope=protocol.Scope.PARTICIPANTS_WRITE,
    ),
    Route(
        method="GET", path="/v1/nodes", handler=fleet.list_nodes, tag="fleet", access=Access.OPERATOR,
        summary="List render nodes", answer=protocol.NodeList,
        scope=protocol.Scope.FLEET_READ,
    ),
    Route(
        method="POST", path="/v1/nodes/{node}/drain", handler=fleet.drain, tag="fleet", access=Access.OPERATOR,
        summary="Drain a node", body=protocol.DrainRequest, answer=protocol.Node, statuses=(404,),
        scope=protocol.Scope.FLEET_WRITE,
    ),
    Route(
        method="DELETE", path="/v1/nodes/{node}/drain", handler=fleet.cancel_drain, tag="fleet",
        access=Access.OPERATOR, summary="Call a node's drain off", answer=protocol.Node, statuses=(404,),
        scope=protocol.Scope.FLEET_WRITE,
    ),
    Route(
        method="GET", path="/v1/edges", handler=fleet.list_edges, tag="fleet", access=Access.OPERATOR,
        summary="List edges", answer=protocol.EdgeList,
        scope=protocol.Scope.FLEET_READ,
    ),
    Route(
        method="POST", path="/v1/edges/{edge}/drain", handler=fleet.drain, tag="fleet", access=Access.OPERATOR,
        summary="Drain an edge", body=protocol.DrainRequest, answer=protocol.Edge, statuses=(404,),
        scope=protocol.Scope.FLEET_WRITE,
    ),
    Route(
        method="DELETE", path="/v1/edges/{edge}/drain", handler=fleet.cancel_drain, tag="fleet",
        access=Access.OPERATOR, summary="Call an edge's drain off", answer=protocol.Edge, statuses=(404,),
        scope=protocol.Scope.FLEET_WRITE,
    ),
    Route(
        method="GET", path="/v1/regions", handler=regions.list_regions, tag="fleet", access=Access.OPERATOR,
        summary="Regions: what is in use, what their viewers have of it, what it costs", answer=protocol.RegionList,
        scope=protocol.Scope.FLEET_READ,
    ),
    Route(
        method="POST", path="/v1/regions/{region}/drain", handler=regions.drain_region, tag="fleet",
        access=Access.OPERATOR, summary="Drain all nodes and edges of a region", body=protocol.DrainRequest,
        answer=protocol.Region, statuses=(404,), scope=protocol.Scope.FLEET_WRITE,
    ),
    Route(
        method="DELETE", path="/v1/regions/{region}/drain", handler=regions.cancel_region_drain, tag="fleet",
        access=Access.OPERATOR, summary="Call a region's drain off", answer=protocol.Region, statuses=(404,),
        scope=protocol.Scope.FLEET_WRITE,
    ),
    Route(
        method="GET", path="/v1/moves", handler=regions.list_moves, tag="fleet", access=Access.OPERATOR,
        summary="The last moves of views between nodes", answer=protocol.MoveList, scope=protocol.Scope.FLEET_READ,
    ),
    Route(
        method="GET", path="/v1/networks", handler=regions.list_networks, tag="fleet", access=Access.OPERATOR,
        summary="What lines from networks to regions have shown", answer=protocol.NetworkList,
        scope=protocol.Scope.FLEET_READ,
    ),
    Route(
        method="POST", path="/v1/api-keys", handler=api_key_routes.create_key, tag="api keys", access=Access.OPERATOR,
        summary="Make an API key; its secret is shown this once", body=protocol.ApiKeyCreate,
        answer=protocol.ApiKeyGrant, status=201, statuses=(409, 429, 503), scope=protocol.Scope.KEYS_WRITE,
    ),
    Route(
        method="GET", path="/v1/api-keys", handler=api_key_routes.list_keys, tag="api keys", access=Access.OPERATOR,
        summary="List API keys", answer=protocol.ApiKeyList, scope=protocol.Scope.KEYS_READ,
    ),
    Route(
        method="GET", path="/v1/api-keys/{key}", handler=api_key_routes.get_key, tag="api keys",
        access=Access.OPERATOR, summary="One API key", answer=protocol.ApiKey, statuses=(404,),
        scope=protocol.Scope.KEYS_READ,
    ),
    Route(
        method="DELETE", path="/v1/api-keys/{key}", handler=api_key_routes.delete_key, tag="api keys",
        access=Access.OPERATOR, summary="Withdraw an API key", status=204, statuses=(404, 503),
        scope=protocol.Scope.KEYS_WRITE,
    ),
    Route(
        method="POST", path="/v1/api-keys/{key}/rotate", handler=api_key_routes.rotate_key, tag="api keys",
        access=Access.OPERATOR, summary="Give an API key a new secret; the former stays good for a while",
        body=protocol.RotateRequest, answer=protocol.ApiKeyGrant, statuses=(404, 503),
        scope=protocol.Scope.KEYS_WRITE,
    ),
    Route(
        method="GET", path="/v1/usage", handler=usage.get_usage, tag="usage", access=Access.OPERATOR,
        summary="What rooms used: time, drawing, bytes, energy, carbon, cost", answer=protocol.UsageReport,
        scope=protocol.Scope.USAGE_READ,
    ),
    Route(
        method="GET", path="/v1/scaling", handler=fleet.get_scaling, tag="fleet", access=Access.OPERATOR,
        summary="How many nodes and edges will be wanted shortly", answer=protocol.Scaling,
        scope=protocol.Scope.FLEET_READ,
    ),
    Route(
        method="POST", path="/v1/webhooks", handler=webhook_routes.create_webhook, tag="webhooks",
        access=Access.OPERATOR, summary="Make a webhook; its secret is shown this once", body=protocol.WebhookCreate,
        answer=protocol.WebhookGrant, status=201, statuses=(409, 422, 503), scope=protocol.Scope.WEBHOOKS_WRITE,
    ),
    Route(
        method="GET", path="/v1/webhooks", handler=webhook_routes.list_webhooks, tag="webhooks", access=Access.OPERATOR,
        summary="List webhooks", answer=protocol.WebhookList, scope=protocol.Scope.WEBHOOKS_READ,
    ),
    Route(
        method="GET", path="/v1/webhooks/{webhook}", handler=webhook_routes.get_webhook, tag="webhooks",
        access=Access.OPERATOR, summary="One webhook", answer=protocol.Webhook, statuses=(404,),
        scope=protocol.Scope.WEBHOOKS_READ,
    ),
    Route(
        method="PATCH", path="/v1/webhooks/{webhook}", handler=webhook_routes.patch_webhook, tag="webhooks",
        access=Access.OPERATOR, summary="Change a webhook, or switch it on or off", body=protocol.WebhookPatch,
        answer=protocol.Webhook, statuses=(404, 422, 503), scope=protocol.Scope.WEBHOOKS_WRITE,
    ),
    Route(
        method="DELETE", path="/v1/webhooks/{webhook}", handler=webhook_routes.delete_webhook, tag="webhooks",
        access=Access.OPERATOR, summary="Delete a webhook and what it was still to be told", status=204,
        statuses=(404, 503), scope=protocol.Scope.WEBHOOKS_WRITE,
    ),
    Route(
        method="POST", path="/v1/webhooks/{webhook}/rotate", handler=webhook_routes.rotate_webhook, tag="webhooks",
        access=Access.OPERATOR, summary="Give a webhook a new secret; both sign for a while",
        body=protocol.WebhookRotate, answer=protocol.WebhookGrant, statuses=(404, 503),
        scope=protocol.Scope.WEBHOOKS_WRITE,
    ),
    Route(
        method="POST", path="/v1/webhooks/{webhook}/test", handler=webhook_routes.send_test, tag="webhooks",
        access=Access.OPERATOR, summary="Send a test event now", answer=protocol.WebhookTestResult, statuses=(404,),
        scope=protocol.Scope.WEBHOOKS_WRITE,
    ),
    Route(
        method="GET", path="/v1/webhooks/{webhook}/deliveries", handler=webhook_routes.list_deliveries,
        tag="webhooks", access=Access.OPERATOR, summary="Events that wait, and dead letters",
        answer=protocol.DeliveryList, query=protocol.DeliveryQuery, statuses=(404,),
        scope=protocol.Scope.WEBHOOKS_READ,
    ),
    Route(
        method="POST", path="/v1/webhooks/{webhook}/redeliver", handler=webhook_routes.redeliver,
        tag="webhooks", access=Access.OPERATOR, summary="Send dead letters again", body=protocol.RedeliverRequest,
        answer=protocol.RedeliverResult, statuses=(404, 503), scope=protocol.Scope.WEBHOOKS_WRITE,
    ),
    Route(
        method="GET", path="/v1/audit", handler=audit_routes.list_entries, tag="audit", access=Access.OPERATOR,
        summary="Who changed what, or tried to; newest first", answer=protocol.AuditList, query=protocol.AuditQuery,
        statuses=(503,), scope=protocol.Scope.AUDIT_READ,
    ),
    Route(
        method="GET", path="/v1/control", handler=control.control, tag="fleet", access=Access.AGENT,
        summary="WebSocket of nodes and edges: AgentMessage in, BrokerMessage out", status=101,
    ),
)  # fmt: skip

_GUARDS = {Access.OPERATOR: auth.require_operator, Access.MODERATOR: auth.require_moderator}


def guarded(route: Route) -> Handler:
    """The route's handler behind its access check; handlers check join, session and agent tokens themselves."""
    guard = _GUARDS.get(route.access)
    is_repeatable = route.takes_idempotency_key

    async def handle(request: web.Request) -> web.StreamResponse:
        if not await request.app[CONTROLLER].confirm_lead():
            raise standing_by()
        if route.scope is not None:
            request[SCOPE] = route.scope
        if guard is not None:
            await guard(request)
        return await (once(request, route.handler) if is_repeatable else route.handler(request))

    return handle


def register(app: web.Application) -> None:
    """Add every route to the application."""
    for route in ROUTES:
        app.router.add_route(route.method, route.path, guarded(route))
