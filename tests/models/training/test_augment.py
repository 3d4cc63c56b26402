"""Points must move exactly as the pixels do, and an unmoved view must be what the exported graph sees."""

import numpy as np
import pytest

from models.training.augment import View, moved, relit, whole_image, window
from models.training.config import AugmentConfig

STILL = AugmentConfig(rotation_deg=0, scale=0, mirror=False, contrast=0, brightness=0, noise=0)
WILD = AugmentConfig(rotation_deg=180, scale=0.2, mirror=True)
SWAP = np.array([0, 2, 1])


def blobs(points, shape=(200, 220), sigma=3.0):
    """An image with a Gaussian blob at each point, brighter from node to node so that they can be told apart."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = sum(
        (100 + 50 * k) * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for k, (px, py) in enumerate(points)
    )
    return np.rint(image).astype(np.uint8)


def centre_of_mass(pixels, near, radius=9):
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]]
    weights = pixels * ((x - near[0]) ** 2 + (y - near[1]) ** 2 < radius**2)
    return np.array([(weights * x).sum(), (weights * y).sum()]) / weights.sum()


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", ["crop", "whole"])
def test_points_move_with_the_pixels(seed, kind):
    points = np.array([[100.3, 90.6], [125.0, 95.2], [104.8, 118.9]], np.float32)
    image = blobs(points)
    view = window(points[0], 96) if kind == "crop" else whole_image(*image.shape, 0.5, 16)
    view = moved(view, WILD, 5.0, np.random.default_rng(seed))
    pixels, here = view.pixels(image), view.points(points, np.arange(3))
    unswapped = View(view.matrix, view.height_px, view.width_px).points(points, SWAP)
    for x, y in unswapped.tolist():
        np.testing.assert_allclose(centre_of_mass(pixels, (x, y), 9 if kind == "crop" else 5), (x, y), atol=0.15)
    assert view.points(points, SWAP).tolist() == (unswapped[SWAP] if view.mirrored else unswapped).tolist()
    assert here.shape == points.shape


def test_a_mirror_swaps_left_and_right():
    views = [moved(window(np.zeros(2, np.float32), 32), WILD, 0.0, np.random.default_rng(s)) for s in range(20)]
    assert {view.mirrored for view in views} == {True, False}
    for view in views:
        assert np.sign(np.linalg.det(view.matrix[:, :2])) == (-1 if view.mirrored else 1)


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25, 0.37])
def test_an_unmoved_whole_image_is_the_graphs_resize(scale):
    """Bilinear at half-pixel centres without antialias, padded at the bottom and right."""
    image = np.random.default_rng(0).integers(0, 256, (64, 100), np.uint8)
    view = moved(whole_image(64, 100, scale, 16), STILL, 0.0, np.random.default_rng(0))
    height, width = int(64 * scale), int(100 * scale)
    y, x = (np.clip((np.arange(n) + 0.5) / scale - 0.5, 0, m - 1) for n, m in ((height, 64), (width, 100)))
    rows = image[np.floor(y).astype(int)] * (1 - y % 1)[:, None] + image[np.ceil(y).astype(int)] * (y % 1)[:, None]
    expected = rows[:, np.floor(x).astype(int)] * (1 - x % 1) + rows[:, np.ceil(x).astype(int)] * (x % 1)
    pixels = view.pixels(image)
    assert pixels.shape[0] % 16 == pixels.shape[1] % 16 == 0
    # OpenCV rounds source positions to 1/32 px and results to whole gray levels.
    inner = np.s_[1 : height - 1, 1 : width - 1]
    assert np.abs(pixels[:height, :width][inner] * 255 - expected[inner]).max() <= 256 / 16
    assert np.abs(pixels[:height, :width][inner] * 255 - expected[inner]).mean() <= 2.0


def test_an_unmoved_crop_is_the_graphs_crop():
    image = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    centre = np.array([10.5, 40.5], np.float32)
    view = moved(window(centre, 32), STILL, 0.0, np.random.default_rng(0))
    expected = np.zeros((32, 32), np.uint8)
    expected[:, 5:] = image[25:57, 0:27]  # columns −5 to −1 lie outside and are 0
    np.testing.assert_array_equal(np.rint(view.pixels(image) * 255), expected)
    np.testing.assert_allclose(view.points(centre[None], np.arange(1)), [[15.5, 15.5]])


@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25])
def test_a_window_is_a_part_of_the_resized_image(scale):
    """The whole image at that scale, cut out around the centre: one geometry for windows, crops and whole images."""
    image = blobs([(60.0, 70.0), (90.0, 80.0)], shape=(160, 160), sigma=8.0)
    whole = whole_image(160, 160, scale, 1)
    # A centre that falls between four cells of the resized image.
    centre = (np.array([20, 20], np.float32) + 0.5 + 0.5) / scale - 0.5 if scale < 1 else np.float32([70.5, 70.5])
    view = window(np.float32(centre), 16, scale)
    (corner,) = whole.points(np.float32([centre]), np.arange(1)) - 7.5
    x, y = np.rint(corner).astype(int)
    np.testing.assert_allclose(view.pixels(image), whole.pixels(image)[y : y + 16, x : x + 16], atol=2 / 255)
    np.testing.assert_allclose(view.points(np.float32([centre]), np.arange(1)), [[7.5, 7.5]], atol=1e-4)


LIGHTS = {
    "nothing": (STILL, 0.0, 0.0),
    "contrast": (STILL.model_copy(update={"contrast": 0.5}), 0.01, 0.5),
    "brightness": (STILL.model_copy(update={"brightness": 0.3}), 0.01, 0.3),
    "gamma": (STILL.model_copy(update={"gamma": 0.5}), 0.005, 0.3),
    "noise": (STILL.model_copy(update={"noise": 0.2}), 0.01, 1.0),
    "all": (AugmentConfig(contrast=0.9, brightness=0.9, noise=0.5, gamma=1.0, blur_px=3.0), 0.05, 1.0),
}


@pytest.mark.parametrize(("config", "least", "most"), LIGHTS.values(), ids=LIGHTS)
def test_light_changes_as_far_as_it_may_and_stays_in_range(config, least, most):
    pixels = np.linspace(0, 1, 1000, dtype=np.float32).reshape(10, 100)
    changes = []
    for seed in range(20):
        lit = relit(pixels.copy(), config, np.random.default_rng(seed))
        assert lit.dtype == np.float32
        assert 0 <= lit.min() <= lit.max() <= 1
        changes.append(np.abs(lit - pixels).max())
    assert least <= max(changes) <= most + 1e-6


def test_three_in_ten_samples_are_blurred():
    spot = np.zeros((21, 21), np.float32)
    spot[10, 10] = 1.0
    config = STILL.model_copy(update={"blur_px": 1.5})
    peaks = [relit(spot, config, np.random.default_rng(seed))[10, 10] for seed in range(200)]
    assert 0.2 < np.mean([peak < 0.999 for peak in peaks]) < 0.4
    assert min(peaks) > 0.05
