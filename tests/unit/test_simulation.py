"""The simulated farm: nobody is lost where there is room, nothing is overbooked, and a seed says everything."""

import msgspec
import pytest

from farstage.simulation.reading import find, shipped
from farstage.simulation.report import SimulationReport
from farstage.simulation.run import Simulation
from farstage.simulation.survey import network_means_ms
from tests.support.scenarios import TINY, crash, scenario


def run(validates: bool = True, seed: int | None = None, **changes) -> SimulationReport:
    return Simulation(scenario(**changes), seed, validates=validates).run()


def figures(report: SimulationReport) -> dict:
    """All but how long it took."""
    return msgspec.to_builtins(
        msgspec.structs.replace(report, run=msgspec.structs.replace(report.run, seconds=0.0, core_s={}))
    )


def rooms(**changes) -> list[dict]:
    return [{**TINY["rooms"][0], **changes}]


def test_everybody_gets_a_picture_and_the_core_never_contradicts_itself() -> None:
    report = run()
    assert (report.joins.asked, report.joins.placed, report.joins.turned_away) == (12, 12, 0)
    assert report.samples[-1].online == 12
    assert report.samples[-1].without_picture == 0
    assert report.violations.sessions_lost == {}
    assert report.joins.wait_s.count == 12
    assert 0.0 < report.joins.wait_s.largest < 1.0


def test_the_same_seed_gives_the_same_result_and_another_one_another() -> None:
    changes = {
        "mobility": {"changes_per_hour": 300.0},
        "incidents": [crash("busiest-node"), crash("busiest-edge", 40.0)],
    }
    once, again, other = (run(seed=seed, validates=False, **changes) for seed in (7, 7, 8))
    assert figures(once) == figures(again)
    assert figures(once) != figures(other)


def test_nobody_is_lost_when_a_node_dies_and_others_have_room() -> None:
    report = run(incidents=[crash("busiest-node")])
    (incident,) = report.incidents
    assert incident.lost_picture > 0
    assert incident.without_picture_s.count == incident.lost_picture
    assert incident.without_picture_s.largest < 1.0
    assert report.moves.by_reason["failover"] > 0
    assert report.violations.sessions_lost == {}
    assert report.samples[-1].without_picture == 0


def test_a_machine_that_falls_silent_is_known_later_than_a_process_that_dies() -> None:
    crashed, silent = (run(incidents=[crash("busiest-node", what=what)]).incidents[0] for what in ("crash", "silence"))
    assert crashed.known_s < 0.1 < silent.known_s < 1.5
    assert silent.without_picture_s.p50 > crashed.without_picture_s.p50


def test_an_outage_of_a_site_moves_its_people_to_the_other() -> None:
    simulation = Simulation(scenario(incidents=[crash("east", what="silence")]), validates=True)
    report = simulation.run()
    assert report.incidents[0].machines == 3
    assert report.incidents[0].lost_picture > 0
    assert report.violations.sessions_lost == {}
    visitors = simulation.world.pictures.visitors.values()
    assert len(visitors) == 12
    assert {(visitor.edge.site, visitor.node.site) for visitor in visitors} == {("west", "west")}


def test_a_site_that_comes_back_serves_again() -> None:
    outage = crash("east", 10.0, "silence", for_s=10.0)
    simulation = Simulation(scenario(incidents=[outage, crash("west", 40.0, "silence")]), validates=True)
    report = simulation.run()
    assert report.violations.sessions_lost == {}
    assert {visitor.node.site for visitor in simulation.world.pictures.visitors.values()} == {"east"}


def test_people_are_lost_when_nothing_is_left_and_are_counted() -> None:
    report = run(duration_s=120.0, incidents=[crash("east"), crash("west")])
    assert sum(report.violations.sessions_lost.values()) >= 12
    assert sum(incident.sessions_lost for incident in report.incidents) >= 12


def test_too_many_people_are_refused_and_nothing_is_overbooked() -> None:
    report = run(rooms=rooms(people=60, people_per_room=2), lines=[{**TINY["lines"][0], "width": 1280, "height": 720}])
    assert report.joins.refusals["farm-full"] > 0
    assert report.violations.nodes_over_capacity == 0
    assert report.violations.claims_refused == 0
    assert report.load.nodes.largest <= 1.0


