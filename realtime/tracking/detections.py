"""Detections: the instances of one frame, cleaned, in an order of their own, each animal once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled
from realtime.geometry import body_length, pose_centre, visible_nodes
from realtime.tracking.similarity import keypoint_similarity

DUPLICATE_SIMILARITY = 0.5
"""Two detections more similar than this are one animal. Two animals never are: their nodes lie apart in contact too."""


class Detections(NamedTuple):
    """The instances of one frame.

    Attributes:
        xy: `(n, n_nodes, 2)` px, NaN = not seen.
        node_scores: `(n, n_nodes)` 0–1, 0 where not seen.
        scores: `(n,)`.
        class_probs: `(n, n_classes)`; a row that is not finite says nothing.
    """

    xy: NDArray[np.float64]
    node_scores: NDArray[np.float64]
    scores: NDArray[np.float64]
    class_probs: NDArray[np.float64]


@compiled
def usable(raw: Detections, kernel_width: float, min_body_px: float) -> Detections:
    """Return the detections that show something, each animal once, in canonical order.

    Of two detections of one animal the one with the lower score goes, then the one with fewer nodes seen, then the
    later one in canonical order.

    Args:
        raw: As the model gave them; cleaned in place.
        kernel_width: σ of the similarity, in body lengths.
        min_body_px: Lower limit of the body length, > 0.
    """
    _clean(raw)
    order = canonical_order(_keys(raw))
    keep = np.zeros(order.size, dtype=np.bool_)
    for rank in range(order.size):
        keep[rank] = visible_nodes(raw.xy[order[rank]]) > 0
    for rank in range(order.size):
        for later in range(rank + 1, order.size):
            if keep[rank] and keep[later]:
                a, b = order[rank], order[later]
                if _same_animal(raw.xy[a], raw.xy[b], kernel_width, min_body_px):
                    keep[rank if _is_worse(raw, a, b) else later] = False
    kept = order[keep]
    return Detections(raw.xy[kept], raw.node_scores[kept], raw.scores[kept], raw.class_probs[kept])


@compiled
def canonical_order(keys: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the indices that sort rows by their content, so that the order of detections cannot matter.

    Rows that compare equal are the same detection twice, so that nothing depends on which of them is first.

    Args:
        keys: `(n, n_columns)` without NaN; earlier columns decide first.
    """
    n = keys.shape[0]
    order = np.arange(n)
    for position in range(1, n):
        moving, slot = order[position], position
        while slot > 0 and _precedes(keys[moving], keys[order[slot - 1]]):
            order[slot] = order[slot - 1]
            slot -= 1
        order[slot] = moving
    return order


@compiled
def _precedes(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    for column in range(a.shape[0]):
        if a[column] != b[column]:
            return bool(a[column] < b[column])
    return False


@compiled
def _keys(raw: Detections) -> NDArray[np.float64]:
    n, n_nodes, _ = raw.xy.shape
    keys = np.empty((n, 3 + 3 * n_nodes + raw.class_probs.shape[1]))
    for i in range(n):
        keys[i, 0], keys[i, 1] = pose_centre(raw.xy[i])
        keys[i, 2] = raw.scores[i]
        keys[i, 3 : 3 + 2 * n_nodes] = raw.xy[i].ravel()
        keys[i, 3 + 2 * n_nodes : 3 + 3 * n_nodes] = raw.node_scores[i]
        keys[i, 3 + 3 * n_nodes :] = raw.class_probs[i]
        for column in range(keys.shape[1]):
            if np.isnan(keys[i, column]):
                keys[i, column] = -np.inf
    return keys


@compiled
def _clean(raw: Detections) -> None:
    for i in range(raw.xy.shape[0]):
        if not np.isfinite(raw.scores[i]):
            raw.scores[i] = 0.0
        for node in range(raw.xy.shape[1]):
            if not (np.isfinite(raw.xy[i, node, 0]) and np.isfinite(raw.xy[i, node, 1])):
                raw.xy[i, node] = np.nan
                raw.node_scores[i, node] = 0.0
            elif not np.isfinite(raw.node_scores[i, node]):
                raw.node_scores[i, node] = 0.0


@compiled
def _same_animal(a: NDArray[np.float64], b: NDArray[np.float64], kernel_width: float, min_body_px: float) -> bool:
    sigma_px = kernel_width * max(body_length(a), body_length(b), min_body_px)
    n_shared = min(visible_nodes(a), visible_nodes(b))
    return keypoint_similarity(a, b, n_shared, sigma_px) > DUPLICATE_SIMILARITY


@compiled
def _is_worse(raw: Detections, a: int, b: int) -> bool:
    if raw.scores[a] != raw.scores[b]:
        return bool(raw.scores[a] < raw.scores[b])
    return visible_nodes(raw.xy[a]) < visible_nodes(raw.xy[b])
