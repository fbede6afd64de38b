"""The exact optimum of a world's assignment: a linear programme, solved by HiGHS, with columns added until none helps.

Clients take one unit of a site and one place of an edge. A pair (edge, site) of a client is a column; the dearest are
left out at first and come in if their reduced cost says that they could lower the sum. When none could, the solution
is optimal over all pairs, and a bound for every whole-numbered assignment.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, hstack, vstack

from farstage.bench.placement.world import Floats, Ints, World

FIRST_COLUMNS = 12
"""Pairs of each client to begin with: its cheapest."""
ADDED_COLUMNS = 4
MAX_ROUNDS = 12
UNPLACED = 1_000.0
"""Points that a client costs who is not placed: more than any pair."""
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Optimum:
    """`points`: the least sum; `site_prices`: what one more unit at each site would be worth, in points."""

    points: float
    site_prices: Floats


def solve(world: World) -> Optimum:
    """Solve exactly. Raises `RuntimeError` if HiGHS does not find the optimum."""
    costs = pair_costs(world)
    clients = len(costs)
    flat = costs.reshape(clients, -1)
    columns = np.argpartition(flat, FIRST_COLUMNS, axis=1)[:, :FIRST_COLUMNS]
    client = np.repeat(np.arange(clients), FIRST_COLUMNS)
    pair = columns.ravel()
    for _ in range(MAX_ROUNDS):
        points, duals = _solve_columns(world, flat, client, pair)
        missing = _worth_adding(world, flat, duals)
        new = np.setdiff1d(missing[0] * flat.shape[1] + missing[1], client * flat.shape[1] + pair)
        if not len(new):
            return Optimum(points, -duals[1])
        client = np.concatenate([client, new // flat.shape[1]])
        pair = np.concatenate([pair, new % flat.shape[1]])
    raise RuntimeError("the optimum was not reached")


def pair_costs(world: World) -> Floats:
    """Points of each client (rows) by each probed edge and each site: (clients, PROBED, sites)."""
    clients, probed = world.probed.shape
    client = np.arange(clients)[:, None, None]
    site = np.arange(world.sites)[None, None, :]
    lost = world.lost_points(client, world.probed[:, :, None], site)
    return np.asarray(lost + world.site_points()[None, None, :], dtype=np.float64).reshape(clients, probed, world.sites)


def _solve_columns(world: World, flat: Floats, client: Ints, pair: Ints) -> tuple[float, tuple[Floats, Floats, Floats]]:
    """The least sum over these columns, and the duals of clients, sites and edges."""
    count, clients = len(client), len(flat)
    ones, at = np.ones(count), np.arange(count)
    site, edge = pair % world.sites, world.probed[client, pair // world.sites]
    slack = csr_matrix((np.ones(clients), (np.arange(clients), np.arange(clients))), shape=(clients, clients))
    of_client = csr_matrix((ones, (client, at)), shape=(clients, count))
    of_site = csr_matrix((ones, (site, at)), shape=(world.sites, count + clients))
    of_edge = csr_matrix((ones, (edge, at)), shape=(len(world.site_of_edge), count + clients))
    capacity = np.concatenate([world.site_units(), np.full(len(world.site_of_edge), world.edge_capacity)])
    solved = linprog(
        np.concatenate([flat[client, pair], np.full(clients, UNPLACED)]),
        A_ub=vstack([of_site, of_edge]),
        b_ub=capacity,
        A_eq=hstack([of_client, slack]),
        b_eq=np.ones(clients),
        method="highs-ds",
    )
    if not solved.success:
        raise RuntimeError(f"no optimum: {solved.message}")
    duals = solved.ineqlin.marginals
    return float(solved.fun), (solved.eqlin.marginals, duals[: world.sites], duals[world.sites :])


def _worth_adding(world: World, flat: Floats, duals: tuple[Floats, Floats, Floats]) -> tuple[Ints, Ints]:
    """The pairs with the most negative reduced costs, a few of each client."""
    of_client, of_site, of_edge = duals
    clients = len(flat)
    prices = of_edge[world.probed][:, :, None] + of_site[None, None, :]
    reduced = flat - of_client[:, None] - prices.reshape(clients, -1)
    best = np.argpartition(reduced, ADDED_COLUMNS, axis=1)[:, :ADDED_COLUMNS]
    client = np.repeat(np.arange(clients), ADDED_COLUMNS)
    pair = best.ravel()
    helps = reduced[client, pair] < -TOLERANCE
    return client[helps], pair[helps]
