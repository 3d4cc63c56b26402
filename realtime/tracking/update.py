"""Update: one frame's way from detections to rows of tracks, stage by stage."""

import math

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled, inlined, inner
from realtime.geometry import body_length, displacement, pose_centre, visible_nodes
from realtime.tracking.answers import TrackRows, rows_in
from realtime.tracking.assignment import greedy, hungarian, margin
from realtime.tracking.buffers import detections_in, settings_in, state_in, work_in
from realtime.tracking.copies import copy_row, copy_table
from realtime.tracking.detections import Detections, usable
from realtime.tracking.identity import (
    MARGIN_SOFTNESS,
    add_class_evidence,
    kept_confidence,
    log_posterior,
)
from realtime.tracking.motion import expected_shift, learn_velocity, rest, write_expected
from realtime.tracking.newcomers import find_newcomers
from realtime.tracking.probation import keep_confirmed
from realtime.tracking.similarity import HIGHEST_COST, pair_cost
from realtime.tracking.state import TrackState, begin, put, retire, unseen_s
from realtime.tracking.swaps import settle
from realtime.tracking.work import HUNGARIAN, Settings, Work

CLASS_WEIGHT = 0.5
"""Cost of a detection whose class is surely not the track's: less than a body length near by, more than nothing."""

HIDDEN_S = 0.25
"""Out of sight together with another animal for this long, 1/e of the confidence above chance is left.

The share falls with the cube of the time: single missed frames are common and cost nothing."""

BODY_LENGTH_MEMORY_S = 1.0
"""Time over which a track's body length is averaged: longer than a stride, shorter than a turn towards the camera."""


LOOK_S = 1 / 60
"""Time to which `MARGIN_SOFTNESS` belongs: what is hard to tell costs the same in a second at any frame rate.

After a gap of more than `MOST_LOOKS` times that there was one choice all the same."""

MOST_LOOKS = 4.0

LATE_NS = 1_000_000_000
"""A frame that is older than the last one by no more than this came too late; by more, the clock was set."""

LATE = -1
"""What `update_tracks` returns for such a frame."""


@compiled
def update_tracks(
    settings_buffer: NDArray[np.float64],
    floats: NDArray[np.float64],
    integers: NDArray[np.int64],
    detections_buffer: NDArray[np.float64],
    work_floats: NDArray[np.float64],
    work_integers: NDArray[np.int64],
    answer: NDArray[np.int64],
    n_raw: int,
    timestamp_ns: int,
) -> int:
    """Take one frame into the state and write the rows of its `Tracks`; return how many there are, or `LATE`.

    A frame that comes too late changes nothing: what it shows is over, and the newest frame is already known.

    The stages follow right here, not in a function of their own: to hand it all these views would take longer than
    several of the stages.

    Args:
        settings_buffer: As the next two from `Buffers`.
        floats: Read and changed.
        integers: Read and changed.
        detections_buffer: As the next two from a `Room`; its first half holds the detections that came.
        work_floats: Overwritten.
        work_integers: Overwritten.
        answer: A `room` of `Answers`, written.
        n_raw: How many detections came.
        timestamp_ns: The frame's time.
    """
    settings = settings_in(settings_buffer)
    n_nodes, n_classes = settings.n_nodes, settings.n_classes
    state = state_in(floats, integers, n_nodes, n_classes)
    half = detections_buffer.size // 2
    raw = detections_in(detections_buffer[:half], n_nodes, n_classes)
    detections = detections_in(detections_buffer[half:], n_nodes, n_classes)
    work = work_in(work_floats, work_integers, state.ids.size, raw.scores.size, n_nodes, n_classes)
    rows = rows_in(answer, state.ids.size, n_nodes)
    if 0 < state.counts[3] - timestamp_ns <= LATE_NS:
        return LATE
    if not settings.closed_population:
        _retire_lost(state, timestamp_ns, settings.lost_s)
    _expect(state, timestamp_ns, settings, work)
    n_detections = usable(raw, n_raw, int(state.counts[0]), settings, work, detections)
    _match(state, detections, n_detections, settings, work)
    _follow_matched(state, detections, n_detections, timestamp_ns, settings, work)
    n_newcomers = find_newcomers(detections, n_detections, int(state.counts[0]), settings, work)
    n_newcomers = keep_confirmed(state, detections, n_newcomers, timestamp_ns, settings, work)
    n_spawned = min(n_newcomers, state.ids.size - state.counts[0])
    _spawn(state, detections, n_spawned, timestamp_ns, settings, work)
    if settings.closed_population:
        _retake_lost(state, detections, n_spawned, n_newcomers, timestamp_ns, settings, work)
    settle(state, work, settings.gate_limit)
    _write_rows(state, detections, timestamp_ns, settings, work.seen_as, rows)
    state.counts[3] = timestamp_ns
    return int(state.counts[0])


