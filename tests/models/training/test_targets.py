"""Confidence maps against their formula."""

import math

import numpy as np
import pytest

from models.training.targets import confidence_maps


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_every_cell_follows_the_formula(stride, sigma):
    points = np.array([[[9.3, 5.1], [2.0, 14.0]], [[20.5, 11.0], [np.nan, np.nan]]], np.float32)
    maps = confidence_maps(points, 18, 27, stride, sigma)
    assert maps.shape == (math.ceil(18 / stride), math.ceil(27 / stride), 2)
    assert maps.dtype == np.float32
    for row, column, node in np.ndindex(*maps.shape):
        values = [
            math.exp(-((column * stride - x) ** 2 + (row * stride - y) ** 2) / (2 * (sigma * stride) ** 2))
            for x, y in points[:, node].tolist()
            if not math.isnan(x)
        ]
        assert maps[row, column, node] == pytest.approx(max(values), abs=1e-6)


def test_the_peak_is_one_at_the_cell_of_the_point():
    maps = confidence_maps(np.array([[[12.0, 8.0]]], np.float32), 32, 32, 4, 1.0)
    assert np.unravel_index(maps.argmax(), maps.shape) == (2, 3, 0)
    assert maps.max() == 1.0


@pytest.mark.parametrize("points", [np.empty((0, 3, 2)), np.full((2, 3, 2), np.nan)], ids=["no animal", "no labels"])
def test_nothing_to_see_is_zero_everywhere(points):
    maps = confidence_maps(points.astype(np.float32), 16, 16, 4, 1.0)
    assert maps.shape == (4, 4, 3)
    assert not maps.any()
