"""State: what is known of every living track; rows that begin and end."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner
from realtime.tracking.copies import copy_row, copy_table


class TrackState(NamedTuple):
    """Fixed arrays with room for `max_tracks`; the first `counts[0]` rows live, in ascending order of `ids`.

    Attributes:
        counts: `(4,)` living tracks, next id, candidates, time of the last frame, ns.
        ids: `(max_tracks,)`.
        last_seen_ns: `(max_tracks,)`.
        pose: `(max_tracks, n_nodes, 2)` px, as last seen, NaN = not seen then.
        flow_xy: `(max_tracks, n_nodes, 2)` px, where optical flow says that the nodes are now, NaN = it does not.
        velocity: `(max_tracks, 2)` px/s.
        filter: `(max_tracks, 5)` of the Kalman filter: filtered place from the last pose (x, y) px; variance of a place
            px², its covariance with the speed px²/s, variance of a speed px²/s².
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
    flow_xy: NDArray[np.float64]
    velocity: NDArray[np.float64]
    filter: NDArray[np.float64]
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


@inner
def unseen_s(state: TrackState, track: int, timestamp_ns: int) -> float:
    """Return the time since a track was last seen, s; 0 where the clock repeats itself or goes backward."""
    return float(max(timestamp_ns - state.last_seen_ns[track], 0) * 1e-9)


@inner
def begin(state: TrackState) -> int:
    """Begin a track with the next id, of which nothing else is known; return its row."""
    track = int(state.counts[0])
    state.ids[track] = state.counts[1]
    state.counts[0] += 1
    state.counts[1] += 1
    state.confidence[track] = 1.0
    state.evidence[track] = np.nan
    state.class_ids[track] = -1
    state.home_ids[track] = -1
    state.suspect_ids[track] = 0
    state.corrected_ids[track] = 0
    return track


@inner
def put(state: TrackState, track: int, xy: NDArray[np.float64], timestamp_ns: int) -> None:
    """Note where and when a track was seen."""
    copy_table(xy, state.pose[track])
    state.flow_xy[track] = np.nan
    state.hidden_keep[track] = 1.0
    state.last_seen_ns[track] = timestamp_ns


@inner
def retire(state: TrackState, track: int) -> None:
    """End a track; later rows move up, so that the ids stay ascending."""
    last = int(state.counts[0]) - 1
    for row in range(track, last):
        state.ids[row] = state.ids[row + 1]
        state.class_ids[row] = state.class_ids[row + 1]
        state.home_ids[row] = state.home_ids[row + 1]
        state.suspect_ids[row] = state.suspect_ids[row + 1]
        state.confidence[row] = state.confidence[row + 1]
        state.last_seen_ns[row] = state.last_seen_ns[row + 1]
        copy_table(state.pose[row + 1], state.pose[row])
        copy_table(state.flow_xy[row + 1], state.flow_xy[row])
        copy_row(state.velocity[row + 1], state.velocity[row])
        copy_row(state.filter[row + 1], state.filter[row])
        state.body_px[row] = state.body_px[row + 1]
        state.hidden_keep[row] = state.hidden_keep[row + 1]
        copy_row(state.evidence[row + 1], state.evidence[row])
    state.counts[0] = last


@inner
def exchange(state: TrackState, a: int, b: int) -> None:
    """Give two tracks each other's animal: what was seen of it moves, the track's id and class stay."""
    for values in (state.pose, state.flow_xy):
        for node in range(values.shape[1]):
            for axis in range(2):
                values[a, node, axis], values[b, node, axis] = values[b, node, axis], values[a, node, axis]
    for table in (state.velocity, state.filter, state.evidence):
        for column in range(table.shape[1]):
            table[a, column], table[b, column] = table[b, column], table[a, column]
    for row in (state.body_px, state.hidden_keep):
        row[a], row[b] = row[b], row[a]
    state.last_seen_ns[a], state.last_seen_ns[b] = state.last_seen_ns[b], state.last_seen_ns[a]
