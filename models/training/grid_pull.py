"""Grid pull: predicted labels lie nearer to their network's grid than the animals do; found, measured and undone.

SLEAP refines a peak by the centre of mass of the 5×5 cells around it. Where the confidence map's Gaussian is wider
than that window (sigma 2.5 cells by default), the window cuts it off and the result is pulled towards the middle of the
peak's cell: an animal 2 px off the middle of a 4 px cell is reported less than 1 px off. Predictions that serve as
labels therefore carry an error of up to half a cell that moves with the crop. All nodes of an instance were found on
one grid, so the grid's phase, which no file stores, can be read off the points themselves. Where crops were cut at
whole cells, or there were none, all instances share one grid, whose phase is known much better then.
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.labels import Labels

STRIDES_PX = (2, 4, 8)
# Fewer nodes than this do not tell the phase of a grid from chance.
MIN_NODES = 5
_BINS = 80
_ROUNDS = 5
# Points that lie on a grid by chance only have a concentration of about 0.886/√n_nodes (Rayleigh's distribution).
_EXCESS = 1.6
# Instances whose phases spread less than 0.04 cells (a concentration of 0.97, squared) share one grid: the points of a
# single instance do not tell its phase any better than that.
_ONE_GRID = 0.95


@dataclass(frozen=True, slots=True)
class GridPull:
    """A grid that labels were pulled to.

    Attributes:
        stride_px: Its cells' side.
        concentration: Mean length of the instances' mean phase vectors, 0–1; 1 = every point on a grid point.
        by_chance: What points without a grid would show.
    """

    stride_px: int
    concentration: float
    by_chance: float


def find_grid_pull(points: NDArray[np.float32]) -> GridPull | None:
    """Return the grid that predicted labels cluster on, or None.

    Args:
        points: `(n_instances, n_nodes, 2)` px; NaN = not labelled.
    """
    coordinates = _by_instance_and_axis(points)
    counts = np.isfinite(coordinates).sum(axis=1)
    coordinates = coordinates[counts >= MIN_NODES]
    if not len(coordinates):
        return None
    by_chance = float(np.mean(0.886 / np.sqrt(counts[counts >= MIN_NODES])))
    found = [
        GridPull(stride, float(np.abs(_mean_phase(coordinates, stride)).mean()), by_chance) for stride in STRIDES_PX
    ]
    strongest = max(found, key=lambda pull: pull.concentration)
    return strongest if strongest.concentration > _EXCESS * by_chance else None


def without_grid_pull(labels: Labels, stride_px: float) -> Labels:
    """Return labels of which those that are predictions are freed of their grid's pull; see `undo_grid_pull`."""
    xy = labels.xy.copy()
    xy[labels.predicted] = undo_grid_pull(xy[labels.predicted].astype(np.float32), stride_px)
    return replace(labels, xy=xy)


