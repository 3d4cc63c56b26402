"""One frame's way through the look-ahead, compiled: who is in it, what came true, how they move, where they will be."""

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled
from realtime.lookahead.filters import follow, forget, predict, seat
from realtime.lookahead.grading import grade, wait
from realtime.lookahead.memory import LONG_AGO_NS, NEVER, Clock, Settings, answer_in, memory_in


@compiled
def look(
    settings: NDArray[np.float64],
    floats: NDArray[np.float64],
    integers: NDArray[np.int64],
    track_ids: NDArray[np.int32],
    xy: NDArray[np.float32],
    corrected_ids: NDArray[np.int32],
    now_ns: int,
    horizon_ns: int,
    true_ns: int,
    answer: NDArray[np.float32],
    flags: NDArray[np.bool_],
) -> int:
    """Take in one frame and predict its animals; return how many groups were switched on or off.

    Args:
        settings: `(7,)`, the fields of `memory.Settings`, then those of `memory.Sizes`.
        floats: Holds the memory, with the next; see `memory.memory_in`.
        integers: The same.
        track_ids: `(n_tracks,)`, at most `max_tracks`.
        xy: `(n_tracks, n_nodes, 2)` px, NaN = not seen.
        corrected_ids: `(n_tracks,)`, not 0 where the row shows another animal than before.
        now_ns: The frame's time. The same time again changes nothing; an earlier one means that the clock was set.
        horizon_ns: How far to look ahead.
        true_ns: How far it turned out to be from the frame before to its stimulus; 0 where that is not known.
        answer: Written; see `memory.answer_in`.
        flags: `(2, max_tracks, n_groups)`, written; see `grading.grade`.
    """
    known = Settings(settings[0], settings[1], settings[2], settings[3])
    max_tracks, n_nodes, n_groups = int(settings[4]), int(settings[5]), int(settings[6])
    memory = memory_in(floats, integers, max_tracks, n_nodes, n_groups)
    written = answer_in(answer, max_tracks, n_nodes, n_groups)
    n_rows, before_ns = track_ids.size, memory.clock[Clock.FRAME_NS]
    latest = memory.clock[Clock.LATEST]
    if latest != NEVER and true_ns > 0:
        memory.target_ns[latest] = before_ns + true_ns
    seat(memory, track_ids)
    if now_ns < before_ns:  # the clock was set: nothing that waits can be graded, no velocity is known
        memory.target_ns[:] = NEVER
        memory.seen_ns[:] = NEVER
        memory.clock[Clock.WAITING_NS] = LONG_AGO_NS
    for row in range(n_rows):
        if corrected_ids[row] != 0:
            forget(memory, memory.slot_of[row])
    n_switched = grade(memory, known, xy, now_ns, written, flags)
    if now_ns != before_ns:
        for row in range(n_rows):
            follow(memory, known, memory.slot_of[row], xy[row], now_ns)
        memory.clock[Clock.FRAME_NS] = now_ns
        wait(memory, n_rows, horizon_ns, now_ns)
    for row in range(n_rows):
        predict(memory, memory.slot_of[row], xy[row], horizon_ns * 1e-9, written, row)
    return int(n_switched)
