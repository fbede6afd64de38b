"""The broker's HTTP API as a client uses it: join, resume, leave, and what an operator needs to prepare a room."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from msgspec import UNSET, UnsetType, structs

from broker.protocol import (
    DEFAULT_OVERLAP_S,
    MAX_PAGE,
    ApiKey,
    ApiKeyCreate,
    ApiKeyGrant,
    ApiKeyList,
    AuditEntry,
    AuditList,
    AuditQuery,
    DataMessage,
    DataSent,
    Delivery,
    DeliveryList,
    DeliveryQuery,
    DeliveryState,
    DrainRequest,
    Edge,
    EdgeList,
    JoinGrant,
    JoinRequest,
    Move,
    MoveList,
    MoveRequest,
    MoveStarted,
    MuteAll,
    MutedParticipants,
    NetworkList,
    Node,
    NodeList,
    PageQuery,
    Participant,
    ParticipantList,
    ParticipantPatch,
    ParticipantQuery,
    ProbeTargetList,
    Problem,
    RedeliverRequest,
    RedeliverResult,
    Region,
    RegionList,
    Room,
    RoomCreate,
    RoomList,
    RoomPatch,
    RoomQuery,
    RoomSettings,
    RotateRequest,
    Scaling,
    SessionEntry,
    SessionList,
    SessionQuery,
    Template,
    TemplateList,
    TicketState,
    TokenGrant,
    TokenRequest,
    UsageReport,
    WaitingDecided,
    WaitingDecision,
    WaitingEntry,
    WaitingList,
    WaitingQuery,
    WaitingTicket,
    Webhook,
    WebhookCreate,
    WebhookGrant,
    WebhookList,
    WebhookPatch,
    WebhookRotate,
    WebhookTestResult,
)

REQUEST_TIMEOUT_S = 10.0
ALL_ROOMS = RoomQuery(limit=MAX_PAGE)
ALL_TEMPLATES = PageQuery(limit=MAX_PAGE)
ALL_PARTICIPANTS = ParticipantQuery(limit=MAX_PAGE)
ALL_SESSIONS = SessionQuery(limit=MAX_PAGE)
ALL_WAITING = WaitingQuery(limit=MAX_PAGE)
MUTE_ALL_BUT_HOSTS = MuteAll()
ALL_AUDIT = AuditQuery(limit=MAX_PAGE)
MAX_HELD_POLL_S = REQUEST_TIMEOUT_S / 2
_T = TypeVar("_T")
_Asked = TypeVar("_Asked", bound=PageQuery)
_Page = TypeVar("_Page", RoomList, TemplateList, ParticipantList, SessionList, WaitingList, DeliveryList, AuditList)


class Refused(Exception):
    """The broker or an edge answered with a problem document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.title}{': ' + problem.detail if problem.detail else ''}")
        self.problem = problem


class MustWait(Exception):
    """The room has a waiting room, or there is no place yet: `wait_for_entry` goes on with `ticket`."""

    def __init__(self, ticket: WaitingTicket) -> None:
        super().__init__(f"waiting before room {ticket.room}, at place {ticket.position}")
        self.ticket = ticket


class NotAdmitted(Exception):
    """The wait for a room ended without entry; `state` says how, `waiting` if the caller's patience did."""

    def __init__(self, state: TicketState) -> None:
        super().__init__(f"not admitted: {state.value}")
        self.state = state


