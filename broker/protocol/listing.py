"""HTTP: what the lists of the rooms API can be asked for, and the sessions of all rooms.

The structs of queries describe the query string: each field one parameter, absent ones filter nothing.
"""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from broker.protocol.rooms import Participant
from broker.protocol.terms import MAX_METADATA_ENTRIES, Identifier, Message, Mode, Role, SessionState

DEFAULT_PAGE = 50
MAX_PAGE = 500
"""Stops one request from making the broker show tens of thousands of records while everybody else waits."""
MAX_CURSOR_CHARACTERS = 512
"""Stops a client from making the broker decode large cursors."""

Cursor = Annotated[str, Meta(min_length=1, max_length=MAX_CURSOR_CHARACTERS)]
MetadataFilter = Annotated[str, Meta(pattern=r"^[^=]{1,64}=[^\n]{0,512}$")]
"""`key=value`; the value may hold further `=`."""


class PageQuery(Message, frozen=True):
    """Which page of a list. `cursor` is the `next_cursor` of the page before; it is opaque."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE)] = DEFAULT_PAGE
    cursor: Cursor | UnsetType = UNSET


class RoomQuery(PageQuery, frozen=True):
    """Query of `GET /v1/rooms`; all conditions must hold."""

    mode: Mode | UnsetType = UNSET
    scene: Identifier | UnsetType = UNSET
    open: bool | UnsetType = UNSET
    locked: bool | UnsetType = UNSET
    name_prefix: Identifier | UnsetType = UNSET
    metadata: Annotated[list[MetadataFilter], Meta(max_length=MAX_METADATA_ENTRIES)] = []
    """`key=value`, may be repeated."""
    node: Identifier | UnsetType = UNSET
    """The node that hosts the room's world."""
    has_participants: bool | UnsetType = UNSET


class ParticipantQuery(PageQuery, frozen=True):
    """Query of `GET /v1/rooms/{room}/participants`; all conditions must hold."""

    role: Role | UnsetType = UNSET
    state: SessionState | UnsetType = UNSET
    edge: Identifier | UnsetType = UNSET
    identity: Identifier | UnsetType = UNSET
    hand_raised: bool | UnsetType = UNSET


class SessionQuery(ParticipantQuery, frozen=True):
    """Query of `GET /v1/sessions`; all conditions must hold."""

    room: Identifier | UnsetType = UNSET
    node: Identifier | UnsetType = UNSET
    """The node that draws the session's view."""


class SessionEntry(Participant, frozen=True, kw_only=True):
    """A session of any room, as `GET /v1/sessions` shows it."""

    room: Identifier


class SessionList(Message, frozen=True):
    """Answer of `GET /v1/sessions`; `next_cursor` is absent on the last page."""

    sessions: list[SessionEntry]
    next_cursor: str | UnsetType = UNSET
