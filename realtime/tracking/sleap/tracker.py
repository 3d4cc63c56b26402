"""SLEAP's tracker: the instances of one frame after another, each to the track of the poses most like it."""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from realtime.tracking.sleap.candidates import last_poses, prepared, shifted_poses
from realtime.tracking.sleap.instances import Candidates, Instances, PastFrame, visible
from realtime.tracking.sleap.matching import greedy, hungarian
from realtime.tracking.sleap.options import SleapTrackerOptions
from realtime.tracking.sleap.similarity import chosen_similarity

DROPPED = -1


class Assigned(NamedTuple):
    """What became of the `n` instances of a frame.

    Attributes:
        tracks: `(n,)` int64, the track of each; 0 is the first track that began, -1 = dropped.
        similarities: `(n,)` float64, to the track that it was matched with, −∞ where the two could not be compared; NaN
            where a track began, or dropped.
        order: Indices of those that have a track, in the order of SLEAP's output: first the matched, as they were
            matched, then those whose track begins.
    """

    tracks: NDArray[np.int64]
    similarities: NDArray[np.float64]
    order: NDArray[np.int64]


class SleapTracker:
    """Follows animals as SLEAP does.

    Every free track is matched, however little it is like what is left; so a track begins only where there are more
    instances than tracks in the window. On equal similarities the order of the instances decides.

    Args:
        options: How.
        n_nodes: Nodes of the skeleton.
        image_size_px: (width, height); only the similarity `normalized_instance` needs it.

    Raises:
        ValueError: What the similarity needs is missing, or does not fit the skeleton.
    """

    def __init__(
        self, options: SleapTrackerOptions, n_nodes: int, image_size_px: tuple[int, int] | None = None
    ) -> None:
        self._options = options
        self._n_nodes = n_nodes
        self._similarity = chosen_similarity(options, n_nodes, image_size_px)
        self._match = greedy if options.match == "greedy" else hungarian
        self._window: deque[PastFrame] = deque(maxlen=options.track_window)
        self._n_tracks = 0

    @property
    def needs_images(self) -> bool:
        """Whether `update` must be given the image."""
        return self._options.tracker == "flow"

    def reset(self) -> None:
        """Forget every animal; the next track is track 0."""
        self._window.clear()
        self._n_tracks = 0

    def update(self, xy: ArrayLike, node_scores: ArrayLike, image: NDArray[np.uint8] | None = None) -> Assigned:
        """Give every instance of the next frame to a track.

        Args:
            xy: `(n, n_nodes, 2)` px, NaN = not seen; a frame without instances counts too.
            node_scores: `(n, n_nodes)`.
            image: `(height, width)` or `(height, width, 3)` uint8, RGB; only the tracker `flow` needs it.

        Raises:
            ValueError: The image is needed and is not there.
        """
        untracked = Instances(np.asarray(xy, np.float64), np.asarray(node_scores, np.float64))
        ready = self._ready(image)
        n = len(untracked.xy)
        tracks, similarities = np.full(n, DROPPED, np.int64), np.full(n, np.nan)
        order = np.empty(0, np.int64)
        if n:
            candidates = self._candidates(ready)
            order = self._follow(untracked, candidates, tracks, similarities)
            order = np.concatenate([order, self._spawn(untracked, tracks)])
        tracked = Instances(untracked.xy[order], untracked.node_scores[order])
        self._window.append(PastFrame(tracked, tracks[order], ready))
        return Assigned(tracks, similarities, order)

    def _ready(self, image: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        if not self.needs_images:
            return None
        if image is None:
            raise ValueError("SLEAP's tracker flow: expected the image of every frame, got none; or choose simple")
        return prepared(image, self._options.img_scale)

    def _candidates(self, image: NDArray[np.uint8] | None) -> Candidates:
        if image is None:
            return last_poses(self._window, self._options.min_match_points, self._n_nodes)
        return shifted_poses(self._window, image, self._options, self._n_nodes)

    def _follow(
        self,
        untracked: Instances,
        candidates: Candidates,
        tracks: NDArray[np.int64],
        similarities: NDArray[np.float64],
    ) -> NDArray[np.int64]:
        """Match instances with the candidates' tracks; write both results, return the instances as matched."""
        # Columns in the order in which the tracks are first met: it decides ties.
        known = np.array(list(dict.fromkeys(candidates.tracks.tolist())), np.int64)
        if not known.size:
            return known
        alike = self._similarity(untracked, candidates.instances)
        columns = [self._of_track(alike[:, candidates.tracks == track]) for track in known]
        cost = -np.stack(columns, axis=1)
        cost[np.isnan(cost)] = np.inf
        rows, matched = self._match(cost).T
        tracks[rows] = known[matched]
        similarities[rows] = -cost[rows, matched]
        return np.asarray(rows)

    def _of_track(self, alike: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how well each row fits a track, of how well it fits its poses; NaN where one of these is NaN."""
        if self._options.robust < 1:
            return np.asarray(np.quantile(alike, self._options.robust, axis=1))
        return np.asarray(alike.max(axis=1))

    def _spawn(self, untracked: Instances, tracks: NDArray[np.int64]) -> NDArray[np.int64]:
        """Begin tracks for what has none, in place; return the instances in order."""
        enough = visible(untracked.xy).sum(axis=-1) >= self._options.min_new_track_points
        starting = np.flatnonzero((tracks == DROPPED) & enough)
        tracks[starting] = self._n_tracks + np.arange(starting.size)
        self._n_tracks += starting.size
        return starting
