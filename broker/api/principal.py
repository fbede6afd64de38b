"""Who a request comes from, as the access check found out, and what they may reach."""

from dataclasses import dataclass

from aiohttp import web

from broker.api.problems import ApiError
from broker.protocol import Scope

ROOT = "root"
"""The id under which the key of the settings appears."""
SESSION_MARK = "session:"
"""Before a host's session, where it acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """One who operates: `key` is `root`, an API key's id, `operator:NAME` or `session:ID` (a host)."""

    key: str
    scopes: frozenset[Scope] = frozenset(Scope)
    room_prefix: str = ""
    requests_per_minute: float | None = None
    """`None`: not limited."""
    max_rooms: int | None = None
    """`None`: limited by the broker's own limit only."""
    expires_at: float | None = None
    """Unix seconds; keys it makes end no later."""

    def require(self, scope: Scope) -> None:
        """Raise 403 unless it has this scope."""
        if scope not in self.scopes:
            raise ApiError("scope-missing", 403, "The key lacks a scope", f"this needs the scope {scope.value}")

    def reaches(self, room: str) -> bool:
        """Whether a room of this name is among those it may touch."""
        return room.startswith(self.room_prefix)

    def require_room(self, room: str) -> None:
        """Raise 403 unless it may touch rooms of this name; whether there is one is not told."""
        if not self.reaches(room):
            detail = f"it reaches rooms whose names begin with {self.room_prefix!r} only"
            raise ApiError("room-not-allowed", 403, "The key does not reach this room", detail)

    def require_power_over(self, scopes: list[Scope], room_prefix: str) -> None:
        """Raise 403 if those scopes or rooms are more than its own: nobody raises themselves through another key."""
        for scope in scopes:
            self.require(scope)
        self.require_room(room_prefix)


PRINCIPAL: web.RequestKey[Principal] = web.RequestKey("principal", Principal)


def principal_of(request: web.Request) -> Principal:
    """Who the access check let pass; only for routes whose access is an operator's."""
    return request[PRINCIPAL]
