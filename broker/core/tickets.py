"""The record of somebody in a room's waiting room, or in the queue for a place where all is full."""

from collections import deque
from collections.abc import Sequence

from msgspec import Struct
from msgspec import field as field_of

from broker.protocol import Probe, Role, TicketState, VideoCapability, Viewport

PACE_OF = 16
"""The pace of a queue is that of so many who were admitted last."""


class Wish(Struct, frozen=True, kw_only=True):
    """What a join asks of the farm, so that it can be tried again without the client."""

    probes: Sequence[Probe] = ()
    network: str = ""
    codecs: Sequence[VideoCapability] = ()
    viewport: Viewport = Viewport()


class Queue(Struct):
    """Those who wait for the same places, in the order of coming, and when the last ones were admitted."""

    tickets: dict[str, None] = {}
    admitted_at: deque[float] = field_of(default_factory=lambda: deque(maxlen=PACE_OF))


class TicketRecord(Struct, kw_only=True):
    """One who waits to be let in, as their token says or a guest says.

    `deadline` ends it unless it is polled, `give_up_at` in any case; both in monotonic seconds of the core's `now`.
    `session` is the one that is being placed for it.
    """

    ticket: str
    room: str
    identity: str
    display_name: str
    role: Role
    asked_at: str
    token_id: str | None = None
    token_expires_at: float = 0.0
    """Unix seconds; of the join token."""
    state: TicketState = TicketState.WAITING
    deadline: float = 0.0
    give_up_at: float = 0.0
    session: str | None = None
    queue: str = ""
    """Of those who wait for the same places; empty while a host decides."""
    since: float = 0.0
    """When it came, in the core's time."""
    wish: Wish = Wish()
