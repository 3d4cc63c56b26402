"""The machine that calculates a rule's expressions: each operation for many items at once.

An item is one binding of a rule's roles in one frame. A live frame is a few items, a recording hundreds at a time, and
the code is the same for both. Every operation writes a register that no other one writes, a number for each item;
a point is two registers, x and then y. A truth value is 1 (true), 0 (false) or NaN (unknown), and an unknown quantity
is NaN. Logic is Kleene's: `false and unknown` is false, `true or unknown` is true. Every operation is run in every
frame, whatever the others give, so that what a rule remembers does not depend on it.
"""

# An interpreter is one branch for each operation.
# ruff: noqa: PLR0911

import math
from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inlined, inner
from realtime.decision import State
from realtime.rules import shapes, windows

_NO_PAIR = -2  # the row of an animal that is not asked for; -1 is one that is absent


class Op(IntEnum):
    """Operations, by family. A row of code is described by `Column`; the operands are named here."""

    # Looked up in the frame.
    CONSTANT = 0  # index into the constants
    POINT = 1  # role, node; a point
    PREDICTED_POINT = 2  # role, node; a point
    NEAREST = 3  # role, role; which of them is predicted: 1 = the first, 2 = the second, 3 = both
    COUNT_IN_ZONE = 4  # index of the zone's first constant, node
    VISIBLE = 5  # role, node or -1 for any node
    SCORE = 6  # role, node
    CONFIDENCE = 7  # role
    IDENTITY_CONFIDENCE = 8  # role
    SWAP_SUSPECTED = 9  # role
    STATE = 10  # column of the other rule; role and role of the pair that is asked for, -1 for none
    # Measured between points.
    DISTANCE = 11  # of two points
    FACING = 12  # of back, front, centre and target points
    HEADING = 13  # of back and front points
    ORIENTATION = 14  # of back and front points of two animals
    IN_ZONE = 15  # index of the zone's first constant; of a point
    # With a memory: first column of the slot, index of the constant that is the window in ns, role.
    HELD = 16  # of a truth value
    RISING = 17  # of a truth value
    MEAN = 18  # of a number or a truth value
    SPEED = 19  # of a point
    APPROACH_SPEED = 20  # of two points
    ANGULAR_SPEED = 21  # of a heading
    # Of one number.
    NEGATIVE = 22
    WRAP = 23  # index of the constant that is a half turn
    NOT = 24
    ABS = 25
    # Of two.
    AND = 26
    OR = 27
    ADD = 28
    SUBTRACT = 29
    MULTIPLY = 30
    DIVIDE = 31
    MIN = 32
    MAX = 33
    LESS = 34
    LESS_EQUAL = 35
    GREATER = 36
    GREATER_EQUAL = 37


class Column(IntEnum):
    """Columns of the code."""

    OP = 0
    A = 1  # operands, see `Op`
    B = 2
    C = 3
    OUT = 4  # the register that it writes, the first of two where it makes a point
    INPUTS = 5  # the registers that it reads, four at most; of a point the first of its two
    SIZE = INPUTS + 4


N_INPUTS: Mapping[Op, int] = MappingProxyType(
    {
        **{op: 0 for op in Op if op < Op.DISTANCE},
        Op.DISTANCE: 2,
        Op.FACING: 4,
        Op.HEADING: 2,
        Op.ORIENTATION: 4,
        Op.APPROACH_SPEED: 2,
        **{op: 1 for op in Op if Op.IN_ZONE <= op < Op.AND and op != Op.APPROACH_SPEED},
        **{op: 2 for op in Op if op >= Op.AND},
    }
)


def has_operands(op: Op) -> bool:
    """Whether an operation of a function has operands, beside the registers that it reads."""
    return op < Op.DISTANCE or Op.IN_ZONE <= op < Op.NEGATIVE


def has_memory(op: Op) -> bool:
    """Whether what an operation gives depends on earlier frames."""
    return Op.HELD <= op < Op.NEGATIVE


class Frames(NamedTuple):
    """The frames that are evaluated; the arrays are described at `kernel.evaluate_frames`."""

    offsets: NDArray[np.int64]
    timestamps_ns: NDArray[np.int64]
    track_ids: NDArray[np.int32]
    xy: NDArray[np.float32]
    predicted_xy: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    identity_confidence: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    suspect_ids: NDArray[np.int32]
    corrected_ids: NDArray[np.int32]
    states: NDArray[np.int8]


