"""Tracks: the animals of one frame, each with its continuity over time."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Switch:
    """The look-ahead of a group of an animal's nodes was switched off, because it was worse than none, or on again.

    Attributes:
        track_id: The animal's track.
        group: The group's name.
        is_on: Whether it is on now.
        error_px: Mean error of its predictions over the time in which they are graded, px.
        pose_error_px: The same without prediction: of taking the last pose.
    """

    track_id: int
    group: str
    is_on: bool
    error_px: float
    pose_error_px: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """Where the animals of a frame will be when a stimulus that is decided on it takes effect; rows as in its `Tracks`.

    Attributes:
        horizon_ns: How far ahead that is taken to be, ns.
        xy: `(n_tracks, n_nodes, 2)` float32, px; NaN = not seen in this frame. A node whose group is switched off, or
            that is in none, is where it is seen.
        is_on: `(n_tracks, n_groups)` bool, whether the predictions of a group are used.
        error_px: `(n_tracks, n_groups)` float32, how far off the predictions were whose time came with this frame, px,
            used or not; NaN = there were none.
        pose_error_px: `(n_tracks, n_groups)` float32, the same without prediction.
        switches: Groups that were switched off or on with this frame.
    """

    horizon_ns: int
    xy: NDArray[np.float32]
    is_on: NDArray[np.bool_]
    error_px: NDArray[np.float32]
    pose_error_px: NDArray[np.float32]
    switches: tuple[Switch, ...]


@dataclass(frozen=True, slots=True)
class Tracks:
    """Every living track, rows in ascending `track_ids` order whether it was seen in this frame or not.

    Attributes:
        track_ids: `(n_tracks,)` int32, ascending, never reused within a session, first is 1.
        xy: `(n_tracks, n_nodes, 2)` float32, px of the full frame; NaN = not seen in this frame.
        node_scores: `(n_tracks, n_nodes)` float32, 0–1; 0 where `xy` is NaN.
        identity_confidence: `(n_tracks,)` float32, 0–1, how sure it is that the row is still the same animal.
        last_seen_ns: `(n_tracks,)` int64, `Frame.timestamp_ns` of the last frame in which the animal was seen.
        class_ids: `(n_tracks,)` int32, index into the class names, -1 = unknown.
        suspect_ids: `(n_tracks,)` int32, the row may be the animal of this track since some time; its own id = of any;
            0 = not suspected.
        corrected_ids: `(n_tracks,)` int32, in this frame the row got the animal of this track, and the other way round,
            because a swap was found out; 0 = no correction.
        prediction: Where the animals will be; None without look-ahead.
    """

    track_ids: NDArray[np.int32]
    xy: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    identity_confidence: NDArray[np.float32]
    last_seen_ns: NDArray[np.int64]
    class_ids: NDArray[np.int32]
    suspect_ids: NDArray[np.int32]
    corrected_ids: NDArray[np.int32]
    prediction: Prediction | None = None

    def placed(self, xy: NDArray[np.float32], prediction: Prediction | None) -> "Tracks":
        """Return the same animals with these points and this prediction; no array is copied.

        By hand, because `dataclasses.replace` takes twice as long, and this is done in every frame.
        """
        return Tracks(
            self.track_ids,
            xy,
            self.node_scores,
            self.identity_confidence,
            self.last_seen_ns,
            self.class_ids,
            self.suspect_ids,
            self.corrected_ids,
            prediction,
        )


ARRAYS: Final = tuple(name for name in Tracks.__slots__ if name != "prediction")
"""The fields of `Tracks` that have a row for each track."""
