"""The compiled half of a rule: the state machine behind its expressions.

One function evaluates any number of frames; the live loop calls it with one frame and a replay with a whole recording,
so both are the same machine code and agree to the last bit. Truth values are those of `calculation`.

States. A rule has one binding of its roles to animals, or with "any pair" one for every ordered pair of tracks. A
binding that is not latched looks at `start` = `when and not until`; a latched one looks at `stop` = `until`. Without
an `until`, `stop` is `not when`.

| latched | looks at | value   | `when_unknown` | binding is then    | time towards `for_s`                         |
|---------|----------|---------|----------------|--------------------|----------------------------------------------|
| no      | start    | false   | either         | OFF                | back to zero                                 |
| no      | start    | true    | either         | ON if it may latch | grows by the time since the frame before, if |
|         |          |         |                | (below), else OFF  | start was true in that frame too             |
| no      | start    | unknown | release        | UNKNOWN            | back to zero                                 |
| no      | start    | unknown | hold           | UNKNOWN            | stays as it is                               |
| yes     | stop     | false   | either         | ON                 | -                                            |
| yes     | stop     | true    | either         | OFF, unlatched     | back to zero                                 |
| yes     | stop     | unknown | release        | UNKNOWN, unlatched | back to zero                                 |
| yes     | stop     | unknown | hold           | ON                 | -                                            |

A binding may latch when its time towards `for_s` has reached `for_s` and either the last RISING of the rule lies
`refractory_s` or more in the past or the rule was ON in the frame before (then there is no new RISING to block).
All times are those of the frames, so dropped frames and jitter do not change a duration.

The rule is ON if any binding is; else UNKNOWN if any binding is or, with "any pair", if there are fewer than two
tracks; else OFF. RISING is a change to ON, FALLING a change from ON. A pair of which a track has ended is forgotten,
latched or not; a track that is merely not seen is unknown. The binding that is reported is the first, by track id, of
those that are ON, else that were unlatched in this frame, else that are UNKNOWN, else of all.

With `require_identity`, `when` and `until` are both unknown for a binding in which an animal's identity is in doubt.
"""

import functools
import math
from collections.abc import Callable
from enum import IntEnum

import numba
import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled, inner
from realtime.decision import Edge, State
from realtime.rules.calculation import calculate, kleene_and


class Role(IntEnum):
    """How a role finds its animal. A row of roles is (how, value)."""

    PAIR_FIRST = 0
    PAIR_SECOND = 1
    IDENTITY = 2  # value: class id; no animal where none or more than one track has it
    TRACK = 3  # value: track id


class Setting(IntEnum):
    """Positions in a rule's settings."""

    HAS_UNTIL = 0  # 1 where the code of `when` is followed by that of `until`
    FOR_NS = 1
    REFRACTORY_NS = 2
    HOLDS = 3  # 1 where `when_unknown` is "hold"
    ANY_PAIR = 4  # 1 where roles 0 and 1 are the members of a pair
    IDENTITY = 5  # index into the constants of the identity confidence that is required, -1 for none
    COLUMN = 6  # where this rule's states stand for other rules to read, -1 for nowhere
    ONLY_FIRST = 7  # with any pair, the track ids of the pair to report; 0 for the one that decides
    ONLY_SECOND = 8


class Memory(IntEnum):
    """Positions in what a rule remembers from frame to frame, beside its bindings."""

    ACTIVE_TABLE = 0  # which of the two tables of bindings holds the last frame's
    N_BINDINGS = 1
    IS_ON = 2
    HAS_RISEN = 3
    LAST_RISING_NS = 4
    LAST_FRAME_NS = 5
    N_PLACES = 6  # places that have been given to a binding so far
    N_FREE = 7  # of those, how many were given back


class Binding(IntEnum):
    """Columns of a table of bindings, whose rows are ordered by the two track ids."""

    FIRST_ID = 0
    SECOND_ID = 1
    LATCHED = 2
    WAS_TRUE = 3  # `start` was true in the last frame
    TRUE_NS = 4  # time towards `for_s`
    PLACE = 5  # row of `moments` and `amounts` in which the functions with a memory keep theirs


class Outcome(IntEnum):
    """Columns of the outcomes; from `TRACK_IDS` on there is one for each role, 0 where it has no animal."""

    STATE = 0
    EDGE = 1
    TRACK_IDS = 2


