"""Who is dead, by two observers, in virtual time: no false alarm within the promised bounds, and always in time.

The broker's core and an edge's `PeerWatch` watch one node over two connections that lose one packet in twenty and
deliver in order, as TCP does, while node, edge and broker pause. The state is validated after every step.
"""

import random
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from broker.core.effects import AgentLost
from broker.core.state import CoreSettings
from broker.core.suspicion import MAX_OBSERVERS, OwnLine, Patience, Verdict, Words, judge, note
from broker.protocol import AgentState, NodeHeartbeat, NodeLoad, PeerSight, PeerSighted, PutSession
from edge.trunk.watch import CHECK_INTERVAL_S, FORGET_S, KEEPALIVE_S, SILENT_AFTER_S, Peer, PeerWatch
from tests.support.broker_farm import Farm, edge_key, node_key

PATIENCE = CoreSettings().patience
STEP_S = 0.01
LOSS = 0.05
RETRANSMITTED_AFTER_S = (0.2, 0.6)
WATCH_S = 0.05
KNOWN_WITHIN_S = 1.0
N1 = Peer("n1", is_edge=False)


@dataclass
class Line:
    """A TCP connection: a lost packet comes late, and what was sent after it no sooner."""

    random: random.Random
    period_s: float
    next_s: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    last_s: float = 0.0

    def send_if_due(self, now: float) -> None:
        if now < self.next_s:
            return
        self.next_s = now + self.period_s
        losses = sum(self.random.random() < LOSS for _ in RETRANSMITTED_AFTER_S)
        self.last_s = max(self.last_s, now + 0.005 + (RETRANSMITTED_AFTER_S[losses - 1] if losses else 0.0))
        self.arrivals.append(self.last_s)

    def take(self, now: float) -> list[float]:
        came = [at for at in self.arrivals if at <= now]
        self.arrivals = [at for at in self.arrivals if at > now]
        return came


class Scene:
    """A node with a viewer's view, the edge that is fed, another node, the broker. `pauses`: who, when, how long."""

    def __init__(self, seed: int, pauses: list[tuple[str, float, float]]) -> None:
        chance = random.Random(seed)
        self.farm = Farm()
        for name in ("n1", "n2"):
            self.farm.node(name)
        self.farm.edge("e1")
        self.farm.room()
        self.session = self.farm.join_live()
        assert self.farm.view(self.session).node == "n1"
        self.began = self.farm.now
        self.control = Line(chance, CoreSettings().heartbeat_interval_s, self.began)
        self.trunk = Line(chance, KEEPALIVE_S, self.began + chance.random() * KEEPALIVE_S)
        self.words: list[PeerSighted] = []
        self.watch = PeerWatch(self.words.append)
        self.heard = self.began
        self.pauses = pauses
        self.dead = False
        self._checked = self._watched = self.began

    def stands_still(self, who: str) -> bool:
        now = self.farm.now - self.began
        return any(name == who and start <= now < start + length for name, start, length in self.pauses)

    def run(self, seconds: float) -> None:
        end = self.farm.now + seconds
        while self.farm.now < end and not self.is_lost:
            self.farm.now += STEP_S
            if not self.dead and not self.stands_still("node"):
                self.control.send_if_due(self.farm.now)
                self.trunk.send_if_due(self.farm.now)
            if not self.stands_still("edge"):
                self._edge()
            if not self.stands_still("broker"):
                self._broker()

    def _edge(self) -> None:
        now = self.farm.now
        if now - self._checked >= CHECK_INTERVAL_S:
            self._checked = now
            self.watch.check([(N1, self.heard)], now)
        if self.trunk.take(now):
            self.heard = now

    def _broker(self) -> None:
        """After a pause its timer comes first, and only then what has piled up."""
        now = self.farm.now
        if now - self._watched >= WATCH_S:
            self._watched = now
            self.farm.carry_out(self.farm.brain.watch(now))
            for key in (node_key("n2"), edge_key("e1")):
                self.farm.say(key, NodeHeartbeat(load=NodeLoad()) if key.name == "n2" else PeerSighted(**OF_NOBODY))
        words, self.words[:] = list(self.words), []
        for word in words:
            self.farm.say(edge_key("e1"), word)
        if self.control.take(now) and not self.is_lost:
            self.farm.say(node_key("n1"), NodeHeartbeat(load=NodeLoad()))

    @property
    def is_lost(self) -> bool:
        return self.farm.state.nodes["n1"].state is AgentState.LOST


