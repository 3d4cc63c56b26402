"""Who is whom: the greedy and the optimal choice, and how close the second-best choice came."""

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner

_NOBODY = 1e6
"""What it costs an optimal assignment to leave a row without a column: more than any sum of possible pairs."""

_NEVER = 1e12
"""Stands for ∞, with which potentials cannot reckon."""


@inner
def greedy(
    cost: NDArray[np.float64], n_rows: int, n_columns: int, match: NDArray[np.int64], taken: NDArray[np.int64]
) -> None:
    """Match rows to columns, the cheapest pair first; ties go to the lower row, then to the lower column.

    Args:
        cost: `(≥ n_rows, ≥ n_columns)` without NaN, ∞ = never.
        n_rows: Rows that count.
        n_columns: Columns that count.
        match: `(≥ n_rows,)`, written: the column of each row, -1 = none.
        taken: `(≥ n_columns,)`, overwritten.
    """
    match[:n_rows] = -1
    taken[:n_columns] = 0
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
        taken[best_column] = 1


@inner
def hungarian(
    cost: NDArray[np.float64],
    n_rows: int,
    n_columns: int,
    match: NDArray[np.int64],
    potentials: NDArray[np.float64],
    columns: NDArray[np.int64],
) -> None:
    """Match as many rows as possible, and those at the least total cost (Kuhn 1955, by shortest augmenting paths).

    Args:
        cost: `(≥ n_rows, ≥ n_columns)` without NaN, ∞ = never, else 0 to 1,000.
        n_rows: Rows that count.
        n_columns: Columns that count.
        match: `(≥ n_rows,)`, written: the column of each row, -1 = none.
        potentials: `(3, ≥ n_rows + n_columns + 1)`, overwritten.
        columns: `(3, ≥ n_rows + n_columns + 1)`, overwritten.
    """
    # Behind the columns that count each row has one of its own, which stands for "nobody". Index 0 is "no column".
    width = n_columns + n_rows + 1
    of_rows, of_columns, shortest = potentials[0], potentials[1], potentials[2]
    owner, came_from, done = columns[0], columns[1], columns[2]
    potentials[:2, :width] = 0.0
    owner[:width] = -1
    for row in range(n_rows):
        owner[0], at = row, 0
        shortest[:width] = np.inf
        done[:width] = 0
        while owner[at] >= 0:
            done[at] = 1
            mine = owner[at]
            nearest, step = -1, np.inf
            for column in range(1, width):
                if done[column]:
                    continue
                reduced = _price(cost, mine, column - 1, n_columns) - of_rows[mine] - of_columns[column]
                if reduced < shortest[column]:
                    shortest[column], came_from[column] = reduced, at
                if shortest[column] < step:
                    step, nearest = shortest[column], column
            for column in range(width):
                if done[column]:
                    of_rows[owner[column]] += step
                    of_columns[column] -= step
                else:
                    shortest[column] -= step
            at = nearest
        while at:
            owner[at] = owner[came_from[at]]
            at = came_from[at]
    match[:n_rows] = -1
    for column in range(1, n_columns + 1):
        if owner[column] >= 0 and cost[owner[column], column - 1] < np.inf:
            match[owner[column]] = column - 1


@inner
def _price(cost: NDArray[np.float64], row: int, column: int, n_columns: int) -> float:
    if column >= n_columns:
        return _NOBODY if column - n_columns == row else _NEVER
    return float(min(cost[row, column], _NEVER))


@inner
def margin(
    cost: NDArray[np.float64],
    n_rows: int,
    n_columns: int,
    match: NDArray[np.int64],
    row: int,
    highest_cost: float,
    taken: NDArray[np.int64],
) -> float:
    """Return by how much more the assignment would cost if a matched row and another were confused; ≥ 0, ∞ = cannot be.

    The alternatives are: it changes places with another row, it is a column that nobody took, or its column is that
    of a row without one. Such a row may be anywhere, so that it costs at most `highest_cost`, also where its cost is ∞.

    Args:
        cost: `(≥ n_rows, ≥ n_columns)` without NaN, ∞ = never.
        n_rows: Rows that count.
        n_columns: Columns that count.
        match: `(≥ n_rows,)` the column of each row, -1 = none.
        row: A row with a match.
        highest_cost: What a pair that is just possible costs.
        taken: `(≥ n_columns,)`, overwritten.
    """
    mine = cost[row, match[row]]
    best = np.inf
    taken[:n_columns] = 0
    for other in range(n_rows):
        if match[other] < 0:
            best = min(best, min(cost[other, match[row]], highest_cost) - mine)
        else:
            taken[match[other]] = 1
            if other != row:
                swapped = cost[row, match[other]] + cost[other, match[row]]
                best = min(best, swapped - mine - cost[other, match[other]])
    for column in range(n_columns):
        if not taken[column]:
            best = min(best, cost[row, column] - mine)
    return max(best, 0.0)
