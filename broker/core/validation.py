"""What must always hold of the state. Tests call `validate_state` after every step."""

from broker.core import views
from broker.core.state import RoomRecord, State, ViewRecord, edge_pool, node_pool
from broker.protocol import AgentState, Mode, SessionState, TicketState


class InvalidState(AssertionError):
    """The core has contradicted itself; the message names the record."""


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise InvalidState(what)


def validate_state(state: State) -> None:
    """Raise `InvalidState` if the records contradict one another or capacity is overbooked."""
    _validate_links(state)
    for room in state.rooms.values():
        _validate_room(state, room)
    for view in state.views.values():
        _validate_view(state, view)
    _validate_ledger(state)
    _validate_offers(state)
    _validate_tickets(state)
    _validate_telemetry(state)


def _validate_links(state: State) -> None:
    for session in state.sessions.values():
        name = session.session
        _require(session.room in state.rooms, f"session {name} is in no room")
        _require(name in state.rooms[session.room].sessions, f"room does not know session {name}")
        _require(session.view in state.views, f"session {name} watches nothing")
        _require(name in state.views[session.view].sessions, f"view does not know session {name}")
        _require(session.state is not SessionState.ENDED, f"session {name} has ended and is still here")
        _require(session.placed and session.edge is not None, f"session {name} was left half placed")
        _require(session.connected or session.deadline is not None, f"session {name} would wait for ever")


def _validate_room(state: State, room: RoomRecord) -> None:
    _require(all(name in state.sessions for name in room.sessions), f"room {room.room} has ghosts")
    _require(all(name in state.views for name in room.views), f"room {room.room} has ghost views")
    nodes = {view.node for name in room.views if (view := state.views[name]).node is not None}
    _require(nodes <= {room.node}, f"room {room.room} is drawn by {nodes}, its world is on {room.node}")
    if room.mode is Mode.CONFERENCE:
        seats = [state.sessions[name].seat for name in room.sessions]
        _require(None not in seats and len(set(seats)) == len(seats), f"room {room.room}: seats {seats}")
        codecs = [state.views[name].picture.codec for name in room.views]
        _require(len(set(codecs)) == len(codecs), f"room {room.room} draws a stage twice")


def _validate_tickets(state: State) -> None:
    listed = [name for room in state.rooms.values() for name in room.tickets]
    _require(sorted(listed) == sorted(state.tickets), f"rooms list tickets {listed}, there are {list(state.tickets)}")
    _require(len(listed) <= state.settings.max_waiting, "too many wait")
    for name, ticket in state.tickets.items():
        _require(name in state.rooms[ticket.room].tickets, f"ticket {name} is for another room")
        _require(ticket.state in (TicketState.WAITING, TicketState.ADMITTED), f"ticket {name} has ended")
        _require(ticket.session is None, f"ticket {name} was left half redeemed")
        _require(ticket.deadline > 0 < ticket.give_up_at, f"ticket {name} would wait for ever")
    queued = {(ticket.queue, name) for name, ticket in state.tickets.items() if ticket.queue}
    in_queues = {(queue, name) for queue, entry in state.queues.items() for name in entry.tickets}
    _require(queued == in_queues, f"tickets say they wait in {queued}, queues hold {in_queues}")
    _require(all(queue.tickets for queue in state.queues.values()), "an empty queue was kept")
    for room in state.rooms.values():
        _require(len(room.tickets) <= state.settings.max_waiting_in_room, f"too many wait for room {room.room}")
    _require(all(move.to in state.rooms for move in state.moves.values()), "somebody is sent to a room that is gone")
    for session in state.sessions.values():
        _require(session.ticket is None, f"session {session.session} has not spent its ticket")


def _validate_telemetry(state: State) -> None:
    expected, here = state.telemetry.expected(), {s.session for s in state.sessions.values() if s.edge is not None}
    _require(expected == here, f"reports are expected of {expected}, on edges are {here}")


def _validate_view(state: State, view: ViewRecord) -> None:
    name = view.view
    _require(view.room in state.rooms and name in state.rooms[view.room].views, f"view {name} is in no room")
    _require(bool(view.sessions), f"nobody watches view {name}")
    _require(view.participant is None or len(view.sessions) == 1, f"view {name} of one person is watched by more")
    _require((view.node is None) == (view.fence == 0), f"view {name}: node {view.node}, fence {view.fence}")
    _require(view.node is not None or view.give_up_at is not None, f"view {name} would search for ever")
    _require(all(h.fence < view.highest_fence for h in view.previous if view.fence), f"view {name}: old fences")
    _require(view.picture.milliunits <= view.wished.milliunits, f"view {name} got more than was wished")
    _require(view.node is None or view.picture.milliunits <= view.claimed, f"view {name} got more than was claimed")
    _require(all(h.node != view.node for h in view.previous), f"view {name} moves to where it was")
    _require(view.node is None or view.fence == view.highest_fence, f"view {name}: fence went back")
    _validate_tree(state, view)


def _validate_tree(state: State, view: ViewRecord) -> None:
    name, parents, limits = view.view, view.parents, state.settings.fan_out
    needed = views.edges_of(state, view)
    _require(parents.keys() == needed, f"view {name} reaches {sorted(parents)}, it is needed on {sorted(needed)}")
    for edge in parents:
        above, steps = parents[edge], 0
        while above is not None and steps <= len(parents):
            _require(above in parents, f"view {name}: edge {edge} hangs below {above}, which is not fed")
            above, steps = parents[above], steps + 1
        _require(above is None, f"view {name}: edge {edge} is fed in a circle")
    width = limits.node_fan_out if view.root is None else 1
    _require(len(views.children_of(view, None)) <= width, f"view {name}: its node feeds too many edges")
    for edge in parents:
        count = len(views.children_of(view, edge))
        _require(count <= limits.edge_fan_out, f"view {name}: edge {edge} feeds {count} others")
    for parent, told in view.told.items() if view.fence else ():
        fed = set(views.children_of(view, parent or None))
        _require(told == fed, f"view {name}: {parent or 'its node'} was told to feed {told}, not {fed}")


def _validate_ledger(state: State) -> None:
    expected = {(edge_pool(s.edge), s.session): 1 for s in state.sessions.values() if s.edge is not None}
    for view in state.views.values():
        expected |= {(node_pool(h.node), view.view): h.milliunits for h in view.previous}
        if view.node is not None:
            expected[(node_pool(view.node), view.view)] = view.claimed
    booked = {(pool, key): entry.amount for pool, key, entry in state.ledger.entries()}
    _require(booked == expected, f"ledger {booked} is not what is in use {expected}")
    for node_record in state.nodes.values():
        used = state.ledger.claimed(node_pool(node_record.node))
        _require(used <= node_record.capacity, f"node {node_record.node} is overbooked: {used}")
    for edge in state.edges.values():
        used = state.ledger.claimed(edge_pool(edge.edge))
        _require(used <= edge.capacity, f"edge {edge.edge} is overbooked: {used}")


def _validate_offers(state: State) -> None:
    """Placement sees the fleet as it is."""
    ready = [agent for agent in state.agents() if agent.connected and agent.state is AgentState.READY]
    claimed = {str(agent.key): state.ledger.claimed(str(agent.key)) for agent in ready}
    offered = {node_pool(offer.node): offer.claimed for offer in state.ready_nodes.offers()}
    offered |= {edge_pool(edge.edge): edge.viewers for edge in state.ready_edges}
    _require(offered == claimed, f"placement sees {offered}, ready are {claimed}")
