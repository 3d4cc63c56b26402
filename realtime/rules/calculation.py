"""The stack machine that calculates a rule's expressions.

On the stack a truth value is 1 (true), 0 (false) or NaN (unknown), and an unknown quantity is NaN. Logic is Kleene's:
`false and unknown` is false, `true or unknown` is true. Every operation is run in every frame, whatever the others
give, so that what a rule remembers does not depend on it.
"""

# An interpreter is one branch for each operation.
# ruff: noqa: PLR0911, PLR0912, PLR0915

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner
from realtime.decision import State
from realtime.rules import shapes, windows

_NO_PAIR = -2  # the row of an animal that is not asked for; -1 is one that is absent


class Op(IntEnum):
    """Operations. A row of code is (operation, a, b, c); the operands are named here."""

    CONSTANT = 0  # index into the constants
    POINT = 1  # role, node; pushes x, y
    RECORD = 2  # index into the recorded values; leaves the stack as it is
    DISTANCE = 3  # pops two points
    FACING = 4  # pops back, front, centre and target points
    HEADING = 5  # pops back and front points
    ORIENTATION = 6  # pops back and front points of two animals
    NEAREST = 7  # role, role; which of them is predicted: 1 = the first, 2 = the second, 3 = both
    IN_ZONE = 8  # index of the zone's first constant; pops a point
    COUNT_IN_ZONE = 9  # index of the zone's first constant, node
    VISIBLE = 10  # role, node or -1 for any node
    SCORE = 11  # role, node
    CONFIDENCE = 12  # role
    IDENTITY_CONFIDENCE = 13  # role
    SWAP_SUSPECTED = 14  # role
    # With a memory: first column of the slot, index of the constant that is the window in ns, role.
    HELD = 15  # pops a truth value
    RISING = 16  # pops a truth value
    MEAN = 17  # pops a number or a truth value
    SPEED = 18  # pops a point
    APPROACH_SPEED = 19  # pops two points
    ANGULAR_SPEED = 20  # pops a heading
    NEGATIVE = 21
    WRAP = 22  # index of the constant that is a half turn
    NOT = 23
    AND = 24
    OR = 25
    ABS = 26
    # From here on two quantities make one, see `_combined`.
    ADD = 27
    SUBTRACT = 28
    MULTIPLY = 29
    DIVIDE = 30
    MIN = 31
    MAX = 32
    LESS = 33
    LESS_EQUAL = 34
    GREATER = 35
    GREATER_EQUAL = 36
    # Not a quantity of two: calculated before those.
    STATE = 37  # column of the other rule; role and role of the pair that is asked for, -1 for none
    PREDICTED_POINT = 38  # role, node; pushes x, y


@inner
def pair_index(one: int, other: int, first: int, stop: int) -> int:
    """Return the place of an ordered pair of two different rows among those of rows `first` to `stop`."""
    return (one - first) * (stop - first - 1) + (other - first) - (1 if other > one else 0)


@inner
def _is_visible(xy: NDArray[np.float32], row: int, node: int) -> float:
    if row < 0:
        return 0.0
    for k in range(xy.shape[1]):
        if node in (-1, k) and not (math.isnan(xy[row, k, 0]) or math.isnan(xy[row, k, 1])):
            return 1.0
    return 0.0


@inner
def _is_suspected(suspect_ids: NDArray[np.int32], row: int) -> float:
    if row < 0:
        return math.nan
    return 1.0 if suspect_ids[row] != 0 else 0.0


@inner
def _state(
    states: NDArray[np.int8], frame: int, column: int, one: int, other: int, first_row: int, stop_row: int
) -> float:
    """Return what another rule said of a frame as a truth value; of one pair of rows where `one` is not -2."""
    state = int(states[frame, column, 0])
    if one != _NO_PAIR:
        if one < 0 or other < 0 or one == other:
            return math.nan
        state = int(states[frame, column, 1 + pair_index(one, other, first_row, stop_row)])
    if state == State.UNKNOWN:
        return math.nan
    return 1.0 if state == State.ON else 0.0


