"""Probation: a detection that no track took must be seen again before it counts as an animal."""

import math

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled
from realtime.geometry import body_length, pose_centre
from realtime.tracking.assignment import greedy
from realtime.tracking.detections import Detections
from realtime.tracking.state import TrackState


@compiled
def confirmed(
    state: TrackState,
    detections: Detections,
    newcomers: NDArray[np.int64],
    timestamp_ns: int,
    confirm_s: float,
    gate: float,
    gate_growth_per_s: float,
    min_body_px: float,
) -> NDArray[np.int64]:
    """Return the newcomers that have been seen for `confirm_s`, and remember the others.

    A candidate that is not seen again within `confirm_s`, or in the first frame after it, is forgotten; so one false
    detection never becomes an animal, whatever the frame rate.

    Args:
        state: Its candidates are brought up to date.
        detections: Of this frame.
        newcomers: Those without a track, in the order in which they would be taken.
        timestamp_ns: The frame's time.
        confirm_s: How long a newcomer must have been seen; 0 = not at all.
        gate: How far a candidate may be from where it was, body lengths.
        gate_growth_per_s: How much farther for every second, body lengths per second.
        min_body_px: Lower limit of the body length.
    """
    if confirm_s <= 0.0:
        return newcomers
    cost = _costs(state, detections, newcomers, timestamp_ns, gate, gate_growth_per_s, min_body_px)
    match = greedy(cost)
    first_ns = np.full(newcomers.size, timestamp_ns, dtype=np.int64)
    kept = 0
    for c in range(match.size):
        if match[c] >= 0:
            first_ns[match[c]] = state.candidate_first_ns[c]
        elif (timestamp_ns - state.candidate_last_ns[c]) * 1e-9 <= confirm_s:
            _put(state, kept, state.candidate_xy[c], state.candidate_first_ns[c], state.candidate_last_ns[c])
            kept += 1
    is_confirmed = np.zeros(newcomers.size, dtype=np.bool_)
    centre = np.empty(2)
    for k in range(newcomers.size):
        is_confirmed[k] = (timestamp_ns - first_ns[k]) * 1e-9 >= confirm_s
        if kept < state.candidate_first_ns.size:
            centre[0], centre[1] = pose_centre(detections.xy[newcomers[k]])
            _put(state, kept, centre, first_ns[k], timestamp_ns)
            kept += 1
    state.counts[2] = kept
    return newcomers[is_confirmed]


@compiled
def _costs(
    state: TrackState,
    detections: Detections,
    newcomers: NDArray[np.int64],
    timestamp_ns: int,
    gate: float,
    gate_growth_per_s: float,
    min_body_px: float,
) -> NDArray[np.float64]:
    """Return `(n_candidates, n_newcomers)` how far they are apart, px; ∞ = farther than an animal could get."""
    cost = np.full((state.counts[2], newcomers.size), np.inf)
    for c in range(cost.shape[0]):
        unseen_s = max(timestamp_ns - state.candidate_last_ns[c], 0) * 1e-9
        for k in range(newcomers.size):
            pose = detections.xy[newcomers[k]]
            x, y = pose_centre(pose)
            apart_px = math.hypot(x - state.candidate_xy[c, 0], y - state.candidate_xy[c, 1])
            if apart_px <= (gate + gate_growth_per_s * unseen_s) * max(body_length(pose), min_body_px):
                cost[c, k] = apart_px
    return cost


@compiled
def _put(state: TrackState, row: int, xy: NDArray[np.float64], first_ns: int, last_ns: int) -> None:
    state.candidate_xy[row] = xy
    state.candidate_first_ns[row] = first_ns
    state.candidate_last_ns[row] = last_ns
