"""The comparison as the README's table, and Janus ÷ ours."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.peers.load import Outcome

_HEADINGS = ("server", "viewers", "joined", "delivered", "lost", "µs CPU a packet", "kB a viewer", "first frame p95 ms")


@dataclass(frozen=True, slots=True)
class Row:
    """One run: the server's name and what it did, or why there is nothing to say."""

    name: str
    outcome: Outcome | None
    failure: str = ""

    def builtins(self) -> dict[str, Any]:
        """The row as a JSON object."""
        return {"server": self.name, **(asdict(self.outcome) if self.outcome else {"failure": self.failure})}


def markdown(rows: Sequence[Row], asked: int) -> str:
    """The table, with notes on who was given fewer viewers than `asked`, and the ratio below it."""
    lines = [f"| {' | '.join(_HEADINGS)} |", "|" + "---|" * len(_HEADINGS)]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    most = {
        row.name: max(other.outcome.viewers for other in rows if other.outcome and other.name == row.name)
        for row in rows
        if row.outcome
    }
    fewer = [f"{name} {viewers}" for name, viewers in most.items() if viewers < asked]
    if fewer:
        lines += ["", f"Viewers asked for: {asked}. Given fewer, as more would be beyond it here: {', '.join(fewer)}."]
    found = ratio(rows)
    if found is not None:
        lines += ["", f"CPU a delivered packet, Janus ÷ ours, at the same number of viewers: {found:.1f}"]
    return "\n".join(lines)


def ratio(rows: Sequence[Row]) -> float | None:
    """CPU per delivered packet, Janus ÷ native, both under the same number of viewers."""
    costs = {(row.name, row.outcome.viewers): row.outcome.cpu_us_per_packet for row in rows if row.outcome}
    for (name, viewers), janus in costs.items():
        ours = costs.get(("native", viewers))
        if name == "janus" and janus is not None and ours:
            return janus / ours
    return None


def _cells(row: Row) -> list[str]:
    if row.outcome is None:
        return [row.name, row.failure, *[""] * (len(_HEADINGS) - 2)]
    found = row.outcome
    memory_kb = found.rss_bytes_per_viewer / 1000 if found.rss_bytes_per_viewer is not None else None
    counts = (found.viewers, found.joined, found.delivered_packets, found.lost_packets)
    figures = (_figure(found.cpu_us_per_packet, 2), _figure(memory_kb, 0), _figure(found.first_frame_p95_ms, 0))
    return [row.name, *(f"{count:,}" for count in counts), *figures]


def _figure(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