OF_NOBODY = {"peer": "nobody", "is_edge": False, "sight": PeerSight.HEARD}


def pauses_of(who: str, longest_s: float) -> st.SearchStrategy[list[tuple[str, float, float]]]:
    """Pauses that begin in different periods of 2 s."""
    one = st.tuples(st.floats(0, 0.9), st.floats(0.01, longest_s))
    return st.lists(one, max_size=4).map(
        lambda drawn: [(who, 2.0 * index + 1 + start, length) for index, (start, length) in enumerate(drawn)]
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32),
    node=pauses_of("node", 0.5),
    edge=pauses_of("edge", 0.5),
    broker=pauses_of("broker", 1.0),
)
def test_living_node_that_pauses_on_a_bad_network_is_never_taken_for_dead(seed, node, edge, broker) -> None:
    scene = Scene(seed, node + edge + broker)
    scene.run(9.0)
    assert not scene.is_lost
    assert scene.farm.view(scene.session).node == "n1"


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), alive_s=st.floats(0.5, 2.0), node=pauses_of("node", 0.5))
def test_dead_machine_is_known_within_a_second_and_its_view_is_placed_again(seed, alive_s, node) -> None:
    scene = Scene(seed, [pause for pause in node if sum(pause[1:]) < alive_s])
    scene.run(alive_s)
    scene.dead = True
    died = max(scene.farm.now, scene.control.last_s, scene.trunk.last_s)
    scene.run(3.0)
    assert scene.is_lost
    assert scene.farm.now - died <= KNOWN_WITHIN_S
    assert scene.farm.view(scene.session).node == "n2"
    assert scene.farm.to("edge:e1", PutSession)[-1].fence == scene.farm.view(scene.session).fence


# --- What counts ----------------------------------------------------------------------------------------


def sighted(name: str, sight: PeerSight, *, is_edge: bool = False) -> PeerSighted:
    return PeerSighted(peer=name, is_edge=is_edge, sight=sight)


@pytest.fixture
def farm() -> Farm:
    farm = Farm()
    farm.node("n1")
    farm.edge("e1")
    farm.node("n2")
    farm.edge("e2")
    farm.room()
    farm.join_live()
    return farm


@pytest.mark.parametrize("word_first", [True, False])
def test_node_whose_lines_are_broken_on_both_sides_is_dead_at_once(farm: Farm, word_first: bool) -> None:
    steps = [
        lambda: farm.say(edge_key("e1"), sighted("n1", PeerSight.BROKEN)),
        lambda: farm.drop(node_key("n1")),
    ]
    for step in steps if word_first else reversed(steps):
        assert farm.state.nodes["n1"].state is AgentState.READY, "one observer alone may be mistaken"
        step()
    assert farm.state.nodes["n1"].state is AgentState.LOST
    assert all(view.node == "n2" for view in farm.state.views.values()), "placed again in the same step"


def test_shell_is_told_who_was_lost_with_which_views(farm: Farm) -> None:
    farm.say(edge_key("e1"), sighted("n1", PeerSight.BROKEN))
    effects = farm.carry_out(farm.brain.disconnected(node_key("n1"), farm.now))
    assert [effect for effect in effects if isinstance(effect, AgentLost)] == [
        AgentLost(node_key("n1"), tuple(farm.state.views))
    ]


def test_edge_whose_lines_are_broken_on_both_sides_is_dead_at_once(farm: Farm) -> None:
    (session,) = farm.state.sessions.values()
    farm.drop(edge_key("e1"))
    farm.say(node_key("n1"), sighted("e1", PeerSight.BROKEN, is_edge=True))
    assert farm.state.edges["e1"].state is AgentState.LOST
    farm.carry_out(farm.brain.resume(session.session, [], farm.now))
    assert session.edge == "e2"


def test_no_number_of_observers_can_have_a_node_that_is_heard_taken_for_dead(farm: Farm) -> None:
    for _ in range(40):
        for edge in ("e1", "e2"):
            farm.say(edge_key(edge), sighted("n1", PeerSight.BROKEN))
        farm.wait(0.1)
    assert farm.state.nodes["n1"].state is AgentState.READY


