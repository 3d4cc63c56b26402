"""SLEAP's own metrics, number for number, under the names of its `metrics.*.npz`.

They are lenient: a prediction that matches no animal costs nothing, nor does a frame without predictions; `detection`
counts both. The definitions are those of `sleap/nn/evals.py`, SLEAP 1.4.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.pairing import PairedFrames

_PCK_THRESHOLDS_PX = np.linspace(1, 10, 10)
_MATCH_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_THRESHOLDS = np.linspace(0, 1, 101)
_PERCENTILES = (50, 75, 90, 95, 99)
_LONG = ("dist.dists", "pck.pcks", "match_scores", "precisions", "recalls", "thresholds")
"""Ends of the names of what is long, or says again what `AR` says."""


def sleap_metrics(pairs: PairedFrames, oks_sigma: float = 0.025) -> dict[str, Any]:
    """Return SLEAP's metrics.

    Frames without a prediction frame, or without a labelled animal, are left out. In a frame the predictions, best
    first, each take the animal with the largest object keypoint similarity (OKS) of those that are left.

    Args:
        pairs: What is compared.
        oks_sigma: Spread of the labels.

    Returns:
        `vis.*`: marked or not, over the nodes of all pairs. `dist.*`: distances, px. `pck.*`: share of distances below
        1, 2 … 10 px; an unmarked node has none. `oks.mOKS`: mean similarity. `oks_voc.*`, `pck_voc.*`: average
        precision and recall at match scores of 0.5, 0.55 … 0.95, the score being the similarity or the pair's mean
        PCK. Without pairs, precision and recall of those are 0 and means are NaN.
    """
    rows, predicted_rows, oks, n_missed = _matched(pairs, oks_sigma)
    xy, found = pairs.truth.xy[rows], pairs.predicted.xy[predicted_rows]
    scores = pairs.predicted.scores[predicted_rows]
    metrics = _visibility(np.isfinite(xy[..., 0]), np.isfinite(found[..., 0]))
    metrics |= _distances(np.linalg.norm(found - xy, axis=-1))
    pck = metrics["pck.pcks"].mean(axis=(1, 2))
    metrics["oks.mOKS"] = _mean(oks)
    metrics |= _average_precision("oks_voc", oks, scores, n_missed)
    metrics |= _average_precision("pck_voc", pck, scores, n_missed)
    return metrics


def summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics as JSON-able values, without the long ones; NaN becomes None."""
    return {name: _plain(value) for name, value in metrics.items() if not name.endswith(_LONG)}


def object_keypoint_similarity(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], areas: NDArray[np.float64], sigma: float
) -> NDArray[np.float64]:
    """Return how alike animals are: the mean over the truth's marked nodes of exp(−d² / (8 σ² A)).

    Args:
        truth: `(n, n_nodes, 2)` px.
        predicted: `(m, n_nodes, 2)` px; an unmarked node counts 0.
        areas: `(n,)` px², A. An animal without extent is like another only if that lies exactly on it.
        sigma: Spread of the labels.

    Returns:
        `(n, m)`, 0–1; NaN for an animal without a marked node.
    """
    squared = ((truth[:, None] - predicted[None]) ** 2).sum(axis=-1)
    # SLEAP adds this, so that an area of 0 does not divide 0 by 0.
    spread = 8 * sigma**2 * (areas + np.spacing(1.0))
    alike = np.where(np.isnan(squared), 0.0, np.exp(-squared / spread[:, None, None]))
    n_marked = np.isfinite(truth[..., 0]).sum(axis=1)[:, None]
    return np.asarray(np.where(n_marked, alike.sum(axis=-1) / np.maximum(n_marked, 1), np.nan))


