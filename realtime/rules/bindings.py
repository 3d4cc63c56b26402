"""Which animals a rule's roles are bound to, and what is remembered of each binding from frame to frame."""

import functools
import math
from collections.abc import Callable
from enum import IntEnum

import numba
import numpy as np
from numpy.typing import NDArray

from realtime.compiled import array_of, compiled, inlined, inner
from realtime.rules.calculation import Frames, Items


class Role(IntEnum):
    """How a role finds its animal. A row of roles is (how, value)."""

    PAIR_FIRST = 0
    PAIR_SECOND = 1
    IDENTITY = 2  # value: class id; no animal where none or more than one track has it
    TRACK = 3  # value: track id


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


@inner
def _next_pair(one: int, other: int, first: int, stop: int) -> tuple[int, int]:
    """Return the ordered pair of rows `first` to `stop` after another one; the one before all is (first, first - 1)."""
    other += 2 if other + 1 == one else 1
    return (one, other) if other < stop else (one + 1, first)


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
def bind_tracks(
    bindings: NDArray[np.int64],
    memory: NDArray[np.int64],
    free: NDArray[np.int64],
    moments: NDArray[np.int64],
    track_ids: NDArray[np.int32],
    n_bindings: int,
    any_pair: bool,
) -> None:
    """Make the table of the bindings of the tracks that a frame has; what was bound before and is still there goes on.

    Args:
        bindings: The two tables; the active one is read, the other one written and active then.
        memory: Of the rule.
        free: Places that were given back.
        moments: A place for each binding, see `windows`.
        track_ids: Of the frame, ascending.
        n_bindings: How many there are: 1, or the ordered pairs of tracks.
        any_pair: Whether they are pairs.
    """
    old, n_old, at = memory[Memory.ACTIVE_TABLE], memory[Memory.N_BINDINGS], 0
    one, other = 0, -1
    for index in range(n_bindings):
        first_id, second_id = 0, 0
        if any_pair:
            one, other = _next_pair(one, other, 0, track_ids.shape[0])
            first_id, second_id = track_ids[one], track_ids[other]
        at = _carry_over(bindings, memory, free, moments, old, n_old, at, index, first_id, second_id)
    for ended in range(at, n_old):
        _give_back(memory, free, bindings[old, ended, Binding.PLACE])
    memory[Memory.N_BINDINGS] = n_bindings
    memory[Memory.ACTIVE_TABLE] = 1 - old


@inlined
def bind_fixed_roles(roles: NDArray[np.int32], frames: Frames, frame: int, item: int, rows: NDArray[np.int64]) -> None:
    """Write the rows of the animals with an identity or a track id into an item; -1 where there is none."""
    for role in range(roles.shape[0]):
        how, value = roles[role, 0], roles[role, 1]
        rows[role, item] = -1
        if how in (Role.PAIR_FIRST, Role.PAIR_SECOND):
            continue
        found, n_found = -1, 0
        for row in range(frames.offsets[frame], frames.offsets[frame + 1]):
            if value == (frames.class_ids[row] if how == Role.IDENTITY else frames.track_ids[row]):
                found = row
                n_found += 1
        rows[role, item] = found if n_found == 1 else -1


@inner
def _identities_are_sure(items: Items, item: int, frames: Frames, least: float) -> bool:
    """Whether every role has an animal of at least this confidence that is not suspected of being another one."""
    for role in range(items.rows.shape[0]):
        row = items.rows[role, item]
        if row < 0 or frames.suspect_ids[row] != 0 or not frames.identity_confidence[row] >= least:  # NaN is not sure
            return False
    return True


@inner
def bind_items(
    roles: NDArray[np.int32],
    bindings: NDArray[np.int64],
    any_pair: bool,
    least: float,
    frames: Frames,
    first_frame: int,
    stop_frame: int,
    items: Items,
) -> int:
    """Write the items of frames that have the same bindings, and return how many there are.

    Args:
        roles: See `Role`.
        bindings: `(n_bindings, 6)`, see `Binding`.
        any_pair: Whether roles 0 and 1 are the members of a pair.
        least: The identity confidence that is required, NaN for none.
        frames: All frames.
        first_frame: The first of these.
        stop_frame: The one after the last of these.
        items: Written.
    """
    item = 0
    for frame in range(first_frame, stop_frame):
        first, stop = frames.offsets[frame], frames.offsets[frame + 1]
        one, other, first_item = first, first - 1, item
        for index in range(bindings.shape[0]):
            if item == first_item:
                bind_fixed_roles(roles, frames, frame, item, items.rows)
            else:
                for role in range(roles.shape[0]):
                    items.rows[role, item] = items.rows[role, first_item]
            if any_pair:
                one, other = _next_pair(one, other, first, stop)
                items.rows[0, item], items.rows[1, item] = one, other
            items.frames[item] = frame
            items.places[item] = bindings[index, Binding.PLACE]
            items.sure[item] = math.isnan(least) or _identities_are_sure(items, item, frames, least)
            item += 1
    return item


def _bound_rows(
    roles: NDArray[np.int32],
    any_pair: bool,
    least: float,
    track_ids: NDArray[np.int32],
    identity_confidence: NDArray[np.float32],
    class_ids: NDArray[np.int32],
    suspect_ids: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Find the animals of every binding in one frame, see `bind_items`.

    Args:
        roles: See `Role`.
        any_pair: Whether roles 0 and 1 are the members of a pair.
        least: The identity confidence that is required, NaN for none.
        track_ids: `(n_tracks,)`, and the next three: of the frame's `Tracks`.
        identity_confidence: See there.
        class_ids: See there.
        suspect_ids: See there.

    Returns:
        The rows of each binding's animals, `(n_roles, n_bindings)`, and whether they are all there and who they seem,
        `(n_bindings,)`.
    """
    n_tracks, n_roles = track_ids.shape[0], roles.shape[0]
    n_bindings = n_tracks * (n_tracks - 1) if any_pair else 1
    offsets = np.array([0, n_tracks])
    no_points, no_scores = np.empty((0, 0, 0), np.float32), np.empty((0, 0), np.float32)
    frames = Frames(
        offsets,
        offsets,
        track_ids,
        no_points,
        no_points,
        no_scores,
        identity_confidence,
        class_ids,
        suspect_ids,
        suspect_ids,
        np.empty((0, 0, 0), np.int8),
    )
    items = Items(
        np.empty((n_roles, n_bindings), np.int64),
        np.empty(n_bindings, np.int64),
        np.empty(n_bindings, np.int64),
        np.empty(n_bindings, np.bool_),
    )
    bindings = np.zeros((n_bindings, Binding.PLACE + 1), np.int64)
    bind_items(roles, bindings, any_pair, least, frames, 0, 1, items)
    for item in range(n_bindings):
        for role in range(n_roles):
            items.sure[item] = items.sure[item] and items.rows[role, item] >= 0
    return items.rows, items.sure


@functools.cache
def bound_rows() -> Callable[..., tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """Return `_bound_rows` compiled; the first call compiles it or loads it from Numba's cache."""
    ids, confidences = array_of(numba.int32), array_of(numba.float32)
    signature = (array_of(numba.int32, 2), numba.boolean, numba.float64, ids, confidences, ids, ids)
    return compiled(_bound_rows, signature, allocates=True)
