"""What instances are compared with: earlier poses as they were, and moved along with a picture that was moved."""

import cv2
import numpy as np
import pytest

from realtime.tracking.sleap.candidates import last_poses, prepared, shifted_poses
from realtime.tracking.sleap.instances import Instances, PastFrame
from realtime.tracking.sleap.options import SleapTrackerOptions

OPTIONS = SleapTrackerOptions()
POSE = np.array([[[60.0, 50.0], [75.0, 62.0], [90.0, 58.0]]])
BY = np.array([3.0, -2.0])


@pytest.fixture(scope="module")
def pictures():
    """Blurred noise of 160 × 120 px, and the same moved by `BY`."""
    noise = np.random.default_rng(0).integers(0, 256, (140, 180)).astype(np.uint8)
    noise = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 2.5), None, 0, 255, cv2.NORM_MINMAX)
    return noise[10:130, 10:170].copy(), noise[12:132, 7:167].copy()


def past(xy, tracks, image=None, scores=0.5):
    xy = np.asarray(xy, float).reshape(-1, 3, 2)
    return PastFrame(Instances(xy, np.full(xy.shape[:2], scores)), np.array(tracks, np.int64), image)


def test_last_poses_are_those_of_the_window_the_oldest_first():
    window = [past([POSE, POSE + 50], [4, 2]), past([], []), past([POSE + 1], [2])]
    found = last_poses(window, 0, 3)
    assert found.tracks.tolist() == [4, 2, 2]
    np.testing.assert_array_equal(found.instances.xy, np.concatenate([POSE, POSE + 50, POSE + 1]))
    np.testing.assert_array_equal(found.instances.node_scores, np.full((3, 3), 0.5))


def test_no_window_no_candidates():
    for window in ([], [past([], [])]):
        found = last_poses(window, 0, 3)
        assert (found.tracks.shape, found.instances.xy.shape) == ((0,), (0, 3, 2))


@pytest.mark.parametrize(("min_points", "tracks"), [(0, [0, 1, 2]), (1, [0, 1]), (2, [0, 1]), (3, [0])])
def test_last_poses_that_show_too_little_are_none(min_points, tracks):
    poses = np.repeat(POSE, 3, axis=0)
    poses[1, 0, 1] = poses[2] = np.nan
    assert last_poses([past(poses, [0, 1, 2])], min_points, 3).tracks.tolist() == tracks


def test_poses_move_with_the_picture(pictures):
    before, now = pictures
    found = shifted_poses([past([POSE, POSE + 5], [7, 3], before)], now, OPTIONS, 3)
    assert found.tracks.tolist() == [7, 3]
    np.testing.assert_allclose(found.instances.xy, np.concatenate([POSE, POSE + 5]) + BY, atol=0.1)
    # A pose that was moved has no scores of its own.
    np.testing.assert_array_equal(found.instances.node_scores, np.ones((2, 3)))


def test_every_frame_of_the_window_moves_straight_to_the_present_one(pictures):
    before, now = pictures
    window = [past([POSE], [0], before), past([], [], before), past([POSE + BY], [0], now)]
    found = shifted_poses(window, now, OPTIONS, 3)
    assert found.tracks.tolist() == [0, 0]
    np.testing.assert_allclose(found.instances.xy, np.concatenate([POSE + BY] * 2), atol=0.1)


def test_a_node_that_was_not_seen_or_is_not_found_is_nan(pictures):
    before, now = pictures
    pose = POSE.copy()
    pose[0, 0] = np.nan
    pose[0, 2] = (400.0, 400.0)  # outside of the picture
    found = shifted_poses([past([pose], [0], before)], now, OPTIONS, 3)
    assert np.isnan(found.instances.xy[0, [0, 2]]).all()
    np.testing.assert_allclose(found.instances.xy[0, 1], POSE[0, 1] + BY, atol=0.1)


@pytest.mark.parametrize(("min_points", "tracks"), [(0, [0, 1]), (1, [0]), (2, [0]), (3, [])])
def test_more_nodes_must_be_found_than_the_least(pictures, min_points, tracks):
    poses = np.repeat(POSE, 3, axis=0)
    poses[1, :2] = poses[2] = np.nan
    options = SleapTrackerOptions(min_match_points=min_points)
    assert shifted_poses([past(poses, [0, 1, 2], pictures[0])], pictures[1], options, 3).tracks.tolist() == tracks


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_points_stay_in_pixels_of_the_whole_image_when_it_is_scaled(pictures, scale):
    before, now = (prepared(picture, scale) for picture in pictures)
    assert before.shape == (120 * scale, 160 * scale)
    found = shifted_poses([past([POSE], [0], before)], now, SleapTrackerOptions(img_scale=scale), 3)
    np.testing.assert_allclose(found.instances.xy, POSE + BY, atol=0.3)


def test_window_and_levels_are_those_of_the_options(pictures):
    """Without a pyramid a window of 5 px does not see a move of 12 px; with one it does."""
    before = pictures[0]
    now = np.roll(before, 12, axis=1)

    def error_px(**options):
        found = shifted_poses([past([POSE], [0], before)], now, SleapTrackerOptions(**options), 3)
        return np.abs(found.instances.xy - POSE - (12, 0)).max()

    assert error_px(of_window_size=21, of_max_levels=3) < 0.2
    assert not error_px(of_window_size=5, of_max_levels=0) < 5


def test_a_prepared_image_is_a_copy_and_gray():
    gray = np.full((4, 6), 7, np.uint8)
    ready = prepared(gray, 1.0)
    gray[:] = 0
    assert (ready == 7).all()
    # SLEAP takes red for blue: 0.114 of it instead of 0.299.
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 200
    assert (prepared(red, 1.0) == round(0.114 * 200)).all()
