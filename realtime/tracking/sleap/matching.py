"""Who is whom in SLEAP's tracker: the greedy choice and the Hungarian method, neither with a gate."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


def greedy(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Match rows to columns, the cheapest pair first, as long as both are free, ∞ included.

    Ties go to the lower row, then to the lower column. SLEAP leaves them to NumPy's default sort: up to NumPy 1.24 that
    did the same for up to 16 pairs; since then it depends on the processor.

    Args:
        cost: `(n_rows, n_columns)` without NaN.

    Returns:
        `(n, 2)` pairs (row, column), the cheapest first: the order of SLEAP's output.
    """
    pairs: list[tuple[int, int]] = []
    free_rows, free_columns = np.ones(cost.shape[0], np.bool_), np.ones(cost.shape[1], np.bool_)
    for place in np.argsort(cost, axis=None, kind="stable").tolist():
        row, column = divmod(place, cost.shape[1])
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            pairs.append((row, column))
    return np.array(pairs, np.int64).reshape(-1, 2)


def hungarian(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Match rows to columns with the least sum of costs.

    Where the sum cannot be finite, SLEAP ends with an error. Here ∞ costs more than all other pairs together, so that
    there are as few such pairs as possible.

    Args:
        cost: `(n_rows, n_columns)` without NaN and −∞.

    Returns:
        `(n, 2)` pairs (row, column) in the order of the rows.
    """
    finite = np.isfinite(cost)
    if not finite.all():
        largest = np.abs(cost[finite]).max(initial=1.0)
        cost = np.where(finite, cost, 2 * largest * (min(cost.shape) + 1))
    return np.stack(linear_sum_assignment(cost), axis=1).astype(np.int64)
