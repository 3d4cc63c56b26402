"""Answers: the `Tracks` that an update returns, with arrays of their own or with arrays that are used again."""

from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from realtime.tracking.state import TrackState
from realtime.tracking.update import TrackRows
from realtime.tracks import Tracks

Arrays = tuple[NDArray[np.generic], ...]
_FIELDS = tuple(field.name for field in fields(Tracks))


class Answers:
    """Copies what the compiled tracker knows into `Tracks`.

    Args:
        state: Where ids, times and classes stand.
        rows: Where the rest stands.
        n_reused: How many answers take turns: each is overwritten when so many others have been given. 0 = never.
    """

    def __init__(self, state: TrackState, rows: TrackRows, n_reused: int) -> None:
        self._source = (
            state.ids,
            rows.xy,
            rows.node_scores,
            rows.identity_confidence,
            state.last_seen_ns,
            state.class_ids,
            state.suspect_ids,
            state.corrected_ids,
        )
        max_tracks, n_nodes = rows.node_scores.shape
        self._max_tracks, self._n_nodes = max_tracks, n_nodes
        self._room = [empty_tracks(max_tracks, n_nodes) for _ in range(n_reused)]
        self._made: list[dict[int, tuple[Tracks, Arrays]]] = [{} for _ in range(n_reused)]
        self._sources: dict[int, Arrays] = {}
        self._turn = 0

    def give(self, n_tracks: int) -> Tracks:
        """Return the first `n_tracks` tracks."""
        if n_tracks not in self._sources:
            self._sources[n_tracks] = tuple([array[:n_tracks] for array in self._source])
        tracks, arrays = self._next(n_tracks)
        for array, source in zip(arrays, self._sources[n_tracks], strict=True):
            np.copyto(array, source, casting="same_kind")
        return tracks

    def _next(self, n_tracks: int) -> tuple[Tracks, Arrays]:
        if not self._room:
            tracks = empty_tracks(n_tracks, self._n_nodes)
            return tracks, _arrays(tracks)
        self._turn = (self._turn + 1) % len(self._room)
        made = self._made[self._turn]
        if n_tracks not in made:
            arrays = tuple([array[:n_tracks] for array in _arrays(self._room[self._turn])])
            made[n_tracks] = Tracks(**dict(zip(_FIELDS, arrays, strict=True))), arrays  # type: ignore[arg-type]
        return made[n_tracks]


def empty_tracks(n_tracks: int, n_nodes: int) -> Tracks:
    """Return tracks whose values are still to be written."""
    return Tracks(
        track_ids=np.empty(n_tracks, np.int32),
        xy=np.empty((n_tracks, n_nodes, 2), np.float32),
        node_scores=np.empty((n_tracks, n_nodes), np.float32),
        identity_confidence=np.empty(n_tracks, np.float32),
        last_seen_ns=np.empty(n_tracks, np.int64),
        class_ids=np.empty(n_tracks, np.int32),
        suspect_ids=np.empty(n_tracks, np.int32),
        corrected_ids=np.empty(n_tracks, np.int32),
    )


def _arrays(tracks: Tracks) -> Arrays:
    return tuple([getattr(tracks, name) for name in _FIELDS])
