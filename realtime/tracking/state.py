"""State: what is known of every living track, where it is expected, and how a sighting changes it."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled
from realtime.geometry import body_length, displacement, pose_centre, visible_nodes

BODY_LENGTH_MEMORY_S = 1.0
"""Time over which a track's body length is averaged: longer than a stride, shorter than a turn towards the camera."""

JUMP = 0.5
"""A sighting farther than this (in body lengths) from where its track was expected is a jump."""


class TrackState(NamedTuple):
    """Fixed arrays with room for `max_tracks`; the first `counts[0]` rows live, in ascending order of `ids`.

    Attributes:
        counts: `(4,)` living tracks, next id, candidates, time of the last frame, ns.
        ids: `(max_tracks,)`.
        last_seen_ns: `(max_tracks,)`.
        pose: `(max_tracks, n_nodes, 2)` px, as last seen, NaN = not seen then.
        velocity: `(max_tracks, 2)` px/s.
        body_px: `(max_tracks,)` running body length, > 0.
        confidence: `(max_tracks,)` 0–1, at the last sighting.
        hidden_keep: `(max_tracks,)` 0–1, the share of the confidence that is left when the track is seen again, because
            others came out that may have been it; 1 while it is seen.
        evidence: `(max_tracks, n_classes)` summed log-probability of each class, NaN = never looked.
        class_ids: `(max_tracks,)` what is told of the class, -1 = not sure.
        home_ids: `(max_tracks,)` the class that the track belongs to, for good as far as possible; -1 = none yet.
        suspect_ids: `(max_tracks,)` id of the track whose animal it may be, its own id = any; 0 = not suspected.
        corrected_ids: `(max_tracks,)` id of the track with which it was exchanged in this frame, 0 = none.
        candidate_xy: `(max_tracks, 2)` px, centres of detections that may become tracks; the first `counts[2]` count.
        candidate_first_ns: `(max_tracks,)`.
        candidate_last_ns: `(max_tracks,)`.
    """

    counts: NDArray[np.int64]
    ids: NDArray[np.int64]
    last_seen_ns: NDArray[np.int64]
    pose: NDArray[np.float64]
    velocity: NDArray[np.float64]
    body_px: NDArray[np.float64]
    confidence: NDArray[np.float64]
    hidden_keep: NDArray[np.float64]
    evidence: NDArray[np.float64]
    class_ids: NDArray[np.int64]
    home_ids: NDArray[np.int64]
    suspect_ids: NDArray[np.int64]
    corrected_ids: NDArray[np.int64]
    candidate_xy: NDArray[np.float64]
    candidate_first_ns: NDArray[np.int64]
    candidate_last_ns: NDArray[np.int64]


@compiled
def unseen_s(state: TrackState, track: int, timestamp_ns: int) -> float:
    """Return the time since a track was last seen, s; 0 where the clock repeats itself or goes backward."""
    return float(max(timestamp_ns - state.last_seen_ns[track], 0) * 1e-9)


@compiled
def expected_shift(state: TrackState, track: int, elapsed_s: float, velocity_s: float) -> tuple[float, float]:
    """Return how far (dx, dy) px a track is expected from its last pose: its velocity, which fades over `velocity_s`.

    An animal's speed says little about where it is a second later; without the fading a lost track flies away.
    """
    lasting_s = -velocity_s * math.expm1(-elapsed_s / velocity_s)
    return state.velocity[track, 0] * lasting_s, state.velocity[track, 1] * lasting_s


@compiled
def spawn(state: TrackState, xy: NDArray[np.float64], timestamp_ns: int, min_body_px: float) -> int:
    """Start a track with the next id at a detection's pose; return its row."""
    track = int(state.counts[0])
    state.ids[track] = state.counts[1]
    state.counts[0] += 1
    state.counts[1] += 1
    state.body_px[track] = max(body_length(xy), min_body_px)
    state.confidence[track] = 1.0
    state.evidence[track] = np.nan
    state.class_ids[track] = -1
    state.home_ids[track] = -1
    state.suspect_ids[track] = 0
    state.corrected_ids[track] = 0
    restart(state, track, xy, timestamp_ns)
    return track


@compiled
def restart(state: TrackState, track: int, xy: NDArray[np.float64], timestamp_ns: int) -> None:
    """Put a track somewhere else, at rest."""
    state.pose[track] = xy
    state.velocity[track] = 0.0
    state.hidden_keep[track] = 1.0
    state.last_seen_ns[track] = timestamp_ns


@compiled
def follow(
    state: TrackState, track: int, xy: NDArray[np.float64], timestamp_ns: int, velocity_s: float, min_body_px: float
) -> None:
    """Move a track to the pose in which it was seen; velocity and body length are averaged over time, not frames.

    A jump (`JUMP` body lengths off where it was expected) tells no velocity: it is over, or it was another animal.
    """
    elapsed_s = unseen_s(state, track, timestamp_ns)
    if elapsed_s > 0.0:
        dx, dy = _moved(state.pose[track], xy)
        expected_dx, expected_dy = expected_shift(state, track, elapsed_s, velocity_s)
        if math.hypot(dx - expected_dx, dy - expected_dy) > JUMP * state.body_px[track]:
            state.velocity[track] = 0.0
        else:
            share = -math.expm1(-elapsed_s / velocity_s)
            state.velocity[track, 0] += share * (dx / elapsed_s - state.velocity[track, 0])
            state.velocity[track, 1] += share * (dy / elapsed_s - state.velocity[track, 1])
        if 2 * visible_nodes(xy) > xy.shape[0]:
            share = -math.expm1(-elapsed_s / BODY_LENGTH_MEMORY_S)
            state.body_px[track] += share * (max(body_length(xy), min_body_px) - state.body_px[track])
    state.pose[track] = xy
    state.hidden_keep[track] = 1.0
    state.last_seen_ns[track] = timestamp_ns


@compiled
def _moved(before: NDArray[np.float64], after: NDArray[np.float64]) -> tuple[float, float]:
    dx, dy = displacement(before, after)
    if math.isnan(dx):
        old_x, old_y = pose_centre(before)
        x, y = pose_centre(after)
        return x - old_x, y - old_y
    return dx, dy


@compiled
def retire(state: TrackState, track: int) -> None:
    """End a track; later rows move up, so that the ids stay ascending."""
    last = int(state.counts[0]) - 1
    for row in range(track, last):
        state.ids[row] = state.ids[row + 1]
        state.last_seen_ns[row] = state.last_seen_ns[row + 1]
        state.pose[row] = state.pose[row + 1]
        state.velocity[row] = state.velocity[row + 1]
        state.body_px[row] = state.body_px[row + 1]
        state.confidence[row] = state.confidence[row + 1]
        state.hidden_keep[row] = state.hidden_keep[row + 1]
        state.evidence[row] = state.evidence[row + 1]
        state.class_ids[row] = state.class_ids[row + 1]
        state.home_ids[row] = state.home_ids[row + 1]
        state.suspect_ids[row] = state.suspect_ids[row + 1]
    state.counts[0] = last
