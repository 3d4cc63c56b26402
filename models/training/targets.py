"""Confidence maps: what a network learns to draw."""

import numpy as np
from numpy.typing import NDArray


def confidence_maps(
    points: NDArray[np.float32], height: int, width: int, stride: int, sigma_cells: float
) -> NDArray[np.float32]:
    """Return one Gaussian per point, the largest where instances overlap.

    SLEAP's convention: map index `i` stands for pixel coordinate `i · stride`, without half a stride, and
    `cm(x) = exp(−‖x − p‖² / (2 (sigma_cells · stride)²))`.

    Args:
        points: `(n_instances, n_nodes, 2)` float32, px of the network's input image; NaN = not labelled, drawn as
            zeros.
        height: Height of the network's input image in px.
        width: Its width in px.
        stride: Pixels per map cell.
        sigma_cells: Standard deviation in map cells.

    Returns:
        `(⌈height / stride⌉, ⌈width / stride⌉, n_nodes)` float32, 0–1.
    """
    x = np.arange(0, width, stride, dtype=np.float32)
    y = np.arange(0, height, stride, dtype=np.float32)
    scale = np.float32(-0.5 / (sigma_cells * stride) ** 2)
    # The Gaussian separates: (instances, rows, nodes) times (instances, columns, nodes).
    along_x = np.exp(scale * (x[None, :, None] - points[:, None, :, 0]) ** 2)
    along_y = np.exp(scale * (y[None, :, None] - points[:, None, :, 1]) ** 2)
    maps = np.nan_to_num(along_y[:, :, None, :] * along_x[:, None, :, :], nan=0.0)
    if not len(points):
        return np.zeros((len(y), len(x), points.shape[1]), np.float32)
    return np.asarray(maps.max(axis=0), np.float32)
