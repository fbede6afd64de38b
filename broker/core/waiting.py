"""The door of a room: locked, or with a waiting room before it.

Who may not go straight in gets a ticket and a place in a bounded queue. A host or operator admits or refuses; an
admitted ticket makes one session. A ticket holds no capacity, so one that nobody polls any more just expires.
Publishers of a stage pass the door: their token is an operator's, and an encoder must be able to come back.
"""

from collections.abc import Iterable, Sequence

from broker.core import moderation
from broker.core.effects import TicketChanged
from broker.core.placement import RETRY_WHEN_FULL_S
from broker.core.refusals import Refusal, RefusalKind
from broker.core.schedule import require_open
from broker.core.state import RoomRecord, SessionRecord, State
from broker.core.tickets import Queue, TicketRecord
from broker.protocol import Role, TicketState, WaitingChanged

_STRAIGHT_IN = frozenset({Role.HOST, Role.SPEAKER})
RETRY_REDEEM_S = 1.0


def must_wait(room: RoomRecord, role: Role) -> bool:
    """Whether somebody with this role has to ask first."""
    return room.waiting_room and role not in _STRAIGHT_IN


def require_unlocked(room: RoomRecord, role: Role) -> None:
    """Raise `Refusal` if the room takes nobody new with this role."""
    if room.locked and role is not Role.HOST:
        raise Refusal(RefusalKind.ROOM_LOCKED, f"room {room.room!r} is locked: a host has closed it to newcomers")


def require_entry(state: State, room: RoomRecord, role: Role, ticket: str | None, now: float) -> TicketRecord | None:
    """The admitted ticket of a newcomer, `None` if they need none. Raises `Refusal` if they may not go in.

    Whom a host has admitted goes in although the room is locked.
    """
    if ticket is None:
        require_open(room.room, room.schedule, role, now)
        require_unlocked(room, role)
        if must_wait(room, role):
            raise Refusal(
                RefusalKind.WAITING_ROOM, f"room {room.room!r} has a waiting room: join, and wait with a ticket"
            )
        return None
    record = ticket_of(state, room.room, ticket)
    if record.state is not TicketState.ADMITTED:
        raise Refusal(RefusalKind.STILL_WAITING, "nobody has let you in yet", RETRY_REDEEM_S)
    if record.session is not None:
        raise Refusal(RefusalKind.STILL_WAITING, "this ticket is being redeemed already", RETRY_REDEEM_S)
    return record


def ticket_of(state: State, room: str, name: str) -> TicketRecord:
    """The ticket of this name in this room, else `Refusal` saying whether and how it has ended."""
    record = state.tickets.get(name)
    if record is not None and record.room == room:
        return record
    if (end := state.ended_tickets.get(name)) is not None:
        raise Refusal(RefusalKind.TICKET_ENDED, f"the ticket has ended: {end.value}")
    raise Refusal(RefusalKind.TICKET_UNKNOWN, f"room {room!r} has no ticket {name!r}")


def knock(state: State, record: TicketRecord, now: float) -> None:
    """Put somebody in the queue; who waits there already with the same join token keeps their place.

    Raises `Refusal` if the room is locked or not open yet, or the queue full.
    """
    room = state.room(record.room)
    require_open(room.room, room.schedule, record.role, now)
    require_unlocked(room, record.role)
    if (known := by_token(state, room, record.token_id)) is not None:
        poll(state, known, now)
        return
    limits = state.settings
    if len(room.tickets) >= limits.max_waiting_in_room or len(state.tickets) >= limits.max_waiting:
        raise Refusal(RefusalKind.WAITING_ROOM_FULL, "too many are waiting already", RETRY_WHEN_FULL_S)
    record.deadline = now + limits.waiting_patience_s
    record.give_up_at = now + limits.waiting_limit_s
    state.tickets[record.ticket] = record
    room.tickets.append(record.ticket)
    enter_queue(state, record)
    state.persist(record)
    state.changed_doors.add(record.room)


def by_token(state: State, room: RoomRecord, token_id: str | None) -> TicketRecord | None:
    """The ticket that a join token got in this room, if it stands."""
    if token_id is None:
        return None
    return next((t for t in of_room(state, room) if t.token_id == token_id), None)


def of_room(state: State, room: RoomRecord) -> list[TicketRecord]:
    """A room's tickets, in order of coming."""
    return [state.tickets[name] for name in room.tickets]


def waiting_in(state: State, room: RoomRecord) -> list[TicketRecord]:
    """Those who wait for a decision, in order of coming."""
    return [ticket for ticket in of_room(state, room) if _waits_for_host(ticket)]


def enter_queue(state: State, ticket: TicketRecord) -> None:
    """Into the queue it names, at its end; without a name it waits for a host."""
    if ticket.queue:
        state.queues.setdefault(ticket.queue, Queue()).tickets[ticket.ticket] = None


def leave_queue(state: State, ticket: TicketRecord) -> None:
    """Out of its queue; an empty one is forgotten."""
    queue = state.queues.get(ticket.queue)
    if queue is not None:
        queue.tickets.pop(ticket.ticket, None)
        if not queue.tickets:
            del state.queues[ticket.queue]


