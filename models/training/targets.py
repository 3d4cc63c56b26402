"""Targets: what each head of a network learns to put out. NaN in a target means that nothing is learnt there.

Conventions are SLEAP's: map index `i` stands for pixel coordinate `i · stride`, without half a stride.
"""

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]
"""`(n_instances, n_nodes, 2)`, px of the network's input image; NaN = not labelled."""

# Cells above this on a confidence map belong to a point, for offsets and identities.
_NEAR = 0.2


def confidence_maps(points: Points, height: int, width: int, stride: int, sigma_cells: float) -> NDArray[np.float32]:
    """Return one Gaussian per point, the largest where instances overlap.

    `cm(x) = exp(−‖x − p‖² / (2 (sigma_cells · stride)²))`.

    Args:
        points: The animals; what is not labelled is drawn as zeros.
        height: Height of the network's input image in px.
        width: Its width in px.
        stride: Pixels per map cell.
        sigma_cells: Standard deviation in map cells.

    Returns:
        `(⌈height / stride⌉, ⌈width / stride⌉, n_nodes)` float32, 0–1.
    """
    maps = _gaussians(points, height, width, stride, sigma_cells)
    return np.asarray(maps.max(axis=0, initial=0.0), np.float32)


def offset_maps(points: Points, height: int, width: int, stride: int, sigma_cells: float) -> NDArray[np.float32]:
    """Return, around each point, the way from the cell to the point in cells: `(p − cell) / stride`.

    Where instances overlap it leads to the one whose confidence is larger.

    Returns:
        `(rows, columns, 2 · n_nodes)` float32, x and y interleaved; NaN where the confidence is 0.2 or less. Arguments
        and sizes as `confidence_maps`.
    """
    x, y = _grid(width, stride), _grid(height, stride)
    offsets = np.full((len(y), len(x), points.shape[1], 2), np.nan, np.float32)
    nearest = np.full((len(y), len(x), points.shape[1]), _NEAR, np.float32)
    for maps, animal in zip(_gaussians(points, height, width, stride, sigma_cells), points, strict=True):
        here = maps > nearest
        nearest[here] = maps[here]
        way = np.empty_like(offsets)
        way[..., 0] = (animal[:, 0] - x[None, :, None]) / stride
        way[..., 1] = (animal[:, 1] - y[:, None, None]) / stride
        offsets[here] = way[here]
    return offsets.reshape(len(y), len(x), -1)


def part_affinity_fields(
    points: Points, edges: tuple[tuple[int, int], ...], height: int, width: int, stride: int, sigma_px2: float
) -> NDArray[np.float32]:
    """Return, for each edge, vectors along it that fade away from it, summed over instances.

    `paf(x) = exp(−d⁴ / (2 sigma_px2²)) · (destination − source) / ‖destination − source‖`, d = distance of x from the
    segment. An animal without any node in the image has no field.

    Args:
        points: The animals.
        edges: (source, destination) nodes.
        height: Height of the network's input image in px.
        width: Its width in px.
        stride: Pixels per map cell.
        sigma_px2: Width, px²; it does not depend on the stride.

    Returns:
        `(⌈height / stride⌉, ⌈width / stride⌉, 2 · n_edges)` float32; channel 2e is the x of edge e, 2e + 1 its y.
    """
    x, y = _grid(width, stride)[None, :, None], _grid(height, stride)[:, None, None]
    fields = np.zeros((y.size, x.size, len(edges), 2), np.float32)
    sources, destinations = np.array(edges, np.intp).reshape(-1, 2).T
    for animal in points[inside(points, height, width).any(axis=1)]:
        start, along = animal[sources], animal[destinations] - animal[sources]
        length = np.linalg.norm(along, axis=1)
        drawn = length > 0  # neither NaN nor two nodes on one spot
        unit = along[drawn] / length[drawn, None]
        dx, dy = x - start[drawn, 0], y - start[drawn, 1]
        forward = np.clip(dx * unit[:, 0] + dy * unit[:, 1], 0, length[drawn])
        squared = (dx - forward * unit[:, 0]) ** 2 + (dy - forward * unit[:, 1]) ** 2
        fields[:, :, drawn] += np.exp(squared**2 * np.float32(-0.5 / sigma_px2**2))[..., None] * unit
    return fields.reshape(y.size, x.size, -1)


def class_maps(
    points: Points,
    classes: NDArray[np.int32],
    n_classes: int,
    height: int,
    width: int,
    stride: int,
    sigma_cells: float,
) -> NDArray[np.float32]:
    """Return where each identity is.

    An instance's claim to a cell is the largest of its nodes' confidences there, if above 0.2; claims are divided by
    their sum over the instances. A class's map is the largest share of its instances.

    Args:
        points: The animals.
        classes: `(n_instances,)` class of each, −1 = not known.
        n_classes: Number of classes.
        height: Height of the network's input image in px.
        width: Its width in px.
        stride: Pixels per map cell.
        sigma_cells: Standard deviation of the confidences in map cells.

    Returns:
        `(⌈height / stride⌉, ⌈width / stride⌉, n_classes)` float32, 0–1; NaN where an animal of unknown class is.
    """
    claims = _gaussians(points, height, width, stride, sigma_cells).max(axis=3, initial=0.0)
    claims = np.where(claims > _NEAR, claims, 0)
    shares = claims / np.maximum(claims.sum(axis=0), np.float32(_NEAR))
    maps = np.zeros((*claims.shape[1:], n_classes), np.float32)
    for share, class_ in zip(shares, classes.tolist(), strict=True):
        if class_ >= 0:
            np.maximum(maps[..., class_], share, out=maps[..., class_])
    for share, class_ in zip(shares, classes.tolist(), strict=True):
        if class_ < 0:
            maps[share > 0] = np.nan
    return maps


def class_vector(class_: int, n_classes: int) -> NDArray[np.float32]:
    """Return 1 for the class and 0 for the others, `(n_classes,)` float32; all NaN for −1, an unknown class."""
    if class_ < 0:
        return np.full(n_classes, np.nan, np.float32)
    vector = np.zeros(n_classes, np.float32)
    vector[class_] = 1
    return vector


def inside(points: Points, height: int, width: int) -> NDArray[np.bool_]:
    """Return which points lie in an image, whose pixels reach half a pixel beyond their centres."""
    size = np.array([width, height], np.float32)
    return np.asarray(((points > -0.5) & (points < size - 0.5)).all(axis=-1))


def _grid(extent: int, stride: int) -> NDArray[np.float32]:
    return np.arange(0, extent, stride, dtype=np.float32)


def _gaussians(points: Points, height: int, width: int, stride: int, sigma_cells: float) -> NDArray[np.float32]:
    """Return `(n_instances, rows, columns, n_nodes)`; zeros for what is not labelled."""
    scale = np.float32(-0.5 / (sigma_cells * stride) ** 2)
    # The Gaussian separates: (instances, rows, nodes) times (instances, columns, nodes).
    along_x = np.exp(scale * (_grid(width, stride)[None, :, None] - points[:, None, :, 0]) ** 2)
    along_y = np.exp(scale * (_grid(height, stride)[None, :, None] - points[:, None, :, 1]) ** 2)
    maps: NDArray[np.float32] = np.nan_to_num(along_y[:, :, None, :] * along_x[:, None, :, :], nan=0.0)
    return maps
