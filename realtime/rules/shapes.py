"""Plane geometry of the rule language, compiled: distances, directions, zones. Image coordinates: x right, y down.

An angle of a direction is counted from the image's x axis towards its y axis: 0 deg is right, 90 deg is down.
"""

import math

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner


@inner
def distance(x1: float, y1: float, x2: float, y2: float) -> float:
    """Return the distance between two points; NaN where one is not seen."""
    dx, dy = x2 - x1, y2 - y1
    return math.sqrt(dx * dx + dy * dy)


@inner
def _angle_to_x_axis(x: float, y: float) -> float:
    """Return the angle between a vector and the image's x axis, 0–180 deg; NaN where it has no length.

    The C library's arc tangent has other last bits on a processor without FMA, and a replay there could not agree with
    the rig. This one is made of operations that are the same everywhere, and that a processor does for several items at
    once. The quotient is that of `atan.c` in S. L. Moshier's Cephes, right to 2e-16 for tangents up to 0.66.
    """
    x_length, y_length = abs(x), abs(y)
    is_steep = y_length > x_length
    low, high = (x_length, y_length) if is_steep else (y_length, x_length)
    is_diagonal = low > 0.4 * high  # nearer to 45 deg than to an axis
    over, under = (low - high, low + high) if is_diagonal else (low, high)
    tangent = np.divide(over, under)  # where `/` would have to look for a zero, which gives NaN here
    z = tangent * tangent
    p = ((-0.8750608600031904 * z - 16.157537187333652) * z - 75.00855792314705) * z - 122.88666844901361
    p = p * z - 64.85021904942025
    q = (((z + 24.85846490142306) * z + 165.02700983169885) * z + 432.8810604912903) * z + 485.3903996359137
    q = q * z + 194.5506571482614
    angle = (tangent + tangent * z * np.divide(p, q)) * (180.0 / math.pi)
    angle = 45.0 + angle if is_diagonal else angle
    angle = 90.0 - angle if is_steep else angle
    return float(180.0 - angle if x < 0.0 else angle)


@inner
def angle_between(ux: float, uy: float, vx: float, vy: float) -> float:
    """Return the angle between two vectors, 0–180 deg; NaN where one has no length.

    From |u × v| and u · v it stays exact near 0 and 180 deg, where an arc cosine loses half of its digits.
    """
    return _angle_to_x_axis(ux * vx + uy * vy, ux * vy - uy * vx)


@inner
def direction(dx: float, dy: float) -> float:
    """Return the direction of a vector, -180–180 deg; NaN where it has no length."""
    angle = _angle_to_x_axis(dx, dy)
    return -angle if dy < 0.0 else angle


@inner
def wrapped(angle: float, half_turn: float) -> float:
    """Return the same angle between minus (inclusive) and plus (exclusive) a half turn, in the unit of `half_turn`."""
    turn = 2.0 * half_turn
    return angle - turn * math.floor((angle + half_turn) / turn)


@inner
def nearest(one_xy: NDArray[np.float32], one: int, other_xy: NDArray[np.float32], other: int) -> float:
    """Return the smallest distance between a node of one row and a node of another, of those that are seen.

    Args:
        one_xy: `(n_rows, n_nodes, 2)` px, NaN = not seen.
        one: A row of it, or -1.
        other_xy: The same, for the other.
        other: A row of it, or -1.

    Returns:
        px; NaN where nothing of one of them is seen.
    """
    least = math.nan
    if one < 0 or other < 0:
        return least
    for i in range(one_xy.shape[1]):
        x, y = float(one_xy[one, i, 0]), float(one_xy[one, i, 1])
        if math.isnan(x) or math.isnan(y):
            continue
        for k in range(other_xy.shape[1]):
            dx, dy = float(other_xy[other, k, 0]) - x, float(other_xy[other, k, 1]) - y
            square = dx * dx + dy * dy
            if math.isnan(least) or square < least:
                least = square
    return float(math.sqrt(least))


@inner
def mean_score(node_scores: NDArray[np.float32], row: int) -> float:
    """Return the mean score of all nodes of a row, 0–1; a node that is not seen counts as 0. NaN for row -1."""
    if row < 0:
        return math.nan
    total = 0.0
    for node in range(node_scores.shape[1]):
        total += node_scores[row, node]
    return float(total / node_scores.shape[1])


@inner
def in_zone(x: float, y: float, zone: NDArray[np.float64], at: int) -> float:
    """Return 1 for a point in a zone or on its border, 0 outside, NaN for a point that is not seen.

    Args:
        x: Of the point, px.
        y: The same.
        zone: Holds the zone from `at` on, as `zones.encoded` says.
        at: See `zone`.
    """
    if math.isnan(x) or math.isnan(y):
        return math.nan
    n_corners = int(zone[at])
    if n_corners == 0:
        return 1.0 if distance(x, y, zone[at + 1], zone[at + 2]) <= zone[at + 3] else 0.0
    inside = 0.0
    for corner in range(n_corners):
        one, other = at + 1 + 2 * corner, at + 1 + 2 * ((corner + 1) % n_corners)
        x1, y1, x2, y2 = zone[one], zone[one + 1], zone[other], zone[other + 1]
        on_line = (x2 - x1) * (y - y1) == (y2 - y1) * (x - x1)
        if on_line and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return 1.0
        if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
            inside = 1.0 - inside  # a ray to the right crosses this side
    return inside


@inner
def count_in_zone(
    xy: NDArray[np.float32], first: int, stop: int, node: int, zone: NDArray[np.float64], at: int
) -> float:
    """Return of how many of the rows `first` to `stop` a node is in a zone; NaN where one's node is not seen."""
    count = 0.0
    for row in range(first, stop):
        count += in_zone(float(xy[row, node, 0]), float(xy[row, node, 1]), zone, at)
    return count
