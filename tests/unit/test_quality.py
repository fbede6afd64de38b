"""The quality model: worse causes never look better, and the prices of sites count as the operator weighs them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from broker.core.experience import experienced_quality
from broker.core.policies import BestValue
from broker.core.prices import SitePrices, Values, Weights
from broker.core.quality import FAIR, GOOD, PERFECT, Path, QualityModel, mean_opinion_score
from broker.core.telemetry import WINDOW
from broker.protocol import EdgeHeartbeat, EdgeLoad, Probe
from tests.support.broker_farm import Farm, edge_key

MODEL = QualityModel()
paths = st.builds(
    Path,
    rtt_ms=st.floats(0, 2_000),
    jitter_ms=st.floats(0, 500),
    loss=st.floats(0, 1),
    bandwidth_bps=st.none() | st.floats(0, 1e9),
    fps=st.floats(1, 60),
    node_load=st.floats(0, 1),
)


@given(paths, st.floats(0, 1), st.sampled_from(["rtt_ms", "jitter_ms", "loss", "node_load"]))
def test_more_of_what_harms_never_looks_better(path, more, cause):
    worse = structs.replace(path, **{cause: min(1.0, getattr(path, cause) + more)})
    worse = structs.replace(path, **{cause: max(getattr(path, cause), getattr(worse, cause))})
    assert 0.0 <= MODEL.quality(worse) <= MODEL.quality(path) <= PERFECT


@given(paths, st.floats(0, 1e8))
def test_more_bandwidth_and_more_frames_never_look_worse(path, more):
    richer = structs.replace(path, bandwidth_bps=None if path.bandwidth_bps is None else path.bandwidth_bps + more)
    assert MODEL.quality(richer) >= MODEL.quality(path)
    if path.node_load == 0:
        assert MODEL.quality(structs.replace(path, fps=path.fps + 1)) >= MODEL.quality(path)


def test_a_near_clean_path_is_good_and_a_far_lossy_one_is_not_fair():
    assert MODEL.quality(Path(rtt_ms=13.0)) > 99
    assert MODEL.quality(Path(rtt_ms=40.0)) > 90
    assert MODEL.quality(Path(rtt_ms=150.0)) < FAIR
    assert MODEL.quality(Path(rtt_ms=60.0, loss=0.05)) < GOOD
    assert MODEL.quality(Path(rtt_ms=20.0, bandwidth_bps=400_000)) < GOOD


def test_opinion_scores_are_those_of_the_e_model():
    assert mean_opinion_score(100.0) == pytest.approx(4.5)
    assert mean_opinion_score(GOOD) == pytest.approx(4.02, abs=0.01)
    assert mean_opinion_score(FAIR) == pytest.approx(3.1)
    assert mean_opinion_score(0.0) == 1.0
    assert mean_opinion_score(math.inf) == pytest.approx(4.5)


def test_energy_and_carbon_of_a_unit_hour_count_the_data_centre():
    prices = SitePrices(watts_per_unit=10.0, pue=1.5, grams_co2_per_kwh=400.0, price_per_unit_hour=0.1)
    assert prices.energy_wh(2.0) == pytest.approx(30.0)
    assert prices.carbon_g(2.0) == pytest.approx(12.0)
    assert prices.cost(2.0) == pytest.approx(0.2)
    weights = Weights(points_per_price=50.0, points_per_kg_co2=100.0)
    assert weights.site_points(prices) == pytest.approx(5.0 + 0.6)


def test_a_site_without_figures_takes_those_of_all_others():
    values = Values(sites={"*": SitePrices(price_per_unit_hour=1.0), "here": SitePrices(price_per_unit_hour=2.0)})
    assert (values.prices("here").cost(1.0), values.prices("there").cost(1.0)) == (2.0, 1.0)


def test_the_default_policy_minds_what_a_client_measured_and_what_a_site_costs():
    policy = BestValue(Values())

    def cost(probe: Probe, site_points: float = 0.0) -> float:
        return policy.cost(policy.line(probe, 0.0), 1.0, 0.0, site_points)

    clean = cost(Probe(edge="e", rtt_ms=20.0))
    assert clean < cost(Probe(edge="e", rtt_ms=20.0, loss=0.02))
    assert clean < cost(Probe(edge="e", rtt_ms=20.0, jitter_ms=15.0))
    assert clean < cost(Probe(edge="e", rtt_ms=20.0, bandwidth_bps=500_000.0))
    assert clean + 5.0 == pytest.approx(cost(Probe(edge="e", rtt_ms=20.0), site_points=5.0))


def test_what_a_viewer_experiences_follows_what_the_edge_measures_of_it():
    farm = Farm()
    farm.edge("e1")
    farm.node("n1", units=8)
    farm.room("demo")
    session = farm.join_live()
    assert experienced_quality(farm.state, session) is None, "nothing is measured yet"

    def told(**figures: float) -> float | None:
        farm.report(session, WINDOW, **figures)
        return experienced_quality(farm.state, session)

    near = told(rtt_ms=10.0)
    assert near is not None
    assert near > GOOD
    assert near == told(rtt_ms=10.0, frames_per_s=1.0), "a picture at rest is no bad picture"
    for worse in ({"rtt_ms": 120.0}, {"rtt_ms": 10.0, "loss": 0.1}, {"rtt_ms": 10.0, "jitter_ms": 60.0}):
        quality = told(**worse)
        assert quality is not None
        assert quality < GOOD
    farm.say(edge_key("e1"), EdgeHeartbeat(load=EdgeLoad(node_rtt_ms={"n1": 150.0})))
    far = told(rtt_ms=10.0)
    assert far is not None
    assert far < FAIR
