"""Instances: what is known of the animals of a frame, as the stages of SLEAP's tracker hand it on."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Instances(NamedTuple):
    """The poses of some instances.

    Attributes:
        xy: `(n, n_nodes, 2)` float64 px, NaN = not seen.
        node_scores: `(n, n_nodes)` float64.
    """

    xy: NDArray[np.float64]
    node_scores: NDArray[np.float64]


class PastFrame(NamedTuple):
    """A frame of the window.

    Attributes:
        instances: Those that got a track, in the order of SLEAP's output.
        tracks: `(n,)` int64, the track of each.
        image: `(height, width)` uint8, or None where nobody needs it.
    """

    instances: Instances
    tracks: NDArray[np.int64]
    image: NDArray[np.uint8] | None


class Candidates(NamedTuple):
    """What the instances of the present frame are compared with.

    Attributes:
        instances: Poses, the oldest frame first.
        tracks: `(n,)` int64, the track of each.
    """

    instances: Instances
    tracks: NDArray[np.int64]


def visible(xy: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which nodes are seen, `(n, n_nodes)`; a point of which one coordinate is missing is not."""
    return np.asarray(~np.isnan(xy).any(axis=-1))
