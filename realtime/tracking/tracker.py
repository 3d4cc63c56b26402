"""Tracker: poses in, tracks out; greedy assignment to moved last poses, for a fixed number of animals."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.poses import Poses
from realtime.compiled import compiled
from realtime.geometry import body_length, pose_centre, visible_nodes
from realtime.tracking.assignment import greedy, margin
from realtime.tracking.detections import Detections, usable
from realtime.tracking.identity import (
    MARGIN_SOFTNESS,
    add_class_evidence,
    exclusive_classes,
    kept_confidence,
    log_posterior,
)
from realtime.tracking.similarity import pair_cost
from realtime.tracking.state import (
    TrackState,
    empty_state,
    expected_shift,
    follow,
    restart,
    retire,
    spawn,
    unseen_s,
)
from realtime.tracks import Tracks

CLASS_WEIGHT = 0.5
"""Cost of a detection whose class is surely not the track's: less than a body length near by, more than nothing."""

CROWDED = 0.3
"""A detection without a track whose centre is this close (in body lengths) to a track just seen is part of it."""


class TrackerOptions(BaseModel):
    """How animals are followed. Lengths are in body lengths: the diagonal of the box around an animal's nodes.

    Attributes:
        max_tracks: How many animals there are at most; never more tracks than that live at a time.
        gate: How far from where it is expected an animal may be seen at once, body lengths.
        gate_growth_per_s: How much farther for every second without seeing it, body lengths per second.
        gate_limit: How far at most, body lengths.
        kernel_width: σ of the node-by-node similarity, body lengths.
        velocity_s: Time over which velocity is averaged and believed.
        lost_s: How long a track that is not seen waits for its animal near where it was. Then, in a closed
            population, it takes whichever detection is left over; otherwise it ends.
        closed_population: The same animals are there all the time. When all tracks are in use, a detection left over
            is the animal of a lost track (with low identity confidence) instead of a new one.
        min_visible_nodes: Nodes that a detection must show to start or re-take a track; all of them where the
            skeleton has fewer.
        min_score: Instance score that a detection must have to start or re-take a track.
        min_body_px: Lower limit of the body length; what counts as one for a skeleton of a single node.
        class_memory_s: How long what an identity model saw of an animal is believed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    max_tracks: int = Field(2, ge=1, le=256)
    gate: float = Field(0.6, gt=0, allow_inf_nan=False)
    gate_growth_per_s: float = Field(4.0, ge=0, allow_inf_nan=False)
    gate_limit: float = Field(3.0, gt=0, allow_inf_nan=False)
    kernel_width: float = Field(0.1, gt=0, allow_inf_nan=False)
    velocity_s: float = Field(0.05, gt=0, allow_inf_nan=False)
    lost_s: float = Field(1.0, gt=0, le=1e6)
    closed_population: bool = True
    min_visible_nodes: int = Field(3, ge=1)
    min_score: float = Field(0.0, allow_inf_nan=False)
    min_body_px: float = Field(10.0, gt=0, allow_inf_nan=False)
    class_memory_s: float = Field(2.0, gt=0, allow_inf_nan=False)


class _Settings(NamedTuple):
    """`TrackerOptions` as the compiled code takes them."""

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
    chance: float


class _Rows(NamedTuple):
    """The fields of `Tracks`, with room for every track."""

    track_ids: NDArray[np.int32]
    xy: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    identity_confidence: NDArray[np.float32]
    last_seen_ns: NDArray[np.int64]
    class_ids: NDArray[np.int32]


class GreedyTracker:
    """Follows a fixed number of animals.

    Every track expects its last pose, moved by its velocity and the time since. The cheapest pairs of expected pose
    and detection are matched first. What is left over starts new tracks up to `max_tracks`; in a closed population it
    re-takes lost ones. Animals first seen in the same frame are numbered from left to right. The order of
    the detections in `Poses` has no effect.
    """

    def __init__(self, options: TrackerOptions, n_nodes: int, class_names: tuple[str, ...] = ()) -> None:
        self._n_nodes = n_nodes
        self._n_classes = len(class_names)
        self._settings = _Settings(
            gate=options.gate,
            gate_growth_per_s=options.gate_growth_per_s,
            gate_limit=options.gate_limit,
            kernel_width=options.kernel_width,
            velocity_s=options.velocity_s,
            lost_s=options.lost_s,
            closed_population=options.closed_population,
            min_visible_nodes=min(options.min_visible_nodes, n_nodes),
            min_score=options.min_score,
            min_body_px=options.min_body_px,
            class_memory_s=options.class_memory_s,
            chance=1.0 / max(options.max_tracks, 2),
        )
        self._max_tracks = options.max_tracks
        self._rows = _empty_rows(options.max_tracks, n_nodes)
        self._centres = np.empty((options.max_tracks, 2), dtype=np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget every animal; the next one is track 1."""
        self._state = empty_state(self._max_tracks, self._n_nodes, self._n_classes)

    def warm_up(self) -> None:
        """Compile what `update` and `expected_xy` need, then forget every animal."""
        xy = np.zeros((1, self._n_nodes, 2), dtype=np.float32)
        scores = np.ones((1, self._n_nodes), dtype=np.float32)
        self.update(Poses(xy, scores, scores[:, 0]), 0)
        self.expected_xy(0)
        self.reset()

    def update(self, poses: Poses, timestamp_ns: int) -> Tracks:
        """Give every pose to the animal that it shows.

        Args:
            poses: Any number of instances in any order; nodes and whole instances may be NaN. `class_probs` counts
                where the tracker knows class names.
            timestamp_ns: The frame's time; one that repeats or goes backward counts as no time passed.

        Returns:
            Every living track, in arrays of its own.
        """
        n_tracks = _update(self._state, self._detections(poses), timestamp_ns, self._settings, self._rows)
        rows = self._rows
        return Tracks(
            track_ids=rows.track_ids[:n_tracks].copy(),
            xy=rows.xy[:n_tracks].copy(),
            node_scores=rows.node_scores[:n_tracks].copy(),
            identity_confidence=rows.identity_confidence[:n_tracks].copy(),
            last_seen_ns=rows.last_seen_ns[:n_tracks].copy(),
            class_ids=rows.class_ids[:n_tracks].copy(),
        )

    def expected_xy(self, timestamp_ns: int) -> NDArray[np.float32] | None:
        """Return where the centres of the living tracks are expected, `(n_tracks, 2)` px; None without tracks."""
        n_tracks = _expected_centres(self._state, timestamp_ns, self._settings, self._centres)
        return self._centres[:n_tracks].copy() if n_tracks else None

    def _detections(self, poses: Poses) -> Detections:
        """Copy the poses: one type and layout for the compiled code, whatever a model hands over."""
        n = len(poses.xy)
        if poses.class_probs is not None and self._n_classes:
            class_probs = np.array(poses.class_probs, dtype=np.float64)
        else:
            class_probs = np.full((n, self._n_classes), np.nan)
        return Detections(
            np.array(poses.xy, dtype=np.float64, order="C"),
            np.array(poses.node_scores, dtype=np.float64, order="C"),
            np.array(poses.instance_scores, dtype=np.float64, order="C"),
            class_probs,
        )


