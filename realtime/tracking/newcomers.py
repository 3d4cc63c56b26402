"""Newcomers: which detections are animals that no track took."""

import math

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner
from realtime.geometry import body_length, pose_centre, visible_nodes
from realtime.tracking.detections import Detections
from realtime.tracking.work import Settings, Work

CROWDED = 0.3
"""A detection without a track whose centre is this close (in body lengths) to a track just seen is part of it."""


@inner
def find_newcomers(detections: Detections, n_detections: int, n_tracks: int, settings: Settings, work: Work) -> int:
    """Write the detections that are animals without a track, best score first; return how many they are.

    Args:
        detections: Of this frame, in canonical order.
        n_detections: How many there are.
        n_tracks: Living tracks.
        settings: What a detection must show and score.
        work: `seen_as` is read; `newcomers`, `order` and `flags` are written.
    """
    accepted = work.flags
    accepted[:n_detections] = 0
    for track in range(n_tracks):
        if work.seen_as[track] >= 0:
            accepted[work.seen_as[track]] = 1
    _sort_by_score(detections.scores, n_detections, work.order)
    n_newcomers = 0
    for rank in range(n_detections):
        j = work.order[rank]
        enough = visible_nodes(detections.xy[j]) >= settings.min_visible_nodes
        if accepted[j] or not enough or detections.scores[j] < settings.min_score:
            continue
        if not _is_crowded(detections, n_detections, j, accepted, settings.min_body_px):
            accepted[j] = 1
            work.newcomers[n_newcomers] = j
            n_newcomers += 1
    return n_newcomers


@inner
def _sort_by_score(scores: NDArray[np.float64], n: int, order: NDArray[np.int64]) -> None:
    """Write the indices from the highest score to the lowest; equal ones stay in their order."""
    for position in range(n):
        slot = position
        while slot > 0 and scores[position] > scores[order[slot - 1]]:
            order[slot] = order[slot - 1]
            slot -= 1
        order[slot] = position


@inner
def _is_crowded(
    detections: Detections, n_detections: int, j: int, accepted: NDArray[np.int64], min_body_px: float
) -> bool:
    x, y = pose_centre(detections.xy[j])
    for other in range(n_detections):
        if accepted[other]:
            other_x, other_y = pose_centre(detections.xy[other])
            body_px = max(body_length(detections.xy[j]), body_length(detections.xy[other]), min_body_px)
            if math.hypot(x - other_x, y - other_y) < CROWDED * body_px:
                return True
    return False
