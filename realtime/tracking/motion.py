"""Motion: where a track is expected after some time, and what a sighting says of its velocity.

| motion | a track is expected |
|---|---|
| `still` | where it was |
| `velocity` | farther on by its velocity, averaged over `velocity_s` |
| `kalman` | farther on by what a Kalman filter with constant velocity says (white acceleration, per axis) |
| `lucas_kanade`, `farneback` | where the picture round each node went (`flow`); lost nodes as in `velocity` |

Velocity fades over `velocity_s` where an animal is not seen: its speed says little about where it is a second later,
and without the fading a lost track would fly away.
"""

import math

import numpy as np
from numpy.typing import NDArray

from realtime import kalman
from realtime.compiled import inner
from realtime.tracking.state import TrackState
from realtime.tracking.work import FLOW, KALMAN, STILL, Settings

JUMP = 0.5
"""A sighting farther than this (in body lengths) from where its track was expected is a jump."""

ACCELERATION = 60.0
"""Spectral density of the acceleration that the Kalman filter expects, (body lengths / s²)² s: a fly's darting."""

MEASURED = 0.015
"""Error of a sighting as the Kalman filter takes it, body lengths."""

FIRST_SPEED = 3.0
"""How fast an animal may be when it is first seen, body lengths / s."""


@inner
def expected_shift(state: TrackState, track: int, elapsed_s: float, settings: Settings) -> tuple[float, float]:
    """Return how far (dx, dy) px a track is expected from its last pose."""
    if settings.motion == STILL:
        return 0.0, 0.0
    lasting_s = -settings.velocity_s * math.expm1(-elapsed_s / settings.velocity_s)
    dx, dy = state.velocity[track, 0] * lasting_s, state.velocity[track, 1] * lasting_s
    if settings.motion == KALMAN:
        dx, dy = dx + state.filter[track, 0], dy + state.filter[track, 1]
    return dx, dy


@inner
def write_expected(
    state: TrackState, track: int, elapsed_s: float, settings: Settings, expected: NDArray[np.float64]
) -> None:
    """Write the pose, `(n_nodes, 2)` px, in which a track is expected; NaN where a node was not seen last time."""
    dx, dy = expected_shift(state, track, elapsed_s, settings)
    for node in range(expected.shape[0]):
        expected[node, 0] = state.pose[track, node, 0] + dx
        expected[node, 1] = state.pose[track, node, 1] + dy
        if settings.motion >= FLOW and not math.isnan(state.flow_xy[track, node, 0]):
            expected[node, 0], expected[node, 1] = state.flow_xy[track, node, 0], state.flow_xy[track, node, 1]


@inner
def rest(state: TrackState, track: int) -> None:
    """Begin anew with a track that stands still, as far as is known."""
    body_px = state.body_px[track]
    kalman.rest(state.velocity[track], state.filter[track], (MEASURED * body_px) ** 2, FIRST_SPEED * body_px)


@inner
def learn_velocity(state: TrackState, track: int, dx: float, dy: float, elapsed_s: float, settings: Settings) -> None:
    """Take in that a track moved by (dx, dy) px in some time, > 0.

    A jump (`JUMP` body lengths off where it was expected) tells no velocity: it is over, or it was another animal.
    """
    expected_dx, expected_dy = expected_shift(state, track, elapsed_s, settings)
    if math.hypot(dx - expected_dx, dy - expected_dy) > JUMP * state.body_px[track]:
        rest(state, track)
    elif settings.motion == KALMAN:
        body_px = state.body_px[track]
        density, noise = ACCELERATION * body_px * body_px, (MEASURED * body_px) ** 2
        kalman.correct(state.velocity[track], state.filter[track], dx, dy, elapsed_s, density, noise)
    else:
        share = -math.expm1(-elapsed_s / settings.velocity_s)
        state.velocity[track, 0] += share * (dx / elapsed_s - state.velocity[track, 0])
        state.velocity[track, 1] += share * (dy / elapsed_s - state.velocity[track, 1])