class Items(NamedTuple):
    """The items that are calculated together: all bindings of a frame, then those of the next one.

    Attributes:
        rows: `(n_roles, capacity)`, where in the frames' arrays each role's animal is; -1 for no animal.
        frames: `(capacity,)`, the frame of each.
        places: `(capacity,)`, the row of moments and amounts in which its binding remembers.
        sure: `(capacity,)`, whether all its animals are who they seem, as far as the rule requires it.
    """

    rows: NDArray[np.int64]
    frames: NDArray[np.int64]
    places: NDArray[np.int64]
    sure: NDArray[np.bool_]


class Slots(NamedTuple):
    """The memory of all bindings: `(n_places, width)` each, a row for a binding, the slots of its functions in it."""

    moments: NDArray[np.int64]
    amounts: NDArray[np.float64]


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
def _state(frames: Frames, frame: int, column: int, one: int, other: int) -> float:
    """Return what another rule said of a frame as a truth value; of one pair of rows where `one` is not -2."""
    state = int(frames.states[frame, column, 0])
    if one != _NO_PAIR:
        if one < 0 or other < 0 or one == other:
            return math.nan
        pair = pair_index(one, other, frames.offsets[frame], frames.offsets[frame + 1])
        state = int(frames.states[frame, column, 1 + pair])
    if state == State.UNKNOWN:
        return math.nan
    return 1.0 if state == State.ON else 0.0


@inner
def _write_points(
    xy: NDArray[np.float32],
    rows: NDArray[np.int64],
    node: int,
    out: int,
    n_items: int,
    registers: NDArray[np.float64],
) -> None:
    for i in range(n_items):
        row = rows[i]
        registers[out, i] = xy[row, node, 0] if row >= 0 else math.nan
        registers[out + 1, i] = xy[row, node, 1] if row >= 0 else math.nan


@inlined
def _looked_up(op: int, a: int, b: int, c: int, frames: Frames, items: Items, i: int) -> float:
    """Return what a frame says of the animals of one item."""
    frame = items.frames[i]
    if op == Op.STATE:
        one, other = (items.rows[b, i], items.rows[c, i]) if b >= 0 else (_NO_PAIR, _NO_PAIR)
        return _state(frames, frame, a, one, other)
    row = items.rows[a, i]
    if op == Op.NEAREST:
        one_xy = frames.predicted_xy if c & 1 else frames.xy
        other_xy = frames.predicted_xy if c & 2 else frames.xy
        return shapes.nearest(one_xy, row, other_xy, items.rows[b, i])
    if op == Op.VISIBLE:
        return _is_visible(frames.xy, row, b)
    if op == Op.SCORE:
        return float(frames.node_scores[row, b]) if row >= 0 else math.nan
    if op == Op.CONFIDENCE:
        return shapes.mean_score(frames.node_scores, row)
    if op == Op.IDENTITY_CONFIDENCE:
        return float(frames.identity_confidence[row]) if row >= 0 else math.nan
    return _is_suspected(frames.suspect_ids, row)


@inner
def _look_up(
    code: NDArray[np.int32],
    constants: NDArray[np.float64],
    frames: Frames,
    items: Items,
    n_items: int,
    registers: NDArray[np.float64],
) -> None:
    op, a, b, c, out = code[Column.OP], code[Column.A], code[Column.B], code[Column.C], code[Column.OUT]
    if op == Op.CONSTANT:
        registers[out, :n_items] = constants[a]
    elif op == Op.POINT:
        _write_points(frames.xy, items.rows[a], b, out, n_items, registers)
    elif op == Op.PREDICTED_POINT:
        _write_points(frames.predicted_xy, items.rows[a], b, out, n_items, registers)
    elif op == Op.COUNT_IN_ZONE:
        for i in range(n_items):
            first, stop = frames.offsets[items.frames[i]], frames.offsets[items.frames[i] + 1]
            registers[out, i] = shapes.count_in_zone(frames.xy, first, stop, b, constants, a)
    else:
        for i in range(n_items):
            registers[out, i] = _looked_up(op, a, b, c, frames, items, i)


