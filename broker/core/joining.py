"""Joining: what a newcomer is given, and the beginning of their session.

First a plan, which changes nothing: is there a place in the room, which view will they watch, which edge and node serve
them. Then it is made. A ticket's join can thus be rehearsed (`queues`). When no node has room for the wished picture a
smaller one is drawn (`picture.rungs`), and only who does not even get the smallest is refused.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from broker.core import lines, moving, pairing, publishing, queues, sessions, views, waiting
from broker.core.limits import require_place
from broker.core.picture import (
    CodecChoice,
    Picture,
    codec_choices,
    own_picture,
    stage_choices,
    stage_picture,
    within_bandwidth,
)
from broker.core.placement import Placement
from broker.core.pools import Wanted
from broker.core.state import RoomRecord, SessionRecord, State, ViewRecord
from broker.core.tickets import TicketRecord
from broker.protocol import LatencyCap, Mode, Probe, Role, VideoCapability, Viewport


class Join(Struct, frozen=True, kw_only=True):
    """A request to join, authenticated already. `session`, `participant`, `view` are fresh random names."""

    room: str
    session: str
    participant: str
    view: str
    identity: str
    display_name: str
    role: Role
    joined_at: str
    token_id: str | None = None
    probes: Sequence[Probe] = ()
    network: str = ""
    """The address prefix the client comes from."""
    codecs: Sequence[VideoCapability] = ()
    viewport: Viewport = Viewport()
    publishes: bool = False
    ticket: str | None = None
    """Of the room's waiting room, admitted."""


class _Plan(NamedTuple):
    """What a join would make."""

    view: ViewRecord
    is_new: bool
    session: SessionRecord
    placement: Placement
    moves_to: str | None
    """The node to which the room moves first, as it has outgrown its own."""


def join(state: State, request: Join, now: float) -> None:
    """Begin a session. Raises `Refusal` when it cannot be; later trouble comes as `JoinRefused`."""
    room = state.room(request.room)
    move = moving.expected(state, room, request.token_id)
    passes = request.publishes or move is not None
    ticket = None if passes else waiting.require_entry(state, room, request.role, request.ticket, now)
    if request.publishes:
        publishing.require_free_stage(state, room)
    plan = _plan(state, room, request, 0.0 if ticket is None else now - ticket.since, now)
    view, session = plan.view, plan.session
    if not passes and (ticket is None or not ticket.queue):
        queues.require_turn(state, room, _need(room, view))
    if move is not None:
        moving.inherit(state, session, move)
    if plan.moves_to is not None:
        views.move_to(state, room, plan.moves_to)
    if ticket is not None:
        ticket.session = session.session
    if plan.is_new:
        state.views[view.view] = view
        room.views.add(view.view)
    state.sessions[session.session] = session
    room.sessions.add(session.session)
    room.empty_since = None
    view.sessions.add(session.session)
    sessions.claim_edge(state, session, plan.placement)
    if view.node is None:
        room.node = plan.placement.node
    state.persist(room)


def _plan(state: State, room: RoomRecord, request: Join, waited_s: float, now: float) -> _Plan:
    """What a join would make of who has waited so long; nothing is changed. Raises `Refusal`."""
    require_place(state, room, request.role, besides=request.token_id)
    view, is_new = _view_for(state, room, request)
    session = _session_for(state, room, request, view, now)
    session.latency_cap_ms = latency_cap_ms(room.latency_caps, waited_s)
    return _Plan(view, is_new, session, *pairing.choose_or_move(state, room, session, view))


def latency_cap_ms(caps: Sequence[LatencyCap], waited_s: float) -> float | None:
    """The cap for who has waited so long; `None` where there is none, 0 before the first one."""
    if not caps:
        return None
    reached = [cap for cap in caps if cap.after_s <= waited_s]
    return max(reached, key=lambda cap: cap.after_s).rtt_ms if reached else 0.0


def rehearse(state: State, ticket: TicketRecord, now: float) -> queues.Need:
    """What a place for a ticket takes, if its join would succeed now; else raises `Refusal`. Nothing is changed."""
    room, wish = state.room(ticket.room), ticket.wish
    request = Join(
        room=ticket.room,
        session=ticket.ticket,
        participant=ticket.ticket,
        view=ticket.ticket,
        identity=ticket.identity,
        display_name=ticket.display_name,
        role=ticket.role,
        joined_at="",
        probes=wish.probes,
        network=wish.network,
        codecs=wish.codecs,
        viewport=wish.viewport,
    )
    return _need(room, _plan(state, room, request, now - ticket.since, now).view)


def _need(room: RoomRecord, view: ViewRecord) -> queues.Need:
    """What is claimed for a view that has been planned, or is drawn already."""
    drawn = view.node is not None
    return queues.Need(None if drawn else Wanted(view.picture.codec, room.scene, view.picture.milliunits))


def _session_for(state: State, room: RoomRecord, request: Join, view: ViewRecord, now: float) -> SessionRecord:
    return SessionRecord(
        session=request.session,
        room=room.room,
        participant=request.participant,
        identity=request.identity,
        display_name=request.display_name,
        role=request.role,
        joined_at=request.joined_at,
        view=view.view,
        token_id=request.token_id,
        seat=_free_seat(state, room) if room.mode is Mode.CONFERENCE else None,
        deadline=now + state.settings.connect_timeout_s,
        probes=list(request.probes),
        network=request.network,
        publishes=request.publishes,
        ticket=request.ticket,
    )


def _free_seat(state: State, room: RoomRecord) -> int:
    taken = {state.sessions[name].seat for name in room.sessions}
    return next(seat for seat in range(len(taken) + 1) if seat not in taken)


def _view_for(state: State, room: RoomRecord, request: Join) -> tuple[ViewRecord, bool]:
    """The view this participant will watch, and whether it is new."""
    if room.mode is not Mode.CONFERENCE:
        choice = _playable(state, codec_choices(request.codecs))
        wished = own_picture(request.viewport, state.settings.picture, choice)
        picture = within_bandwidth(wished, lines.bandwidth_bps(request.probes), state.settings.ladder)
        return _new_view(request, picture, request.participant), True
    choice = _playable(state, stage_choices(request.codecs))
    for view in views.room_views(state, room):
        if view.picture.codec is choice[0]:
            return view, False
    return _new_view(request, stage_picture(choice, state.settings.picture.stage_layers), None), True


def _new_view(request: Join, wished: Picture, participant: str | None) -> ViewRecord:
    return ViewRecord(view=request.view, room=request.room, participant=participant, wished=wished, picture=wished)


def _playable(state: State, choices: list[CodecChoice]) -> CodecChoice:
    """The client's best choice that some ready node encodes; its best one when none does, to be refused later."""
    offered = {codec for pool in state.ready_nodes for codec in pool.kind.codecs}
    return next((choice for choice in choices if choice[0] in offered), choices[0])
