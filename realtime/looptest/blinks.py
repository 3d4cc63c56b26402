"""Which frames show each pulse's light, and how much of it: brightness into shares of the light."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_BEFORE = 5  # dark frames that tell the level before a pulse
# What the standard deviation of a frame's brightness grows by where the median of `N_BEFORE` others is taken off it.
_LEVEL_SD = math.sqrt(1.0 + 0.5 * math.pi / N_BEFORE)
_LEAST_CONTRAST_SD = 6.0  # of the light, in standard deviations of a frame's brightness
_LEAST_CONTRAST = 0.5  # gray levels
_LIT_QUANTILE = 0.8  # of the pulses' brightness: as many as four of five may be missed


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
        shares: Their share of the light, `(n_seen, 3)`; NaN, all three, where they are not next to one another: with a
            lost frame between them the first bright one may be that in which the light goes off.
        seen_ns: From the command until the first frame that shows light was available, ns, `(n_seen,)`.
        contrast: Of the light, gray levels.
        noise_sd: Of a frame's share of the light, the level before the pulse included.
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

    @property
    def unclear(self) -> NDArray[np.bool_]:
        """Which of the pulses have a lost frame beside their onset, `(n_seen,)`."""
        return np.isnan(self.shares[:, 0])


@dataclass(frozen=True, slots=True)
class _Window:
    """The frames that may show one pulse, `first` to `stop`, and what comes before and after them."""

    pulse: int
    first: int
    stop: int


def find_blinks(watched: Watched) -> Blinks:
    """Find the frames in which each pulse's light came on.

    Raises:
        NoLightError: Fewer than one pulse in five makes the region brighter by 6 standard deviations of its noise.
    """
    windows = _windows(watched)
    brightness = watched.brightness
    before = np.stack([brightness[window.first - N_BEFORE : window.first] for window in windows])
    levels = np.median(before, axis=1)
    noise = _noise(before) * _LEVEL_SD
    # The second brightest, so that one frame with a flash of its own is no light.
    tops = np.array([np.sort(brightness[window.first : window.stop])[-2] for window in windows]) - levels
    contrast = float(np.quantile(tops, _LIT_QUANTILE))
    least = max(_LEAST_CONTRAST_SD * noise, _LEAST_CONTRAST)
    if contrast < least:
        raise NoLightError(
            f"looptest: no light that follows the commands: expected the region to become brighter by at least "
            f"{least:.3g} gray levels, got {contrast:.3g}; look whether the output is connected and the light in the "
            f"picture, and give its place with --region"
        )
    onsets = [_onset(watched, window, level, contrast) for window, level in zip(windows, levels, strict=True)]
    contrast = _fully_lit(watched, windows, onsets, levels) or contrast
    visible = min(max(0.1, 5.0 * noise / contrast), 0.5)
    rows = [
        _blink(watched, window, onset, level, contrast, visible)
        for window, level, onset in zip(windows, levels.tolist(), onsets, strict=True)
        if onset is not None
    ]
    return Blinks(
        pulses=np.array([row[0] for row in rows], dtype=np.intp),
        offsets_ns=np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 3),
        shares=np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 3),
        seen_ns=np.array([row[3] for row in rows], dtype=np.float64),
        contrast=contrast,
        noise_sd=noise / contrast,
        n_commands=int(watched.commands_ns.size),
        n_unasked=int(np.count_nonzero(before - levels[:, np.newaxis] > 0.5 * contrast)),
    )


def _blink(
    watched: Watched, window: _Window, onset: int, level: float, contrast: float, visible: float
) -> tuple[int, NDArray[np.int64], NDArray[np.float64], np.int64]:
    """Return the pulse, and its entries of `Blinks.offsets_ns`, `shares` and `seen_ns`."""
    frames = onset + np.arange(-1, 2)
    shares = (watched.brightness[frames] - level) / contrast
    if not _in_a_row(watched, onset):
        shares[:] = np.nan
    first = frames[0] if shares[0] > visible and frames[0] >= window.first else onset
    command_ns = watched.commands_ns[window.pulse]
    return window.pulse, watched.ends_ns[frames] - command_ns, shares, watched.available_ns[first] - command_ns


def _windows(watched: Watched) -> list[_Window]:
    """Return the frames that may show each pulse; a pulse without dark frames before and a frame after has none."""
    first = np.searchsorted(watched.ends_ns, watched.commands_ns, side="right")
    latest_ns = watched.commands_ns + watched.longest_ns + round(watched.period_ns)
    stop = np.searchsorted(watched.ends_ns, latest_ns, side="right")
    found = [
        _Window(pulse, start, end)
        for pulse, (start, end) in enumerate(zip(first.tolist(), stop.tolist(), strict=True))
        if start >= N_BEFORE and end - start >= 2 and end < watched.ends_ns.size
    ]
    if not found:
        raise NoLightError("looptest: no pulse has frames before and after it; is the camera's rate what it says?")
    return found


def _onset(watched: Watched, window: _Window, level: float, contrast: float) -> int | None:
    """Return the first frame of a window with more than half of the light, or None."""
    lit = np.flatnonzero(watched.brightness[window.first : window.stop] - level > 0.5 * contrast)
    return window.first + int(lit[0]) if lit.size else None


def _fully_lit(
    watched: Watched, windows: list[_Window], onsets: list[int | None], levels: NDArray[np.float64]
) -> float | None:
    """Return the contrast of the frames after the onsets, gray levels: those are lit for their whole exposure."""
    rises = [
        watched.brightness[onset + 1] - levels[row]
        for row, (_, onset) in enumerate(zip(windows, onsets, strict=True))
        if onset is not None and _in_a_row(watched, onset)
    ]
    return float(np.median(rises)) if rises else None


def _in_a_row(watched: Watched, frame: int) -> bool:
    """Say whether no frame was lost between this one and its two neighbours."""
    return bool(watched.ends_ns[frame + 1] - watched.ends_ns[frame - 1] < 2.5 * watched.period_ns)


def _noise(before: NDArray[np.float64]) -> float:
    """Return the standard deviation of a dark frame's brightness, from all differences of two before one pulse.

    Differences need no level, and their median no frame without a flash: |difference| of two normal values has the
    median 0.6745 √2 σ.
    """
    one, other = np.triu_indices(before.shape[1], k=1)
    return float(np.median(np.abs(before[:, one] - before[:, other]))) / (0.6745 * math.sqrt(2.0))
