"""A node that takes a view and sends no picture does not keep its viewer waiting for ever."""

import pytest

from broker.core.state import CoreSettings
from broker.protocol import DropView, EndReason, PutView, SessionState, ViewerConnected
from tests.support.broker_farm import Farm, edge_key, node_key

LIMIT_S = CoreSettings().start_timeout_s


@pytest.fixture
def farm() -> Farm:
    farm = Farm()
    farm.node("n1")
    farm.edge("e1")
    farm.room()
    return farm


def connect(farm: Farm, session) -> None:
    farm.say(edge_key(str(session.edge)), ViewerConnected(session=session.session))


def test_a_view_that_does_not_start_in_time_is_placed_elsewhere(farm):
    session = farm.join()
    farm.node("n2")
    connect(farm, session)
    farm.wait(LIMIT_S - 0.5)
    assert farm.view(session).node == "n1"
    farm.wait(1)
    view = farm.view(session)
    assert (view.node, view.tries) == ("n2", 1)
    assert farm.to("node:n1", DropView)
    assert session.state is SessionState.REPLACING
    farm.start_view(view)
    assert session.state is SessionState.LIVE


def test_a_view_that_has_started_stays(farm):
    session = farm.join_live()
    farm.node("n2")
    farm.wait(3 * LIMIT_S)
    assert farm.view(session).node == "n1"


def test_a_view_nobody_watches_yet_is_not_late(farm):
    session = farm.join()
    farm.node("n2")
    farm.wait(2 * LIMIT_S)
    assert farm.view(session).node == "n1"
    connect(farm, session)
    farm.wait(LIMIT_S - 0.5)
    assert farm.view(session).node == "n1", "the clock starts with the viewer"


def test_the_only_node_gets_more_time_but_not_for_ever(farm):
    session = farm.join()
    connect(farm, session)
    farm.wait(LIMIT_S + 1)
    assert farm.view(session).node == "n1"
    assert len(farm.to("node:n1", PutView)) == 1, "what may still be loading is not begun anew"
    farm.wait(4 * LIMIT_S)
    assert farm.ended == {session.session: EndReason.NODE_LOST}


def test_a_planned_move_that_does_not_start_keeps_the_old_picture(farm):
    session = farm.join_live()
    farm.node("n2")
    farm.carry_out(farm.brain.drain(node_key("n1"), 300.0, farm.now))
    farm.node("n3")
    farm.wait(LIMIT_S + 1)
    view = farm.view(session)
    assert view.node == "n3"
    assert [holding.node for holding in view.previous] == ["n1"]
