"""Turned views: what they show, that points come back to where they were, and what one view's silence does."""

import cmath
import math
from contextlib import closing

import numpy as np
import pytest

from models.engines.registry import installed_engines
from models.export.builder import GraphBuilder
from models.export.export import Crops, WholeImage, export_model
from models.export.views import add_mean, add_mean_of_views, add_turned_views
from models.exported import ExportedModel, ExportedOptions
from models.guided import GuidedModel, GuidedOptions
from models.network import Layer, Network
from models.skeleton import Skeleton
from models.spec import CropSpec

RNG = np.random.default_rng(5)
VIEWS = [2, 3, 4, 8]
THRESHOLD = 0.2


def crop_of(side, views):
    return CropSpec(size_px=side, input_scale=1.0, output_stride=1, views=views)


def turned(run_graph, squares, crop):
    graph = GraphBuilder("test")
    color = squares.ndim == 4
    value = graph.input("x", np.float32, ("n", *squares.shape[1:]))
    (views,) = run_graph(
        graph, {add_turned_views(graph, value, crop, color=color): (np.float32, squares.ndim)}, {"x": squares}
    )
    return views.reshape(len(squares), crop.views, *views.shape[1:])


@pytest.mark.parametrize("shape", [(), (3,)], ids=["gray", "colour"])
@pytest.mark.parametrize("side", [7, 8])
def test_quarter_turns_move_whole_pixels(run_graph, side, shape):
    squares = RNG.uniform(0, 255, (2, side, side, *shape)).astype(np.float32)
    views = turned(run_graph, squares, crop_of(side, 4))
    for k in range(4):
        # What is turned clockwise on a screen is turned back, which NumPy calls forth.
        np.testing.assert_array_equal(views[:, k], np.rot90(squares, k, axes=(1, 2)))


@pytest.mark.parametrize("shape", [(), (3,)], ids=["gray", "colour"])
@pytest.mark.parametrize("side", [7, 8])
@pytest.mark.parametrize("views", [3, 8, 16])
def test_other_turns_read_between_pixels(run_graph, views, side, shape):
    crop = crop_of(side, views)
    row, column = np.mgrid[: crop.cut_px, : crop.cut_px] - (crop.cut_px - 1) / 2
    slopes = RNG.uniform(-3, 3, (2, 2, 3))
    ramps = slopes[:, 0, :, np.newaxis, np.newaxis] * column + slopes[:, 1, :, np.newaxis, np.newaxis] * row
    squares = np.moveaxis(ramps, 1, -1).astype(np.float32)
    squares, slopes = (squares, slopes) if shape else (squares[..., 0], slopes[..., :1])
    down, across = np.mgrid[:side, :side] - (side - 1) / 2
    for k, found in enumerate(np.moveaxis(turned(run_graph, squares, crop), 1, 0)):
        place = (across + 1j * down) * cmath.exp(2j * math.pi * k / views)
        expected = np.einsum("nc,ij->nijc", slopes[:, 0], place.real) + np.einsum(
            "nc,ij->nijc", slopes[:, 1], place.imag
        )
        np.testing.assert_allclose(found, expected if shape else expected[..., 0], atol=1e-3)


@pytest.mark.parametrize("views", range(1, 17))
def test_the_square_holds_all_views_and_little_more(views):
    corner = max((cmath.exp(2j * math.pi * (k / views + 1 / 8 + j / 4)).real) for k in range(views) for j in range(4))
    for side in range(1, 40):
        cut = crop_of(side, views).cut_px
        reach = (side - 1) / 2 * math.sqrt(2) * corner
        assert (cut - side) % 2 == 0
        assert cut == side if views in (1, 2, 4) else 0 < (cut - 1) / 2 - reach <= 1


def test_one_view_adds_nothing():
    crop = crop_of(8, 1)
    assert crop.cut_px == 8
    assert add_turned_views(None, "squares", crop, color=False) == "squares"
    assert add_mean_of_views(None, "points", "scores", 3, crop, THRESHOLD) == ("points", "scores")
    assert add_mean(None, "values", 3, crop) == "values"


def mean_of(run_graph, points, scores, crop):
    graph = GraphBuilder("test")
    n_nodes = scores.shape[-1]
    found = add_mean_of_views(
        graph, graph.input("p", np.float32, ("n", n_nodes, 2)), graph.input("s", np.float32, ("n", n_nodes)),
        n_nodes, crop, THRESHOLD,
    )  # fmt: skip
    feeds = {"p": np.float32(points).reshape(-1, n_nodes, 2), "s": np.float32(scores).reshape(-1, n_nodes)}
    return run_graph(graph, {found[0]: (np.float32, 3), found[1]: (np.float32, 2)}, feeds)


def in_views(point, crop):
    """Where a point of the square is in each view, by complex numbers."""
    away = complex(*point) - complex(1, 1) * (crop.cut_px - 1) / 2
    places = [away * cmath.exp(-2j * math.pi * k / crop.views) for k in range(crop.views)]
    return np.array([(p.real, p.imag) for p in places]) + (crop.size_px - 1) / 2


