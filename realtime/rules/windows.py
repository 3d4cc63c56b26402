"""What a rule remembers of the past, compiled: exact in time, of a fixed size, whatever the frame rate.

Every function with a memory has a slot in its binding's place: the same columns of `moments` (int64: times in ns and
counters) and `amounts` (float64), which it is given. Moments that are all zero are "nothing yet". Three kinds of slots:

- `Past`: whether something was true all the time. Two times are enough, so it is exact for any window and frame rate.
  A truth value lasts from its frame to the next one; what was before the first frame is unknown.
- `Average`: the mean of a number over the window. Between two frames it is taken as the mean of the two, and is not
  known where one of them is not. The time is kept in segments from frame to frame. Where frames come closer than a
  `PARTS`-th of the window, several share a segment, so that 64 always reach back far enough; all that is lost is where
  within the oldest segment the window begins. What lies between the oldest and the newest segment is not added up in
  every frame, nor is what leaves the window subtracted, which would keep every rounding for ever: once a window the
  sums from each segment on are written down (`SUMS`), and to these comes what was closed since (`SINCE`).
- `Motion`: where something was a window ago: the newest sample that is at least as old as the window and at most three
  times as old. Samples that come closer than a `PARTS`-th of the window are left out. It belongs to one track, and
  starts anew with another one and where the tracker found out that the track had another one's animal.
"""

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inlined, inner
from realtime.rules.shapes import distance, wrapped

RING = 64  # a power of two, so that a place in it is a few bits
PARTS = 48  # a window and the time before its beginning, in segments or samples, have to fit into the ring


class Past(IntEnum):
    """Columns of a slot."""

    VALUE = 0  # of the last frame: 0 for no frame yet, else see `_code`
    HAS_BEEN_FALSE = 1
    FALSE_UNTIL_NS = 2
    UNKNOWN_UNTIL_NS = 3
    SIZE = 4


class Average(IntEnum):
    """Columns of a slot of `moments`, and then of `amounts`. Segments lie in a ring from `OLDEST` to `NEWEST`."""

    HAS_LAST = 0
    HAS_SEGMENTS = 1
    OLDEST = 2  # the one in which the window begins
    NEWEST = 3  # the one that still grows
    SUMMED = 4  # up to this one `SUMS` go
    BETWEEN_NS = 5  # how much is known of the time between the oldest and the newest
    LAST_NS = 6
    STARTS_NS = 7
    STOPS_NS = STARTS_NS + RING
    KNOWN_NS = STOPS_NS + RING  # how much of the segment's time is known
    SIZE = KNOWN_NS + RING
    LAST = 0
    SINCE = 1  # areas of the segments from `SUMMED` on, without the newest
    AREAS = STARTS_NS  # value times known ns
    SUMS = AREAS + RING  # areas of all segments from this one on up to `SUMMED`


class Motion(IntEnum):
    """Columns of a slot; `moments`, but for `X` and `Y`, which are `amounts`."""

    TRACK_ID = 0
    N_SAMPLES = 1
    N_YOUNGER = 2  # of those, how many are younger than the window
    NEXT = 3
    TIMES_NS = 4
    SIZE = TIMES_NS + 2 * RING
    X = TIMES_NS
    Y = TIMES_NS + RING


_FALSE, _TRUE, _UNKNOWN = 1, 2, 3


@inner
def _code(truth: float) -> int:
    if math.isnan(truth):
        return _UNKNOWN
    return _TRUE if truth == 1.0 else _FALSE


@inner
def held(moments: NDArray[np.int64], now_ns: int, window_ns: float, truth: float) -> float:
    """Return whether something was true all the time from `window_ns` ago until now, and remember this frame.

    Kleene's `and` over all moments of the window: 0 as soon as it was false at one of them, NaN where it was unknown at
    one of them and false at none.
    """
    now, before = _code(truth), moments[Past.VALUE]
    if _FALSE in (before, now):
        moments[Past.HAS_BEEN_FALSE] = 1
        moments[Past.FALSE_UNTIL_NS] = now_ns
    if before in (0, _UNKNOWN) or now == _UNKNOWN:
        moments[Past.UNKNOWN_UNTIL_NS] = now_ns
    moments[Past.VALUE] = now
    start_ns = now_ns - int(window_ns)
    if now == _FALSE:
        return 0.0
    if moments[Past.HAS_BEEN_FALSE] and moments[Past.FALSE_UNTIL_NS] > start_ns:
        return 0.0
    if now == _UNKNOWN or moments[Past.UNKNOWN_UNTIL_NS] > start_ns:
        return math.nan
    return 1.0