@compiled
def expect_tracks(
    settings_buffer: NDArray[np.float64],
    floats: NDArray[np.float64],
    integers: NDArray[np.int64],
    poses: NDArray[np.float32],
    timestamp_ns: int,
) -> int:
    """Write where the nodes of the living tracks are expected, px; return how many tracks there are."""
    settings = settings_in(settings_buffer)
    state = state_in(floats, integers, settings.n_nodes, settings.n_classes)
    for track in range(state.counts[0]):
        dx, dy = expected_shift(state, track, unseen_s(state, track, timestamp_ns), settings)
        for node in range(poses.shape[1]):
            poses[track, node, 0] = state.pose[track, node, 0] + dx
            poses[track, node, 1] = state.pose[track, node, 1] + dy
    return int(state.counts[0])


@inner
def _retire_lost(state: TrackState, timestamp_ns: int, lost_s: float) -> None:
    for track in range(state.counts[0] - 1, -1, -1):
        if unseen_s(state, track, timestamp_ns) > lost_s:
            retire(state, track)


@inner
def _expect(state: TrackState, timestamp_ns: int, settings: Settings, work: Work) -> None:
    """Write where each track is expected, how far off it may be, and how long it had been unseen in the last frame."""
    work.gap_s[:] = 0.0
    work.seen_as[:] = -1
    for track in range(state.counts[0]):
        elapsed_s = unseen_s(state, track, timestamp_ns)
        gate = min(settings.gate + settings.gate_growth_per_s * elapsed_s, settings.gate_limit)
        work.gate_px[track] = gate * state.body_px[track]
        work.gap_s[track] = max(state.counts[3] - state.last_seen_ns[track], 0) * 1e-9
        write_expected(state, track, elapsed_s, settings, work.expected[track])


@inner
def _match(state: TrackState, detections: Detections, n_detections: int, settings: Settings, work: Work) -> None:
    """Match tracks to detections within their gates."""
    n_tracks = int(state.counts[0])
    for track in range(n_tracks):
        _fill_costs(state, track, detections, n_detections, settings, work)
    if settings.matching == HUNGARIAN:
        hungarian(work.cost, n_tracks, n_detections, work.match, work.potentials, work.columns)
    else:
        greedy(work.cost, n_tracks, n_detections, work.match, work.columns[0])


@inner
def _fill_costs(
    state: TrackState,
    track: int,
    detections: Detections,
    n_detections: int,
    settings: Settings,
    work: Work,
) -> None:
    """Write what each detection costs as this track."""
    expected = work.expected[track]
    n_expected = visible_nodes(expected)
    sigma_px, gate_px = settings.kernel_width * state.body_px[track], work.gate_px[track]
    for j in range(n_detections):
        cost = pair_cost(expected, detections.xy[j], n_expected, sigma_px, gate_px, settings.similarity, work.nodes)
        work.cost[track, j] = cost + _class_cost(state.class_ids[track], detections.class_probs[j])


@inner
def _class_cost(class_id: int, class_probs: NDArray[np.float64]) -> float:
    """Return 0 where the classes agree or nothing is known, up to CLASS_WEIGHT where they do not."""
    if class_id < 0 or class_probs.size == 0 or not np.isfinite(class_probs[class_id]):
        return 0.0
    return float(CLASS_WEIGHT * (1.0 - min(max(class_probs[class_id], 0.0), 1.0)))


