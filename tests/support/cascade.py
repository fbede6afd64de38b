"""Edges that pass streams on to one another in memory: real hubs and relays, wires that hold messages until told."""

from collections import deque
from collections.abc import Callable

import msgspec
import numpy as np

from broker import protocol
from broker.protocol import H264Profile, Mode, PutRelay, PutSession, Role, SessionState, TrunkTarget
from edge.engine import VIEWER_STATISTICS, MediaFrame
from edge.hub import StreamHub
from edge.trunk import Flag, Frame, Kind, StreamOpen, ViewerAudio, ViewerEvent

STREAM = "v1"
FRAME_S = 1 / 30


def admission(session: str, *, fence: int = 1, profile: H264Profile | None = None, **more) -> PutSession:
    """What the broker says of a viewer of the stream."""
    return PutSession(
        session=session,
        participant=f"p-{session}",
        room="r",
        mode=Mode.EXPLORE,
        role=Role.VISITOR,
        muted=False,
        stream=STREAM,
        fence=fence,
        codec=protocol.Codec.H264,
        profile=profile,
        state=SessionState.LIVE,
        **more,
    )


class Engine:
    """Records what viewers get."""

    def __init__(self) -> None:
        self.sent: list[MediaFrame] = []
        self.messages: list[tuple[str, protocol.ClientEvent]] = []
        self.sounds: list[tuple[str, bytes]] = []
        self.layers: list[float] = []
        self.starts_requested: list[tuple[str, int]] = []

    def set_layers(self, stream: str, bitrates_bps) -> None:
        self.layers = list(bitrates_bps)

    def request_picture_start(self, session: str, layer: int) -> None:
        self.starts_requested.append((session, layer))

    def send(self, stream: str, frame: MediaFrame) -> None:
        self.sent.append(frame)

    def send_message(self, sessions, channel: str, data: bytes) -> None:
        self.messages += [(session, protocol.decode_client_event(data)) for session in sessions]

    def send_audio(self, session: str, opus_frame: bytes, timestamp: int) -> None:
        self.sounds.append((session, opus_frame))

    def statistics(self):
        return np.array([], VIEWER_STATISTICS)


class Source:
    """A node's connection to an edge; records what it is told."""

    def __init__(self, world: "World", edge: str, channel: int = 1, name: str = "node-1") -> None:
        self.world, self.edge, self.channel, self.source = world, world.edges[edge], channel, name
        self.calls: list[tuple[str, tuple]] = []
        self.sequence = 0

    def __getattr__(self, name: str):
        return lambda *details: self.calls.append((name, details))

    def called(self, name: str) -> list[tuple]:
        return [details for called, details in self.calls if called == name]

    def open(self, fence: int = 1, layers=()) -> str | None:
        description = StreamOpen(stream=STREAM, fence=fence, layers=list(layers))
        reason = self.edge.hub.on_open(self, self.channel, description)
        self.world.settle()
        return reason

    def frame(
        self,
        *,
        keyframe: bool = False,
        shows: int = 0,
        payload: bytes = b"picture",
        clock_us: int = 0,
        layers: tuple[int, ...] = (0,),
    ) -> None:
        """Send the next frame a thirtieth of a second after the last; the wires carry it everywhere."""
        self.world.now += FRAME_S
        self.sequence += 1
        flags = Flag.KEYFRAME if keyframe else 0
        capture_us = int(self.world.now * 1e6) + clock_us
        for layer in layers:
            frame = Frame(Kind.FRAME, self.channel, payload, flags, self.sequence, layer, 0, capture_us, shows)
            self.edge.hub.on_frame(self, frame)
        self.world.settle()

    def close(self) -> None:
        self.edge.hub.on_close(self, self.channel, "connection lost")
        self.world.settle()

    def event(self, event: protocol.ClientEvent, session: str | None = None) -> None:
        body = msgspec.Raw(protocol.encode(event))
        self.edge.hub.on_event(self, self.channel, ViewerEvent(body=body, session=session))
        self.world.settle()

    def audio(self, audio: ViewerAudio) -> None:
        self.edge.hub.on_audio(self, self.channel, audio)
        self.world.settle()


class _Connection:
    """The child's end of a wire."""

    def __init__(self, wire: "Wire") -> None:
        self.source = wire.parent.name
        self._wire = wire

    def accept(self, channel: int, retained_state: bytes | None) -> None:
        self._wire.up("accepted", retained_state)

    def send_viewer(self, channel: int, viewer) -> None:
        self._wire.up("on_viewer", viewer)

    def send_input(self, channel: int, viewer_input) -> None:
        self._wire.up("on_input", viewer_input)

    def send_voice(self, channel: int, participant: str, opus_frame: bytes) -> None:
        self._wire.up("on_voice", participant, opus_frame)

    def send_feedback(self, channel: int, feedback) -> None:
        self._wire.up("on_feedback", feedback)

    def request_keyframe(self, channel: int, layer: int = 0) -> None:
        self._wire.up("on_keyframe_request", layer)

    def refuse(self, channel: int, reason: str) -> None:
        self._wire.up("refused", reason)


