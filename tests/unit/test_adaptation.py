"""What a viewer's line is taken to carry, by single reports and in a closed loop over an emulated line."""

import math

import hypothesis.strategies as st
import pytest
from hypothesis import given

from broker.token_bucket import TokenBucket
from edge.adaptation import (
    LAYER_STEP,
    LONG_QUEUE_MS,
    MAX_BITRATE_BPS,
    MIN_BITRATE_BPS,
    START_BITRATE_BPS,
    LineEstimate,
    LineReport,
    WeightedBitrate,
    highest_layer_bps,
    least_bitrates_bps,
    stream_bitrate_bps,
)
from tests.support.network import Line, Link

UNKNOWN = math.nan


def report(
    sent_bps: float = 1e6, *, rtt_ms: float = UNKNOWN, loss: float = 0.0, remb_bps: float = UNKNOWN
) -> LineReport:
    return LineReport(sent_bps, rtt_ms, loss, remb_bps)


def after(*reports: LineReport, bandwidth_bps: float = 1.25e6) -> float:
    """The estimate after these reports, a second each; it begins at 1 Mbit/s."""
    estimate = LineEstimate(bandwidth_bps)
    for entry in reports:
        estimate.update(entry, 1.0)
    return estimate.bps


def test_estimate_rises_without_loss_and_falls_with_it() -> None:
    assert after() == 1e6
    assert after(report(loss=0.0)) > 1e6
    assert after(report(loss=0.3)) < 1e6
    assert after(report(loss=0.05)) == 1e6
    assert after(report(loss=UNKNOWN)) == 1e6


def test_estimate_falls_from_what_was_sent_unless_that_says_nothing() -> None:
    assert after(report(400e3, loss=0.3)) < 400e3
    assert after(report(20e3, loss=0.3)) > 800e3, "a picture at rest"


def test_queue_lowers_the_estimate_before_anything_is_lost() -> None:
    empty, full = report(rtt_ms=20.0), report(rtt_ms=20.0 + 2 * LONG_QUEUE_MS)
    assert after(empty, full) < 1e6
    assert after(empty, report(rtt_ms=70.0)) == after(empty), "a middling one is waited out"


def test_some_loss_without_a_queue_does_not_stop_the_estimate_from_rising() -> None:
    assert after(report(rtt_ms=20.0, loss=0.05)) > 1e6


def test_longer_route_is_not_taken_for_a_queue_for_ever() -> None:
    before, then = report(rtt_ms=20.0), report(rtt_ms=150.0)
    assert after(before, *[then] * 20) < 0.5e6
    assert after(before, *[then] * 300) > 1e6


def test_no_news_changes_nothing() -> None:
    assert after(report(), report(loss=UNKNOWN)) == after(report())


def test_what_a_line_lost_while_it_was_cut_is_not_held_against_it_but_lasting_loss_is() -> None:
    good, cut = [report(rtt_ms=20.0)] * 4, report(rtt_ms=20.0, loss=0.6)
    assert after(*good, cut) == after(*good)
    assert after(*good, cut, cut) < 0.5e6
    assert after(*good, report(rtt_ms=250.0, loss=0.6)) < 0.5e6, "a full queue tells of a narrow line"
    assert after(cut) < 0.5e6, "a line that nothing is known of yet"


def test_estimate_recovers_fast_from_severe_loss_that_has_passed_but_not_into_a_queue() -> None:
    good, cut, slow = report(rtt_ms=20.0), report(rtt_ms=20.0, loss=0.6), report(rtt_ms=70.0)
    fallen = after(*[good] * 4, cut, cut)
    assert after(*[good] * 4, cut, cut, *[good] * 3) > 2 * fallen
    assert after(*[good] * 4, cut, cut, *[slow] * 3) == fallen
    assert after(*[good] * 4, cut, cut, *[good] * 6) < 1e6, "slower beyond most of what it was"


def test_receivers_own_estimate_caps_a_stream_that_uses_it_and_no_other() -> None:
    assert after(report(0.5e6, remb_bps=0.5e6)) < 0.5e6
    assert after(report(20e3, remb_bps=40e3)) > 1e6, "it was sent little, and can know no more"


@pytest.mark.parametrize(
    ("bandwidth_bps", "first_bps"),
    [(None, START_BITRATE_BPS), (1e6, 0.8e6), (1e9, START_BITRATE_BPS), (0.0, MIN_BITRATE_BPS)],
)
def test_estimate_begins_with_what_the_client_measured(bandwidth_bps: float | None, first_bps: float) -> None:
    assert LineEstimate(bandwidth_bps).bps == first_bps


def test_estimate_stays_within_its_bounds_for_ever() -> None:
    high, low = LineEstimate(), LineEstimate()
    for _ in range(1000):
        high.update(report(high.bps), 1.0)
        low.update(report(low.bps, loss=1.0), 1.0)
    assert high.bps == MAX_BITRATE_BPS
    assert low.bps == MIN_BITRATE_BPS


PACKET_BYTES = 1200


