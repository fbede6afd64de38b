"""Which of several brokers over one store decides: the one that holds the only place of a pool, term by term.

It renews the claim long before the term is over, and others ask for it until it is free. Times are given: `now` is
monotonic, `unix_now` wall-clock, both in seconds.
"""

from broker.store.interface import Store, StoredClaim

POOL = "brokers:lead"
TRUSTED_SHARE = 0.8
"""How much of its term a broker relies on the lead without asking the store: brokers' clocks may differ by the rest."""


class Lead:
    """One broker's part in it; `holder` is the name of this process, `term_s` the length of a term in seconds."""

    def __init__(self, store: Store, holder: str, term_s: float, now: float) -> None:
        self._store = store
        self._holder = holder
        self._term_s = term_s
        self._claim: StoredClaim | None = None
        self._store_identity: str | None = None
        self._yields_until = float("-inf")
        self._asked_at = now

    def may_be_gone(self, now: float) -> bool:
        """Whether this process stood still for so long that another broker may have taken over."""
        return self._claim is not None and now - self._asked_at > TRUSTED_SHARE * self._term_s

    async def find_store(self, now: float) -> bool:
        """Whether the store is another one than the last time, or has lost what was written. Raises `StoreUnavailable`.

        Who stood by then lets the broker that led have the lead again: it alone knows what is to be written anew.
        """
        known, self._store_identity = self._store_identity, await self._store.identity()
        if self._claim is None and known not in (None, self._store_identity):
            self._yields_until = now + self._term_s
        return known != self._store_identity

    async def hold(self, now: float, unix_now: float) -> bool:
        """Take the lead if it is free, renew it if it is held here; whether it is. Raises `StoreUnavailable`."""
        if self._claim is not None:
            if not await self._store.renew(self._claim, 1, self._term_s, unix_now):
                self._claim = None
        elif now >= self._yields_until:
            self._claim = await self._store.claim(POOL, self._holder, 1, 1, self._term_s, unix_now)
        self._asked_at = now
        return self._claim is not None

    def ask_later(self, now: float) -> None:
        """The store does not answer: nobody else can take over by it, as far as can be seen from here."""
        self._asked_at = now

    async def give_up(self) -> None:
        """Make way for another broker, if it is held here. Raises `StoreUnavailable`."""
        if self._claim is not None:
            await self._store.release(POOL, self._claim.key, self._claim.fence)