@inner
def _measure(
    code: NDArray[np.int32], constants: NDArray[np.float64], n_items: int, registers: NDArray[np.float64]
) -> None:
    op, out, p, q = code[Column.OP], code[Column.OUT], code[Column.INPUTS], code[Column.INPUTS + 1]
    r, s = code[Column.INPUTS + 2], code[Column.INPUTS + 3]
    if op == Op.DISTANCE:
        for i in range(n_items):
            registers[out, i] = shapes.distance(
                registers[p, i], registers[p + 1, i], registers[q, i], registers[q + 1, i]
            )
    elif op == Op.HEADING:
        for i in range(n_items):
            registers[out, i] = shapes.direction(
                registers[q, i] - registers[p, i], registers[q + 1, i] - registers[p + 1, i]
            )
    elif op == Op.IN_ZONE:
        for i in range(n_items):
            registers[out, i] = shapes.in_zone(registers[p, i], registers[p + 1, i], constants, code[Column.A])
    else:  # an angle between the ways from one point to another
        for i in range(n_items):
            registers[out, i] = shapes.angle_between(
                registers[q, i] - registers[p, i],
                registers[q + 1, i] - registers[p + 1, i],
                registers[s, i] - registers[r, i],
                registers[s + 1, i] - registers[r + 1, i],
            )


@inner
def _remember(
    code: NDArray[np.int32],
    constants: NDArray[np.float64],
    frames: Frames,
    items: Items,
    n_items: int,
    slots: Slots,
    registers: NDArray[np.float64],
) -> None:
    """Run one operation with a memory; the items of one binding come in the order of their frames.

    While it is not sure who is who, nothing is known that could be remembered.
    """
    op, slot, window_ns, out = code[Column.OP], code[Column.A], constants[code[Column.B]], code[Column.OUT]
    given = code[Column.INPUTS]
    for i in range(n_items):
        now_ns, place = frames.timestamps_ns[items.frames[i]], items.places[i]
        moments, amounts = slots.moments[place, slot:], slots.amounts[place, slot:]
        value = registers[given, i] if items.sure[i] else math.nan
        if op == Op.HELD:
            registers[out, i] = windows.held(moments, now_ns, window_ns, value)
        elif op == Op.RISING:
            registers[out, i] = windows.rising(moments, value)
        elif op == Op.MEAN:
            registers[out, i] = windows.mean(moments, amounts, now_ns, window_ns, value)
        else:
            registers[out, i] = _speed(code, frames, items, i, now_ns, window_ns, moments, amounts, registers, value)


@inlined
def _speed(
    code: NDArray[np.int32],
    frames: Frames,
    items: Items,
    i: int,
    now_ns: int,
    window_ns: float,
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    registers: NDArray[np.float64],
    value: float,
) -> float:
    """Return a speed of one item, of which `value` is the heading or the point's x."""
    op, row = code[Column.OP], items.rows[code[Column.C], i]
    if row < 0:
        return math.nan
    windows.belongs_to(moments, frames.track_ids[row], frames.corrected_ids[row] != 0)
    if op == Op.ANGULAR_SPEED:
        heading = windows.unwrapped(moments, amounts, value)
        return windows.speed(moments, amounts, now_ns, window_ns, heading, 0.0)
    p, q = code[Column.INPUTS], code[Column.INPUTS + 1]
    x, y = value, registers[p + 1, i]
    if op == Op.SPEED:
        return windows.speed(moments, amounts, now_ns, window_ns, x, y)
    return windows.approach_speed(moments, amounts, now_ns, window_ns, x, y, registers[q, i], registers[q + 1, i])


@inner
def kleene_and(left: float, right: float) -> float:
    """Return `left and right` of two truth values."""
    if left == 0.0 or right == 0.0:
        return 0.0
    return 1.0 if left == 1.0 and right == 1.0 else math.nan


@inner
def _minimum(left: float, right: float) -> float:
    return math.nan if math.isnan(left) or math.isnan(right) else min(left, right)


@inner
def _maximum(left: float, right: float) -> float:
    return math.nan if math.isnan(left) or math.isnan(right) else max(left, right)


