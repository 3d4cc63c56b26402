"""Optical flow on rendered animals: where their nodes went, at every place in the image and for both methods."""

import cv2
import numpy as np
import pytest

from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions

PLAN = np.array([(-30, 0), (-10, 8), (0, 0), (10, -8), (30, 0)], np.float64)
FRAME_NS = 10_000_000
METHODS = ("lucas_kanade", "farneback")


def picture(*animals: tuple[float, float], height: int = 400, width: int = 500, color: bool = False) -> np.ndarray:
    """Bright animals with a pattern of their own on a dark, faintly structured floor."""
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.integers(0, 40, (height, width)).astype(np.float32), (0, 0), 3)
    lines, columns = np.mgrid[:height, :width].astype(np.float32)
    for x, y in animals:
        for node, (dx, dy) in enumerate(PLAN):
            image += (90 + 20 * node) * np.exp(-((columns - x - dx) ** 2 + (lines - y - dy) ** 2) / (2 * 6.0**2))
    gray = np.clip(image, 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2) if color else gray


def poses(*animals: tuple[float, float]) -> Poses:
    xy = np.array([PLAN + np.array(place) for place in animals], np.float32).reshape(-1, len(PLAN), 2)
    ones = np.ones(xy.shape[:2], np.float32)
    return Poses(xy, ones, ones[:, 0])


def tracker(method: str, **options: object) -> GreedyTracker:
    return GreedyTracker(TrackerOptions.model_validate({"motion": method, **options}), len(PLAN))


def expected_after(
    method: str, start: tuple[float, float], shift: tuple[float, float], *, color: bool = False
) -> np.ndarray:
    """Return `(n_nodes, 2)` where an animal that was at `start` is expected when the picture shows it moved."""
    follower = tracker(method, max_tracks=1)
    moved = (start[0] + shift[0], start[1] + shift[1])
    follower.update(poses(start), 0, picture(start, color=color))
    follower.update(poses(moved), FRAME_NS, picture(moved, color=color))
    return np.asarray(follower.last_expected[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shift", [(0.0, 0.0), (6.0, 0.0), (-4.0, 9.0), (1.5, -2.5)])
def test_nodes_are_expected_where_the_picture_went(method: str, shift: tuple[float, float]) -> None:
    start = (250.0, 200.0)
    error = expected_after(method, start, shift) - (PLAN + start + np.array(shift))
    assert np.abs(np.median(error, axis=0)).max() < 0.5, "a quarter of a pixel of the reduced picture"
    assert np.abs(error).max() < 2.0


@pytest.mark.parametrize("method", METHODS)
def test_colour_is_as_good_as_gray(method: str) -> None:
    start, shift = (250.0, 200.0), (6.0, 3.0)
    gray, color = (expected_after(method, start, shift, color=color) for color in (False, True))
    np.testing.assert_allclose(color, gray, atol=0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("start", [(32.0, 12.0), (466.0, 385.0), (250.0, 10.0)])
def test_at_the_edge_of_the_image(method: str, start: tuple[float, float]) -> None:
    error = expected_after(method, start, (2.0, 2.0)) - (PLAN + start + 2.0)
    assert np.nanmax(np.abs(np.median(error, axis=0))) < 1.5


@pytest.mark.parametrize("method", METHODS)
def test_an_animal_outside_the_image_is_expected_as_without_flow(method: str) -> None:
    follower = tracker(method, max_tracks=1)
    for k in range(3):
        tracks = follower.update(poses((-400.0, 900.0)), k * FRAME_NS, picture())
    assert np.isfinite(follower.last_expected).all()
    assert tracks.xy[0, 2].tolist() == [-400.0, 900.0]


@pytest.mark.parametrize("method", METHODS)
def test_two_animals_keep_their_names(method: str) -> None:
    follower = tracker(method)
    for k in range(12):
        places = ((100.0 + 20 * k, 150.0), (340.0 - 20 * k, 190.0))
        shuffled = places[:: 1 if k % 2 else -1]
        tracks = follower.update(poses(*shuffled), k * FRAME_NS, picture(*places))
        assert tracks.xy[0, 2].tolist() == list(places[0])
        assert tracks.xy[1, 2].tolist() == list(places[1])


def test_a_track_that_was_not_seen_is_expected_as_without_flow() -> None:
    follower = tracker("lucas_kanade", max_tracks=1)
    follower.update(poses((250.0, 200.0)), 0, picture((250.0, 200.0)))
    follower.update(poses(), FRAME_NS, picture((280.0, 200.0)))
    follower.update(poses((250.0, 200.0)), 2 * FRAME_NS, picture((310.0, 200.0)))
    np.testing.assert_array_equal(follower.last_expected[0], PLAN + np.array([250.0, 200.0]))


def test_a_late_frame_is_not_remembered() -> None:
    one, other = tracker("lucas_kanade", max_tracks=1), tracker("lucas_kanade", max_tracks=1)
    for follower in (one, other):
        follower.update(poses((250.0, 200.0)), 5 * FRAME_NS, picture((250.0, 200.0)))
    other.update(poses((200.0, 200.0)), 4 * FRAME_NS, picture((200.0, 200.0)))
    for follower in (one, other):
        follower.update(poses((255.0, 200.0)), 6 * FRAME_NS, picture((255.0, 200.0)))
    np.testing.assert_array_equal(one.last_expected, other.last_expected)


def test_a_reset_forgets_the_picture() -> None:
    follower = tracker("lucas_kanade", max_tracks=1)
    follower.update(poses((250.0, 200.0)), 0, picture((250.0, 200.0)))
    follower.reset()
    assert follower.update(poses(), FRAME_NS, picture()).track_ids.tolist() == []


@pytest.mark.parametrize("method", METHODS)
def test_without_an_image(method: str) -> None:
    with pytest.raises(ValueError, match="expected the frame's image") as caught:
        tracker(method).update(poses((10.0, 10.0)), 0)
    assert str(caught.value) == (
        "tracker: expected the frame's image for optical flow, got none; choose another motion"
    )


def test_the_other_motions_need_no_image() -> None:
    for motion in ("still", "velocity", "kalman"):
        assert not TrackerOptions.model_validate({"motion": motion}).uses_flow
        assert tracker(motion).update(poses((10.0, 10.0)), 0).track_ids.tolist() == [1]
