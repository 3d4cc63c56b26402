"""Confidence maps into points: local and global peaks with sub-cell refinement, inside the graph."""

from dataclasses import dataclass

import numpy as np

from models.export.builder import GraphBuilder
from models.spec import Geometry

_MINUS_INFINITY = np.float32(-np.inf)
# Confidences below this do not tell a flank from noise.
_FLOOR = 1e-3


@dataclass(frozen=True, slots=True)
class Maps:
    """Confidence maps in a graph.

    Attributes:
        values: `(n, channels, height, width)` float32; n may be dynamic.
        offsets: `(n, 2·channels, height, width)` float32, cells, x and y interleaved: where the true peak lies
            from each cell; or None for a network without such a head.
        channels: Maps per image.
        height: Rows of a map.
        width: Columns of a map.
    """

    values: str
    offsets: str | None
    channels: int
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class LocalPeaks:
    """Local maxima in a graph, of every map the highest first.

    Attributes:
        cells: `(n, channels, n_peaks, 2)` float32, cells (x, y); NaN in empty slots.
        values: `(n, channels, n_peaks)` float32, of the map; 0 in empty slots.
        valid: `(n, channels, n_peaks)` bool: the slot holds a peak.
        overflow: `(n,)` bool: a map has more peaks than slots.
    """

    cells: str
    values: str
    valid: str
    overflow: str


def add_local_peaks(graph: GraphBuilder, maps: Maps, threshold: float, n_peaks: int, geometry: Geometry) -> LocalPeaks:
    """Find the `n_peaks` (fewer than cells) highest local maxima above `threshold` of every map.

    `sleap_compat`: strictly greater than all 8 neighbours, so that equal neighbours hide each other. `exact`: strictly
    greater than the neighbours before it in raster order and not less than those after it, so that a plateau yields its
    first cell and two touching maxima of equal height yield one peak. Of equally high peaks the first in raster order
    comes first.
    """
    # The threshold is for the few that are left: the map is large.
    is_peak = _local_maximum(graph, maps, geometry)
    candidates = graph.op("Where", is_peak, maps.values, graph.float32(_MINUS_INFINITY))
    flat = graph.reshape(candidates, (-1, maps.channels, maps.height * maps.width))
    # One more than there are slots tells whether they are enough.
    values, index = graph.ops("TopK", flat, graph.int64([n_peaks + 1]), n_outputs=2, axis=2)
    surplus = graph.op("ReduceMax", graph.slice(values, 2, n_peaks, n_peaks + 1), axes=[1, 2], keepdims=0)
    values, index = (graph.slice(value, 2, 0, n_peaks) for value in (values, index))
    valid = graph.op("Greater", values, graph.float32(threshold))
    cells = _refined(graph, maps, index, n_peaks, geometry)
    return LocalPeaks(
        cells=graph.op("Where", graph.unsqueeze(valid, 3), cells, graph.float32(np.nan)),
        values=graph.op("Where", valid, values, graph.float32(0.0)),
        valid=valid,
        overflow=graph.op("Greater", surplus, graph.float32(threshold)),
    )


def _local_maximum(graph: GraphBuilder, maps: Maps, geometry: Geometry) -> str:
    cells, height, width = maps.values, maps.height, maps.width
    surrounded = graph.op("Pad", cells, graph.int64([0, 0, 1, 1, 0, 0, 1, 1]), graph.float32(_MINUS_INFINITY))
    row_maxima = graph.op("MaxPool", surrounded, kernel_shape=[1, 3], strides=[1, 1])
    above = graph.slice(row_maxima, 2, 0, height)
    below = graph.slice(row_maxima, 2, 2, height + 2)
    row = graph.slice(surrounded, 2, 1, height + 1)
    left = graph.slice(row, 3, 0, width)
    right = graph.slice(row, 3, 2, width + 2)
    if geometry == "sleap_compat":
        return graph.op("Greater", cells, graph.op("Max", above, left, right, below))
    later = graph.op("GreaterOrEqual", cells, graph.op("Max", right, below))
    return graph.op("And", graph.op("Greater", cells, graph.op("Max", above, left)), later)


def add_global_peaks(graph: GraphBuilder, maps: Maps, threshold: float, geometry: Geometry) -> tuple[str, str]:
    """Find the highest cell of every map; of equal ones the first in raster order.

    `sleap_compat` takes row and column of the maximum independently, which differs only where the maximum is tied.

    Returns:
        Peaks `(n, channels, 2)` float32, cells, NaN where the value is below `threshold`; values `(n, channels)`.
    """
    row_maxima = graph.op("ReduceMax", maps.values, axes=[3], keepdims=0)
    row = graph.op("ArgMax", row_maxima, axis=2, keepdims=1)
    if geometry == "sleap_compat":
        across = graph.op("ReduceMax", maps.values, axes=[2], keepdims=0)
    else:
        across = graph.op("GatherND", maps.values, row, batch_dims=2)
    column = graph.op("ArgMax", across, axis=2, keepdims=1)
    index = graph.op("Add", graph.op("Mul", row, graph.int64(maps.width)), column)
    values = read_cells(graph, maps.values, (maps.channels, maps.height, maps.width), index)
    seen = graph.op("GreaterOrEqual", values, graph.float32(threshold))
    peaks = graph.squeeze(_refined(graph, maps, index, 1, geometry), 2)
    return graph.op("Where", seen, peaks, graph.float32(np.nan)), graph.squeeze(values, 2)


