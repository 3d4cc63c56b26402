"""The stack machine that calculates a rule's expressions.

On the stack a truth value is 1 (true), 0 (false) or NaN (unknown), and an unknown quantity is NaN. Logic is Kleene's:
`false and unknown` is false, `true or unknown` is true.
"""

# An interpreter is one branch for each operation.
# ruff: noqa: PLR0911, PLR0912

import math
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled


class Op(IntEnum):
    """Operations. A row of code is (operation, first operand, second operand); the operands are named here."""

    CONSTANT = 0  # index into the constants
    POINT = 1  # role, node; pushes x, y
    RECORD = 2  # index into the recorded values; leaves the stack as it is
    DISTANCE = 3  # pops two points
    FACING = 4  # pops back, front, centre and target points
    VISIBLE = 5  # role, node or -1 for any node
    SCORE = 6  # role, node
    IDENTITY_CONFIDENCE = 7  # role
    SWAP_SUSPECTED = 8  # role
    NEGATIVE = 9
    ABS = 10
    ADD = 11
    SUBTRACT = 12
    MULTIPLY = 13
    DIVIDE = 14
    MIN = 15
    MAX = 16
    LESS = 17
    LESS_EQUAL = 18
    GREATER = 19
    GREATER_EQUAL = 20
    NOT = 21
    AND = 22
    OR = 23


@compiled
def _distance(x1: float, y1: float, x2: float, y2: float) -> float:
    dx, dy = x2 - x1, y2 - y1
    return math.sqrt(dx * dx + dy * dy)


@compiled
def _angle_deg(ux: float, uy: float, vx: float, vy: float) -> float:
    """Return the angle between two vectors, 0–180 deg; NaN where one has no length.

    atan2(|u × v|, u · v) stays exact near 0 and 180 deg, where acos loses half of its digits.
    """
    cross, dot = ux * vy - uy * vx, ux * vx + uy * vy
    if cross == 0.0 and dot == 0.0:
        return math.nan
    return math.atan2(abs(cross), dot) * (180.0 / math.pi)


@compiled
def _is_visible(xy: NDArray[np.float32], row: int, node: int) -> float:
    if row < 0:
        return 0.0
    for k in range(xy.shape[1]):
        if node in (-1, k) and not (math.isnan(xy[row, k, 0]) or math.isnan(xy[row, k, 1])):
            return 1.0
    return 0.0


@compiled
def _is_suspected(suspect_ids: NDArray[np.int32], row: int) -> float:
    if row < 0:
        return math.nan
    return 1.0 if suspect_ids[row] != 0 else 0.0


@compiled
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


@compiled
def kleene_and(left: float, right: float) -> float:
    """Return `left and right` of two truth values."""
    if left == 0.0 or right == 0.0:
        return 0.0
    return 1.0 if left == 1.0 and right == 1.0 else math.nan


@compiled
def calculate(
    code: NDArray[np.int32],
    first: int,
    stop: int,
    constants: NDArray[np.float64],
    rows: NDArray[np.int64],
    xy: NDArray[np.float32],
    node_scores: NDArray[np.float32],
    identity_confidence: NDArray[np.float32],
    suspect_ids: NDArray[np.int32],
    stack: NDArray[np.float64],
    values: NDArray[np.float64],
) -> float:
    """Run rows `first` to `stop` of the code, write the numbers compared to `values`, and return the truth value."""
    top = -1
    for pc in range(first, stop):
        op, a, b = code[pc, 0], code[pc, 1], code[pc, 2]
        if op == Op.CONSTANT:
            top += 1
            stack[top] = constants[a]
        elif op == Op.POINT:
            top += 2
            row = rows[a]
            stack[top - 1] = xy[row, b, 0] if row >= 0 else math.nan
            stack[top] = xy[row, b, 1] if row >= 0 else math.nan
        elif op == Op.RECORD:
            values[a] = stack[top]
        elif op == Op.DISTANCE:
            top -= 3
            stack[top] = _distance(stack[top], stack[top + 1], stack[top + 2], stack[top + 3])
        elif op == Op.FACING:
            top -= 7
            back_x, back_y, front_x, front_y = stack[top], stack[top + 1], stack[top + 2], stack[top + 3]
            centre_x, centre_y, target_x, target_y = stack[top + 4], stack[top + 5], stack[top + 6], stack[top + 7]
            stack[top] = _angle_deg(front_x - back_x, front_y - back_y, target_x - centre_x, target_y - centre_y)
        elif op == Op.VISIBLE:
            top += 1
            stack[top] = _is_visible(xy, rows[a], b)
        elif op == Op.SCORE:
            top += 1
            stack[top] = node_scores[rows[a], b] if rows[a] >= 0 else math.nan
        elif op == Op.IDENTITY_CONFIDENCE:
            top += 1
            stack[top] = identity_confidence[rows[a]] if rows[a] >= 0 else math.nan
        elif op == Op.SWAP_SUSPECTED:
            top += 1
            stack[top] = _is_suspected(suspect_ids, rows[a])
        elif op == Op.NEGATIVE:
            stack[top] = -stack[top]
        elif op == Op.ABS:
            stack[top] = abs(stack[top])
        elif op == Op.NOT:
            stack[top] = 1.0 - stack[top]
        elif op == Op.AND:
            top -= 1
            stack[top] = kleene_and(stack[top], stack[top + 1])
        elif op == Op.OR:
            top -= 1
            stack[top] = 1.0 - kleene_and(1.0 - stack[top], 1.0 - stack[top + 1])
        else:
            top -= 1
            stack[top] = _combined(op, stack[top], stack[top + 1])
    return float(stack[0])
