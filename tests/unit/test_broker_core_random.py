"""Whatever happens in whatever order: nothing is overbooked, fences rise, and no session is left hanging."""

import contextlib

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from broker.core.cascade import Limits
from broker.core.refusals import Refusal
from broker.core.reoptimisation import Move
from broker.core.schedule import Schedule
from broker.core.state import CoreSettings
from broker.core.validation import validate_state
from broker.protocol import (
    DrainRequested,
    EndReason,
    Mode,
    MuteAll,
    Probe,
    Role,
    RoomPatch,
    SourceLost,
    TicketState,
    ViewerConnected,
    ViewerGone,
    ViewFailed,
    Viewport,
    ViewStarted,
)
from tests.support.broker_farm import Farm, edge_key, node_key

NODES = ["n1", "n2", "n3"]
EDGES = ["e1", "e2", "e3", "e4"]
ROOMS = {"walk": Mode.EXPLORE, "relic": Mode.GALLERY, "hall": Mode.CONFERENCE}
TIMED = "timed"
"""A room that opens and closes by the clock, and so is not always there."""


class BrokerMachine(RuleBasedStateMachine):
    @initialize()
    def build(self) -> None:
        self.farm = Farm(CoreSettings(fan_out=Limits(node_fan_out=1, edge_fan_out=1)))
        for name, mode in ROOMS.items():
            self.farm.room(name, mode=mode, empty_timeout_s=0)

    @rule(name=st.sampled_from(NODES), units=st.sampled_from([1.0, 2.5, 6.0]), keeps=st.booleans())
    def node_comes(self, name, units, keeps):
        known = self.farm.state.nodes.get(name)
        units = known.capability.units if known is not None else units
        region = "r2" if name == NODES[-1] else "r1"
        self.farm.node(name, units=units, views=self.farm.holdings(name) if keeps else [], region=region)

    @rule(name=st.sampled_from(EDGES), keeps=st.booleans())
    def edge_comes(self, name, keeps):
        mine = [s.session for s in self.farm.state.sessions.values() if s.edge == name and s.connected]
        self.farm.edge(name, max_viewers=5, sessions=mine if keeps else [])

    @rule(
        room=st.sampled_from(sorted(ROOMS)),
        near=st.sampled_from(EDGES),
        taken=st.lists(st.sampled_from(["node:n1", "edge:e1"]), max_size=2),
    )
    def someone_joins(self, room, near, taken):
        self.farm.refuse_pools = list(taken)
        with contextlib.suppress(Refusal):
            self.farm.join(room, probes=[Probe(edge=near, rtt_ms=1.0)])
        self.farm.refuse_pools = []

    @rule(room=st.sampled_from(sorted(ROOMS)), locked=st.booleans(), waits=st.booleans())
    def door_changes(self, room, locked, waits):
        patch = RoomPatch(locked=locked, waiting_room=waits)
        self.farm.carry_out(self.farm.brain.patch_room(room, patch, self.farm.now))

    @rule(room=st.sampled_from(sorted(ROOMS)), role=st.sampled_from(Role), token=st.sampled_from(["a", "b", None]))
    def someone_knocks(self, room, role, token):
        with contextlib.suppress(Refusal):
            self.farm.knock(room, role, token)

    @precondition(lambda self: self.farm.state.tickets)
    @rule(
        data=st.data(),
        what=st.sampled_from(["admit", "refuse", "admit all", "refuse all", "poll", "leave", "come", "come in vain"]),
    )
    def ticket_event(self, data, what):
        ticket = self.farm.state.tickets[self.pick(data, self.farm.state.tickets)]
        chosen = None if what.endswith("all") else [ticket.ticket]
        if what.startswith(("admit", "refuse")):
            self.farm.decide(ticket.room, chosen, admitted=what.startswith("admit"))
        elif what == "poll":
            self.farm.carry_out(self.farm.brain.poll_ticket(ticket.room, ticket.ticket, self.farm.now))
        elif what == "leave":
            self.farm.carry_out(self.farm.brain.leave_queue(ticket.room, ticket.ticket))
        else:
            self.farm.refuse_pools = [f"edge:{name}" for name in EDGES] * 4 if what == "come in vain" else []
            with contextlib.suppress(Refusal):
                self.farm.join(ticket.room, ticket=ticket.ticket)
                assert ticket.state is TicketState.JOINED
            self.farm.refuse_pools = []

    @rule(room=st.sampled_from(sorted(ROOMS)), muted=st.booleans())
    def all_are_muted(self, room, muted):
        effects, count = self.farm.brain.mute_all(room, MuteAll(muted=muted, roles=tuple(Role)))
        self.farm.carry_out(effects)
        assert all(s.muted is muted for s in self.farm.state.sessions.values() if s.room == room)
        assert count <= len(self.farm.state.rooms[room].sessions)

    @rule(
        opens_in=st.sampled_from([None, 0.5, 20.0]),
        closes_in=st.sampled_from([None, 1.0, 30.0]),
        speakers=st.sampled_from([0, 1, 5]),
    )
    def room_is_scheduled(self, opens_in, closes_in, speakers):
        now, limits = self.farm.now, {Role.SPEAKER: speakers}
        schedule = Schedule(
            opens_at_s=None if opens_in is None else now + opens_in,
            closes_at_s=None if closes_in is None else now + closes_in,
        )
        if TIMED in self.farm.state.rooms:
            self.farm.carry_out(self.farm.brain.patch_room(TIMED, RoomPatch(limits=limits), now, schedule))
        else:
            self.farm.room(TIMED, empty_timeout_s=5.0, schedule=schedule, limits=limits)

    @rule(role=st.sampled_from(Role))
    def someone_comes_to_the_scheduled_room(self, role):
        with contextlib.suppress(Refusal):
            self.farm.join(TIMED, role=role)
            room = self.farm.state.rooms[TIMED]
            assert role is Role.HOST or room.schedule.is_open(self.farm.now)
            roles = [self.farm.state.sessions[name].role for name in room.sessions]
            assert roles.count(role) <= room.limits.get(role, len(roles))

    @precondition(lambda self: self.farm.state.sessions)
    @rule(data=st.data(), to=st.sampled_from([*ROOMS, TIMED]), comes=st.booleans(), number=st.integers(0, 10**9))
    def someone_moves(self, data, to, comes, number):
        session = self.farm.state.sessions[self.pick(data, self.farm.state.sessions)]
        token_id = f"move{number}"
        with contextlib.suppress(Refusal):
            self.farm.carry_out(self.farm.brain.move(session.session, to, "token", token_id, self.farm.now))
            if comes:
                moved = self.farm.join(to, token_id=token_id)
                assert session.session not in self.farm.state.sessions
                assert (moved.room, moved.muted) == (to, session.muted)

    def pick(self, data, things: dict):
        return data.draw(st.sampled_from(sorted(things)))

    @precondition(lambda self: self.farm.state.sessions)
    @rule(data=st.data(), what=st.sampled_from(["connect", "vanish", "leave", "resume", "remove", "revoke"]))
    def session_event(self, data, what):
        session = self.farm.state.sessions[self.pick(data, self.farm.state.sessions)]
        edge = self.farm.state.edges.get(session.edge)
        if what == "remove":
            self.farm.carry_out(self.farm.brain.end_session(session.session, EndReason.REMOVED))
        elif what == "revoke":
            self.farm.carry_out(self.farm.brain.revoke(session.token_id))
            assert not any(s.token_id == session.token_id for s in self.farm.state.sessions.values())
        elif what == "resume":
            with contextlib.suppress(Refusal):
                self.farm.carry_out(self.farm.brain.resume(session.session, [], self.farm.now))
        elif edge is not None and edge.connected:
            message = {
                "connect": ViewerConnected(session=session.session),
                "vanish": ViewerGone(session=session.session, reason=EndReason.CONNECTION_LOST),
                "leave": ViewerGone(session=session.session, reason=EndReason.LEFT),
            }[what]
            self.farm.say(edge.key, message)

    @precondition(lambda self: self.farm.state.sessions)
    @rule(data=st.data(), width=st.integers(1, 4000), height=st.integers(1, 4000), max_fps=st.integers(1, 60))
    def window_changes(self, data, width, height, max_fps):
        session = self.pick(data, self.farm.state.sessions)
        self.farm.carry_out(self.farm.brain.reshape(session, Viewport(width=width, height=height, max_fps=max_fps)))

    @precondition(lambda self: self.farm.state.views)
    @rule(data=st.data(), works=st.booleans())
    def view_event(self, data, works):
        view = self.farm.state.views[self.pick(data, self.farm.state.views)]
        if view.node is None or not self.farm.state.nodes[view.node].connected:
            return
        message = ViewStarted if works else ViewFailed
        more = {} if works else {"reason": "broken"}
        self.farm.say(node_key(view.node), message(view=view.view, fence=view.fence, **more))

    @precondition(lambda self: self.farm.state.nodes)
    @rule(data=st.data(), what=st.sampled_from(["break", "drain", "undrain", "depart", "stay"]), is_edge=st.booleans())
    def agent_event(self, data, what, is_edge):
        agents = self.farm.state.edges if is_edge else self.farm.state.nodes
        if not agents:
            return
        name = self.pick(data, agents)
        key = edge_key(name) if is_edge else node_key(name)
        if what == "break":
            self.farm.drop(key)
        elif what == "drain":
            self.farm.carry_out(self.farm.brain.drain(key, 5.0, self.farm.now))
        elif what == "undrain":
            self.farm.carry_out(self.farm.brain.cancel_drain(key))
        elif agents[name].connected:
            self.farm.say(key, DrainRequested(deadline_s=3.0, cancelled=what == "stay"))

    @precondition(lambda self: self.farm.state.views)
    @rule(data=st.data(), name=st.sampled_from(EDGES))
    def edge_misses_its_source(self, data, name):
        edge = self.farm.state.edges.get(name)
        if edge is not None and edge.connected:
            self.farm.say(edge.key, SourceLost(stream=self.pick(data, self.farm.state.views)))

    @precondition(lambda self: list(self.farm.state.ledger.entries()))
    @rule(data=st.data())
    def claim_is_lost(self, data):
        claims = sorted((pool, key) for pool, key, _ in self.farm.state.ledger.entries())
        pool, key = data.draw(st.sampled_from(claims))
        self.farm.carry_out(self.farm.brain.claim_lost(pool, key, self.farm.now))

    @rule(data=st.data(), region=st.sampled_from(["r1", "r2"]))
    def rooms_are_moved(self, data, region):
        wishes = data.draw(st.permutations(sorted(self.farm.state.rooms)))
        moves = [Move(room, region, 1.0) for room in wishes]
        self.farm.carry_out(self.farm.brain.move_rooms(moves, self.farm.now))
        self.farm.brain.reoptimisation(self.farm.now)

    @rule(seconds=st.sampled_from([0.1, 0.5, 2.0, 12.0]))
    def time_passes(self, seconds):
        self.farm.wait(seconds)
        assert not any(room.schedule.is_over(self.farm.now) for room in self.farm.state.rooms.values())

    @invariant()
    def state_is_valid(self):
        validate_state(self.farm.state)

    @invariant()
    def fences_rise(self):
        for fences in self.farm.fences.values():
            assert fences == sorted(set(fences))

    def teardown(self):
        """Left alone without anybody connected, every session comes to an end."""
        for session in list(self.farm.state.sessions.values()):
            if session.connected and session.edge in self.farm.state.edges:
                self.farm.say(edge_key(session.edge), ViewerGone(session=session.session, reason=EndReason.LEFT))
        self.farm.wait(45)
        assert not self.farm.state.sessions
        self.farm.wait(40)
        assert not self.farm.state.tickets
        assert not self.farm.state.moves
        assert not list(self.farm.state.ledger.entries())


BrokerMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestBrokerMachine = BrokerMachine.TestCase
