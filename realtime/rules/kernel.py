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

from realtime.compiled import array_of, compiled, inner
from realtime.decision import Edge, State
from realtime.rules.bindings import Binding, Memory, bind_fixed_roles, bind_items, bind_tracks
from realtime.rules.calculation import Frames, Items, Slots, calculate, kleene_and

BLOCK = 256  # items that are calculated together: their registers should stay in a core's own cache


class Setting(IntEnum):
    """Positions in a rule's settings."""

    N_REGISTERS = 0  # that the code writes
    WHEN = 1  # the register that holds the truth of `when`
    UNTIL = 2  # the same of `until`, -1 where there is none
    FOR_NS = 3
    REFRACTORY_NS = 4
    HOLDS = 5  # 1 where `when_unknown` is "hold"
    ANY_PAIR = 6  # 1 where roles 0 and 1 are the members of a pair
    IDENTITY = 7  # index into the constants of the identity confidence that is required, -1 for none
    COLUMN = 8  # where this rule's states stand for other rules to read, -1 for nowhere
    ONLY_FIRST = 9  # with any pair, the track ids of the pair to report; 0 for the one that decides
    ONLY_SECOND = 10


class Outcome(IntEnum):
    """Columns of the outcomes; from `TRACK_IDS` on there is one for each role, 0 where it has no animal."""

    STATE = 0
    EDGE = 1
    TRACK_IDS = 2


@inner
def _step(
    bindings: NDArray[np.int64],
    index: int,
    when: float,
    until: float,
    settings: NDArray[np.int64],
    may_rise: bool,
    elapsed_ns: int,
) -> int:
    """Advance one binding by one frame, as the table at the top of this file says, and return its state."""
    if bindings[index, Binding.LATCHED]:
        if until == 0.0 or (math.isnan(until) and settings[Setting.HOLDS]):
            return State.ON
        bindings[index, Binding.LATCHED] = 0
        return State.UNKNOWN if math.isnan(until) else State.OFF
    start = kleene_and(when, 1.0 - until)
    if start == 1.0:
        if bindings[index, Binding.WAS_TRUE]:
            bindings[index, Binding.TRUE_NS] += elapsed_ns
        bindings[index, Binding.WAS_TRUE] = 1
        if not may_rise or bindings[index, Binding.TRUE_NS] < settings[Setting.FOR_NS]:
            return State.OFF
        bindings[index, Binding.LATCHED] = 1
        bindings[index, Binding.WAS_TRUE] = 0
        bindings[index, Binding.TRUE_NS] = 0
        return State.ON
    bindings[index, Binding.WAS_TRUE] = 0
    if start == 0.0 or not settings[Setting.HOLDS]:
        bindings[index, Binding.TRUE_NS] = 0
    return State.OFF if start == 0.0 else State.UNKNOWN


@inner
def _may_rise(memory: NDArray[np.int64], settings: NDArray[np.int64], now_ns: int) -> bool:
    if memory[Memory.IS_ON] or not memory[Memory.HAS_RISEN]:
        return True
    return bool(now_ns - memory[Memory.LAST_RISING_NS] >= settings[Setting.REFRACTORY_NS])


@inner
def _close_frame(state: int, now_ns: int, memory: NDArray[np.int64]) -> int:
    """Remember the frame and return the rule's edge."""
    was_on, is_on = memory[Memory.IS_ON] == 1, state == State.ON
    memory[Memory.IS_ON] = is_on
    memory[Memory.LAST_FRAME_NS] = now_ns
    if is_on and not was_on:
        memory[Memory.HAS_RISEN] = 1
        memory[Memory.LAST_RISING_NS] = now_ns
        return Edge.RISING
    return Edge.FALLING if was_on and not is_on else Edge.NONE


@inner
def _report(
    frames: Frames,
    frame: int,
    items: Items,
    item: int,
    numbers: NDArray[np.int32],
    registers: NDArray[np.float64],
    outcomes: NDArray[np.int32],
    values: NDArray[np.float64],
) -> None:
    """Write the animals and the numbers of an item as those that decided a frame."""
    for role in range(items.rows.shape[0]):
        row = items.rows[role, item]
        outcomes[frame, Outcome.TRACK_IDS + role] = frames.track_ids[row] if row >= 0 else 0
    for index in range(numbers.shape[0]):
        values[frame, index] = registers[numbers[index], item]


