"""Evaluation: an exported model against the labels of frames that it never saw."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.exported import ExportedModel, ExportedOptions
from models.training.data import LabelledFrame, stream_frames


def evaluate(folder: Path, frames: Iterable[LabelledFrame], video: Path) -> dict[str, Any]:
    """Run a model folder on labelled frames and compare.

    An animal is found if an instance lies within a quarter of the crop's side of it: the mean distance over the nodes
    that both have. Each instance finds one animal at most.

    Args:
        folder: The model folder.
        frames: Their labels are taken for the truth.
        video: The frames' video.

    Returns:
        JSON-able counts and fractions over frames and animals, and for every node the number of pairs compared, the
        median, 95th and 99th percentile of the distance in px, and the fraction of labels without a reported node.
    """
    model = ExportedModel(ExportedOptions(path=folder))
    by_index = {frame.index: frame for frame in frames}
    tally = _Tally(gate_px=model.spec.instance.crop_size_px / 4)
    for index, image in stream_frames(video, by_index):
        tally.add(by_index[index].points, model.predict(image, index).xy)
    return tally.summary(model.skeleton.nodes)


@dataclass(slots=True)
class _Tally:
    gate_px: float
    n_frames: int = 0
    n_complete: int = 0
    n_missed: int = 0
    n_extra: int = 0
    pairs: list[NDArray[np.float32]] = field(default_factory=list)

    def add(self, truth: NDArray[np.float32], found: NDArray[np.float32]) -> None:
        labelled = np.isfinite(truth).any(axis=(1, 2))
        truth = truth[labelled]
        distances: NDArray[np.float32] = np.linalg.norm(truth[:, None] - found[None], axis=-1)
        both: NDArray[np.bool_] = np.isfinite(distances)
        sums = np.where(both, distances, 0).sum(axis=2)
        means = np.where(both.any(axis=2), sums / np.maximum(both.sum(axis=2), 1), np.inf)
        costs = np.minimum(means, 2 * self.gate_px)
        matches = [(i, j) for i, j in zip(*linear_sum_assignment(costs), strict=True) if costs[i, j] < self.gate_px]
        for i, j in matches:
            # A label that has no counterpart counts as infinitely far.
            unlabelled = ~np.isfinite(truth[i]).all(axis=1)
            self.pairs.append(np.where(unlabelled, np.nan, np.where(both[i, j], distances[i, j], np.inf)))
        missed, extra = len(truth) - len(matches), len(found) - len(matches)
        self.n_frames += 1
        self.n_complete += missed == extra == 0
        self.n_missed += missed
        self.n_extra += extra

    def summary(self, nodes: tuple[str, ...]) -> dict[str, Any]:
        errors = np.stack(self.pairs) if self.pairs else np.empty((0, len(nodes)), np.float32)
        return {
            "frames": self.n_frames,
            "complete_fraction": self.n_complete / max(self.n_frames, 1),
            "animals_found": len(errors),
            "animals_missed": self.n_missed,
            "extra_instances": self.n_extra,
            "nodes": {name: _node(errors[:, k]) for k, name in enumerate(nodes)},
        }


def _node(errors: NDArray[np.float32]) -> dict[str, float | int | None]:
    labelled = errors[~np.isnan(errors)]
    compared = labelled[np.isfinite(labelled)]
    keys = ("median_px", "p95_px", "p99_px")
    values = [round(float(v), 3) for v in np.percentile(compared, (50, 95, 99))] if compared.size else [None] * 3
    not_reported = 1 - compared.size / labelled.size if labelled.size else None
    return {"n": int(compared.size), **dict(zip(keys, values, strict=True)), "not_reported_fraction": not_reported}
