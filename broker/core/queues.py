"""Queues for places, where a room or the farm is full: in the order of coming, and nobody overtakes.

There is a queue for each full room, and one for the farm. A tick goes through them and admits whoever there is a place
for; an admitted ticket then makes its session, as one does that a host admitted. A ticket holds no capacity, so no more
are admitted than there are places for, and while anybody waits, or was admitted and has not come yet, newcomers get
only what is left beyond that.

Who waits because every place is farther than the room's latency cap keeps nobody else waiting; the cap relaxes with the
time of waiting, as the room says.
"""

from collections.abc import Callable
from itertools import islice, takewhile

from msgspec import Struct

from broker.core import waiting
from broker.core.placement import RETRY_WHEN_FULL_S
from broker.core.pools import Wanted
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import RoomRecord, State
from broker.core.tickets import Queue, TicketRecord
from broker.protocol import TicketState

_ROOM = frozenset({RefusalKind.ROOM_FULL, RefusalKind.ROLE_FULL})
CURABLE = _ROOM | {RefusalKind.FARM_FULL, RefusalKind.TOO_FAR}
"""Refusals that waiting can turn into a place."""
FARM = "farm"
FAR = "far"
LOOKED_AT = 200
"""Tickets of a queue that one tick tries at most."""


class Need(Struct, frozen=True):
    """What a place takes beside one on an edge; `wanted` is `None` where the view is drawn already."""

    wanted: Wanted | None


Rehearse = Callable[[TicketRecord], Need]
"""Tries whether a ticket's join would succeed now. Raises `Refusal`."""


def queue_of(room: str, kind: RefusalKind) -> str:
    """The queue for what was refused."""
    if kind in _ROOM:
        return f"room:{room}"
    return FAR if kind is RefusalKind.TOO_FAR else FARM


def enter(state: State, ticket: TicketRecord, kind: RefusalKind, now: float) -> None:
    """Somebody who was refused so waits for a place. Raises `Refusal` if too many wait, or the room is locked."""
    ticket.queue = queue_of(ticket.room, kind)
    ticket.since = now
    waiting.knock(state, ticket, now)


def wait_again(state: State, ticket: TicketRecord, kind: RefusalKind, now: float) -> None:
    """The place of one who was admitted is gone: they wait where they were, and ahead of all who came later."""
    _put(state, ticket, queue_of(ticket.room, kind))
    ticket.state = TicketState.WAITING
    ticket.deadline = now + state.settings.waiting_patience_s
    ticket.give_up_at = max(ticket.give_up_at, ticket.deadline)
    state.persist(ticket)


def _put(state: State, ticket: TicketRecord, queue: str) -> None:
    if ticket.queue != queue:
        waiting.leave_queue(state, ticket)
        ticket.queue = queue
        waiting.enter_queue(state, ticket)


def position(state: State, ticket: TicketRecord) -> int | None:
    """The place in the queue, 1 is next; `None` for one who does not wait for a place (any more)."""
    queue = state.queues.get(ticket.queue)
    if queue is None or ticket.state is not TicketState.WAITING:
        return None
    before = takewhile(lambda name: name != ticket.ticket, queue.tickets)
    return 1 + sum(state.tickets[name].state is TicketState.WAITING for name in before)


def estimated_wait_s(state: State, ticket: TicketRecord, now: float) -> float | None:
    """Until it is one's turn, at the pace of the last ones who were admitted; `None` before there is a pace."""
    queue, place = state.queues.get(ticket.queue), position(state, ticket)
    if queue is None or place is None or len(queue.admitted_at) < 2:
        return None
    return place * (now - queue.admitted_at[0]) / len(queue.admitted_at)


def waiting_for_the_farm(state: State, since: float) -> int:
    """How many wait for capacity since then, or longer: demand, like those who were refused a moment ago."""
    queue = state.queues.get(FARM)
    return 0 if queue is None else sum(state.tickets[name].since <= since for name in queue.tickets)


# --- Whose turn it is -----------------------------------------------------------------------------------


def require_turn(state: State, room: RoomRecord, need: Need) -> None:
    """Raise `Refusal` if those who wait, or were admitted and have not come yet, are before a newcomer."""
    for kind in (RefusalKind.ROOM_FULL, RefusalKind.FARM_FULL):
        name = queue_of(room.room, kind)
        queue = state.queues.get(name)
        if queue is None:
            continue
        admitted = _admitted(state, queue)
        waits = len(queue.tickets) > admitted and (need.wanted is not None or name != FARM)
        if waits or not _has_places(state, name, room, need, admitted + 1):
            detail = f"{len(queue.tickets)} wait for a place already, who come first"
            raise Refusal(kind, detail, RETRY_WHEN_FULL_S)


def advance(state: State, rehearse: Rehearse, now: float) -> None:
    """Admit those for whom there is a place now."""
    for name, queue in list(state.queues.items()):
        admitted = _admitted(state, queue)
        waits = (state.tickets[ticket] for ticket in list(queue.tickets))
        for ticket in islice((t for t in waits if t.state is TicketState.WAITING), LOOKED_AT):
            need = _needs(state, ticket, rehearse)
            if need is None:
                if ticket.queue == name != FAR:
                    break
                continue
            if not _has_places(state, name, state.rooms[ticket.room], need, admitted + 1):
                break
            waiting.admit(state, ticket, now)
            queue.admitted_at.append(now)
            admitted += 1


def _needs(state: State, ticket: TicketRecord, rehearse: Rehearse) -> Need | None:
    """What a place for it takes; `None` if there is none. It changes queues if something else is full now."""
    try:
        return rehearse(ticket)
    except Refusal as refusal:
        if refusal.kind in CURABLE:
            _put(state, ticket, queue_of(ticket.room, refusal.kind))
        return None


def _admitted(state: State, queue: Queue) -> int:
    return sum(state.tickets[name].state is TicketState.ADMITTED for name in queue.tickets)


def _has_places(state: State, queue: str, room: RoomRecord, need: Need, count: int) -> bool:
    """Whether so many could come in at once."""
    if queue.startswith("room:"):
        return room.max_participants - len(room.sessions) >= count
    places = sum(edge.max_viewers - edge.viewers for edge in state.ready_edges)
    return places >= count and (need.wanted is None or state.ready_nodes.has_room_for(need.wanted, count))