class Wire:
    """One relayed stream: an `OutgoingStream` at the parent, a `TrunkConnection` at the child."""

    def __init__(self, parent: "Edge", child: "Edge", description: StreamOpen) -> None:
        self.parent, self.child, self.description = parent, child, description
        self.accepted = self.closed = False
        self.taking = True
        self.frames: list[Frame] = []
        self._connection = _Connection(self)
        self._sequences: dict[int, int] = {}
        self.down(self._opened)

    def down(self, arrive: Callable[[], None]) -> None:
        self.parent.world.pending.append(arrive)

    def up(self, call: str, *details) -> None:
        self.parent.world.pending.append(lambda: self._arrive_at_parent(call, details))

    def _arrive_at_parent(self, call: str, details: tuple) -> None:
        relay = self.parent.hub.relay
        if self.closed:
            return
        if call == "accepted":
            self.accepted = True
            relay.on_opened(self)
            if details[0] is not None:
                relay.on_retained_state(self, details[0])
        elif call == "refused":
            self.accepted, self.closed = False, True
            relay.on_refused(self, details[0])
        else:
            getattr(relay, call)(self, *details)

    def _opened(self) -> None:
        reason = self.child.hub.on_open(self._connection, 1, self.description)
        if reason is not None:
            self.up("refused", reason)

    def send(self, payload, *, flags, capture_time_us, input_sequence, layer=0, temporal=0) -> bool:
        sequence = self._sequences[layer] = self._sequences.get(layer, 0) + 1
        if not self.taking:
            return False
        frame = Frame(Kind.FRAME, 1, payload, flags, sequence, layer, temporal, capture_time_us, input_sequence)
        self.frames.append(frame)
        self.down(lambda: self.child.hub.on_frame(self._connection, frame))
        return True

    def send_event(self, body: bytes, session: str | None = None) -> None:
        event = ViewerEvent(body=msgspec.Raw(body), session=session)
        self.down(lambda: self.child.hub.on_event(self._connection, 1, event))

    def send_audio(self, audio: ViewerAudio) -> None:
        self.down(lambda: self.child.hub.on_audio(self._connection, 1, audio))

    def send_state(self, state: bytes) -> None:
        self.down(lambda: self.child.hub.on_state(self._connection, 1, state))

    def close(self, reason: str) -> None:
        self.accepted, self.closed = False, True
        self.down(lambda: self.child.hub.on_close(self._connection, 1, reason))

    def cut(self) -> None:
        """The line breaks: the child notices, the parent would dial again."""
        self.accepted = False
        self.down(lambda: self.child.hub.on_close(self._connection, 1, "connection lost"))
        self.parent.world.settle()


class Edge:
    """One edge: hub, relay and the wires it opened."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.told: list[protocol.AgentMessage] = []
        self.hub = StreamHub(lambda: world.now, self.told.append, name)
        self.engine = self.hub.engine = Engine()
        self.hub.relay.trunks = self
        self.wires: list[Wire] = []

    def open(self, target: TrunkTarget, description: StreamOpen) -> Wire:
        wire = Wire(self, self.world.edges[target.edge], description)
        self.wires.append(wire)
        return wire

    def renew(self, target: TrunkTarget) -> None:
        pass

    def viewer(self, session: str, fence: int = 1, bandwidth_bps: float | None = None) -> None:
        """A viewer that is connected and has opened its channels."""
        self.put(session, fence, bandwidth_bps=bandwidth_bps)
        self.hub.on_connected(session)
        self.hub.on_channel_open(session, "control")
        self.world.settle()

    def put(self, session: str, fence: int, **more) -> None:
        self.hub.put_session(admission(session, fence=fence, **more))
        self.world.settle()

    def relay(self, *children: str, fence: int = 1) -> None:
        """What the broker commands: pass the stream on to these edges."""
        targets = [TrunkTarget(edge=name, url=f"ws://{name}", token="t") for name in children]
        self.hub.put_relay(PutRelay(stream=STREAM, fence=fence, targets=targets))
        self.world.settle()

    def wire_to(self, child: str) -> Wire:
        """The newest open wire to a child."""
        return next(wire for wire in reversed(self.wires) if wire.child.name == child and not wire.closed)

    @property
    def shown(self) -> list[bytes]:
        return [bytes(frame.payload) for frame in self.engine.sent]


class World:
    """Edges with one clock, and the messages that are under way between them."""

    MOST_STEPS = 10_000

    def __init__(self, *names: str) -> None:
        self.now = 100.0
        self.pending: deque[Callable[[], None]] = deque()
        self.edges = {name: Edge(self, name) for name in names}

    def __getitem__(self, name: str) -> Edge:
        return self.edges[name]

    def settle(self) -> None:
        """Deliver everything that is under way, and what follows from it."""
        for _ in range(self.MOST_STEPS):
            if not self.pending:
                return
            self.pending.popleft()()
        raise AssertionError("messages go round for ever")

    def wait(self, seconds: float) -> None:
        """Let time pass; each edge does what it does every tenth of a second."""
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            for edge in self.edges.values():
                edge.hub.poll_keyframes()
                edge.hub.relay.end_leaving()
            self.settle()
