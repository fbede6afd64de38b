"""The life of a visitor: measuring edges, joining, connecting, changing lines, losing the connection, leaving."""

from collections import Counter
from collections.abc import Callable
from random import Random

from broker.core.joining import Join
from broker.core.probing import probe_targets
from broker.core.refusals import Refusal, RefusalKind
from broker.protocol import (
    Codec,
    EndReason,
    Probe,
    Role,
    VideoCapability,
    ViewerConnected,
    ViewerGone,
    Viewport,
)
from farstage.simulation.agents import Agents
from farstage.simulation.fleet import Edge
from farstage.simulation.pictures import JOINING
from farstage.simulation.visitor import Visitor
from farstage.simulation.world import World

PROBE_ROUND_TRIPS = 4.0
"""A connection and three measurements, of all edges at the same time."""
RETRY_S = 2.0
"""After a refusal that does not say when."""
RESTART_S, RESTART_ROUND_TRIPS = 0.3, 3.0
"""An ICE restart after the line has changed."""
RESTART_PATIENCE_S = 1.5
"""How long the browser SDK waits for an ICE restart (`sdk/session.js`) before it asks the broker to resume."""
FIRST_DELAY_S, LONGEST_DELAY_S, DELAY_SPREAD, MOST_DOUBLED = 0.5, 8.0, 0.2, 8
"""Its pauses before each try, doubled from one to the next (`sdk/reconnect.js`)."""
JOINED_AT = "2026-11-29T00:00:00Z"
_PLAYS = (VideoCapability(codec=Codec.H264, profiles=["42e0", "4d00"]), VideoCapability(codec=Codec.VP8))
_OVER = frozenset({RefusalKind.SESSION_ENDED, RefusalKind.SESSION_UNKNOWN})
_IN_VAIN = frozenset({RefusalKind.ROOM_UNKNOWN, RefusalKind.ROOM_FULL})