@pytest.mark.parametrize("views", VIEWS)
def test_points_come_back_to_where_they_were(run_graph, views):
    crop = crop_of(24, views)
    truth = [(3.25, 17.5), (20.0, 9.75)]
    points = np.stack([in_views(point, crop) for point in truth], axis=1)
    xy, scores = mean_of(run_graph, points, np.full((views, 2), 0.75), crop)
    np.testing.assert_allclose(xy[0], truth, atol=1e-4)
    np.testing.assert_allclose(scores, 0.75, atol=1e-6)


def test_a_node_is_where_the_views_have_it_that_see_it(run_graph):
    crop = crop_of(24, 4)
    points = np.stack([in_views((6, 10), crop)] * 4, axis=1)
    scores = np.full((4, 4), 0.6)
    points[1, 1], scores[1, 1] = np.nan, 0.1  # one view does not see the second node
    points[2:, 2], scores[2:, 2] = (99.0, -99.0), 0.19  # two have the third one elsewhere, below the threshold
    points[1:, 3], scores[1:, 3] = np.nan, 0.05  # but one do not see the fourth one
    (xy,), (score,) = mean_of(run_graph, points, scores, crop)
    np.testing.assert_allclose(xy[:3], [(6, 10)] * 3, atol=1e-4)
    np.testing.assert_allclose(score, [0.6, 1.9 / 4, 1.58 / 4, 0.75 / 4], atol=1e-6)
    assert np.isnan(xy[3]).all()


def test_what_is_no_number_is_not_hidden_by_the_other_views(run_graph):
    crop = crop_of(24, 2)
    points, scores = np.stack([in_views((6, 10), crop)] * 2, axis=1), np.full((2, 2), 0.5)
    points[0, 0], scores[1, 1] = np.nan, np.nan
    (xy,), (score,) = mean_of(run_graph, points, scores, crop)
    assert np.isnan(xy).all()  # the first with a score that counts: a fault
    assert score[0] == 0.5
    assert np.isnan(score[1])


def test_classes_are_the_mean_of_the_views(run_graph):
    graph = GraphBuilder("test")
    values = RNG.uniform(0, 1, (6, 4)).astype(np.float32)
    mean = add_mean(graph, graph.input("v", np.float32, ("n", 4)), 4, crop_of(8, 3))
    (found,) = run_graph(graph, {mean: (np.float32, 2)}, {"v": values})
    np.testing.assert_allclose(found, values.reshape(2, 3, 4).mean(axis=1), atol=1e-6)


SHAPE = (120, 140)
SIDE = 32
AWAY = np.array([(9.3, -5.6), (-4.4, -10.9)])


def of_colour(channel, n_maps=1):
    """A network whose maps are one channel of the image."""
    kernel = np.zeros((1, 1, 3, n_maps), np.float32)
    kernel[0, 0, channel] = 1.0
    layers = (Layer("input", "input", channels=3), Layer("confmaps", "conv", ("input",), n_maps, 1))
    weights = {"confmaps/kernel": kernel, "confmaps/bias": np.zeros(n_maps, np.float32)}
    return Network(layers, {"confmaps": "confmaps"}, weights)


def green_beside_red(spots, anchors):
    """Images whose red spots are two animals' anchors, and whose green ones are their only node."""
    anchors = np.asarray(anchors, float)
    image = np.zeros((*SHAPE, 3), np.uint8)
    image[..., 0] = spots(SHAPE, anchors, 1.5)
    image[..., 1] = spots(SHAPE, anchors + AWAY, 1.5)
    return image, anchors + AWAY


MIDDLE, BORDER = [(40.0, 50.0), (95.0, 70.0)], [(2.0, 16.0), (137.0, 117.0)]


@pytest.mark.parametrize("places", [MIDDLE, BORDER], ids=["in the middle", "at the border"])
@pytest.mark.parametrize("views", VIEWS)
def test_nodes_far_from_the_middle_have_no_bias_on_any_engine_whole_or_in_halves(tmp_path, spots, views, places):
    export_model(
        tmp_path, "top_down", skeleton=Skeleton(("spot",)), image_shape=(*SHAPE, 3),
        whole_image=WholeImage(of_colour(0)), crops=Crops(of_colour(1), SIDE, views=views), anchor=None,
    )  # fmt: skip
    phases = (np.arange(4) + 0.5) / 4
    scenes = [green_beside_red(spots, np.add(places, (x, y))) for x in phases for y in phases]
    engines = [engine.options.model_dump() for engine in installed_engines() if engine.works]
    assert engines
    for engine in engines:
        for model in (
            ExportedModel(ExportedOptions(path=tmp_path, **engine)),
            GuidedModel(GuidedOptions(path=tmp_path, **engine)),
        ):
            with closing(model):
                errors = []
                for image, truth in scenes:
                    xy = model.predict(image, 0).xy[:, 0]
                    assert len(xy) == 2
                    errors.append(xy[np.argsort(xy[:, 0])] - truth)
            assert np.abs(np.median(np.concatenate(errors), axis=0)).max() < 0.05
            assert np.abs(errors).max() < 0.1
