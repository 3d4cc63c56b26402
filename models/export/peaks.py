"""Confidence maps into points: local and global peaks with sub-cell refinement, inside the graph."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.export.builder import GraphBuilder
from models.spec import Geometry

_REACH = np.arange(-2, 3)
_MINUS_INFINITY = np.float32(-np.inf)

# Reads `(n, channels, cells)` values at `(n, n_peaks, m)` cells.
_Read = Callable[[GraphBuilder, str, str], str]


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


def add_local_peaks(
    graph: GraphBuilder, maps: Maps, threshold: float, n_peaks: int, geometry: Geometry
) -> tuple[str, str, str]:
    """Find the `n_peaks` highest local maxima above `threshold` of one single-channel map.

    `sleap_compat`: strictly greater than all 8 neighbours, so that equal neighbours hide each other. `exact`: strictly
    greater than the neighbours before it in raster order and not less than those after it, so that a plateau yields its
    first cell and two touching maxima of equal height yield one peak.

    Returns:
        Peaks `(n_peaks, 2)` float32, cells, highest first; their map values `(n_peaks,)` float32; and whether each is
        one `(n_peaks,)` bool. Slots without a peak hold NaN and 0.
    """
    height, width = maps.height, maps.width
    cells = graph.reshape(maps.values, (1, 1, height, width))
    is_peak = _local_maximum(graph, cells, height, width, geometry)
    is_peak = graph.op("And", is_peak, graph.op("Greater", cells, graph.float32(threshold)))
    candidates = graph.op("Where", is_peak, cells, graph.float32(_MINUS_INFINITY))
    values, index = graph.ops(
        "TopK", graph.reshape(candidates, (height * width,)), graph.int64([n_peaks]), n_outputs=2, axis=0
    )
    valid = graph.op("Greater", values, graph.float32(threshold))
    peaks = _refined(graph, maps, graph.reshape(index, (1, n_peaks)), _read_one_map, geometry)
    peaks = graph.reshape(peaks, (n_peaks, 2))
    shown = graph.op("Unsqueeze", valid, graph.int64([1]))
    return (
        graph.op("Where", shown, peaks, graph.float32(np.nan)),
        graph.op("Where", valid, values, graph.float32(0.0)),
        valid,
    )


def _local_maximum(graph: GraphBuilder, cells: str, height: int, width: int, geometry: Geometry) -> str:
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
    cell = graph.op("Add", graph.op("Mul", row, graph.int64(maps.width)), column)
    index = graph.op("Squeeze", cell, graph.int64([2]))
    flat = graph.reshape(maps.values, (-1, maps.channels, maps.height * maps.width))
    values = graph.op("GatherElements", flat, cell, axis=2)
    seen = graph.op("GreaterOrEqual", values, graph.float32(threshold))
    peaks = _refined(graph, maps, index, _read_each_map, geometry)
    return (
        graph.op("Where", seen, peaks, graph.float32(np.nan)),
        graph.op("Squeeze", values, graph.int64([2])),
    )


def _refined(graph: GraphBuilder, maps: Maps, index: str, read: _Read, geometry: Geometry) -> str:
    """Return `(n, n_peaks, 2)` float32 sub-cell peaks (x, y) for the flat cell indices `(n, n_peaks)`."""
    width = graph.int64(maps.width)
    row = graph.op("Div", index, width)
    column = graph.op("Sub", index, graph.op("Mul", row, width))
    grid = graph.cast(_stacked(graph, column, row), np.float32)
    if maps.offsets is None:
        return graph.op("Add", grid, _integral_offset(graph, maps, (row, column), read, geometry))
    by_axis = graph.reshape(maps.offsets, (-1, maps.channels, 2, maps.height * maps.width))
    at_index = graph.op("Unsqueeze", index, graph.int64([2]))
    offsets = [
        read(graph, graph.op("Squeeze", graph.slice(by_axis, 2, k, k + 1), graph.int64([2])), at_index) for k in (0, 1)
    ]
    return graph.op("Add", grid, graph.op("Concat", *offsets, axis=2))


def _integral_offset(graph: GraphBuilder, maps: Maps, at: tuple[str, str], read: _Read, geometry: Geometry) -> str:
    """Return the centre of mass of the 5×5 patch around each peak, cells from the peak (SLEAP's integral refinement).

    Cells outside the map count 0. `exact` counts negative cells 0 too, which keeps the result inside the patch.
    """
    x, y = (steps.ravel() for steps in np.meshgrid(_REACH, _REACH))
    positions = [
        graph.op("Add", graph.op("Unsqueeze", peak, graph.int64([2])), graph.int64(steps))
        for peak, steps in zip(at, (y, x), strict=True)
    ]
    rows, columns = (
        graph.op("Clip", position, graph.int64(0), graph.int64(size - 1))
        for position, size in zip(positions, (maps.height, maps.width), strict=True)
    )
    inside = graph.op("And", graph.op("Equal", positions[0], rows), graph.op("Equal", positions[1], columns))
    cells = graph.op("Add", graph.op("Mul", rows, graph.int64(maps.width)), columns)
    flat = graph.reshape(maps.values, (-1, maps.channels, maps.height * maps.width))
    patch = graph.op("Where", inside, read(graph, flat, cells), graph.float32(0.0))
    if geometry == "exact":
        patch = graph.op("Max", patch, graph.float32(0.0))
    # One product gives Σ x·v, Σ y·v and Σ v.
    sums = graph.op("MatMul", patch, graph.float32(np.stack([x, y, np.ones_like(x)], axis=1)))
    return graph.op("Div", graph.slice(sums, 2, 0, 2), graph.slice(sums, 2, 2, 3))


def _stacked(graph: GraphBuilder, *values: str) -> str:
    return graph.op("Concat", *(graph.op("Unsqueeze", value, graph.int64([2])) for value in values), axis=2)


def _read_one_map(graph: GraphBuilder, flat: str, cells: str) -> str:
    """Read the only map of `(1, 1, cells)` at `(1, n_peaks, m)` cells."""
    return graph.op("Gather", graph.reshape(flat, (-1,)), cells, axis=0)


def _read_each_map(graph: GraphBuilder, flat: str, cells: str) -> str:
    """Read every map of `(n, channels, cells)` at its own `(n, channels, m)` cells."""
    return graph.op("GatherElements", flat, cells, axis=2)