@inner
def _bind_fixed_roles(
    roles: NDArray[np.int32],
    track_ids: NDArray[np.int32],
    class_ids: NDArray[np.int32],
    first: int,
    stop: int,
    rows: NDArray[np.int64],
) -> None:
    """Write the row of each identity's and each track's animal into `rows`; -1 where there is none and for a pair's."""
    for role in range(roles.shape[0]):
        how, value = roles[role, 0], roles[role, 1]
        rows[role] = -1
        if how in (Role.PAIR_FIRST, Role.PAIR_SECOND):
            continue
        found, n_found = -1, 0
        for row in range(first, stop):
            if value == (class_ids[row] if how == Role.IDENTITY else track_ids[row]):
                found = row
                n_found += 1
        rows[role] = found if n_found == 1 else -1


@inner
def _identities_are_sure(
    rows: NDArray[np.int64], least: float, identity_confidence: NDArray[np.float32], suspect_ids: NDArray[np.int32]
) -> bool:
    """Whether every role has an animal of at least this confidence that is not suspected of being another one."""
    for role in range(rows.shape[0]):
        row = rows[role]
        if row < 0 or not identity_confidence[row] >= least or suspect_ids[row] != 0:  # NaN is not sure either
            return False
    return True


@inner
def _step(
    bindings: NDArray[np.int64],
    table: int,
    index: int,
    when: float,
    until: float,
    settings: NDArray[np.int64],
    may_rise: bool,
    elapsed_ns: int,
) -> int:
    """Advance one binding by one frame, as the table at the top of this file says, and return its state."""
    if bindings[table, index, Binding.LATCHED]:
        if until == 0.0 or (math.isnan(until) and settings[Setting.HOLDS]):
            return State.ON
        bindings[table, index, Binding.LATCHED] = 0
        return State.UNKNOWN if math.isnan(until) else State.OFF
    start = kleene_and(when, 1.0 - until)
    if start == 1.0:
        if bindings[table, index, Binding.WAS_TRUE]:
            bindings[table, index, Binding.TRUE_NS] += elapsed_ns
        bindings[table, index, Binding.WAS_TRUE] = 1
        if not may_rise or bindings[table, index, Binding.TRUE_NS] < settings[Setting.FOR_NS]:
            return State.OFF
        bindings[table, index, Binding.LATCHED] = 1
        bindings[table, index, Binding.WAS_TRUE] = 0
        bindings[table, index, Binding.TRUE_NS] = 0
        return State.ON
    bindings[table, index, Binding.WAS_TRUE] = 0
    if start == 0.0 or not settings[Setting.HOLDS]:
        bindings[table, index, Binding.TRUE_NS] = 0
    return State.OFF if start == 0.0 else State.UNKNOWN


@inner
def _pair_rows(index: int, first: int, stop: int) -> tuple[int, int]:
    """Return the rows of the index-th ordered pair of rows `first` to `stop`."""
    one, other = index // (stop - first - 1), index % (stop - first - 1)
    return first + one, first + other + (1 if other >= one else 0)


@inner
def _take_place(memory: NDArray[np.int64], free: NDArray[np.int64], moments: NDArray[np.int64]) -> int:
    """Return an empty row of `moments` and `amounts`."""
    if memory[Memory.N_FREE] > 0:
        memory[Memory.N_FREE] -= 1
        place = free[memory[Memory.N_FREE]]
    else:
        place = memory[Memory.N_PLACES]
        memory[Memory.N_PLACES] += 1
    for column in range(moments.shape[1]):
        moments[place, column] = 0
    return int(place)


@inner
def _give_back(memory: NDArray[np.int64], free: NDArray[np.int64], place: int) -> None:
    free[memory[Memory.N_FREE]] = place
    memory[Memory.N_FREE] += 1


@inner
def _carry_over(
    bindings: NDArray[np.int64],
    memory: NDArray[np.int64],
    free: NDArray[np.int64],
    moments: NDArray[np.int64],
    old: int,
    n_old: int,
    at: int,
    index: int,
    first_id: int,
    second_id: int,
) -> int:
    """Copy the binding of two tracks from the old table, or start it, and return how far the old table is used up."""
    while at < n_old and (
        bindings[old, at, Binding.FIRST_ID] < first_id
        or (bindings[old, at, Binding.FIRST_ID] == first_id and bindings[old, at, Binding.SECOND_ID] < second_id)
    ):
        _give_back(memory, free, bindings[old, at, Binding.PLACE])
        at += 1
    is_known = (
        at < n_old
        and bindings[old, at, Binding.FIRST_ID] == first_id
        and bindings[old, at, Binding.SECOND_ID] == second_id
    )
    for column in range(bindings.shape[2]):
        bindings[1 - old, index, column] = bindings[old, at, column] if is_known else 0
    bindings[1 - old, index, Binding.FIRST_ID] = first_id
    bindings[1 - old, index, Binding.SECOND_ID] = second_id
    if not is_known:
        bindings[1 - old, index, Binding.PLACE] = _take_place(memory, free, moments)
    return at + 1 if is_known else at


