"""What brokers share, behind one interface: records, agents, claims, spent and revoked tokens, logs.

`now` and all expiries are Unix seconds given by the caller; brokers of one deployment keep their clocks within a
second of each other (NTP), which is far below every lifetime used. Every method may raise `StoreUnavailable`;
a caller then goes on with the last state it knows.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

RecordKey = tuple[str, str]
"""Collection and name of a record."""
EntryId = tuple[int, int]
"""Where an entry stands in a log: both are at least 0 and below 2**64; later entries have higher ones."""


class StoreUnavailable(Exception):
    """The store does not answer; the message names it and the cause."""


class StoredClaim(Struct, frozen=True, kw_only=True):
    """A reservation of `amount` of `pool` for `key`. A newer claim has a higher fence."""

    pool: str
    key: str
    amount: int
    fence: int
    expires_at: float


class ClaimOrder(Struct, frozen=True):
    """A claim to make, as one of several: the arguments of `Store.claim`."""

    pool: str
    key: str
    amount: int
    capacity: int
    fence_floor: int = 0


class ReleaseOrder(Struct, frozen=True):
    """A claim to give back, as one of several: the arguments of `Store.release`."""

    pool: str
    key: str
    fence: int


class Store(Protocol):
    """State shared by brokers."""

    name: str
    """`memory` or `redis`."""

    async def ping(self) -> None:
        """Return if the store answers."""

    async def identity(self) -> str:
        """A name that stays as long as the store's data does: another one means that what was written is gone."""

    async def save(self, changes: Mapping[RecordKey, bytes | None]) -> None:
        """Write records, and delete those given as `None`, all or none."""

    async def load(self, collection: str) -> dict[str, bytes]:
        """All records of a collection by name."""

    async def put_agents(self, agents: Mapping[str, bytes], expires_at: float) -> None:
        """Write what is known of agents; it is forgotten at `expires_at`."""

    async def agents(self, now: float) -> dict[str, bytes]:
        """The agents that have not expired."""

    async def claim(
        self, pool: str, key: str, amount: int, capacity: int, ttl_s: float, now: float, fence_floor: int = 0
    ) -> StoredClaim | None:
        """Reserve `amount` of `pool` for `key`, or `None` if more than `capacity` would be claimed.

        A claim of the same key in the same pool is replaced. The fence is higher than every fence given before
        and than `fence_floor`.
        """

    async def renew(self, claim: StoredClaim, capacity: int, ttl_s: float, now: float) -> bool:
        """Prolong a claim; one that has expired is taken again if there is capacity.

        False if the key has been claimed anew in this pool, or the capacity has gone to others.
        """

    async def release(self, pool: str, key: str, fence: int) -> bool:
        """Give a claim back; false, and nothing happens, if its fence is not this one."""

    async def settle(self, orders: Sequence[ClaimOrder | ReleaseOrder], ttl_s: float, now: float) -> list[int | None]:
        """Claim and release in this order, with few round trips.

        Answers each claim with its fence, or `None` where it is refused, and each release with 1, or `None` where the
        fence was another. If this raises, any number of the first orders may have been carried out.
        """

    async def claimed(self, pool: str, now: float) -> int:
        """Sum of the claims of a pool that have not expired."""

    async def use_token(self, token_id: str, expires_at: float, now: float) -> bool:
        """Spend a token: true for the first caller only, until the token expires anyway."""

    async def restore_token(self, token_id: str) -> None:
        """Make a spent token good again, because what it was spent on did not come about."""

    async def revoke(self, token_id: str, expires_at: float, now: float) -> None:
        """Revoke a token (or a session) until `expires_at`."""

    async def is_revoked(self, token_id: str, now: float) -> bool:
        """Whether it has been revoked."""

    async def append(self, log: str, entries: Sequence[bytes], keep: int) -> None:
        """Add entries to the end of a log, which keeps about the last `keep`, never fewer."""

    async def read_back(self, log: str, before: EntryId | None, limit: int) -> list[tuple[EntryId, bytes]]:
        """At most `limit` entries, the newest first: of the whole log, or of what stands before an entry."""

    async def close(self) -> None:
        """Let go of connections."""