@inner
def _combined(op: int, left: float, right: float) -> float:
    """Return one arithmetic operation or comparison of two known or unknown quantities."""
    if math.isnan(left) or math.isnan(right):
        return math.nan
    if op == Op.ADD:
        return left + right
    if op == Op.SUBTRACT:
        return left - right
    if op == Op.MULTIPLY:
        return left * right
    if op == Op.DIVIDE:
        return left / right if right != 0.0 else math.nan
    if op == Op.MIN:
        return min(left, right)
    if op == Op.MAX:
        return max(left, right)
    if op == Op.LESS:
        return 1.0 if left < right else 0.0
    if op == Op.LESS_EQUAL:
        return 1.0 if left <= right else 0.0
    if op == Op.GREATER:
        return 1.0 if left > right else 0.0
    return 1.0 if left >= right else 0.0


@inner
def kleene_and(left: float, right: float) -> float:
    """Return `left and right` of two truth values."""
    if left == 0.0 or right == 0.0:
        return 0.0
    return 1.0 if left == 1.0 and right == 1.0 else math.nan


@inner
def _remembered(
    op: int,
    slot: int,
    window_ns: float,
    row: int,
    now_ns: int,
    is_sure: bool,
    place: int,
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    track_ids: NDArray[np.int32],
    corrected_ids: NDArray[np.int32],
    stack: NDArray[np.float64],
    at: int,
) -> float:
    """Return one operation with a memory, of the numbers on the stack from `at` on.

    While it is not sure who is who, nothing is known that could be remembered.
    """
    value = stack[at] if is_sure else math.nan
    if op == Op.HELD:
        return windows.held(moments, place, slot, now_ns, window_ns, value)
    if op == Op.RISING:
        return windows.rising(moments, place, slot, value)
    if op == Op.MEAN:
        return windows.mean(moments, amounts, place, slot, now_ns, window_ns, value)
    track_id = int(track_ids[row]) if row >= 0 else 0
    is_another = row >= 0 and corrected_ids[row] != 0
    if op == Op.ANGULAR_SPEED:
        return windows.angular_speed(moments, amounts, place, slot, track_id, is_another, now_ns, window_ns, value)
    y = stack[at + 1]
    if op == Op.SPEED:
        return windows.speed(moments, amounts, place, slot, track_id, is_another, now_ns, window_ns, value, y)
    return windows.approach_speed(
        moments,
        amounts,
        place,
        slot,
        track_id,
        is_another,
        now_ns,
        window_ns,
        value,
        y,
        stack[at + 2],
        stack[at + 3],
    )


