"""Following: which row of the live tracker's answer each pose of a frame became."""

import numpy as np
from numpy.typing import NDArray

from models.poses import Poses
from realtime.tracks import Tracks


def rows_of(poses: Poses, tracks: Tracks) -> NDArray[np.int64]:
    """Return `(n_instances,)` the row of `tracks` that shows each pose, −1 = none.

    The tracker hands the points of a pose on bit for bit, so that they tell which it was.
    """
    seen = np.flatnonzero(np.isfinite(tracks.xy).any(axis=(1, 2))).tolist()
    row_of = {tracks.xy[row].tobytes(): row for row in seen}
    return np.array([row_of.get(xy.tobytes(), -1) for xy in poses.xy], dtype=np.int64)
