"""The broker's HTTP API as a client uses it: join, resume, leave, and what an operator needs to prepare a room."""

from typing import TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from msgspec import UNSET, structs

from broker.protocol import (
    MAX_PAGE,
    DrainRequest,
    JoinGrant,
    JoinRequest,
    Node,
    NodeList,
    PageQuery,
    Participant,
    ParticipantList,
    ParticipantPatch,
    ParticipantQuery,
    ProbeTargetList,
    Problem,
    Room,
    RoomCreate,
    RoomList,
    RoomPatch,
    RoomQuery,
    SessionEntry,
    SessionList,
    SessionQuery,
    TokenGrant,
    TokenRequest,
)

REQUEST_TIMEOUT_S = 10.0
ALL_ROOMS = RoomQuery(limit=MAX_PAGE)
ALL_PARTICIPANTS = ParticipantQuery(limit=MAX_PAGE)
ALL_SESSIONS = SessionQuery(limit=MAX_PAGE)
_T = TypeVar("_T")


class Refused(Exception):
    """The broker or an edge answered with a problem document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(f"{problem.status} {problem.title}{': ' + problem.detail if problem.detail else ''}")
        self.problem = problem


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

    async def rooms(self, query: RoomQuery = ALL_ROOMS) -> list[Room]:
        """All rooms that match, page by page. Raises `Refused`."""
        rooms: list[Room] = []
        while True:
            page = await self.rooms_page(query)
            rooms += page.rooms
            if page.next_cursor is UNSET:
                return rooms
            query = structs.replace(query, cursor=page.next_cursor)

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
        people: list[Participant] = []
        while True:
            page = await self.participants_page(room, query)
            people += page.participants
            if page.next_cursor is UNSET:
                return people
            query = structs.replace(query, cursor=page.next_cursor)

    async def participants_page(self, room: str, query: ParticipantQuery) -> ParticipantList:
        """One page of a room's participants. Raises `Refused`."""
        path = f"/v1/rooms/{room}/participants" + _query(query)
        return await self._call("GET", path, ParticipantList, token=self._api_key)

    async def sessions(self, query: SessionQuery = ALL_SESSIONS) -> list[SessionEntry]:
        """The sessions of all rooms that match, page by page. Raises `Refused`."""
        sessions: list[SessionEntry] = []
        while True:
            page = await self.sessions_page(query)
            sessions += page.sessions
            if page.next_cursor is UNSET:
                return sessions
            query = structs.replace(query, cursor=page.next_cursor)

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

    async def drain_node(self, node: str, deadline_s: float) -> None:
        """Move a node's sessions away. Raises `Refused`."""
        await self._request("POST", f"/v1/nodes/{node}/drain", DrainRequest(deadline_s=deadline_s), self._api_key)

    async def drain_edge(self, edge: str, deadline_s: float) -> None:
        """Give an edge no new viewers, and no others to feed. Raises `Refused`."""
        await self._request("POST", f"/v1/edges/{edge}/drain", DrainRequest(deadline_s=deadline_s), self._api_key)

    async def mint_token(self, room: str, request: TokenRequest) -> TokenGrant:
        """A join token for somebody. Raises `Refused`."""
        return await self._call("POST", f"/v1/rooms/{room}/tokens", TokenGrant, body=request, token=self._api_key)

    async def probe_targets(self) -> ProbeTargetList:
        """The edges to measure."""
        return await self._call("GET", "/v1/probe-targets", ProbeTargetList)

    async def join(self, room: str, request: JoinRequest, token: str = "") -> JoinGrant:
        """Join a room, with a token or as a guest. Raises `Refused`."""
        return await self._call("POST", f"/v1/rooms/{room}/join", JoinGrant, body=request, token=token)

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
        data = msgspec.json.encode(body) if body is not None else None
        headers = {**_bearer(token), "Content-Type": "application/json"}
        async with self._http.request(method, self._url + path, data=data, headers=headers) as response:
            received = await response.read()
            if response.status >= 400:
                raise Refused(_problem(response.status, received))
            return received


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
