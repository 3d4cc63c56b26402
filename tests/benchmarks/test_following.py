"""Which row of the tracker's answer each pose became."""

import numpy as np

from benchmarks.following import rows_of
from models.poses import Poses
from realtime.tracks import Tracks

NAN = float("nan")


def poses(*instances):
    xy = np.array(instances, np.float32).reshape(-1, 2, 2)
    return Poses(xy, np.ones(xy.shape[:2], np.float32), np.ones(len(xy), np.float32))


def tracks(*rows):
    xy = np.array(rows, np.float32).reshape(-1, 2, 2)
    n = len(xy)
    ids = np.arange(1, n + 1, dtype=np.int32)
    none = np.zeros(n, np.int32)
    return Tracks(
        ids, xy, np.ones((n, 2), np.float32), np.ones(n, np.float32), np.zeros(n, np.int64), none - 1, none, none
    )


A, B, HALF, NOTHING = [[1, 2], [3, 4]], [[5, 6], [7, 8]], [[1, 2], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]


def test_rows_are_found_by_their_points_whatever_the_order_and_the_holes():
    assert rows_of(poses(HALF, B, A), tracks(A, HALF)).tolist() == [1, -1, 0]


def test_an_animal_that_is_not_seen_is_nobodys_pose():
    assert rows_of(poses(NOTHING, A), tracks(NOTHING, A)).tolist() == [-1, 1]


def test_no_poses():
    assert rows_of(poses(), tracks(A)).tolist() == []
