"""Memory: what the look-ahead knows, laid out in two buffers, because each array that is handed over costs time."""

from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inner

N_PENDING = 64
"""Predictions of each animal that can wait to be graded; see `grading.SPACING`."""

NEVER = -1
"""In place of a time, ns."""

LONG_AGO_NS = -(2**62)
"""Before any time."""


class Clock(IntEnum):
    """Positions in `Memory.clock`."""

    FRAME_NS = 0  # time of the last frame
    NEXT = 1  # place of the next prediction to wait
    LATEST = 2  # place of the last frame's prediction, NEVER where it does not wait
    WAITING_NS = 3  # time of the frame of the last prediction that waits


class Sizes(NamedTuple):
    """How much room there is."""

    max_tracks: int
    n_nodes: int
    n_groups: int


class Settings(NamedTuple):
    """`LookAheadOptions` as the compiled code takes them; lengths in body lengths.

    Attributes:
        acceleration: Spectral density, (body lengths / s²)² s.
        noise: Of a sighting.
        grade_s: Time over which predictions are graded.
        min_body_px: Lower limit of a body length, px.
    """

    acceleration: float
    noise: float
    grade_s: float
    min_body_px: float


class Memory(NamedTuple):
    """What is known of every animal. A track keeps its slot as long as it lives, whatever its row.

    Attributes:
        clock: `(4,)`, see `Clock`.
        group_of: `(n_nodes,)` group of each node, -1 = none.
        ids: `(max_tracks,)` track of each slot, 0 = free.
        slot_of: `(max_tracks,)` slot of each row of the frame in hand.
        seen_ns: `(max_tracks, n_groups)` when a node of the group was last seen, `NEVER` before.
        is_on: `(max_tracks, n_groups)` 1 = predictions are used, 0 = switched off.
        target_ns: `(N_PENDING,)` time for which a prediction was made, `NEVER` = none waits here.
        waiting_ids: `(N_PENDING, max_tracks)` track of each slot then, 0 = none.
        pose: `(max_tracks, n_nodes, 2)` px, each group as last seen; NaN = not seen then.
        body_px: `(max_tracks,)` running body length.
        velocity: `(max_tracks, n_groups, 2)` px/s, see `kalman`.
        filtered: `(max_tracks, n_groups, 5)`, see `kalman`.
        graded: `(max_tracks, n_groups, 3)` what is left of the errors of predictions, px s, of those without
            prediction, px s, and of the time in which there were some, s.
        errors: `(max_tracks, n_groups, 3)` of the rows of this frame: sum of the errors of predictions, px, sum
            without prediction, px, and how many.
        waiting_pose: `(N_PENDING, max_tracks, n_nodes, 2)` px, the poses that predictions began with.
        waiting_shift: `(N_PENDING, max_tracks, n_groups, 2)` px, how far each group was predicted from there.
        before, after: `(n_nodes, 2)` room to work in, like the next two.
        dx, dy: `(n_nodes,)`.
    """

    clock: NDArray[np.int64]
    group_of: NDArray[np.int64]
    ids: NDArray[np.int64]
    slot_of: NDArray[np.int64]
    seen_ns: NDArray[np.int64]
    is_on: NDArray[np.int64]
    target_ns: NDArray[np.int64]
    waiting_ids: NDArray[np.int64]
    pose: NDArray[np.float64]
    body_px: NDArray[np.float64]
    velocity: NDArray[np.float64]
    filtered: NDArray[np.float64]
    graded: NDArray[np.float64]
    errors: NDArray[np.float64]
    waiting_pose: NDArray[np.float64]
    waiting_shift: NDArray[np.float64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    dx: NDArray[np.float64]
    dy: NDArray[np.float64]


class Answer(NamedTuple):
    """The arrays of a `Prediction`, with room for `max_tracks`; see there."""

    xy: NDArray[np.float32]
    error_px: NDArray[np.float32]
    pose_error_px: NDArray[np.float32]


def room(sizes: Sizes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the buffers of a `Memory`, for `memory_in`; `clear` has to make it one in which nothing is known."""
    tracks, nodes, groups = sizes
    n_floats = tracks * (1 + 2 * nodes + 13 * groups) + N_PENDING * tracks * 2 * (nodes + groups) + 6 * nodes
    n_integers = len(Clock) + nodes + 2 * tracks + 2 * tracks * groups + N_PENDING * (1 + tracks)
    return np.zeros(n_floats), np.zeros(n_integers, np.int64)


def clear(memory: Memory) -> None:
    """Forget every frame."""
    memory.clock[[Clock.FRAME_NS, Clock.LATEST, Clock.NEXT, Clock.WAITING_NS]] = NEVER, NEVER, 0, LONG_AGO_NS
    memory.ids[:] = 0
    memory.target_ns[:] = NEVER


def answer_room(sizes: Sizes) -> NDArray[np.float32]:
    """Return the buffer of an `Answer`, for `answer_in`."""
    return np.empty(2 * sizes.max_tracks * (sizes.n_nodes + sizes.n_groups), np.float32)


@inner
def memory_in(
    floats: NDArray[np.float64], integers: NDArray[np.int64], max_tracks: int, n_nodes: int, n_groups: int
) -> Memory:
    """Return the memory that lies in two buffers, as views of them."""
    tracks, nodes, groups = max_tracks, n_nodes, n_groups
    group_of = 4  # where it begins
    ids = group_of + nodes
    slot_of = ids + tracks
    seen_ns = slot_of + tracks
    is_on = seen_ns + tracks * groups
    target_ns = is_on + tracks * groups
    waiting_ids = target_ns + N_PENDING
    body_px = tracks * nodes * 2
    velocity = body_px + tracks
    filtered = velocity + tracks * groups * 2
    graded = filtered + tracks * groups * 5
    errors = graded + tracks * groups * 3
    waiting_pose = errors + tracks * groups * 3
    waiting_shift = waiting_pose + N_PENDING * tracks * nodes * 2
    before = waiting_shift + N_PENDING * tracks * groups * 2
    after = before + nodes * 2
    dx = after + nodes * 2
    dy = dx + nodes
    return Memory(
        clock=integers[:group_of],
        group_of=integers[group_of:ids],
        ids=integers[ids:slot_of],
        slot_of=integers[slot_of:seen_ns],
        seen_ns=integers[seen_ns:is_on].reshape(tracks, groups),
        is_on=integers[is_on:target_ns].reshape(tracks, groups),
        target_ns=integers[target_ns:waiting_ids],
        waiting_ids=integers[waiting_ids:].reshape(N_PENDING, tracks),
        pose=floats[:body_px].reshape(tracks, nodes, 2),
        body_px=floats[body_px:velocity],
        velocity=floats[velocity:filtered].reshape(tracks, groups, 2),
        filtered=floats[filtered:graded].reshape(tracks, groups, 5),
        graded=floats[graded:errors].reshape(tracks, groups, 3),
        errors=floats[errors:waiting_pose].reshape(tracks, groups, 3),
        waiting_pose=floats[waiting_pose:waiting_shift].reshape(N_PENDING, tracks, nodes, 2),
        waiting_shift=floats[waiting_shift:before].reshape(N_PENDING, tracks, groups, 2),
        before=floats[before:after].reshape(nodes, 2),
        after=floats[after:dx].reshape(nodes, 2),
        dx=floats[dx:dy],
        dy=floats[dy:],
    )


@inner
def answer_in(buffer: NDArray[np.float32], max_tracks: int, n_nodes: int, n_groups: int) -> Answer:
    """Return the answer that lies in a buffer, as views of it."""
    error_px = max_tracks * n_nodes * 2  # where it begins
    pose_error_px = error_px + max_tracks * n_groups
    return Answer(
        xy=buffer[:error_px].reshape(max_tracks, n_nodes, 2),
        error_px=buffer[error_px:pose_error_px].reshape(max_tracks, n_groups),
        pose_error_px=buffer[pose_error_px:].reshape(max_tracks, n_groups),
    )
