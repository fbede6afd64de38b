"""Records the shell keeps beside the core's: keys, webhooks and their deliveries, the audit log.

All are in memory, where they are read. What changed goes to the store with the controller's next step, in one
transaction with what that step decided, so an event that was decided on is not lost before it was noted. While the
store is away changes wait: a name is dirty or not, however often it changed, so what waits is never more than what is
kept. Every owner of a shelf bounds what it keeps.
"""

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct

from broker.store.interface import RecordKey

MAX_CHANGES_A_WRITE = 500
"""A store that comes back after an outage is not given everything in one transaction, which it could not take within
its time limit."""

R = TypeVar("R", bound=Struct)


class StoredPart(Protocol):
    """A part of the broker whose records the controller restores, writes and forgets."""

    collection: str

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over what an earlier broker left."""

    def forget(self) -> None:
        """Another broker leads: what is here is no longer true."""

    def mark_all(self) -> None:
        """The store may have lost everything: write it all again."""

    def take_changes(self) -> dict[RecordKey, bytes | None]:
        """What is to be written now; `None` deletes."""

    def give_back(self, names: Mapping[RecordKey, bytes | None]) -> None:
        """These changes were not written after all."""


class Shelf(Generic[R]):
    """The records of one collection by name."""

    def __init__(self, collection: str, kind: type[R]) -> None:
        self.collection = collection
        self.records: dict[str, R] = {}
        self._kind = kind
        self._dirty: dict[str, None] = {}

    def put(self, name: str, record: R) -> None:
        """Keep a record, new or changed."""
        self.records[name] = record
        self._dirty[name] = None

    def drop(self, name: str) -> None:
        """Forget a record, also in the store; one that is not there is none."""
        if self.records.pop(name, None) is not None:
            self._dirty[name] = None

    def restore(self, records: Mapping[str, bytes]) -> None:
        """See `StoredPart.restore`; in the order of the names."""
        self.records = {name: msgspec.json.decode(records[name], type=self._kind) for name in sorted(records)}
        self._dirty.clear()

    def forget(self) -> None:
        """See `StoredPart.forget`."""
        self.records = {}
        self._dirty.clear()

    def mark_all(self) -> None:
        """See `StoredPart.mark_all`."""
        self._dirty.update(dict.fromkeys(self.records))

    def take_changes(self) -> dict[RecordKey, bytes | None]:
        """See `StoredPart.take_changes`; the oldest changes first."""
        names = list(self._dirty)[:MAX_CHANGES_A_WRITE]
        for name in names:
            del self._dirty[name]
        return {(self.collection, name): self._encoded(name) for name in names}

    def give_back(self, names: Mapping[RecordKey, bytes | None]) -> None:
        """See `StoredPart.give_back`."""
        ours = [name for collection, name in names if collection == self.collection]
        self._dirty = dict.fromkeys(ours) | self._dirty

    def _encoded(self, name: str) -> bytes | None:
        record = self.records.get(name)
        return None if record is None else msgspec.json.encode(record)
