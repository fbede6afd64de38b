"""The whole assignment thought over: which rooms would be better drawn in another region.

Placement decides for one newcomer at a time, and what was best then may not be now: others have left, a region has
come back. Here all rooms are assigned to regions anew, at the least sum of points, as a min-cost flow with rooms as
sources and regions as sinks (SciPy's HiGHS). Who stays pays nothing; a move costs `MOVE_POINTS` for each unit, so that
only moves that pay are made, and a room is not sent to and fro.

Pure, but slow for large farms: the shell calls `solve` in a thread, and the core checks each move again when it makes
it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOVE_POINTS = 0.5
"""What a move must gain at least, in points for each unit that moves."""
COLUMNS = 8
"""Regions that are considered for each room: its own and the cheapest others."""
WHOLE = 0.999


@dataclass(frozen=True)
class Problem:
    """Rooms (rows) and regions. `costs`: (rooms, regions) points, infinite where a room cannot be drawn; `milliunits`
    and `current`, the index of its region: (rooms,); `capacity`: (regions,) milliunits, with what the rooms hold.
    """

    rooms: tuple[str, ...]
    regions: tuple[str, ...]
    costs: NDArray[np.float64]
    milliunits: NDArray[np.int64]
    current: NDArray[np.int64]
    capacity: NDArray[np.int64]


class Move(NamedTuple):
    """A room that would gain so many points in another region."""

    room: str
    region: str
    gain: float


def solve(problem: Problem, move_points: float = MOVE_POINTS) -> list[Move]:
    """The moves that pay, the best first. Together they fit; each alone may have to wait for others to leave."""
    rooms, regions = problem.costs.shape if len(problem.rooms) else (0, 0)
    if rooms == 0 or regions < 2:
        return []
    units = problem.milliunits / 1_000.0
    row, column = _columns(problem.costs, problem.current)
    moving = column != problem.current[row]
    charged = problem.costs[row, column] + moving * move_points * units[row]
    chosen = _flow(charged, row, column, problem)
    if chosen is None:
        return []
    taken = (chosen > WHOLE) & moving
    gains = problem.costs[row, problem.current[row]] - problem.costs[row, column]
    moves = [
        Move(problem.rooms[at], problem.regions[to], float(gain))
        for at, to, gain in zip(row[taken], column[taken], gains[taken], strict=True)
    ]
    return sorted(moves, key=lambda move: (-move.gain, move.room))


def _columns(costs: NDArray[np.float64], current: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each room its own region and the cheapest ones: row and column of each."""
    rooms, regions = costs.shape
    width = min(COLUMNS, regions)
    cheapest = np.argpartition(costs, width - 1, axis=1)[:, :width]
    row = np.concatenate([np.arange(rooms), np.repeat(np.arange(rooms), width)])
    column = np.concatenate([current, cheapest.ravel()])
    pairs = np.unique(row * regions + column)
    row, column = pairs // regions, pairs % regions
    possible = np.isfinite(costs[row, column])
    return row[possible], column[possible]


def _flow(
    charged: NDArray[np.float64], row: NDArray[np.int64], column: NDArray[np.int64], problem: Problem
) -> NDArray[np.float64] | None:
    """How much of each room goes which way at the least sum; `None` if there is no way."""
    # SciPy takes half a second and 60 MB to load: not at the start of every broker, and in the shell's thread.
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix

    count, at = len(row), np.arange(len(row))
    each_once = csr_matrix((np.ones(count), (row, at)), shape=(len(problem.rooms), count))
    amounts = problem.milliunits[row].astype(np.float64)
    within = csr_matrix((amounts, (column, at)), shape=(len(problem.regions), count))
    solved = linprog(
        charged,
        A_ub=within,
        b_ub=problem.capacity,
        A_eq=each_once,
        b_eq=np.ones(len(problem.rooms)),
        method="highs-ds",
    )
    return np.asarray(solved.x) if solved.success else None