@inner
def rising(moments: NDArray[np.int64], truth: float) -> float:
    """Return Kleene's `truth and it was false in the frame before`, and remember this frame."""
    before = moments[Past.VALUE]
    moments[Past.VALUE] = _code(truth)
    if truth == 0.0 or before == _TRUE:
        return 0.0
    return 1.0 if truth == 1.0 and before == _FALSE else math.nan


@inner
def _open_segment(moments: NDArray[np.int64], amounts: NDArray[np.float64], start_ns: int) -> None:
    """Close the newest segment, if there is one, and begin the next."""
    oldest, newest = moments[Average.OLDEST], moments[Average.NEWEST]
    following = (newest + 1) & (RING - 1)
    if not moments[Average.HAS_SEGMENTS]:
        oldest = following
        moments[Average.HAS_SEGMENTS] = 1
        moments[Average.OLDEST] = oldest
        moments[Average.SUMMED] = (following + 1) & (RING - 1)
        amounts[Average.SINCE] = 0.0
    elif newest != oldest:
        amounts[Average.SINCE] += amounts[Average.AREAS + newest]
        moments[Average.BETWEEN_NS] += moments[Average.KNOWN_NS + newest]
    moments[Average.NEWEST] = following
    moments[Average.STARTS_NS + following] = start_ns
    moments[Average.STOPS_NS + following] = start_ns
    moments[Average.KNOWN_NS + following] = 0
    amounts[Average.AREAS + following] = 0.0


@inner
def _extend(
    moments: NDArray[np.int64], amounts: NDArray[np.float64], now_ns: int, window_ns: float, value: float
) -> None:
    """Add the time since the last frame to the segments."""
    last_ns, last = moments[Average.LAST_NS], amounts[Average.LAST]
    newest = moments[Average.NEWEST]
    length_ns = moments[Average.STOPS_NS + newest] - moments[Average.STARTS_NS + newest]
    if not moments[Average.HAS_SEGMENTS] or length_ns * PARTS >= window_ns:
        _open_segment(moments, amounts, last_ns)
        newest = moments[Average.NEWEST]
    moments[Average.STOPS_NS + newest] = now_ns
    if not (math.isnan(value) or math.isnan(last)):
        moments[Average.KNOWN_NS + newest] += now_ns - last_ns
        amounts[Average.AREAS + newest] += (last + value) / 2.0 * (now_ns - last_ns)


@inner
def _leave_behind(moments: NDArray[np.int64], amounts: NDArray[np.float64], start_ns: int) -> None:
    """Forget the segments that ended before the window begins."""
    oldest, newest = moments[Average.OLDEST], moments[Average.NEWEST]
    while oldest != newest and moments[Average.STOPS_NS + oldest] <= start_ns:
        oldest = (oldest + 1) & (RING - 1)
        if oldest != newest:
            moments[Average.BETWEEN_NS] -= moments[Average.KNOWN_NS + oldest]
        if oldest == moments[Average.SUMMED]:
            total, segment = 0.0, newest
            while oldest != newest and segment != (oldest + 1) & (RING - 1):
                segment = (segment - 1) & (RING - 1)
                total += amounts[Average.AREAS + segment]
                amounts[Average.SUMS + segment] = total
            moments[Average.SUMMED] = newest if oldest != newest else (newest + 1) & (RING - 1)
            amounts[Average.SINCE] = 0.0
    moments[Average.OLDEST] = oldest


@inlined
def mean(
    moments: NDArray[np.int64], amounts: NDArray[np.float64], now_ns: int, window_ns: float, value: float
) -> float:
    """Return the mean of a number over the known time of the window, and remember this frame.

    Returns:
        The mean; NaN where less than half of the window is known.
    """
    if moments[Average.HAS_LAST]:
        _extend(moments, amounts, now_ns, window_ns, value)
    moments[Average.HAS_LAST] = 1
    moments[Average.LAST_NS] = now_ns
    amounts[Average.LAST] = value
    if not moments[Average.HAS_SEGMENTS]:
        return math.nan
    start_ns = now_ns - int(window_ns)
    _leave_behind(moments, amounts, start_ns)
    oldest, newest = moments[Average.OLDEST], moments[Average.NEWEST]
    first_ns, stop_ns = moments[Average.STARTS_NS + oldest], moments[Average.STOPS_NS + oldest]
    share = 1.0 if first_ns >= start_ns else (stop_ns - start_ns) / (stop_ns - first_ns)
    area = share * amounts[Average.AREAS + oldest]
    known_ns = share * moments[Average.KNOWN_NS + oldest]
    if oldest != newest:
        following = (oldest + 1) & (RING - 1)
        if following != moments[Average.SUMMED]:
            area += amounts[Average.SUMS + following]
        area += amounts[Average.SINCE] + amounts[Average.AREAS + newest]
        known_ns += moments[Average.BETWEEN_NS] + moments[Average.KNOWN_NS + newest]
    return area / known_ns if 2.0 * known_ns >= window_ns else math.nan


