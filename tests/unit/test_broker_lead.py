"""Of several brokers over one store one decides, term by term; all times are given."""

import pytest

from broker.api.lead import Lead
from broker.store.memory import MemoryStore

TERM_S = 5.0
UNIX_S = 1_900_000_000.0


class Clock:
    """Both times, which pass together."""

    def __init__(self) -> None:
        self.now = 100.0

    def wait(self, seconds: float) -> None:
        self.now += seconds

    async def holds(self, lead: Lead) -> bool:
        await lead.find_store(self.now)
        return await lead.hold(self.now, UNIX_S + self.now)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rivals(clock: Clock) -> tuple[Lead, Lead]:
    store = MemoryStore()
    return Lead(store, "one", TERM_S, clock.now), Lead(store, "two", TERM_S, clock.now)


async def test_one_leads_for_as_long_as_it_renews(clock, rivals):
    one, two = rivals
    for _ in range(20):
        assert await clock.holds(one)
        assert not await clock.holds(two)
        clock.wait(TERM_S / 2)


async def test_another_one_leads_after_the_term_and_the_first_learns_of_it(clock, rivals):
    one, two = rivals
    await clock.holds(one)
    clock.wait(TERM_S + 0.1)
    assert one.may_be_gone(clock.now)
    assert await clock.holds(two)
    assert not await clock.holds(one)
    assert not one.may_be_gone(clock.now), "who does not lead has nothing to lose"


async def test_who_makes_way_is_followed_at_once(clock, rivals):
    one, two = rivals
    await clock.holds(one)
    await one.give_up()
    assert await clock.holds(two)


async def test_the_lead_is_doubted_before_another_broker_whose_clock_is_a_second_ahead_can_have_it(clock, rivals):
    one, _ = rivals
    await clock.holds(one)
    clock.wait(TERM_S - 1.1)
    assert not one.may_be_gone(clock.now)
    clock.wait(0.2)
    assert one.may_be_gone(clock.now)


async def test_while_the_store_is_away_nobody_is_thought_to_have_taken_over(clock, rivals):
    one, _ = rivals
    await clock.holds(one)
    for _ in range(20):
        clock.wait(TERM_S / 2)
        one.ask_later(clock.now)
        assert not one.may_be_gone(clock.now)


async def test_a_store_is_new_once(clock, rivals):
    one, _ = rivals
    assert await one.find_store(clock.now)
    assert not await one.find_store(clock.now)
