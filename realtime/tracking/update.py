"""Update: one frame's way from detections to rows of tracks, stage by stage."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled
from realtime.geometry import body_length, pose_centre, visible_nodes
from realtime.tracking.assignment import greedy, margin
from realtime.tracking.detections import Detections, canonical_order, usable
from realtime.tracking.identity import (
    MARGIN_SOFTNESS,
    add_class_evidence,
    kept_confidence,
    log_posterior,
)
from realtime.tracking.probation import confirmed
from realtime.tracking.similarity import HIGHEST_COST, pair_cost
from realtime.tracking.state import TrackState, expected_shift, follow, restart, retire, spawn, unseen_s
from realtime.tracking.swaps import settle

CLASS_WEIGHT = 0.5
"""Cost of a detection whose class is surely not the track's: less than a body length near by, more than nothing."""

HIDDEN_S = 0.25
"""Out of sight together with another animal for this long, 1/e of the confidence above chance is left.

The share falls with the cube of the time: single missed frames are common and cost nothing."""

CROWDED = 0.3
"""A detection without a track whose centre is this close (in body lengths) to a track just seen is part of it."""


class Settings(NamedTuple):
    """`TrackerOptions` as the compiled code takes them, and the sizes."""

    gate: float
    gate_growth_per_s: float
    gate_limit: float
    kernel_width: float
    velocity_s: float
    lost_s: float
    closed_population: bool
    min_visible_nodes: int
    min_score: float
    min_body_px: float
    class_memory_s: float
    confirm_s: float
    chance: float
    n_nodes: int
    n_classes: int


class TrackRows(NamedTuple):
    """The fields of `Tracks` that are not in the state, with room for every track."""

    xy: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    identity_confidence: NDArray[np.float32]


@compiled
def update(state: TrackState, raw: Detections, timestamp_ns: int, settings: Settings, rows: TrackRows) -> int:
    """Take one frame into the state and write the rows of its `Tracks`; return how many there are."""
    detections = usable(raw, settings.kernel_width, settings.min_body_px)
    if not settings.closed_population:
        _retire_lost(state, timestamp_ns, settings.lost_s)
    seen_as = np.full(state.ids.size, -1, dtype=np.int64)  # the detection of each track, -1 = not seen
    gap_s = _gaps(state)
    _match(state, detections, timestamp_ns, settings, gap_s, seen_as)
    newcomers = confirmed(
        state,
        detections,
        _newcomers(state, detections, seen_as, settings),
        timestamp_ns,
        settings.confirm_s,
        settings.gate,
        settings.gate_growth_per_s,
        settings.min_body_px,
    )
    n_spawned = min(newcomers.size, state.ids.size - state.counts[0])
    _spawn(state, detections, newcomers[:n_spawned], timestamp_ns, settings, seen_as)
    if settings.closed_population:
        _retake_lost(state, detections, newcomers[n_spawned:], timestamp_ns, settings, gap_s, seen_as)
    settle(state, seen_as, settings.gate_limit)
    _write_rows(state, detections, seen_as, timestamp_ns, settings, rows)
    state.counts[3] = timestamp_ns
    return int(state.counts[0])


@compiled
def _retire_lost(state: TrackState, timestamp_ns: int, lost_s: float) -> None:
    for track in range(state.counts[0] - 1, -1, -1):
        if unseen_s(state, track, timestamp_ns) > lost_s:
            retire(state, track)


@compiled
def _match(
    state: TrackState,
    detections: Detections,
    timestamp_ns: int,
    settings: Settings,
    gap_s: NDArray[np.float64],
    seen_as: NDArray[np.int64],
) -> None:
    """Match tracks to detections within their gates, and update the tracks that are seen."""
    n_tracks = state.counts[0]
    cost = np.empty((n_tracks, detections.scores.size))
    for track in range(n_tracks):
        elapsed_s = unseen_s(state, track, timestamp_ns)
        _fill_costs(state, track, detections, elapsed_s, settings, cost[track])
    match = greedy(cost)
    keep = np.ones(n_tracks)  # the share of the confidence above chance that each track keeps
    for track in range(n_tracks):
        if match[track] >= 0:
            keep[track] = math.tanh(margin(cost, match, track, HIGHEST_COST) / MARGIN_SOFTNESS)
    _lose_to_hidden(state, detections, match, gap_s, settings, keep)
    for track in range(n_tracks):
        seen_as[track] = match[track]
        elapsed_s = unseen_s(state, track, timestamp_ns)
        is_lost = elapsed_s > settings.lost_s and not _is_only_missing(
            state, track, match, gap_s, timestamp_ns, settings
        )
        if match[track] >= 0 and is_lost:
            _doubt(state, track, settings.chance)
        state.confidence[track] = kept_confidence(state.confidence[track], keep[track], settings.chance)
        if match[track] >= 0:
            _look_at_class(state, track, detections.class_probs[match[track]], elapsed_s, settings.class_memory_s)
            follow(state, track, detections.xy[match[track]], timestamp_ns, settings.velocity_s, settings.min_body_px)


