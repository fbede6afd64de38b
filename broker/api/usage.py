"""The handler of `GET /v1/usage`."""

import re
from collections.abc import Callable, Iterable
from itertools import groupby

from aiohttp import web

from broker.api.bodies import json_response
from broker.api.keys import CONTROLLER
from broker.api.principal import principal_of
from broker.api.problems import ApiError
from broker.core.state import Totals, UsageRecord
from broker.protocol import UsageReport, UsageRow

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_PARAMETERS = {"from", "to", "room", "group_by"}
_GROUPS: dict[str, Callable[[UsageRecord], tuple[str, str]]] = {
    "day,room": lambda record: (record.day, record.room),
    "day": lambda record: (record.day, ""),
    "room": lambda record: ("", record.room),
}


async def get_usage(request: web.Request) -> web.Response:
    """What was used: `from` and `to` are days in UTC, both included; `group_by` is `day,room`, `day` or `room`."""
    query = request.query
    if unknown := set(query) - _PARAMETERS:
        known = ", ".join(sorted(_PARAMETERS))
        raise ApiError("malformed", 400, "Unknown parameter", f"there is no {min(unknown)[:40]!r}; known: {known}")
    first, last = _day(query.get("from", "0000-01-01")), _day(query.get("to", "9999-12-31"))
    group = _GROUPS.get(query.get("group_by", "day,room"))
    if group is None:
        raise ApiError("malformed", 400, "Unknown grouping", f"group_by is one of {'; '.join(_GROUPS)}")
    room = query.get("room")
    records = request.app[CONTROLLER].brain.state.usage.values()
    reaches = principal_of(request).reaches
    chosen = [r for r in records if first <= r.day <= last and room in (None, r.room) and reaches(r.room)]
    rows = [_row(key, list(members)) for key, members in groupby(sorted(chosen, key=group), key=group)]
    return json_response(UsageReport(rows=rows, total=_sum(chosen).usage()))


def _day(text: str) -> str:
    if not _DAY.fullmatch(text):
        raise ApiError("malformed", 400, "Not a day", f"{text[:20]!r}; write days as 2026-11-29")
    return text


def _row(key: tuple[str, str], records: list[UsageRecord]) -> UsageRow:
    sessions = sum(record.sessions for record in records)
    return UsageRow(day=key[0], room=key[1], sessions=sessions, usage=_sum(records).usage())


def _sum(records: Iterable[UsageRecord]) -> Totals:
    totals = Totals()
    for record in records:
        totals.add(record.totals)
    return totals
