"""Tracks: the animals of one frame, each with its continuity over time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
    """

    track_ids: NDArray[np.int32]
    xy: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    identity_confidence: NDArray[np.float32]
    last_seen_ns: NDArray[np.int64]
    class_ids: NDArray[np.int32]
    suspect_ids: NDArray[np.int32]
    corrected_ids: NDArray[np.int32]
