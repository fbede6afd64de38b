"""How the core's records look in the API."""

from collections.abc import Mapping

from msgspec import UNSET, UnsetType, structs

from broker.api.controller import Controller
from broker.api.recent_moves import RoomMoved
from broker.api.timestamps import rfc3339
from broker.core import queues, waiting
from broker.core.experience import experienced_quality
from broker.core.pools import load_ratio
from broker.core.state import EdgeRecord, NodeRecord, RoomRecord, SessionRecord, State, edge_pool, node_pool
from broker.core.tickets import TicketRecord
from broker.protocol import (
    AUDIENCE_SESSION,
    Edge,
    JoinGrant,
    Move,
    Node,
    Participant,
    ProbeTarget,
    Room,
    SessionEntry,
    WaitingEntry,
    WaitingTicket,
    WaitsFor,
)

PROBE_PATH = "/probe"
WHEP_PATH = "/whep"
RETRY_POLL_S = 3.0
"""How soon who waits should poll again."""


def show_room(room: RoomRecord) -> Room:
    """A room."""
    return Room(
        room=room.room,
        mode=room.mode,
        scene=room.scene,
        max_participants=room.max_participants,
        empty_timeout_s=room.empty_timeout_s,
        open=room.open,
        metadata=room.metadata,
        created_at=room.created_at,
        participants=len(room.sessions),
        node=room.node,
        locked=room.locked,
        waiting_room=room.waiting_room,
        waiting=len(room.tickets),
        limits=room.limits,
        open_at=room.schedule.open_at,
        close_at=room.schedule.close_at,
        expected_audience=room.schedule.expected_audience,
        latency_caps=room.latency_caps,
    )


def show_participant(state: State, session: SessionRecord) -> Participant:
    """A participant with their session."""
    return Participant(
        participant=session.participant,
        identity=session.identity,
        display_name=session.display_name,
        role=session.role,
        muted=session.muted,
        hand_raised=session.hand_raised,
        session=session.session,
        state=session.state,
        edge=session.edge,
        node=state.views[session.view].node,
        joined_at=session.joined_at,
        publishes=session.publishes,
        report=state.telemetry.report(session.session),
        line=state.telemetry.summary(session.session),
        usage=session.totals.usage(),
        quality=experienced_quality(state, session),
    )


def show_session(state: State, session: SessionRecord) -> SessionEntry:
    """A session of any room."""
    return SessionEntry(room=session.room, **structs.asdict(show_participant(state, session)))


def show_node(state: State, node: NodeRecord, now: float) -> Node:
    """A render node; its sessions are those whose view it draws."""
    pool = node_pool(node.node)
    return Node(
        node=node.node,
        region=node.region,
        state=node.state,
        capability=node.capability,
        load=node.load,
        load_ratio=load_ratio(state.ledger.claimed(pool), node.capacity),
        sessions=sum(len(view.sessions) for view in state.views.values() if view.node == node.node),
        last_seen_s=max(0.0, now - node.last_seen),
    )


def show_edge(state: State, edge: EdgeRecord, now: float) -> Edge:
    """An edge."""
    viewers = state.ledger.claimed(edge_pool(edge.edge))
    return Edge(
        edge=edge.edge,
        region=edge.region,
        state=edge.state,
        public_url=edge.public_url,
        capability=edge.capability,
        load=edge.load,
        load_ratio=viewers / edge.capacity,
        sessions=viewers,
        last_seen_s=max(0.0, now - edge.last_seen),
    )


def show_move(moved: RoomMoved) -> Move:
    """A move of a room's views."""
    fields = moved._asdict()
    return Move(at=rfc3339(fields.pop("unix_s")), **fields)


def show_ticket(controller: Controller, ticket: TicketRecord, token: str | UnsetType = UNSET) -> WaitingTicket:
    """A place in a waiting room, for the one who waits."""
    state = controller.brain.state
    room = state.rooms.get(ticket.room)
    before_door = waiting.positions(state, room).get(ticket.ticket) if room is not None else None
    estimate_s = queues.estimated_wait_s(state, ticket, controller.now())
    return WaitingTicket(
        ticket=ticket.ticket,
        room=ticket.room,
        state=ticket.state,
        display_name=ticket.display_name,
        position=before_door or queues.position(state, ticket),
        waits_for=_waits_for(ticket),
        estimated_wait_s=None if estimate_s is None else round(estimate_s, 1),
        poll_url=f"/v1/rooms/{ticket.room}/waiting/{ticket.ticket}",
        retry_after_s=RETRY_POLL_S,
        poll_within_s=state.settings.waiting_patience_s,
        token=token,
    )


def _waits_for(ticket: TicketRecord) -> WaitsFor:
    return WaitsFor.CAPACITY if ticket.queue else WaitsFor.HOST


def show_waiting(ticket: TicketRecord, places: Mapping[str, int]) -> WaitingEntry:
    """A place in a waiting room, for those who decide."""
    return WaitingEntry(
        ticket=ticket.ticket,
        identity=ticket.identity,
        display_name=ticket.display_name,
        role=ticket.role,
        state=ticket.state,
        asked_at=ticket.asked_at,
        position=places.get(ticket.ticket),
        waits_for=_waits_for(ticket),
    )


def show_probe_target(edge: EdgeRecord) -> ProbeTarget:
    """An edge as somebody to measure."""
    return ProbeTarget(edge=edge.edge, region=edge.region, probe_url=edge.public_url.rstrip("/") + PROBE_PATH)


def grant(controller: Controller, session: SessionRecord) -> JoinGrant:
    """What a client needs to connect, with a fresh session token."""
    state, ttl_s, unix_now = controller.brain.state, controller.settings.session_token_ttl_s, controller.unix_now()
    room, view, edge = state.rooms[session.room], state.views[session.view], state.edges[str(session.edge)]
    token = controller.authority.mint(
        AUDIENCE_SESSION, session.session, ttl_s, unix_now, room=room.room, role=session.role.value
    )
    return JoinGrant(
        session=session.session,
        room=room.room,
        participant=session.participant,
        display_name=session.display_name,
        role=session.role,
        mode=room.mode,
        scene=room.scene,
        edge=edge.edge,
        region=edge.region,
        whep_url=f"{edge.public_url.rstrip('/')}{WHEP_PATH}/{session.session}",
        session_token=token,
        expires_at=rfc3339(unix_now + ttl_s),
        stream=view.view,
        codec=view.picture.codec,
        width=view.picture.width,
        height=view.picture.height,
        fps=view.picture.fps,
    )