def _matched(
    pairs: PairedFrames, sigma: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], int]:
    """Return rows of the truth and of the predictions, their similarity, and the number of animals left over."""
    matched: list[tuple[int, int, float]] = []
    n_missed = 0
    for has_predictions, (t, p) in zip(pairs.predicted_frames.tolist(), pairs.rows(), strict=True):
        if not has_predictions or t.start == t.stop:
            continue
        oks = object_keypoint_similarity(pairs.truth.xy[t], pairs.predicted.xy[p], pairs.areas[t], sigma)
        oks = np.where(oks > 0, oks, 0.0)
        n_missed += len(oks)
        for column in np.argsort(-pairs.predicted.scores[p], kind="stable"):
            best = int(oks[:, column].argmax())
            if oks[best, column] > 0:
                matched.append((t.start + best, p.start + int(column), float(oks[best, column])))
                oks[best] = 0.0
                n_missed -= 1
    rows, predicted_rows, similarities = zip(*matched, strict=True) if matched else ((), (), ())
    return np.array(rows, np.int64), np.array(predicted_rows, np.int64), np.array(similarities, np.float64), n_missed


def _visibility(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> dict[str, Any]:
    true_positive, false_positive = int((truth & predicted).sum()), int((~truth & predicted).sum())
    false_negative = int((truth & ~predicted).sum())
    return {
        "vis.tp": true_positive,
        "vis.fp": false_positive,
        "vis.tn": int((~truth & ~predicted).sum()),
        "vis.fn": false_negative,
        "vis.precision": _share(true_positive, true_positive + false_positive),
        "vis.recall": _share(true_positive, true_positive + false_negative),
    }


def _distances(distances: NDArray[np.float64]) -> dict[str, Any]:
    known = distances[np.isfinite(distances)]
    below = np.where(np.isnan(distances), np.inf, distances)[..., None] < _PCK_THRESHOLDS_PX
    of_nodes = below.mean(axis=(0, 2)) if len(below) else np.full(below.shape[1], np.nan)
    percentiles = np.percentile(known, _PERCENTILES) if known.size else np.full(len(_PERCENTILES), np.nan)
    return {
        "dist.dists": distances,
        "dist.avg": _mean(known),
        **{f"dist.p{q}": float(value) for q, value in zip(_PERCENTILES, percentiles, strict=True)},
        "pck.thresholds": _PCK_THRESHOLDS_PX,
        "pck.pcks": below,
        "pck.mPCK_parts": of_nodes,
        "pck.mPCK": float(of_nodes.mean()),
    }


def _average_precision(
    name: str, match_scores: NDArray[np.float64], scores: NDArray[np.float64], n_missed: int
) -> dict[str, Any]:
    """Return the VOC metrics of pairs with `match_scores`, sorted by the detections' `scores`."""
    match_scores = match_scores[np.argsort(-scores, kind="stable")]
    precisions = np.zeros((len(_MATCH_THRESHOLDS), len(_RECALL_THRESHOLDS)))
    recalls = np.zeros(len(_MATCH_THRESHOLDS))
    rank = np.arange(1, len(match_scores) + 1)
    for k, threshold in enumerate(_MATCH_THRESHOLDS):
        if not len(match_scores):
            break
        true_positive = np.cumsum(match_scores >= threshold)
        recall = true_positive / (len(match_scores) + n_missed)
        precision = true_positive / (rank + np.spacing(1.0))
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        reached = np.searchsorted(recall, _RECALL_THRESHOLDS, side="left")
        precisions[k] = np.append(envelope, 0.0)[reached]
        recalls[k] = recall[-1]
    return {
        f"{name}.match_score_thresholds": _MATCH_THRESHOLDS,
        f"{name}.recall_thresholds": _RECALL_THRESHOLDS,
        f"{name}.match_scores": match_scores,
        f"{name}.precisions": precisions,
        f"{name}.recalls": recalls,
        f"{name}.AP": precisions.mean(axis=1),
        f"{name}.AR": recalls,
        f"{name}.mAP": float(precisions.mean()),
        f"{name}.mAR": float(recalls.mean()),
    }


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(one) for one in value.tolist()]
    return None if isinstance(value, float) and np.isnan(value) else value