def _empty_rows(max_tracks: int, n_nodes: int) -> _Rows:
    return _Rows(
        track_ids=np.empty(max_tracks, dtype=np.int32),
        xy=np.empty((max_tracks, n_nodes, 2), dtype=np.float32),
        node_scores=np.empty((max_tracks, n_nodes), dtype=np.float32),
        identity_confidence=np.empty(max_tracks, dtype=np.float32),
        last_seen_ns=np.empty(max_tracks, dtype=np.int64),
        class_ids=np.empty(max_tracks, dtype=np.int32),
    )


@compiled
def _update(state: TrackState, raw: Detections, timestamp_ns: int, settings: _Settings, rows: _Rows) -> int:
    detections = usable(raw, settings.kernel_width, settings.min_body_px)
    if not settings.closed_population:
        _retire_lost(state, timestamp_ns, settings.lost_s)
    seen_as = np.full(state.ids.size, -1, dtype=np.int64)  # the detection of each track, -1 = not seen
    _match_living(state, detections, timestamp_ns, settings, seen_as)
    newcomers = _newcomers(state, detections, seen_as, settings)
    n_spawned = min(newcomers.size, state.ids.size - state.counts[0])
    _spawn(state, detections, np.sort(newcomers[:n_spawned]), timestamp_ns, settings, seen_as)
    if settings.closed_population:
        _retake_lost(state, detections, newcomers[n_spawned:], timestamp_ns, settings, seen_as)
    exclusive_classes(state.evidence[: state.counts[0]], state.class_ids)
    _write_rows(state, detections, seen_as, timestamp_ns, settings, rows)
    return int(state.counts[0])


@compiled
def _retire_lost(state: TrackState, timestamp_ns: int, lost_s: float) -> None:
    for track in range(state.counts[0] - 1, -1, -1):
        if unseen_s(state, track, timestamp_ns) > lost_s:
            retire(state, track)


