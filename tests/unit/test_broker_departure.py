"""Agents that are told to stop: what they ask, when they end, and what the broker makes of it."""

import pytest

from broker.core.refusals import RefusalKind
from broker.departure import LAST_WORDS_S, Departure
from broker.protocol import AgentState, Drain, DrainRequested, EndReason, SessionState, ViewerConnected, Welcome
from tests.support.broker_farm import Farm, edge_key, node_key

WELCOME = Welcome(broker="b", heartbeat_interval_s=1.0, token_public_key="")


@pytest.fixture
def departure() -> Departure:
    departure = Departure(10.0)
    departure.begin(100.0)
    return departure


def test_the_broker_is_asked_once_for_every_registration(departure):
    again = Welcome(broker="b", heartbeat_interval_s=1.0, token_public_key="")
    asked = [departure.request(welcome, 102.0) for welcome in (None, WELCOME, WELCOME, again, again)]
    expected = DrainRequested(deadline_s=8.0 - LAST_WORDS_S)
    assert asked == [None, expected, None, expected, None]


def test_the_process_ends_when_it_has_no_work_and_will_get_none(departure):
    assert not departure.is_over(idle=True, obeyed=False, now=101.0)
    assert not departure.is_over(idle=False, obeyed=True, now=101.0)
    assert departure.is_over(idle=True, obeyed=True, now=101.0)


def test_the_process_ends_at_its_deadline_whatever_it_still_does(departure):
    assert not departure.is_over(idle=False, obeyed=False, now=109.9)
    assert departure.is_over(idle=False, obeyed=False, now=110.0)


def test_a_departure_called_off_tells_the_broker_if_it_was_asked(departure):
    assert departure.call_off() is None
    departure.begin(100.0)
    departure.request(WELCOME, 100.0)
    assert departure.call_off() == DrainRequested(deadline_s=0.0, cancelled=True)
    assert not departure.is_over(idle=True, obeyed=True, now=200.0)
    assert not departure.begun


def test_nobody_ends_who_was_not_told_to():
    departure = Departure(10.0)
    assert departure.request(WELCOME, 1.0) is None
    assert not departure.is_over(idle=True, obeyed=True, now=1000.0)


# --- The broker's side ---


@pytest.fixture
def farm() -> Farm:
    farm = Farm()
    farm.node("n1")
    farm.edge("e1")
    farm.room()
    return farm


def test_views_of_a_departing_node_move_and_leave_it_without_work(farm):
    session = farm.join_live()
    farm.node("n2")
    farm.say(node_key("n1"), DrainRequested(deadline_s=10.0))
    assert farm.to("node:n1", Drain) == [Drain(deadline_s=10.0)]
    assert farm.view(session).node == "n2"
    farm.start_view(farm.view(session))
    farm.wait(0.2)
    assert farm.state.nodes["n1"].state is AgentState.DRAINED
    assert session.state is SessionState.LIVE


def test_work_nobody_else_could_take_ends_at_once(farm):
    session = farm.join_live()
    farm.say(node_key("n1"), DrainRequested(deadline_s=10.0))
    assert farm.to("node:n1", Drain) == [Drain(deadline_s=0.0)]
    assert farm.ended == {session.session: EndReason.DRAINED}


def test_a_departure_called_off_lets_the_node_take_work_again(farm):
    farm.node("n2")
    farm.say(node_key("n1"), DrainRequested(deadline_s=10.0))
    farm.say(node_key("n1"), DrainRequested(deadline_s=0.0, cancelled=True))
    assert farm.state.nodes["n1"].state is AgentState.READY
    assert farm.to("node:n1", Drain)[-1].cancelled


def test_a_new_process_of_the_same_name_is_not_drained(farm):
    farm.node("n2")
    farm.say(node_key("n1"), DrainRequested(deadline_s=10.0))
    farm.drop(node_key("n1"))
    farm.node("n1")
    assert farm.state.nodes["n1"].state is AgentState.READY


def test_an_operators_drain_outlives_what_the_process_asks_for(farm):
    farm.node("n2")
    farm.carry_out(farm.brain.drain(node_key("n1"), 60.0, farm.now))
    farm.say(node_key("n1"), DrainRequested(deadline_s=10.0))
    farm.say(node_key("n1"), DrainRequested(deadline_s=0.0, cancelled=True))
    assert farm.state.nodes["n1"].state in (AgentState.DRAINING, AgentState.DRAINED)
    farm.node("n1")
    assert farm.state.nodes["n1"].state is not AgentState.READY


def test_viewers_of_a_departing_edge_resume_on_another_one(farm):
    session = farm.join_live()
    farm.edge("e2")
    farm.say(edge_key("e1"), DrainRequested(deadline_s=1.0))
    farm.wait(2)
    assert not farm.ended, "the edge is gone at its deadline, the session is not"
    farm.carry_out(farm.brain.resume(session.session, [], farm.now))
    assert session.edge == "e2"
    farm.say(edge_key("e2"), ViewerConnected(session=session.session))
    assert session.state is SessionState.LIVE


def test_viewers_of_the_only_edge_are_told_at_once(farm):
    session = farm.join_live()
    farm.say(edge_key("e1"), DrainRequested(deadline_s=10.0))
    assert farm.ended == {session.session: EndReason.DRAINED}
    assert farm.refusal().kind is RefusalKind.NO_EDGE
