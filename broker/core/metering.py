"""Metering: what rooms and sessions use, added up once a second.

A view counts while a node holds capacity for it, whether or not anybody is connected: that capacity is nobody else's.
It counts at the prices of the region that draws it (`broker.core.prices`). A shared view is divided equally among its
sessions. Time that the broker did not see, as it was down or stood still, is not counted beyond `MAX_STEP_S`: a bill
shows rather too little than too much. Sums are kept by day, room and the API key that made it, as the shell names the
day, for `KEPT_DAYS`.
"""

from broker.core.effects import Collection, Persist
from broker.core.prices import SitePrices
from broker.core.state import SessionRecord, State, Totals, UsageRecord, ViewRecord

MAX_STEP_S = 10.0
KEPT_DAYS = 62
"""Two months, so that the last one can be billed."""
PERSIST_EVERY_S = 15.0


def meter(state: State, now: float, day: str) -> None:
    """Count what was used since the last call; `day` is the date in UTC, such as `2026-11-29`."""
    last, state.metered_at = state.metered_at, now
    if last is None or now <= last:
        return
    seconds = min(now - last, MAX_STEP_S)
    for view in state.views.values():
        _count_view(state, view, record_of(state, day, view.room), seconds)
    if now - state.usage_persisted_at >= PERSIST_EVERY_S:
        state.usage_persisted_at = now
        _persist(state)
        _forget_old_days(state)


def _count_view(state: State, view: ViewRecord, record: UsageRecord, seconds: float) -> None:
    """A view, with everybody who watches it."""
    drawing = _drawing(state, view, seconds)
    record.totals.add(drawing)
    record.is_changed = True
    for name in view.sessions:
        session = state.sessions[name]
        watching = _watching(state, session, seconds)
        record.totals.add(watching)
        session.totals.add(watching)
        session.totals.add(drawing, 1.0 / len(view.sessions))
        if session.metered_on != record.day:
            session.metered_on = record.day
            record.sessions += 1


def _drawing(state: State, view: ViewRecord, seconds: float) -> Totals:
    """What the nodes that hold capacity for a view take."""
    totals = Totals()
    for holding in view.previous:
        totals.add(_units(_prices(state, holding.node), holding.milliunits / 1_000.0 * seconds))
    if view.node is not None:
        totals.add(_units(_prices(state, view.node), view.claimed / 1_000.0 * seconds))
    return totals


def _prices(state: State, node: str) -> SitePrices:
    known = state.nodes.get(node)
    return state.settings.values.prices(known.region if known is not None else "")


def _units(prices: SitePrices, unit_s: float) -> Totals:
    hours = unit_s / 3_600.0
    return Totals(
        unit_s=unit_s, energy_wh=prices.energy_wh(hours), carbon_g=prices.carbon_g(hours), cost=prices.cost(hours)
    )


def _watching(state: State, session: SessionRecord, seconds: float) -> Totals:
    if not session.connected:
        return Totals()
    return Totals(participant_s=seconds, sent_bytes=state.telemetry.sent_bps(session.session) / 8.0 * seconds)


def record_of(state: State, day: str, room: str) -> UsageRecord:
    """The sums of a room, as its present owner's, on a day; new ones are zero."""
    new = UsageRecord(day=day, room=room, owner=state.rooms[room].owner)
    return state.usage.setdefault(new.name, new)


def _persist(state: State) -> None:
    for key, record in state.usage.items():
        if record.is_changed:
            record.is_changed = False
            state.emit(Persist(Collection.USAGE, key))


def _forget_old_days(state: State) -> None:
    days = sorted({record.day for record in state.usage.values()})[:-KEPT_DAYS]
    for key in [key for key, record in state.usage.items() if record.day in days]:
        del state.usage[key]
        state.emit(Persist(Collection.USAGE, key))