@compiled
def _match_living(
    state: TrackState, detections: Detections, timestamp_ns: int, settings: _Settings, seen_as: NDArray[np.int64]
) -> None:
    """Match the tracks that are not lost, and update them."""
    n_tracks, n_detections = state.counts[0], detections.scores.size
    cost = np.full((n_tracks, n_detections), np.inf)
    for track in range(n_tracks):
        elapsed_s = unseen_s(state, track, timestamp_ns)
        if elapsed_s <= settings.lost_s:
            _fill_costs(state, track, detections, elapsed_s, settings, cost[track])
    match = greedy(cost)
    for track in range(n_tracks):
        seen_as[track] = match[track]
        if match[track] >= 0:
            keep = math.tanh(margin(cost, match, track) / MARGIN_SOFTNESS)
            state.confidence[track] = kept_confidence(state.confidence[track], keep, settings.chance)
            elapsed_s = unseen_s(state, track, timestamp_ns)
            _look_at_class(state, track, detections.class_probs[match[track]], elapsed_s, settings.class_memory_s)
            follow(
                state, track, detections.xy[match[track]], timestamp_ns, settings.velocity_s, settings.min_body_px
            )


@compiled
def _fill_costs(
    state: TrackState,
    track: int,
    detections: Detections,
    elapsed_s: float,
    settings: _Settings,
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
    if class_id < 0 or not np.isfinite(class_probs[class_id]):
        return 0.0
    return CLASS_WEIGHT * (1.0 - min(max(class_probs[class_id], 0.0), 1.0))


@compiled
def _look_at_class(
    state: TrackState, track: int, class_probs: NDArray[np.float64], elapsed_s: float, memory_s: float
) -> None:
    """Add a detection's class to its track's evidence; the confidence moves to what the evidence says."""
    if add_class_evidence(state.evidence[track], class_probs, elapsed_s, memory_s) and state.class_ids[track] >= 0:
        posterior = math.exp(log_posterior(state.evidence[track], state.class_ids[track]))
        state.confidence[track] -= math.expm1(-elapsed_s / memory_s) * (posterior - state.confidence[track])


@compiled
def _newcomers(
    state: TrackState, detections: Detections, seen_as: NDArray[np.int64], settings: _Settings
) -> NDArray[np.int64]:
    """Return the detections that are animals without a track, best score first."""
    accepted = np.zeros(detections.scores.size, dtype=np.bool_)
    is_newcomer = np.zeros(detections.scores.size, dtype=np.bool_)
    for track in range(state.counts[0]):
        if seen_as[track] >= 0:
            accepted[seen_as[track]] = True
    order = np.argsort(-detections.scores, kind="mergesort")
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
    settings: _Settings,
    seen_as: NDArray[np.int64],
) -> None:
    for j in chosen:
        track = spawn(state, detections.xy[j], timestamp_ns, settings.min_body_px)
        seen_as[track] = j
        _look_at_class(state, track, detections.class_probs[j], np.inf, settings.class_memory_s)


@compiled
def _retake_lost(
    state: TrackState,
    detections: Detections,
    newcomers: NDArray[np.int64],
    timestamp_ns: int,
    settings: _Settings,
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
            seen_as[track] = j
            elapsed_s = unseen_s(state, track, timestamp_ns)
            state.confidence[track] = settings.chance
            _look_at_class(state, track, detections.class_probs[j], elapsed_s, settings.class_memory_s)
            restart(state, track, detections.xy[j], timestamp_ns)


@compiled
def _write_rows(
    state: TrackState,
    detections: Detections,
    seen_as: NDArray[np.int64],
    timestamp_ns: int,
    settings: _Settings,
    rows: _Rows,
) -> None:
    for track in range(state.counts[0]):
        rows.track_ids[track] = state.ids[track]
        rows.last_seen_ns[track] = state.last_seen_ns[track]
        rows.class_ids[track] = state.class_ids[track]
        if seen_as[track] >= 0:
            rows.xy[track] = detections.xy[seen_as[track]]
            rows.node_scores[track] = detections.node_scores[seen_as[track]]
        else:
            rows.xy[track] = np.nan
            rows.node_scores[track] = 0.0
        keep = math.exp(-unseen_s(state, track, timestamp_ns) / settings.lost_s)
        rows.identity_confidence[track] = kept_confidence(state.confidence[track], keep, settings.chance)


@compiled
def _expected_centres(
    state: TrackState, timestamp_ns: int, settings: _Settings, centres: NDArray[np.float32]
) -> int:
    for track in range(state.counts[0]):
        x, y = pose_centre(state.pose[track])
        dx, dy = expected_shift(state, track, unseen_s(state, track, timestamp_ns), settings.velocity_s)
        centres[track, 0] = x + dx
        centres[track, 1] = y + dy
    return int(state.counts[0])
