"""LookAhead: tracks in, the same tracks out with where they will be at the time of a stimulus."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import in_python
from realtime.lookahead.frame import look
from realtime.lookahead.latency import RunningMedian
from realtime.lookahead.memory import Answer, Memory, Settings, Sizes, answer_in, answer_room, clear, memory_in, room
from realtime.lookahead.options import MAX_HORIZON_MS, LookAheadOptions
from realtime.tracks import Prediction, Switch, Tracks

_MAX_NS: Final = round(MAX_HORIZON_MS * 1e6)


@dataclass(slots=True)
class _Room:
    """The memory of one prediction.

    Attributes:
        answer: See `memory.answer_in`.
        flags: See `grading.grade`.
        source: The tracks to which the prediction was added last, or None.
        result: The tracks with it.
    """

    answer: NDArray[np.float32]
    flags: NDArray[np.bool_]
    source: Tracks | None = None
    result: Tracks | None = None


class LookAhead:
    """Predicts every animal from its pose and velocity, and grades itself.

    What it says depends on the tracks, their times and the latencies that it is told, on nothing else; so a replay says
    the same to the bit.

    Args:
        options: How.
        node_names: Landmarks of the skeleton.
        max_tracks: More never live at a time.
        min_body_px: Lower limit of a body length, px.
        n_reused: For a loop that never keeps what it is told: how many `Prediction`s take turns, so that no array is
            allocated. Each is overwritten when so many others have been returned. 0 = each is the receiver's own.

    Raises:
        ValueError: A group names a node that the skeleton does not have.
    """

    def __init__(
        self,
        options: LookAheadOptions,
        node_names: Sequence[str],
        max_tracks: int,
        min_body_px: float = 1.0,
        n_reused: int = 0,
    ) -> None:
        for group, node in options.strangers(node_names):
            raise ValueError(
                f"look-ahead: expected nodes of the skeleton ({', '.join(node_names)}) in group '{group}', got '{node}'"
            )
        groups = options.groups_of(node_names)
        self.groups: Final = tuple(groups)
        self._sizes = Sizes(max_tracks, len(node_names), len(groups))
        settings = Settings(options.acceleration, options.noise, options.grade_s, min_body_px)
        self._settings = np.array([*settings, *self._sizes])
        self._buffers = room(self._sizes)
        self._memory: Memory = in_python(memory_in)(*self._buffers, *self._sizes)
        self._memory.group_of[:] = -1
        for index, nodes in enumerate(groups.values()):
            self._memory.group_of[[node_names.index(node) for node in nodes]] = index
        self._fixed_ns = None if options.horizon_ms is None else round(options.horizon_ms * 1e6)
        self._stated_ns = round((options.camera_latency_ms + options.device_latency_ms) * 1e6)
        self._rooms = [self._new_room() for _ in range(n_reused)]
        self.reset()

    @property
    def n_nodes(self) -> int:
        """Landmarks of the skeleton."""
        return self._sizes.n_nodes

    def reset(self) -> None:
        """Forget every frame and every latency."""
        clear(self._memory)
        self._latency = RunningMedian()
        self._true_ns = 0
        self._turn = 0

    def warm_up(self) -> None:
        """Compile what `predict` needs, then forget everything."""
        nobody = np.zeros(0, np.int32)
        self._look(nobody, np.zeros((0, self._sizes.n_nodes, 2), np.float32), nobody, 0, 0, self._new_room())
        self.reset()

    @property
    def horizon_ns(self) -> int:
        """How far the next frame is looked ahead, ns."""
        if self._fixed_ns is not None:
            return self._fixed_ns
        return max(0, min(self._latency.value_ns + self._stated_ns, _MAX_NS))

    def predict(self, tracks: Tracks, timestamp_ns: int) -> Tracks:
        """Return a frame's tracks with a prediction.

        Args:
            tracks: Of the next frame.
            timestamp_ns: Its time. Nothing is learnt from a frame that has the time of the one before.

        Raises:
            ValueError: There are more than `max_tracks`.
        """
        if len(tracks.track_ids) > self._sizes.max_tracks:
            raise ValueError(
                f"look-ahead: expected at most {self._sizes.max_tracks} tracks, got {len(tracks.track_ids)}"
            )
        horizon_ns, into = self.horizon_ns, self._next_room()
        n_switched = self._look(tracks.track_ids, tracks.xy, tracks.corrected_ids, timestamp_ns, horizon_ns, into)
        self._true_ns = 0
        if into.source is tracks and into.result is not None and not n_switched:
            made = into.result.prediction
            if made is not None and made.horizon_ns == horizon_ns:
                return into.result  # the loop's trackers take turns with their answers too
        switches = self._switches(tracks.track_ids, into.flags) if n_switched else ()
        result = self._joined(tracks, horizon_ns, into, switches)
        into.source, into.result = (None, None) if switches else (tracks, result)
        return result

    def learn_latency(self, latency_ns: int) -> None:
        """Take in how long it took from the last frame's being available to its command, ns.

        It is the true horizon at which that frame's prediction is graded, and counts for those to come.
        """
        if self._fixed_ns is None:
            self._latency.add(latency_ns)
            self._true_ns = max(0, min(latency_ns + self._stated_ns, _MAX_NS))

    def _look(
        self,
        track_ids: NDArray[np.int32],
        xy: NDArray[np.float32],
        corrected_ids: NDArray[np.int32],
        timestamp_ns: int,
        horizon_ns: int,
        into: _Room,
    ) -> int:
        return look(
            self._settings,
            *self._buffers,
            track_ids,
            xy,
            corrected_ids,
            timestamp_ns,
            horizon_ns,
            self._true_ns,
            into.answer,
            into.flags,
        )

    def _joined(self, tracks: Tracks, horizon_ns: int, into: _Room, switches: tuple[Switch, ...]) -> Tracks:
        n = len(tracks.track_ids)
        answer: Answer = in_python(answer_in)(into.answer, *self._sizes)
        prediction = Prediction(
            horizon_ns, answer.xy[:n], into.flags[0, :n], answer.error_px[:n], answer.pose_error_px[:n], switches
        )
        return tracks.placed(tracks.xy, prediction)

    def _switches(self, track_ids: NDArray[np.int32], flags: NDArray[np.bool_]) -> tuple[Switch, ...]:
        found = []
        for row, group in np.argwhere(flags[1, : len(track_ids)]).tolist():
            error, pose_error, seconds = self._memory.graded[self._memory.slot_of[row], group].tolist()
            is_on = bool(flags[0, row, group])
            found.append(Switch(int(track_ids[row]), self.groups[group], is_on, error / seconds, pose_error / seconds))
        return tuple(found)

    def _next_room(self) -> _Room:
        if not self._rooms:
            return self._new_room()
        into = self._rooms[self._turn]
        self._turn = (self._turn + 1) % len(self._rooms)
        return into

    def _new_room(self) -> _Room:
        flags = np.zeros((2, self._sizes.max_tracks, self._sizes.n_groups), np.bool_)
        return _Room(answer_room(self._sizes), flags)
