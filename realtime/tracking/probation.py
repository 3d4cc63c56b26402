"""Probation: a detection that no track took must be seen again before it counts as an animal."""

import math

import numpy as np

from realtime.compiled import inner
from realtime.geometry import body_length, pose_centre
from realtime.tracking.assignment import greedy
from realtime.tracking.detections import Detections
from realtime.tracking.state import TrackState
from realtime.tracking.work import Settings, Work


@inner
def keep_confirmed(
    state: TrackState, detections: Detections, n_newcomers: int, timestamp_ns: int, settings: Settings, work: Work
) -> int:
    """Leave the newcomers that have been seen for `confirm_s` and remember the others; return how many are left.

    A candidate that is not seen again within `confirm_s`, or in the first frame after it, is forgotten; so one false
    detection never becomes an animal, whatever the frame rate.

    Args:
        state: Its candidates are brought up to date.
        detections: Of this frame.
        n_newcomers: How many of `work.newcomers` count, in the order in which they would be taken.
        timestamp_ns: The frame's time.
        settings: How long, and how far a candidate may be from where it was.
        work: `newcomers` is changed; `cost`, `match`, `columns` and `first_ns` are overwritten.
    """
    if settings.confirm_s <= 0.0:
        return n_newcomers
    n_candidates = int(state.counts[2])
    _fill_costs(state, detections, n_newcomers, timestamp_ns, settings, work)
    greedy(work.cost, n_candidates, n_newcomers, work.match, work.columns[0])
    work.first_ns[:n_newcomers] = timestamp_ns
    kept = 0
    for c in range(n_candidates):
        if work.match[c] >= 0:
            work.first_ns[work.match[c]] = state.candidate_first_ns[c]
        elif (timestamp_ns - state.candidate_last_ns[c]) * 1e-9 <= settings.confirm_s:
            x, y = state.candidate_xy[c, 0], state.candidate_xy[c, 1]
            _put(state, kept, x, y, state.candidate_first_ns[c], state.candidate_last_ns[c])
            kept += 1
    n_confirmed = 0
    for k in range(n_newcomers):
        detection = work.newcomers[k]
        if kept < state.candidate_first_ns.size:
            x, y = pose_centre(detections.xy[detection])
            _put(state, kept, x, y, work.first_ns[k], timestamp_ns)
            kept += 1
        if (timestamp_ns - work.first_ns[k]) * 1e-9 >= settings.confirm_s:
            work.newcomers[n_confirmed] = detection
            n_confirmed += 1
    state.counts[2] = kept
    return n_confirmed


@inner
def _fill_costs(
    state: TrackState, detections: Detections, n_newcomers: int, timestamp_ns: int, settings: Settings, work: Work
) -> None:
    """Write how far candidates and newcomers are apart, px; ∞ = farther than an animal could get."""
    for c in range(state.counts[2]):
        unseen_s = max(timestamp_ns - state.candidate_last_ns[c], 0) * 1e-9
        reach = settings.gate + settings.gate_growth_per_s * unseen_s
        for k in range(n_newcomers):
            pose = detections.xy[work.newcomers[k]]
            x, y = pose_centre(pose)
            apart_px = math.hypot(x - state.candidate_xy[c, 0], y - state.candidate_xy[c, 1])
            is_near = apart_px <= reach * max(body_length(pose), settings.min_body_px)
            work.cost[c, k] = apart_px if is_near else np.inf


@inner
def _put(state: TrackState, row: int, x: float, y: float, first_ns: int, last_ns: int) -> None:
    state.candidate_xy[row, 0], state.candidate_xy[row, 1] = x, y
    state.candidate_first_ns[row] = first_ns
    state.candidate_last_ns[row] = last_ns