class Visits:
    """Everybody's life. `on_gone` is told who has left, was turned away, or was lost."""

    def __init__(self, world: World, agents: Agents, random: Random) -> None:
        self._scenario, self._random, self._agents = world.scenario, random, agents
        self._agenda, self._fleet, self._geography = world.agenda, world.fleet, world.geography
        self._shell, self._pictures = world.shell, world.pictures
        self._number = 0
        self.asked = self.placed = self.turned_away = 0
        self.refusals: Counter[str] = Counter()
        """By kind; one who tries again may be refused again."""
        self.lost: Counter[str] = Counter()
        """Sessions that ended otherwise than by their user's will, by reason."""
        self.lost_by_cause: Counter[str] = Counter()
        self.line_changes = 0
        self.resumes = 0
        self.on_gone: Callable[[Visitor], None] = lambda visitor: None
        self._shell.on_ended = self._ended

    # --- Coming ---

    def arrive(self, room: str) -> Visitor:
        """Somebody comes; measures edges; asks to join."""
        self._number += 1
        access = self._geography.access(self._random)
        line = self._scenario.lines[access.line]
        visitor = Visitor(
            session=f"s{self._number}",
            room=room,
            home=self._geography.home(self._random),
            access=access,
            viewport=Viewport(width=line.width, height=line.height),
            arrived_at=self._agenda.now,
            dark_since=self._agenda.now,
            cause=JOINING,
        )
        self.asked += 1
        self._measure(visitor)
        self._change_line_later(visitor)
        return visitor

    def _measure(self, visitor: Visitor) -> None:
        """Time the edges that the broker names, then ask to join."""
        probes = [self._probe(visitor, self._fleet.edges[name]) for name in self._targets()]
        slowest_ms = max((probe.rtt_ms for probe in probes), default=0.0)
        self._agenda.after(PROBE_ROUND_TRIPS * slowest_ms / 1_000.0, lambda: self._ask(visitor, probes))

    def _targets(self) -> list[str]:
        """What `GET /v1/probe-targets` answers, of which those that are dead without anybody knowing do not answer."""
        edges = self._shell.brain.state.edges
        targets = probe_targets(edges.values(), self._random.randrange(len(edges) or 1))
        return [target.edge for target in targets if self._fleet.edges[target.edge].is_alive]

    def _probe(self, visitor: Visitor, edge: Edge) -> Probe:
        noise = self._scenario.latency.probe_noise
        rtt_ms = self._geography.client_ms(visitor.home, visitor.access, edge.site, edge.network)
        access = visitor.access
        return Probe(
            edge=edge.name,
            rtt_ms=rtt_ms * self._random.uniform(1.0 - noise, 1.0 + noise),
            jitter_ms=access.jitter_ms,
            loss=access.loss,
            bandwidth_bps=access.bandwidth_bps,
        )

    def _ask(self, visitor: Visitor, probes: list[Probe]) -> None:
        if visitor.gone:
            return
        request = Join(
            room=visitor.room,
            session=visitor.session,
            participant=f"p-{visitor.session}",
            view=f"v-{visitor.session}",
            identity=visitor.session,
            display_name=visitor.session,
            role=Role.VISITOR,
            joined_at=JOINED_AT,
            probes=probes,
            codecs=_PLAYS,
            viewport=visitor.viewport,
        )
        self._pictures.visitors[visitor.session] = visitor
        try:
            refused = self._shell.step("joins", lambda: self._shell.brain.join(request, self._agenda.now))
            if (refusal := refused.get(visitor.session)) is not None:
                raise refusal
        except Refusal as refusal:
            del self._pictures.visitors[visitor.session]
            self._refused(visitor, refusal, probes)
            return
        visitor.placed = True
        self.placed += 1
        self._go_to_edge(visitor)

    def _refused(self, visitor: Visitor, refusal: Refusal, probes: list[Probe]) -> None:
        """Try again when the broker says, as long as there is patience."""
        self.refusals[refusal.kind.value] += 1
        wait_s = refusal.retry_after_s or RETRY_S
        waited_s = self._agenda.now - visitor.arrived_at
        if refusal.kind in _IN_VAIN or waited_s + wait_s > self._scenario.clients.patience_s:
            self.turned_away += 1
            self._be_gone(visitor)
        else:
            self._agenda.after(wait_s, lambda: self._ask(visitor, probes))

    # --- Connecting ---

    def _go_to_edge(self, visitor: Visitor) -> None:
        """The broker has named an edge: connect to it."""
        session = self._shell.brain.state.sessions[visitor.session]
        edge = self._fleet.edges[str(session.edge)]
        visitor.edge = edge
        visitor.rtt_ms = self._geography.client_ms(visitor.home, visitor.access, edge.site, edge.network)
        clients = self._scenario.clients
        wait_ms = clients.store_ms + clients.connect_round_trips * visitor.rtt_ms
        self._agenda.after(wait_ms / 1_000.0, lambda: self._connect(visitor, edge))

    def _connect(self, visitor: Visitor, edge: Edge) -> None:
        if visitor.gone or visitor.edge is not edge or visitor.connected:
            return
        if not edge.is_alive or visitor.session not in edge.sessions:
            self.connection_fell_silent(visitor)
            return
        visitor.connected = True
        visitor.tries = 0
        self._agents.tell(edge, ViewerConnected(session=visitor.session))
        self._agents.begin(edge.sessions[visitor.session].stream)
        self._pictures.look(visitor, JOINING)

    def connection_fell_silent(self, visitor: Visitor) -> None:
        """The edge does not answer: after a while the client asks the broker for another one."""
        visitor.connected = False
        self._resume_later(visitor, self._scenario.clients.notice_s + RESTART_PATIENCE_S)

    def _resume_later(self, visitor: Visitor, wait_s: float = 0.0) -> None:
        pause_s = min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(visitor.tries, MOST_DOUBLED))
        pause_s *= self._random.uniform(1.0 - DELAY_SPREAD, 1.0 + DELAY_SPREAD)
        visitor.tries += 1
        self._agenda.after(wait_s + pause_s, lambda: self._resume(visitor))

    def _resume(self, visitor: Visitor) -> None:
        """As the SDK does it, without measuring anew."""
        if visitor.gone or visitor.connected:
            return
        self.resumes += 1
        try:
            refused = self._shell.step(
                "resumes", lambda: self._shell.brain.resume(visitor.session, [], self._agenda.now)
            )
            if (refusal := refused.get(visitor.session)) is not None:
                raise refusal
        except Refusal as refusal:
            if refusal.kind not in _OVER:
                self.refusals[refusal.kind.value] += 1
                self._resume_later(visitor)
            return
        self._go_to_edge(visitor)

    # --- Changing lines ---

    def _change_line_later(self, visitor: Visitor) -> None:
        rate = self._scenario.mobility.changes_per_hour
        if rate:
            wait_s = 3_600.0 / rate * self._random.expovariate(1.0)
            self._agenda.after(wait_s, lambda: self._change_line(visitor))

    def _change_line(self, visitor: Visitor) -> None:
        """Another line from one moment to the next; ICE is restarted, or the client resumes."""
        if visitor.gone:
            return
        self._change_line_later(visitor)
        visitor.access = self._geography.access(self._random)
        edge = visitor.edge
        if edge is None or not visitor.connected:
            return
        self.line_changes += 1
        visitor.rtt_ms = self._geography.client_ms(visitor.home, visitor.access, edge.site, edge.network)
        visitor.connected = False
        self._pictures.look(visitor, "line changed")
        if self._random.random() < self._scenario.mobility.breaks:
            self._resume_later(visitor, RESTART_PATIENCE_S)
        else:
            repaired_s = RESTART_S + RESTART_ROUND_TRIPS * visitor.rtt_ms / 1_000.0
            self._agenda.after(repaired_s, lambda: self._connect(visitor, edge))

    # --- Going ---

    def leave(self, visitor: Visitor) -> None:
        """They have seen enough."""
        if visitor.gone:
            return
        if visitor.placed:
            gone = ViewerGone(session=visitor.session, reason=EndReason.LEFT)
            is_told = visitor.edge is not None and visitor.connected and self._agents.tell(visitor.edge, gone)
            if not is_told and visitor.session in self._shell.brain.state.sessions:
                self._shell.step("leaves", lambda: self._shell.brain.end_session(visitor.session, EndReason.LEFT))
        if not visitor.gone:
            self._be_gone(visitor)

    def _ended(self, session: str, reason: EndReason) -> None:
        """The broker has ended a session."""
        visitor = self._pictures.visitors.get(session)
        if visitor is None:
            return
        if reason is not EndReason.LEFT:
            self.lost[reason.value] += 1
            self.lost_by_cause[visitor.cause if visitor.dark_since is not None else reason.value] += 1
        self._be_gone(visitor)

    def _be_gone(self, visitor: Visitor) -> None:
        visitor.gone = True
        visitor.connected = False
        visitor.node = None
        self._pictures.visitors.pop(visitor.session, None)
        self.on_gone(visitor)
