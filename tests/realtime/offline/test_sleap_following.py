"""SLEAP's tracker over several passes: asked once for every frame, and the same answer every time."""

import numpy as np

from models.poses import Poses
from realtime.offline.sleap_following import SleapFollower
from realtime.tracking.sleap import Assigned


class CountingTracker:
    """Gives every instance a track of its own but the first of each frame, which it drops; remembers its images."""

    def __init__(self):
        self.images, self.n_tracks = [], 0

    def update(self, xy, node_scores, image):
        self.images.append(image)
        n = len(xy)
        tracks = np.arange(self.n_tracks - 1, self.n_tracks + n - 1)
        tracks[:1] = -1
        self.n_tracks += max(n - 1, 0)
        similarities = np.array([np.nan, 0.5, -np.inf, np.nan])[:n]
        return Assigned(tracks, similarities, np.arange(n)[:0:-1])


def poses_of(n):
    return Poses(np.zeros((n, 3, 2), np.float32), np.ones((n, 3), np.float32), np.ones(n, np.float32))


FRAMES = [(7, poses_of(3)), (8, poses_of(0)), (9, poses_of(1)), (10, poses_of(4))]
EXPECTED = [
    ([2, 1], [1, 0], [0.0, 0.5]),
    ([], [], []),
    ([], [], []),
    ([3, 2, 1], [4, 3, 2], [0.0, 0.0, 0.5]),
]


def one_pass(follower, n):
    kept = [follower.kept(number, index, poses) for number, (index, poses) in enumerate(FRAMES[:n])]
    assert all((k.rows.dtype, k.tracks.dtype, k.scores.dtype) == (np.int64, np.int32, np.float32) for k in kept)
    return [(k.rows.tolist(), k.tracks.tolist(), k.scores.tolist()) for k in kept]


def test_every_pass_is_the_same_and_asks_for_every_frame_once():
    tracker = CountingTracker()
    follower = SleapFollower(tracker, lambda index: index)
    for n in (2, 4, 1, 4):
        assert one_pass(follower, n) == EXPECTED[:n]
    assert tracker.images == [7, 8, 9, 10]


def test_without_images():
    tracker = CountingTracker()
    assert one_pass(SleapFollower(tracker), 4) == EXPECTED
    assert tracker.images == [None] * 4