@inner
def belongs_to(moments: NDArray[np.int64], track_id: int, is_another: bool) -> None:
    """Forget every sample of a motion if they are of another track, or the track has another one's animal."""
    if is_another or moments[Motion.TRACK_ID] != track_id:
        moments[Motion.TRACK_ID] = track_id
        moments[Motion.N_SAMPLES] = 0
        moments[Motion.N_YOUNGER] = 0


@inner
def unwrapped(moments: NDArray[np.int64], amounts: NDArray[np.float64], heading: float) -> float:
    """Return a heading followed from the last sample, so that more than half a turn within a window counts as such."""
    if not moments[Motion.N_SAMPLES]:
        return heading
    newest = (moments[Motion.NEXT] - 1) & (RING - 1)
    last = amounts[Motion.X + newest]
    return float(last + wrapped(heading - last, 180.0))


@inner
def _sample_before(moments: NDArray[np.int64], now_ns: int, window_ns: float) -> int:
    """Return which sample is a window old, -1 for none."""
    following, n_younger = moments[Motion.NEXT], moments[Motion.N_YOUNGER]
    while n_younger:
        oldest_ns = moments[Motion.TIMES_NS + ((following - n_younger) & (RING - 1))]
        if now_ns - oldest_ns < window_ns:
            break
        n_younger -= 1
    moments[Motion.N_YOUNGER] = n_younger
    if n_younger == moments[Motion.N_SAMPLES]:
        return -1
    sample = (following - 1 - n_younger) & (RING - 1)
    return int(sample) if now_ns - moments[Motion.TIMES_NS + sample] <= 3.0 * window_ns else -1


@inner
def _keep(
    moments: NDArray[np.int64], amounts: NDArray[np.float64], now_ns: int, window_ns: float, x: float, y: float
) -> None:
    """Remember where something is now, if that is known and the last sample is not too close in time."""
    if math.isnan(x) or math.isnan(y):
        return
    following, count = moments[Motion.NEXT], moments[Motion.N_SAMPLES]
    newest_ns = moments[Motion.TIMES_NS + ((following - 1) & (RING - 1))]
    if count and (now_ns - newest_ns) * PARTS < window_ns:
        return
    moments[Motion.TIMES_NS + following] = now_ns
    amounts[Motion.X + following] = x
    amounts[Motion.Y + following] = y
    moments[Motion.NEXT] = (following + 1) & (RING - 1)
    moments[Motion.N_YOUNGER] += 1
    moments[Motion.N_SAMPLES] = min(count + 1, RING)


@inlined
def speed(
    moments: NDArray[np.int64], amounts: NDArray[np.float64], now_ns: int, window_ns: float, x: float, y: float
) -> float:
    """Return how far a point is from where it was a window ago, per second, and remember it; NaN where not known."""
    sample = _sample_before(moments, now_ns, window_ns)
    result = math.nan
    if sample >= 0:
        was_x, was_y = amounts[Motion.X + sample], amounts[Motion.Y + sample]
        seconds = (now_ns - moments[Motion.TIMES_NS + sample]) * 1e-9
        result = distance(was_x, was_y, x, y) / seconds
    _keep(moments, amounts, now_ns, window_ns, x, y)
    return result


@inlined
def approach_speed(
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    now_ns: int,
    window_ns: float,
    x: float,
    y: float,
    to_x: float,
    to_y: float,
) -> float:
    """Return by how much a point came nearer to where another one is now since a window ago, px/s, and remember it."""
    sample = _sample_before(moments, now_ns, window_ns)
    result = math.nan
    if sample >= 0:
        was_x, was_y = amounts[Motion.X + sample], amounts[Motion.Y + sample]
        seconds = (now_ns - moments[Motion.TIMES_NS + sample]) * 1e-9
        result = (distance(was_x, was_y, to_x, to_y) - distance(x, y, to_x, to_y)) / seconds
    _keep(moments, amounts, now_ns, window_ns, x, y)
    return result
