"""What a network sees and what it should draw, from labelled frames."""

import numpy as np
import pytest

from models.training.config import AugmentConfig, DetectorConfig, InstanceConfig
from models.training.data import LabelledFrame
from models.training.samples import DetectorSamples, InstanceSamples, centres

STILL = AugmentConfig(rotation_deg=0, scale=0, contrast=0, brightness=0, noise=0)
NAN = (np.nan, np.nan)


def labelled(index, *animals):
    return LabelledFrame(index, np.array(animals, np.float32).reshape(-1, 2, 2))


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


def test_a_crop_shows_its_animal_in_the_middle_and_nothing_of_the_others():
    config = InstanceConfig(anchor="a", crop_size_px=33 - 1, output_stride=4, sigma_cells=1.0, shift_px=0)
    samples = InstanceSamples(FRAMES, IMAGES, 0, np.arange(2), config, STILL)
    assert len(samples) == 5  # the animal without labels is left out
    pixels, maps = samples.batch([0, 1, 2], np.random.default_rng(0))
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


def test_a_detector_sees_the_resized_image_and_a_peak_for_every_animal():
    config = DetectorConfig(input_scale=0.5, max_stride=16, output_stride=4, sigma_cells=1.0, shift_px=0)
    samples = DetectorSamples(FRAMES, IMAGES, 0, config, STILL)
    pixels, maps = samples.batch([0], np.random.default_rng(0))
    assert pixels.shape == (1, 64, 80, 1)
    assert maps.shape == (1, 16, 20, 1)
    # (40, 32) lies at (40 + 0.5) / 2 − 0.5 = 19.75, 15.75 px of the half-size image: cell (5, 4).
    assert np.unravel_index(maps[0, :, :10, 0].argmax(), (16, 10)) == (4, 5)
    assert maps[0, 4, 5, 0] == pytest.approx(np.exp(-0.5 * 2 * (0.25 / 4) ** 2), abs=1e-6)
    assert np.unravel_index(maps[0, :, 10:, 0].argmax(), (16, 10)) == (10, 2)


def test_an_animal_without_its_anchor_is_where_its_box_is():
    points = np.array([[NAN, (10, 20), (30, 60)], [(1, 2), (50, 50), NAN], [NAN, NAN, NAN]], np.float32)
    np.testing.assert_array_equal(centres(points, 0), np.float32([[20, 40], [1, 2], NAN]))
