"""HTTP: templates that rooms are made from."""

from msgspec import UNSET, UnsetType

from broker.protocol.rooms import RoomSettings
from broker.protocol.terms import Identifier, Message


class Template(Message, frozen=True):
    """A template as the API shows it: only what was given. `changed_at` is RFC 3339, UTC."""

    template: Identifier
    settings: RoomSettings
    changed_at: str


class TemplateList(Message, frozen=True):
    """Answer of `GET /v1/templates`; `next_cursor` is absent on the last page."""

    templates: list[Template]
    next_cursor: str | UnsetType = UNSET
