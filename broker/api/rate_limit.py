"""A token bucket per client address, session or API key, so that one cannot fill rooms or keep encoders busy."""

from collections import OrderedDict

from broker.token_bucket import TokenBucket

MAX_NAMES = 10_000
"""Stops many addresses from filling memory; the longest unseen is forgotten first."""
RESHAPES_PER_MINUTE = 30.0
DATA_PER_MINUTE = 60.0
"""To one room: stops a host from flooding everybody's data channel."""
POLLS_PER_MINUTE = 60.0
"""Of one ticket of a waiting room: stops a client from polling without a pause."""
OFFERS_PER_MINUTE = 12.0
"""Of one publish token: an encoder that reconnects with pauses needs no more."""


class RateLimiter:
    """Allows `per_minute` events per name (an address, a session) and minute on average, and that many at once."""

    def __init__(self, per_minute: float) -> None:
        self._burst = max(1.0, per_minute)
        self._per_second = per_minute / 60.0
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def wait_s(self, name: str, now: float) -> float:
        """Count one event and return 0, or return the seconds to wait until one is allowed."""
        bucket = self._buckets.pop(name, None) or TokenBucket(self._per_second, self._burst)
        self._buckets[name] = bucket
        while len(self._buckets) > MAX_NAMES:
            self._buckets.popitem(last=False)
        return 0.0 if bucket.take(now) else bucket.wait_s


class KeyLimiter:
    """Allows each key its own number of requests per minute on average, and a quarter of it at once."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, tuple[float, TokenBucket]] = OrderedDict()

    def wait_s(self, key: str, per_minute: float | None, now: float) -> float:
        """Count one request and return 0, or return the seconds to wait; no limit (`None`) never waits."""
        if per_minute is None:
            return 0.0
        rate, bucket = self._buckets.pop(key, (0.0, None))
        if bucket is None or rate != per_minute:
            bucket = TokenBucket(per_minute / 60.0, max(1.0, per_minute / 4))
        self._buckets[key] = (per_minute, bucket)
        while len(self._buckets) > MAX_NAMES:
            self._buckets.popitem(last=False)
        return 0.0 if bucket.take(now) else bucket.wait_s
