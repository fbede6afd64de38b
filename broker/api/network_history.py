"""What networks have shown (`core/networks.py`), kept in the store: aggregates, never single reports.

A broker that starts or takes over places people by it at once. It is written once in a while, as it changes slowly.
"""

from collections.abc import Callable, Mapping

from broker.api.shelf import Shelf
from broker.core.networks import Networks, PairRecord

WRITE_EVERY_S = 60.0


class NetworkHistory(Shelf[PairRecord]):
    """The records of the networks that `networks` gives: those of the present core."""

    def __init__(self, networks: Callable[[], Networks]) -> None:
        super().__init__("networks", PairRecord)
        self._networks = networks
        self._written_at: float | None = None

    def note(self, now: float) -> None:
        """Time has passed: take up what has changed, and forget what the core has forgotten."""
        last = self._written_at
        if last is not None and now - last < WRITE_EVERY_S:
            return
        self._written_at, networks = now, self._networks()
        for record in networks.records(float("-inf") if last is None else last):
            self.put(f"{record.network} {record.region}", record)
        for name, record in list(self.records.items()):
            if (record.network, record.region) not in networks:
                self.drop(name)

    def restore(self, records: Mapping[str, bytes]) -> None:
        """See `StoredPart.restore`."""
        super().restore(records)
        for record in self.records.values():
            self._networks().restore(record)