@inner
def _decide(
    settings: NDArray[np.int64],
    memory: NDArray[np.int64],
    bindings: NDArray[np.int64],
    frames: Frames,
    frame: int,
    items: Items,
    first_item: int,
    registers: NDArray[np.float64],
) -> tuple[int, int]:
    """Advance the bindings of a frame and return the rule's state and the item that decided, -1 where there is none."""
    now_ns, column = frames.timestamps_ns[frame], settings[Setting.COLUMN]
    may_rise, elapsed_ns = _may_rise(memory, settings, now_ns), now_ns - memory[Memory.LAST_FRAME_NS]
    state: int = State.OFF if bindings.shape[0] else State.UNKNOWN
    deciding, most = -1, -1
    for index in range(bindings.shape[0]):
        item = first_item + index
        was_latched = bindings[index, Binding.LATCHED] == 1
        when = registers[settings[Setting.WHEN], item] if items.sure[item] else math.nan
        until = 1.0 - when
        if items.sure[item] and settings[Setting.UNTIL] >= 0:
            until = registers[settings[Setting.UNTIL], item]
        found = _step(bindings, index, when, until, settings, may_rise, elapsed_ns)
        if found == State.ON or (found == State.UNKNOWN and state == State.OFF):
            state = found
        telling = 3 if found == State.ON else 2 if was_latched else 1 if found == State.UNKNOWN else 0
        if settings[Setting.ANY_PAIR] and (
            settings[Setting.ONLY_FIRST] == bindings[index, Binding.FIRST_ID]
            and settings[Setting.ONLY_SECOND] == bindings[index, Binding.SECOND_ID]
        ):
            telling = 4
        if column >= 0 and settings[Setting.ANY_PAIR] and index + 1 < frames.states.shape[2]:
            frames.states[frame, column, index + 1] = found
        if telling > most:
            deciding, most = item, telling
    if column >= 0:
        frames.states[frame, column, 0] = state
    return state, deciding


@inner
def _stop_of_block(frames: Frames, first: int, any_pair: bool, most: int) -> int:
    """Return the frame before which to stop, so that all from `first` on have the same bindings, `most` at most."""
    stop = first + 1
    n_tracks = frames.offsets[first + 1] - frames.offsets[first]
    while stop < frames.timestamps_ns.shape[0] and stop - first < most:
        if any_pair:
            if frames.offsets[stop + 1] - frames.offsets[stop] != n_tracks:
                break
            n_same = 0
            while n_same < n_tracks and (
                frames.track_ids[frames.offsets[first] + n_same] == frames.track_ids[frames.offsets[stop] + n_same]
            ):
                n_same += 1
            if n_same < n_tracks:
                break
        stop += 1
    return stop