def read_cells(graph: GraphBuilder, maps: str, shape: tuple[int, int, int], index: str) -> str:
    """Read every map of `(n, *shape)`, shape = (channels, height, width), at its own `(n, channels, m)` flat cells."""
    channels, height, width = shape
    return graph.op("GatherElements", graph.reshape(maps, (-1, channels, height * width)), index, axis=2)


def _refined(graph: GraphBuilder, maps: Maps, index: str, n_peaks: int, geometry: Geometry) -> str:
    """Return `(n, channels, n_peaks, 2)` float32 sub-cell peaks (x, y) for flat cells `(n, channels, n_peaks)`."""
    width = graph.int64(maps.width)
    row = graph.op("Div", index, width)
    column = graph.op("Sub", index, graph.op("Mul", row, width))
    row, column = graph.unsqueeze(row, 3), graph.unsqueeze(column, 3)
    grid = graph.cast(graph.op("Concat", column, row, axis=3), np.float32)
    if maps.offsets is None:
        refine = _integral_offset if geometry == "sleap_compat" else _gaussian_offset
        return graph.op("Add", grid, refine(graph, maps, (row, column), n_peaks))
    by_axis = graph.reshape(maps.offsets, (-1, maps.channels, 2, maps.height * maps.width))
    offsets = [
        graph.unsqueeze(
            graph.op("GatherElements", graph.squeeze(graph.slice(by_axis, 2, k, k + 1), 2), index, axis=2), 3
        )
        for k in (0, 1)
    ]
    return graph.op("Add", grid, graph.op("Concat", *offsets, axis=3))


def _integral_offset(graph: GraphBuilder, maps: Maps, at: tuple[str, str], n_peaks: int) -> str:
    """Return the centre of mass of the 5×5 patch around each peak, cells from the peak (SLEAP's integral refinement).

    Cells outside the map count 0. The window cuts a wide Gaussian off, which pulls every point towards the middle of
    its cell: with SLEAP's sigma of 2.5 cells by up to a third of a cell.
    """
    patch, inside = _patch(graph, maps, at, n_peaks, reach=2)
    x, y = (steps.ravel() for steps in np.meshgrid(np.arange(-2, 3), np.arange(-2, 3)))
    patch = graph.op("Where", inside, patch, graph.float32(0.0))
    # One product gives Σ x·v, Σ y·v and Σ v.
    sums = graph.op("MatMul", patch, graph.float32(np.stack([x, y, np.ones_like(x)], axis=1)))
    return graph.op("Div", graph.slice(sums, 3, 0, 2), graph.slice(sums, 3, 2, 3))


def _gaussian_offset(graph: GraphBuilder, maps: Maps, at: tuple[str, str], n_peaks: int) -> str:
    """Return the middle of the Gaussian through the 3×3 patch around each peak, cells from the peak, at most 0.5.

    The sums of the patch's columns follow a Gaussian along x, those of its rows one along y, whatever its width; the
    logarithm of a Gaussian is a parabola, whose middle three values give exactly. Along an axis on which the peak lies
    at the map's border there are no three: the offset is 0.
    """
    patch, inside = _patch(graph, maps, at, n_peaks, reach=1)
    counted = graph.cast(inside, np.float32)
    # A cell far down the flank may be 0 or below, where there is no logarithm.
    patch = graph.op("Mul", graph.op("Max", patch, graph.float32(_FLOOR)), counted)
    column, row = (steps.ravel() for steps in np.meshgrid(np.arange(3), np.arange(3)))
    sums = np.concatenate([np.eye(3)[column], np.eye(3)[row]], axis=1)
    logs = graph.op("Log", graph.op("Max", graph.op("MatMul", patch, graph.float32(sums)), graph.float32(_FLOOR)))
    # Columns: twice the slope at the peak and minus the curvature, along x and along y.
    slope = graph.op("MatMul", logs, graph.float32(np.kron(np.eye(2), [[-1], [0], [1]])))
    bend = graph.op("MatMul", logs, graph.float32(np.kron(np.eye(2), [[-1], [2], [-1]])))
    offset = graph.op("Div", slope, graph.op("Max", graph.op("Mul", bend, graph.float32(2)), graph.float32(_FLOOR)))
    offset = graph.op("Clip", offset, graph.float32(-0.5), graph.float32(0.5))
    # Of the patch's 9 cells those left and right of the peak, above and below it.
    beside = graph.op("Mul", *(graph.op("Gather", counted, graph.int64(cells), axis=3) for cells in ([3, 1], [5, 7])))
    return graph.op("Mul", offset, beside)


def _patch(graph: GraphBuilder, maps: Maps, at: tuple[str, str], n_peaks: int, reach: int) -> tuple[str, str]:
    """Return the cells around each peak in raster order, `(n, channels, n_peaks, (2·reach + 1)²)`, and which exist."""
    steps = np.arange(-reach, reach + 1)
    x, y = (step.ravel() for step in np.meshgrid(steps, steps))
    positions = [graph.op("Add", peak, graph.int64(step)) for peak, step in zip(at, (y, x), strict=True)]
    rows, columns = (
        graph.op("Clip", position, graph.int64(0), graph.int64(size - 1))
        for position, size in zip(positions, (maps.height, maps.width), strict=True)
    )
    inside = graph.op("And", graph.op("Equal", positions[0], rows), graph.op("Equal", positions[1], columns))
    cells = graph.op("Add", graph.op("Mul", rows, graph.int64(maps.width)), columns)
    index = graph.reshape(cells, (-1, maps.channels, n_peaks * x.size))
    values = read_cells(graph, maps.values, (maps.channels, maps.height, maps.width), index)
    return graph.reshape(values, (-1, maps.channels, n_peaks, x.size)), inside
