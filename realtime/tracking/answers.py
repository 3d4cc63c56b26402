"""Answers: the memory into which the compiled tracker writes what it knows, and the `Tracks` that are views of it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import in_python, inlined
from realtime.tracks import Tracks


class TrackRows(NamedTuple):
    """The fields of `Tracks`, with room for `max_tracks`; see there."""

    last_seen_ns: NDArray[np.int64]
    track_ids: NDArray[np.int32]
    class_ids: NDArray[np.int32]
    suspect_ids: NDArray[np.int32]
    corrected_ids: NDArray[np.int32]
    identity_confidence: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    xy: NDArray[np.float32]


class Answers:
    """Gives every frame memory for its answer.

    Args:
        max_tracks: Tracks in an answer.
        n_nodes: Landmarks of the skeleton.
        n_reused: How many answers take turns: each is overwritten when so many others have been given. 0 = never.
    """

    def __init__(self, max_tracks: int, n_nodes: int, n_reused: int) -> None:
        self._max_tracks, self._n_nodes = max_tracks, n_nodes
        self._rooms = [self._new_room() for _ in range(n_reused)]
        self._made: list[dict[int, Tracks]] = [{} for _ in range(n_reused)]
        self._turn = 0

    def room(self) -> NDArray[np.int64]:
        """Return the memory of the next answer, for `rows_in`; it is the same until `tracks` was asked for."""
        if not self._rooms:
            return self._new_room()
        return self._rooms[self._turn]

    def tracks(self, room: NDArray[np.int64], n_tracks: int) -> Tracks:
        """Return the first `n_tracks` tracks that were written into the last `room`."""
        if not self._rooms:
            return _views(room, n_tracks, self._max_tracks, self._n_nodes)
        made = self._made[self._turn]
        self._turn = (self._turn + 1) % len(self._rooms)
        if n_tracks not in made:
            made[n_tracks] = _views(room, n_tracks, self._max_tracks, self._n_nodes)
        return made[n_tracks]

    def _new_room(self) -> NDArray[np.int64]:
        n_floats = self._max_tracks * (3 * self._n_nodes + 1)
        return np.empty(3 * self._max_tracks + (n_floats + 1) // 2, np.int64)


def again(tracks: Tracks) -> Tracks:
    """Return the same tracks once more, as an answer to a frame in which nothing happened."""
    return Tracks(
        track_ids=tracks.track_ids.copy(),
        xy=tracks.xy.copy(),
        node_scores=tracks.node_scores.copy(),
        identity_confidence=tracks.identity_confidence.copy(),
        last_seen_ns=tracks.last_seen_ns.copy(),
        class_ids=tracks.class_ids.copy(),
        suspect_ids=tracks.suspect_ids.copy(),
        corrected_ids=np.zeros_like(tracks.corrected_ids),
    )


@inlined
def rows_in(room: NDArray[np.int64], max_tracks: int, n_nodes: int) -> TrackRows:
    """Return the rows that lie in an answer's memory, as views of it."""
    ids = room[max_tracks : 3 * max_tracks].view(np.int32)
    floats = room[3 * max_tracks :].view(np.float32)
    node_scores = max_tracks  # where they begin
    xy = node_scores + max_tracks * n_nodes
    return TrackRows(
        last_seen_ns=room[:max_tracks],
        track_ids=ids[:max_tracks],
        class_ids=ids[max_tracks : 2 * max_tracks],
        suspect_ids=ids[2 * max_tracks : 3 * max_tracks],
        corrected_ids=ids[3 * max_tracks :],
        identity_confidence=floats[:node_scores],
        node_scores=floats[node_scores:xy].reshape(max_tracks, n_nodes),
        xy=floats[xy : xy + 2 * max_tracks * n_nodes].reshape(max_tracks, n_nodes, 2),
    )


def _views(room: NDArray[np.int64], n_tracks: int, max_tracks: int, n_nodes: int) -> Tracks:
    rows: TrackRows = in_python(rows_in)(room, max_tracks, n_nodes)
    return Tracks(
        track_ids=rows.track_ids[:n_tracks],
        xy=rows.xy[:n_tracks],
        node_scores=rows.node_scores[:n_tracks],
        identity_confidence=rows.identity_confidence[:n_tracks],
        last_seen_ns=rows.last_seen_ns[:n_tracks],
        class_ids=rows.class_ids[:n_tracks],
        suspect_ids=rows.suspect_ids[:n_tracks],
        corrected_ids=rows.corrected_ids[:n_tracks],
    )
