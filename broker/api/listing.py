"""Pages of lists: read the query, keep what it asks for, cut a page off, name the next one.

A cursor holds the sort key of the last thing shown, not a position. Keys never change while a thing exists, so whatever
is there throughout is shown exactly once, however much is added and removed between two pages.
"""

import base64
import binascii
import heapq
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from broker.api.problems import ApiError
from broker.protocol import Message, PageQuery

Q = TypeVar("Q", bound=Message)
T = TypeVar("T")
Key = tuple[str, ...]

_REPEATABLE = frozenset({"metadata"})


def bad_query(detail: str) -> ApiError:
    """The query string is not what the endpoint takes; `detail` names the parameter."""
    return ApiError("bad-query", 400, "The query cannot be used", detail)


def read_query(request: web.Request, kind: type[Q]) -> Q:
    """The query string as `kind`. Raises `ApiError` naming an unknown, repeated or malformed parameter."""
    values: dict[str, str | list[str]] = {}
    for name in request.query:
        given = request.query.getall(name)
        if len(given) > 1 and name not in _REPEATABLE:
            raise bad_query(f"parameter {name!r} is given {len(given)} times; give it once")
        values[name] = given if name in _REPEATABLE else given[0]
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise bad_query(str(error)) from error


def page(
    list_name: str, things: Iterable[T], key: Callable[[T], Key], query: PageQuery
) -> tuple[list[T], str | UnsetType]:
    """The things of the page that `query` names, in order of `key`, and the next page's cursor, if there is one.

    Raises `ApiError` for a cursor that is not one of this list.
    """
    after = None if query.cursor is UNSET else decode_cursor(list_name, query.cursor)
    rest = things if after is None else (thing for thing in things if key(thing) > after)
    shown = heapq.nsmallest(query.limit + 1, rest, key=key)
    if len(shown) <= query.limit:
        return shown, UNSET
    return shown[:-1], encode_cursor(list_name, key(shown[-2]))


def encode_cursor(list_name: str, key: Key) -> str:
    """The cursor for what comes after `key` in a list."""
    return base64.urlsafe_b64encode(msgspec.json.encode([list_name, *key])).decode().rstrip("=")


def decode_cursor(list_name: str, cursor: str) -> Key:
    """What `encode_cursor` wrote. Raises `ApiError` for a cursor that is not one of this list."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        name, *key = msgspec.json.decode(raw, type=list[str])
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise bad_query("cursor: it is not one of ours; give the `next_cursor` of the page before") from error
    if name != list_name:
        raise bad_query(f"cursor: it belongs to the list of {name[:40]}, not of {list_name}")
    return tuple(key)


def holds(wanted: object, value: object) -> bool:
    """Whether a condition of a query holds; an absent one always does."""
    return wanted is UNSET or wanted == value