@inner
def _evaluate_blocks(
    code: NDArray[np.int32],
    constants: NDArray[np.float64],
    numbers: NDArray[np.int32],
    roles: NDArray[np.int32],
    settings: NDArray[np.int64],
    memory: NDArray[np.int64],
    bindings: NDArray[np.int64],
    slots: Slots,
    free: NDArray[np.int64],
    frames: Frames,
    items: Items,
    registers: NDArray[np.float64],
    outcomes: NDArray[np.int32],
    values: NDArray[np.float64],
) -> None:
    """Evaluate all frames, those with the same bindings together: bind, calculate, decide."""
    any_pair, n_frames, capacity = settings[Setting.ANY_PAIR] == 1, frames.timestamps_ns.shape[0], items.frames.shape[0]
    least = constants[settings[Setting.IDENTITY]] if settings[Setting.IDENTITY] >= 0 else math.nan
    first_frame = 0
    while first_frame < n_frames:
        first, stop = frames.offsets[first_frame], frames.offsets[first_frame + 1]
        n_bindings = (stop - first) * (stop - first - 1) if any_pair else 1
        stop_frame = _stop_of_block(frames, first_frame, any_pair, capacity // max(n_bindings, 1))
        bind_tracks(bindings, memory, free, slots.moments, frames.track_ids[first:stop], n_bindings, any_pair)
        bound = bindings[memory[Memory.ACTIVE_TABLE], :n_bindings]
        n_items = bind_items(roles, bound, any_pair, least, frames, first_frame, stop_frame, items)
        calculate(code, constants, frames, items, n_items, slots, registers)
        for frame in range(first_frame, stop_frame):
            first_item = (frame - first_frame) * n_bindings
            state, item = _decide(settings, memory, bound, frames, frame, items, first_item, registers)
            if item < 0:
                item = 0
                bind_fixed_roles(roles, frames, frame, item, items.rows)
                registers[:, item] = math.nan
            _report(frames, frame, items, item, numbers, registers, outcomes, values)
            outcomes[frame, Outcome.STATE] = state
            outcomes[frame, Outcome.EDGE] = _close_frame(state, frames.timestamps_ns[frame], memory)
        first_frame = stop_frame


def evaluate_frames(
    code: NDArray[np.int32],
    constants: NDArray[np.float64],
    numbers: NDArray[np.int32],
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
        code: `(n_rows, 9)`, see `calculation.Column`.
        constants: `(n_constants,)` numbers of the expressions.
        numbers: `(n_comparisons,)`, the registers that hold the numbers compared.
        states: `(n_frames, n_columns, 1 + n_pairs)`, what rules that others name said of a frame, see `State`; then of
            its ordered pairs of tracks. A rule reads those evaluated before it, and writes its own column.
        roles: `(n_roles, 2)`, see `bindings.Role`.
        settings: See `Setting`.
        memory: See `bindings.Memory`; all zero before the first frame; changed in place.
        bindings: `(2, capacity, 6)`, see `bindings.Binding`; the last frame's and this frame's by turns; changed in
            place. The capacity is that of the largest frame: 1, or with "any pair" n (n - 1) for n tracks.
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
    frames = Frames(
        offsets,
        timestamps_ns,
        track_ids,
        xy,
        predicted_xy,
        node_scores,
        identity_confidence,
        class_ids,
        suspect_ids,
        corrected_ids,
        states,
    )
    capacity = min(max(BLOCK, bindings.shape[1]), timestamps_ns.shape[0] * bindings.shape[1])
    items = Items(
        np.empty((roles.shape[0], capacity), np.int64),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.int64),
        np.empty(capacity, np.bool_),
    )
    registers = np.empty((settings[Setting.N_REGISTERS], capacity))
    _evaluate_blocks(
        code,
        constants,
        numbers,
        roles,
        settings,
        memory,
        bindings,
        Slots(moments, amounts),
        free,
        frames,
        items,
        registers,
        outcomes,
        values,
    )


@functools.cache
def machine_code() -> Callable[..., None]:
    """Return `evaluate_frames` compiled; the first call compiles it or loads it from Numba's cache.

    The signature is fixed: arrays that are read-only are taken as they are, and a wrong layout or dtype is a
    `TypeError` at once, where Numba would otherwise stop the loop for seconds to compile for it.
    """
    i32, i64, f32, f64 = numba.int32, numba.int64, numba.float32, numba.float64
    states = array_of(numba.int8, 3, readonly=False)
    program = (array_of(i32, 2), array_of(f64, 1), array_of(i32, 1), states, array_of(i32, 2), array_of(i64, 1))
    memory = (
        array_of(i64, 1, readonly=False),
        array_of(i64, 3, readonly=False),
        array_of(i64, 2, readonly=False),
        array_of(f64, 2, readonly=False),
        array_of(i64, 1, readonly=False),
    )
    frames = (array_of(i64, 1), array_of(i64, 1))
    tracks = (
        array_of(i32, 1),
        array_of(f32, 3),
        array_of(f32, 3),
        array_of(f32, 2),
        array_of(f32, 1),
        *(array_of(i32, 1),) * 3,
    )
    results = (array_of(i32, 2, readonly=False), array_of(f64, 2, readonly=False))
    signature = numba.void(*program, *memory, *frames, *tracks, *results)
    return compiled(evaluate_frames, signature, allocates=True, lets_others_run=True)