@inner
def _truth(is_true: bool, left: float, right: float) -> float:
    """Return what a comparison gives of two numbers of which one may be unknown."""
    if math.isnan(left) or math.isnan(right):
        return math.nan
    return 1.0 if is_true else 0.0


@inner
def _of_one(op: int, half_turn: float, one: int, out: int, n_items: int, registers: NDArray[np.float64]) -> None:
    """Run an operation on one number, for each item."""
    if op == Op.NEGATIVE:
        for i in range(n_items):
            registers[out, i] = -registers[one, i]
    elif op == Op.WRAP:
        for i in range(n_items):
            registers[out, i] = shapes.wrapped(registers[one, i], half_turn)
    elif op == Op.NOT:
        for i in range(n_items):
            registers[out, i] = 1.0 - registers[one, i]
    else:
        for i in range(n_items):
            registers[out, i] = abs(registers[one, i])


@inner
def _logical(op: int, one: int, other: int, out: int, n_items: int, registers: NDArray[np.float64]) -> None:
    """Run an operation on two truth values, for each item."""
    if op == Op.AND:
        for i in range(n_items):
            registers[out, i] = kleene_and(registers[one, i], registers[other, i])
    else:
        for i in range(n_items):
            registers[out, i] = 1.0 - kleene_and(1.0 - registers[one, i], 1.0 - registers[other, i])


@inner
def _arithmetical(op: int, one: int, other: int, out: int, n_items: int, registers: NDArray[np.float64]) -> None:
    """Run an operation on two numbers that makes a third, for each item; NaN stays NaN."""
    if op == Op.ADD:
        for i in range(n_items):
            registers[out, i] = registers[one, i] + registers[other, i]
    elif op == Op.SUBTRACT:
        for i in range(n_items):
            registers[out, i] = registers[one, i] - registers[other, i]
    elif op == Op.MULTIPLY:
        for i in range(n_items):
            registers[out, i] = registers[one, i] * registers[other, i]
    elif op == Op.DIVIDE:
        for i in range(n_items):
            divisor = registers[other, i]
            registers[out, i] = registers[one, i] / divisor if divisor != 0.0 else math.nan
    elif op == Op.MIN:
        for i in range(n_items):
            registers[out, i] = _minimum(registers[one, i], registers[other, i])
    else:
        for i in range(n_items):
            registers[out, i] = _maximum(registers[one, i], registers[other, i])


@inner
def _compare(op: int, one: int, other: int, out: int, n_items: int, registers: NDArray[np.float64]) -> None:
    """Run a comparison of two numbers, for each item."""
    if op in (Op.LESS, Op.GREATER):
        less, more = (one, other) if op == Op.LESS else (other, one)
        for i in range(n_items):
            left, right = registers[less, i], registers[more, i]
            registers[out, i] = _truth(left < right, left, right)
    else:
        less, more = (one, other) if op == Op.LESS_EQUAL else (other, one)
        for i in range(n_items):
            left, right = registers[less, i], registers[more, i]
            registers[out, i] = _truth(left <= right, left, right)


@inner
def calculate(
    code: NDArray[np.int32],
    constants: NDArray[np.float64],
    frames: Frames,
    items: Items,
    n_items: int,
    slots: Slots,
    registers: NDArray[np.float64],
) -> None:
    """Run the code for the first `n_items` items, which leaves its results in the registers, `(n, capacity)`."""
    for line in range(code.shape[0]):
        row = code[line]
        op, out, one, other = row[Column.OP], row[Column.OUT], row[Column.INPUTS], row[Column.INPUTS + 1]
        if op < Op.DISTANCE:
            _look_up(row, constants, frames, items, n_items, registers)
        elif op < Op.HELD:
            _measure(row, constants, n_items, registers)
        elif op < Op.NEGATIVE:
            _remember(row, constants, frames, items, n_items, slots, registers)
        elif op < Op.AND:
            half_turn = constants[row[Column.A]] if op == Op.WRAP else 0.0
            _of_one(op, half_turn, one, out, n_items, registers)
        elif op < Op.ADD:
            _logical(op, one, other, out, n_items, registers)
        elif op < Op.LESS:
            _arithmetical(op, one, other, out, n_items, registers)
        else:
            _compare(op, one, other, out, n_items, registers)
