"""HTTP: locking a room, and its waiting room: who comes waits with a ticket until a host or operator lets them in."""

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from broker.protocol.listing import PageQuery
from broker.protocol.terms import Identifier, Message, Role

MAX_POLL_S = 25.0
"""How long one poll may be held: below the idle timeouts of common proxies."""
MAX_DECIDED = 500
"""Most tickets one call names."""


class TicketState(StrEnum):
    """Where a ticket stands. `WAITING` and `ADMITTED` go on; the others are its end, and exactly one applies."""

    WAITING = "waiting"
    ADMITTED = "admitted"
    JOINED = "joined"
    REFUSED = "refused"
    EXPIRED = "expired"
    LEFT = "left"
    ROOM_CLOSED = "room_closed"


class WaitsFor(StrEnum):
    """What a ticket waits for."""

    HOST = "host"
    """To be let in."""
    CAPACITY = "capacity"
    """A place in the room or the farm, which is given in the order of coming."""


class WaitingTicket(Message, frozen=True):
    """A place in the waiting room, or in the queue where all is full: answer (202) of a join, and of each poll.

    GET `poll_url` with `token` as the bearer until `state` is no longer `waiting`; when it is `admitted`, POST the body
    of the join to `poll_url` + `/join`. A ticket that is not polled for `poll_within_s` expires.
    """

    ticket: Identifier
    room: Identifier
    state: TicketState
    display_name: str
    position: int | None
    """1 is next; absent when no longer waiting."""
    poll_url: str
    retry_after_s: float
    """How soon to poll again, if the poll does not wait (`wait_s`)."""
    poll_within_s: float
    token: str | UnsetType = UNSET
    """In the answer of the join only."""
    waits_for: WaitsFor = WaitsFor.HOST
    estimated_wait_s: float | None = None
    """For a place: until it is one's turn, at the pace of the last ones; absent before there is a pace."""


class TicketQuery(Message, frozen=True):
    """Query of a ticket's poll."""

    wait_s: Annotated[float, Meta(ge=0, le=MAX_POLL_S)] = 0.0
    """Hold the answer until the ticket's state changes, at most so many seconds."""


class WaitingQuery(PageQuery, frozen=True):
    """Query of `GET /v1/rooms/{room}/waiting`."""


class WaitingEntry(Message, frozen=True):
    """Somebody in the waiting room, as hosts and operators see them. `asked_at` is RFC 3339, UTC."""

    ticket: Identifier
    identity: str
    display_name: str
    role: Role
    state: TicketState
    asked_at: str
    position: int | None
    waits_for: WaitsFor = WaitsFor.HOST


class WaitingList(Message, frozen=True):
    """Answer of `GET /v1/rooms/{room}/waiting`, in order of coming; `next_cursor` is absent on the last page."""

    waiting: list[WaitingEntry]
    next_cursor: str | UnsetType = UNSET


class WaitingDecision(Message, frozen=True):
    """Body of `POST …/waiting/admit` and `…/waiting/refuse`: these tickets, or, if absent, everybody who waits."""

    tickets: Annotated[list[Identifier], Meta(min_length=1, max_length=MAX_DECIDED)] | UnsetType = UNSET


class WaitingDecided(Message, frozen=True):
    """Answer: the tickets whose state the decision changed."""

    tickets: list[Identifier]
