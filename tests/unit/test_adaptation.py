import math

from broker.token_bucket import TokenBucket
from edge.adaptation import MAX_BITRATE_BPS, MIN_BITRATE_BPS, next_estimate_bps, stream_bitrate_bps

UNKNOWN = math.nan


def test_estimate_rises_without_loss_and_falls_with_it() -> None:
    assert next_estimate_bps(1e6, 0.0, UNKNOWN, 1.0) > 1e6
    assert next_estimate_bps(1e6, 0.3, UNKNOWN, 1.0) < 1e6
    assert next_estimate_bps(1e6, 0.05, UNKNOWN, 1.0) == 1e6


def test_receivers_own_estimate_caps() -> None:
    assert next_estimate_bps(5e6, 0.0, 1e6, 1.0) < 1e6


def test_estimate_stays_within_its_bounds_for_ever() -> None:
    high = low = 1e6
    for _ in range(1000):
        high = next_estimate_bps(high, 0.0, UNKNOWN, 1.0)
        low = next_estimate_bps(low, 1.0, UNKNOWN, 1.0)
    assert high == MAX_BITRATE_BPS
    assert low == MIN_BITRATE_BPS


def test_one_viewers_line_decides_alone_but_not_among_many() -> None:
    assert stream_bitrate_bps([3e5]) == 3e5
    assert stream_bitrate_bps([2e5] + [3e6] * 99) == 3e6
    assert stream_bitrate_bps([]) is None


def test_bucket_allows_its_rate_and_its_burst() -> None:
    bucket = TokenBucket(8.0, 5.0)
    assert sum(bucket.take(0.0) for _ in range(20)) == 5
    assert sum(bucket.take(1.0) for _ in range(20)) == 5
    assert sum(bucket.take(1.0 + n * 0.125) for n in range(1, 11)) == 10