@inner
def _may_rise(memory: NDArray[np.int64], settings: NDArray[np.int64], now_ns: int) -> bool:
    if memory[Memory.IS_ON] or not memory[Memory.HAS_RISEN]:
        return True
    return bool(now_ns - memory[Memory.LAST_RISING_NS] >= settings[Setting.REFRACTORY_NS])


@inner
def _close_frame(state: int, now_ns: int, memory: NDArray[np.int64], n_bindings: int) -> int:
    """Remember the frame and return the rule's edge."""
    was_on, is_on = memory[Memory.IS_ON] == 1, state == State.ON
    memory[Memory.IS_ON] = is_on
    memory[Memory.LAST_FRAME_NS] = now_ns
    memory[Memory.N_BINDINGS] = n_bindings
    memory[Memory.ACTIVE_TABLE] = 1 - memory[Memory.ACTIVE_TABLE]
    if is_on and not was_on:
        memory[Memory.HAS_RISEN] = 1
        memory[Memory.LAST_RISING_NS] = now_ns
        return Edge.RISING
    return Edge.FALLING if was_on and not is_on else Edge.NONE


@inner
def _report(
    rows: NDArray[np.int64],
    track_ids: NDArray[np.int32],
    numbers: NDArray[np.float64],
    frame: int,
    outcomes: NDArray[np.int32],
    values: NDArray[np.float64],
) -> None:
    """Write a binding's animals and numbers as those that decided the frame."""
    for role in range(rows.shape[0]):
        outcomes[frame, Outcome.TRACK_IDS + role] = track_ids[rows[role]] if rows[role] >= 0 else 0
    for index in range(numbers.shape[0]):
        values[frame, index] = numbers[index]


