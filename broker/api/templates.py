"""Templates of rooms: kept by name, beside the core's records, as API keys are."""

from msgspec import Struct

from broker.api.problems import ApiError
from broker.api.shelf import Shelf
from broker.protocol import RoomSettings

MAX_TEMPLATES = 1000
"""Stops a key from filling memory and store."""


class TemplateRecord(Struct, kw_only=True):
    """A template; `changed_at` in Unix seconds."""

    template: str
    settings: RoomSettings
    changed_at: float


class Templates(Shelf[TemplateRecord]):
    """All templates. Names fall under a key's prefix as those of rooms do."""

    def __init__(self) -> None:
        super().__init__("templates", TemplateRecord)

    def keep(self, name: str, settings: RoomSettings, now: float) -> TemplateRecord:
        """Make a template, or replace it. Raises `ApiError` if there are too many."""
        if name not in self.records and len(self.records) >= MAX_TEMPLATES:
            detail = f"there are {MAX_TEMPLATES}; delete one"
            raise ApiError("too-many-templates", 409, "Too many templates", detail)
        record = TemplateRecord(template=name, settings=settings, changed_at=now)
        self.put(name, record)
        return record

    def get(self, name: str) -> TemplateRecord:
        """The template of this name. Raises `ApiError`."""
        if (record := self.records.get(name)) is None:
            raise ApiError("template-unknown", 404, "No such template", f"there is no template {name!r}")
        return record
