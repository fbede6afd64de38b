"""Which store a URL means."""

from broker.store.interface import Store
from broker.store.memory import MemoryStore


def open_store(url: str, first_fence: int = 0) -> Store:
    """The store for `memory:`, `redis://`, `rediss://` or `unix://`; no connection is made yet.

    `first_fence` is for the memory store, see there. Raises `ValueError` for any other URL.
    """
    if url in ("memory:", "memory://"):
        return MemoryStore(first_fence)
    if url.startswith(("redis://", "rediss://", "unix://")):
        from broker.store.redis import RedisStore

        return RedisStore(url)
    raise ValueError(f"store_url: {url.partition('@')[2] or url!r}: use memory:, redis://, rediss:// or unix://")