def evaluate_frames(
    code: NDArray[np.int32],
    constants: NDArray[np.float64],
    states: NDArray[np.int8],
    roles: NDArray[np.int32],
    settings: NDArray[np.int64],
    memory: NDArray[np.int64],
    bindings: NDArray[np.int64],
    moments: NDArray[np.int64],
    amounts: NDArray[np.float64],
    free: NDArray[np.int64],
    offsets: NDArray[np.int64],
    timestamps_ns: NDArray[np.int64],
    track_ids: NDArray[np.int32],
    xy: NDArray[np.float32],
    predicted_xy: NDArray[np.float32],
    node_scores: NDArray[np.float32],
    identity_confidence: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    suspect_ids: NDArray[np.int32],
    corrected_ids: NDArray[np.int32],
    outcomes: NDArray[np.int32],
    values: NDArray[np.float64],
) -> None:
    """Evaluate a rule over frames in order.

    Args:
        code: `(n_rows, 4)`, see `calculation.Op`: leaves `when` on the stack, and `until` above it if there is one.
        constants: `(n_constants,)` numbers of the expressions.
        states: `(n_frames, n_columns, 1 + n_pairs)`, what rules that others name said of a frame, see `State`; then of
            its ordered pairs of tracks. A rule reads those evaluated before it, and writes its own column.
        roles: `(n_roles, 2)`, see `Role`.
        settings: See `Setting`.
        memory: See `Memory`; all zero before the first frame; changed in place.
        bindings: `(2, capacity, 6)`, see `Binding`; the last frame's and this frame's by turns; changed in place. The
            capacity is that of the largest frame: 1, or with "any pair" n (n - 1) for n tracks.
        moments: `(2 * capacity, width)`, see `windows`; a row for each binding of this and the last frame; changed in
            place.
        amounts: `(2 * capacity, width)`, the same.
        free: `(2 * capacity,)`, rows of `moments` that were given back; changed in place.
        offsets: `(n_frames + 1,)`; the tracks of frame i are rows `offsets[i]` to `offsets[i + 1]` of the next arrays.
        timestamps_ns: `(n_frames,)`, ascending.
        track_ids: `(n_rows,)`, ascending within a frame.
        xy: `(n_rows, n_nodes, 2)` px, NaN = not seen.
        predicted_xy: `(n_rows, n_nodes, 2)` px, where they will be, for `predicted`.
        node_scores: `(n_rows, n_nodes)`.
        identity_confidence: `(n_rows,)`.
        class_ids: `(n_rows,)`.
        suspect_ids: `(n_rows,)`.
        corrected_ids: `(n_rows,)`.
        outcomes: `(n_frames, 2 + n_roles)`, written, see `Outcome`.
        values: `(n_frames, n_comparisons)`, written: the numbers compared, NaN where unknown.
    """
    stack = np.empty(2 * code.shape[0])  # a row of code pushes two numbers at most
    numbers = np.empty(values.shape[1])
    rows = np.empty(roles.shape[0], np.int64)
    has_until, any_pair = settings[Setting.HAS_UNTIL] == 1, settings[Setting.ANY_PAIR] == 1
    required, column = settings[Setting.IDENTITY], settings[Setting.COLUMN]
    for frame in range(timestamps_ns.shape[0]):
        first, stop, now_ns = offsets[frame], offsets[frame + 1], timestamps_ns[frame]
        old, n_old, at = memory[Memory.ACTIVE_TABLE], memory[Memory.N_BINDINGS], 0
        n_bindings = (stop - first) * (stop - first - 1) if any_pair else 1
        may_rise = _may_rise(memory, settings, now_ns)
        elapsed_ns = now_ns - memory[Memory.LAST_FRAME_NS]
        state: int = State.OFF if n_bindings else State.UNKNOWN
        most = -1
        _bind_fixed_roles(roles, track_ids, class_ids, first, stop, rows)
        numbers[:] = math.nan
        _report(rows, track_ids, numbers, frame, outcomes, values)
        for index in range(n_bindings):
            first_id, second_id = 0, 0
            if any_pair:
                rows[0], rows[1] = _pair_rows(index, first, stop)
                first_id, second_id = track_ids[rows[0]], track_ids[rows[1]]
            at = _carry_over(bindings, memory, free, moments, old, n_old, at, index, first_id, second_id)
            was_latched = bindings[1 - old, index, Binding.LATCHED] == 1
            place = bindings[1 - old, index, Binding.PLACE]
            is_sure = required < 0 or _identities_are_sure(rows, constants[required], identity_confidence, suspect_ids)
            calculate(
                code,
                constants,
                states,
                frame,
                rows,
                first,
                stop,
                now_ns,
                is_sure,
                place,
                moments,
                amounts,
                track_ids,
                xy,
                predicted_xy,
                node_scores,
                identity_confidence,
                suspect_ids,
                corrected_ids,
                stack,
                numbers,
            )
            when = stack[0] if is_sure else math.nan
            until = 1.0 - when
            if is_sure and has_until:
                until = stack[1]
            found = _step(bindings, 1 - old, index, when, until, settings, may_rise, elapsed_ns)
            if found == State.ON or (found == State.UNKNOWN and state == State.OFF):
                state = found
            telling = 3 if found == State.ON else 2 if was_latched else 1 if found == State.UNKNOWN else 0
            if any_pair and settings[Setting.ONLY_FIRST] == first_id and settings[Setting.ONLY_SECOND] == second_id:
                telling = 4
            if column >= 0 and any_pair and index + 1 < states.shape[2]:
                states[frame, column, index + 1] = found
            if telling > most:
                most = telling
                _report(rows, track_ids, numbers, frame, outcomes, values)
        for ended in range(at, n_old):
            _give_back(memory, free, bindings[old, ended, Binding.PLACE])
        outcomes[frame, Outcome.STATE] = state
        if column >= 0:
            states[frame, column, 0] = state
        outcomes[frame, Outcome.EDGE] = _close_frame(state, now_ns, memory, n_bindings)


def _array(dtype: numba.types.Type, ndim: int, *, readonly: bool = True) -> numba.types.Array:
    return numba.types.Array(dtype, ndim, "C", readonly=readonly)


@functools.cache
def machine_code() -> Callable[..., None]:
    """Return `evaluate_frames` compiled; the first call compiles it or loads it from Numba's cache.

    The signature is fixed: arrays that are read-only are taken as they are, and a wrong layout or dtype is a
    `TypeError` at once, where Numba would otherwise stop the loop for seconds to compile for it.
    """
    i32, i64, f32, f64 = numba.int32, numba.int64, numba.float32, numba.float64
    states = _array(numba.int8, 3, readonly=False)
    program = (_array(i32, 2), _array(f64, 1), states, _array(i32, 2), _array(i64, 1))
    memory = (
        _array(i64, 1, readonly=False),
        _array(i64, 3, readonly=False),
        _array(i64, 2, readonly=False),
        _array(f64, 2, readonly=False),
        _array(i64, 1, readonly=False),
    )
    frames = (_array(i64, 1), _array(i64, 1))
    tracks = (_array(i32, 1), _array(f32, 3), _array(f32, 3), _array(f32, 2), _array(f32, 1), *(_array(i32, 1),) * 3)
    results = (_array(i32, 2, readonly=False), _array(f64, 2, readonly=False))
    signature = numba.void(*program, *memory, *frames, *tracks, *results)
    return compiled(evaluate_frames, signature, allocates=True)
