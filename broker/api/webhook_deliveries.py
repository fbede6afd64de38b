"""Which event goes to which webhook when: order, back-off and dead letters. Time and jitter are arguments.

Events of one room go to one webhook one after the other: a *lane*. The first of a lane is tried until it is taken or
given up; the others wait behind it, those of other lanes do not. A webhook has `MAX_IN_FLIGHT` requests at a time, so
one that hangs holds nobody else's.

A lane is always in one place: among the timers (its first is due later), ready (due, but its webhook is busy, paused or
held because the receiver asked for time), or in flight. Times are Unix seconds, because they outlive the process.
"""

import heapq
from collections import deque
from collections.abc import Mapping

from msgspec import Struct

from broker.api.shelf import Shelf
from broker.api.webhook_retry import RetryPolicy
from broker.protocol import EventType

MAX_IN_FLIGHT = 4
"""Of one webhook: a receiver that never answers holds so many sockets and no more."""
MAX_WAITING = 5000
"""Of one webhook: a receiver that is away does not fill memory; what comes beyond is a dead letter at once. A hall of a
thousand that closes is a thousand events in a moment."""
MAX_DEAD_LETTERS = 500
"""Of one webhook; the oldest goes first, and is counted."""
MAX_RETRY_AFTER_S = 3600.0
"""A receiver cannot put its events off for longer than this at a time."""
MAX_ERROR_CHARACTERS = 200

Lane = tuple[str, str]
"""A webhook and a room; events of the fleet have the empty room."""


class DeliveryRecord(Struct, kw_only=True):
    """One event for one webhook. `number` only rises: it is the order of events."""

    delivery: str
    webhook: str
    event: EventType
    room: str
    body: str
    number: int
    created_at: float
    due_at: float
    attempts: int = 0
    last_error: str = ""
    dead: bool = False

    @property
    def lane(self) -> Lane:
        """Where it queues."""
        return self.webhook, self.room


