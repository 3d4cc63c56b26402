"""When exposures ended, on the host's clock, from the camera's own clock and from when the frames came."""

import numpy as np
from numpy.typing import NDArray

_MAX_DRIFT = 0.01  # two clocks that differ by more than 1 % are no clocks of the same seconds


def exposure_ends(
    available_ns: NDArray[np.int64], device_ns: NDArray[np.int64] | None
) -> tuple[NDArray[np.int64], NDArray[np.float64] | None]:
    """Return when each frame would have become available had its way been as short as that of the fastest ones.

    A frame becomes available after the end of its exposure by the camera's own time (read-out, transfer), which is the
    same for all, and by what the host was late. The camera's clock is not late, but has another zero and another rate.
    So the host's time of a frame is taken from the straight line, camera time → host time, that lies below all frames
    and has the smallest sum of distances to them (L. Moon et al., "Estimation and removal of clock skew from network
    delay measurements", INFOCOM 1999): of all lines below the points it is the one through the edge of their lower
    convex hull under the points' mean.

    Args:
        available_ns: When each frame became available, host clock, ns, `(n,)`, ascending.
        device_ns: The camera's clock for each, ns, `(n,)`, or None where it has none.

    Returns:
        The times, ns, `(n,)`, and by how much each frame was later than that, ns, `(n,)`. Without a clock of the camera
        that advances at the host's rate to 1 %, the first are `available_ns` themselves and the second is None.
    """
    if device_ns is None or available_ns.size < 3:
        return available_ns, None
    x = (device_ns - device_ns[0]).astype(np.float64)
    y = (available_ns - available_ns[0]).astype(np.float64)
    if np.any(np.diff(x) <= 0.0):
        return available_ns, None
    slope, start = _line_below(x, y)
    if abs(slope - 1.0) > _MAX_DRIFT:
        return available_ns, None
    line = start + slope * x
    return available_ns[0] + np.rint(line).astype(np.int64), y - line


def _line_below(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    """Return slope and value at 0 of the line; `x` ascends."""
    hull: list[int] = []
    for index in range(x.size):
        while len(hull) > 1 and _turns_down(x, y, hull[-2], hull[-1], index):
            hull.pop()
        hull.append(index)
    mean = float(np.mean(x))
    right = next(place for place, index in enumerate(hull) if x[index] >= mean)
    a, b = hull[max(right - 1, 0)], hull[max(right, 1)]
    slope = float((y[b] - y[a]) / (x[b] - x[a]))
    return slope, float(y[a] - slope * x[a])


def _turns_down(x: NDArray[np.float64], y: NDArray[np.float64], a: int, b: int, c: int) -> bool:
    return bool((y[b] - y[a]) * (x[c] - x[a]) >= (y[c] - y[a]) * (x[b] - x[a]))
