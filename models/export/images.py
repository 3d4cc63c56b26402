"""The camera's uint8 image into network inputs: resize, crop, gray, pad; no pixel is converted that is not needed."""

import math
from collections.abc import Sequence

import numpy as np

from models.export.builder import GraphBuilder
from models.spec import Geometry

# ITU-R BT.601, with the digits that SLEAP and TensorFlow use.
GRAY_FROM_RGB = (0.2989, 0.587, 0.114)
FULL_SCALE = 255.0

Size = tuple[int, int]


def scaled_size(size: int, scale: float) -> int:
    """Return the size of a scaled image, px: truncated, as SLEAP does."""
    # The nudge undoes the rounding of factors such as 0.7, for which 10 · 0.7 could otherwise become 6.
    return int(size * scale + 1e-6)


def add_scaled_image(
    graph: GraphBuilder, images: str, shape: Sequence[int], scale: float, channels: int, geometry: Geometry
) -> str:
    """Bring the camera's images to `(batch, channels, scaled height, scaled width)` float32 in 0–255.

    Args:
        graph: The graph.
        images: `(batch, *shape)` uint8.
        shape: `(height, width)` or `(height, width, 3)`, px.
        scale: Output size over input size.
        channels: 1 or 3.
        geometry: See `add_resize`.
    """
    height, width = shape[:2]
    step = round(1.0 / scale)
    # At 1/4, 1/8, … an output pixel is the mean of two rows (and two columns) out of 4, 8, …: only these rows are read.
    few_rows = step >= 4 and step % 2 == 0 and math.isclose(step * scale, 1.0) and height % step == 0
    if few_rows:
        rows = np.arange(height // step)[:, np.newaxis] * step + [step // 2 - 1, step // 2]
        images = graph.op("Gather", images, graph.int64(rows.ravel()), axis=1)
        height = rows.size
    pixels = add_channels_first(graph, graph.cast(images, np.float32), color=len(shape) == 3, channels=channels)
    return add_resize(graph, pixels, (height, width), (0.5 if few_rows else scale, scale), geometry)


def add_resize(graph: GraphBuilder, pixels: str, size: Size, scales: tuple[float, float], geometry: Geometry) -> str:
    """Resize `(n, channels, height, width)` to `scaled_size`: bilinear, half-pixel centres, no antialias.

    Output i reads at (i + 0.5) · step − 0.5. `exact` steps by 1 / scale, which is what the inverse assumes;
    `sleap_compat` by size / output size, as TensorFlow does, which differs where the output size was truncated.
    """
    if scales == (1.0, 1.0):
        return pixels
    factors = [_resize_factor(side, scale, geometry) for side, scale in zip(size, scales, strict=True)]
    return graph.op(
        "Resize",
        pixels,
        "",
        graph.float32([1.0, 1.0, *factors]),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )


def _resize_factor(size: int, scale: float, geometry: Geometry) -> float:
    """Return the factor for `Resize`, which truncates size · factor in float32, so that the size comes out right."""
    n = scaled_size(size, scale)
    factor = np.float32(n / size if geometry == "sleap_compat" else scale)
    while int(np.float32(size) * factor) < n:
        factor = np.nextafter(factor, np.float32(np.inf))
    return float(factor)


def add_lerp(graph: GraphBuilder, first: str, second: str, weight: str) -> str:
    """Go from `first` (weight 0) to `second` (weight 1)."""
    return graph.op("Add", first, graph.op("Mul", graph.op("Sub", second, first), weight))


def add_exact_crops(
    graph: GraphBuilder, images: str, shape: Sequence[int], centroids: str, side: int
) -> tuple[str, str]:
    """Cut squares of whole pixels out of images; pixels outside the image are 0.

    Args:
        graph: The graph.
        images: `(batch, *shape)` uint8 (or whole float32) numbers.
        shape: `(height, width)` or `(height, width, 3)`.
        centroids: `(batch, n, 2)` float32, px, finite.
        side: Side of the square, px.

    Returns:
        The crops, `(batch · n, side, side)` or `(batch · n, side, side, 3)` float32 in 0–255, and the centres of their
        top-left pixels, `(batch, n, 2)` float32, px: the whole pixel nearest to centroid − (side − 1) / 2.
    """
    corners = graph.op("Round", graph.op("Sub", centroids, graph.float32((side - 1) / 2)))
    positions = [
        graph.op("Add", graph.cast(corner, np.int64), graph.int64(np.arange(side)))
        for corner in _by_axis(graph, corners)
    ]
    clipped = [_clip(graph, position, size) for position, size in zip(positions, shape, strict=False)]
    inside = [graph.cast(graph.op("Equal", p, c), np.float32) for p, c in zip(positions, clipped, strict=True)]
    pixels = _gather(graph, images, shape, side, *clipped)
    return _mask(graph, graph.cast(pixels, np.float32), inside, side, color=len(shape) == 3), corners


def add_sleap_crops(graph: GraphBuilder, images: str, shape: Sequence[int], centroids: str, side: int) -> str:
    """Cut squares the way SLEAP 1.4.1 does: bilinear at centroid − (side − 1) / 2 + j, 0 outside, truncated to uint8.

    Arguments as in `add_exact_crops`; returns `(batch · n, side, side)` or `(batch · n, side, side, 3)` float32 in
    0–255.
    """
    corners = graph.op("Sub", centroids, graph.float32((side - 1) / 2))
    low, high, inside, weight = [], [], [], []
    for size, corner in zip(shape[:2], _by_axis(graph, corners), strict=True):
        position = graph.op("Add", corner, graph.float32(np.arange(side)))
        floor = graph.op("Floor", position)
        weight.append(graph.op("Sub", position, floor))
        low.append(_clip(graph, graph.cast(floor, np.int64), size))
        high.append(_clip(graph, graph.cast(graph.op("Ceil", position), np.int64), size))
        not_before = graph.op("GreaterOrEqual", position, graph.float32(0.0))
        not_after = graph.op("LessOrEqual", position, graph.float32(size - 1))
        inside.append(graph.cast(graph.op("And", not_before, not_after), np.float32))
    color = len(shape) == 3
    down, across = _spread(graph, weight, side, color=color)
    top, bottom = (
        add_lerp(
            graph,
            graph.cast(_gather(graph, images, shape, side, y, low[1]), np.float32),
            graph.cast(_gather(graph, images, shape, side, y, high[1]), np.float32),
            across,
        )
        for y in (low[0], high[0])
    )
    return graph.op("Floor", _mask(graph, add_lerp(graph, top, bottom, down), inside, side, color=color))


def _by_axis(graph: GraphBuilder, points: str) -> tuple[str, str]:
    """Return the rows and the columns of `(batch, n, 2)` points, `(batch, n, 1)` each."""
    return graph.slice(points, 2, 1, 2), graph.slice(points, 2, 0, 1)


def _clip(graph: GraphBuilder, position: str, size: int) -> str:
    return graph.op("Clip", position, graph.int64(0), graph.int64(size - 1))


def _gather(graph: GraphBuilder, images: str, shape: Sequence[int], side: int, rows: str, columns: str) -> str:
    """Read `(batch · n, side, side, …)` pixels of `(batch, *shape)` images at `(batch, n, side)` rows and columns."""
    # The rows of all images in one table: GatherND, which knows of batches, takes no uint8 on a GPU.
    table = graph.reshape(images, (-1, *shape[1:]))
    batch = graph.squeeze(graph.slice(graph.op("Shape", images), 0, 0, 1), 0)
    first = graph.op("Mul", graph.op("Range", graph.int64(0), batch, graph.int64(1)), graph.int64(shape[0]))
    rows = graph.op("Add", rows, graph.reshape(first, (-1, 1, 1)))
    # Reading whole rows first, then elements of them, takes a third of the time of one gather of single pixels.
    whole_rows = graph.reshape(graph.op("Gather", table, rows, axis=0), (-1, side, *shape[1:]))
    index = graph.reshape(columns, (-1, 1, side, *[1] * len(shape[2:])))
    index = graph.op("Expand", index, graph.int64([1, side, 1, *shape[2:]]))
    return graph.op("GatherElements", whole_rows, index, axis=2)


def _spread(graph: GraphBuilder, per_axis: list[str], side: int, *, color: bool) -> tuple[str, str]:
    """Give `(batch, n, side)` values for rows and for columns the shapes that fit `(batch · n, side, side, …)`."""
    down, across = per_axis
    after = [1] if color else []
    return graph.reshape(down, (-1, side, 1, *after)), graph.reshape(across, (-1, 1, side, *after))


def _mask(graph: GraphBuilder, pixels: str, inside: list[str], side: int, *, color: bool) -> str:
    down, across = _spread(graph, inside, side, color=color)
    return graph.op("Mul", pixels, graph.op("Mul", down, across))


def add_channels_first(graph: GraphBuilder, pixels: str, *, color: bool, channels: int) -> str:
    """Bring float32 `(n, height, width)`, or `(n, height, width, 3)` if `color`, to `(n, channels, height, width)`."""
    if color and channels == 3:
        return graph.op("Transpose", pixels, perm=[0, 3, 1, 2])
    if color:
        pixels = graph.op("MatMul", pixels, graph.float32(GRAY_FROM_RGB))
    gray = graph.op("Unsqueeze", pixels, graph.int64([1]))
    return gray if channels == 1 else graph.op("Concat", *([gray] * channels), axis=1)


def add_network_input(graph: GraphBuilder, pixels: str, size: Size, stride: int) -> tuple[str, Size]:
    """Bring `(n, channels, height, width)` from 0–255 to 0–1, padded with 0 at the bottom and right to `stride`.

    Returns:
        The network's input and its `(height, width)`.
    """
    value = graph.op("Mul", pixels, graph.float32(1.0 / FULL_SCALE))
    padded = (-(-size[0] // stride) * stride, -(-size[1] // stride) * stride)
    if padded != size:
        ends = (padded[0] - size[0], padded[1] - size[1])
        value = graph.op("Pad", value, graph.int64([0, 0, 0, 0, 0, 0, *ends]), graph.float32(0.0))
    return value, padded
