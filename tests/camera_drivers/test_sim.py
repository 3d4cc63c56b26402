"""The simulated camera: what is drawn is where the ground truth says, and chance depends on the seed alone."""

import itertools
import time
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from camera_drivers.errors import CameraFailedError
from camera_drivers.sim import EDGES, NODE_NAMES, SimCamera, SimOptions, SimScene
from camera_drivers.testing import check_camera

HEAD, THORAX, ABDOMEN, WING_L, WING_R = range(5)


def distance(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.hypot(*(a - b).T)


@pytest.fixture(scope="module")
def ten_seconds() -> np.ndarray[Any, Any]:
    scene = SimScene(SimOptions(seed=3))
    return np.array([scene.poses(frame_id) for frame_id in range(600)])


def test_skeleton_is_sound() -> None:
    assert NODE_NAMES == ("head", "thorax", "abdomen", "wingL", "wingR")
    assert {node for edge in EDGES for node in edge} == set(range(5))


def test_frames_depend_on_options_and_id_alone() -> None:
    options = SimOptions(seed=5, width_px=256, height_px=256, body_px=40.0, invisible_fraction=0.2)
    forward, backward = SimScene(options), SimScene(options)
    ids = [0, 1, 500, 1023, 1024, 1025, 2100]
    images = {frame_id: forward.image(frame_id).copy() for frame_id in ids}
    for frame_id in reversed(ids):
        assert np.array_equal(backward.image(frame_id), images[frame_id])
        assert np.array_equal(backward.poses(frame_id), forward.poses(frame_id), equal_nan=True)
    assert not np.array_equal(SimScene(options.model_copy(update={"seed": 6})).image(0), images[0])


def test_image_draws_into_the_given_array() -> None:
    scene = SimScene(SimOptions())
    out = np.empty((512, 512), np.uint8)
    assert scene.image(7, out) is out
    assert np.array_equal(out, scene.image(7))


def centroid(weight: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()


def test_eyes_are_centred_on_the_head_node() -> None:
    """The eyes are the brightest parts and lie symmetrically about the node; what surrounds them is not symmetrical."""
    scene = SimScene(SimOptions(seed=2, n_animals=1, noise_sd=0.0, body_px=100.0))
    errors = []
    for frame_id in range(0, 400, 10):
        weight = np.clip(scene.image(frame_id).astype(float) - 200.0, 0.0, None)
        errors.append(centroid(weight) - scene.poses(frame_id)[0, HEAD])
    assert np.abs(np.mean(errors, axis=0)).max() < 0.03
    assert np.linalg.norm(errors, axis=1).max() < 0.3


def test_head_is_told_from_tail_and_left_from_right(ten_seconds: np.ndarray[Any, Any]) -> None:
    forward = ten_seconds[:, :, HEAD] - ten_seconds[:, :, ABDOMEN]
    to_left = ten_seconds[:, :, WING_L] - ten_seconds[:, :, WING_R]
    # y points down: an animal that looks right has its left side up.
    assert (forward[..., 0] * to_left[..., 1] - forward[..., 1] * to_left[..., 0] < 0.0).all()


def test_animals_stay_in_the_picture_and_apart(ten_seconds: np.ndarray[Any, Any]) -> None:
    assert ten_seconds.min() > 0.0
    assert ten_seconds.max() < 511.0
    assert distance(ten_seconds[:, 0, THORAX], ten_seconds[:, 1, THORAX]).min() > 0.8 * 60.0


def test_animals_move_smoothly(ten_seconds: np.ndarray[Any, Any]) -> None:
    step_px = np.linalg.norm(np.diff(ten_seconds[:, :, THORAX], axis=0), axis=-1)
    assert step_px.max() < 8.0
    assert np.median(step_px) > 0.3


@pytest.mark.parametrize("seed", range(6))
def test_male_courts_several_times_in_ten_seconds(seed: int) -> None:
    scene = SimScene(SimOptions(seed=seed))
    poses = np.array([scene.poses(frame_id) for frame_id in range(600)]).astype(float)
    heading = poses[:, 0, HEAD] - poses[:, 0, ABDOMEN]
    to_female = poses[:, 1, THORAX] - poses[:, 0, HEAD]
    cos = (heading * to_female).sum(1) / np.linalg.norm(heading, axis=1) / np.linalg.norm(to_female, axis=1)
    courts = (np.linalg.norm(to_female, axis=1) < 1.5 * 60.0) & (cos > np.cos(np.radians(30)))
    bouts = [len(list(group)) for courting, group in itertools.groupby(courts) if courting]
    assert sum(length >= 6 for length in bouts) >= 2


def test_invisible_animals_are_nan_and_not_drawn() -> None:
    scene = SimScene(SimOptions(seed=1, invisible_fraction=1.0, noise_sd=0.0))
    assert np.isnan(scene.poses(0)).all()
    assert np.array_equal(scene.image(0), scene.background)
    some = SimScene(SimOptions(seed=1, invisible_fraction=0.3))
    hidden = np.array([np.isnan(some.poses(frame_id)[:, 0, 0]) for frame_id in range(2000)])
    assert 0.2 < hidden.mean() < 0.4


def test_noise_has_the_spread_asked_for() -> None:
    quiet, noisy = (SimScene(SimOptions(n_animals=0, noise_sd=sd)) for sd in (0.0, 5.0))
    difference = noisy.image(9).astype(float) - quiet.image(9)
    assert abs(difference.std() - 5.0) < 0.2
    assert not np.array_equal(noisy.image(9), noisy.image(10))


@pytest.mark.parametrize(
    "options",
    [
        SimOptions(pace="consumer"),
        SimOptions(pace="consumer", n_frames=7),
        SimOptions(pace="realtime", frame_rate_hz=200.0, late_fraction=0.2, late_ms=20.0),
        SimOptions(pace="consumer", width_px=300, height_px=200, body_px=30.0, n_animals=5, dropped_fraction=0.5),
        SimOptions(pace="consumer", n_animals=0, frame_rate_hz=5.0),
    ],
    ids=["consumer", "short", "realtime", "many", "empty"],
)
def test_contract(options: SimOptions) -> None:
    info = check_camera(SimCamera(options))
    assert (info.height, info.width, info.channels) == (options.height_px, options.width_px, 1)
    assert info.reproducible
    assert SimOptions.model_validate(info.source["options"]) == options


def test_consumer_pace_keeps_the_nominal_times() -> None:
    with SimCamera(SimOptions(pace="consumer", frame_rate_hz=100.0, n_frames=50, dropped_fraction=0.3)) as camera:
        frames = []
        while not camera.ended:
            if (frame := camera.grab(0.0)) is not None:
                frames.append(frame)
    ids = [frame.frame_id for frame in frames]
    assert len(ids) < 50
    assert [frame.device_timestamp_ns for frame in frames] == [frame_id * 10_000_000 for frame_id in ids]
    start_ns = frames[0].timestamp_ns - ids[0] * 10_000_000
    assert [frame.timestamp_ns - start_ns for frame in frames] == [frame_id * 10_000_000 for frame_id in ids]


@pytest.mark.alone
def test_realtime_pace_follows_the_clock() -> None:
    with SimCamera(SimOptions(frame_rate_hz=100.0)) as camera:
        assert camera.grab(0.05) is not None
        before = time.monotonic_ns()
        assert camera.grab(0.0) is None
        frame = camera.grab(0.05)
    assert frame is not None
    assert frame.timestamp_ns == frame.available_ns
    assert frame.timestamp_ns > before


def test_late_frames_hold_back_those_behind_them() -> None:
    options = SimOptions(frame_rate_hz=100.0, late_fraction=1.0, late_ms=40.0, n_frames=3)
    with SimCamera(options) as camera:
        start = time.monotonic()
        frames = []
        while not camera.ended:
            if (frame := camera.grab(0.01)) is not None:
                frames.append(frame)
        assert time.monotonic() - start >= 0.06
    assert [frame.frame_id for frame in frames] == [0, 1, 2]
    assert camera.drops == {}


def test_a_stalled_consumer_loses_the_oldest_frames() -> None:
    with SimCamera(SimOptions(frame_rate_hz=1000.0)) as camera:
        assert camera.grab(0.05) is not None
        resume = time.monotonic() + 0.03
        while time.monotonic() < resume:
            pass
        frame = camera.grab(0.05)
        assert frame is not None
        assert frame.frame_id >= 20
        assert camera.drops["device_queue"] == frame.frame_id - 1


def test_grab_before_open() -> None:
    with pytest.raises(
        CameraFailedError, match=r"^sim: expected an open camera, got grab before open; call open first$"
    ):
        SimCamera(SimOptions()).grab(0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"width_px": 200},
            "expected an image at least 4 bodies wide and high, got 200 × 512 px with body_px = 60",
        ),
        (
            {"n_animals": 16, "width_px": 240, "height_px": 240},
            "expected at most 4 animals in an image so small, got 16",
        ),
        ({"frame_rate_hz": 0.0}, "Input should be greater than or equal to 0.001"),
        ({"frame_rate_hz": 1e-308}, "Input should be greater than or equal to 0.001"),
        ({"framerate": 60}, "Extra inputs are not permitted"),
        ({"width_px": "512"}, "Input should be a valid integer"),
    ],
)
def test_wrong_options(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SimOptions(**settings)
