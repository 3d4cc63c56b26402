"""Finishing: what is done to tracks when all of them are there, before they are written: points smoothed over time.

Only for work offline: a smoothed point knows what came after it, which no session does.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.offline.errors import OfflineInputError
from realtime.offline.tracked import TrackedFrame
from realtime.tracking import TrackerOptions
from realtime.tracking.sleap import SleapTrackerOptions

BLOCK_FRAMES = 1024
LONGEST_WINDOW_S = 10.0
FEWEST_FRAMES = 5
"""In a window, so that a parabola smooths it: with three points it goes through all of them."""
AT_ONCE = 1 << 16
"""Weights in memory at a time."""


def check_finishing(
    tracker: TrackerOptions | SleapTrackerOptions | None,
    *,
    join_breaks: int | None,
    smooth_s: float | None,
) -> None:
    """Find out what would go wrong, or do nothing, after hours of work.

    Args:
        tracker: Of which kind the tracks are; None for no tracking.
        join_breaks: How many animals there are, to join single breaks by; None for not joining them.
        smooth_s: The window of the smoothing, s; None for no smoothing.

    Raises:
        OfflineInputError: There is nothing to join or to smooth, or the window is no window. Whether it holds frames
            enough, `check_window` says.
    """
    for option, value in (("--join-breaks", join_breaks), ("--smooth-s", smooth_s)):
        if value is not None and tracker is None:
            raise OfflineInputError(f"{option}: expected tracks, got --no-tracking; leave out one of the two")
    if join_breaks is not None and join_breaks < 1:
        raise OfflineInputError(f"--join-breaks: expected how many animals there are, 1 or more, got {join_breaks}")
    if join_breaks is not None and isinstance(tracker, TrackerOptions) and tracker.closed_population:
        raise OfflineInputError(
            "--join-breaks: expected tracks that end, got the live tracker for a closed population, which gives a "
            "lost animal its own track back; leave out --join-breaks, or name with --tracker a file whose tracker "
            "section says closed_population = false"
        )
    if smooth_s is not None and not 0 < smooth_s <= LONGEST_WINDOW_S:
        raise OfflineInputError(
            f"--smooth-s: expected seconds, more than 0 and at most {LONGEST_WINDOW_S:g}, got {smooth_s:g}; 0.2 is "
            f"a good start"
        )


def check_window(window_s: float, times_ns: NDArray[np.int64]) -> float:
    """Find out whether there are enough frames in a window.

    Args:
        window_s: The window of the smoothing, s.
        times_ns: `(n_frames,)` int64, the time of each, ns.

    Returns:
        The time from one frame to the next, s: the median, or 0 of a single frame.

    Raises:
        OfflineInputError: There are not, or the frames have no times of their own.
    """
    steps_ns = np.diff(np.maximum.accumulate(times_ns))
    period_s = float(np.median(steps_ns)) / 1e9 if len(steps_ns) else 0.0
    if len(steps_ns) and period_s == 0:
        raise OfflineInputError(
            "--smooth-s: expected a video whose frames have times of their own, got one that gives most of them the "
            "time of the frame before; leave out --smooth-s, or write the video anew: ffmpeg -r RATE -i VIDEO NEW.mp4"
        )
    if window_s < (FEWEST_FRAMES - 1.5) * period_s:
        raise OfflineInputError(
            f"--smooth-s: expected {(FEWEST_FRAMES - 1) * period_s:.3g} s or more, the time of {FEWEST_FRAMES} frames "
            f"at {1 / period_s:.4g} frames/s, got {window_s:g}; in fewer frames there is nothing to smooth"
        )
    return period_s


def smoothed(frames: Iterable[TrackedFrame], times_ns: NDArray[np.int64], window_s: float) -> Iterator[TrackedFrame]:
    """Smooth every node of every track over time, without delay.

    A point becomes the value, at its own time, of the parabola that fits its neighbours best (least squares) in the
    frames of a window of `window_s` round it: with frames at even distances the filter of Savitzky and Golay
    (Analytical Chemistry 36, 1964), and at others still right, because it goes by the frames' times. The window lies
    within the run: the frames one after another in which the node is seen, without a step in time of more than half
    the window or of none. At the ends of a run it stops moving, as long as in the middle; a run that is shorter is
    fitted by one parabola, and one of up to three frames stays as it is.

    Nothing is invented: what is seen stays seen, and NaN stays NaN. Scores, tracks and instances without a track stay
    too. A false point pulls those within the window, and so does a track that changes animals. Memory does not grow
    with the video's length.

    Args:
        frames: In ascending order.
        times_ns: `(n_frames,)` int64, the time of each, ns; backward counts as no time passed.
        window_s: From the first to the last frame that decides over a point, s.

    Yields:
        The frames, with points of the type that they had.

    Raises:
        OfflineInputError: `check_window` says why.
    """
    times_s = np.maximum.accumulate(times_ns) / 1e9
    # Containers round: Matroska's frames are up to 1 ms off.
    window = _Window(window_s, slack_s=check_window(window_s, times_ns) / 4)
    source, held, n_read, n_dropped = iter(frames), deque[TrackedFrame](), 0, 0
    for first, end in pairwise([*range(0, len(times_s), BLOCK_FRAMES), len(times_s)]):
        low = int(np.searchsorted(times_s, times_s[first] - window.reach_s))
        high = int(np.searchsorted(times_s, times_s[end - 1] + window.reach_s, "right"))
        held.extend(islice(source, high - n_read))
        for _ in range(low - n_dropped):
            held.popleft()
        n_read, n_dropped = high, low
        yield from islice(_smoothed_block(held, times_s[low:high], window), first - low, end - low)


@dataclass(frozen=True, slots=True)
class _Window:
    """What decides over a point.

    Attributes:
        width_s: Longer than this only by the slack at each end.
        slack_s: How far frames may be from their places.
    """

    width_s: float
    slack_s: float

    @property
    def longest_step_s(self) -> float:
        """What is longer ends a run."""
        return self.width_s / 2

    @property
    def reach_s(self) -> float:
        """No frame farther away decides over a point."""
        return self.width_s + 2 * self.slack_s


def _smoothed_block(
    frames: Sequence[TrackedFrame], times_s: NDArray[np.float64], window: _Window
) -> Iterator[TrackedFrame]:
    counts = [len(frame.tracks) for frame in frames]
    numbers = np.repeat(np.arange(len(counts)), counts)
    tracks = np.concatenate([frame.tracks for frame in frames])
    xy = np.concatenate([frame.xy for frame in frames])
    for track in np.unique(tracks[tracks >= 0]):
        mine = np.flatnonzero(tracks == track)
        points = np.full((len(counts), *xy.shape[1:]), np.nan)
        points[numbers[mine]] = xy[mine]
        xy[mine] = _smoothed_track(points, times_s, window)[numbers[mine]]
    ends = np.cumsum(counts)
    for frame, count, end in zip(frames, counts, ends, strict=True):
        yield replace(frame, xy=xy[end - count : end])


def _smoothed_track(points: NDArray[np.float64], times_s: NDArray[np.float64], window: _Window) -> NDArray[np.float64]:
    """Return the points of one track, `(n_frames, n_nodes, 2)` px; NaN stays."""
    nodes_of = defaultdict[tuple[int, int], list[int]](list)
    seen = np.isfinite(points[:, :, 0]) & np.isfinite(points[:, :, 1])
    steps_s = np.diff(times_s)
    near = (steps_s > 0) & (steps_s <= window.longest_step_s)
    for node in range(points.shape[1]):
        for run in _runs(seen[:, node], near):
            nodes_of[run].append(node)
    result = points.copy()
    for (first, end), nodes in nodes_of.items():
        values = points[first:end, nodes].reshape(end - first, -1)
        result[first:end, nodes] = _fitted(values, times_s[first:end], window).reshape(end - first, -1, 2)
    return result


def _runs(seen: NDArray[np.bool_], near: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the first frame of every run of more than three, and the one after its last.

    Args:
        seen: `(n_frames,)`.
        near: `(n_frames - 1,)`, whether the next frame is near in time.
    """
    goes_on = seen[:-1] & seen[1:] & near
    firsts = np.flatnonzero(seen & ~np.append(False, goes_on))
    ends = np.flatnonzero(seen & ~np.append(goes_on, False)) + 1
    return ((a, b) for a, b in zip(firsts.tolist(), ends.tolist(), strict=True) if b - a > 3)


