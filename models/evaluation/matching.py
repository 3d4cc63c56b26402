"""Matching: which prediction is which animal, frame by frame, by optimal assignment inside a gate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.errors import LabelsError
from models.evaluation.pairing import PairedFrames

_GATE_OF_SIZE = 0.25


@dataclass(frozen=True, slots=True)
class Matches:
    """Pairs of animals and predictions; an animal or a prediction is in one pair at most.

    Attributes:
        gate_px: Pairs are nearer than this.
        distances: For every frame `(n_truth, n_predicted)` float64, px: the mean distance over the nodes that both
            have; inf if there is none.
        truth_rows: `(n,)` int64 rows of `PairedFrames.truth`.
        predicted_rows: `(n,)` int64 rows of `PairedFrames.predicted`.
    """

    gate_px: float
    distances: Sequence[NDArray[np.float64]]
    truth_rows: NDArray[np.int64]
    predicted_rows: NDArray[np.int64]


def gate_of(pairs: PairedFrames, gate_px: float | None) -> float:
    """Return the gate: the given one, or a quarter of the animals' median size.

    Raises:
        LabelsError: The animals have no size to take a quarter of.
    """
    if gate_px is not None:
        return gate_px
    if not pairs.size_px > 0:
        raise LabelsError(
            "truth: expected animals with an extent, got points only, which have no size to take a gate from; "
            "say with --gate-px how far from an animal a prediction may lie"
        )
    return _GATE_OF_SIZE * pairs.size_px


def match(pairs: PairedFrames, gate_px: float) -> Matches:
    """Match every frame by `nearest`."""
    distances = []
    rows: list[NDArray[np.int64]] = []
    for t, p in pairs.rows():
        distances.append(mean_distances(pairs.truth.xy[t], pairs.predicted.xy[p]))
        rows.append(nearest(distances[-1], gate_px) + np.array([[t.start], [p.start]]))
    truth_rows, predicted_rows = np.concatenate(rows, axis=1)
    return Matches(gate_px, distances, truth_rows, predicted_rows)


def mean_distances(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean distance over the nodes that both have, px, of `(n, …)` and `(m, …)` animals; inf without."""
    distances = np.linalg.norm(truth[:, None] - predicted[None], axis=-1)
    both = np.isfinite(distances)
    n_both = both.sum(axis=2)
    sums = np.where(both, distances, 0.0).sum(axis=2)
    return np.asarray(np.where(n_both, sums / np.maximum(n_both, 1), np.inf))


def nearest(distances: NDArray[np.float64], gate_px: float) -> NDArray[np.int64]:
    """Return `(2, n)` rows and columns: as many pairs nearer than the gate as can be; of those the least sum."""
    inside = distances < gate_px
    # One pair outside costs more than all pairs inside together can.
    outside_px = gate_px * (min(distances.shape) + 1)
    pairs = np.array(linear_sum_assignment(np.where(inside, distances, outside_px)), np.int64)
    return pairs[:, inside[pairs[0], pairs[1]]]
