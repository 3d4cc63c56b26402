"""Turned views: every crop several times, turned about its middle, and the mean of what is found in them.

A network errs a little differently for each way that an animal lies; much of that is gone from the mean.
"""

import math

import numpy as np
from numpy.typing import NDArray

from models.export.builder import GraphBuilder
from models.export.images import add_lerp
from models.spec import CropSpec


def add_turned_views(graph: GraphBuilder, squares: str, crop: CropSpec, *, color: bool) -> str:
    """Make `crop.views` crops of every square: view k shows it turned by −k · 360° / views about its middle.

    Quarter turns only move pixels. The others read linearly between four, all of which lie within the square.

    Args:
        graph: The graph.
        squares: `(n, cut_px, cut_px)`, or `(n, cut_px, cut_px, 3)` if `color`, float32.
        crop: Sizes and number of views.
        color: See above.

    Returns:
        `(n · views, size_px, size_px)` or `(n · views, size_px, size_px, 3)` float32; all views of a square together.
    """
    if crop.views == 1:
        return squares
    side, cut, after = crop.size_px, crop.cut_px, (3,) if color else ()
    # Where the views' pixels come from is the same for every square: engines work it out when they load the graph.
    across, down = _places(crop)
    places = graph.op("Add", graph.float32(across), graph.float32(down))
    first = graph.op("Floor", places)
    cells = graph.op("Mul", graph.cast(first, np.int64), graph.int64([1, cut]))
    cells = graph.op("ReduceSum", cells, graph.int64([3]), keepdims=0)
    flat = graph.reshape(squares, (-1, cut * cut, *after))
    if 4 % crop.views == 0:
        return graph.reshape(graph.op("Gather", flat, cells, axis=1), (-1, side, side, *after))
    top_left, top_right, bottom_left, bottom_right = (
        graph.op("Gather", flat, graph.op("Add", cells, graph.int64(step)), axis=1) for step in (0, 1, cut, cut + 1)
    )
    beyond = graph.op("Sub", places, first)
    right, below = (
        graph.reshape(graph.slice(beyond, 3, k, k + 1), (crop.views, side, side, *[1] * len(after))) for k in (0, 1)
    )
    top, bottom = add_lerp(graph, top_left, top_right, right), add_lerp(graph, bottom_left, bottom_right, right)
    return graph.reshape(add_lerp(graph, top, bottom, below), (-1, side, side, *after))


def add_mean_of_views(
    graph: GraphBuilder, points: str, scores: str, n_nodes: int, crop: CropSpec, threshold: float
) -> tuple[str, str]:
    """Turn the points that were found in all views back into their squares, and take the mean.

    A node's score is the mean of all views. Where that is below the threshold the node is not seen; else it is in the
    middle of where the views have it whose own score is not below.

    Args:
        graph: The graph.
        points: `(n · views, n_nodes, 2)` float32, px of the views.
        scores: `(n · views, n_nodes)` float32.
        n_nodes: Number of nodes.
        crop: Sizes and number of views.
        threshold: A score below this is not a detection.

    Returns:
        Points `(n, n_nodes, 2)` float32, px of the squares, NaN = not seen; scores `(n, n_nodes)` float32.
    """
    if crop.views == 1:
        return points, scores
    in_views = graph.reshape(scores, (-1, crop.views, n_nodes))
    mean_score = graph.op("ReduceMean", in_views, axes=[1], keepdims=0)
    counts = graph.unsqueeze(graph.op("GreaterOrEqual", in_views, graph.float32(threshold)), 3)
    middle = graph.float32((crop.size_px - 1) / 2)
    away = graph.op("Sub", graph.reshape(points, (-1, crop.views, n_nodes, 2)), middle)
    # Products of single numbers: a product of matrices is what engines round to bfloat16.
    turned = [
        graph.op("Mul", graph.slice(away, 3, k, k + 1), graph.float32(_turns(crop.views)[:, np.newaxis, k]))
        for k in (0, 1)
    ]
    back = graph.op("Where", counts, graph.op("Add", *turned), graph.float32(0.0))
    total = graph.op("ReduceSum", back, graph.int64([1]), keepdims=0)
    n_counted = graph.op("ReduceSum", graph.cast(counts, np.float32), graph.int64([1]), keepdims=0)
    mean = graph.op("Add", graph.op("Div", total, n_counted), graph.float32((crop.cut_px - 1) / 2))
    seen = graph.unsqueeze(graph.op("GreaterOrEqual", mean_score, graph.float32(threshold)), 2)
    return graph.op("Where", seen, mean, graph.float32(np.nan)), mean_score


def add_mean(graph: GraphBuilder, values: str, n: int, crop: CropSpec) -> str:
    """Take the mean over the views of `(rows · views, n)` values: `(rows, n)`."""
    if crop.views == 1:
        return values
    return graph.op("ReduceMean", graph.reshape(values, (-1, crop.views, n)), axes=[1], keepdims=0)


def _places(crop: CropSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two parts whose sum is where in the square, (x, y), each pixel of each view is read.

    `(views, 1, size_px, 2)`, the same in all rows, and `(views, size_px, 1, 2)`, the same in all columns.
    """
    away = np.arange(crop.size_px) - (crop.size_px - 1) / 2
    turns = _turns(crop.views)
    along = away[np.newaxis, :, np.newaxis] * turns[:, np.newaxis, 0]
    beside = away[np.newaxis, :, np.newaxis] * turns[:, np.newaxis, 1]
    return along[:, np.newaxis] + (crop.cut_px - 1) / 2, beside[:, :, np.newaxis]


def _turns(views: int) -> NDArray[np.float64]:
    """Return for each view where its x axis and its y axis, the rows, point in the square: `(views, 2, 2)`."""
    angles = 2 * math.pi * np.arange(views) / views
    cos, sin = np.round(np.cos(angles), 12), np.round(np.sin(angles), 12)  # of a quarter turn 0, not almost 0
    return np.stack([np.stack([cos, sin], axis=-1), np.stack([-sin, cos], axis=-1)], axis=1)
