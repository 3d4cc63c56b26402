"""Part affinity fields and class maps, read at peaks, inside the graph."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.export.builder import GraphBuilder
from models.export.peaks import read_cells
from models.spec import Geometry

# SLEAP's numbers: points on the line between two peaks; the longest edge without penalty over the size of the field.
LINE_POINTS = 10
MAX_EDGE_LENGTH_RATIO = 0.25


@dataclass(frozen=True, slots=True)
class Field:
    """Maps in a graph that are read at points.

    Attributes:
        values: `(n, channels, height, width)` float32.
        shape: (channels, height, width).
        stride: px of the network's input per cell.
    """

    values: str
    shape: tuple[int, int, int]
    stride: int


@dataclass(frozen=True, slots=True)
class Points:
    """Peaks in a graph, in px of the network's input.

    Attributes:
        xy: `(n, nodes, n_peaks, 2)` float32, px; NaN in empty slots.
        valid: `(n, nodes, n_peaks)` bool.
        n_nodes: Nodes.
        n_peaks: Slots for peaks, a node.
    """

    xy: str
    valid: str
    n_nodes: int
    n_peaks: int


def add_edge_scores(
    graph: GraphBuilder, pafs: Field, peaks: Points, edges: Sequence[tuple[int, int]], geometry: Geometry
) -> str:
    """Score every pair of peaks that an edge could join by the part affinity field between them.

    SLEAP's score: the field in the cells nearest to `LINE_POINTS` points of the line from source to destination (both
    included), times the line's direction, in the mean; lines longer than L, a quarter of the field's longer side, lose
    1 − L / length. `sleap_compat` lets the field's channels count as a side.

    Args:
        graph: The graph.
        pafs: The fields; channels 2e and 2e + 1 are x and y of edge e.
        peaks: The peaks.
        edges: (source, destination) nodes.
        geometry: See above.

    Returns:
        `(n, edges, n_peaks, n_peaks)` float32, source × destination; −inf where a peak is missing or the two are one
        point.
    """
    n_edges, n_peaks = len(edges), peaks.n_peaks
    # Everything is (n, edges, x and y, source peak, destination peak, point of the line).
    first, last = _ends(graph, graph.op("Transpose", _known(graph, peaks), perm=[0, 1, 3, 2]), edges)
    way = graph.op("Sub", last, first)
    step = graph.op("Div", way, graph.float32(LINE_POINTS - 1))
    steps = graph.op("Mul", step, graph.float32(np.arange(LINE_POINTS - 1)))
    arrival = graph.op("Expand", last, graph.int64([1, n_edges, 2, n_peaks, n_peaks, 1]))
    line = graph.op("Concat", graph.op("Add", first, steps), arrival, axis=5)
    cells = graph.op("Expand", _nearest_cells(graph, line, 3, pafs), graph.int64([1, 1, 2, 1, 1, 1]))
    cells = graph.reshape(cells, (-1, 2 * n_edges, n_peaks * n_peaks * LINE_POINTS))
    vectors = read_cells(graph, pafs.values, pafs.shape, cells)
    vectors = graph.reshape(vectors, (-1, n_edges, 2, n_peaks, n_peaks, LINE_POINTS))
    length = graph.op("Sqrt", graph.op("ReduceSum", graph.op("Mul", way, way), graph.int64([2])))
    along = graph.op("ReduceSum", graph.op("Mul", vectors, graph.op("Div", way, length)), graph.int64([2]))
    sides = pafs.shape if geometry == "sleap_compat" else pafs.shape[1:]
    longest = graph.float32(MAX_EDGE_LENGTH_RATIO * max(sides) * pafs.stride)
    penalty = graph.op("Min", graph.op("Sub", graph.op("Div", longest, length), graph.float32(1.0)), graph.float32(0.0))
    score = graph.op("Add", graph.op("ReduceMean", along, axes=[5]), penalty)
    joinable = graph.op("And", *_ends(graph, graph.unsqueeze(peaks.valid, 2), edges))
    joinable = graph.op("And", joinable, graph.op("Greater", length, graph.float32(0.0)))
    score = graph.op("Where", joinable, score, graph.float32(-np.inf))
    return graph.reshape(score, (-1, n_edges, n_peaks, n_peaks))


def add_class_probs(graph: GraphBuilder, class_maps: Field, peaks: Points) -> str:
    """Read the class maps in the cell nearest to every peak.

    Returns:
        `(n, nodes, n_peaks, classes)` float32; 0 in empty slots.
    """
    n_classes, n_nodes, n_peaks = class_maps.shape[0], peaks.n_nodes, peaks.n_peaks
    cells = _nearest_cells(graph, _known(graph, peaks), 0, class_maps)
    cells = graph.op("Expand", graph.reshape(cells, (-1, 1, n_nodes * n_peaks)), graph.int64([1, n_classes, 1]))
    read = graph.op("Transpose", read_cells(graph, class_maps.values, class_maps.shape, cells), perm=[0, 2, 1])
    probs = graph.reshape(read, (-1, n_nodes, n_peaks, n_classes))
    return graph.op("Where", graph.unsqueeze(peaks.valid, 3), probs, graph.float32(0.0))


def _known(graph: GraphBuilder, peaks: Points) -> str:
    """Return the peaks with 0 for NaN, which has no cell."""
    return graph.op("Where", graph.unsqueeze(peaks.valid, 3), peaks.xy, graph.float32(0.0))


def _ends(graph: GraphBuilder, values: str, edges: Sequence[tuple[int, int]]) -> tuple[str, str]:
    """Return `(n, nodes, k, n_peaks)` values at both ends of the edges.

    Sources are `(n, edges, k, n_peaks, 1, 1)`, destinations `(n, edges, k, 1, n_peaks, 1)`.
    """
    sources, destinations = (
        graph.op("Gather", values, graph.int64([edge[end] for edge in edges]), axis=1) for end in (0, 1)
    )
    return graph.unsqueeze(sources, 4, 5), graph.unsqueeze(destinations, 3, 5)


def _nearest_cells(graph: GraphBuilder, points: str, axes_after_xy: int, field: Field) -> str:
    """Return the flat cell (int64) nearest to every point, halves to even, clipped to the map.

    x and y lie along one axis, which `axes_after_xy` others follow; in the result its length is 1.
    """
    _, height, width = field.shape
    per_axis = (2, *[1] * axes_after_xy)
    cells = graph.op("Round", graph.op("Div", points, graph.float32(field.stride)))
    cells = graph.op("Max", cells, graph.float32(0.0))
    cells = graph.op("Min", cells, graph.float32(np.reshape([width - 1, height - 1], per_axis)))
    weighted = graph.op("Mul", graph.cast(cells, np.int64), graph.int64(np.reshape([1, width], per_axis)))
    return graph.op("ReduceSum", weighted, graph.int64([-1 - axes_after_xy]))
