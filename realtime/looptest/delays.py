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

**From pulses to a distribution.** Nothing is assumed of the shape of the delays' distribution G. The estimate is the G
on a grid of delays that makes Σ_i log ∫ L_i dG largest (J. Kiefer, J. Wolfowitz, Ann. Math. Statist. 27, 1956; for
plateaus this is B. W. Turnbull's estimator for interval-censored times, J. R. Statist. Soc. B 38, 1976), found by
expectation maximisation. It needs the censoring not to depend on the delay: this is why commands come at irregular
intervals, spread evenly over the frame interval. Then N pulses of one constant delay leave about P/N, even if no frame
is ever lit in part: the plateaus overlap in a region of about that width.

**The exposure** is fitted: E is where the likelihood is largest, up to P. Only this makes the estimate of d indifferent
to saturation. A pixel that is white once a share s of the exposure is lit has f = clip((e − c − d) / sE, 0, 1): a
shorter exposure with the same d. What is reported is this effective exposure.

**What it can't know.** All e contain the time from the end of an exposure to the frame's arrival (read-out, transfer),
which is the same for all frames and cannot be told from a delay of the light. So d contains it too. In a closed loop
both occur once, so that the sum is what counts: the time from the end of a frame's exposure to light is d and the
loop's own latency (frame available → command written).

**Uncertainty**: 95 % intervals from 200 bootstrap samples of the pulses.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

QUANTILES = (0.5, 0.95, 0.99)

_N_BEFORE = 5  # dark frames that tell the level before a pulse
_LEAST_CONTRAST = 6.0  # of the light, in standard deviations of a frame's brightness
_MODEL_SD = 0.02  # share of the light: what is not noise (flicker, a sensor that is not quite linear)
_OUTLIERS = 1e-3  # share of frames that may be anything
_STEPS_A_FRAME = 200
_MAX_STEP_NS = 100_000
_COARSE_STEPS_A_FRAME = 50
_N_EXPOSURES = 20
_LEAST_EXPOSURE = 0.01  # of a frame interval
_N_BOOTSTRAP = 200
_N_ITERATIONS = 400
_N_BOOTSTRAP_ITERATIONS = 100


class NoLightError(ValueError):
    """The brightness does not follow the commands."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What was done and seen.

    Attributes:
        commands_ns: When each command had been written, host clock, ns, `(n_pulses,)`, ascending.
        ends_ns: When each frame's exposure ended, and its way as short as it can be, host clock, ns, `(n_frames,)`,
            ascending.
        available_ns: When each frame was available in fact, host clock, ns, `(n_frames,)`.
        brightness: Of the watched region, gray levels, `(n_frames,)`.
        period_ns: Frame interval, ns.
        longest_ns: The longest delay that is looked for, ns; commands are farther apart than this and a pulse.
    """

    commands_ns: NDArray[np.int64]
    ends_ns: NDArray[np.int64]
    available_ns: NDArray[np.int64]
    brightness: NDArray[np.float64]
    period_ns: float
    longest_ns: int


@dataclass(frozen=True, slots=True)
class Blinks:
    """The pulses that were seen, as shares of the light.

    Attributes:
        pulses: Which commands, `(n_seen,)`.
        offsets_ns: End of exposure − command, ns, of the three frames that tell the onset, `(n_seen, 3)`.
        shares: Their share of the light, `(n_seen, 3)`.
        seen_ns: From the command until the first frame that shows light was available, ns, `(n_seen,)`.
        contrast: Of the light, gray levels.
        noise_sd: Of one frame, as a share of the light.
        n_commands: Of all pulses, those that were missed too.
        n_unasked: Frames that were lit without a command.
    """

    pulses: NDArray[np.intp]
    offsets_ns: NDArray[np.float64]
    shares: NDArray[np.float64]
    seen_ns: NDArray[np.float64]
    contrast: float
    noise_sd: float
    n_commands: int
    n_unasked: int

    @property
    def n_missed(self) -> int:
        """Pulses that no frame showed."""
        return self.n_commands - self.pulses.size


@dataclass(frozen=True, slots=True)
class Delays:
    """The distribution of command → light.

    Attributes:
        grid_ns: Delays, ns, `(n,)`, evenly spaced.
        weights: Their probabilities, `(n,)`; they add up to 1.
        quantiles_ns: For each of `QUANTILES`: estimate, lower and upper end of its 95 % interval, ns, `(3, 3)`.
        pulses_ns: Each pulse's own delay, ns: the mean of what its frames and the distribution leave possible,
            `(n_seen,)`.
        spread_ns: Standard deviation of the same, ns, `(n_seen,)`.
        exposure_ns: Effective exposure, ns.
    """

    grid_ns: NDArray[np.float64]
    weights: NDArray[np.float64]
    quantiles_ns: NDArray[np.float64]
    pulses_ns: NDArray[np.float64]
    spread_ns: NDArray[np.float64]
    exposure_ns: float


def find_blinks(watched: Watched) -> Blinks:
    """Find the frames in which each pulse's light came on.

    Raises:
        NoLightError: The region does not become brighter by 6 standard deviations of its noise with every other pulse.
    """
    ends, brightness = watched.ends_ns, watched.brightness
    first_after = np.searchsorted(ends, watched.commands_ns, side="right")
    latest_ns = watched.commands_ns + watched.longest_ns + round(watched.period_ns)
    stop = np.searchsorted(ends, latest_ns, side="right")
    whole = [i for i in range(first_after.size) if first_after[i] >= _N_BEFORE and stop[i] - first_after[i] >= 2]
    if not whole:
        raise NoLightError("looptest: no pulse has frames before and after it; is the camera's rate what it says?")
    before = np.stack([brightness[first_after[i] - _N_BEFORE : first_after[i]] for i in whole])
    base = np.median(before, axis=1)
    noise = _spread(before - base[:, np.newaxis]) * math.sqrt(_N_BEFORE / (_N_BEFORE - 1))
    # The second brightest, so that one frame with a flash of its own is no light.
    tops = np.array([np.sort(brightness[first_after[i] : stop[i]])[-2] for i in whole]) - base
    contrast = float(np.median(tops))
    if contrast < max(_LEAST_CONTRAST * noise, 0.5):
        raise NoLightError(
            f"looptest: no light that follows the commands: expected the region to become brighter by at least "
            f"{max(_LEAST_CONTRAST * noise, 0.5):.3g} gray levels, got {contrast:.3g}; look whether the output is "
            f"connected and the light in the picture, and give its place with --region"
        )
    visible = max(0.1, 5.0 * noise / contrast)
    rows = []
    for place, i in enumerate(whole):
        shares = (brightness[first_after[i] - 1 : stop[i] + 1] - base[place]) / contrast
        bright = np.flatnonzero(shares[1:] > 0.5) + 1
        if not bright.size or bright[0] + 1 >= shares.size:
            continue
        k = int(bright[0])
        frames = first_after[i] - 1 + np.arange(k - 1, k + 2)
        seen = frames[0] if shares[k - 1] > visible and k > 1 else frames[1]
        seen_ns = watched.available_ns[seen] - watched.commands_ns[i]
        rows.append((i, ends[frames] - watched.commands_ns[i], shares[k - 1 : k + 2], seen_ns))
    unasked = np.count_nonzero((before - base[:, np.newaxis]) / contrast > max(0.5, visible))
    return Blinks(
        pulses=np.array([row[0] for row in rows], dtype=np.intp),
        offsets_ns=np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 3),
        shares=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 3),
        seen_ns=np.array([row[3] for row in rows], dtype=np.float64),
        contrast=contrast,
        noise_sd=noise / contrast,
        n_commands=int(watched.commands_ns.size),
        n_unasked=int(unasked),
    )


