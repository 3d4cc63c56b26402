"""Plane geometry of a pose on plain arrays, compiled: where an animal is and how large it looks."""

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner


@inner
def visible_nodes(xy: NDArray[np.float64]) -> int:
    """Count the nodes of one pose that are seen.

    Args:
        xy: `(n_nodes, 2)`, NaN = not seen.
    """
    count = 0
    for node in range(xy.shape[0]):
        if not np.isnan(xy[node, 0]):
            count += 1
    return count


@inner
def pose_centre(xy: NDArray[np.float64]) -> tuple[float, float]:
    """Return the mean (x, y) of the nodes seen, in the unit of `xy`; NaN where none is.

    Args:
        xy: `(n_nodes, 2)`, NaN = not seen.
    """
    x, y, count = 0.0, 0.0, 0
    for node in range(xy.shape[0]):
        if not np.isnan(xy[node, 0]):
            x += xy[node, 0]
            y += xy[node, 1]
            count += 1
    if count == 0:
        return np.nan, np.nan
    return x / count, y / count


@inner
def body_length(xy: NDArray[np.float64]) -> float:
    """Return the diagonal of the box around the nodes seen, in the unit of `xy`; 0 where fewer than two are.

    The diagonal, unlike the box's area, stays meaningful for an animal stretched along an axis.

    Args:
        xy: `(n_nodes, 2)`, NaN = not seen.
    """
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    for node in range(xy.shape[0]):
        if not np.isnan(xy[node, 0]):
            left, right = min(left, xy[node, 0]), max(right, xy[node, 0])
            top, bottom = min(top, xy[node, 1]), max(bottom, xy[node, 1])
    if right < left:
        return 0.0
    return float(np.hypot(right - left, bottom - top))


@inner
def displacement(
    before: NDArray[np.float64], after: NDArray[np.float64], dx: NDArray[np.float64], dy: NDArray[np.float64]
) -> tuple[float, float]:
    """Return the median (dx, dy) of the nodes seen in both poses, in their unit; NaN where there is none.

    Unlike the difference of two centres it is not moved by nodes that come and go, nor by a few that are put on
    another animal.

    Args:
        before: `(n_nodes, 2)`, NaN = not seen.
        after: `(n_nodes, 2)`, NaN = not seen.
        dx: `(n_nodes,)`, overwritten: room to work in.
        dy: `(n_nodes,)`, the same.
    """
    count = 0
    for node in range(before.shape[0]):
        if not (np.isnan(before[node, 0]) or np.isnan(after[node, 0])):
            _insert(dx, count, after[node, 0] - before[node, 0])
            _insert(dy, count, after[node, 1] - before[node, 1])
            count += 1
    if count == 0:
        return np.nan, np.nan
    low, high = (count - 1) // 2, count // 2
    return (dx[low] + dx[high]) / 2.0, (dy[low] + dy[high]) / 2.0


@inner
def _insert(ascending: NDArray[np.float64], count: int, value: float) -> None:
    """Put a value where it belongs among the first `count`: for a few nodes the quickest way to their median."""
    slot = count
    while slot > 0 and ascending[slot - 1] > value:
        ascending[slot] = ascending[slot - 1]
        slot -= 1
    ascending[slot] = value