def _fitted(values: NDArray[np.float64], times_s: NDArray[np.float64], window: _Window) -> NDArray[Any]:
    """Return the parabolas' values for one run, `(n_frames, n_values)`."""
    begins_s = np.maximum(np.minimum(times_s - window.width_s / 2, times_s[-1] - window.width_s), times_s[0])
    low = np.searchsorted(times_s, begins_s - window.slack_s)
    high = np.searchsorted(times_s, begins_s + window.width_s + window.slack_s, "right")
    widest, result = int((high - low).max()), np.empty_like(values)
    step = max(1, AT_ONCE // widest)
    for first in range(0, len(values), step):
        rows = slice(first, first + step)
        at = low[rows, np.newaxis] + np.arange(widest)
        inside = at < high[rows, np.newaxis]
        at = np.minimum(at, len(values) - 1)
        away = (times_s[at] - times_s[rows, np.newaxis]) / window.width_s
        terms = inside[:, :, np.newaxis] * away[:, :, np.newaxis] ** np.arange(3)
        # The value at the point's own time is the first coefficient of the fit; the pseudo-inverse gives it where there
        # are fewer frames than coefficients, too.
        first_row = np.linalg.pinv(terms.mT @ terms, hermitian=True)[:, :, :1]
        result[rows] = np.einsum("ij,ijk->ik", (terms @ first_row)[:, :, 0], values[at])
    return result