def test_word_that_is_old_or_taken_back_or_of_itself_does_not_count(farm: Farm) -> None:
    farm.say(edge_key("e1"), sighted("n1", PeerSight.BROKEN))
    farm.wait(2.1)
    farm.say(edge_key("e2"), sighted("n1", PeerSight.SILENT))
    farm.say(edge_key("e2"), sighted("n1", PeerSight.HEARD))
    farm.say(node_key("n1"), sighted("n1", PeerSight.BROKEN))
    farm.say(edge_key("e1"), sighted("nobody", PeerSight.BROKEN))
    farm.drop(node_key("n1"))
    assert farm.state.nodes["n1"].state is AgentState.READY
    farm.wait(1.1)
    assert farm.state.nodes["n1"].state is AgentState.LOST


def test_word_on_a_process_does_not_count_against_its_successor(farm: Farm) -> None:
    farm.say(edge_key("e1"), sighted("n1", PeerSight.BROKEN))
    farm.node("n1", views=farm.holdings("n1"))
    farm.drop(node_key("n1"))
    assert farm.state.nodes["n1"].state is AgentState.READY


def test_words_of_an_agent_are_bounded() -> None:
    words: Words = {}
    for number in range(1000):
        note(words, f"edge:e{number}", PeerSight.BROKEN, float(number))
    assert len(words) == MAX_OBSERVERS
    assert "edge:e999" in words


@pytest.mark.parametrize(
    ("silent_s", "grace_ends", "confirmed", "verdict"),
    [
        (PATIENCE.silence_s - 0.01, None, True, Verdict.TRUSTED),
        (PATIENCE.silence_s + 0.01, None, False, Verdict.SUSPECTED),
        (PATIENCE.silence_s + 0.01, None, True, Verdict.DEAD),
        (PATIENCE.silent_alone_s + 0.01, None, False, Verdict.DEAD),
        (0.0, 100.5, False, Verdict.SUSPECTED),
        (0.0, 100.5, True, Verdict.DEAD),
        (0.0, 100.0, False, Verdict.DEAD),
    ],
)
def test_verdict(silent_s: float, grace_ends: float | None, confirmed: bool, verdict: Verdict) -> None:
    words: Words = {}
    if confirmed:
        note(words, "edge:e1", PeerSight.SILENT, 100.0)
    assert judge(OwnLine(100.0 - silent_s, grace_ends), words, PATIENCE, 100.0) is verdict


def test_patience_covers_pause_and_retransmission() -> None:
    patience = Patience(0.2, 0.5, 0.2, 1.4, 2.0)
    assert patience.silence_s == pytest.approx(0.9)
    assert PATIENCE.silence_s + 1e-9 >= SILENT_AFTER_S + CHECK_INTERVAL_S, "observers have spoken when it counts"


# --- What an observer says ------------------------------------------------------------------------------


class Observer:
    """A `PeerWatch` that checks ten times a second."""

    def __init__(self) -> None:
        self.said: list[PeerSight] = []
        self.watch = PeerWatch(lambda sighted: self.said.append(sighted.sight))
        self.now = 50.0

    def look(self, seconds: float, heard_s: float | None) -> None:
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            self.watch.check([] if heard_s is None else [(N1, heard_s)], self.now)


def test_silence_is_told_and_repeated_and_taken_back() -> None:
    observer = Observer()
    observer.look(0.7, heard_s=50.0)
    assert observer.said == []
    observer.look(0.3, heard_s=50.0)
    assert observer.said == [PeerSight.SILENT]
    observer.look(1.0, heard_s=50.0)
    assert observer.said == [PeerSight.SILENT] * 2
    observer.look(0.1, heard_s=observer.now)
    assert observer.said[2:] == [PeerSight.HEARD]
    observer.look(0.5, heard_s=observer.now)
    assert len(observer.said) == 3


def test_observer_that_stood_still_itself_accuses_nobody() -> None:
    observer = Observer()
    observer.look(0.2, heard_s=50.0)
    observer.now += 5.0
    observer.look(0.5, heard_s=50.0)
    assert observer.said == []


def test_broken_line_is_told_once_and_forgotten_or_taken_back() -> None:
    for returns in (True, False):
        observer = Observer()
        observer.watch.broke(N1, observer.now)
        observer.look(2.0, heard_s=None)
        assert observer.said == [PeerSight.BROKEN]
        observer.look(0.1 if returns else FORGET_S, heard_s=observer.now if returns else None)
        observer.look(0.1, heard_s=observer.now)
        assert observer.said[1:] == ([PeerSight.HEARD] if returns else [])
