"""Filters: the velocity of each group of an animal's nodes, and where it takes them.

A group goes as a whole: of all its nodes the median displacement is what a Kalman filter with constant velocity sees.
On two real flies, a velocity of each node's own follows the noise of that node, and a rotation beside the translation
gains nothing (`python -m benchmarks.lookahead`).
"""

import math

import numpy as np
from numpy.typing import NDArray

from realtime import kalman
from realtime.compiled import inner
from realtime.geometry import body_length, displacement, visible_nodes
from realtime.lookahead.memory import NEVER, Answer, Clock, Memory, Settings

JUMP = 0.5
"""A sighting farther than this (in body lengths) from where its group was expected tells no velocity."""

FIRST_SPEED = 3.0
"""How fast an animal may be when it is first seen, body lengths / s."""

BODY_LENGTH_MEMORY_S = 1.0
"""Time over which a body length is averaged."""


@inner
def seat(memory: Memory, track_ids: NDArray[np.int32]) -> None:
    """Give each row of a frame the slot of its track; a new track gets one of those whose track has ended."""
    for slot in range(memory.ids.size):
        if memory.ids[slot] != 0 and _row_of(track_ids, memory.ids[slot]) < 0:
            memory.ids[slot] = 0
    for row in range(track_ids.size):
        memory.slot_of[row] = -1
        for slot in range(memory.ids.size):
            if memory.ids[slot] == track_ids[row]:
                memory.slot_of[row] = slot
        if memory.slot_of[row] < 0:
            memory.slot_of[row] = _begin(memory, track_ids[row])


@inner
def _row_of(track_ids: NDArray[np.int32], track_id: int) -> int:
    for row in range(track_ids.size):
        if track_ids[row] == track_id:
            return row
    return -1


@inner
def _begin(memory: Memory, track_id: int) -> int:
    """Return a free slot for a track of which nothing is known."""
    slot = 0
    while memory.ids[slot] != 0:
        slot += 1
    memory.ids[slot] = track_id
    memory.body_px[slot] = 0.0
    memory.is_on[slot] = 1
    memory.graded[slot] = 0.0
    forget(memory, slot)
    return slot


@inner
def forget(memory: Memory, slot: int) -> None:
    """Forget where a track's animal was: it is another one now."""
    memory.seen_ns[slot] = NEVER
    for place in range(memory.target_ns.size):
        memory.waiting_ids[place, slot] = 0


@inner
def follow(memory: Memory, settings: Settings, slot: int, xy: NDArray[np.float32], now_ns: int) -> None:
    """Take in the pose in which a track is seen."""
    for node in range(xy.shape[0]):
        memory.after[node, 0], memory.after[node, 1] = xy[node, 0], xy[node, 1]
    _learn_body_length(memory, settings, slot, now_ns)
    for group in range(memory.seen_ns.shape[1]):
        is_seen = False
        for node in range(xy.shape[0]):
            belongs = memory.group_of[node] == group
            for axis in range(2):
                memory.before[node, axis] = memory.pose[slot, node, axis] if belongs else np.nan
                memory.after[node, axis] = xy[node, axis] if belongs else np.nan
            is_seen = is_seen or not math.isnan(memory.after[node, 0])
        if is_seen:
            _learn_velocity(memory, settings, slot, group, now_ns)
            for node in range(xy.shape[0]):
                if memory.group_of[node] == group:
                    memory.pose[slot, node, 0], memory.pose[slot, node, 1] = (
                        memory.after[node, 0],
                        memory.after[node, 1],
                    )
            memory.seen_ns[slot, group] = now_ns


@inner
def _learn_body_length(memory: Memory, settings: Settings, slot: int, now_ns: int) -> None:
    """Average the length of the pose in `after`."""
    length = max(body_length(memory.after), settings.min_body_px)
    if memory.body_px[slot] == 0.0:
        memory.body_px[slot] = length
    elif 2 * visible_nodes(memory.after) > memory.after.shape[0]:
        elapsed_s = (now_ns - memory.clock[Clock.FRAME_NS]) * 1e-9
        memory.body_px[slot] -= math.expm1(-elapsed_s / BODY_LENGTH_MEMORY_S) * (length - memory.body_px[slot])


@inner
def _learn_velocity(memory: Memory, settings: Settings, slot: int, group: int, now_ns: int) -> None:
    """Take in how far a group went from `before` to `after`."""
    velocity, filtered, body_px = memory.velocity[slot, group], memory.filtered[slot, group], memory.body_px[slot]
    noise = (settings.noise * body_px) ** 2
    if memory.seen_ns[slot, group] == NEVER:
        kalman.rest(velocity, filtered, noise, FIRST_SPEED * body_px)
        return
    elapsed_s = (now_ns - memory.seen_ns[slot, group]) * 1e-9
    dx, dy = displacement(memory.before, memory.after, memory.dx, memory.dy)
    off_x, off_y = dx - filtered[0] - velocity[0] * elapsed_s, dy - filtered[1] - velocity[1] * elapsed_s
    if math.hypot(off_x, off_y) <= JUMP * body_px:
        kalman.correct(velocity, filtered, dx, dy, elapsed_s, settings.acceleration * body_px * body_px, noise)
    else:  # a jump, or no node that was seen both times
        kalman.rest(velocity, filtered, noise, FIRST_SPEED * body_px)


@inner
def predict(memory: Memory, slot: int, xy: NDArray[np.float32], horizon_s: float, answer: Answer, row: int) -> None:
    """Write where a track's nodes will be; a node in no group, or in one that is switched off, stays where it is."""
    for node in range(xy.shape[0]):
        group = memory.group_of[node]
        answer.xy[row, node, 0], answer.xy[row, node, 1] = xy[node, 0], xy[node, 1]
        if group >= 0 and memory.is_on[slot, group]:
            answer.xy[row, node, 0] += memory.velocity[slot, group, 0] * horizon_s
            answer.xy[row, node, 1] += memory.velocity[slot, group, 1] * horizon_s
