"""What the core asks the shell to do. The core itself touches nothing.

The shell carries effects out in order. `Claim` is answered with `Brain.claim_granted` or `Brain.claim_refused`
before the next event is fed, so no decision is taken on a half-made placement.
"""

from dataclasses import dataclass
from enum import StrEnum

from broker.core.refusals import Refusal
from broker.protocol import BrokerMessage, EndReason, TicketState


class AgentKind(StrEnum):
    """The two kinds of processes the broker commands."""

    NODE = "node"
    EDGE = "edge"


@dataclass(frozen=True, slots=True)
class AgentKey:
    """Names a process; a node and an edge may bear the same name."""

    kind: AgentKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"


class Collection(StrEnum):
    """Kinds of records the store keeps."""

    ROOMS = "rooms"
    SESSIONS = "sessions"
    VIEWS = "views"
    USAGE = "usage"
    TICKETS = "tickets"
    MOVES = "moves"


@dataclass(frozen=True, slots=True)
class Send:
    """Give an agent a command; lost if it is not connected (it is told everything when it registers)."""

    agent: AgentKey
    message: BrokerMessage


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close an agent's connection: it is taken for dead and must register anew."""

    agent: AgentKey


@dataclass(frozen=True, slots=True)
class Claim:
    """Reserve `amount` of `pool` for `key`, if `capacity` allows; the fence must exceed `fence_floor`."""

    pool: str
    key: str
    amount: int
    capacity: int
    fence_floor: int = 0


@dataclass(frozen=True, slots=True)
class Release:
    """Give a claim back."""

    pool: str
    key: str
    fence: int


@dataclass(frozen=True, slots=True)
class Persist:
    """A record changed, or went: the shell writes what the core now holds under this name."""

    collection: Collection
    key: str


@dataclass(frozen=True, slots=True)
class JoinPlaced:
    """The session has an edge, a node and a stream."""

    session: str


@dataclass(frozen=True, slots=True)
class JoinRefused:
    """The session could not be placed after all and is gone."""

    session: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is over."""

    session: str
    room: str
    reason: EndReason


@dataclass(frozen=True, slots=True)
class ViewMoved:
    """A view was given to another node. `is_planned`: `former` draws on until the new node's first picture is out."""

    view: str
    room: str
    node: str
    former: str | None
    is_planned: bool


@dataclass(frozen=True, slots=True)
class TicketChanged:
    """Somebody in a waiting room was let in, or their ticket has ended."""

    ticket: str
    room: str
    state: TicketState


@dataclass(frozen=True, slots=True)
class AgentLost:
    """An agent was taken for dead. `views` were lost with it and searched a new place in the same step."""

    agent: AgentKey
    views: tuple[str, ...] = ()


Effect = (
    Send
    | Disconnect
    | Claim
    | Release
    | Persist
    | JoinPlaced
    | JoinRefused
    | SessionEnded
    | ViewMoved
    | TicketChanged
    | AgentLost
)
