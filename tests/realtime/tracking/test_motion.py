"""Where an animal is expected that walked so far: straight on, standing, after a jump, after a gap."""

import numpy as np
import pytest

from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions

BODY = np.array([(0, 0), (25, 10), (25, -10), (75, 10), (75, -10), (100, 0)], dtype=np.float32)
MS = 1_000_000


def seen(x: float, y: float = 0.0) -> Poses:
    xy = (BODY + np.array([x, y], np.float32))[None]
    ones = np.ones(xy.shape[:2], np.float32)
    return Poses(xy, ones, ones[:, 0])


def tracker(motion: str) -> GreedyTracker:
    return GreedyTracker(TrackerOptions.model_validate({"motion": motion, "max_tracks": 1}), len(BODY))


def expected_x(follower: GreedyTracker, time_ms: int) -> float:
    expected = follower.expected_xy(time_ms * MS)
    assert expected is not None
    return float(np.nanmean(expected[0, :, 0])) - float(BODY[:, 0].mean())


@pytest.mark.parametrize(
    ("motion", "lowest", "highest"),
    [("still", 198.9, 199.1), ("velocity", 203.2, 203.4), ("kalman", 203.2, 203.4)],
    ids=["still", "velocity", "kalman"],
)
def test_an_animal_that_walks_straight_on(motion: str, lowest: float, highest: float) -> None:
    follower = tracker(motion)
    for k in range(200):
        follower.update(seen(float(k)), 10 * k * MS)
    # 100 ms after it was at 199, at 0.1 px a ms that fade over 50 ms: 5 px · (1 − e⁻²).
    assert lowest < expected_x(follower, 2090) < highest


@pytest.mark.parametrize("motion", ["velocity", "kalman"])
def test_noise_on_a_standing_animal_is_not_taken_for_walking(motion: str) -> None:
    random = np.random.default_rng(0)
    follower, off = tracker(motion), []
    for k in range(400):
        follower.update(seen(*random.normal(0, 1, 2)), 10 * k * MS)
        off.append(expected_x(follower, 10 * (k + 1)))
    assert np.std(off[50:]) < 1.6


def test_the_kalman_filter_expects_less_noise_than_the_last_pose() -> None:
    random = np.random.default_rng(0)
    noisy = {"still": tracker("still"), "kalman": tracker("kalman")}
    off: dict[str, list[float]] = {name: [] for name in noisy}
    for k in range(600):
        x = 1.5 * k + random.normal(0, 1)
        for name, follower in noisy.items():
            follower.update(seen(x), 10 * k * MS)
            off[name].append(expected_x(follower, 10 * (k + 1)) - 1.5 * (k + 1))
    assert np.std(off["kalman"][50:]) < np.std(off["still"][50:]) + 0.3
    assert abs(np.mean(off["kalman"][50:])) < 0.2
    assert abs(np.mean(off["still"][50:])) > 1.2


@pytest.mark.parametrize("motion", ["velocity", "kalman"])
def test_a_jump_tells_no_velocity(motion: str) -> None:
    follower = tracker(motion)
    follower.update(seen(0.0), 0)
    follower.update(seen(55.0), 10 * MS)
    assert expected_x(follower, 20) == pytest.approx(55.0, abs=1e-3)


@pytest.mark.parametrize("motion", ["velocity", "kalman"])
def test_a_lost_animal_does_not_fly_away(motion: str) -> None:
    follower = tracker(motion)
    for k in range(100):
        follower.update(seen(5.0 * k), 10 * k * MS)
    assert expected_x(follower, 100_000) == pytest.approx(495 + 0.5 * 50, abs=5)


@pytest.mark.parametrize("motion", ["velocity", "kalman"])
def test_the_frame_rate_does_not_matter(motion: str) -> None:
    expected = []
    for step_ms in (4, 8, 16):
        follower = tracker(motion)
        for t in range(0, 1601, step_ms):
            follower.update(seen(0.2 * t), t * MS)
        expected.append(expected_x(follower, 1650))
    np.testing.assert_allclose(expected, expected[0], atol=1.0)