@inlined
def _follow_matched(
    state: TrackState, detections: Detections, n_detections: int, timestamp_ns: int, settings: Settings, work: Work
) -> None:
    """Move the tracks that are seen to where they are seen, and say how sure it is that it is they."""
    n_tracks = int(state.counts[0])
    for track in range(n_tracks):
        work.seen_as[track] = work.match[track]
        work.keep[track] = 1.0
        if work.match[track] >= 0:
            risk = margin(work.cost, n_tracks, n_detections, work.match, track, HIGHEST_COST, work.columns[0])
            n_looks = min(unseen_s(state, track, timestamp_ns) / LOOK_S, MOST_LOOKS)
            work.keep[track] = math.tanh(risk / MARGIN_SOFTNESS) ** n_looks
    _lose_to_hidden(state, detections, settings, work)
    for track in range(n_tracks):
        j = work.seen_as[track]
        elapsed_s = unseen_s(state, track, timestamp_ns)
        is_lost = elapsed_s > settings.lost_s and not _is_only_missing(state, track, timestamp_ns, settings, work)
        if j >= 0 and is_lost:
            _doubt(state, track, settings.chance)
        state.confidence[track] = kept_confidence(state.confidence[track], work.keep[track], settings.chance)
        if j >= 0:
            _look_at_class(state, track, detections.class_probs[j], elapsed_s, settings.class_memory_s)
            _follow(state, track, detections.xy[j], timestamp_ns, settings, work.nodes)


@inner
def _lose_to_hidden(state: TrackState, detections: Detections, settings: Settings, work: Work) -> None:
    """Lower what is kept where a track is seen again and another animal out of sight may have come out instead.

    What is still out of sight will keep no more than that: if this is not the one, one of those is not what it seems.
    """
    for track in range(state.counts[0]):
        if work.seen_as[track] < 0 or work.gap_s[track] == 0.0:
            continue
        share = math.exp(-((work.gap_s[track] / HIDDEN_S) ** 3))
        x, y = pose_centre(detections.xy[work.seen_as[track]])
        n_rivals = 0
        for other in range(state.counts[0]):
            other_x, other_y = pose_centre(state.pose[other])
            is_near = math.hypot(x - other_x, y - other_y) <= settings.gate_limit * state.body_px[other]
            is_hidden = work.seen_as[other] < 0 or work.gap_s[other] > 0.0
            work.rivals[other] = is_near and is_hidden and other != track
            n_rivals += work.rivals[other]
        is_rivalled = n_rivals > 0 or not settings.closed_population
        work.keep[track] *= min(share if is_rivalled else 1.0, state.hidden_keep[track])
        for other in range(state.counts[0]):
            if work.rivals[other] and work.seen_as[other] < 0:
                state.hidden_keep[other] = min(state.hidden_keep[other], 1.0 - (1.0 - share) / n_rivals)


@inner
def _is_only_missing(state: TrackState, track: int, timestamp_ns: int, settings: Settings, work: Work) -> bool:
    """Return whether every other animal of a closed population was seen in the last frame and is seen in this one."""
    only = settings.closed_population and state.counts[0] == state.ids.size
    only = only and (timestamp_ns - state.counts[3]) * 1e-9 <= settings.lost_s
    for other in range(state.counts[0]):
        if other != track and (work.seen_as[other] < 0 or work.gap_s[other] > 0.0):
            only = False
    return only


@inlined
def _follow(
    state: TrackState,
    track: int,
    xy: NDArray[np.float64],
    timestamp_ns: int,
    settings: Settings,
    nodes: NDArray[np.float64],
) -> None:
    """Move a track to the pose in which it was seen; velocity and body length are averaged over time, not frames."""
    elapsed_s = unseen_s(state, track, timestamp_ns)
    if elapsed_s > 0.0:
        dx, dy = displacement(state.pose[track], xy, nodes[0], nodes[1])
        if math.isnan(dx):
            old_x, old_y = pose_centre(state.pose[track])
            x, y = pose_centre(xy)
            dx, dy = x - old_x, y - old_y
        learn_velocity(state, track, dx, dy, elapsed_s, settings)
        if 2 * visible_nodes(xy) > xy.shape[0]:
            share = -math.expm1(-elapsed_s / BODY_LENGTH_MEMORY_S)
            state.body_px[track] += share * (max(body_length(xy), settings.min_body_px) - state.body_px[track])
    put(state, track, xy, timestamp_ns)