class BrokerClient:
    """Calls one broker; an async context manager. `api_key` is needed for the operator's calls only."""

    def __init__(self, url: str, api_key: str = "") -> None:
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S))

    async def __aenter__(self) -> "BrokerClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def create_room(self, room: RoomCreate) -> Room:
        """Create a room. Raises `Refused`."""
        return await self._call("POST", "/v1/rooms", Room, body=room, token=self._api_key)

    async def put_template(self, template: str, settings: RoomSettings) -> Template:
        """Make a template of rooms, or replace it. Raises `Refused`."""
        return await self._call("PUT", f"/v1/templates/{template}", Template, body=settings, token=self._api_key)

    async def template(self, template: str) -> Template:
        """One template. Raises `Refused`."""
        return await self._call("GET", f"/v1/templates/{template}", Template, token=self._api_key)

    async def templates(self, query: PageQuery = ALL_TEMPLATES) -> list[Template]:
        """All templates, page by page. Raises `Refused`."""
        return [entry async for page in _pages(self.templates_page, query) for entry in page.templates]

    async def templates_page(self, query: PageQuery) -> TemplateList:
        """One page of templates. Raises `Refused`."""
        return await self._call("GET", "/v1/templates" + _query(query), TemplateList, token=self._api_key)

    async def delete_template(self, template: str) -> None:
        """Forget a template; rooms made from it stay. Raises `Refused`."""
        await self._request("DELETE", f"/v1/templates/{template}", None, self._api_key)

    async def rooms(self, query: RoomQuery = ALL_ROOMS) -> list[Room]:
        """All rooms that match, page by page. Raises `Refused`."""
        return [entry async for page in _pages(self.rooms_page, query) for entry in page.rooms]

    async def rooms_page(self, query: RoomQuery) -> RoomList:
        """One page of rooms. Raises `Refused`."""
        return await self._call("GET", "/v1/rooms" + _query(query), RoomList, token=self._api_key)

    async def open_room(self, room: str) -> Room:
        """Let guests in without a token. Raises `Refused`."""
        return await self._call("PATCH", f"/v1/rooms/{room}", Room, body=RoomPatch(open=True), token=self._api_key)

    async def ensure_room(self, room: RoomCreate) -> None:
        """Create a room unless there is one of its name. Raises `Refused` for any other reason."""
        try:
            await self.create_room(room)
        except Refused as error:
            if error.problem.status != 409:
                raise

    async def participants(self, room: str, query: ParticipantQuery = ALL_PARTICIPANTS) -> list[Participant]:
        """Who is in the room and matches, page by page. Raises `Refused`."""
        pages = _pages(lambda asked: self.participants_page(room, asked), query)
        return [entry async for page in pages for entry in page.participants]

    async def participants_page(self, room: str, query: ParticipantQuery) -> ParticipantList:
        """One page of a room's participants. Raises `Refused`."""
        path = f"/v1/rooms/{room}/participants" + _query(query)
        return await self._call("GET", path, ParticipantList, token=self._api_key)

    async def sessions(self, query: SessionQuery = ALL_SESSIONS) -> list[SessionEntry]:
        """The sessions of all rooms that match, page by page. Raises `Refused`."""
        return [entry async for page in _pages(self.sessions_page, query) for entry in page.sessions]

    async def sessions_page(self, query: SessionQuery) -> SessionList:
        """One page of the sessions of all rooms. Raises `Refused`."""
        return await self._call("GET", "/v1/sessions" + _query(query), SessionList, token=self._api_key)

    async def patch_participant(self, room: str, participant: str, change: ParticipantPatch) -> None:
        """Change somebody's role, or mute them. Raises `Refused`."""
        await self._request("PATCH", f"/v1/rooms/{room}/participants/{participant}", change, self._api_key)

    async def remove_participant(self, room: str, participant: str) -> None:
        """End somebody's session and revoke their tokens. Raises `Refused`."""
        await self._request("DELETE", f"/v1/rooms/{room}/participants/{participant}", None, self._api_key)

    async def nodes(self) -> list[Node]:
        """The render nodes. Raises `Refused`."""
        return (await self._call("GET", "/v1/nodes", NodeList, token=self._api_key)).nodes

    async def edges(self) -> list[Edge]:
        """The edges. Raises `Refused`."""
        return (await self._call("GET", "/v1/edges", EdgeList, token=self._api_key)).edges

    async def drain_node(self, node: str, deadline_s: float) -> None:
        """Move a node's sessions away. Raises `Refused`."""
        await self._request("POST", f"/v1/nodes/{node}/drain", DrainRequest(deadline_s=deadline_s), self._api_key)

    async def cancel_drain_node(self, node: str) -> None:
        """Let a node take work again. Raises `Refused`."""
        await self._request("DELETE", f"/v1/nodes/{node}/drain", None, self._api_key)

    async def drain_edge(self, edge: str, deadline_s: float) -> None:
        """Give an edge no new viewers, and no others to feed. Raises `Refused`."""
        await self._request("POST", f"/v1/edges/{edge}/drain", DrainRequest(deadline_s=deadline_s), self._api_key)

    async def mint_token(self, room: str, request: TokenRequest) -> TokenGrant:
        """A join token for somebody. Raises `Refused`."""
        return await self._call("POST", f"/v1/rooms/{room}/tokens", TokenGrant, body=request, token=self._api_key)

    async def revoke_token(self, room: str, token_id: str) -> None:
        """Withdraw a join or publish token and end the session it was used for. Raises `Refused`."""
        await self._request("DELETE", f"/v1/rooms/{room}/tokens/{token_id}", None, self._api_key)

    async def create_api_key(self, wish: ApiKeyCreate) -> ApiKeyGrant:
        """Make an API key; the grant holds its secret, this once. Raises `Refused`."""
        return await self._call("POST", "/v1/api-keys", ApiKeyGrant, body=wish, token=self._api_key)

    async def api_keys(self) -> list[ApiKey]:
        """The API keys this one may see. Raises `Refused`."""
        return (await self._call("GET", "/v1/api-keys", ApiKeyList, token=self._api_key)).api_keys

    async def rotate_api_key(self, key: str, overlap_s: float = DEFAULT_OVERLAP_S) -> ApiKeyGrant:
        """Give a key a new secret; the former stays good for `overlap_s` seconds. Raises `Refused`."""
        body = RotateRequest(overlap_s=overlap_s)
        return await self._call("POST", f"/v1/api-keys/{key}/rotate", ApiKeyGrant, body=body, token=self._api_key)

    async def delete_api_key(self, key: str) -> None:
        """Withdraw a key. Raises `Refused`."""
        await self._request("DELETE", f"/v1/api-keys/{key}", None, self._api_key)

    async def create_webhook(self, wish: WebhookCreate) -> WebhookGrant:
        """Make a webhook; the grant holds its secret, this once. Raises `Refused`."""
        return await self._call("POST", "/v1/webhooks", WebhookGrant, body=wish, token=self._api_key)

    async def webhooks(self) -> list[Webhook]:
        """The webhooks this key may see. Raises `Refused`."""
        return (await self._call("GET", "/v1/webhooks", WebhookList, token=self._api_key)).webhooks

    async def webhook(self, webhook: str) -> Webhook:
        """One webhook. Raises `Refused`."""
        return await self._call("GET", f"/v1/webhooks/{webhook}", Webhook, token=self._api_key)

    async def patch_webhook(self, webhook: str, change: WebhookPatch) -> Webhook:
        """Change a webhook, or switch it on or off. Raises `Refused`."""
        return await self._call("PATCH", f"/v1/webhooks/{webhook}", Webhook, body=change, token=self._api_key)

    async def delete_webhook(self, webhook: str) -> None:
        """Delete a webhook, and what it was still to be told. Raises `Refused`."""
        await self._request("DELETE", f"/v1/webhooks/{webhook}", None, self._api_key)

    async def rotate_webhook(self, webhook: str, overlap_s: float = DEFAULT_OVERLAP_S) -> WebhookGrant:
        """Give a webhook a new secret; both sign for `overlap_s` seconds. Raises `Refused`."""
        path, body = f"/v1/webhooks/{webhook}/rotate", WebhookRotate(overlap_s=overlap_s)
        return await self._call("POST", path, WebhookGrant, body=body, token=self._api_key)

    async def test_webhook(self, webhook: str) -> WebhookTestResult:
        """Have a test event sent, and learn how it went. Raises `Refused`."""
        return await self._call("POST", f"/v1/webhooks/{webhook}/test", WebhookTestResult, token=self._api_key)

    async def deliveries(self, webhook: str, state: DeliveryState | UnsetType = UNSET) -> list[Delivery]:
        """What a webhook is still to be told, and its dead letters, page by page. Raises `Refused`."""
        query = DeliveryQuery(state=state, limit=MAX_PAGE)
        pages = _pages(lambda asked: self.deliveries_page(webhook, asked), query)
        return [entry async for page in pages for entry in page.deliveries]

    async def deliveries_page(self, webhook: str, query: DeliveryQuery) -> DeliveryList:
        """One page of a webhook's deliveries. Raises `Refused`."""
        path = f"/v1/webhooks/{webhook}/deliveries" + _query(query)
        return await self._call("GET", path, DeliveryList, token=self._api_key)

    async def redeliver(self, webhook: str, deliveries: Sequence[str] = ()) -> int:
        """Send dead letters again, all if none is named; how many they are. Raises `Refused`."""
        path, body = f"/v1/webhooks/{webhook}/redeliver", RedeliverRequest(deliveries=list(deliveries))
        return (await self._call("POST", path, RedeliverResult, body=body, token=self._api_key)).redelivered

    async def audit(self, query: AuditQuery = ALL_AUDIT) -> AsyncIterator[AuditEntry]:
        """Who changed what, newest first; pages are asked for as they are needed. Raises `Refused`."""
        async for page in _pages(self.audit_page, query):
            for entry in page.entries:
                yield entry

    async def audit_page(self, query: AuditQuery) -> AuditList:
        """One page of the audit log. Raises `Refused`."""
        return await self._call("GET", "/v1/audit" + _query(query), AuditList, token=self._api_key)

    async def probe_targets(self) -> ProbeTargetList:
        """The edges to measure."""
        return await self._call("GET", "/v1/probe-targets", ProbeTargetList)

    async def join(self, room: str, request: JoinRequest, token: str = "") -> JoinGrant:
        """Join a room, with a token or as a guest. Raises `Refused`, and `MustWait` where one has to."""
        return await self._come_in(f"/v1/rooms/{room}/join", request, token)

    async def _come_in(self, path: str, request: JoinRequest, token: str) -> JoinGrant:
        status, answer = await self._send("POST", path, request, token)
        if status == HTTPStatus.ACCEPTED:
            raise MustWait(msgspec.json.decode(answer, type=WaitingTicket))
        return msgspec.json.decode(answer, type=JoinGrant)

    async def poll(self, ticket: WaitingTicket, wait_s: float = 0.0) -> WaitingTicket:
        """Where a ticket stands; the answer is held until that changes, at most `wait_s`. Raises `Refused`."""
        path = f"{ticket.poll_url}?wait_s={min(wait_s, MAX_HELD_POLL_S)}"
        answer = await self._call("GET", path, WaitingTicket, token=ticket.token or "")
        return structs.replace(answer, token=ticket.token)

    async def wait_for_entry(self, ticket: WaitingTicket, request: JoinRequest, limit_s: float) -> JoinGrant:
        """Wait until let in, then come in. Raises `Refused`, and `NotAdmitted` after `limit_s` at the latest.

        Whoever gives up leaves the queue.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + limit_s
        while True:
            while ticket.state is TicketState.WAITING and (left_s := ends - loop.time()) > 0:
                ticket = await self.poll(ticket, left_s)
            if ticket.state is TicketState.WAITING:
                await self.leave_queue(ticket)
            if ticket.state is not TicketState.ADMITTED:
                raise NotAdmitted(ticket.state)
            try:
                return await self._come_in(f"{ticket.poll_url}/join", request, ticket.token or "")
            except MustWait as again:
                ticket = structs.replace(again.ticket, token=ticket.token)

    async def leave_queue(self, ticket: WaitingTicket) -> None:
        """Wait no longer. Raises `Refused`."""
        await self._request("DELETE", ticket.poll_url, None, ticket.token or "")

    async def usage(
        self, first_day: str = "", last_day: str = "", room: str = "", group_by: str = "day,room", key: str = ""
    ) -> UsageReport:
        """What rooms used between two days (UTC, `2026-11-29`), both included. Raises `Refused`."""
        wanted = {"from": first_day, "to": last_day, "room": room, "key": key, "group_by": group_by}
        query = urlencode({name: value for name, value in wanted.items() if value})
        return await self._call("GET", f"/v1/usage?{query}", UsageReport, token=self._api_key)

    async def regions(self) -> list[Region]:
        """Regions: what is in use, what their viewers have of it, what it costs. Raises `Refused`."""
        return (await self._call("GET", "/v1/regions", RegionList, token=self._api_key)).regions

    async def drain_region(self, region: str, deadline_s: float) -> Region:
        """Empty all nodes and edges of a region. Raises `Refused`."""
        body = DrainRequest(deadline_s=deadline_s)
        return await self._call("POST", f"/v1/regions/{region}/drain", Region, body=body, token=self._api_key)

    async def cancel_region_drain(self, region: str) -> Region:
        """Let a region take work again. Raises `Refused`."""
        return await self._call("DELETE", f"/v1/regions/{region}/drain", Region, token=self._api_key)

    async def moves(self) -> list[Move]:
        """The last moves of views between nodes, the latest first. Raises `Refused`."""
        return (await self._call("GET", "/v1/moves", MoveList, token=self._api_key)).moves

    async def networks(self) -> NetworkList:
        """What lines from networks to regions have shown, and reports that were refused. Raises `Refused`."""
        return await self._call("GET", "/v1/networks", NetworkList, token=self._api_key)

    async def scaling(self) -> Scaling:
        """How many nodes and edges will be wanted shortly. Raises `Refused`."""
        return await self._call("GET", "/v1/scaling", Scaling, token=self._api_key)

    async def waiting(self, room: str, query: WaitingQuery = ALL_WAITING) -> list[WaitingEntry]:
        """Who waits to be let in, page by page. Raises `Refused`."""
        pages = _pages(lambda asked: self.waiting_page(room, asked), query)
        return [entry async for page in pages for entry in page.waiting]

    async def waiting_page(self, room: str, query: WaitingQuery) -> WaitingList:
        """One page of those who wait. Raises `Refused`."""
        return await self._call("GET", f"/v1/rooms/{room}/waiting" + _query(query), WaitingList, token=self._api_key)

    async def admit(self, room: str, tickets: Sequence[str] | None = None) -> list[str]:
        """Let these in, or everybody who waits; the tickets that changed. Raises `Refused`."""
        return await self._decide(room, "admit", tickets)

    async def refuse(self, room: str, tickets: Sequence[str] | None = None) -> list[str]:
        """Send these away, or everybody who waits; the tickets that changed. Raises `Refused`."""
        return await self._decide(room, "refuse", tickets)

    async def _decide(self, room: str, how: str, tickets: Sequence[str] | None) -> list[str]:
        body = WaitingDecision(tickets=UNSET if tickets is None else list(tickets))
        path = f"/v1/rooms/{room}/waiting/{how}"
        return (await self._call("POST", path, WaitingDecided, body=body, token=self._api_key)).tickets

    async def mute_all(self, room: str, request: MuteAll = MUTE_ALL_BUT_HOSTS) -> int:
        """Mute (or unmute) everybody, or some roles; how many it changed. Raises `Refused`."""
        path = f"/v1/rooms/{room}/mute"
        return (await self._call("POST", path, MutedParticipants, body=request, token=self._api_key)).changed

    async def send_data(self, room: str, message: DataMessage) -> int:
        """Hand data to the clients of a room, or to some; to how many. Raises `Refused`."""
        path = f"/v1/rooms/{room}/data"
        return (await self._call("POST", path, DataSent, body=message, token=self._api_key)).participants

    async def move(self, room: str, participant: str, to: str) -> MoveStarted:
        """Send a participant to another room; undo it by moving them back. Raises `Refused`."""
        path = f"/v1/rooms/{room}/participants/{participant}/move"
        return await self._call("POST", path, MoveStarted, body=MoveRequest(to=to), token=self._api_key)

    async def patch_room(self, room: str, change: RoomPatch) -> Room:
        """Change a room. Raises `Refused`."""
        return await self._call("PATCH", f"/v1/rooms/{room}", Room, body=change, token=self._api_key)

    async def close_room(self, room: str) -> None:
        """Close a room and end its sessions. Raises `Refused`."""
        await self._request("DELETE", f"/v1/rooms/{room}", None, self._api_key)

    async def lock_room(self, room: str) -> Room:
        """Let nobody new in but hosts. Raises `Refused`."""
        return await self._call("PUT", f"/v1/rooms/{room}/lock", Room, token=self._api_key)

    async def unlock_room(self, room: str) -> Room:
        """Let people in again. Raises `Refused`."""
        return await self._call("DELETE", f"/v1/rooms/{room}/lock", Room, token=self._api_key)

    async def resume(self, grant: JoinGrant, request: JoinRequest) -> JoinGrant:
        """Get a new grant after the connection was lost. Raises `Refused`."""
        path = f"/v1/sessions/{grant.session}/resume"
        return await self._call("POST", path, JoinGrant, body=request, token=grant.session_token)

    async def leave(self, grant: JoinGrant) -> None:
        """End a session."""
        async with self._http.delete(
            f"{self._url}/v1/sessions/{grant.session}", headers=_bearer(grant.session_token)
        ) as response:
            await response.read()

    async def offer(self, grant: JoinGrant, offer_sdp: str) -> str:
        """POST an SDP offer to the session's edge; returns the answer. Raises `Refused`."""
        headers = {**_bearer(grant.session_token), "Content-Type": "application/sdp"}
        async with self._http.post(grant.whep_url, data=offer_sdp.encode(), headers=headers) as response:
            body = await response.read()
            if response.status != 201:
                raise Refused(_problem(response.status, body))
            return body.decode()

    async def _call(
        self, method: str, path: str, answer: type[_T], body: msgspec.Struct | None = None, token: str = ""
    ) -> _T:
        return msgspec.json.decode(await self._request(method, path, body, token), type=answer)

    async def _request(self, method: str, path: str, body: msgspec.Struct | None, token: str) -> bytes:
        return (await self._send(method, path, body, token))[1]

    async def _send(self, method: str, path: str, body: msgspec.Struct | None, token: str) -> tuple[int, bytes]:
        data = msgspec.json.encode(body) if body is not None else None
        headers = {**_bearer(token), "Content-Type": "application/json"}
        async with self._http.request(method, self._url + path, data=data, headers=headers) as response:
            received = await response.read()
            if response.status >= 400:
                raise Refused(_problem(response.status, received))
            return response.status, received


async def _pages(ask: Callable[[_Asked], Awaitable[_Page]], query: _Asked) -> AsyncIterator[_Page]:
    """Page after page of a list."""
    while True:
        page = await ask(query)
        yield page
        if page.next_cursor is UNSET:
            return
        query = structs.replace(query, cursor=page.next_cursor)


def _query(query: PageQuery) -> str:
    """The query string of a list."""
    fields = {name: value for name, value in msgspec.to_builtins(query).items() if value != []}
    return "?" + urlencode({k: str(v).lower() if isinstance(v, bool) else v for k, v in fields.items()}, doseq=True)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


def _problem(status: int, body: bytes) -> Problem:
    try:
        return msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:
        return Problem(type="about:blank", title=f"HTTP {status}", status=status, detail=body[:200].decode("latin-1"))
