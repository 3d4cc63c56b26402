"""What a network sees and what it should draw, from labelled frames."""

import numpy as np
import pytest

from models.skeleton import Skeleton
from models.training.config import AugmentConfig, DetectorConfig, InstanceConfig, TopDownTraining, WholeImageConfig
from models.training.data import LabelledFrame
from models.training.samples import centres, samples_for
from models.training.tasks import Plan, Task

STILL = AugmentConfig(rotation_deg=0, scale=0, contrast=0, brightness=0, noise=0)
NAN = (np.nan, np.nan)


def labelled(index, *animals):
    points = np.array(animals, np.float32).reshape(-1, 2, 2)
    return LabelledFrame(index, points, np.arange(len(points), dtype=np.int32), np.ones(points.shape[:2], np.bool_))


def spots(*points, shape=(128, 160)):
    image = np.zeros(shape, np.uint8)
    for x, y in points:
        image[y, x] = 255
    return image


FRAMES = (
    labelled(4, [(40, 32), (48, 32)], [(100, 80), NAN]),
    labelled(9, [NAN, NAN], [NAN, (60, 60)]),
    labelled(7, [(40, 32), (48, 32)], [(52, 41), (60, 41)]),
)
IMAGES = {4: spots((40, 32), (100, 80)), 9: spots((60, 60)), 7: spots((40, 32), (52, 41))}


def samples(role, config, frames=FRAMES, augment=STILL, anchor=0):
    whole = TopDownTraining.model_construct(augment=augment)
    task = Task(role, config, 1 if role == "detector" else 2)
    plan = Plan(whole, Skeleton(("a", "b"), ((0, 1),), ((0, 1),)), anchor, (), (task,))
    return samples_for(task, plan, frames, IMAGES)


def test_a_crop_shows_its_animal_in_the_middle_and_nothing_of_the_others():
    crops = samples("instance", InstanceConfig(crop_size_px=32, output_stride=4, shift_px=0))
    assert len(crops) == 5  # the animal without labels is left out
    pixels, targets = crops.batch([0, 1, 2], np.random.default_rng(0))
    maps = targets["confmaps"]
    assert pixels.shape == (3, 32, 32, 1)
    assert maps.shape == (3, 8, 8, 2)
    for sample in pixels:
        # A crop of even size has its animal between four pixels.
        assert sample[15:17, 15:17].sum() == pytest.approx(1.0, abs=0.02)
        assert sample.sum() == pytest.approx(1.0, abs=0.02)
    at = 15.5 / 4
    expected = np.exp(-0.5 * ((np.arange(8) - at)[:, None] ** 2 + (np.arange(8) - at) ** 2))
    np.testing.assert_allclose(maps[0, :, :, 0], expected, atol=1e-6)
    assert maps[0, :, :, 1].max() > 0.8
    assert not maps[1, :, :, 1].any()  # its second node is not labelled


def test_a_scaled_crop_shows_more_in_the_same_space():
    config = InstanceConfig(crop_size_px=64, input_scale=0.5, output_stride=4, shift_px=0)
    pixels, targets = samples("instance", config).batch([0], np.random.default_rng(0))
    assert pixels.shape == (1, 32, 32, 1)
    # The second node is 8 px to the right of the middle: 4 px of the network's input, one cell.
    first, second = targets["confmaps"][0].transpose(2, 0, 1)
    np.testing.assert_allclose(second[:, 1:], first[:, :-1], atol=1e-5)


def test_a_detector_sees_the_resized_image_and_a_peak_for_every_animal():
    config = DetectorConfig(input_scale=0.5, max_stride=16, output_stride=4, shift_px=0)
    pixels, targets = samples("detector", config).batch([0], np.random.default_rng(0))
    maps = targets["confmaps"]
    assert pixels.shape == (1, 64, 80, 1)
    assert maps.shape == (1, 16, 20, 1)
    # (40, 32) lies at (40 + 0.5) / 2 − 0.5 = 19.75, 15.75 px of the half-size image: cell (5, 4).
    assert np.unravel_index(maps[0, :, :10, 0].argmax(), (16, 10)) == (4, 5)
    assert maps[0, 4, 5, 0] == pytest.approx(np.exp(-0.5 * 2 * (0.25 / 4) ** 2), abs=1e-6)
    assert np.unravel_index(maps[0, :, 10:, 0].argmax(), (16, 10)) == (10, 2)


def test_most_windows_are_centred_on_an_animal_and_some_are_not():
    config = WholeImageConfig(window_px=32, max_stride=16, output_stride=4, shift_px=0)
    windows = samples("network", config, FRAMES[:1])
    peaks = []
    for seed in range(200):
        pixels, targets = windows.batch([0], np.random.default_rng(seed))
        assert pixels.shape == (1, 32, 32, 1)
        assert targets["confmaps"].shape == (1, 8, 8, 2)
        # Middles of the animals' boxes: between the two nodes of the first, on the only node of the second.
        peaks.append(targets["confmaps"][0, 2:6, 2:6, 0].max() > 0.5)
    assert 0.8 < np.mean(peaks) < 0.95


def test_what_is_not_to_be_learnt_is_nan_where_the_animal_is_in_view():
    unsure = LabelledFrame(4, FRAMES[0].points, FRAMES[0].tracks, np.array([[True, False], [True, True]]))
    config = WholeImageConfig(max_stride=16, output_stride=4, shift_px=0, offsets=True)
    _, targets = samples("network", config, [unsure]).batch([0], np.random.default_rng(0))
    for head, channels in (("confmaps", [False, True]), ("offsets", [False, False, True, True])):
        assert np.isnan(targets[head]).all(axis=(0, 1, 2)).tolist() == channels, head
    crops = samples("instance", InstanceConfig(crop_size_px=32, shift_px=0), [unsure])
    assert np.isnan(crops.batch([0], np.random.default_rng(0))[1]["confmaps"]).all(axis=(0, 1, 2)).tolist() == [
        False,
        True,
    ]
    assert not np.isnan(crops.batch([1], np.random.default_rng(0))[1]["confmaps"]).any()


def test_no_crop_is_centred_on_an_anchor_that_is_not_to_be_learnt():
    unsure = LabelledFrame(4, FRAMES[0].points, FRAMES[0].tracks, np.array([[False, True], [True, True]]))
    config = InstanceConfig(crop_size_px=32, shift_px=0)
    assert len(samples("instance", config, [unsure])) == 1
    assert len(samples("instance", config, [unsure], anchor=None)) == 2


def test_mirrored_animals_have_their_sides_swapped_in_labels_and_doubts():
    unsure = LabelledFrame(4, FRAMES[0].points[:1], FRAMES[0].tracks[:1], np.array([[True, False]]))
    config = InstanceConfig(crop_size_px=32, output_stride=4, shift_px=0)
    crops = samples("instance", config, [unsure], STILL.model_copy(update={"mirror": True}))
    doubtful = {
        tuple(np.isnan(crops.batch([0], np.random.default_rng(seed))[1]["confmaps"]).all(axis=(0, 1, 2)).tolist())
        for seed in range(20)
    }
    assert doubtful == {(False, True), (True, False)}


def test_an_animal_without_its_anchor_is_where_its_box_is():
    points = np.array([[NAN, (10, 20), (30, 60)], [(1, 2), (50, 50), NAN], [NAN, NAN, NAN]], np.float32)
    np.testing.assert_array_equal(centres(points, 0), np.float32([[20, 40], [1, 2], NAN]))
    np.testing.assert_array_equal(centres(points, None), np.float32([[20, 40], [25.5, 26], NAN]))
