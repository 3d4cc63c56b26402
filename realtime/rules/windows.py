"""What a rule remembers of the past, compiled: exact in time, of a fixed size, whatever the frame rate.

Every function with a memory has a slot in its binding's place: the same columns of `moments` (int64: times in ns and
counters) and `amounts` (float64). All zero is "nothing yet". Three kinds of slots:

- `Past`: whether something was true all the time. Two times are enough, so it is exact for any window and frame rate.
  A truth value lasts from its frame to the next one; what was before the first frame is unknown.
- `Average`: the mean of a number over the window. Between two frames it is taken as the mean of the two, and is not
  known where one of them is not. The time is kept in segments from frame to frame. Where frames come closer than a
  `PARTS`-th of the window, several share a segment, so that 64 always reach back far enough; all that is lost is where
  within the oldest segment the window begins.
- `Motion`: where something was a window ago: the newest sample that is at least as old as the window and at most three
  times as old. Samples that come closer than a `PARTS`-th of the window are left out. It belongs to one track, and
  starts anew with another one and where the tracker found out that the track had another one's animal.
"""

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner
from realtime.rules.shapes import distance, wrapped

RING = 64
PARTS = 48  # a window and the time before its beginning, in segments or samples, have to fit into the ring


class Past(IntEnum):
    """Columns of a slot."""

    VALUE = 0  # of the last frame: 0 for no frame yet, else see `_code`
    HAS_BEEN_FALSE = 1
    FALSE_UNTIL_NS = 2
    UNKNOWN_UNTIL_NS = 3
    SIZE = 4


class Average(IntEnum):
    """Columns of a slot; `moments`, but for `LAST` and `AREAS`, which are `amounts`."""

    HAS_LAST = 0
    N_SEGMENTS = 1
    NEXT = 2
    LAST_NS = 3
    STARTS_NS = 4
    STOPS_NS = STARTS_NS + RING
    KNOWN_NS = STOPS_NS + RING  # how much of the segment's time is known
    SIZE = KNOWN_NS + RING
    LAST = 0
    AREAS = STARTS_NS  # value times known ns


class Motion(IntEnum):
    """Columns of a slot; `moments`, but for `X` and `Y`, which are `amounts`."""

    TRACK_ID = 0
    N_SAMPLES = 1
    NEXT = 2
    TIMES_NS = 3
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
def held(moments: NDArray[np.int64], place: int, slot: int, now_ns: int, window_ns: float, truth: float) -> float:
    """Return whether something was true all the time from `window_ns` ago until now, and remember this frame.

    Kleene's `and` over all moments of the window: 0 as soon as it was false at one of them, NaN where it was unknown at
    one of them and false at none.
    """
    now, before = _code(truth), moments[place, slot + Past.VALUE]
    if _FALSE in (before, now):
        moments[place, slot + Past.HAS_BEEN_FALSE] = 1
        moments[place, slot + Past.FALSE_UNTIL_NS] = now_ns
    if before in (0, _UNKNOWN) or now == _UNKNOWN:
        moments[place, slot + Past.UNKNOWN_UNTIL_NS] = now_ns
    moments[place, slot + Past.VALUE] = now
    start_ns = now_ns - int(window_ns)
    if now == _FALSE:
        return 0.0
    if moments[place, slot + Past.HAS_BEEN_FALSE] and moments[place, slot + Past.FALSE_UNTIL_NS] > start_ns:
        return 0.0
    if now == _UNKNOWN or moments[place, slot + Past.UNKNOWN_UNTIL_NS] > start_ns:
        return math.nan
    return 1.0


@inner
def rising(moments: NDArray[np.int64], place: int, slot: int, truth: float) -> float:
    """Return Kleene's `truth and it was false in the frame before`, and remember this frame."""
    before = moments[place, slot + Past.VALUE]
    moments[place, slot + Past.VALUE] = _code(truth)
    if truth == 0.0 or before == _TRUE:
        return 0.0
    return 1.0 if truth == 1.0 and before == _FALSE else math.nan


@inner
def _extend(
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    place: int,
    slot: int,
    now_ns: int,
    window_ns: float,
    value: float,
) -> None:
    """Add the time since the last frame to the segments."""
    last_ns, last = moments[place, slot + Average.LAST_NS], amounts[place, slot + Average.LAST]
    is_known = not (math.isnan(value) or math.isnan(last))
    newest = (moments[place, slot + Average.NEXT] - 1) % RING
    is_full = moments[place, slot + Average.N_SEGMENTS] == 0 or (
        (moments[place, slot + Average.STOPS_NS + newest] - moments[place, slot + Average.STARTS_NS + newest]) * PARTS
        >= window_ns
    )
    if is_full:
        newest = (newest + 1) % RING
        moments[place, slot + Average.NEXT] = (newest + 1) % RING
        moments[place, slot + Average.N_SEGMENTS] = min(moments[place, slot + Average.N_SEGMENTS] + 1, RING)
        moments[place, slot + Average.STARTS_NS + newest] = last_ns
        moments[place, slot + Average.KNOWN_NS + newest] = 0
        amounts[place, slot + Average.AREAS + newest] = 0.0
    moments[place, slot + Average.STOPS_NS + newest] = now_ns
    if is_known:
        moments[place, slot + Average.KNOWN_NS + newest] += now_ns - last_ns
        amounts[place, slot + Average.AREAS + newest] += (last + value) / 2.0 * (now_ns - last_ns)