def positions(state: State, room: RoomRecord) -> dict[str, int]:
    """The place of everybody who waits; 1 is next."""
    return {ticket.ticket: place for place, ticket in enumerate(waiting_in(state, room), 1)}


def poll(state: State, record: TicketRecord, now: float) -> None:
    """The client is still there."""
    patience_s = state.settings.waiting_patience_s
    if record.state is TicketState.WAITING:
        record.deadline = min(now + patience_s, record.give_up_at)
    else:
        record.deadline = min(max(record.deadline, now + patience_s), record.give_up_at)


def decide(state: State, room: RoomRecord, names: Sequence[str] | None, now: float, *, admitted: bool) -> list[str]:
    """Let these in, or send them away; `None` is everybody who waits. The tickets this changed.

    Raises `Refusal`, and changes nothing, if one of them is not there.
    """
    chosen = (
        waiting_in(state, room) if names is None else [ticket_of(state, room.room, n) for n in dict.fromkeys(names)]
    )
    changed = [t for t in chosen if t.session is None and (_waits_for_host(t) or not admitted)]
    for ticket in changed:
        if admitted:
            admit(state, ticket, now)
        else:
            end(state, ticket, TicketState.REFUSED)
    return [ticket.ticket for ticket in changed]


def _waits_for_host(ticket: TicketRecord) -> bool:
    return ticket.state is TicketState.WAITING and not ticket.queue


def admit(state: State, ticket: TicketRecord, now: float) -> None:
    """The ticket may make a session."""
    ticket.state = TicketState.ADMITTED
    ticket.deadline = now + state.settings.admitted_for_s
    ticket.give_up_at = max(ticket.give_up_at, ticket.deadline)
    state.persist(ticket)
    state.changed_doors.add(ticket.room)
    state.emit(TicketChanged(ticket.ticket, ticket.room, ticket.state))


def end(state: State, ticket: TicketRecord, how: TicketState) -> None:
    """The ticket is over, for one reason."""
    ticket.state = how
    del state.tickets[ticket.ticket]
    leave_queue(state, ticket)
    if (room := state.rooms.get(ticket.room)) is not None:
        room.tickets.remove(ticket.ticket)
    state.remember_ticket_end(ticket.ticket, how)
    state.persist(ticket)
    state.changed_doors.add(ticket.room)
    state.emit(TicketChanged(ticket.ticket, ticket.room, how))


def open_doors(state: State, room: RoomRecord, now: float) -> None:
    """The waiting room is abolished: who waits may come in."""
    for ticket in waiting_in(state, room):
        admit(state, ticket, now)


def send_all_away(state: State, room: RoomRecord) -> None:
    """The room closes."""
    for ticket in of_room(state, room):
        end(state, ticket, TicketState.ROOM_CLOSED)


def redeemed(state: State, session: SessionRecord) -> None:
    """The session is placed: its ticket is spent."""
    name, session.ticket = session.ticket, None
    if name is not None and (ticket := state.tickets.get(name)) is not None:
        end(state, ticket, TicketState.JOINED)


def give_back(state: State, session: SessionRecord) -> None:
    """The session could not be placed: its ticket stays good."""
    if session.ticket is not None and (ticket := state.tickets.get(session.ticket)) is not None:
        ticket.session = None


def expire(state: State, now: float) -> None:
    """End the tickets nobody polls any more."""
    for ticket in [t for t in state.tickets.values() if now >= min(t.deadline, t.give_up_at)]:
        end(state, ticket, TicketState.EXPIRED)


def host_came(state: State, session: SessionRecord) -> None:
    """Somebody has connected as a host, or was made one: they are to know who waits."""
    if session.role is Role.HOST and state.rooms[session.room].tickets:
        state.changed_doors.add(session.room)


def tell_hosts(state: State) -> None:
    """Tell the hosts of the rooms where somebody came or went how many wait now."""
    changed, state.changed_doors = state.changed_doors, set()
    for room in [state.rooms[name] for name in sorted(changed) if name in state.rooms]:
        event = WaitingChanged(waiting=len(waiting_in(state, room)))
        hosts = moderation.audience(state, room, roles=[Role.HOST])
        moderation.tell(state, room, event, hosts, roles=[Role.HOST])


def restore(state: State, tickets: Iterable[TicketRecord], now: float) -> None:
    """Take over what an earlier broker left: everybody keeps their place, and gets time to poll again."""
    for ticket in sorted(tickets, key=lambda ticket: (ticket.asked_at, ticket.ticket)):
        if (room := state.rooms.get(ticket.room)) is None:
            continue
        ticket.session = None
        ticket.give_up_at = now + state.settings.waiting_limit_s
        ticket.deadline = now + max(state.settings.waiting_patience_s, state.settings.admitted_for_s)
        ticket.since = now
        state.tickets[ticket.ticket] = ticket
        room.tickets.append(ticket.ticket)
        enter_queue(state, ticket)
