"""The filter, against the textbook's matrices."""

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled
from realtime.kalman import correct, rest


@compiled
def _rest(velocity: NDArray[np.float64], filtered: NDArray[np.float64], noise: float, speed: float) -> None:
    rest(velocity, filtered, noise, speed)


@compiled
def _correct(
    velocity: NDArray[np.float64],
    filtered: NDArray[np.float64],
    dx: float,
    dy: float,
    elapsed_s: float,
    density: float,
    noise: float,
) -> None:
    correct(velocity, filtered, dx, dy, elapsed_s, density, noise)


def test_it_is_the_filter_of_the_textbook() -> None:
    """Bar-Shalom, Li and Kirubarajan 2001, 6.2.2: continuous white noise acceleration, one axis at a time."""
    random = np.random.default_rng(0)
    density, noise, speed = 500.0, 2.0, 30.0
    velocity, filtered = np.full(2, 9.0), np.full(5, 9.0)
    _rest(velocity, filtered, noise, speed)
    seen = np.zeros(2)  # where it was seen last
    state, covariance = np.zeros((2, 2)), np.diag([noise, speed**2])  # state: (place, speed) × (x, y)
    for _ in range(200):
        elapsed = random.uniform(0.005, 0.1)
        now = seen + random.normal(1.0, 2.0, 2)
        _correct(velocity, filtered, *(now - seen), elapsed, density, noise)
        step = np.array([[1.0, elapsed], [0.0, 1.0]])
        walk = density * np.array([[elapsed**3 / 3, elapsed**2 / 2], [elapsed**2 / 2, elapsed]])
        state, covariance = step @ state, step @ covariance @ step.T + walk
        gain = covariance[:, :1] / (covariance[0, 0] + noise)
        state += gain @ (now[None] - state[:1])
        covariance = covariance - gain @ covariance[:1]
        seen = now
        np.testing.assert_allclose(velocity, state[1], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(seen + filtered[:2], state[0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(filtered[2:], covariance[[0, 0, 1], [0, 1, 1]], rtol=1e-9)
