import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.export.builder import GraphBuilder
from models.export.images import add_exact_crops, add_network_input, add_scaled_image, add_sleap_crops, scaled_size

RNG = np.random.default_rng(5)


def bilinear(image, rows, columns):
    """Sample an image at rows × columns, clamped at the edges."""

    def along(values, positions):
        low = np.floor(positions)
        weight = (positions - low).reshape(-1, *[1] * (values.ndim - 1))
        first, second = (np.clip(low + k, 0, len(values) - 1).astype(int) for k in (0, 1))
        return (1 - weight) * values[first] + weight * values[second]

    return along(along(image.astype(float), rows).swapaxes(0, 1), columns).swapaxes(0, 1)


@pytest.mark.parametrize("scale", [0.125, 0.25, 1 / 3, 0.3, 0.5, 0.7, 0.75, 1.0, 1.5])
@pytest.mark.parametrize("shape", [(64, 48), (61, 47), (50, 10)])
def test_resize_reads_at_half_pixel_centres(run_graph, scale, shape):
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    graph = GraphBuilder("test")
    value = add_scaled_image(graph, graph.input("image", np.uint8, ("n", *shape)), shape, scale, 1, "exact")
    (result,) = run_graph(graph, {value: (np.float32, 4)}, {"image": np.stack([0 * image, image])})
    rows, columns = ((np.arange(scaled_size(side, scale)) + 0.5) / scale - 0.5 for side in shape)
    assert result.shape == (2, 1, len(rows), len(columns))
    np.testing.assert_allclose(result[1, 0], bilinear(image, rows, columns), atol=0.01)
    assert not result[0].any()


def test_sleap_resize_spans_the_image_where_its_size_was_truncated(run_graph):
    shape, scale = (61, 47), 0.25
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    graph = GraphBuilder("test")
    value = add_scaled_image(graph, graph.input("image", np.uint8, ("n", *shape)), shape, scale, 1, "sleap_compat")
    (result,) = run_graph(graph, {value: (np.float32, 4)}, {"image": image[np.newaxis]})
    rows, columns = ((np.arange(n) + 0.5) * size / n - 0.5 for n, size in ((15, 61), (11, 47)))
    np.testing.assert_allclose(result[0, 0], bilinear(image, rows, columns), atol=0.01)


@pytest.mark.parametrize(
    ("camera", "network", "expected"),
    [
        (3, 1, lambda rgb: (rgb @ [0.2989, 0.587, 0.114])[np.newaxis]),
        (3, 3, lambda rgb: rgb.transpose(2, 0, 1)),
        (1, 3, lambda gray: np.stack([gray] * 3)),
    ],
    ids=["colour to gray", "colour", "gray to colour"],
)
def test_colour(run_graph, camera, network, expected):
    shape = (8, 6) if camera == 1 else (8, 6, 3)
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    graph = GraphBuilder("test")
    value = add_scaled_image(graph, graph.input("image", np.uint8, ("n", *shape)), shape, 1.0, network, "exact")
    (result,) = run_graph(graph, {value: (np.float32, 4)}, {"image": image[np.newaxis]})
    np.testing.assert_allclose(result[0], expected(image.astype(float)), rtol=1e-5)


def test_padding_is_black_at_the_bottom_and_right(run_graph):
    graph = GraphBuilder("test")
    value, size = add_network_input(graph, graph.input("x", np.float32, (1, 1, 5, 6)), (5, 6), 4)
    (result,) = run_graph(graph, {value: (np.float32, 4)}, {"x": np.full((1, 1, 5, 6), 255, np.float32)})
    assert size == (8, 8)
    np.testing.assert_array_equal(result[0, 0], np.pad(np.ones((5, 6)), ((0, 3), (0, 2))))


@pytest.fixture(scope="module")
def crop_session():

    def make(adder, shape, side):
        graph = GraphBuilder("test")
        images = graph.input("images", np.uint8, ("batch", *shape))
        centroids = graph.input("centroids", np.float32, ("batch", "n", 2))
        added = adder(graph, images, shape, centroids, side)
        values = (added,) if isinstance(added, str) else added
        for k, value in enumerate(values):
            rank = 3 if k else 1 + len(shape)
            graph.output(value, f"out{k}", np.float32, [f"d{k}{i}" for i in range(rank)])
        session = onnxruntime.InferenceSession(graph.build().SerializeToString())

        def run(image, centroids):
            """Cut the same crops out of the image and of another one; return those of the image."""
            images, twice = np.stack([image ^ 255, image]), np.float32([centroids] * 2)
            crops, *corners = session.run(None, {"images": images, "centroids": twice})
            return crops[len(centroids) :], *(array[1] for array in corners)

        return run

    return make


SHAPES = [(30, 40), (30, 40, 3)]
IMAGES = {shape: RNG.integers(1, 256, shape, dtype=np.uint8) for shape in SHAPES}
_RUNS: dict = {}
anywhere = st.lists(st.tuples(st.floats(-30, 70, width=32), st.floats(-30, 60, width=32)), min_size=1, max_size=3)


@pytest.mark.parametrize("shape", SHAPES, ids=["gray", "colour"])
@settings(max_examples=50, deadline=None)
@given(centroids=anywhere)
def test_exact_crops_are_the_pixels_themselves(crop_session, shape, centroids):
    run = _RUNS.setdefault(("exact", shape), crop_session(add_exact_crops, shape, 8))
    crops, corners = run(IMAGES[shape], centroids)
    margin = 60
    padded = np.pad(IMAGES[shape], [(margin, margin)] * 2 + [(0, 0)] * (len(shape) - 2))
    for crop, corner, centroid in zip(crops, corners, centroids, strict=True):
        assert np.array_equal(corner, np.round(corner))
        assert np.abs(corner + 3.5 - centroid).max() <= 0.5 + 1e-5
        x, y = (corner + margin).astype(int)
        np.testing.assert_array_equal(crop, padded[y : y + 8, x : x + 8])


@pytest.mark.parametrize("shape", SHAPES, ids=["gray", "colour"])
@settings(max_examples=50, deadline=None)
@given(centroids=anywhere)
def test_sleap_crops_are_interpolated_truncated_and_black_outside(crop_session, shape, centroids):
    # Quarters keep the arithmetic exact, so that the truncation is the same on both sides.
    centroids = np.round(np.array(centroids) * 4) / 4
    run = _RUNS.setdefault(("sleap", shape), crop_session(add_sleap_crops, shape, 7))
    (crops,) = run(IMAGES[shape], centroids)
    for crop, (x, y) in zip(crops, centroids, strict=True):
        rows, columns = y - 3 + np.arange(7), x - 3 + np.arange(7)
        expected = np.floor(bilinear(IMAGES[shape], rows, columns))
        expected[(rows < 0) | (rows > 29)] = 0
        expected[:, (columns < 0) | (columns > 39)] = 0
        np.testing.assert_array_equal(crop, expected)