def estimate_delays(blinks: Blinks, period_ns: float, time_sd_ns: float = 0.0, seed: int = 0) -> Delays:
    """Return the distribution of the delays; see the top of this file.

    Args:
        blinks: At least one.
        period_ns: Frame interval, ns.
        time_sd_ns: Uncertainty of the ends of exposures, ns, standard deviation.
        seed: Of the bootstrap.

    Raises:
        NoLightError: There is no blink.
    """
    if not blinks.pulses.size:
        raise NoLightError("looptest: every blink was missed; there is no delay to estimate")
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
        weights = _fit(table, np.ones((1, len(table))), _N_BOOTSTRAP_ITERATIONS)[0]
        return -float(np.sum(np.log(table @ weights)))

    exposure = _best_exposure(misfit)
    grid, table = likelihoods(exposure, min(period_ns / _STEPS_A_FRAME, _MAX_STEP_NS))
    weights = _fit(table, np.ones((1, len(table))), _N_ITERATIONS)[0]
    quantiles = np.array([quantile(grid, weights, share) for share in QUANTILES])
    draws = np.random.default_rng(seed).multinomial(len(table), np.full(len(table), 1 / len(table)), _N_BOOTSTRAP)
    again = _fit(table, draws.astype(np.float64), _N_BOOTSTRAP_ITERATIONS, weights)
    others = np.array([[quantile(grid, one, share) for share in QUANTILES] for one in again])
    ends = np.quantile(others, [0.025, 0.975], axis=0)
    posterior = table * weights
    posterior /= posterior.sum(axis=1, keepdims=True)
    means = posterior @ grid
    return Delays(
        grid_ns=grid,
        weights=weights,
        quantiles_ns=np.stack([quantiles, np.minimum(ends[0], quantiles), np.maximum(ends[1], quantiles)], axis=1),
        pulses_ns=means,
        spread_ns=np.sqrt(np.maximum(posterior @ grid**2 - means**2, 0.0)),
        exposure_ns=exposure * period_ns,
    )


