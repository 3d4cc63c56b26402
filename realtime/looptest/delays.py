"""The estimator: from commands and the brightness of frames to the distribution of command → light.

**What a frame says.** A command is written at c, the light comes on at c + d, and a frame whose exposure of length E
ends at e gathers the share

    f(d) = clip((e − c − d) / E, 0, 1)

of the light. Frames that ended before the light show nothing, later ones everything, and at most one (E is no longer
than the frame interval P) shows a part. If it does, d = e − c − f E, as exact as the brightness is. If none does, the
light came on in the gap of P − E in which nothing was exposed, and d is known to lie in an interval of that length.
Brightness has noise of standard deviation σ, so each pulse i gives a likelihood over delays,

    L_i(d) = Π_k N(f_ik; f_k(d), σ²),        k: the first frame with more than half of the light and its two neighbours,

a peak of width σE or a plateau as wide as the gap.

**From pulses to a distribution.** The estimate is the distribution of delays that makes the pulses likeliest
(`distribution.py`), whatever its shape. It needs the censoring not to depend on the delay: this is why commands come at
irregular intervals, spread evenly over the frame interval. Then N pulses of one constant delay leave about P/N, even if
no frame is ever lit in part: the plateaus overlap in a region of about that width.

**The exposure** is fitted: E is where the likelihood is largest, up to P. Only this makes the estimate of d indifferent
to saturation. A pixel that is white once a share s of the exposure is lit has f = clip((e − c − d) / sE, 0, 1): a
shorter exposure with the same d. What is reported is this effective exposure.

**What it can't know.** All e contain the time from the end of an exposure to the frame's arrival (read-out, transfer),
which is the same for all frames and cannot be told from a delay of the light. So d contains it too. In a closed loop
both occur once, so that the sum is what counts: the time from the end of a frame's exposure to light is d and the
loop's own latency (frame available → command written).

**Uncertainty.** A 95 % interval of a quantile holds all values with which the pulses are not much less likely: those
at which the largest likelihood falls by no more than exp(−1.92), whatever the exposure (A. B. Owen, Biometrika 75,
1988). A percentile that few pulses exceed has no upper end: of 100 pulses, one in three series has none above its p99.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from realtime.looptest.blinks import Blinks, NoLightError
from realtime.looptest.distribution import FALL_95, edges_of, fit, intervals, log_likelihood, quantile

QUANTILES = (0.5, 0.95, 0.99)

_MODEL_SD = 0.02  # share of the light: what is not noise (flicker, a sensor that is not quite linear)
_OUTLIERS = 1e-3  # share of frames that may be anything
_STEPS_A_FRAME = 200
_MAX_STEP_NS = 100_000
_COARSE_STEPS_A_FRAME = 50
_N_EXPOSURES = 20
_LEAST_EXPOSURE = 0.01  # of a frame interval
_N_COARSE_ITERATIONS = 100
_N_BISECTIONS = 6
_FALL_3_SD = 4.5  # what the logarithm of a normal density falls by over 3 standard deviations


@dataclass(frozen=True, slots=True)
class Delays:
    """The distribution of command → light.

    Attributes:
        grid_ns: Delays, ns, `(n,)`, evenly spaced.
        weights: Their probabilities, `(n,)`; they add up to 1.
        quantiles_ns: For each of `QUANTILES`: estimate, lower and upper end of its 95 % interval, ns, `(3, 3)`; an
            upper end is infinite where there are too few pulses for one.
        largest_ns: The largest of `pulses_ns`, and between what the largest delay of them lies by their frames alone:
            some pulse's frames leave no less (to 3 standard deviations), and no pulse's frames leave more, ns.
        pulses_ns: Each pulse's own delay, ns: the mean of what its frames and the distribution leave possible,
            `(n_seen,)`; NaN where a lost frame lies beside its onset.
        spread_ns: Standard deviation of the same, ns, `(n_seen,)`.
        exposure_ns: Effective exposure, ns.
    """

    grid_ns: NDArray[np.float64]
    weights: NDArray[np.float64]
    quantiles_ns: NDArray[np.float64]
    largest_ns: tuple[float, float, float]
    pulses_ns: NDArray[np.float64]
    spread_ns: NDArray[np.float64]
    exposure_ns: float


def estimate_delays(blinks: Blinks, period_ns: float, time_sd_ns: float = 0.0) -> Delays:
    """Return the distribution of the delays; see the top of this file.

    Args:
        blinks: The pulses that were seen.
        period_ns: Frame interval, ns.
        time_sd_ns: Uncertainty of the ends of exposures, ns, standard deviation.

    Raises:
        NoLightError: No pulse's onset was seen without a lost frame beside it.
    """
    if np.all(blinks.unclear):
        raise NoLightError(
            f"looptest: expected blinks with no lost frame beside them, got none in {blinks.n_commands} pulses; there "
            f"is no delay to estimate; does the camera lose every other frame?"
        )
    noise = math.hypot(blinks.noise_sd, _MODEL_SD)
    low = float(blinks.offsets_ns[:, 0].min()) - 0.5 * period_ns
    high = float(blinks.offsets_ns[:, 1].max()) + 0.5 * period_ns

    def likelihoods(exposure: float, step_ns: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        steps = np.arange(math.floor(low / step_ns), math.ceil(high / step_ns) + 1, dtype=np.float64)
        grid: NDArray[np.float64] = steps * step_ns
        width_ns = math.hypot(step_ns, math.sqrt(12.0) * time_sd_ns)
        return grid, _likelihoods(blinks, grid, width_ns, exposure * period_ns, noise)

    def misfit(exposure: float) -> float:
        _, table = likelihoods(exposure, period_ns / _COARSE_STEPS_A_FRAME)
        return -log_likelihood(table, fit(table, _N_COARSE_ITERATIONS))

    exposures = _likely_exposures(misfit)
    step_ns = min(period_ns / _STEPS_A_FRAME, _MAX_STEP_NS)
    grid, table = likelihoods(exposures[0], step_ns)
    weights = fit(table)
    least = log_likelihood(table, weights) - FALL_95
    values = np.array([quantile(grid, weights, share) for share in QUANTILES])
    ends = np.array([intervals(*likelihoods(exposure, step_ns), QUANTILES, least) for exposure in exposures])
    lower, upper = np.minimum(values, ends[..., 0].min(axis=0)), np.maximum(values, ends[..., 1].max(axis=0))
    posterior = table * weights
    posterior /= posterior.sum(axis=1, keepdims=True)
    posterior[blinks.unclear] = np.nan
    means = posterior @ grid
    largest, bounds = float(np.nanmax(means)), _largest(grid, table[~blinks.unclear])
    return Delays(
        grid_ns=grid,
        weights=weights,
        quantiles_ns=np.stack([values, lower, upper], axis=1),
        largest_ns=(largest, min(largest, bounds[0]), max(largest, bounds[1])),
        pulses_ns=means,
        spread_ns=np.sqrt(np.maximum(posterior @ grid**2 - means**2, 0.0)),
        exposure_ns=exposures[0] * period_ns,
    )


def _likely_exposures(misfit: Callable[[float], float]) -> list[float]:
    """Return the exposure of least misfit, in frame intervals, and some with which the pulses are not much less likely.

    The best is that of a table, then refined beside it. The others are the ends of the 95 % interval, and the middles
    between them and the best.
    """
    table = np.geomspace(_LEAST_EXPOSURE, 1.0, _N_EXPOSURES)
    place = int(np.argmin([misfit(exposure) for exposure in table]))
    around = float(table[max(place - 1, 0)]), float(table[min(place + 1, table.size - 1)])
    found = minimize_scalar(misfit, bounds=around, method="bounded", options={"xatol": 1e-3})
    best = float(found.x if found.fun <= misfit(float(table[place])) else table[place])
    most = misfit(best) + FALL_95
    exposures = [best]
    for limit in (_LEAST_EXPOSURE, 1.0):
        inside, outside = best, limit
        for _ in range(_N_BISECTIONS if misfit(limit) > most else 0):
            middle = 0.5 * (inside + outside)
            inside, outside = (middle, outside) if misfit(middle) <= most else (inside, middle)
        end = inside if misfit(limit) > most else limit
        exposures += [end, 0.5 * (best + end)]
    return exposures


def _likelihoods(
    blinks: Blinks, grid_ns: NDArray[np.float64], width_ns: float, exposure_ns: float, noise: float
) -> NDArray[np.float64]:
    """Return how likely each pulse's frames are, for each delay of the grid, `(n_seen, n_grid)`, up to a factor.

    Each is the mean over delays of up to half of `width_ns` from the point of the grid: a peak may be narrower than a
    step, and must not be lost between two points.
    """
    table = np.ones((len(blinks.shares), grid_ns.size))
    for offsets, shares in zip(blinks.offsets_ns.T, blinks.shares.T, strict=True):
        middle = (offsets[:, np.newaxis] - grid_ns) / exposure_ns
        half = 0.5 * width_ns / exposure_ns
        share = shares[:, np.newaxis]
        dark, lit = np.clip([(half - middle) / (2.0 * half), (middle + half - 1.0) / (2.0 * half)], 0.0, 1.0)
        low, high = np.clip([middle - half, middle + half], 0.0, 1.0)
        partly = (ndtr((high - share) / noise) - ndtr((low - share) / noise)) / (2.0 * half)
        likely = dark * _normal(share, noise) + lit * _normal(share - 1.0, noise) + partly
        table *= np.where(np.isnan(share), 1.0, (1.0 - _OUTLIERS) * likely + _OUTLIERS)
    return table


def _normal(error: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * (error / noise) ** 2) / (noise * math.sqrt(2.0 * math.pi)))


def _largest(grid: NDArray[np.float64], table: NDArray[np.float64]) -> tuple[float, float]:
    """Return between what the largest delay lies, by each pulse's own frames alone."""
    possible = table >= table.max(axis=1, keepdims=True) * math.exp(-_FALL_3_SD)
    edges = edges_of(grid)
    first = np.argmax(possible, axis=1)
    last = grid.size - np.argmax(possible[:, ::-1], axis=1)
    return float(edges[first].max()), float(edges[last].max())
