"""Following with SLEAP's tracker: run once over what was found, remembered for every pass after it."""

from array import array
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.poses import Poses
from realtime.tracking.sleap import SleapTracker


class Kept(NamedTuple):
    """The instances of one frame that have a track, in the order of SLEAP's output.

    Attributes:
        rows: `(n,)` int64, which of the poses.
        tracks: `(n,)` int32, the track of each, from 0 on.
        scores: `(n,)` float32, the similarity to the track; 0 where it begins or nothing could be compared.
    """

    rows: NDArray[np.int64]
    tracks: NDArray[np.int32]
    scores: NDArray[np.float32]


class SleapFollower:
    """Says who is whom, frame by frame, the same in every pass.

    The tracker goes on where the longest pass so far has ended: with flow it takes longer than everything else. A kept
    instance takes 12 bytes of memory, a frame 8.

    Args:
        tracker: New.
        image_of: Gives the image of the frame with an index, asked in ascending order; None if the tracker needs none.
    """

    def __init__(self, tracker: SleapTracker, image_of: Callable[[int], NDArray[np.uint8]] | None = None) -> None:
        self._tracker = tracker
        self._image_of = image_of
        self._ends = array("q")
        self._rows, self._tracks, self._scores = array("i"), array("i"), array("f")

    def kept(self, number: int, index: int, poses: Poses) -> Kept:
        """Return who is kept in one frame.

        Args:
            number: How many frames came before it in this pass.
            index: Of the frame in the video.
            poses: What was found in it.
        """
        if number == len(self._ends):
            self._go_on(index, poses)
        here = slice(self._ends[number - 1] if number else 0, self._ends[number])
        return Kept(
            np.array(self._rows[here], np.int64),
            np.array(self._tracks[here], np.int32),
            np.array(self._scores[here], np.float32),
        )

    def _go_on(self, index: int, poses: Poses) -> None:
        image = None if self._image_of is None else self._image_of(index)
        assigned = self._tracker.update(poses.xy, poses.node_scores, image)
        scores = assigned.similarities[assigned.order]
        self._rows.extend(assigned.order.tolist())
        self._tracks.extend(assigned.tracks[assigned.order].tolist())
        self._scores.extend(np.where(np.isfinite(scores), scores, 0.0).tolist())
        self._ends.append(len(self._rows))
