"""Detections: the instances of one frame, cleaned, in an order of their own, each animal once."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner
from realtime.geometry import body_length, pose_centre, visible_nodes
from realtime.tracking.copies import copy_row, copy_table
from realtime.tracking.similarity import boxes_apart, keypoint_similarity
from realtime.tracking.work import Settings, Work

DUPLICATE_SIMILARITY = 0.5
"""Two detections more similar than this are one animal found twice, unless two animals are expected just there."""

EXPECTED_SIMILARITY = 0.25
"""An animal is expected where a detection is if they are more similar than this: an expectation is less exact."""


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


@inner
def usable(raw: Detections, n_raw: int, n_expected: int, settings: Settings, work: Work, kept: Detections) -> int:
    """Write the detections that show something, each animal once, in canonical order; return how many they are.

    The best detection of an animal stays, the others go: the one with the highest score, then the one with most nodes
    seen, then the first in canonical order. Where two tracks are expected, both detections stay.

    Args:
        raw: As the model gave them; cleaned in place.
        n_raw: How many there are.
        n_expected: How many tracks are expected; where, stands in `work.expected`.
        settings: Width of the similarity and lower limit of the body length.
        work: `expected` is read; `centres`, `order` and `flags` are overwritten.
        kept: Room for as many, written.
    """
    for i in range(n_raw):
        _clean(raw, i)
        work.centres[i, 0], work.centres[i, 1] = pose_centre(raw.xy[i])
    sort_detections(raw, n_raw, work.centres, work.order)
    state = work.flags  # by rank: 0 = goes, 1 = not looked at, 2 = stays
    for rank in range(n_raw):
        state[rank] = visible_nodes(raw.xy[work.order[rank]]) > 0
    for _ in range(n_raw):
        best = -1
        for rank in range(n_raw):
            if state[rank] == 1 and (best < 0 or _is_worse(raw, work.order[best], work.order[rank])):
                best = rank
        if best < 0:
            break
        state[best] = 2
        for rank in range(n_raw):
            if state[rank] == 1:
                a, b = raw.xy[work.order[best]], raw.xy[work.order[rank]]
                state[rank] = not _same_animal(a, b, n_expected, settings, work)
    n_kept = 0
    for rank in range(n_raw):
        if state[rank]:
            i = work.order[rank]
            copy_table(raw.xy[i], kept.xy[n_kept])
            copy_row(raw.node_scores[i], kept.node_scores[n_kept])
            kept.scores[n_kept] = raw.scores[i]
            copy_row(raw.class_probs[i], kept.class_probs[n_kept])
            n_kept += 1
    return n_kept


@inner
def sort_detections(detections: Detections, n: int, centres: NDArray[np.float64], order: NDArray[np.int64]) -> None:
    """Write the indices that sort detections by their content, so that the order in which they come cannot matter.

    Left before right, top before bottom, then by everything else that is known of them. Those that compare equal are
    the same detection twice, so that nothing depends on which of them is first.

    Args:
        detections: Cleaned.
        n: How many there are.
        centres: `(≥ n, 2)` px of each; NaN comes first.
        order: `(≥ n,)`, written.
    """
    for position in range(n):
        slot = position
        while slot > 0 and _precedes(detections, centres, position, order[slot - 1]):
            order[slot] = order[slot - 1]
            slot -= 1
        order[slot] = position


@inner
def _precedes(detections: Detections, centres: NDArray[np.float64], a: int, b: int) -> bool:
    for axis in range(2):
        if _known(centres[a, axis]) != _known(centres[b, axis]):
            return _known(centres[a, axis]) < _known(centres[b, axis])
    if detections.scores[a] != detections.scores[b]:
        return bool(detections.scores[a] < detections.scores[b])
    for node in range(detections.xy.shape[1]):
        for axis in range(2):
            if _known(detections.xy[a, node, axis]) != _known(detections.xy[b, node, axis]):
                return _known(detections.xy[a, node, axis]) < _known(detections.xy[b, node, axis])
    for node in range(detections.node_scores.shape[1]):
        if detections.node_scores[a, node] != detections.node_scores[b, node]:
            return bool(detections.node_scores[a, node] < detections.node_scores[b, node])
    for k in range(detections.class_probs.shape[1]):
        if _known(detections.class_probs[a, k]) != _known(detections.class_probs[b, k]):
            return _known(detections.class_probs[a, k]) < _known(detections.class_probs[b, k])
    return False


@inner
def _known(value: float) -> float:
    """Return a number that can be compared, NaN before all others."""
    return -np.inf if np.isnan(value) else value


@inner
def _clean(raw: Detections, i: int) -> None:
    if not np.isfinite(raw.scores[i]):
        raw.scores[i] = 0.0
    for node in range(raw.xy.shape[1]):
        if not (np.isfinite(raw.xy[i, node, 0]) and np.isfinite(raw.xy[i, node, 1])):
            raw.xy[i, node, 0] = raw.xy[i, node, 1] = np.nan
            raw.node_scores[i, node] = 0.0
        elif not np.isfinite(raw.node_scores[i, node]):
            raw.node_scores[i, node] = 0.0


@inner
def _same_animal(
    a: NDArray[np.float64], b: NDArray[np.float64], n_expected: int, settings: Settings, work: Work
) -> bool:
    sigma_px = settings.kernel_width * max(body_length(a), body_length(b), settings.min_body_px)
    apart_px = boxes_apart(a, b)
    if math.exp(-(apart_px * apart_px) / (2.0 * sigma_px * sigma_px)) <= DUPLICATE_SIMILARITY:
        return False
    n_shared = min(visible_nodes(a), visible_nodes(b))
    if keypoint_similarity(a, b, n_shared, sigma_px) <= DUPLICATE_SIMILARITY:
        return False
    n_there = 0
    for track in range(n_expected):
        n_shared = max(visible_nodes(work.expected[track]), 1)
        n_there += keypoint_similarity(work.expected[track], a, n_shared, sigma_px) > EXPECTED_SIMILARITY
    return n_there < 2


@inner
def _is_worse(raw: Detections, a: int, b: int) -> bool:
    if raw.scores[a] != raw.scores[b]:
        return bool(raw.scores[a] < raw.scores[b])
    return visible_nodes(raw.xy[a]) < visible_nodes(raw.xy[b])
