"""A stage whose picture comes from a publisher: who may, where, and what the node is spared."""

import pytest

from broker.core.refusals import RefusalKind
from broker.core.state import CoreSettings
from broker.protocol import (
    EndReason,
    Mode,
    PutSession,
    PutView,
    Role,
    SessionState,
    ViewerConnected,
    ViewerGone,
)
from tests.support.broker_farm import Farm, edge_key, node_key

SETTINGS = CoreSettings()


@pytest.fixture
def farm() -> Farm:
    farm = Farm()
    farm.node("n1")
    farm.edge("e1")
    farm.room(mode=Mode.CONFERENCE)
    return farm


def publish(farm: Farm, *, connected: bool = True):
    session = farm.join(role=Role.SPEAKER, publishes=True)
    if connected:
        farm.say(edge_key(str(session.edge)), ViewerConnected(session=session.session))
    return session


def test_publisher_is_put_to_its_edge_with_its_token_and_feeds_the_stage_everybody_watches(farm):
    publisher = publish(farm)
    viewer = farm.join()
    assert viewer.view == publisher.view
    puts = {put.session: put for put in farm.to("edge:e1", PutSession)}
    assert puts[publisher.session].publishes
    assert puts[publisher.session].token_id == publisher.token_id
    assert not puts[viewer.session].publishes


@pytest.mark.parametrize("mode", [Mode.EXPLORE, Mode.GALLERY])
def test_only_a_conference_has_a_stage(farm, mode):
    farm.room("walk", mode=mode)
    assert farm.refusal("walk", publishes=True).kind is RefusalKind.NO_STAGE


def test_stage_has_one_publisher_and_the_next_may_come_when_it_has_left(farm):
    first = publish(farm)
    assert farm.refusal(publishes=True).kind is RefusalKind.STAGE_TAKEN
    farm.say(edge_key("e1"), ViewerGone(session=first.session, reason=EndReason.LEFT))
    assert farm.join(publishes=True).publishes


def test_publisher_goes_to_an_edge_that_takes_publishers():
    farm = Farm()
    farm.node("n1")
    farm.edge("a-first", publishers=False)
    farm.room(mode=Mode.CONFERENCE)
    refusal = farm.refusal(publishes=True)
    assert refusal.kind is RefusalKind.NO_EDGE
    assert "publishers" in refusal.detail
    farm.edge("b-second")
    assert farm.join(publishes=True).edge == "b-second"


def test_node_that_draws_nothing_while_somebody_publishes_is_not_late(farm):
    publish(farm)
    viewer = farm.join()
    farm.say(edge_key("e1"), ViewerConnected(session=viewer.session))
    farm.node("n2")
    farm.wait(3 * SETTINGS.start_timeout_s)
    assert farm.view(viewer).node == "n1"
    assert viewer.state is SessionState.LIVE


def test_node_is_late_once_the_publisher_has_left(farm):
    publisher = publish(farm)
    viewer = farm.join()
    farm.say(edge_key("e1"), ViewerConnected(session=viewer.session))
    farm.node("n2")
    farm.wait(SETTINGS.start_timeout_s)
    farm.say(edge_key("e1"), ViewerGone(session=publisher.session, reason=EndReason.LEFT))
    farm.wait(SETTINGS.start_timeout_s + 1)
    assert farm.view(viewer).node == "n2"


def test_viewers_notice_nothing_when_the_node_dies_while_somebody_publishes(farm):
    publish(farm)
    viewer = farm.join_live()
    farm.drop(node_key("n1"))
    farm.wait(3 * SETTINGS.node_search_s)
    assert viewer.state is SessionState.LIVE
    assert farm.view(viewer).node is None
    farm.node("n2")
    assert farm.view(viewer).node == "n2"
    assert viewer.session in farm.state.sessions


def test_without_a_node_the_session_ends_once_the_publisher_has_left(farm):
    publisher = publish(farm)
    viewer = farm.join_live()
    farm.drop(node_key("n1"))
    farm.wait(2 * SETTINGS.node_search_s)
    farm.say(edge_key("e1"), ViewerGone(session=publisher.session, reason=EndReason.LEFT))
    farm.wait(SETTINGS.node_search_s + 1)
    assert farm.ended[viewer.session] is EndReason.NODE_LOST


def test_room_moves_off_a_draining_node_while_somebody_publishes(farm):
    publish(farm)
    viewer = farm.join_live()
    farm.node("n2")
    farm.carry_out(farm.brain.drain(node_key("n1"), 60.0, farm.now))
    farm.wait(1)
    view = farm.view(viewer)
    assert (view.node, view.previous) == ("n2", [])
    assert farm.to("node:n2", PutView)
    assert farm.state.nodes["n1"].state.value == "drained"
