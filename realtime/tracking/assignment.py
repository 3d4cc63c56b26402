"""Who is whom: the greedy choice, and how close the second-best choice came."""

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled


@compiled
def greedy(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Match rows to columns, the cheapest pair first; ties go to the lower row, then to the lower column.

    Args:
        cost: `(n_rows, n_columns)` without NaN, ∞ = never.

    Returns:
        `(n_rows,)` the column of each row, -1 = none.
    """
    n_rows, n_columns = cost.shape
    match = np.full(n_rows, -1, dtype=np.int64)
    taken = np.zeros(n_columns, dtype=np.bool_)
    for _ in range(min(n_rows, n_columns)):
        best, best_row, best_column = np.inf, -1, -1
        for row in range(n_rows):
            if match[row] >= 0:
                continue
            for column in range(n_columns):
                if not taken[column] and cost[row, column] < best:
                    best, best_row, best_column = cost[row, column], row, column
        if best_row < 0:
            break
        match[best_row] = best_column
        taken[best_column] = True
    return match


@compiled
def margin(cost: NDArray[np.float64], match: NDArray[np.int64], row: int, highest_cost: float) -> float:
    """Return by how much more the assignment would cost if a matched row and another were confused; ≥ 0, ∞ = cannot be.

    The alternatives are: it changes places with another row, it is a column that nobody took, or its column is that
    of a row without one. Such a row may be anywhere, so that it costs at most `highest_cost`, also where its cost is ∞.

    Args:
        cost: `(n_rows, n_columns)` without NaN, ∞ = never.
        match: `(n_rows,)` the column of each row, -1 = none.
        row: A row with a match.
        highest_cost: What a pair that is just possible costs.
    """
    mine = cost[row, match[row]]
    best = np.inf
    taken = np.zeros(cost.shape[1], dtype=np.bool_)
    for other in range(cost.shape[0]):
        if match[other] < 0:
            best = min(best, min(cost[other, match[row]], highest_cost) - mine)
        else:
            taken[match[other]] = True
            if other != row:
                swapped = cost[row, match[other]] + cost[other, match[row]]
                best = min(best, swapped - mine - cost[other, match[other]])
    for column in range(cost.shape[1]):
        if not taken[column]:
            best = min(best, cost[row, column] - mine)
    return max(best, 0.0)
