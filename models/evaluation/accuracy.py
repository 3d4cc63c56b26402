"""Accuracy: how far the nodes of the animals that were found lie from where they should, and in which direction."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (50, 90, 95, 99)
WITHIN_PX = (1, 2, 5, 10)

_MAD_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation over its median absolute deviation."""


@dataclass(frozen=True, slots=True)
class NodeErrors:
    """The errors of one node, or of all nodes together, over the animals that were found.

    Attributes:
        name: The node.
        n: Number of distances: the node is marked in the truth and in the prediction.
        labelled: How often the truth has the node.
        unlabelled: How often the prediction has it and the truth has not.
        percentiles_px: Distance at `PERCENTILES`; NaN without distances.
        within: Share of the truth's nodes that a prediction places nearer than `WITHIN_PX`; one that it does not
            report is not. NaN if the truth never has the node.
        bias_px: Median of predicted − true, x and y; NaN without distances.
        bias_low_px: Lower end of its 95 % confidence interval, from the ranks of the errors, x and y. Errors of
            neighbouring frames are alike, so that the true interval is wider.
        bias_high_px: Upper end.
        spread_px: Scatter around the median along x and y: 1.4826 times the median absolute deviation, which is the
            standard deviation of normal errors.
    """

    name: str
    n: int
    labelled: int
    unlabelled: int
    percentiles_px: tuple[float, ...]
    within: tuple[float, ...]
    bias_px: tuple[float, float]
    bias_low_px: tuple[float, float]
    bias_high_px: tuple[float, float]
    spread_px: tuple[float, float]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values; None instead of NaN."""
        return {
            "n": self.n,
            **{f"p{q}_px": _known(value) for q, value in zip(PERCENTILES, self.percentiles_px, strict=True)},
            "within_px": {str(px): _known(value) for px, value in zip(WITHIN_PX, self.within, strict=True)},
            "bias_px": [_known(value) for value in self.bias_px],
            "bias_ci95_px": [
                [_known(low), _known(high)] for low, high in zip(self.bias_low_px, self.bias_high_px, strict=True)
            ],
            "spread_px": [_known(value) for value in self.spread_px],
            "not_reported_fraction": 1 - self.n / self.labelled if self.labelled else None,
            "unlabelled": self.unlabelled,
        }


def node_errors(name: str, truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> NodeErrors:
    """Return the errors of points `(n, 2)` px, NaN where a node is not marked."""
    residuals = predicted - truth
    known = residuals[np.isfinite(residuals[:, 0])]
    distances = np.hypot(known[:, 0], known[:, 1])
    labelled, reported = np.isfinite(truth[:, 0]), np.isfinite(predicted[:, 0])
    n_labelled = int(labelled.sum())
    bias, low, high, spread = _centre(known)
    return NodeErrors(
        name=name,
        n=len(known),
        labelled=n_labelled,
        unlabelled=int((reported & ~labelled).sum()),
        percentiles_px=tuple(np.percentile(distances, PERCENTILES).tolist())
        if len(known)
        else (float("nan"),) * len(PERCENTILES),
        within=tuple(float((distances < px).sum() / n_labelled) if n_labelled else float("nan") for px in WITHIN_PX),
        bias_px=bias,
        bias_low_px=low,
        bias_high_px=high,
        spread_px=spread,
    )


def _centre(residuals: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return median, ends of its confidence interval, and spread of `(n, 2)` residuals."""
    if not len(residuals):
        return [(float("nan"), float("nan"))] * 4
    median = np.median(residuals, axis=0)
    # Distribution-free: the number of values below the median is binomial, here by its normal approximation
    # (Conover, Practical Nonparametric Statistics, section 3.2).
    n = len(residuals)
    margin = 1.96 * np.sqrt(n) / 2
    low, high = max(int(np.ceil(n / 2 - margin)) - 1, 0), min(int(np.ceil(n / 2 + margin)) - 1, n - 1)
    ranked = np.sort(residuals, axis=0)
    spread = _MAD_TO_SIGMA * np.median(np.abs(residuals - median), axis=0)
    return [(float(pair[0]), float(pair[1])) for pair in (median, ranked[low], ranked[high], spread)]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value
