"""What is used is counted once, by day and room, at the prices of where it was drawn; what nobody saw is not."""

import pytest

from broker.core.effects import Collection, Persist
from broker.core.metering import KEPT_DAYS, MAX_STEP_S
from broker.core.prices import SitePrices, Values
from broker.core.state import CoreSettings
from broker.protocol import EndReason, Mode
from tests.support.broker_farm import Farm

PRICES = SitePrices(price_per_unit_hour=0.36, watts_per_unit=10.0, pue=1.5, grams_co2_per_kwh=200.0)
DAY = "2026-11-29"


@pytest.fixture
def farm() -> Farm:
    farm = Farm(CoreSettings(values=Values(sites={"r1": PRICES})))
    farm.edge("e1")
    farm.node("n1", units=8)
    farm.room("demo")
    return farm


def meter(farm: Farm, seconds: float, day: str = DAY, step_s: float = 1.0) -> list:
    effects = []
    farm.carry_out(farm.brain.meter(farm.now, day))
    for _ in range(round(seconds / step_s)):
        farm.now += step_s
        effects += farm.carry_out(farm.brain.meter(farm.now, day))
    return effects


def test_an_hour_of_a_unit_costs_what_the_site_says(farm):
    farm.join_live()
    meter(farm, 3600, step_s=5.0)
    totals = farm.state.usage[f"{DAY}/demo"].totals
    assert totals.unit_s == pytest.approx(3600.0)
    assert totals.cost == pytest.approx(0.36)
    assert totals.energy_wh == pytest.approx(15.0)
    assert totals.carbon_g == pytest.approx(3.0)
    assert totals.participant_s == pytest.approx(3600.0)
    assert farm.state.usage[f"{DAY}/demo"].sessions == 1


def test_bytes_are_what_the_edge_reported(farm):
    session = farm.join_live()
    farm.report(session, sent_bps=8_000_000.0)
    meter(farm, 10)
    assert session.totals.sent_bytes == pytest.approx(10e6)


def test_a_shared_view_is_divided_among_those_who_watch_it(farm):
    farm.room("hall", mode=Mode.CONFERENCE)
    sessions = [farm.join("hall") for _ in range(4)]
    meter(farm, 40)
    shares = [session.totals.unit_s for session in sessions]
    record = farm.state.usage[f"{DAY}/hall"]
    assert shares == [pytest.approx(record.totals.unit_s / 4)] * 4
    assert record.totals.unit_s > 40.0, "a stage of three layers is more than a unit"
    assert record.totals.participant_s == 0.0, "nobody has connected yet"
    assert record.sessions == 4


def test_a_move_counts_both_nodes_while_both_draw(farm):
    session = farm.join_live()
    farm.node("n2", units=8)
    farm.carry_out(farm.brain.drain(farm.state.nodes[str(farm.view(session).node)].key, 60.0, farm.now))
    meter(farm, 10)
    assert session.totals.unit_s == pytest.approx(20.0)


def test_days_are_counted_apart_and_a_session_on_each(farm):
    farm.join_live()
    meter(farm, 10)
    meter(farm, 20, day="2026-11-30")
    first, second = farm.state.usage[f"{DAY}/demo"], farm.state.usage["2026-11-30/demo"]
    assert (first.totals.unit_s, second.totals.unit_s) == (pytest.approx(10.0), pytest.approx(20.0))
    assert (first.sessions, second.sessions) == (1, 1)


def test_time_that_the_broker_did_not_see_is_not_counted(farm):
    session = farm.join_live()
    meter(farm, 1)
    farm.now += 3600.0
    farm.carry_out(farm.brain.meter(farm.now, DAY))
    assert session.totals.unit_s == pytest.approx(1.0 + MAX_STEP_S)
    farm.carry_out(farm.brain.meter(farm.now - 50.0, DAY))
    assert session.totals.unit_s == pytest.approx(1.0 + MAX_STEP_S), "nor counted backwards"


def test_sums_outlive_the_session_and_are_written_from_time_to_time(farm):
    session = farm.join_live()
    effects = meter(farm, 40)
    written = [effect for effect in effects if isinstance(effect, Persist) and effect.collection is Collection.USAGE]
    assert 2 <= len(written) <= 4
    farm.carry_out(farm.brain.end_session(session.session, EndReason.LEFT))
    meter(farm, 40)
    assert farm.state.usage[f"{DAY}/demo"].totals.unit_s == pytest.approx(40.0)


def test_only_so_many_days_are_kept(farm):
    farm.join_live()
    for day in range(KEPT_DAYS + 5):
        meter(farm, 20, day=f"2026-{1 + day // 28:02}-{1 + day % 28:02}", step_s=10.0)
    assert len(farm.state.usage) == KEPT_DAYS
    assert "2026-01-01/demo" not in farm.state.usage