def quantile(grid: NDArray[np.float64], weights: NDArray[np.float64], share: float) -> float:
    """Return the delay that `share` of the probability does not exceed; each grid point's is spread over its step."""
    step = float(grid[1] - grid[0])
    reached = np.concatenate([[0.0], np.cumsum(weights)])
    edges = np.append(grid, grid[-1] + step) - step / 2
    return float(np.interp(share, reached, edges))


def _best_exposure(misfit: Callable[[float], float]) -> float:
    """Return the exposure of least misfit, in frame intervals: the best of a table, then refined beside it."""
    table = np.geomspace(_LEAST_EXPOSURE, 1.0, _N_EXPOSURES)
    best = int(np.argmin([misfit(exposure) for exposure in table]))
    around = float(table[max(best - 1, 0)]), float(table[min(best + 1, table.size - 1)])
    found = minimize_scalar(misfit, bounds=around, method="bounded", options={"xatol": 1e-3})
    return float(found.x if found.fun <= misfit(float(table[best])) else table[best])


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
        table *= (1.0 - _OUTLIERS) * likely + _OUTLIERS
    return table


def _normal(error: NDArray[np.float64], noise: float) -> NDArray[np.float64]:
    return np.asarray(np.exp(-0.5 * (error / noise) ** 2) / (noise * math.sqrt(2.0 * math.pi)))


def _fit(
    table: NDArray[np.float64], counts: NDArray[np.float64], n_iterations: int, start: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return the weights of the grid that make the pulses likeliest, by expectation maximisation.

    Args:
        table: Likelihoods, `(n_pulses, n_grid)`.
        counts: How often each pulse counts, one row a fit, `(n_fits, n_pulses)`.
        n_iterations: Of the algorithm.
        start: Weights to begin with, `(n_grid,)`; by default even ones.

    Returns:
        `(n_fits, n_grid)`.
    """
    n_grid = table.shape[1]
    even = np.full(n_grid, 1.0 / n_grid)
    # A weight of 0 stays 0 for ever: what another sample needs must not be lost.
    weights = np.tile(even if start is None else 0.99 * start + 0.01 * even, (len(counts), 1))
    total = counts.sum(axis=1, keepdims=True)
    for _ in range(n_iterations):
        weights *= ((counts / (weights @ table.T)) @ table) / total
    return weights


def _spread(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of normal values, from their median distance to 0."""
    return float(np.median(np.abs(values))) / 0.6745
