"""HTTP: the audit log, who changed what, or tried to."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from broker.protocol.listing import PageQuery
from broker.protocol.terms import Message

_Filter = Annotated[str, Meta(min_length=1, max_length=256)]
_Time = Annotated[str, Meta(min_length=1, max_length=40)]


class AuditEntry(Message, frozen=True):
    """One request that changed something, or was not allowed to."""

    entry: str
    """Its id; later entries have higher ones."""
    at: str
    """RFC 3339, UTC."""
    actor: str
    """`root`, an API key's id, `operator:NAME`, or `session:ID` of a host."""
    action: str
    """Method and route, as in the API's documentation: `DELETE /v1/rooms/{room}`."""
    target: str
    """The path, or what was made: `/v1/rooms/demo`."""
    room: str
    """The room it was about, if any."""
    status: int
    problem: str
    """Kind of the problem document; empty if it was done."""
    address: str
    """From where: an operator's IP address; of a host a keyed hash."""


class AuditQuery(PageQuery, frozen=True):
    """Query of `GET /v1/audit`; all conditions must hold."""

    actor: _Filter | UnsetType = UNSET
    action: _Filter | UnsetType = UNSET
    target: _Filter | UnsetType = UNSET
    """A path: it and what is below it."""
    since: _Time | UnsetType = UNSET
    """RFC 3339; included."""
    until: _Time | UnsetType = UNSET
    """RFC 3339; not included."""


class AuditList(Message, frozen=True):
    """Answer of `GET /v1/audit`, newest first. A page may be short, even empty, and have a next one all the same."""

    entries: list[AuditEntry]
    next_cursor: str | UnsetType = UNSET
