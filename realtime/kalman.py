"""Kalman filter for a place that moves at a constant velocity but for white acceleration, compiled, per axis.

What is filtered is where the animal is from its last pose, so that poses may be as precise as they are far from zero.
A filter is two rows of plain numbers: `velocity` (x, y), and `filtered`: place from the last pose (x, y), variance of
a place, its covariance with the speed, variance of a speed. Both axes share the variances.
"""

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner


@inner
def rest(velocity: NDArray[np.float64], filtered: NDArray[np.float64], noise: float, first_speed: float) -> None:
    """Begin anew with something that stands still, as far as is known.

    Args:
        velocity: `(2,)`, overwritten.
        filtered: `(5,)`, overwritten.
        noise: Variance of a sighting, px².
        first_speed: Standard deviation of the velocity, px/s.
    """
    velocity[0] = velocity[1] = 0.0
    filtered[0] = filtered[1] = 0.0
    filtered[2] = noise
    filtered[3] = 0.0
    filtered[4] = first_speed * first_speed


@inner
def correct(
    velocity: NDArray[np.float64],
    filtered: NDArray[np.float64],
    dx: float,
    dy: float,
    elapsed_s: float,
    density: float,
    noise: float,
) -> None:
    """Predict and correct (Kalman 1960).

    Args:
        velocity: `(2,)` px/s, changed in place.
        filtered: `(5,)`, changed in place; from now on its place is counted from the pose that was just seen.
        dx: How far the pose that was just seen is from the last one, px.
        dy: The same.
        elapsed_s: Time between the two, > 0.
        density: Spectral density of the acceleration, (px / s²)² s.
        noise: Variance of a sighting, px².
    """
    place, mixed, speed = filtered[2], filtered[3], filtered[4]
    place += elapsed_s * (2.0 * mixed + elapsed_s * speed) + density * elapsed_s**3 / 3.0
    mixed += elapsed_s * speed + density * elapsed_s**2 / 2.0
    speed += density * elapsed_s
    gain, speed_gain = place / (place + noise), mixed / (place + noise)
    for axis in range(2):
        predicted = filtered[axis] + velocity[axis] * elapsed_s
        surprise = (dx if axis == 0 else dy) - predicted
        velocity[axis] += speed_gain * surprise
        filtered[axis] = (gain - 1.0) * surprise
    filtered[2] = (1.0 - gain) * place
    filtered[3] = (1.0 - gain) * mixed
    filtered[4] = speed - speed_gain * mixed
