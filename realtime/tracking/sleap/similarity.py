"""How alike SLEAP finds two poses; the higher the better, and NaN where they cannot be compared.

Every function takes `n` untracked instances and `m` candidates and returns `(n, m)` float64. The untracked ones are
SLEAP's reference, which decides by how many nodes a sum is divided.
"""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from realtime.tracking.sleap.instances import Instances, visible
from realtime.tracking.sleap.options import SleapTrackerOptions

Matrix = NDArray[np.float64]
SimilarityFunction = Callable[[Instances, Instances], Matrix]


def chosen_similarity(
    options: SleapTrackerOptions, n_nodes: int, image_size_px: tuple[int, int] | None
) -> SimilarityFunction:
    """Return the function that the options name.

    Args:
        options: The tracker's options.
        n_nodes: Nodes of the skeleton.
        image_size_px: (width, height); only `normalized_instance` needs it.

    Raises:
        ValueError: What the function needs is missing, or does not fit the skeleton.
    """
    if options.similarity == "instance":
        return instance
    if options.similarity == "centroid":
        return centroid
    if options.similarity == "iou":
        return iou
    if options.similarity == "normalized_instance":
        if image_size_px is None:
            raise ValueError("similarity normalized_instance: expected the size of the image, got none")
        return lambda untracked, candidates: normalized_instance(untracked, candidates, image_size_px)
    errors_px = options.oks_errors
    if len(errors_px) not in (1, n_nodes):
        raise ValueError(f"oks_errors: expected 1 or {n_nodes} numbers, one for each node, got {len(errors_px)}")
    return lambda untracked, candidates: object_keypoint(
        untracked,
        candidates,
        errors_px,
        score_weighting=options.oks_score_weighting,
        normalization=options.oks_normalization,
    )


def instance(untracked: Instances, candidates: Instances) -> Matrix:
    """Return Σ exp(−d²) over the nodes seen in both, d in px, divided by the nodes seen in the untracked instance.

    A node more than about 3 px away adds next to nothing, and one more than 27 px away exactly nothing: between
    animals that moved faster than that, the similarity is 0 whatever they do.
    """
    return _quotient(np.nansum(np.exp(-_squared_distances(untracked.xy, candidates.xy)), axis=-1), _seen(untracked))


def normalized_instance(untracked: Instances, candidates: Instances, image_size_px: tuple[int, int]) -> Matrix:
    """Return `instance` of points in units of the image: x by its width, y by its height."""
    size = np.array(image_size_px, np.float64)
    return instance(untracked._replace(xy=untracked.xy / size), candidates._replace(xy=candidates.xy / size))


def centroid(untracked: Instances, candidates: Instances) -> Matrix:
    """Return minus the distance of the centroids, px; a centroid is the median of the nodes seen, by coordinate."""
    centres, others = _over_nodes(np.nanmedian, untracked.xy), _over_nodes(np.nanmedian, candidates.xy)
    return np.asarray(-np.linalg.norm(centres[:, None] - others[None], axis=-1))


def iou(untracked: Instances, candidates: Instances) -> Matrix:
    """Return the intersection over union of the boxes around the nodes seen; a side from a to b is b − a + 1 long."""
    low, high = (_over_nodes(extreme, untracked.xy)[:, None] for extreme in (np.nanmin, np.nanmax))
    other_low, other_high = (_over_nodes(extreme, candidates.xy)[None] for extreme in (np.nanmin, np.nanmax))
    shared = np.prod(np.maximum(np.minimum(high, other_high) - np.maximum(low, other_low) + 1, 0), axis=-1)
    area, other_area = np.prod(high - low + 1, axis=-1), np.prod(other_high - other_low + 1, axis=-1)
    return np.asarray(shared / (area + other_area - shared))


def object_keypoint(
    untracked: Instances,
    candidates: Instances,
    errors_px: Sequence[float] = (1.0,),
    *,
    score_weighting: bool = False,
    normalization: str = "all",
) -> Matrix:
    """Return Σ w exp(−d² / 2e²) over the nodes seen in both, divided by a number of nodes; 0 where that is 0.

    Args:
        untracked: `n` of them.
        candidates: `m` of them.
        errors_px: e of every node, or one for all.
        score_weighting: w is the product of both scores, otherwise 1.
        normalization: Divide by the nodes of the skeleton (`all`), by those seen in the untracked instance (`ref`), or
            by those seen in both (`union`: so SLEAP calls it, though it is the intersection).
    """
    terms = np.exp(-_squared_distances(untracked.xy, candidates.xy) / (2 * np.array(errors_px) ** 2))
    if score_weighting:
        terms = terms * untracked.node_scores[:, None] * candidates.node_scores[None]
    n_nodes = terms.shape[-1]
    if normalization == "all":
        return np.asarray(np.nansum(terms, axis=-1) / n_nodes)
    if normalization == "ref":
        divisor = _seen(untracked)
    else:
        divisor = (visible(untracked.xy)[:, None] & visible(candidates.xy)[None]).sum(axis=-1)
    return np.asarray(np.nansum(terms, axis=-1) / np.maximum(divisor, 1))


def _squared_distances(xy: Matrix, others: Matrix) -> Matrix:
    """Return `(n, m, n_nodes)`, NaN where a node is not seen in both."""
    return np.asarray(((xy[:, None] - others[None]) ** 2).sum(axis=-1))


def _seen(untracked: Instances) -> NDArray[np.int64]:
    return np.asarray(visible(untracked.xy).sum(axis=-1, keepdims=True))


def _quotient(total: Matrix, count: NDArray[np.int64]) -> Matrix:
    """Return `total / count`, NaN where the count is 0: nothing is known of an instance of which nothing is seen."""
    with np.errstate(invalid="ignore"):
        return np.asarray(total / count)


def _over_nodes(reduce: Callable[..., Matrix], xy: Matrix) -> Matrix:
    """Return `reduce` over the nodes seen, `(n, 2)`; NaN, without NumPy's warning, where none is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return reduce(xy, axis=1)
