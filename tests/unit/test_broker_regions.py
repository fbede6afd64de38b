"""Regions as operators see them, their drains, and the moves that these make."""

import pytest

from broker.api.recent_moves import RecentMoves
from broker.core.effects import ViewMoved
from broker.core.prices import SitePrices, Values
from broker.core.refusals import Refusal, RefusalKind
from broker.core.regions import regions
from broker.core.state import CoreSettings
from broker.protocol import AgentState, Probe, Region
from broker.protocol.regions import MAX_SHOWN
from tests.support.broker_farm import Farm, node_key

PRICES = SitePrices(price_per_unit_hour=0.1, watts_per_unit=20.0, pue=1.5, grams_co2_per_kwh=400.0)


@pytest.fixture
def farm() -> Farm:
    farm = Farm(CoreSettings(values=Values(sites={"north": PRICES})))
    for region in ("north", "south"):
        farm.edge(f"e-{region}", region=region)
        for number in (1, 2):
            farm.node(f"n-{region}-{number}", region=region, units=4)
    return farm


def shown(farm: Farm) -> dict[str, Region]:
    return {region.region: region for region in regions(farm.state)}


def live_on(farm: Farm, region: str, room: str):
    """A room with one viewer on this region's edge, drawn by a node there."""
    farm.room(room)
    far = next(name for name in ("north", "south") if name != region)
    probes = [Probe(edge=f"e-{region}", rtt_ms=2.0), Probe(edge=f"e-{far}", rtt_ms=300.0)]
    session = farm.join_live(room, probes=probes)
    assert (session.edge, str(farm.view(session).node)[:-2]) == (f"e-{region}", f"n-{region}")
    return session


def test_a_region_shows_what_is_used_and_what_that_costs(farm: Farm) -> None:
    live_on(farm, "north", "a")
    live_on(farm, "north", "b")
    live_on(farm, "south", "c")
    north, south = shown(farm)["north"], shown(farm)["south"]
    assert (north.nodes, north.nodes_ready, north.units, north.edges) == (2, 2, 8.0, 1)
    assert (north.viewers, north.max_viewers, south.viewers) == (2, 100, 1)
    assert south.units_used > 0
    assert north.units_used == pytest.approx(2 * south.units_used)
    assert north.cost_per_h == pytest.approx(0.1 * north.units_used)
    assert north.power_w == pytest.approx(30.0 * north.units_used)
    assert north.carbon_g_per_h == pytest.approx(12.0 * north.units_used)


def test_a_region_shows_what_its_viewers_experience_once_it_is_measured(farm: Farm) -> None:
    near, far = live_on(farm, "north", "a"), live_on(farm, "north", "b")
    assert (shown(farm)["north"].quality, shown(farm)["north"].rtt_ms) == (None, None)
    farm.report(near, rtt_ms=10.0, jitter_ms=1.0)
    farm.report(far, rtt_ms=300.0, loss=0.02)
    north = shown(farm)["north"]
    assert north.rtt_ms is not None
    assert north.rtt_ms.p50 == pytest.approx(155.0)
    assert (north.below_good, north.jitter_ms is None) == (1, False)
    assert north.quality is not None
    assert 20.0 < north.quality < 90.0
    assert shown(farm)["south"].quality is None


def test_a_drained_region_is_left_without_a_detour(farm: Farm) -> None:
    sessions = [live_on(farm, "north", room) for room in ("a", "b", "c")]
    farm.carry_out(farm.brain.drain_region("north", 60.0, farm.now))
    assert {str(farm.view(session).node)[:-2] for session in sessions} == {"n-south"}
    assert all(farm.view(session).previous for session in sessions), "the old nodes draw on"
    for session in sessions:
        farm.start_view(farm.view(session))
    farm.wait(0.2)
    assert not farm.ended
    assert {farm.state.nodes[f"n-north-{number}"].state for number in (1, 2)} == {AgentState.DRAINED}
    assert shown(farm)["north"].nodes_ready == 0


def test_a_region_that_is_called_back_takes_work_again(farm: Farm) -> None:
    farm.carry_out(farm.brain.drain_region("north", 60.0, farm.now))
    farm.carry_out(farm.brain.cancel_region_drain("north"))
    assert shown(farm)["north"].nodes_ready == 2
    live_on(farm, "north", "a")


def test_a_region_that_nobody_registered_from_is_unknown(farm: Farm) -> None:
    for act in (lambda: farm.brain.drain_region("west", 1.0, farm.now), lambda: farm.brain.cancel_region_drain("west")):
        with pytest.raises(Refusal) as refused:
            act()
        assert refused.value.kind is RefusalKind.REGION_UNKNOWN


# --- Moves ----------------------------------------------------------------------------------------------


def moved_by(farm: Farm, effects) -> list[ViewMoved]:
    return [effect for effect in farm.carry_out(effects) if isinstance(effect, ViewMoved)]


def test_moves_tell_from_where_to_where_and_whether_they_were_planned(farm: Farm) -> None:
    session = live_on(farm, "north", "a")
    first = str(farm.view(session).node)
    (planned,) = moved_by(farm, farm.brain.drain(node_key(first), 60.0, farm.now))
    second = str(farm.view(session).node)
    assert (planned.room, planned.former, planned.node, planned.is_planned) == ("a", first, second, True)
    farm.start_view(farm.view(session))
    farm.drop(node_key(second))
    farm.now += farm.state.settings.reconnect_grace_s
    (lost,) = moved_by(farm, farm.brain.watch(farm.now))
    assert (lost.former, lost.node, lost.is_planned) == (second, farm.view(session).node, False)


def test_moves_of_a_room_in_one_step_are_one_and_the_oldest_are_forgotten(farm: Farm) -> None:
    moves = RecentMoves()
    for number in range(MAX_SHOWN + 5):
        two = [ViewMoved(f"v{view}", f"room-{number}", "n-south-1", "n-north-1", is_planned=True) for view in (1, 2)]
        moves.note(two, farm.state, float(number))
    assert len(moves.latest) == MAX_SHOWN
    latest = moves.latest[0]
    assert (latest.unix_s, latest.views, latest.room) == (MAX_SHOWN + 4.0, 2, f"room-{MAX_SHOWN + 4}")
    assert (latest.from_region, latest.to_region) == ("north", "south")