@compiled
def _gaps(state: TrackState) -> NDArray[np.float64]:
    """Return how long each track has not been seen when the last frame came, s; 0 = it was seen in that frame."""
    gap_s = np.zeros(state.ids.size)
    for track in range(state.counts[0]):
        gap_s[track] = max(state.counts[3] - state.last_seen_ns[track], 0) * 1e-9
    return gap_s


@compiled
def _lose_to_hidden(
    state: TrackState,
    detections: Detections,
    match: NDArray[np.int64],
    gap_s: NDArray[np.float64],
    settings: Settings,
    keep: NDArray[np.float64],
) -> None:
    """Lower what is kept where a track is seen again and another animal out of sight may have come out instead.

    What is still out of sight will keep no more than that: if this is not the one, one of those is not what it seems.
    """
    is_rival = np.empty(match.size, dtype=np.bool_)
    for track in range(match.size):
        if match[track] < 0 or gap_s[track] == 0.0:
            continue
        share = math.exp(-((gap_s[track] / HIDDEN_S) ** 3))
        x, y = pose_centre(detections.xy[match[track]])
        for other in range(match.size):
            other_x, other_y = pose_centre(state.pose[other])
            is_near = math.hypot(x - other_x, y - other_y) <= settings.gate_limit * state.body_px[other]
            is_rival[other] = is_near and other != track and (match[other] < 0 or gap_s[other] > 0.0)
        n_rivals = np.count_nonzero(is_rival)
        is_rivalled = n_rivals > 0 or not settings.closed_population
        keep[track] *= min(share if is_rivalled else 1.0, state.hidden_keep[track])
        for other in range(match.size):
            if is_rival[other] and match[other] < 0:
                state.hidden_keep[other] = min(state.hidden_keep[other], 1.0 - (1.0 - share) / n_rivals)


@compiled
def _is_only_missing(
    state: TrackState,
    track: int,
    seen_as: NDArray[np.int64],
    gap_s: NDArray[np.float64],
    timestamp_ns: int,
    settings: Settings,
) -> bool:
    """Return whether every other animal of a closed population was seen in the last frame and is seen in this one."""
    only = settings.closed_population and state.counts[0] == state.ids.size
    only = only and (timestamp_ns - state.counts[3]) * 1e-9 <= settings.lost_s
    for other in range(state.counts[0]):
        if other != track and (seen_as[other] < 0 or gap_s[other] > 0.0):
            only = False
    return only


@compiled
def _fill_costs(
    state: TrackState,
    track: int,
    detections: Detections,
    elapsed_s: float,
    settings: Settings,
    cost: NDArray[np.float64],
) -> None:
    """Write what each detection costs as this track."""
    expected = state.pose[track].copy()
    dx, dy = expected_shift(state, track, elapsed_s, settings.velocity_s)
    expected[:, 0] += dx
    expected[:, 1] += dy
    n_expected = visible_nodes(expected)
    body_px = state.body_px[track]
    gate = min(settings.gate + settings.gate_growth_per_s * elapsed_s, settings.gate_limit)
    for j in range(cost.size):
        cost[j] = pair_cost(expected, detections.xy[j], n_expected, settings.kernel_width * body_px, gate * body_px)
        cost[j] += _class_cost(state.class_ids[track], detections.class_probs[j])


@compiled
def _class_cost(class_id: int, class_probs: NDArray[np.float64]) -> float:
    """Return 0 where the classes agree or nothing is known, up to CLASS_WEIGHT where they do not."""
    if class_id < 0 or class_probs.size == 0 or not np.isfinite(class_probs[class_id]):
        return 0.0
    return float(CLASS_WEIGHT * (1.0 - min(max(class_probs[class_id], 0.0), 1.0)))


@compiled
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


@compiled
def _doubt(state: TrackState, track: int, chance: float) -> None:
    """Take back what was known of the identity of a track that was lost."""
    state.confidence[track] = chance
    state.evidence[track] = np.nan
    state.class_ids[track] = -1


