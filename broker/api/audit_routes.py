"""The handler of the audit log: filters and pages over the store's log, newest first."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from broker.api.audit import LOG_NAME, AuditRecord
from broker.api.bodies import json_response
from broker.api.keys import CONTROLLER
from broker.api.listing import bad_query, decode_cursor, encode_cursor, holds, read_query
from broker.api.principal import Principal, principal_of
from broker.api.timestamps import rfc3339, unix_seconds
from broker.protocol import AuditEntry, AuditList, AuditQuery
from broker.store.interface import EntryId

READ_AT_ONCE = 500
MAX_READ = 10_000
"""For one page: a condition that hardly ever holds does not make one request read the whole log."""
OUT_OF_ORDER_S = 60.0
"""Entries stand in the order in which they were written; clocks differ, and some waited for the store."""

Read = Callable[[EntryId | None, int], Awaitable[list[tuple[EntryId, bytes]]]]


class Wanted(Struct, frozen=True, kw_only=True):
    """What a query asks for; times are Unix seconds."""

    query: AuditQuery
    principal: Principal
    since: float
    until: float

    def holds(self, record: AuditRecord) -> bool:
        """Whether an entry is asked for, and is for these eyes: who is limited to rooms sees theirs only."""
        return (
            self.principal.reaches(record.room)
            and holds(self.query.actor, record.actor)
            and holds(self.query.action, record.action)
            and _is_below(self.query.target, record.target)
            and self.since <= record.at < self.until
        )


async def list_entries(request: web.Request) -> web.Response:
    """The entries that match, newest first."""
    controller, query = request.app[CONTROLLER], read_query(request, AuditQuery)
    since, until = _time("since", query.since, float("-inf")), _time("until", query.until, float("inf"))
    wanted = Wanted(query=query, principal=principal_of(request), since=since, until=until)
    before = None if query.cursor is UNSET else _position(query.cursor)
    store = controller.store
    entries, position = await search(
        lambda before, count: controller.use_store(lambda: store.read_back(LOG_NAME, before, count)), wanted, before
    )
    cursor = UNSET if position is None else encode_cursor(LOG_NAME, (str(position[0]), str(position[1])))
    return json_response(AuditList(entries=entries, next_cursor=cursor))


async def search(read: Read, wanted: Wanted, before: EntryId | None) -> tuple[list[AuditEntry], EntryId | None]:
    """A page of what is wanted, and where the next one begins, if there may be more."""
    found: list[AuditEntry] = []
    count = min(wanted.query.limit, READ_AT_ONCE)
    for _ in range(MAX_READ // READ_AT_ONCE):
        chunk = await read(before, count)
        for position, raw in chunk:
            record = msgspec.json.decode(raw, type=AuditRecord)
            if record.at < wanted.since - OUT_OF_ORDER_S:
                return found, None
            if wanted.holds(record):
                found.append(_show(position, record))
            if len(found) == wanted.query.limit:
                return found, position
            before = position
        if len(chunk) < count:
            return found, None
        count = READ_AT_ONCE
    return found, before


def _show(position: EntryId, record: AuditRecord) -> AuditEntry:
    return AuditEntry(
        entry=f"{position[0]}-{position[1]}",
        at=rfc3339(record.at),
        actor=record.actor,
        action=record.action,
        target=record.target,
        room=record.room,
        status=record.status,
        problem=record.problem,
        address=record.address,
    )


def _is_below(wanted: str | UnsetType, target: str) -> bool:
    return wanted is UNSET or target == wanted or target.startswith(wanted.rstrip("/") + "/")


def _time(name: str, text: str | UnsetType, default: float) -> float:
    try:
        return default if text is UNSET else unix_seconds(text)
    except ValueError as error:
        raise bad_query(f"{name}: write it as 2026-11-29T09:30:00Z ({error})") from error


def _position(cursor: str) -> EntryId:
    key = decode_cursor(LOG_NAME, cursor)
    if len(key) != 2 or not all(part.isascii() and part.isdigit() and int(part) < 2**64 for part in key):
        raise bad_query("cursor: it is not one of ours; give the `next_cursor` of the page before")
    return int(key[0]), int(key[1])
