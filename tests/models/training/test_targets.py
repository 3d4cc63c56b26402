"""Every target against a slow, literal reading of its formula."""

import math

import numpy as np
import pytest

from models.training.targets import (
    class_maps,
    class_vector,
    confidence_maps,
    inside,
    offset_maps,
    part_affinity_fields,
)

NAN = (np.nan, np.nan)
TWO = np.array([[[9.3, 5.1], [2.0, 14.0], [4.0, 4.0]], [[20.5, 11.0], NAN, [12.0, 9.0]]], np.float32)
SIZE = (18, 27)


def gaussian(x, y, point, sigma_px):
    return 0.0 if math.isnan(point[0]) else math.exp(-(math.dist((x, y), point) ** 2) / (2 * sigma_px**2))


def cells(stride):
    """Row, column, and the pixel that they stand for."""
    for row in range(math.ceil(SIZE[0] / stride)):
        for column in range(math.ceil(SIZE[1] / stride)):
            yield row, column, column * stride, row * stride


@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("sigma", [0.7, 1.5])
def test_confidences_are_gaussians_and_the_largest_counts(stride, sigma):
    maps = confidence_maps(TWO, *SIZE, stride, sigma)
    assert maps.shape == (math.ceil(18 / stride), math.ceil(27 / stride), 3)
    assert maps.dtype == np.float32
    for row, column, x, y in cells(stride):
        for node in range(3):
            expected = max(gaussian(x, y, animal[node], sigma * stride) for animal in TWO.tolist())
            assert maps[row, column, node] == pytest.approx(expected, abs=1e-6)


def test_the_peak_is_one_at_the_cell_of_the_point():
    maps = confidence_maps(np.array([[[12.0, 8.0]]], np.float32), 32, 32, 4, 1.0)
    assert np.unravel_index(maps.argmax(), maps.shape) == (2, 3, 0)
    assert maps.max() == 1.0


@pytest.mark.parametrize("points", [np.empty((0, 3, 2)), np.full((2, 3, 2), np.nan)], ids=["no animal", "no labels"])
def test_nothing_to_see_is_zero_everywhere(points):
    points = points.astype(np.float32)
    maps = confidence_maps(points, 16, 16, 4, 1.0)
    assert maps.shape == (4, 4, 3)
    assert not maps.any()
    assert not part_affinity_fields(points, ((0, 1), (1, 2)), 16, 16, 4, 30.0).any()
    assert not class_maps(points, np.zeros(len(points), np.int32), 2, 16, 16, 4, 1.0).any()
    assert np.isnan(offset_maps(points, 16, 16, 4, 1.0)).all()


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_offsets_lead_to_the_nearest_point_where_its_confidence_counts(stride):
    sigma = 1.5
    offsets = offset_maps(TWO, *SIZE, stride, sigma)
    assert offsets.shape == (math.ceil(18 / stride), math.ceil(27 / stride), 6)
    for row, column, x, y in cells(stride):
        for node in range(3):
            confidence, point = max(
                ((gaussian(x, y, animal[node], sigma * stride), animal[node]) for animal in TWO.tolist()),
                key=lambda found: found[0],
            )
            expected = [(point[0] - x) / stride, (point[1] - y) / stride] if confidence > 0.2 else [np.nan] * 2
            np.testing.assert_allclose(offsets[row, column, 2 * node : 2 * node + 2], expected, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2, 8])
def test_affinity_fields_follow_the_edges_and_add_up(stride):
    edges, sigma = ((0, 2), (2, 1), (1, 0)), 12.0
    fields = part_affinity_fields(TWO, edges, *SIZE, stride, sigma)
    assert fields.shape == (math.ceil(18 / stride), math.ceil(27 / stride), 6)
    for row, column, x, y in cells(stride):
        for e, (a, b) in enumerate(edges):
            expected = np.zeros(2)
            for animal in TWO.astype(float):
                start, way = animal[a], animal[b] - animal[a]
                if np.isnan(start).any() or np.isnan(way).any():
                    continue
                share = np.clip(np.dot((x, y) - start, way) / np.dot(way, way), 0, 1)
                distance = np.linalg.norm((x, y) - (start + share * way))
                expected += math.exp(-(distance**4) / (2 * sigma**2)) * way / np.linalg.norm(way)
            # x first, then y.
            np.testing.assert_allclose(fields[row, column, 2 * e : 2 * e + 2], expected, atol=1e-5)


def test_an_animal_outside_the_image_has_no_field_and_nor_have_two_nodes_on_one_spot():
    outside = np.array([[[-3.0, 5.0], [-9.0, 5.0]]], np.float32)
    together = np.array([[[8.0, 8.0], [8.0, 8.0]]], np.float32)
    assert not part_affinity_fields(outside, ((0, 1),), 16, 16, 1, 30.0).any()
    assert not part_affinity_fields(together, ((0, 1),), 16, 16, 1, 30.0).any()


@pytest.mark.parametrize("classes", [(0, 1), (1, 0), (2, 2), (1, -1)])
@pytest.mark.parametrize("stride", [2, 4])
def test_class_maps_share_cells_between_the_instances_that_claim_them(classes, stride):
    sigma = 2.0
    maps = class_maps(TWO, np.array(classes, np.int32), 3, *SIZE, stride, sigma)
    for row, column, x, y in cells(stride):
        claims = [max(gaussian(x, y, point, sigma * stride) for point in animal) for animal in TWO.tolist()]
        claims = [claim if claim > 0.2 else 0.0 for claim in claims]
        expected = np.zeros(3)
        for claim, class_ in zip(claims, classes, strict=True):
            if class_ >= 0 and claim:
                expected[class_] = max(expected[class_], claim / sum(claims))
        if any(claim and class_ < 0 for claim, class_ in zip(claims, classes, strict=True)):
            expected[:] = np.nan
        np.testing.assert_allclose(maps[row, column], expected, atol=1e-5)


def test_a_class_is_one_hot_and_an_unknown_one_is_not_learnt():
    assert class_vector(1, 3).tolist() == [0, 1, 0]
    assert np.isnan(class_vector(-1, 3)).all()


def test_pixels_reach_half_a_pixel_beyond_their_centres():
    points = np.array([[(-0.4, 0), (-0.6, 0), (9.4, 4.4), (9.6, 4), (9, 4.6), NAN]], np.float32)
    assert inside(points, 5, 10).tolist() == [[True, False, True, False, False, False]]