@compiled
def _newcomers(
    state: TrackState, detections: Detections, seen_as: NDArray[np.int64], settings: Settings
) -> NDArray[np.int64]:
    """Return the detections that are animals without a track, best score first."""
    accepted = np.zeros(detections.scores.size, dtype=np.bool_)
    is_newcomer = np.zeros(detections.scores.size, dtype=np.bool_)
    for track in range(state.counts[0]):
        if seen_as[track] >= 0:
            accepted[seen_as[track]] = True
    order = canonical_order(-detections.scores.reshape(-1, 1))
    for j in order:
        enough = visible_nodes(detections.xy[j]) >= settings.min_visible_nodes
        if not accepted[j] and enough and detections.scores[j] >= settings.min_score:
            is_newcomer[j] = not _is_crowded(detections, j, accepted, settings.min_body_px)
            accepted[j] = is_newcomer[j]
    return order[is_newcomer[order]]


@compiled
def _is_crowded(detections: Detections, j: int, accepted: NDArray[np.bool_], min_body_px: float) -> bool:
    x, y = pose_centre(detections.xy[j])
    for other in range(accepted.size):
        if accepted[other]:
            other_x, other_y = pose_centre(detections.xy[other])
            body_px = max(body_length(detections.xy[j]), body_length(detections.xy[other]), min_body_px)
            if math.hypot(x - other_x, y - other_y) < CROWDED * body_px:
                return True
    return False


@compiled
def _spawn(
    state: TrackState,
    detections: Detections,
    chosen: NDArray[np.int64],
    timestamp_ns: int,
    settings: Settings,
    seen_as: NDArray[np.int64],
) -> None:
    is_chosen = np.zeros(detections.scores.size, dtype=np.bool_)
    is_chosen[chosen] = True
    for j in np.flatnonzero(is_chosen):  # in canonical order: numbered from left to right
        track = spawn(state, detections.xy[j], timestamp_ns, settings.min_body_px)
        seen_as[track] = j
        _look_at_class(state, track, detections.class_probs[j], 0.0, settings.class_memory_s)


@compiled
def _retake_lost(
    state: TrackState,
    detections: Detections,
    newcomers: NDArray[np.int64],
    timestamp_ns: int,
    settings: Settings,
    gap_s: NDArray[np.float64],
    seen_as: NDArray[np.int64],
) -> None:
    """Give detections left over to the lost tracks nearest to them, however far."""
    cost = np.full((state.counts[0], newcomers.size), np.inf)
    for track in range(state.counts[0]):
        if seen_as[track] < 0 and unseen_s(state, track, timestamp_ns) > settings.lost_s:
            x, y = pose_centre(state.pose[track])
            for k in range(newcomers.size):
                new_x, new_y = pose_centre(detections.xy[newcomers[k]])
                cost[track, k] = math.hypot(new_x - x, new_y - y) / state.body_px[track]
                cost[track, k] += _class_cost(state.class_ids[track], detections.class_probs[newcomers[k]])
    match = greedy(cost)
    for track in range(state.counts[0]):
        if match[track] >= 0:
            j = newcomers[match[track]]
            if not _is_only_missing(state, track, seen_as, gap_s, timestamp_ns, settings):
                _doubt(state, track, settings.chance)
            state.confidence[track] = kept_confidence(
                state.confidence[track], state.hidden_keep[track], settings.chance
            )
            seen_as[track] = j
            _look_at_class(state, track, detections.class_probs[j], 0.0, settings.class_memory_s)
            restart(state, track, detections.xy[j], timestamp_ns)


@compiled
def _write_rows(
    state: TrackState,
    detections: Detections,
    seen_as: NDArray[np.int64],
    timestamp_ns: int,
    settings: Settings,
    rows: TrackRows,
) -> None:
    for track in range(state.counts[0]):
        if seen_as[track] >= 0:
            rows.xy[track] = detections.xy[seen_as[track]]
            rows.node_scores[track] = detections.node_scores[seen_as[track]]
        else:
            rows.xy[track] = np.nan
            rows.node_scores[track] = 0.0
        keep = math.exp(-unseen_s(state, track, timestamp_ns) / settings.lost_s)
        rows.identity_confidence[track] = kept_confidence(state.confidence[track], keep, settings.chance)


@compiled
def expected_centres(state: TrackState, timestamp_ns: int, settings: Settings, centres: NDArray[np.float32]) -> int:
    """Write where the centres of the living tracks are expected, px; return how many tracks there are."""
    for track in range(state.counts[0]):
        x, y = pose_centre(state.pose[track])
        dx, dy = expected_shift(state, track, unseen_s(state, track, timestamp_ns), settings.velocity_s)
        centres[track, 0] = x + dx
        centres[track, 1] = y + dy
    return int(state.counts[0])
