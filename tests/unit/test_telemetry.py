"""Reports of edges: what is taken, what is refused, and what is made of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.telemetry import CLOCK_BELIEVED_AFTER, WINDOW, Cause, Telemetry, averages
from broker.protocol import ViewerLine, ViewerReport
from broker.protocol.report_batch import (
    FIELDS,
    MAX_REPORTS_A_BATCH,
    MalformedReports,
    ReportBatch,
    batch_of,
    decode_reports,
)

SESSIONS = ["s1", "s2", "s3"]


class Edge:
    """An edge that reports once a second."""

    def __init__(self, telemetry: Telemetry, name: str = "e1", sessions: list[str] = SESSIONS) -> None:
        self.telemetry, self.name, self.now, self.sequence = telemetry, name, 100.0, 0
        for session in sessions:
            telemetry.expect(session, name, "", "r1")

    def send(self, *reports: ViewerReport, **changes: object) -> None:
        self.now += 1.0
        self.sequence += 1
        batch = batch_of(reports, self.sequence, self.now)
        fields = {"sequence": batch.sequence, "taken_at_s": batch.taken_at_s, "rows": batch.rows.copy()}
        self.telemetry.take(self.name, ReportBatch(sessions=batch.sessions, **(fields | changes)), self.now)


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
def edge(telemetry: Telemetry) -> Edge:
    return Edge(telemetry)


# --- The binary form ------------------------------------------------------------------------------------

REPORT = st.builds(
    ViewerReport,
    session=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z"),
    rtt_ms=st.none() | st.floats(0, 60_000, width=32),
    loss=st.none() | st.floats(0, 1, width=32),
    sent_bps=st.floats(0, 2.0**39, width=32),
    freezes=st.none() | st.integers(0, 2**32 - 1),
    width=st.none() | st.integers(0, 16_384),
    layer=st.none() | st.integers(0, 255),
)


@given(st.lists(REPORT, max_size=20), st.integers(0, 2**63 - 1), st.floats(0, 1e9))
def test_reports_come_back_as_they_were(reports: list[ViewerReport], sequence: int, taken_at_s: float) -> None:
    batch = decode_reports(batch_of(reports, sequence, taken_at_s).encode())
    assert (batch.sequence, batch.taken_at_s) == (sequence, taken_at_s)
    for sent, read in zip(reports, batch.reports(), strict=True):
        assert sent.session == read.session
        for name in FIELDS:
            expected = getattr(sent, name)
            assert getattr(read, name) == (expected if expected is None else pytest.approx(expected, rel=1e-6))


def test_numbers_are_shown_as_people_would_write_them() -> None:
    (report,) = batch_of([ViewerReport(session="s1", loss=0.01)], 1, 0.0).reports()
    assert report.loss == 0.01


def test_counters_beyond_their_field_stand_at_its_end() -> None:
    (report,) = batch_of([ViewerReport(session="s1", freezes=2**40)], 1, 0.0).reports()
    assert report.freezes == 2**32 - 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data[:20], "header"),
        (lambda data: b"XXXX" + data[4:], "begins with"),
        (lambda data: data[:4] + (MAX_REPORTS_A_BATCH + 1).to_bytes(4, "little") + data[8:], "at most"),
        (lambda data: data[:60], "take"),
        (lambda data: data + b"\nmore", "names 3 sessions"),
        (lambda data: data[:-2], "names 1 sessions"),
        (lambda data: data[:-1] + b"\xff", "ASCII"),
    ],
)
def test_bytes_that_are_no_batch_are_refused_with_the_reason(change, why: str) -> None:
    data = batch_of([ViewerReport(session="s1"), ViewerReport(session="s")], 1, 0.0).encode()
    assert len(decode_reports(data).sessions) == 2
    with pytest.raises(MalformedReports, match=why):
        decode_reports(change(data))


# --- What is refused ------------------------------------------------------------------------------------


def test_a_report_is_known_until_the_session_leaves_its_edge(telemetry: Telemetry, edge: Edge) -> None:
    assert telemetry.report("s1") is None
    edge.send(ViewerReport(session="s1", rtt_ms=12.5, sent_bps=2e6, frames_per_s=30.0))
    assert telemetry.report("s1") == ViewerReport(session="s1", rtt_ms=12.5, sent_bps=2e6, frames_per_s=30.0)
    assert telemetry.sent_bps("s1") == 2e6
    assert telemetry.report("s2") is None
    telemetry.forget("s1")
    assert telemetry.report("s1") is None
    telemetry.expect("s9", "e1", "", "r1")
    assert telemetry.report("s9") is None, "though it has the other's slot"
    assert not telemetry.refused


@pytest.mark.parametrize("name", FIELDS[:10])
@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, -1e-3, 2e12])
def test_numbers_that_cannot_be_are_refused_and_counted(
    telemetry: Telemetry, edge: Edge, name: str, value: float
) -> None:
    edge.send(ViewerReport(session="s1", rtt_ms=10.0))
    bad = batch_of([ViewerReport(session="s1"), ViewerReport(session="s2", rtt_ms=7.0)], 0, 0.0).rows
    bad[name][0] = value
    edge.send(ViewerReport(session="s1"), ViewerReport(session="s2"), rows=bad)
    assert telemetry.refused == {Cause.OUT_OF_RANGE: 1}
    assert telemetry.report("s1") == ViewerReport(session="s1", rtt_ms=10.0), "the bad report has not replaced it"
    assert telemetry.report("s2") == ViewerReport(session="s2", rtt_ms=7.0), "its neighbour in the batch is taken"


def test_a_batch_that_was_taken_is_not_taken_again(telemetry: Telemetry, edge: Edge) -> None:
    edge.send(ViewerReport(session="s1", rtt_ms=10.0))
    edge.send(ViewerReport(session="s1", rtt_ms=99.0), sequence=1)
    edge.send(ViewerReport(session="s1", rtt_ms=99.0), ViewerReport(session="s2", rtt_ms=99.0), sequence=0)
    assert telemetry.refused == {Cause.REPLAYED: 3}
    assert telemetry.report("s1") == ViewerReport(session="s1", rtt_ms=10.0)


def test_an_edge_that_registers_again_counts_anew(telemetry: Telemetry, edge: Edge) -> None:
    edge.send(ViewerReport(session="s1", rtt_ms=10.0))
    telemetry.connected("e1")
    edge.sequence = 0
    edge.send(ViewerReport(session="s1", rtt_ms=11.0))
    assert telemetry.report("s1") == ViewerReport(session="s1", rtt_ms=11.0)


def test_reports_from_the_future_and_from_long_ago_are_refused(telemetry: Telemetry, edge: Edge) -> None:
    edge.send(ViewerReport(session="s1", rtt_ms=10.0))
    edge.send(ViewerReport(session="s1", rtt_ms=99.0), taken_at_s=edge.now + 60.0)
    edge.send(ViewerReport(session="s1", rtt_ms=99.0), taken_at_s=edge.now - 60.0)
    edge.send(ViewerReport(session="s1", rtt_ms=99.0), taken_at_s=math.nan)
    assert telemetry.refused == {Cause.FUTURE: 1, Cause.LATE: 1, Cause.OUT_OF_RANGE: 1}
    edge.send(ViewerReport(session="s1", rtt_ms=11.0))
    assert telemetry.report("s1") == ViewerReport(session="s1", rtt_ms=11.0), "the clock that was right stays right"


@pytest.mark.parametrize("jump_s", [3_600.0, -3_600.0])
def test_an_edge_whose_clock_has_jumped_is_believed_after_a_few_batches(
    telemetry: Telemetry, edge: Edge, jump_s: float
) -> None:
    telemetry.expect("s1", "e1", "", "r1")
    edge.send(ViewerReport(session="s2", rtt_ms=10.0))
    for number in range(CLOCK_BELIEVED_AFTER):
        assert telemetry.report("s1") is None, number
        edge.send(ViewerReport(session="s1", rtt_ms=20.0), taken_at_s=edge.now + 1.0 + jump_s)
    assert telemetry.report("s1") is not None
    assert telemetry.refused.total() == CLOCK_BELIEVED_AFTER - 1


def test_an_edge_speaks_of_its_own_viewers_only(telemetry: Telemetry, edge: Edge) -> None:
    other = Edge(telemetry, "e2", ["s8"])
    edge.send(ViewerReport(session="s1", rtt_ms=10.0))
    other.send(*(ViewerReport(session=name, rtt_ms=999.0) for name in ("s1", "s8", "nobody", "")))
    assert telemetry.refused == {Cause.STRANGER: 3}
    assert telemetry.report("s1") == ViewerReport(session="s1", rtt_ms=10.0)
    assert telemetry.report("s8") is not None
    telemetry.expect("s1", "e2", "", "r1")
    edge.send(ViewerReport(session="s1", rtt_ms=10.0))
    assert telemetry.refused == {Cause.STRANGER: 4}, "a session that has moved is the other edge's"


def test_a_session_is_reported_once_a_batch_and_not_too_often(telemetry: Telemetry, edge: Edge) -> None:
    edge.send(ViewerReport(session="s1", rtt_ms=10.0), ViewerReport(session="s1", rtt_ms=99.0))
    assert telemetry.refused == {Cause.REPEATED: 1}
    edge.send(ViewerReport(session="s1", rtt_ms=99.0), taken_at_s=edge.now + 0.1)
    assert telemetry.refused == {Cause.REPEATED: 1, Cause.TOO_OFTEN: 1}
    assert telemetry.report("s1") == ViewerReport(session="s1", rtt_ms=10.0)


@given(st.lists(st.tuples(st.sampled_from(["expect", "forget", "send"]), st.sampled_from("abcdef")), max_size=60))
def test_slots_are_never_mixed_up(steps: list[tuple[str, str]]) -> None:
    telemetry = Telemetry()
    edge = Edge(telemetry, sessions=[])
    expected: dict[str, float | None] = {}
    for number, (step, session) in enumerate(steps):
        if step == "expect":
            telemetry.expect(session, "e1", "", "r1")
            expected[session] = None
        elif step == "forget":
            telemetry.forget(session)
            expected.pop(session, None)
        else:
            edge.send(ViewerReport(session=session, rtt_ms=float(number)))
            if session in expected:
                expected[session] = float(number)
        assert telemetry.expected() == expected.keys()
        for name, rtt_ms in expected.items():
            report = telemetry.report(name)
            assert (report and report.rtt_ms) == rtt_ms


# --- What is made of them -------------------------------------------------------------------------------


def test_a_line_is_a_robust_average_that_no_burst_moves(telemetry: Telemetry, edge: Edge) -> None:
    for second in range(WINDOW):
        is_burst = second % 5 == 0
        edge.send(ViewerReport(session="s1", rtt_ms=2_000.0 if is_burst else 20.0, loss=0.01))
    line = telemetry.line("s1")
    assert line is not None
    assert line.rtt_ms == pytest.approx(20.0)
    assert line.loss == pytest.approx(0.01)
    assert math.isnan(line.jitter_ms), "nobody has measured it"
    high = telemetry.high(["s1"])[0]
    assert high[0] == pytest.approx(2_000.0), "the upper percentile tells of the burst"


def test_the_lower_percentile_of_bandwidth_is_what_can_be_relied_on(telemetry: Telemetry, edge: Edge) -> None:
    for second in range(WINDOW):
        edge.send(ViewerReport(session="s1", rtt_ms=1.0, estimate_bps=1e5 if second % 5 == 0 else 5e6))
    assert telemetry.high(["s1"])[0, 3] == pytest.approx(1e5)


def test_a_line_is_summed_up_for_people_with_what_is_not_known_left_out(telemetry: Telemetry, edge: Edge) -> None:
    assert telemetry.summary("s1") is None
    for second in range(WINDOW):
        edge.send(ViewerReport(session="s1", rtt_ms=500.0 if second % 5 == 0 else 20.0, estimate_bps=3e6))
    assert telemetry.summary("s1") == ViewerLine(
        rtt_ms=20.0, rtt_high_ms=500.0, bandwidth_bps=3e6, bandwidth_low_bps=3e6
    )


def test_a_line_follows_within_a_window(telemetry: Telemetry, edge: Edge) -> None:
    for rtt_ms in [20.0] * WINDOW + [90.0] * WINDOW:
        edge.send(ViewerReport(session="s1", rtt_ms=rtt_ms))
    line = telemetry.line("s1")
    assert line is not None
    assert line.rtt_ms == pytest.approx(90.0)


@given(st.lists(st.floats(0, 1e4, width=32), min_size=1, max_size=16))
def test_averages_are_the_mean_of_the_middle_half(values: list[float]) -> None:
    samples = np.full((1, 1, 16), np.nan, np.float32)
    samples[0, 0, : len(values)] = values
    cut = len(values) // 4
    middle = sorted(values)[cut : len(values) - cut]
    assert averages(samples)[0, 0] == pytest.approx(sum(middle) / len(middle), rel=1e-4, abs=1e-4)
    assert np.isnan(averages(np.full((1, 1, 16), np.nan, np.float32))).all()
