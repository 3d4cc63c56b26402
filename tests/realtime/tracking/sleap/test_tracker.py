"""SLEAP's tracker on frames made by hand: what follows, begins, ages and is dropped."""

import cv2
import numpy as np
import pytest

from realtime.tracking.sleap import SleapTracker, SleapTrackerOptions

SHAPE = np.array([[10.0, 0.0], [0.0, 0.0], [-10.0, 0.0]])


def at(*places, nodes=3):
    xy = np.array(places, float).reshape(-1, 1, 2) + SHAPE
    xy[:, nodes:] = np.nan
    return xy


def tracker(**options):
    return SleapTracker(SleapTrackerOptions(**{"tracker": "simple", **options}), 3, (640, 480))


def followed(frames, **options):
    mine = tracker(**options)
    return [mine.update(xy, np.ones(xy.shape[:2])) for xy in frames]


def tracks_of(frames, **options):
    return [assigned.tracks.tolist() for assigned in followed(frames, **options)]


A, B, FAR = (100, 100), (300, 100), (500, 400)
CASES = {
    "tracks begin in the order of the instances": ([at(A, B)], {}, [[0, 1]]),
    "an animal is followed whatever the order": ([at(A, B), at(B, A)], {}, [[0, 1], [1, 0]]),
    "no gate: a free track is taken from anywhere": ([at(A), at(FAR)], {}, [[0], [0]]),
    "a track begins only where there are more instances than tracks": ([at(A), at(B, A)], {}, [[0], [1, 0]]),
    "ties at similarity 0 go by the order, whoever it is": (
        [at(A, B), at((305, 140), (105, 140))], {}, [[0, 1], [0, 1]],
    ),
    "which the distance of centroids does not let happen": (
        [at(A, B), at((305, 140), (105, 140))], {"similarity": "centroid"}, [[0, 1], [1, 0]],
    ),
    "frames without instances age the window": ([at(A), *[at()] * 5, at(A)], {}, [[0], *[[]] * 5, [1]]),
    "one less does not": ([at(A), *[at()] * 4, at(A)], {}, [[0], *[[]] * 4, [0]]),
    "window of one": ([at(A), at(), at(A)], {"track_window": 1}, [[0], [], [1]]),
    "all of the window counts, not only the last frame": (
        [at(A, B), at(A), at(B, A)], {"track_window": 2}, [[0, 1], [0], [1, 0]],
    ),
    "too few nodes to begin a track": (
        [at(A, nodes=2), at(A)], {"min_new_track_points": 3}, [[-1], [0]],
    ),
    "enough nodes to begin a track": ([at(A, nodes=2)], {"min_new_track_points": 2}, [[0]]),
    "few nodes are enough to be followed": (
        [at(A), at(A, nodes=1)], {"min_new_track_points": 3}, [[0], [0]],
    ),
    "what is dropped is no candidate": (
        [at(A, nodes=1), at(A), at(A)], {"min_new_track_points": 2}, [[-1], [0], [0]],
    ),
    "too few nodes to be a candidate": ([at(A, nodes=2), at(A)], {"min_match_points": 3}, [[0], [1]]),
    "nothing seen is matched too": ([at(A), at(A, nodes=0)], {}, [[0], [0]]),
    "nothing seen is matched last": (
        [at(A), np.concatenate([at(A, nodes=0), at(FAR)])], {}, [[0], [1, 0]],
    ),
    "by the least sum too": (
        [at(A), np.concatenate([at(A, nodes=0), at(FAR)])], {"match": "hungarian"}, [[0], [1, 0]],
    ),
    "greedy: the best pair first": (
        [at((100, 100), (104, 100)), at((103, 100), (110, 100))], {"similarity": "centroid"}, [[0, 1], [1, 0]],
    ),
    "hungarian: the best of all": (
        [at((100, 100), (104, 100)), at((103, 100), (110, 100))],
        {"similarity": "centroid", "match": "hungarian"},
        [[0, 1], [0, 1]],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("frames", "options", "tracks"), CASES.values(), ids=CASES)
def test_tracks(frames, options, tracks):
    assert tracks_of(frames, **options) == tracks


def test_the_best_pose_of_a_track_counts_or_a_quantile():
    """One pose of track 0 is just there, four are not; track 1 is rather near all the time."""
    away, near = (400, 100), (102, 100)
    frames = [at(A, near)] + [at(away, near)] * 4 + [at(A)]
    best = tracks_of(frames, similarity="centroid")
    median = tracks_of(frames, similarity="centroid", robust=0.5)
    assert best[:5] == median[:5] == [[0, 1]] * 5
    assert (best[5], median[5]) == ([0], [1])


def test_the_order_is_that_of_sleaps_output():
    """First what was matched, the most alike first, then what begins; what is dropped is not there."""
    frames = [at(A, B), at(FAR, (101, 100), B, FAR)]
    frames[1][3, 1:] = np.nan
    first, second = followed(frames, min_new_track_points=2)
    assert first.order.tolist() == [0, 1]
    assert second.tracks.tolist() == [2, 0, 1, -1]
    assert second.order.tolist() == [2, 1, 0]
    np.testing.assert_allclose(second.similarities, [np.nan, np.exp(-1), 1.0, np.nan])


def test_what_cannot_be_compared_is_endlessly_unlike():
    assert followed([at(A), at(A, nodes=0)])[1].similarities.tolist() == [-np.inf]


def test_tracks_are_met_in_the_order_of_the_output():
    """It decides ties: track 1 was matched first, so that a first instance like nobody is track 1."""
    frames = [at(A, B), at((102, 100), B), at(FAR)]
    assert tracks_of(frames, track_window=1)[2] == [1]


def test_reset_forgets_everything():
    mine = tracker()
    for frame in (at(A, B), at(B, A)):
        assert mine.update(frame, np.ones((2, 3))).tracks.tolist() == [0, 1]
        mine.reset()


def test_flow_follows_the_picture_where_poses_alone_mislead():
    """Two animals jump by more than the similarity sees, and change their order."""
    noise = np.random.default_rng(1).integers(0, 256, (240, 260)).astype(np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 5.0), None, 0, 255, cv2.NORM_MINMAX)
    frames = [at((80, 60), (160, 140)), at((160, 168), (80, 88))]
    images = [np.stack([picture] * 3, axis=2) for picture in (image, np.roll(image, 28, axis=0))]
    buffer, found = np.empty_like(images[0]), {}
    for name in ("simple", "flow"):
        mine = tracker(tracker=name)
        assert mine.needs_images is (name == "flow")
        found[name] = []
        for xy, picture in zip(frames, images, strict=True):
            buffer[:] = picture  # as a video's reader does: the image is valid until the next
            found[name].append(mine.update(xy, np.ones((2, 3)), buffer).tracks.tolist())
    assert found == {"simple": [[0, 1], [0, 1]], "flow": [[0, 1], [1, 0]]}


def test_flow_needs_the_images():
    with pytest.raises(
        ValueError, match=r"^SLEAP's tracker flow: expected the image of every frame, got none; or choose simple$"
    ):
        tracker(tracker="flow").update(at(A), np.ones((1, 3)))


def test_what_the_similarity_needs_is_checked_at_once():
    with pytest.raises(ValueError, match="expected the size of the image"):
        SleapTracker(SleapTrackerOptions(similarity="normalized_instance"), 3)
