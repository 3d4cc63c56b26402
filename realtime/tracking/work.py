"""Work: settings of the compiled tracker, and the room in which one update calculates, so that it allocates nothing."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOTIONS = ("still", "velocity", "kalman", "lucas_kanade", "farneback")
STILL, VELOCITY, KALMAN, FLOW = range(4)  # from FLOW on it is optical flow
SIMILARITIES = ("keypoints", "centroid", "iou")
KEYPOINTS, CENTROID, IOU = range(3)
MATCHINGS = ("greedy", "hungarian")
GREEDY, HUNGARIAN = range(2)


class Settings(NamedTuple):
    """`TrackerOptions` as the compiled code takes them, names as their place in the tuples above, and the sizes."""

    motion: int
    similarity: int
    matching: int
    gate: float
    gate_growth_per_s: float
    gate_limit: float
    kernel_width: float
    velocity_s: float
    lost_s: float
    closed_population: bool
    min_visible_nodes: int
    min_score: float
    min_body_px: float
    class_memory_s: float
    confirm_s: float
    chance: float
    n_nodes: int
    n_classes: int


class Work(NamedTuple):
    """What is overwritten in every update; nothing in it outlives one.

    Attributes:
        expected: `(max_tracks, n_nodes, 2)` px, where each track is expected; NaN = node not seen last time.
        cost: `(max_tracks, max_detections)`.
        class_cost: `(max_tracks, n_classes)`.
        keep: `(max_tracks,)` share of the confidence that each track keeps.
        gap_s: `(max_tracks,)` how long each track had not been seen when the last frame came.
        gate_px: `(max_tracks,)` how far from where it is expected each track may be.
        centres: `(max_detections, 2)` px.
        nodes: `(2, n_nodes)` for medians.
        potentials: `(3, max_tracks + max_detections + 1)` of an optimal assignment.
        match: `(max_tracks,)` column of each row, -1 = none.
        seen_as: `(max_tracks,)` detection of each track, -1 = not seen.
        rivals: `(max_tracks,)` 0 or 1.
        order: `(max_detections,)`.
        flags: `(max_detections,)` 0 or 1.
        newcomers: `(max_detections,)` detections.
        first_ns: `(max_detections,)`.
        columns: `(3, max_tracks + max_detections + 1)` columns of an assignment: taken, where they came from.
    """

    expected: NDArray[np.float64]
    cost: NDArray[np.float64]
    class_cost: NDArray[np.float64]
    keep: NDArray[np.float64]
    gap_s: NDArray[np.float64]
    gate_px: NDArray[np.float64]
    centres: NDArray[np.float64]
    nodes: NDArray[np.float64]
    potentials: NDArray[np.float64]
    match: NDArray[np.int64]
    seen_as: NDArray[np.int64]
    rivals: NDArray[np.int64]
    order: NDArray[np.int64]
    flags: NDArray[np.int64]
    newcomers: NDArray[np.int64]
    first_ns: NDArray[np.int64]
    columns: NDArray[np.int64]
