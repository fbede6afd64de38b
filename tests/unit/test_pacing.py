from render_farm.pacing import HASTE_CREDIT, HASTE_SHARE, Demand, ViewPacing, Work

MOVING = Demand(watched=True, resting=False, keyframe=False)
RESTING = Demand(watched=True, resting=True, keyframe=False)


def count(pacing: ViewPacing, demand: Demand, seconds: float, tick_s: float, now: float = 0.0) -> int:
    """How many ticks of `tick_s` have work within `seconds`."""
    return sum(pacing.plan(now + n * tick_s, demand) is not Work.NOTHING for n in range(round(seconds / tick_s)))


def test_view_is_drawn_at_its_own_rate_whatever_the_tick() -> None:
    assert 29 <= count(ViewPacing(30), MOVING, 1.0, 1 / 60) <= 31
    assert 57 <= count(ViewPacing(60), MOVING, 1.0, 1 / 200) <= 62
    assert 9 <= count(ViewPacing(10), MOVING, 1.0, 1 / 90) <= 11


def test_view_nobody_watches_is_not_drawn() -> None:
    assert count(ViewPacing(30), Demand(watched=False, resting=False, keyframe=True), 2.0, 1 / 60) == 0


def test_rest_refines_until_nothing_is_left_and_then_sends_nothing() -> None:
    pacing = ViewPacing(30)
    assert pacing.plan(0.0, MOVING) is Work.ENCODE
    for step in range(3):
        assert pacing.plan(1.0 + step, RESTING) is Work.REFINE
        assert pacing.refinement_step == step
        pacing.refinement_sent(finished=step == 2)
    assert count(pacing, RESTING, 5.0, 1 / 30, now=10.0) == 0


def test_input_ends_the_rest_and_the_next_rest_begins_anew() -> None:
    pacing = ViewPacing(30)
    pacing.plan(0.0, RESTING)
    pacing.refinement_sent(finished=True)
    assert pacing.plan(1.0, MOVING) is Work.ENCODE
    assert pacing.plan(2.0, RESTING) is Work.REFINE
    assert pacing.refinement_step == 0


def test_newcomer_gets_a_keyframe_of_a_resting_view() -> None:
    pacing = ViewPacing(30)
    pacing.plan(0.0, RESTING)
    pacing.refinement_sent(finished=True)
    assert pacing.plan(1.0, Demand(watched=True, resting=True, keyframe=True)) is Work.ENCODE
    assert pacing.plan(2.0, RESTING) is Work.REFINE


def test_stall_is_not_made_up_for_by_a_burst() -> None:
    pacing = ViewPacing(30)
    pacing.plan(0.0, MOVING)
    pacing.plan(10.0, MOVING)
    assert pacing.plan(10.001, MOVING) is Work.NOTHING


def test_fresh_input_is_drawn_at_once_and_moves_the_rhythm() -> None:
    pacing = ViewPacing(10)
    pacing.plan(1.0, MOVING)
    assert pacing.plan(1.05, MOVING) is Work.NOTHING
    assert pacing.hasten(1.06)
    assert pacing.plan(1.06, MOVING) is Work.ENCODE
    assert pacing.plan(1.10, MOVING) is Work.NOTHING
    assert pacing.plan(1.16, MOVING) is Work.ENCODE


def test_flood_of_input_cannot_raise_the_frame_rate_beyond_its_share() -> None:
    pacing = ViewPacing(30)
    drawn = 0
    for tick in range(10_000):
        now = tick / 1000
        pacing.hasten(now)
        if now >= pacing.next_s:
            drawn += pacing.plan(now, MOVING) is not Work.NOTHING
    assert drawn <= 10 * 30 * (1 + HASTE_SHARE) + HASTE_CREDIT + 20


def test_input_at_the_frame_rate_waits_less_than_without_haste() -> None:
    def mean_wait(*, hasty: bool) -> float:
        pacing, waits, arrived = ViewPacing(30), [], []
        for tick in range(1, 20_000):
            now = tick / 1000
            if tick % 33 == 0:
                arrived.append(now)
                if hasty:
                    pacing.hasten(now)
            if now >= pacing.next_s and pacing.plan(now, MOVING) is not Work.NOTHING:
                waits += [now - then for then in arrived]
                arrived.clear()
        return sum(waits) / len(waits)

    assert mean_wait(hasty=True) < 0.5 * mean_wait(hasty=False)
