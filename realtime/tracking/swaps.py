"""Swaps: which tracks may have exchanged their animals, and the correction by what an identity model saw.

A track belongs to the first class that was sure for it, and an exchange of two animals is undone by moving the tracks,
not the classes: track 1 is the male again, and so is everything that a rule or a log says of track 1.

    suspected   the confidence is below SUSPECTED; it ends when it is back at TRUSTED, which takes an identity model
    corrected   the evidence of two tracks says by EXCHANGE_LOG_ODDS that each shows the other's animal

The evidence goes with the animals, so right after a correction it speaks against another one as clearly as it spoke for
this one: two animals that look alike to the model do not flip to and fro.
"""

import math

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner
from realtime.geometry import pose_centre
from realtime.tracking.assignment import greedy
from realtime.tracking.identity import CLASS_CERTAIN, log_posterior
from realtime.tracking.state import TrackState, exchange
from realtime.tracking.work import Work

SUSPECTED = 0.9
"""Identity confidence below which a track may have another one's animal."""

TRUSTED = 0.95
"""Identity confidence from which that is over."""

EXCHANGE_LOG_ODDS = 2.0 * math.log(99.0)
"""Evidence for an exchange, in all: two tracks that are each ninety-nine to one the other's animal."""

CLASS_REFUTED = 0.1
"""Posterior of a track's own class below which it may get another one that no track has."""


@inner
def settle(state: TrackState, work: Work, reach: float) -> None:
    """Correct swaps, tell the tracks' classes, and mark the tracks that may be another animal.

    Args:
        state: Its classes, `suspect_ids` and `corrected_ids` are brought up to date.
        work: `seen_as` is exchanged with the tracks; `class_cost`, `match` and `columns` are overwritten.
        reach: How far away (in body lengths) the animal can be with which a track was exchanged.
    """
    state.corrected_ids[: state.counts[0]] = 0
    if state.evidence.shape[1] > 0:
        _correct(state, work.seen_as)
        _bind_classes(state, work)
        _tell_classes(state)
    for track in range(state.counts[0]):
        if state.confidence[track] >= TRUSTED:
            state.suspect_ids[track] = 0
        elif state.suspect_ids[track] == 0 and state.confidence[track] < SUSPECTED:
            state.suspect_ids[track] = _rival_id(state, track, reach)


@inner
def exchange_log_odds(state: TrackState, a: int, b: int) -> float:
    """Return by how much the evidence speaks for the exchange of two tracks; NaN = it says nothing."""
    odds = 0.0
    for mine, other in ((a, b), (b, a)):
        home = state.home_ids[mine]
        if home >= 0:
            odds += log_posterior(state.evidence[other], home) - log_posterior(state.evidence[mine], home)
    return float(odds)


@inner
def _correct(state: TrackState, seen_as: NDArray[np.int64]) -> None:
    """Exchange tracks, the surest pair first; every exchange makes the whole more likely, so that there is an end."""
    for _ in range(state.counts[0]):
        best, one, other = EXCHANGE_LOG_ODDS, -1, -1
        for a in range(state.counts[0]):
            for b in range(a + 1, state.counts[0]):
                odds = exchange_log_odds(state, a, b)
                if odds > best:
                    best, one, other = odds, a, b
        if one < 0:
            return
        _set_right(state, one, other, seen_as)


@inner
def _set_right(state: TrackState, a: int, b: int, seen_as: NDArray[np.int64]) -> None:
    """Give two tracks their own animals back; how sure that is, the evidence says."""
    exchange(state, a, b)
    seen_as[a], seen_as[b] = seen_as[b], seen_as[a]
    state.corrected_ids[a], state.corrected_ids[b] = state.ids[b], state.ids[a]
    confidence = 1.0
    for track in (a, b):
        if state.home_ids[track] >= 0:
            confidence = min(confidence, math.exp(log_posterior(state.evidence[track], state.home_ids[track])))
    state.confidence[a], state.confidence[b] = confidence, confidence


@inner
def _bind_classes(state: TrackState, work: Work) -> None:
    """Give tracks without a class of their own one that no track has, surest first."""
    n_tracks, n_classes = int(state.counts[0]), state.evidence.shape[1]
    for track in range(n_tracks):
        home = state.home_ids[track]
        is_settled = home >= 0 and not log_posterior(state.evidence[track], home) < math.log(CLASS_REFUTED)
        for k in range(n_classes):
            surprise = -log_posterior(state.evidence[track], k)
            is_sure = surprise <= -math.log(CLASS_CERTAIN)  # false for NaN
            work.class_cost[track, k] = surprise if is_sure and not is_settled else np.inf
    for track in range(n_tracks):
        if state.home_ids[track] >= 0:
            work.class_cost[:n_tracks, state.home_ids[track]] = np.inf
    greedy(work.class_cost, n_tracks, n_classes, work.match, work.columns[0])
    for track in range(n_tracks):
        if work.match[track] >= 0:
            state.home_ids[track] = work.match[track]


@inner
def _tell_classes(state: TrackState) -> None:
    """Report a track's class as long as the evidence is sure of it."""
    for track in range(state.counts[0]):
        home = state.home_ids[track]
        state.class_ids[track] = -1
        if home >= 0 and log_posterior(state.evidence[track], home) >= math.log(CLASS_CERTAIN):  # false for NaN
            state.class_ids[track] = home


@inner
def _rival_id(state: TrackState, track: int, reach: float) -> int:
    """Return the id of the animal that a track may show: by the evidence, else the nearest; its own id = any."""
    best_odds, best_px = 0.0, reach * state.body_px[track]
    by_class, near_by = -1, -1
    x, y = pose_centre(state.pose[track])
    for other in range(state.counts[0]):
        if other == track:
            continue
        odds = exchange_log_odds(state, track, other) if state.evidence.shape[1] > 0 else 0.0
        if odds > best_odds:
            best_odds, by_class = odds, other
        other_x, other_y = pose_centre(state.pose[other])
        apart_px = math.hypot(other_x - x, other_y - y)
        if apart_px <= best_px:
            best_px, near_by = apart_px, other
    if by_class >= 0:
        return int(state.ids[by_class])
    return int(state.ids[near_by]) if near_by >= 0 else int(state.ids[track])
