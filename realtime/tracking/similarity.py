"""How well a detection fits the place where an animal is expected: similarity of two poses, and the cost of a pair."""

import math

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner
from realtime.geometry import displacement, pose_centre
from realtime.tracking.work import CENTROID, IOU

HIGHEST_COST = 2.0
"""Cost of a pair at the edge of the gate with nothing in common."""


@inner
def keypoint_similarity(
    reference: NDArray[np.float64], detection: NDArray[np.float64], n_reference: int, sigma_px: float
) -> float:
    """Compare two poses node by node: 1 = the same, 0 = far apart or no node in common.

    Σ exp(−d² / 2σ²) over the nodes seen in both, divided by `n_reference`: the shape of COCO's object keypoint
    similarity, with one σ for all nodes.

    Args:
        reference: `(n_nodes, 2)` px, NaN = not seen.
        detection: `(n_nodes, 2)` px, NaN = not seen.
        n_reference: Number of nodes that a perfect match shares, ≥ 1.
        sigma_px: σ, > 0.
    """
    total = 0.0
    for node in range(reference.shape[0]):
        dx = detection[node, 0] - reference[node, 0]
        dy = detection[node, 1] - reference[node, 1]
        if not math.isnan(dx):
            total += math.exp(-(dx * dx + dy * dy) / (2.0 * sigma_px * sigma_px))
    return total / n_reference


@inner
def box_overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the overlap of the boxes around the nodes seen, intersection over union: 1 = the same box, 0 = apart.

    Boxes without an area overlap with nothing.

    Args:
        a: `(n_nodes, 2)` px, NaN = not seen.
        b: `(n_nodes, 2)` px, NaN = not seen.
    """
    left_a, top_a, right_a, bottom_a = _box(a)
    left_b, top_b, right_b, bottom_b = _box(b)
    width = min(right_a, right_b) - max(left_a, left_b)
    height = min(bottom_a, bottom_b) - max(top_a, top_b)
    if not (width > 0.0 and height > 0.0):
        return 0.0
    shared = width * height
    union = (right_a - left_a) * (bottom_a - top_a) + (right_b - left_b) * (bottom_b - top_b) - shared
    return shared / union


@inner
def boxes_apart(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return how far the boxes around the nodes seen are apart along x or y, px; 0 where they touch in both.

    No node of one pose is nearer than that to a node of the other, whichever they are: what would be found farther
    apart need not be looked at node by node.
    """
    left_a, top_a, right_a, bottom_a = _box(a)
    left_b, top_b, right_b, bottom_b = _box(b)
    return max(left_a - right_b, left_b - right_a, top_a - bottom_b, top_b - bottom_a, 0.0)


@inner
def _box(xy: NDArray[np.float64]) -> tuple[float, float, float, float]:
    left, top, right, bottom = np.inf, np.inf, -np.inf, -np.inf
    for node in range(xy.shape[0]):
        if not math.isnan(xy[node, 0]):
            left, right = min(left, xy[node, 0]), max(right, xy[node, 0])
            top, bottom = min(top, xy[node, 1]), max(bottom, xy[node, 1])
    return left, top, right, bottom


@inner
def pair_cost(
    expected: NDArray[np.float64],
    detection: NDArray[np.float64],
    n_expected: int,
    sigma_px: float,
    gate_px: float,
    kind: int,
    nodes: NDArray[np.float64],
) -> float:
    """Return what it costs to call a detection the expected animal: 0 = perfect, up to 2, ∞ beyond the gate.

    (1 − similarity) + distance / gate. The similarity tells animals apart in contact; the distance keeps the order
    right where both are many σ away and all similarities are 0. The distance is that of the nodes seen in both poses,
    or, without any, that of the two centres, which then gives the similarity too.

    Args:
        expected: `(n_nodes, 2)` px, the animal's last pose moved to where it is expected.
        detection: `(n_nodes, 2)` px, at least one node seen.
        n_expected: Number of nodes seen in `expected`, ≥ 1.
        sigma_px: Width of the similarity's kernel, > 0.
        gate_px: The farthest that the animal can be from where it is expected, > 0.
        kind: The similarity, one of `work.SIMILARITIES`.
        nodes: `(2, n_nodes)`, overwritten.
    """
    if boxes_apart(expected, detection) > gate_px:
        return np.inf
    dx, dy = displacement(expected, detection, nodes[0], nodes[1])
    overlap = not math.isnan(dx)
    if not overlap:
        expected_x, expected_y = pose_centre(expected)
        x, y = pose_centre(detection)
        dx, dy = x - expected_x, y - expected_y
    distance = math.hypot(dx, dy)
    if distance > gate_px:
        return np.inf
    if kind == IOU:
        similarity = box_overlap(expected, detection)
    elif kind == CENTROID or not overlap:
        similarity = math.exp(-(distance * distance) / (2.0 * sigma_px * sigma_px))
    else:
        similarity = keypoint_similarity(expected, detection, n_expected, sigma_px)
    return 1.0 - similarity + distance / gate_px
