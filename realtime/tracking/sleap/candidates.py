"""What the instances of a frame are compared with: the poses of the window, as they were or moved along."""

from collections.abc import Callable, Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime.tracking.sleap.instances import Candidates, Instances, PastFrame, visible
from realtime.tracking.sleap.options import SleapTrackerOptions

_ITERATIONS, _EPSILON = 30, 0.01
_STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ITERATIONS, _EPSILON)


def last_poses(window: Iterable[PastFrame], min_points: int, n_nodes: int) -> Candidates:
    """Return the poses of the window that show at least `min_points` nodes, as they were."""
    return _joined((_chosen(past, past.instances, _n_seen(past) >= min_points) for past in window), n_nodes)


def shifted_poses(
    window: Iterable[PastFrame], image: NDArray[np.uint8], options: SleapTrackerOptions, n_nodes: int
) -> Candidates:
    """Return the poses of the window, moved to where the picture around their nodes is now.

    Every node is followed by itself, from its frame straight to the present one, by the pyramidal method of Lucas and
    Kanade. A node that is not found is NaN; a pose of which no more than `min_match_points` nodes are found is none.

    Args:
        window: Frames with their images.
        image: `(height, width)` uint8, the present one.
        options: The tracker's options.
        n_nodes: Nodes of the skeleton.
    """
    return _joined((_shifted(past, image, options) for past in window if len(past.tracks)), n_nodes)


def prepared(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Return an image as `shifted_poses` takes it: gray, scaled, and a copy.

    SLEAP takes its RGB images for BGR when it makes them gray; so does this.

    Args:
        image: `(height, width)` or `(height, width, 3)` uint8, RGB.
        scale: By how much.
    """
    gray = image.copy() if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(gray if scale == 1 else cv2.resize(gray, None, fx=scale, fy=scale), np.uint8)


def _shifted(past: PastFrame, image: NDArray[np.uint8], options: SleapTrackerOptions) -> Candidates:
    n, n_nodes, _ = past.instances.xy.shape
    points = past.instances.xy.reshape(-1, 1, 2).astype(np.float32) * np.float32(options.img_scale)
    size = (options.of_window_size, options.of_window_size)
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        past.image, image, points, None, winSize=size, maxLevel=options.of_max_levels, criteria=_STOP
    )
    found = status.reshape(n, n_nodes) == 1
    xy = (moved / np.float32(options.img_scale)).reshape(n, n_nodes, 2).astype(np.float64)
    xy[~found] = np.nan
    # A pose that was moved has no scores in SLEAP.
    shifted = Instances(xy, np.ones((n, n_nodes)))
    return _chosen(past, shifted, found.sum(axis=1) > options.min_match_points)


def _n_seen(past: PastFrame) -> NDArray[np.int64]:
    return np.asarray(visible(past.instances.xy).sum(axis=-1))


def _chosen(past: PastFrame, instances: Instances, chosen: NDArray[np.bool_]) -> Candidates:
    return Candidates(Instances(instances.xy[chosen], instances.node_scores[chosen]), past.tracks[chosen])


def _joined(parts: Iterable[Candidates], n_nodes: int) -> Candidates:
    none = Candidates(Instances(np.empty((0, n_nodes, 2)), np.empty((0, n_nodes))), np.empty(0, np.int64))
    all_parts = [none, *parts]

    def join(field: Callable[[Candidates], NDArray[np.float64]]) -> NDArray[np.float64]:
        return np.concatenate([field(part) for part in all_parts])

    instances = Instances(join(lambda part: part.instances.xy), join(lambda part: part.instances.node_scores))
    return Candidates(instances, np.concatenate([part.tracks for part in all_parts]))