def undo_grid_pull(points: NDArray[np.float32], stride_px: float) -> NDArray[np.float32]:
    """Return labels as they would be without the pull towards the middle of their cells.

    The phase of an instance's grid along x and along y is the one that all instances share, if they do; else the most
    likely one under the distances from the grid of all instances together. True distances are uniform within a cell,
    so each node's are stretched to the spread of that distribution, `stride / √12`, and kept within the cell.

    Args:
        points: `(n_instances, n_nodes, 2)` float32, px; NaN = not labelled. Instances with fewer than 5 labelled
            nodes come back as they are.
        stride_px: Output stride of the network that predicted them, px of the full frame.

    Returns:
        The same shape.
    """
    coordinates = _by_instance_and_axis(points)
    enough = np.isfinite(coordinates).sum(axis=1) >= MIN_NODES
    if not enough.any():
        return points.copy()
    known = coordinates[enough]
    distances = _wrapped(known - _phases(known, stride_px)[:, None], stride_px)
    # Wild points are not on the grid at all; a wider spread would only stretch the others less.
    near = np.where(np.abs(distances) < 0.3 * stride_px, distances, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a node that is never labelled has no spread
        gains = stride_px / np.sqrt(12) / np.nanstd(near, axis=0)
    stretched = np.clip(distances * np.maximum(gains, 1.0), -stride_px / 2, stride_px / 2)
    coordinates[enough] = known - distances + stretched
    n, n_nodes, _ = points.shape
    return np.ascontiguousarray(coordinates.reshape(n, 2, n_nodes).transpose(0, 2, 1), np.float32)


def _by_instance_and_axis(points: NDArray[np.float32]) -> NDArray[np.float64]:
    n, n_nodes, _ = points.shape
    return points.transpose(0, 2, 1).reshape(2 * n, n_nodes).astype(np.float64)


def _mean_phase(coordinates: NDArray[np.float64], stride_px: float) -> NDArray[np.complex128]:
    phase: NDArray[np.complex128] = np.nanmean(np.exp(2j * np.pi * coordinates / stride_px), axis=1)
    return phase


def _wrapped(distances: NDArray[np.float64], stride_px: float) -> NDArray[np.float64]:
    return (distances + stride_px / 2) % stride_px - stride_px / 2


def _phases(coordinates: NDArray[np.float64], stride_px: float) -> NDArray[np.float64]:
    """Return where the grid of each row lies, px; rows are x and y of one instance after the other."""
    shared = [_shared_phase(coordinates[axis::2], stride_px) for axis in range(2)]
    if None in shared:
        return _own_phases(coordinates, stride_px)
    return np.tile(np.array(shared, np.float64), len(coordinates) // 2)


def _shared_phase(coordinates: NDArray[np.float64], stride_px: float) -> float | None:
    """Return where the one grid of all rows lies, px; None = they have grids of their own."""
    counts = np.isfinite(coordinates).sum(axis=1)
    means = _mean_phase(coordinates, stride_px)
    # n points without a grid have a mean |mean|² of 1/n, not 0; this takes that off.
    within = float(np.mean((counts * np.abs(means) ** 2 - 1) / (counts - 1)))
    together = np.average(means, weights=counts)
    if np.abs(together) ** 2 < _ONE_GRID * within:
        return None
    return float(np.angle(together) * stride_px / (2 * np.pi))


def _own_phases(coordinates: NDArray[np.float64], stride_px: float) -> NDArray[np.float64]:
    """Return where the grid of each row lies, px: mean phases first, then the most likely ones, in turns."""
    phases = np.angle(_mean_phase(coordinates, stride_px)) * stride_px / (2 * np.pi)
    candidates = np.arange(-0.5, 0.5, 1 / 400) * stride_px
    for _ in range(_ROUNDS):
        distances = _wrapped(coordinates - phases[:, None], stride_px)
        log_density = _log_density(distances[np.isfinite(distances)] / stride_px)
        phases = np.array([_most_likely(row, candidates, log_density, stride_px) for row in coordinates])
    return phases


def _log_density(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the logarithm of the smoothed, symmetric histogram of distances in cells, −0.5 to 0.5."""
    counts = np.histogram(distances, bins=_BINS, range=(-0.5, 0.5))[0].astype(np.float64)
    counts = (counts + counts[::-1]) / 2
    kernel = np.exp(-0.5 * np.arange(-3, 4) ** 2.0)
    smooth = np.convolve(np.concatenate([counts[-3:], counts, counts[:3]]), kernel / kernel.sum(), "valid")
    # A floor, so that one wild point does not outvote the others.
    log_density: NDArray[np.float64] = np.log(smooth / smooth.sum() * _BINS + 1e-3)
    return log_density


def _most_likely(
    row: NDArray[np.float64], candidates: NDArray[np.float64], log_density: NDArray[np.float64], stride_px: float
) -> float:
    labelled = row[np.isfinite(row)]
    distances = _wrapped(labelled[None] - candidates[:, None], stride_px) / stride_px
    bins = np.clip(((distances + 0.5) * _BINS).astype(np.intp), 0, _BINS - 1)
    return float(candidates[np.argmax(log_density[bins].sum(axis=1))])
