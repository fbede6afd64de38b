"""What the processes on the machines do: register, beat, carry commands out, and tell what they see of one another."""

from functools import partial

from broker.core.effects import AgentKey
from broker.core.refusals import Refusal
from broker.protocol import (
    BrokerMessage,
    Codec,
    DropSession,
    DropView,
    EdgeCapability,
    EdgeHeartbeat,
    EdgeLoad,
    NodeCapability,
    NodeHeartbeat,
    NodeLoad,
    PeerSight,
    PeerSighted,
    PutRelay,
    PutSession,
    PutView,
    RegisterEdge,
    RegisterNode,
    ViewHolding,
    ViewStarted,
)
from farstage.simulation.fleet import Edge, Node
from farstage.simulation.pictures import GIVEN_UP
from farstage.simulation.world import World

SCENE = "campus"
NOTICED_S = 0.01
"""Until the ends of a connection notice that a process has closed it."""
SILENT_S = 0.95
"""Until the end of a trunk says that it hears nothing: a pause and a lost packet are allowed."""
REPEATED_S = 1.0
WORDS = 3
"""How often it says so."""
DIALS_AGAIN_S = 0.2
_IDLE = NodeHeartbeat(load=NodeLoad())


class Agents:
    """The processes of a fleet."""

    def __init__(self, world: World) -> None:
        self._agenda, self._fleet, self._geography = world.agenda, world.fleet, world.geography
        self._shell, self._pictures = world.shell, world.pictures
        self._beats: dict[str, EdgeHeartbeat] = {}
        self.over_capacity: set[str] = set()
        """Nodes that were told to draw more than they can."""
        self._shell.on_command = self._carry_out
        self._shell.on_disconnect = self._cut

    # --- To the broker ---

    def register(self, machine: Node | Edge) -> None:
        """Tell the broker that a process is there, and what it holds."""
        if not machine.is_alive or not machine.has_line or machine.is_registered:
            return
        machine.is_registered = True
        message = self._introduced(machine)
        self._shell.step("register", lambda: self._shell.brain.register(message, self._agenda.now))

    def _introduced(self, machine: Node | Edge) -> RegisterNode | RegisterEdge:
        match machine:
            case Node():
                return _node(machine)
            case Edge():
                present = [name for name in machine.sessions if self._is_present(machine, name)]
                return _edge(machine, present)

    def _is_present(self, edge: Edge, session: str) -> bool:
        visitor = self._pictures.visitors.get(session)
        return visitor is not None and visitor.edge is edge and visitor.connected

    def beat(self) -> None:
        """Everybody's heartbeat."""
        now, fleet = self._agenda.now, self._fleet
        for node in fleet.nodes.values():
            if node.is_heard:
                self._shell.hear("heartbeats", node.key, _IDLE, now)
        for edge in fleet.edges.values():
            if edge.is_heard:
                self._shell.hear("heartbeats", edge.key, self._edge_beat(edge), now)

    def _edge_beat(self, edge: Edge) -> EdgeHeartbeat:
        known = self._beats.get(edge.name)
        if known is None or known.load.node_rtt_ms.keys() != edge.trunks.keys():
            rtts = {
                name: self._geography.trunk_ms(edge.site, self._fleet.nodes[name].site) for name in sorted(edge.trunks)
            }
            known = self._beats[edge.name] = EdgeHeartbeat(load=EdgeLoad(node_rtt_ms=rtts))
        return known

    def tell(self, machine: Node | Edge, message: object) -> bool:
        """Say something to the broker; false if it cannot be heard."""
        if not machine.is_heard:
            return False
        try:
            why = "failures" if isinstance(message, PeerSighted) else "events"
            self._shell.hear(why, machine.key, message, self._agenda.now)
        except Refusal:
            return False
        return True

    # --- From the broker ---

    def _carry_out(self, key: AgentKey, message: BrokerMessage) -> None:
        machine = self._fleet.machine(key)
        if not machine.is_heard:
            return
        match machine:
            case Node():
                self._draw(machine, message)
            case Edge():
                self._serve(machine, message)

    def _draw(self, node: Node, message: BrokerMessage) -> None:
        match message:
            case PutView():
                self._fleet.put_view(node, message)
                if node.used_milliunits > 1_000.0 * node.kind.units + 1.0:
                    self.over_capacity.add(node.name)
                self.begin(message.view)
                self._pictures.look_at_stream(message.view, GIVEN_UP)
            case DropView():
                self._fleet.drop_view(node, message)
                self._pictures.look_at_stream(message.view, GIVEN_UP)
            case _:
                pass

    def _serve(self, edge: Edge, message: BrokerMessage) -> None:
        match message:
            case PutSession():
                self._fleet.put_session(edge, message)
                self._look(message.session)
            case DropSession():
                self._fleet.drop_session(edge, message.session)
            case PutRelay():
                self._fleet.put_relay(edge, message)
                self._pictures.look_at_stream(message.stream, GIVEN_UP)
            case _:
                pass

    def _look(self, session: str) -> None:
        visitor = self._pictures.visitors.get(session)
        if visitor is not None:
            self._pictures.look(visitor, GIVEN_UP)

    def _cut(self, key: AgentKey) -> None:
        """The broker has closed the connection; a process that lives dials again."""
        machine = self._fleet.machine(key)
        machine.is_registered = False
        self._agenda.after(DIALS_AGAIN_S, lambda: self.register(machine))

    # --- Drawing ---

    def begin(self, view: str) -> None:
        """Nodes begin to draw a view once somebody watches it."""
        if not any(self._watches(session) for session in self._fleet.watchers.get(view, ())):
            return
        for node in self._fleet.holders.get(view, {}).values():
            drawing = node.drawings[view]
            if not drawing.is_begun:
                drawing.is_begun = True
                begun = partial(self._started, node, view, drawing.command.fence)
                self._agenda.after(node.kind.start_s, begun)

    def _watches(self, session: str) -> bool:
        visitor = self._pictures.visitors.get(session)
        return visitor is not None and visitor.connected

    def _started(self, node: Node, view: str, fence: int) -> None:
        drawing = node.drawings.get(view)
        if not node.is_alive or drawing is None or drawing.command.fence != fence:
            return
        drawing.is_started = True
        self._pictures.look_at_stream(view, GIVEN_UP)
        self.tell(node, ViewStarted(view=view, fence=fence))

    # --- Dying ---

    def noticed(self, machine: Node | Edge, *, closed: bool) -> None:
        """A process is gone: the broker and those that had trunks with it notice, sooner if its connections closed."""
        observers = self._observers(machine)
        if closed:
            self._agenda.after(NOTICED_S, lambda: self._disconnected(machine))
        sight = PeerSight.BROKEN if closed else PeerSight.SILENT
        for time in range(1 if closed else WORDS):
            delay_s = NOTICED_S if closed else SILENT_S + time * REPEATED_S
            self._agenda.after(delay_s, lambda: self._sighted(observers, machine, sight))

    def _observers(self, machine: Node | Edge) -> list[Node | Edge]:
        match machine:
            case Node():
                targets = {target for drawing in machine.drawings.values() for target in drawing.targets}
                return [self._fleet.edges[name] for name in sorted(targets)]
            case Edge():
                return [self._fleet.nodes[name] for name in sorted(machine.trunks)]

    def _disconnected(self, machine: Node | Edge) -> None:
        if not machine.is_alive and machine.is_registered:
            machine.is_registered = False
            self._shell.step("failures", lambda: self._shell.brain.disconnected(machine.key, self._agenda.now))

    def _sighted(self, observers: list[Node | Edge], machine: Node | Edge, sight: PeerSight) -> None:
        if machine.is_alive:
            return
        word = PeerSighted(peer=machine.name, is_edge=isinstance(machine, Edge), sight=sight)
        for observer in observers:
            self.tell(observer, word)


def _node(node: Node) -> RegisterNode:
    capability = NodeCapability(
        renderer="simulated", device=node.kind.name, units=node.kind.units, codecs=list(Codec), scenes=[SCENE]
    )
    held = [ViewHolding(view=view, fence=drawing.command.fence) for view, drawing in sorted(node.drawings.items())]
    return RegisterNode(node=node.name, region=node.site, version="simulated", capability=capability, views=held)


def _edge(edge: Edge, present: list[str]) -> RegisterEdge:
    return RegisterEdge(
        edge=edge.name,
        region=edge.site,
        version="simulated",
        capability=EdgeCapability(engine="simulated", max_viewers=edge.max_viewers),
        public_url=f"https://{edge.name}.example",
        trunk_url=f"wss://{edge.name}.example/trunk",
        sessions=present,
        relays=sorted(edge.relays),
    )
