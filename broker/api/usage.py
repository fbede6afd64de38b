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
_PARAMETERS = {"from", "to", "room", "key", "group_by"}
_GROUPS = ("day", "room", "key")
GroupKey = tuple[str, str, str]


async def get_usage(request: web.Request) -> web.Response:
    """What was used: `from` and `to` are days in UTC, both included; `group_by` some of `day,room,key`."""
    query = request.query
    if unknown := set(query) - _PARAMETERS:
        known = ", ".join(sorted(_PARAMETERS))
        raise ApiError("malformed", 400, "Unknown parameter", f"there is no {min(unknown)[:40]!r}; known: {known}")
    first, last = _day(query.get("from", "0000-01-01")), _day(query.get("to", "9999-12-31"))
    group = _grouping(query.get("group_by", "day,room"))
    room, owner, reaches = query.get("room"), query.get("key"), principal_of(request).reaches
    chosen = [
        record
        for record in request.app[CONTROLLER].brain.state.usage.values()
        if first <= record.day <= last
        and room in (None, record.room)
        and owner in (None, record.owner)
        and reaches(record.room)
    ]
    rows = [_row(key, list(members)) for key, members in groupby(sorted(chosen, key=group), key=group)]
    return json_response(UsageReport(rows=rows, total=_sum(chosen).usage()))


def _grouping(text: str) -> Callable[[UsageRecord], GroupKey]:
    """What rows are told apart by. Raises `ApiError`."""
    wanted = text.split(",")
    if len(set(wanted)) < len(wanted) or not set(wanted) <= set(_GROUPS):
        raise ApiError("malformed", 400, "Unknown grouping", f"group_by is some of {','.join(_GROUPS)}, each once")

    def group(record: UsageRecord) -> GroupKey:
        day, room, key = (
            value if name in wanted else ""
            for name, value in zip(_GROUPS, (record.day, record.room, record.owner), strict=True)
        )
        return day, room, key

    return group


def _day(text: str) -> str:
    if not _DAY.fullmatch(text):
        raise ApiError("malformed", 400, "Not a day", f"{text[:20]!r}; write days as 2026-11-29")
    return text


def _row(group: GroupKey, records: list[UsageRecord]) -> UsageRow:
    day, room, key = group
    sessions = sum(record.sessions for record in records)
    return UsageRow(day=day, room=room, key=key, sessions=sessions, usage=_sum(records).usage())


def _sum(records: Iterable[UsageRecord]) -> Totals:
    totals = Totals()
    for record in records:
        totals.add(record.totals)
    return totals