class Stream:
    """A viewer's line and the loop of report and estimate over it, in virtual time, a step a second."""

    def __init__(self, line: Line, most_bps: float) -> None:
        self.link = Link(line, seed=7)
        self.estimate = LineEstimate()
        self._most_bps = most_bps
        self._now = 0.0

    def second(self) -> tuple[float, float, float]:
        """Send a second's packets; returns bits received, the share lost and the last packet's wait in seconds."""
        sent_bps = min(self.estimate.bps, self._most_bps)
        packets = max(1, round(sent_bps / 8 / PACKET_BYTES))
        sent_s = [self._now + index / packets for index in range(packets)]
        delays = [at - sent for sent in sent_s if (at := self.link.send(PACKET_BYTES, sent)) is not None]
        self._now += 1.0
        loss, wait_s = 1 - len(delays) / packets, delays[-1] if delays else math.nan
        self.estimate.update(report(sent_bps, rtt_ms=wait_s * 1000.0 + 10.0, loss=loss), 1.0)
        return len(delays) * PACKET_BYTES * 8.0, loss, wait_s - self.link.line.delay_s

    def settle(self, seconds: int) -> None:
        for _ in range(seconds):
            self.second()

    def mean(self, seconds: int) -> tuple[float, float, float]:
        """Means over so many seconds of what `second` returns."""
        rows = [self.second() for _ in range(seconds)]
        received, loss, queue_s = (sum(column) / seconds for column in zip(*rows, strict=True))
        return received, loss, queue_s


def test_stream_finds_the_rate_of_a_narrow_line_without_standing_in_its_queue() -> None:
    stream = Stream(Line(delay_s=0.03, rate_bps=600_000), most_bps=3e6)
    stream.settle(12)
    received_bps, loss, queue_s = stream.mean(120)
    assert received_bps > 0.75 * 600_000
    assert loss < 0.02
    assert queue_s < 0.08


def test_stream_finds_the_rate_of_a_line_that_has_grown_wider() -> None:
    stream = Stream(Line(delay_s=0.03, rate_bps=600_000), most_bps=3e6)
    stream.settle(60)
    stream.link.line = Line(delay_s=0.03, rate_bps=2_000_000)
    stream.settle(25)
    assert stream.mean(60)[0] > 0.75 * 2_000_000


def test_random_loss_of_a_few_percent_does_not_starve_the_stream() -> None:
    stream = Stream(Line(delay_s=0.03, loss=0.05), most_bps=2.5e6)
    stream.settle(60)
    assert stream.mean(240)[0] > 0.9 * 2.5e6


def test_one_viewers_line_decides_alone_but_not_among_many() -> None:
    assert stream_bitrate_bps([3e5]) == 3e5
    assert stream_bitrate_bps([2e5] + [3e6] * 99) == 3e6
    assert stream_bitrate_bps([]) is None


@given(
    st.lists(st.floats(1e5, 2e7), max_size=20),
    st.lists(st.tuples(st.floats(1e5, 2e7), st.integers(0, 50)), max_size=6),
)
def test_edge_speaks_for_as_many_lines_as_it_has_viewers(here, elsewhere) -> None:
    weighted = [WeightedBitrate(bps, viewers) for bps, viewers in elsewhere]
    one_by_one = [*here, *(bps for bps, viewers in elsewhere for _ in range(viewers))]
    assert stream_bitrate_bps(here, weighted) == stream_bitrate_bps(one_by_one)


def test_bucket_allows_its_rate_and_its_burst() -> None:
    bucket = TokenBucket(8.0, 5.0)
    assert sum(bucket.take(0.0) for _ in range(20)) == 5
    assert sum(bucket.take(1.0) for _ in range(20)) == 5
    assert sum(bucket.take(1.0 + n * 0.125) for n in range(1, 11)) == 10


def test_what_congestion_control_measured_outranks_loss_and_the_receivers_own_estimate() -> None:
    measured = LineReport(1e6, rtt_ms=900.0, loss=0.5, remb_bps=200_000.0, measured_bps=4e6)
    assert after(measured) == pytest.approx(3.6e6), "with room for sound and repeats"
    assert after(LineReport(1e6, 10.0, 0.0, UNKNOWN, measured_bps=1.0)) == MIN_BITRATE_BPS
    assert after(LineReport(1e6, 10.0, 0.0, UNKNOWN, measured_bps=1e12)) == MAX_BITRATE_BPS


# --- Simulcast layers -----------------------------------------------------------------------------------

MOST_BPS = [200_000.0, 800_000.0, 3_000_000.0]


def test_highest_layer_is_worth_having_a_step_above_the_next_lower_one() -> None:
    assert least_bitrates_bps(MOST_BPS) == [200_000.0, 800_000.0, 800_000.0 * LAYER_STEP]
    assert least_bitrates_bps([3e6]) == [3e6]


def test_viewers_who_get_a_lower_layer_do_not_hold_the_highest_down() -> None:
    narrow, wide = [300_000.0] * 40, [2_500_000.0] * 60
    assert highest_layer_bps(narrow + wide, MOST_BPS) == 2_500_000.0
    assert stream_bitrate_bps(narrow + wide) == 300_000.0


def test_highest_layer_adapts_to_the_slower_of_its_viewers_and_keeps_its_bounds() -> None:
    assert highest_layer_bps([1_200_000.0] * 30 + [9e6] * 70, MOST_BPS) == 1_200_000.0
    assert highest_layer_bps([9e6] * 100, MOST_BPS) == 3_000_000.0
    assert highest_layer_bps([300_000.0] * 100, MOST_BPS) == 3_000_000.0, "for whoever comes with a better line"
