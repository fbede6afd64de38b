"""The queue of webhooks in virtual time: order per room, back-off, dead letters, and bounds on all of it."""

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api import webhook_deliveries
from broker.api.settings import BrokerSettings
from broker.api.webhook_deliveries import MAX_DEAD_LETTERS, MAX_IN_FLIGHT, MAX_RETRY_AFTER_S, MAX_WAITING, Deliveries
from broker.api.webhook_retry import SPREAD, STANDARD_DELAYS_S, RetryPolicy
from broker.api.webhooks import Webhooks
from broker.protocol import EventType

NOW = 1_900_000_000.0
MIDDLE = 0.5
"""The jitter that changes nothing."""


class Queue(Deliveries):
    """Deliveries with short ways to say things."""

    def __init__(self, policy: RetryPolicy | None = None) -> None:
        super().__init__(policy or RetryPolicy())
        self.count = 0

    def note(self, room: str = "a", webhook: str = "w", now: float = NOW) -> str:
        self.count += 1
        self.offer(f"m{self.count}", webhook, EventType.ROOM_CREATED, room, "{}", now)
        return f"m{self.count}"

    def due(self, now: float = NOW) -> list[str]:
        return [record.delivery for record in self.begin(now)]

    def fail(self, delivery: str, now: float = NOW, **more: float) -> None:
        self.failed(delivery, "HTTP 500", now, more.pop("jitter", MIDDLE), **more)


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_events_of_a_room_go_one_after_the_other_and_those_of_others_beside_them(queue):
    first, second, other, fleet = queue.note("a"), queue.note("a"), queue.note("b"), queue.note("")
    assert queue.due() == [first, other, fleet]
    assert queue.due() == []
    queue.succeeded(first)
    assert queue.due() == [second]


def test_a_failed_delivery_holds_its_room_until_it_is_taken(queue):
    first, second, other = queue.note("a"), queue.note("a"), queue.note("b")
    assert queue.due() == [first, other]
    queue.fail(first)
    queue.succeeded(other)
    assert queue.due(NOW + 4.9) == []
    assert queue.due(NOW + 5.1) == [first]
    queue.succeeded(first)
    assert queue.due(NOW + 5.1) == [second]


def test_the_schedule_is_that_of_the_specification_and_ends_in_a_dead_letter(queue):
    delivery, now, waits = queue.note(), NOW, []
    for _ in range(9):
        assert queue.due(now) == [delivery]
        queue.fail(delivery, now)
        waits.append(queue.next_due() - now)
        now = queue.next_due()
    assert waits == list(STANDARD_DELAYS_S)
    assert waits == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400]
    assert now - NOW == 75 * 3600 + 35 * 60 + 5
    assert queue.due(now) == [delivery]
    queue.fail(delivery, now)
    assert (queue.next_due(), queue.waiting("w"), queue.dead_letters("w")) == (None, 0, 1)


@pytest.mark.parametrize(("jitter", "factor"), [(0.0, 1 - SPREAD), (0.5, 1.0), (1.0, 1 + SPREAD)])
def test_jitter_spreads_what_failed_together(queue, jitter, factor):
    [delivery] = [queue.note()]
    queue.due()
    queue.fail(delivery, jitter=jitter)
    assert queue.next_due() == pytest.approx(NOW + 5 * factor)


def test_a_receiver_may_ask_for_more_time_but_not_for_ever(queue):
    delivery = queue.note()
    queue.due()
    queue.fail(delivery, retry_after_s=60.0)
    assert queue.next_due() == NOW + 60
    queue.due(NOW + 60)
    queue.fail(delivery, NOW + 60, retry_after_s=1e9)
    assert queue.next_due() == NOW + 60 + MAX_RETRY_AFTER_S


def test_a_receiver_that_asks_for_time_is_left_alone_by_all_rooms_and_no_other_receiver_is(queue):
    first, other_room, other_webhook = queue.note("a"), queue.note("b"), queue.note("b", webhook="other")
    assert queue.due() == [first, other_room, other_webhook]
    queue.fail(first, retry_after_s=60.0)
    queue.succeeded(other_room)
    queue.succeeded(other_webhook)
    later, elsewhere = queue.note("c"), queue.note("c", webhook="other")
    assert queue.due(NOW + 59) == [elsewhere]
    assert queue.next_due() == NOW + 60
    assert set(queue.due(NOW + 60)) == {first, later}


def test_what_waits_for_its_time_is_tried_at_once_when_an_operator_has_changed_something(queue):
    first, second, other = queue.note("a"), queue.note("b"), queue.note("a", webhook="other")
    queue.due()
    queue.fail(first, retry_after_s=3000.0)
    queue.fail(second)
    queue.fail(other)
    queue.take_changes()
    queue.hasten("w", NOW + 1)
    assert set(queue.due(NOW + 1)) == {first, second}
    assert len(queue.take_changes()) == 2
    assert queue.due(NOW + 6) == [other]


def test_a_webhook_has_few_requests_at_a_time_and_does_not_hold_others(queue):
    noted = [queue.note(f"r{number}") for number in range(MAX_IN_FLIGHT + 2)]
    other = queue.note(webhook="other")
    assert queue.due() == [*noted[:MAX_IN_FLIGHT], other]
    queue.succeeded(noted[0])
    assert queue.due() == [noted[MAX_IN_FLIGHT]]


def test_the_next_of_a_room_is_tried_after_one_was_given_up():
    queue = Queue(RetryPolicy(()))
    first, second = queue.note(), queue.note()
    queue.due()
    queue.fail(first)
    assert queue.due() == [second]
    assert [record.delivery for record in queue.of("w") if record.dead] == [first]


