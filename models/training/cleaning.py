"""Cleaning: labels that disagree with their neighbours in time are not learnt."""

import numpy as np
from numpy.typing import NDArray

from models.labels import Labels

_REACH = 4  # frames; an animal's path is straight enough over so many


def disagreement(path: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each label of one animal is from where its neighbours in time put it.

    They put it at the median, along x and along y, of the midpoints between frame t − k and frame t + k, k = 1 to 4.

    Args:
        path: `(n_frames, n_nodes, 2)` px, consecutive frames; NaN = not labelled.

    Returns:
        `(n_frames, n_nodes)` px; NaN where the label is missing or has no such neighbours.
    """
    midpoints = np.full((_REACH, *path.shape), np.nan)
    for k in range(1, min(_REACH, (len(path) - 1) // 2) + 1):
        midpoints[k - 1, k:-k] = (path[2 * k :] + path[: -2 * k]) / 2
    expected = np.full_like(path, np.nan)
    some = np.isfinite(midpoints).any(axis=0)
    expected[some] = np.nanmedian(midpoints[:, some], axis=0)
    distance: NDArray[np.float64] = np.linalg.norm(path - expected, axis=-1)
    return distance


def agreeing(labels: Labels, limit_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which labels agree with their neighbours in time on the same track.

    Args:
        labels: The labels.
        limit_px: `(n_nodes,)` largest disagreement.

    Returns:
        `(n, n_nodes)`, a row for each row of `labels`; True also where nothing can be compared.
    """
    agree = np.ones(labels.xy.shape[:2], np.bool_)
    for track in range(len(labels.track_names)):
        rows = np.flatnonzero(labels.tracks == track)
        if not len(rows):
            continue
        times = labels.frame_ids[rows] - labels.frame_ids[rows[0]]
        path = np.full((int(times[-1]) + 1, *labels.xy.shape[1:]), np.nan)
        path[times] = labels.xy[rows]
        agree[rows] = ~(disagreement(path)[times] > limit_px)
    return agree