@inner
def _look_at_class(
    state: TrackState, track: int, class_probs: NDArray[np.float64], elapsed_s: float, memory_s: float
) -> None:
    """Add a detection's class to its track's evidence; the confidence moves to what the evidence says.

    It does so at once where another class is likelier, otherwise over the time that is remembered.
    """
    if add_class_evidence(state.evidence[track], class_probs, elapsed_s, memory_s) and state.home_ids[track] >= 0:
        posterior = math.exp(log_posterior(state.evidence[track], state.home_ids[track]))
        is_refuted = posterior < 0.5 and posterior < state.confidence[track]
        share = 1.0 if is_refuted else -math.expm1(-elapsed_s / memory_s)
        state.confidence[track] += share * (posterior - state.confidence[track])


@inner
def _doubt(state: TrackState, track: int, chance: float) -> None:
    """Take back what was known of the identity of a track that was lost."""
    state.confidence[track] = chance
    state.evidence[track] = np.nan
    state.class_ids[track] = -1


@inner
def _spawn(
    state: TrackState, detections: Detections, n_spawned: int, timestamp_ns: int, settings: Settings, work: Work
) -> None:
    """Begin tracks at the first newcomers, in canonical order: numbered from left to right."""
    for k in range(n_spawned):
        work.flags[work.newcomers[k]] = 2
    n_left = n_spawned
    for j in range(work.flags.size):
        if n_left and work.flags[j] == 2:
            track = begin(state)
            state.body_px[track] = max(body_length(detections.xy[j]), settings.min_body_px)
            rest(state, track)
            put(state, track, detections.xy[j], timestamp_ns)
            work.seen_as[track] = j
            _look_at_class(state, track, detections.class_probs[j], 0.0, settings.class_memory_s)
            n_left -= 1


@inner
def _retake_lost(
    state: TrackState,
    detections: Detections,
    first: int,
    stop: int,
    timestamp_ns: int,
    settings: Settings,
    work: Work,
) -> None:
    """Give newcomers `first` to `stop` to the lost tracks nearest to them, however far."""
    n_tracks, n_columns = int(state.counts[0]), stop - first
    for track in range(n_tracks):
        is_lost = work.seen_as[track] < 0 and unseen_s(state, track, timestamp_ns) > settings.lost_s
        x, y = pose_centre(state.pose[track])
        for k in range(n_columns):
            j = work.newcomers[first + k]
            new_x, new_y = pose_centre(detections.xy[j])
            away = math.hypot(new_x - x, new_y - y) / state.body_px[track]
            away += _class_cost(state.class_ids[track], detections.class_probs[j])
            work.cost[track, k] = away if is_lost else np.inf
    greedy(work.cost, n_tracks, n_columns, work.match, work.columns[0])
    for track in range(n_tracks):
        if work.match[track] >= 0:
            j = work.newcomers[first + work.match[track]]
            if not _is_only_missing(state, track, timestamp_ns, settings, work):
                _doubt(state, track, settings.chance)
            keep = state.hidden_keep[track]
            state.confidence[track] = kept_confidence(state.confidence[track], keep, settings.chance)
            _look_at_class(state, track, detections.class_probs[j], 0.0, settings.class_memory_s)
            rest(state, track)
            put(state, track, detections.xy[j], timestamp_ns)
            work.seen_as[track] = j


@inner
def _write_rows(
    state: TrackState,
    detections: Detections,
    timestamp_ns: int,
    settings: Settings,
    seen_as: NDArray[np.int64],
    rows: TrackRows,
) -> None:
    for track in range(state.counts[0]):
        if seen_as[track] >= 0:
            copy_table(detections.xy[seen_as[track]], rows.xy[track])
            copy_row(detections.node_scores[seen_as[track]], rows.node_scores[track])
        else:
            rows.xy[track] = np.nan
            rows.node_scores[track] = 0.0
        rows.last_seen_ns[track] = state.last_seen_ns[track]
        rows.track_ids[track] = state.ids[track]
        rows.class_ids[track] = state.class_ids[track]
        rows.suspect_ids[track] = state.suspect_ids[track]
        rows.corrected_ids[track] = state.corrected_ids[track]
        keep = math.exp(-unseen_s(state, track, timestamp_ns) / settings.lost_s)
        rows.identity_confidence[track] = kept_confidence(state.confidence[track], keep, settings.chance)
