"""Grading: each prediction waits for the frame of its time, and what is worse than no prediction is switched off.

What came is where the nodes were at that time, between the two frames on either side of it on a straight line. A
prediction's error is how far its nodes were from there, mean over the nodes, px; that of no prediction is how far the
pose was from there with which the prediction began. Both are averaged over `grade_s`, whether the predictions were used
or not: so what has been switched off can come back.
"""

import math

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner
from realtime.lookahead.memory import N_PENDING, NEVER, Answer, Clock, Memory, Settings

SPACING = 48
"""Predictions wait that were made this share of a horizon apart, or more: so those of a whole horizon find room."""

BACK = 0.95
"""What was switched off comes back when its error has become less than this share of the error of no prediction."""

PROVEN = 0.2
"""Share of `grade_s` that has to be graded before anything is switched: one stride is no proof."""


@inner
def grade(
    memory: Memory, settings: Settings, xy: NDArray[np.float32], now_ns: int, answer: Answer, flags: NDArray[np.bool_]
) -> int:
    """Hold predictions whose time has come against a frame, before it is taken in; return how many groups switched.

    Args:
        memory: Of the frames before.
        settings: How.
        xy: `(n_tracks, n_nodes, 2)` px, the rows of the frame.
        now_ns: Its time.
        answer: The errors are written there, NaN where no prediction was graded.
        flags: `(2, max_tracks, n_groups)`, written: whether each group is on, whether it switched in this frame.
    """
    before_ns = memory.clock[Clock.FRAME_NS]
    memory.errors[: xy.shape[0]] = 0.0
    for place in range(N_PENDING):
        target_ns = memory.target_ns[place]
        if target_ns == NEVER or target_ns > now_ns:
            continue
        memory.target_ns[place] = NEVER
        share = (target_ns - before_ns) / (now_ns - before_ns)
        for row in range(xy.shape[0]):
            slot = memory.slot_of[row]
            if memory.waiting_ids[place, slot] == memory.ids[slot]:
                _add_errors(memory, place, slot, xy[row], share, row)
    n_switched = 0
    for row in range(xy.shape[0]):
        for group in range(memory.is_on.shape[1]):
            was_on = memory.is_on[memory.slot_of[row], group]
            _conclude(memory, settings, row, group, (now_ns - before_ns) * 1e-9, answer)
            is_on = memory.is_on[memory.slot_of[row], group]
            flags[0, row, group] = is_on == 1
            flags[1, row, group] = is_on != was_on
            n_switched += is_on != was_on
    return n_switched


@inner
def _add_errors(memory: Memory, place: int, slot: int, xy: NDArray[np.float32], share: float, row: int) -> None:
    """Add the errors of one prediction of one track, whose time is at a share of the way from the last frame."""
    for node in range(xy.shape[0]):
        group = memory.group_of[node]
        if group < 0 or memory.seen_ns[slot, group] != memory.clock[Clock.FRAME_NS]:
            continue
        x = memory.pose[slot, node, 0] + share * (xy[node, 0] - memory.pose[slot, node, 0])
        y = memory.pose[slot, node, 1] + share * (xy[node, 1] - memory.pose[slot, node, 1])
        off_x, off_y = x - memory.waiting_pose[place, slot, node, 0], y - memory.waiting_pose[place, slot, node, 1]
        dx, dy = memory.waiting_shift[place, slot, group, 0], memory.waiting_shift[place, slot, group, 1]
        if not (math.isnan(off_x) or math.isnan(dx)):
            memory.errors[row, group, 0] += math.hypot(off_x - dx, off_y - dy)
            memory.errors[row, group, 1] += math.hypot(off_x, off_y)
            memory.errors[row, group, 2] += 1.0


@inner
def _conclude(memory: Memory, settings: Settings, row: int, group: int, elapsed_s: float, answer: Answer) -> None:
    """Take the errors of one group of one row into its grade, and switch it where that says so."""
    count = memory.errors[row, group, 2]
    answer.error_px[row, group] = answer.pose_error_px[row, group] = np.nan
    if count == 0.0:
        return
    slot, grade_of = memory.slot_of[row], memory.graded[memory.slot_of[row], group]
    error_px, pose_error_px = memory.errors[row, group, 0] / count, memory.errors[row, group, 1] / count
    answer.error_px[row, group], answer.pose_error_px[row, group] = error_px, pose_error_px
    lasting_s = min(elapsed_s, settings.grade_s)
    left = math.exp(-lasting_s / settings.grade_s)
    grade_of[0] = left * grade_of[0] + lasting_s * error_px
    grade_of[1] = left * grade_of[1] + lasting_s * pose_error_px
    grade_of[2] = left * grade_of[2] + lasting_s
    if grade_of[2] < PROVEN * settings.grade_s:
        return
    if grade_of[0] > grade_of[1]:
        memory.is_on[slot, group] = 0
    elif grade_of[0] < BACK * grade_of[1]:
        memory.is_on[slot, group] = 1


@inner
def wait(memory: Memory, n_rows: int, horizon_ns: int, now_ns: int) -> None:
    """Keep the predictions of the frame that was just taken in, unless the last ones are too close."""
    memory.clock[Clock.LATEST] = NEVER
    if horizon_ns <= 0 or now_ns - memory.clock[Clock.WAITING_NS] < horizon_ns // SPACING:
        return
    place = memory.clock[Clock.NEXT]
    memory.clock[Clock.NEXT] = (place + 1) % N_PENDING
    memory.clock[Clock.LATEST] = place
    memory.clock[Clock.WAITING_NS] = now_ns
    memory.target_ns[place] = now_ns + horizon_ns
    memory.waiting_ids[place] = 0
    for row in range(n_rows):
        slot = memory.slot_of[row]
        memory.waiting_ids[place, slot] = memory.ids[slot]
        for node in range(memory.group_of.size):
            memory.waiting_pose[place, slot, node, 0] = memory.pose[slot, node, 0]
            memory.waiting_pose[place, slot, node, 1] = memory.pose[slot, node, 1]
        for group in range(memory.is_on.shape[1]):
            is_seen = memory.seen_ns[slot, group] == now_ns
            for axis in range(2):
                shift = memory.velocity[slot, group, axis] * (horizon_ns * 1e-9)
                memory.waiting_shift[place, slot, group, axis] = shift if is_seen else np.nan
