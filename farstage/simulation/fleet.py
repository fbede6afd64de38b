"""The machines as they are: what each really draws and passes on, whatever the broker believes."""

from collections import Counter
from dataclasses import dataclass, field

from broker.core.effects import AgentKey, AgentKind
from broker.core.picture import UNIT_PIXELS_PER_S
from broker.protocol import DropView, PutRelay, PutSession, PutView
from farstage.simulation.layout import all_edges, all_nodes
from farstage.simulation.scenario import NodeKind, Scenario


@dataclass(slots=True)
class Drawing:
    """A view that a node draws, or is about to."""

    command: PutView
    is_begun: bool = False
    """Whether its first picture is under way."""
    is_started: bool = False

    @property
    def targets(self) -> set[str]:
        """The edges it is sent to."""
        return {target.edge for target in self.command.targets}

    @property
    def milliunits(self) -> float:
        """What drawing it takes, with its simulcast layers."""
        command = self.command
        pixels = sum(command.width * command.height >> 2 * below for below in range(command.layers))
        return 1_000.0 * pixels * command.fps / UNIT_PIXELS_PER_S


@dataclass(slots=True, eq=False)
class Machine:
    """What nodes and edges have in common. `has_line`: whether the broker and it can reach each other."""

    name: str
    site: str
    is_alive: bool = True
    has_line: bool = True
    is_registered: bool = False

    @property
    def key(self) -> AgentKey:
        """Its name to the broker."""
        raise NotImplementedError

    @property
    def is_heard(self) -> bool:
        """Whether its messages reach the broker."""
        return self.is_alive and self.has_line and self.is_registered


@dataclass(slots=True, eq=False)
class Node(Machine):
    """A render node."""

    kind: NodeKind = field(kw_only=True)
    drawings: dict[str, Drawing] = field(default_factory=dict)
    """By view."""
    used_milliunits: float = 0.0

    @property
    def key(self) -> AgentKey:
        """Its name to the broker."""
        return AgentKey(AgentKind.NODE, self.name)

    @property
    def load(self) -> float:
        """Share of its capacity that is in use."""
        return self.used_milliunits / (1_000.0 * self.kind.units)

    @property
    def watts(self) -> float:
        """What it takes from the socket."""
        kind = self.kind
        return kind.watts_idle + (kind.watts_full - kind.watts_idle) * min(1.0, self.load) if self.is_alive else 0.0


@dataclass(slots=True, eq=False)
class Edge(Machine):
    """An edge."""

    network: str = field(kw_only=True)
    max_viewers: int = field(kw_only=True)
    sessions: dict[str, PutSession] = field(default_factory=dict)
    """Whom it admits, and to which stream."""
    relays: dict[str, PutRelay] = field(default_factory=dict)
    """The streams it passes on."""
    trunks: Counter[str] = field(default_factory=Counter)
    """Streams that come from each node."""

    @property
    def key(self) -> AgentKey:
        """Its name to the broker."""
        return AgentKey(AgentKind.EDGE, self.name)


class Fleet:
    """All machines. `holders`: by stream, the nodes that draw it; `watchers`: by stream, who is admitted to it."""

    def __init__(self, scenario: Scenario) -> None:
        kinds = {kind.name: kind for kind in scenario.node_kinds}
        self.nodes = {
            seat.name: Node(seat.name, seat.site, kind=kinds[seat.entry.kind]) for seat in all_nodes(scenario)
        }
        self.edges = {
            seat.name: Edge(seat.name, seat.site, network=seat.entry.network, max_viewers=seat.entry.max_viewers)
            for seat in all_edges(scenario)
        }
        self.holders: dict[str, dict[str, Node]] = {}
        self.watchers: dict[str, dict[str, None]] = {}

    def machine(self, key: AgentKey) -> Node | Edge:
        """The one of this name."""
        return self.nodes[key.name] if key.kind is AgentKind.NODE else self.edges[key.name]

    def machines(self) -> list[Node | Edge]:
        """All of them, nodes first."""
        return [*self.nodes.values(), *self.edges.values()]

    # --- What nodes draw ---

    def put_view(self, node: Node, command: PutView) -> Drawing:
        """The node draws this from now on, or sends it to other edges."""
        known = node.drawings.get(command.view)
        if known is not None and known.command.fence == command.fence:
            self._count(node, known, -1)
            known.command = command
        else:
            self._stop(node, command.view)
            known = node.drawings[command.view] = Drawing(command)
            self.holders.setdefault(command.view, {})[node.name] = node
        self._count(node, known, 1)
        return known

    def _count(self, node: Node, drawing: Drawing, sign: int) -> None:
        node.used_milliunits += sign * drawing.milliunits
        for target in drawing.targets:
            trunks = self.edges[target].trunks
            trunks[node.name] += sign
            if not trunks[node.name]:
                del trunks[node.name]

    def drop_view(self, node: Node, command: DropView) -> None:
        """The node draws this no longer, unless it has it under a newer fence."""
        known = node.drawings.get(command.view)
        if known is not None and known.command.fence <= command.fence:
            self._stop(node, command.view)

    def _stop(self, node: Node, view: str) -> None:
        known = node.drawings.pop(view, None)
        if known is None:
            return
        self._count(node, known, -1)
        del self.holders[view][node.name]
        if not self.holders[view]:
            del self.holders[view]

    # --- Whom edges serve ---

    def put_session(self, edge: Edge, command: PutSession) -> None:
        """The edge admits somebody to a stream."""
        self.drop_session(edge, command.session)
        edge.sessions[command.session] = command
        self.watchers.setdefault(command.stream, {})[command.session] = None

    def drop_session(self, edge: Edge, session: str) -> None:
        """The edge knows them no longer."""
        known = edge.sessions.pop(session, None)
        if known is None:
            return
        watchers = self.watchers[known.stream]
        watchers.pop(session, None)
        if not watchers:
            del self.watchers[known.stream]

    def put_relay(self, edge: Edge, command: PutRelay) -> None:
        """The edge passes a stream on, or no longer."""
        if command.targets:
            edge.relays[command.stream] = command
        else:
            edge.relays.pop(command.stream, None)

    # --- What comes of it ---

    def source(self, stream: str, edge: Edge, fence: int) -> Node | None:
        """The node whose picture of a stream reaches an edge: the newest one that is not below this fence."""
        best, newest = None, fence - 1
        for node in self.holders.get(stream, {}).values():
            drawing = node.drawings[stream]
            is_seen = node.is_alive and drawing.is_started and drawing.command.fence > newest
            if is_seen and self._reaches(stream, drawing, edge):
                best, newest = node, drawing.command.fence
        return best

    def _reaches(self, stream: str, drawing: Drawing, edge: Edge) -> bool:
        """Whether there is a way from the node, over living edges that pass the stream on."""
        if edge.name in drawing.targets:
            return edge.is_alive
        seen, ahead = set(drawing.targets), sorted(drawing.targets)
        while ahead:
            relay = self.edges[ahead.pop()]
            command = relay.relays.get(stream) if relay.is_alive else None
            for target in command.targets if command is not None else ():
                if target.edge == edge.name:
                    return edge.is_alive
                if target.edge not in seen:
                    seen.add(target.edge)
                    ahead.append(target.edge)
        return False

    def wipe(self, machine: Node | Edge) -> None:
        """Its process is gone, and with it all it held."""
        match machine:
            case Node():
                for view in list(machine.drawings):
                    self._stop(machine, view)
            case Edge():
                for session in list(machine.sessions):
                    self.drop_session(machine, session)
                machine.relays.clear()
