"""The binary form of reports: all viewers of an edge over one second, in one message of the control WebSocket.

A header, one row of `REPORT` for each session, then the sessions' names, parted by line feeds. What is not known has no
bit in `known` and is 0 in its row: there is no NaN in a row that is right, nor anything out of range. Whoever reads a
batch gets it whole or not at all (`MalformedReports`); whether the single rows make sense is looked at by the broker's
core, which refuses rows, not batches.
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from broker.protocol.telemetry import ViewerReport

MAGIC = b"FSR1"
MAX_REPORTS_A_BATCH = 5_000
"""Bounds what one message makes the broker hold; an edge with more viewers sends several."""

_HEADER = struct.Struct("<4sIqd")
_NUMBERS = (
    ("rtt_ms", "<f4"),
    ("jitter_ms", "<f4"),
    ("loss", "<f4"),
    ("sent_bps", "<f4"),
    ("estimate_bps", "<f4"),
    ("received_bps", "<f4"),
    ("frames_per_s", "<f4"),
    ("jitter_buffer_ms", "<f4"),
    ("decode_ms", "<f4"),
    ("input_to_photon_ms", "<f4"),
    ("frames_dropped", "<u4"),
    ("freezes", "<u4"),
    ("width", "<u2"),
    ("height", "<u2"),
    ("layer", "u1"),
)
FIELDS = tuple(name for name, _ in _NUMBERS)
REPORT: np.dtype[Any] = np.dtype([*_NUMBERS, ("reserved", "u1"), ("known", "<u2")])
"""A viewer's row; the fields are those of `ViewerReport`. Bit `i` of `known` says that `FIELDS[i]` is."""
BIT = {name: 1 << index for index, name in enumerate(FIELDS)}
_MOST = {name: float(np.iinfo(kind).max) for name, kind in _NUMBERS if "u" in kind}


class MalformedReports(ValueError):
    """The bytes are no batch; the message says why."""


class ReportBatch(Struct, frozen=True, kw_only=True):
    """What an edge measured. `sessions[i]` is the viewer of `rows[i]` (dtype `REPORT`).

    `sequence` rises with each batch of an edge; `taken_at_s` is the edge's own monotonic time.
    """

    sequence: int
    taken_at_s: float
    sessions: list[str]
    rows: NDArray[np.void]

    def reports(self) -> list[ViewerReport]:
        """One by one."""
        return [report_of(session, row) for session, row in zip(self.sessions, self.rows, strict=True)]

    def encode(self) -> bytes:
        """As `decode_reports` reads it."""
        header = _HEADER.pack(MAGIC, len(self.sessions), self.sequence, self.taken_at_s)
        return header + self.rows.tobytes() + "\n".join(self.sessions).encode()


def batch_of(reports: Sequence[ViewerReport], sequence: int, taken_at_s: float) -> ReportBatch:
    """These reports as a batch; at most `MAX_REPORTS_A_BATCH`."""
    rows = np.zeros(len(reports), REPORT)
    rows[:] = [_row(report) for report in reports]
    return ReportBatch(
        sequence=sequence, taken_at_s=taken_at_s, sessions=[report.session for report in reports], rows=rows
    )


def _row(report: ViewerReport) -> tuple[float, ...]:
    values = [getattr(report, name) for name in FIELDS]
    known = sum(1 << index for index, value in enumerate(values) if value is not None)
    return (*(_fitting(name, value) for name, value in zip(FIELDS, values, strict=True)), 0, known)


def _fitting(name: str, value: float | None) -> float:
    """0 for what is not known; counters beyond what their field holds stand at its end."""
    return 0 if value is None else min(value, _MOST[name]) if name in _MOST else value


def report_of(session: str, row: np.void) -> ViewerReport:
    """A viewer's row as a report."""
    known = int(row["known"])
    values: dict[str, Any] = {name: _number(row[name].item()) for name in FIELDS if known & BIT[name]}
    return ViewerReport(session=session, **values)


def _number(value: float) -> float:
    """A number as people would write it: the digits that a 32-bit float has, not those of its 64-bit image."""
    return float(f"{value:.7g}") if isinstance(value, float) else value


def decode_reports(data: bytes) -> ReportBatch:
    """Read a batch. Raises `MalformedReports`."""
    if len(data) < _HEADER.size:
        raise MalformedReports(f"a batch has a header of {_HEADER.size} bytes, these are {len(data)}")
    magic, count, sequence, taken_at_s = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise MalformedReports(f"a batch begins with {MAGIC!r}")
    if count > MAX_REPORTS_A_BATCH:
        raise MalformedReports(f"a batch has at most {MAX_REPORTS_A_BATCH} reports, this one {count}")
    names_at = _HEADER.size + count * REPORT.itemsize
    if len(data) < names_at:
        raise MalformedReports(f"{count} reports take {names_at} bytes, these are {len(data)}")
    return ReportBatch(
        sequence=sequence,
        taken_at_s=taken_at_s,
        sessions=_names(data[names_at:], count),
        rows=np.frombuffer(data, REPORT, count, _HEADER.size),
    )


def _names(data: bytes, count: int) -> list[str]:
    try:
        names = data.decode("ascii").split("\n") if data else []
    except UnicodeDecodeError as error:
        raise MalformedReports("sessions' names are ASCII") from error
    if len(names) != count:
        raise MalformedReports(f"a batch of {count} reports names {len(names)} sessions")
    return names
