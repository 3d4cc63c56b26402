import numpy as np
import onnxruntime
import pytest

from models.export.builder import GraphBuilder
from models.export.fields import Field, Points, add_class_probs, add_edge_scores

RNG = np.random.default_rng(8)
EDGES = ((0, 2), (2, 1))
N_NODES, N_PEAKS = 3, 4


def session(add, n_channels, height, width, stride):
    graph = GraphBuilder("fields")
    field = Field(
        graph.input("field", np.float32, ("n", n_channels, height, width)), (n_channels, height, width), stride
    )
    xy = graph.input("xy", np.float32, ("n", N_NODES, N_PEAKS, 2))
    valid = graph.input("valid", np.bool_, ("n", N_NODES, N_PEAKS))
    graph.output(add(graph, field, Points(xy, valid, N_NODES, N_PEAKS)), "out", np.float32, ["n", "a", "b", "c"])
    return onnxruntime.InferenceSession(graph.build().SerializeToString())


def edge_session(height, width, stride, geometry):
    return session(lambda *of: add_edge_scores(*of, EDGES, geometry), 2 * len(EDGES), height, width, stride)


def line_score(paf, source, destination, stride, longest):
    """SLEAP's score of one pair, written out."""
    way = destination.astype(float) - source
    length = np.hypot(*way)
    line = np.linspace(source, destination, 10) / stride
    cells = np.clip(np.round(line), 0, [paf.shape[2] - 1, paf.shape[1] - 1]).astype(int)
    along = paf[:, cells[:, 1], cells[:, 0]].T @ (way / length)
    return along.mean() + min(longest / length - 1, 0)


# The second field has more channels (4) than cells to a side; they count as a side for SLEAP only.
@pytest.mark.parametrize(
    ("shape", "geometry", "longest_cells"),
    [((12, 9), "exact", 3.0), ((12, 9), "sleap_compat", 3.0), ((2, 3), "exact", 0.75), ((2, 3), "sleap_compat", 1.0)],
)
def test_edge_scores_are_those_of_the_definition(shape, geometry, longest_cells):
    stride = 4
    field = RNG.standard_normal((2, 4, *shape)).astype(np.float32)
    # Some points lie outside the map.
    xy = RNG.uniform(-8, 4 * max(shape) + 8, (2, N_NODES, N_PEAKS, 2)).astype(np.float32)
    valid = RNG.random((2, N_NODES, N_PEAKS)) < 0.7
    xy[0, 0, 0] = xy[0, 2, 0] = 3.0
    valid[0, 0, 0] = valid[0, 2, 0] = True
    xy[~valid] = np.nan
    (scores,) = edge_session(*shape, stride, geometry).run(None, {"field": field, "xy": xy, "valid": valid})
    assert scores.shape == (2, 2, N_PEAKS, N_PEAKS)
    for n, e, i, j in np.ndindex(scores.shape):
        source, destination = xy[n, EDGES[e][0], i], xy[n, EDGES[e][1], j]
        if not (valid[n, EDGES[e][0], i] and valid[n, EDGES[e][1], j]) or np.array_equal(source, destination):
            assert scores[n, e, i, j] == -np.inf
            continue
        paf = field[n, 2 * e : 2 * e + 2]
        expected = line_score(paf, source, destination, stride, longest_cells * stride)
        np.testing.assert_allclose(scores[n, e, i, j], expected, atol=1e-5)


def test_lines_are_read_half_way_between_cells_at_the_even_one():
    field = np.zeros((1, 4, 8, 8), np.float32)
    field[0, 0] = np.arange(8)[:, np.newaxis]  # x of edge 0 is the row
    xy = np.full((1, N_NODES, N_PEAKS, 2), np.nan, np.float32)
    valid = np.zeros((1, N_NODES, N_PEAKS), np.bool_)
    for peak, row in enumerate((0.5, 1.5, 2.5)):
        xy[0, 0, peak], xy[0, 2, peak] = (2.0, 4 * row), (6.0, 4 * row)
        valid[0, [0, 2], peak] = True
    (scores,) = edge_session(8, 8, 4, "exact").run(None, {"field": field, "xy": xy, "valid": valid})
    np.testing.assert_allclose(scores[0, 0].diagonal()[:3], [0, 2, 2], atol=1e-6)


def test_class_maps_are_read_in_the_nearest_cell():
    maps = RNG.random((2, 3, 6, 5)).astype(np.float32)
    xy = (RNG.integers(-16, 200, (2, N_NODES, N_PEAKS, 2)) / 4).astype(np.float32)
    valid = RNG.random((2, N_NODES, N_PEAKS)) < 0.7
    xy[~valid] = np.nan
    (probs,) = session(add_class_probs, 3, 6, 5, 8).run(None, {"field": maps, "xy": xy, "valid": valid})
    assert probs.shape == (2, N_NODES, N_PEAKS, 3)
    assert not probs[~valid].any()
    for n, node, peak in np.argwhere(valid):
        column, row = np.clip(np.round(xy[n, node, peak] / 8), 0, (4, 5)).astype(int)
        np.testing.assert_array_equal(probs[n, node, peak], maps[n, :, row, column])
