"""The autoscaler is told in time, of those who were sent away too, and never to take away what is in use."""

import pytest

from broker.core.refusals import RefusalKind
from broker.core.scaling import HORIZON_S, SAMPLE_S, Demand, machines_wanted
from broker.core.wanted import scaling
from tests.support.broker_farm import Farm, node_key


def rising(per_s: float, seconds: float, start: float = 10.0) -> Demand:
    demand = Demand()
    for at in range(0, int(seconds), int(SAMPLE_S)):
        demand.sample(float(at), start + per_s * at, 2 * (start + per_s * at))
    return demand


def test_a_rise_is_foreseen_and_a_fall_is_not():
    rise = rising(0.1, 200)
    assert rise.units_expected() == pytest.approx(10.0 + 0.1 * (195.0 + HORIZON_S))
    assert rise.viewers_expected() == pytest.approx(2 * rise.units_expected())
    fall = rising(-0.04, 200)
    assert fall.units_expected() == pytest.approx(10.0 - 0.04 * 195.0)


def test_without_samples_nothing_is_wanted_and_two_make_no_trend():
    assert Demand().units_expected() == 0.0
    assert rising(1.0, 10).units_expected() == pytest.approx(15.0)


def test_machines_keep_three_quarters_of_themselves_in_use():
    assert machines_wanted(6.0, [4.0, 4.0]) == 2
    assert machines_wanted(6.1, [4.0, 4.0]) == 3
    assert machines_wanted(0.0, [4.0]) == 0
    assert machines_wanted(5.0, []) == 0


def test_who_was_sent_away_counts_for_a_minute():
    farm = Farm()
    farm.edge("e1")
    farm.node("n1", units=1.0)
    farm.room("demo", empty_timeout_s=1000)
    farm.join_live()
    farm.room("other")
    assert farm.refusal("other").kind is RefusalKind.FARM_FULL
    farm.wait(SAMPLE_S + 0.2)
    told = scaling(farm.state, farm.now)
    assert told.nodes.now == pytest.approx(2.0)
    assert (told.nodes.ready, told.nodes.wanted) == (1, 3)
    farm.wait(70.0)
    assert scaling(farm.state, farm.now).nodes.now == pytest.approx(1.0)


def test_a_draining_node_is_told_apart_and_what_is_in_use_stays_wanted():
    farm = Farm()
    farm.edge("e1")
    farm.node("n1", units=4.0)
    farm.node("n2", units=4.0)
    farm.room("demo")
    session = farm.join_live()
    farm.carry_out(farm.brain.drain(node_key(str(farm.view(session).node)), 60.0, farm.now))
    told = scaling(farm.state, farm.now)
    assert (told.nodes.ready, told.nodes.draining) == (1, 1)
    farm.start_view(farm.view(session))
    farm.wait(SAMPLE_S + 0.2)
    told = scaling(farm.state, farm.now)
    assert (told.nodes.ready, told.nodes.draining) == (1, 0)
    assert told.nodes.wanted == 1
    assert told.edges.wanted == 1
