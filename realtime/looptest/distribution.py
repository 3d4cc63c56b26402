"""The distribution that makes observations likeliest of which each leaves several values possible, and its quantiles.

Nothing is assumed of its shape: it has a weight at every point of an evenly spaced grid, which stands for the values of
up to half a step from there. What an observation i says is its likelihood for each of them, a row of a table. The
weights w that make Σ_i log Σ_g table[i, g] w[g] largest are found by expectation maximisation (J. Kiefer, J. Wolfowitz,
Ann. Math. Statist. 27, 1956; B. W. Turnbull, J. R. Statist. Soc. B 38, 1976).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

N_ITERATIONS = 400
_N_HELD_ITERATIONS = 40
_LEAST_WEIGHT = 1e-60  # weights near the smallest float take a hundred times as long to multiply
FALL_95 = 1.9207  # half of the 95th percentile of χ² with one degree of freedom


def fit(
    table: NDArray[np.float64],
    n_iterations: int = N_ITERATIONS,
    start: NDArray[np.float64] | None = None,
    held: tuple[int, float] | None = None,
) -> NDArray[np.float64]:
    """Return the weights that make the observations likeliest, `(n_grid,)`; they add up to 1.

    Args:
        table: Likelihoods, above 0, `(n_observations, n_grid)`.
        n_iterations: Of expectation maximisation.
        start: Weights to begin with, all above 0; even ones by default.
        held: `(n, share)`: among all weights whose first n, neither none nor all, have the sum `share`, 0–1.
    """
    weights = np.full(table.shape[1], 1.0 / table.shape[1]) if start is None else start.copy()
    for _ in range(n_iterations):
        weights *= (1.0 / (table @ weights)) @ table / len(table)
        if held is not None:
            n, share = held
            weights[:n] *= share / weights[:n].sum()
            weights[n:] *= (1.0 - share) / weights[n:].sum()
        np.maximum(weights, _LEAST_WEIGHT, out=weights)
    return weights


def log_likelihood(table: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return Σ_i log Σ_g table[i, g] weights[g]."""
    return float(np.sum(np.log(table @ weights)))


def edges_of(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ends of the steps that the points of a grid stand for, `(n_grid + 1,)`."""
    step = float(grid[1] - grid[0])
    return np.append(grid, grid[-1] + step) - step / 2


def quantile(grid: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """Return the value that `share` of the distribution does not exceed."""
    reached = np.concatenate([[0.0], np.cumsum(weights)])
    return float(np.interp(share, reached, edges_of(grid)))


def intervals(
    grid: NDArray[np.float64], table: NDArray[np.float64], shares: Sequence[float], least: float
) -> list[tuple[float, float]]:
    """Return between what each quantile may lie so that the log-likelihood can reach `least`.

    On either side of the estimate the likelihood falls as the quantile is held farther away: the weights that a bound
    allows are among those that a nearer one does. So each end is found by bisection. An end that the whole grid does
    not have is infinite.

    Args:
        grid: Values, evenly spaced, `(n_grid,)`.
        table: Likelihoods, above 0, `(n_observations, n_grid)`.
        shares: Of the quantiles, 0–1, neither included.
        least: For 95 % intervals `FALL_95` less than the largest log-likelihood.
    """
    edges, last = edges_of(grid), grid.size - 1
    weights = fit(table)
    # From the estimate it is not far to the next one; but a weight of nearly 0 would take long to grow.
    start = 0.9 * weights + 0.1 / grid.size
    found = []
    for share in shares:

        def likely(n: int, share: float = share) -> bool:
            return log_likelihood(table, fit(table, _N_HELD_ITERATIONS, start, (n, share))) >= least

        inside = min(max(int(np.searchsorted(edges, quantile(grid, weights, share))), 1), last)
        low, high = _last(likely, inside, 1), _last(likely, inside, last)
        found.append((-math.inf if low == 1 else float(edges[low]), math.inf if high == last else float(edges[high])))
    return found


def _last(holds: Callable[[int], bool], inside: int, limit: int) -> int:
    """Return the number farthest from `inside`, up to `limit`, for which something still holds."""
    if holds(limit):
        return limit
    outside = limit
    while abs(outside - inside) > 1:
        middle = (inside + outside) // 2
        inside, outside = (middle, outside) if holds(middle) else (inside, middle)
    return inside