class Deliveries(Shelf[DeliveryRecord]):
    """All deliveries that wait, fly or are dead."""

    def __init__(self, policy: RetryPolicy) -> None:
        super().__init__("webhook-deliveries", DeliveryRecord)
        self.paused: set[str] = set()
        """Webhooks that get nothing for now."""
        self.dropped: dict[str, int] = {}
        """How many dead letters had to go, by webhook."""
        self._policy = policy
        self._number = 0
        self._reset()

    def _reset(self) -> None:
        self._lanes: dict[Lane, deque[str]] = {}
        self._timers: list[tuple[float, int, Lane]] = []
        self._ready: dict[str, deque[Lane]] = {}
        self._flying: dict[str, set[str]] = {}
        self._waiting: dict[str, int] = {}
        self._dead: dict[str, dict[str, None]] = {}
        self._held: dict[str, float] = {}
        """Until when a receiver wants to be left alone."""

    # --- What waits -------------------------------------------------------------------------------------

    def offer(self, delivery: str, webhook: str, event: EventType, room: str, body: str, now: float) -> None:
        """Note an event for a webhook; it is due at once, after those of its room before it."""
        self._number += 1
        record = DeliveryRecord(
            delivery=delivery,
            webhook=webhook,
            event=event,
            room=room,
            body=body,
            number=self._number,
            created_at=now,
            due_at=now,
        )
        self.put(delivery, record)
        if self.waiting(webhook) >= MAX_WAITING:
            self._bury(record, "too many events were waiting")
        else:
            self._enqueue(record)

    def waiting(self, webhook: str) -> int:
        """How many events of a webhook wait or fly."""
        return self._waiting.get(webhook, 0)

    def dead_letters(self, webhook: str) -> int:
        """How many events of a webhook were given up and are kept."""
        return len(self._dead.get(webhook, {}))

    def of(self, webhook: str) -> list[DeliveryRecord]:
        """All that is kept of a webhook's events, dead or not, in no order."""
        return [record for record in self.records.values() if record.webhook == webhook]

    def _enqueue(self, record: DeliveryRecord) -> None:
        self._waiting[record.webhook] = self.waiting(record.webhook) + 1
        lane = self._lanes.setdefault(record.lane, deque())
        lane.append(record.delivery)
        if len(lane) == 1:
            self._schedule(record)

    def _schedule(self, record: DeliveryRecord) -> None:
        heapq.heappush(self._timers, (record.due_at, record.number, record.lane))

    # --- What flies -------------------------------------------------------------------------------------

    def begin(self, now: float) -> list[DeliveryRecord]:
        """The deliveries to try now; each must be answered with `succeeded` or `failed`."""
        while self._timers and self._timers[0][0] <= now:
            lane = heapq.heappop(self._timers)[2]
            self._ready.setdefault(lane[0], deque()).append(lane)
        self._held = {webhook: until for webhook, until in self._held.items() if until > now}
        return [record for webhook in list(self._ready) for record in self._take_off(webhook)]

    def _take_off(self, webhook: str) -> list[DeliveryRecord]:
        """As many of a webhook's as may fly at the same time; of each lane the first."""
        lanes, flying, begun = self._ready[webhook], self._flying.setdefault(webhook, set()), []
        while lanes and len(flying) < MAX_IN_FLIGHT and webhook not in self.paused and webhook not in self._held:
            record = self.records[self._lanes[lanes.popleft()][0]]
            flying.add(record.delivery)
            begun.append(record)
        if not lanes:
            del self._ready[webhook]
        return begun

    def next_due(self) -> float | None:
        """When the next lane is due, if any is waiting for its time."""
        held = [until for webhook, until in self._held.items() if webhook in self._ready]
        return min([*held, *(due_at for due_at, _, _ in self._timers[:1])], default=None)

    def succeeded(self, delivery: str) -> None:
        """The receiver took it; the next of its lane may go."""
        if (record := self._landed(delivery)) is not None:
            self._leave_lane(record)
            self.drop(delivery)

    def failed(self, delivery: str, error: str, now: float, jitter: float, retry_after_s: float = 0.0) -> None:
        """The receiver did not take it: try again later, or give it up. `retry_after_s` holds all of its webhook's."""
        if (record := self._landed(delivery)) is None:
            return
        if retry_after_s:
            self._held[record.webhook] = now + min(retry_after_s, MAX_RETRY_AFTER_S)
        record.attempts += 1
        record.last_error = error[:MAX_ERROR_CHARACTERS]
        delay_s = self._policy.delay_s(record.attempts, jitter)
        if delay_s is None:
            self._leave_lane(record)
            self._bury(record, record.last_error)
            return
        record.due_at = max(now + delay_s, self._held.get(record.webhook, now))
        self.put(delivery, record)
        self._schedule(record)

    def hasten(self, webhook: str, now: float) -> None:
        """Something has changed: try at once what waits for its time."""
        self._held.pop(webhook, None)
        for _, _, lane in [timer for timer in self._timers if timer[2][0] == webhook and timer[0] > now]:
            record = self.records[self._lanes[lane][0]]
            record.due_at = now
            self.put(record.delivery, record)
        self._timers = [(now if lane[0] == webhook else due, number, lane) for due, number, lane in self._timers]
        heapq.heapify(self._timers)

    def ground(self) -> None:
        """Whoever sent has stopped without saying how it went: what flew is due again, under the same ids."""
        for names in self._flying.values():
            for name in names:
                self._schedule(self.records[name])
        self._flying.clear()

    def _landed(self, delivery: str) -> DeliveryRecord | None:
        """The record, unless its webhook was deleted, or another broker leads, meanwhile."""
        record = self.records.get(delivery)
        if record is None or delivery not in self._flying.get(record.webhook, ()):
            return None
        self._flying[record.webhook].discard(delivery)
        return record

    def _leave_lane(self, record: DeliveryRecord) -> None:
        lane = self._lanes[record.lane]
        lane.popleft()
        self._waiting[record.webhook] -= 1
        if lane:
            self._schedule(self.records[lane[0]])
        else:
            del self._lanes[record.lane]

    # --- What is given up -------------------------------------------------------------------------------

    def _bury(self, record: DeliveryRecord, error: str) -> None:
        record.dead, record.last_error = True, error
        self.put(record.delivery, record)
        dead = self._dead.setdefault(record.webhook, {})
        dead[record.delivery] = None
        while len(dead) > MAX_DEAD_LETTERS:
            oldest = next(iter(dead))
            del dead[oldest]
            self.drop(oldest)
            self.dropped[record.webhook] = self.dropped.get(record.webhook, 0) + 1

    def redeliver(self, webhook: str, deliveries: list[str], now: float) -> int:
        """Send dead letters again, all if none is named, as far as there is room; how many they are."""
        dead = self._dead.get(webhook, {})
        chosen = set(deliveries)
        wanted = [name for name in dead if not chosen or name in chosen]
        wanted = wanted[: max(0, MAX_WAITING - self.waiting(webhook))]
        for name in wanted:
            record = self.records[name]
            del dead[name]
            record.dead, record.attempts, record.due_at = False, 0, now
            self.put(name, record)
            self._enqueue(record)
        return len(wanted)

    def remove(self, webhook: str) -> None:
        """Forget everything of a webhook."""
        for name in [name for name, record in self.records.items() if record.webhook == webhook]:
            self.drop(name)
        for lane in [lane for lane in self._lanes if lane[0] == webhook]:
            del self._lanes[lane]
        self._timers = [timer for timer in self._timers if timer[2][0] != webhook]
        heapq.heapify(self._timers)
        for of_webhooks in (self._ready, self._flying, self._waiting, self._dead, self._held, self.dropped):
            of_webhooks.pop(webhook, None)
        self.paused.discard(webhook)

    # --- Life of the broker -----------------------------------------------------------------------------

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over in the order of events; what flew when the broker stopped flies again under the same id."""
        super().restore(records)
        self._reset()
        for record in sorted(self.records.values(), key=lambda record: record.number):
            self._number = max(self._number, record.number)
            if record.dead:
                self._dead.setdefault(record.webhook, {})[record.delivery] = None
            else:
                self._enqueue(record)

    def forget(self) -> None:
        """Another broker leads, and delivers."""
        super().forget()
        self._reset()
        self.paused.clear()
        self.dropped.clear()
