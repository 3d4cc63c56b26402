"""A whole recording at once: the tracks of all its frames, and what a rule said of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from realtime.decision import Decision, Edge, State
from realtime.tracks import Tracks

_ROW_ARRAYS = ("track_ids", "xy", "node_scores", "identity_confidence", "class_ids", "suspect_ids", "corrected_ids")


@dataclass(frozen=True, slots=True)
class TrackTable:
    """The `Tracks` of many frames, one below the other; those of frame i are rows `offsets[i]` to `offsets[i + 1]`.

    Attributes:
        frame_ids: `(n_frames,)` int64.
        timestamps_ns: `(n_frames,)` int64, ascending.
        offsets: `(n_frames + 1,)` int64, from 0 to `n_rows`.
        track_ids: `(n_rows,)` int32, ascending within a frame.
        xy: `(n_rows, n_nodes, 2)` float32, px; NaN = not seen.
        node_scores: `(n_rows, n_nodes)` float32.
        identity_confidence: `(n_rows,)` float32.
        class_ids: `(n_rows,)` int32, -1 = unknown.
        suspect_ids: `(n_rows,)` int32, 0 = not suspected of being another animal.
        corrected_ids: `(n_rows,)` int32, 0 = shows the same animal as in the frame before, as far as is known.
        predicted_xy: `(n_rows, n_nodes, 2)` float32, px, where they will be; None where a frame does not say.
    """

    frame_ids: NDArray[np.int64]
    timestamps_ns: NDArray[np.int64]
    offsets: NDArray[np.int64]
    track_ids: NDArray[np.int32]
    xy: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    identity_confidence: NDArray[np.float32]
    class_ids: NDArray[np.int32]
    suspect_ids: NDArray[np.int32]
    corrected_ids: NDArray[np.int32]
    predicted_xy: NDArray[np.float32] | None = None

    @classmethod
    def stack(cls, frame_ids: Sequence[int], timestamps_ns: Sequence[int], frames: Sequence[Tracks]) -> Self:
        """Return the table of at least one frame.

        Raises:
            ValueError: The three sequences are empty or differ in length.
        """
        if not len(frame_ids) == len(timestamps_ns) == len(frames) > 0:
            raise ValueError(
                "track table: expected as many frame ids, timestamps and tracks, and at least one, got "
                f"{len(frame_ids)}, {len(timestamps_ns)} and {len(frames)}"
            )
        predicted = [tracks.prediction.xy for tracks in frames if tracks.prediction is not None]
        return cls(
            np.array(frame_ids, np.int64),
            np.array(timestamps_ns, np.int64),
            np.cumsum([0, *(len(tracks.track_ids) for tracks in frames)], dtype=np.int64),
            np.concatenate([tracks.track_ids for tracks in frames]),
            np.concatenate([tracks.xy for tracks in frames]),
            np.concatenate([tracks.node_scores for tracks in frames]),
            np.concatenate([tracks.identity_confidence for tracks in frames]),
            np.concatenate([tracks.class_ids for tracks in frames]),
            np.concatenate([tracks.suspect_ids for tracks in frames]),
            np.concatenate([tracks.corrected_ids for tracks in frames]),
            np.concatenate(predicted) if len(predicted) == len(frames) else None,
        )

    def head(self, n_frames: int) -> Self:
        """Return the first frames; the arrays are views."""
        n_rows = int(self.offsets[n_frames])
        rows = {name: getattr(self, name)[:n_rows] for name in _ROW_ARRAYS}
        predicted_xy = None if self.predicted_xy is None else self.predicted_xy[:n_rows]
        frames = self.frame_ids[:n_frames], self.timestamps_ns[:n_frames], self.offsets[: n_frames + 1]
        return type(self)(*frames, predicted_xy=predicted_xy, **rows)

    def tracks(self, index: int) -> Tracks:
        """Return the tracks of one frame, without a prediction; `last_seen_ns`, which no rule knows, is 0."""
        first, stop = self.offsets[index : index + 2].tolist()
        rows = {name: getattr(self, name)[first:stop] for name in _ROW_ARRAYS}
        return Tracks(last_seen_ns=np.zeros(stop - first, np.int64), **rows)


@dataclass(frozen=True, slots=True)
class DecisionTable:
    """What a rule said of every frame of a recording; `decision(i)` is the `Decision` of frame i.

    Attributes:
        rule: The rule's name.
        units: The unit of each column of `values`.
        frame_ids: `(n_frames,)` int64.
        timestamps_ns: `(n_frames,)` int64.
        states: `(n_frames,)` int32, see `State`.
        edges: `(n_frames,)` int32, see `Edge`.
        track_ids: `(n_frames, n_roles)` int32, 0 where a role has no animal.
        values: `(n_frames, n_comparisons)` float64, the numbers compared; NaN = not known.
    """

    rule: str
    units: tuple[str, ...]
    frame_ids: NDArray[np.int64]
    timestamps_ns: NDArray[np.int64]
    states: NDArray[np.int32]
    edges: NDArray[np.int32]
    track_ids: NDArray[np.int32]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.frame_ids)

    def decision(self, index: int) -> Decision:
        """Return the decision of one frame, equal to what the live rule would have returned."""
        track_ids: list[int] = self.track_ids[index].tolist()
        return Decision(
            self.rule,
            int(self.frame_ids[index]),
            int(self.timestamps_ns[index]),
            State(self.states[index]),
            Edge(self.edges[index]),
            () if 0 in track_ids else tuple(track_ids),
            tuple(self.values[index].tolist()),
            self.units,
        )