@inner
def mean(
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    place: int,
    slot: int,
    now_ns: int,
    window_ns: float,
    value: float,
) -> float:
    """Return the mean of a number over the known time of the window, and remember this frame.

    Returns:
        The mean; NaN where less than half of the window is known.
    """
    if moments[place, slot + Average.HAS_LAST]:
        _extend(moments, amounts, place, slot, now_ns, window_ns, value)
    moments[place, slot + Average.HAS_LAST] = 1
    moments[place, slot + Average.LAST_NS] = now_ns
    amounts[place, slot + Average.LAST] = value
    start_ns = now_ns - int(window_ns)
    area, known_ns = 0.0, 0.0
    for back in range(1, moments[place, slot + Average.N_SEGMENTS] + 1):
        segment = (moments[place, slot + Average.NEXT] - back) % RING
        first_ns = moments[place, slot + Average.STARTS_NS + segment]
        stop_ns = moments[place, slot + Average.STOPS_NS + segment]
        if stop_ns <= start_ns:
            break
        share = 1.0 if first_ns >= start_ns else (stop_ns - start_ns) / (stop_ns - first_ns)
        area += share * amounts[place, slot + Average.AREAS + segment]
        known_ns += share * moments[place, slot + Average.KNOWN_NS + segment]
    return area / known_ns if 2.0 * known_ns >= window_ns else math.nan


@inner
def _sample_before(
    moments: NDArray[np.int64],
    place: int,
    slot: int,
    track_id: int,
    is_another: bool,
    now_ns: int,
    window_ns: float,
) -> int:
    """Return which sample is a window old, -1 for none; forget all of them where the track shows another animal."""
    if track_id == 0:
        return -1
    if is_another or moments[place, slot + Motion.TRACK_ID] != track_id:
        moments[place, slot + Motion.TRACK_ID] = track_id
        moments[place, slot + Motion.N_SAMPLES] = 0
    for back in range(1, moments[place, slot + Motion.N_SAMPLES] + 1):
        sample = (moments[place, slot + Motion.NEXT] - back) % RING
        age_ns = now_ns - moments[place, slot + Motion.TIMES_NS + sample]
        if age_ns >= window_ns:
            return int(sample) if age_ns <= 3.0 * window_ns else -1
    return -1


@inner
def _keep(
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    place: int,
    slot: int,
    now_ns: int,
    window_ns: float,
    x: float,
    y: float,
) -> None:
    """Remember where something is now, if that is known and the last sample is not too close in time."""
    if math.isnan(x) or math.isnan(y):
        return
    following, count = moments[place, slot + Motion.NEXT], moments[place, slot + Motion.N_SAMPLES]
    newest_ns = moments[place, slot + Motion.TIMES_NS + (following - 1) % RING]
    if count and (now_ns - newest_ns) * PARTS < window_ns:
        return
    moments[place, slot + Motion.TIMES_NS + following] = now_ns
    amounts[place, slot + Motion.X + following] = x
    amounts[place, slot + Motion.Y + following] = y
    moments[place, slot + Motion.NEXT] = (following + 1) % RING
    moments[place, slot + Motion.N_SAMPLES] = min(count + 1, RING)


@inner
def speed(
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    place: int,
    slot: int,
    track_id: int,
    is_another: bool,
    now_ns: int,
    window_ns: float,
    x: float,
    y: float,
) -> float:
    """Return how far a point is from where it was a window ago, px/s, and remember it; NaN where one is not known."""
    sample = _sample_before(moments, place, slot, track_id, is_another, now_ns, window_ns)
    result = math.nan
    if sample >= 0:
        way = distance(amounts[place, slot + Motion.X + sample], amounts[place, slot + Motion.Y + sample], x, y)
        result = way / ((now_ns - moments[place, slot + Motion.TIMES_NS + sample]) * 1e-9)
    if track_id != 0:
        _keep(moments, amounts, place, slot, now_ns, window_ns, x, y)
    return result


@inner
def approach_speed(
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    place: int,
    slot: int,
    track_id: int,
    is_another: bool,
    now_ns: int,
    window_ns: float,
    x: float,
    y: float,
    to_x: float,
    to_y: float,
) -> float:
    """Return by how much a point came nearer to where another one is now since a window ago, px/s, and remember it."""
    sample = _sample_before(moments, place, slot, track_id, is_another, now_ns, window_ns)
    result = math.nan
    if sample >= 0:
        was_x, was_y = amounts[place, slot + Motion.X + sample], amounts[place, slot + Motion.Y + sample]
        nearer = distance(was_x, was_y, to_x, to_y) - distance(x, y, to_x, to_y)
        result = nearer / ((now_ns - moments[place, slot + Motion.TIMES_NS + sample]) * 1e-9)
    if track_id != 0:
        _keep(moments, amounts, place, slot, now_ns, window_ns, x, y)
    return result


@inner
def angular_speed(
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    place: int,
    slot: int,
    track_id: int,
    is_another: bool,
    now_ns: int,
    window_ns: float,
    heading: float,
) -> float:
    """Return by how much a heading turned since a window ago, either way, deg/s, and remember it.

    The heading is followed from sample to sample, so that more than half a turn within the window counts as such.
    """
    sample = _sample_before(moments, place, slot, track_id, is_another, now_ns, window_ns)
    if moments[place, slot + Motion.N_SAMPLES]:
        newest = (moments[place, slot + Motion.NEXT] - 1) % RING
        last = amounts[place, slot + Motion.X + newest]
        heading = last + wrapped(heading - last, 180.0)
    result = math.nan
    if sample >= 0:
        turned = abs(heading - amounts[place, slot + Motion.X + sample])
        result = turned / ((now_ns - moments[place, slot + Motion.TIMES_NS + sample]) * 1e-9)
    if track_id != 0:
        _keep(moments, amounts, place, slot, now_ns, window_ns, heading, 0.0)
    return result