@inner
def calculate(
    code: NDArray[np.int32],
    constants: NDArray[np.float64],
    states: NDArray[np.int8],
    frame: int,
    rows: NDArray[np.int64],
    first_row: int,
    stop_row: int,
    now_ns: int,
    is_sure: bool,
    place: int,
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    track_ids: NDArray[np.int32],
    xy: NDArray[np.float32],
    predicted_xy: NDArray[np.float32],
    node_scores: NDArray[np.float32],
    identity_confidence: NDArray[np.float32],
    suspect_ids: NDArray[np.int32],
    corrected_ids: NDArray[np.int32],
    stack: NDArray[np.float64],
    values: NDArray[np.float64],
) -> None:
    """Run the code, which leaves its results on the stack, and write the numbers compared to `values`."""
    top = -1
    for pc in range(code.shape[0]):
        op, a, b, c = code[pc, 0], code[pc, 1], code[pc, 2], code[pc, 3]
        if op == Op.CONSTANT:
            top += 1
            stack[top] = constants[a]
        elif op == Op.POINT:
            top += 2
            row = rows[a]
            stack[top - 1] = xy[row, b, 0] if row >= 0 else math.nan
            stack[top] = xy[row, b, 1] if row >= 0 else math.nan
        elif op == Op.PREDICTED_POINT:
            top += 2
            row = rows[a]
            stack[top - 1] = predicted_xy[row, b, 0] if row >= 0 else math.nan
            stack[top] = predicted_xy[row, b, 1] if row >= 0 else math.nan
        elif op == Op.RECORD:
            values[a] = stack[top]
        elif op == Op.DISTANCE:
            top -= 3
            stack[top] = shapes.distance(stack[top], stack[top + 1], stack[top + 2], stack[top + 3])
        elif op == Op.FACING:
            top -= 7
            back_x, back_y, front_x, front_y = stack[top], stack[top + 1], stack[top + 2], stack[top + 3]
            centre_x, centre_y, target_x, target_y = stack[top + 4], stack[top + 5], stack[top + 6], stack[top + 7]
            stack[top] = shapes.angle_between(
                front_x - back_x, front_y - back_y, target_x - centre_x, target_y - centre_y
            )
        elif op == Op.HEADING:
            top -= 3
            stack[top] = shapes.direction(stack[top + 2] - stack[top], stack[top + 3] - stack[top + 1])
        elif op == Op.ORIENTATION:
            top -= 7
            stack[top] = shapes.angle_between(
                stack[top + 2] - stack[top],
                stack[top + 3] - stack[top + 1],
                stack[top + 6] - stack[top + 4],
                stack[top + 7] - stack[top + 5],
            )
        elif op == Op.NEAREST:
            top += 1
            one_xy, other_xy = predicted_xy if c & 1 else xy, predicted_xy if c & 2 else xy
            stack[top] = shapes.nearest(one_xy, rows[a], other_xy, rows[b])
        elif op == Op.IN_ZONE:
            top -= 1
            stack[top] = shapes.in_zone(stack[top], stack[top + 1], constants, a)
        elif op == Op.COUNT_IN_ZONE:
            top += 1
            stack[top] = shapes.count_in_zone(xy, first_row, stop_row, b, constants, a)
        elif op == Op.VISIBLE:
            top += 1
            stack[top] = _is_visible(xy, rows[a], b)
        elif op == Op.SCORE:
            top += 1
            stack[top] = node_scores[rows[a], b] if rows[a] >= 0 else math.nan
        elif op == Op.CONFIDENCE:
            top += 1
            stack[top] = shapes.mean_score(node_scores, rows[a])
        elif op == Op.IDENTITY_CONFIDENCE:
            top += 1
            stack[top] = identity_confidence[rows[a]] if rows[a] >= 0 else math.nan
        elif op == Op.SWAP_SUSPECTED:
            top += 1
            stack[top] = _is_suspected(suspect_ids, rows[a])
        elif op == Op.STATE:
            top += 1
            one, other = (rows[b], rows[c]) if b >= 0 else (_NO_PAIR, _NO_PAIR)
            stack[top] = _state(states, frame, a, one, other, first_row, stop_row)
        elif Op.HELD <= op <= Op.ANGULAR_SPEED:
            top -= 3 if op == Op.APPROACH_SPEED else 1 if op == Op.SPEED else 0
            stack[top] = _remembered(
                op,
                a,
                constants[b],
                rows[c] if c >= 0 else -1,
                now_ns,
                is_sure,
                place,
                moments,
                amounts,
                track_ids,
                corrected_ids,
                stack,
                top,
            )
        elif op == Op.NEGATIVE:
            stack[top] = -stack[top]
        elif op == Op.WRAP:
            stack[top] = shapes.wrapped(stack[top], constants[a])
        elif op == Op.NOT:
            stack[top] = 1.0 - stack[top]
        elif op == Op.AND:
            top -= 1
            stack[top] = kleene_and(stack[top], stack[top + 1])
        elif op == Op.OR:
            top -= 1
            stack[top] = 1.0 - kleene_and(1.0 - stack[top], 1.0 - stack[top + 1])
        elif op == Op.ABS:
            stack[top] = abs(stack[top])
        else:
            top -= 1
            stack[top] = _combined(op, stack[top], stack[top + 1])