def test_what_a_receiver_that_is_away_keeps_waiting_is_bounded(queue):
    for _ in range(MAX_WAITING + 3):
        queue.note()
    assert (queue.waiting("w"), queue.dead_letters("w")) == (MAX_WAITING, 3)
    assert [r.last_error for r in queue.of("w") if r.dead] == ["too many events were waiting"] * 3
    queue.note(webhook="other")
    assert queue.waiting("other") == 1


def test_the_oldest_dead_letters_go_and_are_counted(queue):
    for _ in range(MAX_WAITING + MAX_DEAD_LETTERS + 2):
        queue.note()
    dead = [record.number for record in queue.of("w") if record.dead]
    assert (len(dead), min(dead), queue.dropped["w"]) == (MAX_DEAD_LETTERS, MAX_WAITING + 3, 2)


def test_dead_letters_are_sent_again_as_far_as_there_is_room(monkeypatch):
    monkeypatch.setattr(webhook_deliveries, "MAX_WAITING", 2)
    queue = Queue(RetryPolicy(()))
    noted = [queue.note(f"r{number}") for number in range(2)]
    for delivery in queue.due():
        queue.fail(delivery)
    noted += [queue.note("late")]
    assert queue.redeliver("w", [], NOW) == 1
    assert queue.dead_letters("w") == 1
    assert set(queue.due()) == {noted[2], noted[0]}
    assert queue.redeliver("nobody", [], NOW) == 0


def test_a_paused_webhook_gets_nothing_and_goes_on_where_it_stopped(queue):
    first, second = queue.note(), queue.note()
    queue.paused.add("w")
    assert queue.due() == []
    queue.paused.clear()
    assert queue.due() == [first]
    queue.succeeded(first)
    assert queue.due() == [second]


def test_answers_about_what_is_gone_change_nothing(queue):
    delivery, kept = queue.note(), queue.note(webhook="other")
    queue.due()
    queue.remove("w")
    queue.succeeded(delivery)
    queue.fail(delivery)
    queue.succeeded("m99")
    assert queue.records.keys() == {kept}
    assert (queue.waiting("w"), queue.dead_letters("w")) == (0, 0)
    fresh = queue.note()
    assert queue.due() == [fresh]


def test_what_flew_when_the_sender_stopped_flies_again(queue):
    first, second = queue.note(), queue.note()
    assert queue.due() == [first]
    queue.ground()
    assert queue.due() == [first]
    queue.succeeded(first)
    assert queue.due() == [second]


def test_a_restart_keeps_order_dead_letters_and_what_was_in_flight(queue):
    queue = Queue(RetryPolicy(()))
    dead, flying, waiting = queue.note("d"), queue.note("a"), queue.note("a")
    queue.due()
    queue.fail(dead)
    stored = {name: msgspec.json.encode(record) for name, record in queue.records.items()}
    after = Queue(RetryPolicy(()))
    after.restore(dict(reversed(stored.items())))
    assert after.due() == [flying]
    after.succeeded(flying)
    assert after.due() == [waiting]
    assert after.dead_letters("w") == 1
    after.count = 10
    after.succeeded(waiting)
    assert after.records[after.note("a")].number > 3


def test_delays_must_be_of_some_length():
    with pytest.raises(ValueError, match="webhook_retry"):
        RetryPolicy((5.0, 0.0))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_whatever_happens_each_room_is_told_in_order_and_nothing_is_forgotten(seed):
    chance, queue, now = random.Random(seed), Queue(RetryPolicy((1.0, 2.0))), NOW
    flying: dict[str, tuple[str, str]] = {}
    taken: dict[tuple[str, str], list[int]] = {}
    offered, dead = 0, 0
    while offered < 60 or queue.waiting("w0") or queue.waiting("w1"):
        if offered < 60 and chance.random() < 0.5:
            queue.note(chance.choice("abc"), chance.choice(["w0", "w1"]), now)
            offered += 1
        for record in queue.begin(now):
            assert record.lane not in flying.values(), "two of one room at a time"
            flying[record.delivery] = record.lane
        assert max(sum(lane[0] == webhook for lane in flying.values()) for webhook in ("w0", "w1")) <= MAX_IN_FLIGHT
        if flying and chance.random() < 0.7:
            delivery = chance.choice(list(flying))
            lane, number = flying.pop(delivery), queue.records[delivery].number
            if chance.random() < 0.6:
                queue.succeeded(delivery)
                taken.setdefault(lane, []).append(number)
            else:
                queue.fail(delivery, now, jitter=chance.random(), retry_after_s=chance.choice([0.0, 0.0, 5.0]))
                dead += queue.records[delivery].dead
        now += chance.random()
    assert sum(map(len, taken.values())) + dead == offered == 60
    assert all(numbers == sorted(numbers) for numbers in taken.values())
    assert all(record.dead for record in queue.records.values())


def test_deliveries_of_a_webhook_that_is_gone_are_forgotten_at_a_restart(queue):
    queue.note(webhook="gone")
    webhooks = Webhooks(BrokerSettings(secret=b"s" * 32, api_key="k" * 16), lambda: NOW)
    webhooks.deliveries.restore({name: msgspec.json.encode(record) for name, record in queue.records.items()})
    webhooks.restore({})
    assert webhooks.deliveries.begin(NOW) == []
    assert list(webhooks.deliveries.take_changes().values()) == [None]