def test_edges_take_no_more_than_they_can() -> None:
    edges = [{**edge, "max_viewers": 3} for edge in TINY["edges"]]
    report = run(edges=edges)
    assert report.joins.refusals["farm-full"] > 0
    assert report.violations.edges_over_capacity == 0
    assert max(sample.online for sample in report.samples) == 6


def test_a_node_cut_off_from_the_broker_draws_on_but_its_pictures_are_not_shown() -> None:
    simulation = Simulation(scenario(incidents=[crash("busiest-node", what="partition", for_s=20.0)]), validates=True)
    report = simulation.run()
    assert report.violations.views_drawn_twice_s > 0
    assert report.violations.sessions_lost == {}
    cut_off = simulation.incidents.happenings[0].machines[0]
    assert all(visitor.node is not cut_off for visitor in simulation.world.pictures.visitors.values())
    assert not cut_off.drawings


def test_a_drained_node_is_empty_and_nobody_notices() -> None:
    simulation = Simulation(scenario(incidents=[crash("busiest-node", what="drain")]), validates=True)
    report = simulation.run()
    assert report.moves.by_reason["drain"] > 0
    assert not simulation.incidents.happenings[0].machines[0].drawings
    assert report.moves.without_picture_s == {}


def test_changing_lines_is_felt_and_told() -> None:
    report = run(mobility={"changes_per_hour": 120.0, "breaks": 1.0})
    assert report.moves.line_changes > 0
    assert report.moves.resumes >= report.moves.line_changes - 2
    assert report.moves.without_picture_s["line changed"].count > 0
    assert report.violations.sessions_lost == {}


def test_a_crowd_comes_on_top() -> None:
    report = run(crowds=[{"rooms": "team", "at_s": 20.0, "people": 8, "within_s": 2.0}])
    before, after = (next(s for s in report.samples if s.at_s >= at_s) for at_s in (19.0, 40.0))
    assert (before.online, after.online) == (12, 20)


def test_others_come_when_people_have_left() -> None:
    report = run(duration_s=300.0, rooms=rooms(stay_s=20.0))
    assert report.joins.asked > 24
    assert report.violations.sessions_lost == {}


def test_what_people_experience_is_the_true_path_not_what_the_broker_believes() -> None:
    simulation = Simulation(scenario(latency={"probe_noise": 1.0}))
    report = simulation.run()
    world = simulation.world
    visitors = list(world.pictures.visitors.values())
    true_ms = [
        world.geography.client_ms(one.home, one.access, one.edge.site, one.edge.network)
        + world.geography.trunk_ms(one.edge.site, one.node.site)
        for one in visitors
    ]
    assert report.samples[-1].at_s == 60.0
    assert report.samples[-1].mean_rtt_ms == pytest.approx(sum(true_ms) / len(true_ms))
    sessions = world.shell.brain.state.sessions
    believed_ms = [sessions[one.session].probes[0].rtt_ms for one in visitors]
    assert believed_ms != pytest.approx([one.rtt_ms for one in visitors], rel=0.1)


def test_energy_counts_idle_nodes_and_the_bill_only_what_is_held() -> None:
    report = run()
    hours = (report.samples[-1].at_s - report.samples[0].at_s + 1.0) / 3_600.0
    assert report.cost.energy_wh >= 4 * 50.0 * 1.3 * hours
    assert 0 < report.cost.metered_unit_hours < 8 * 60 / 3_600.0 + 4 * 2 * 60 / 3_600.0
    assert report.cost.metered_cost == pytest.approx(0.05 * report.cost.metered_unit_hours)


def test_the_reference_world_has_the_latencies_it_is_known_for() -> None:
    inside_ms, between_ms = network_means_ms(find("reference"))
    assert inside_ms == pytest.approx(12.7, abs=0.05)
    assert between_ms == pytest.approx(13.4, abs=0.05)


def test_the_reference_deployment_is_as_large_as_it_is_known_for() -> None:
    reference = find("reference")
    assert reference.people == 20_000
    assert Simulation(reference).world.fleet.nodes.keys() >= {
        f"city-{site}-v100s-{at}" for site in range(3) for at in range(7)
    }


@pytest.mark.parametrize("name", sorted(shipped()))
def test_each_shipped_scenario_runs(name: str) -> None:
    report = Simulation(msgspec.structs.replace(find(name), duration_s=6.0)).run()
    assert report.joins.asked > 0
    assert report.violations.nodes_over_capacity == 0
