"""Comparison: predictions against truth, all measures together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import LabelsError
from models.evaluation.accuracy import NodeErrors, node_errors
from models.evaluation.calibration import Calibration, calibration
from models.evaluation.detection import Detection, detection, per_frame
from models.evaluation.identity import Identity, identity
from models.evaluation.matching import Matches, gate_of, match
from models.evaluation.options import EvaluationOptions
from models.evaluation.pairing import PairedFrames, pair_frames
from models.evaluation.sleap_metrics import sleap_metrics, summary
from models.labels import Labels
from models.training.grid_pull import without_grid_pull


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good predictions are.

    Attributes:
        truth: What the truth is called.
        predicted: What the predictions are called.
        options: How they were compared.
        pairs: The animals that were compared, all with at least one marked node.
        matches: Which prediction is which animal, by optimal assignment.
        detection: What was found, missed and invented.
        all_nodes: Errors over all nodes.
        nodes: Errors of every node, in their order.
        identity: How well tracks follow animals; None if truth or predictions have no tracks.
        calibration: How true the tracker's identity confidence is; None if there is none to judge.
        calibration_note: Why there is none, in words; None if there is one.
        sleap: SLEAP's metrics, by SLEAP's names.
    """

    truth: str
    predicted: str
    options: EvaluationOptions
    pairs: PairedFrames
    matches: Matches
    detection: Detection
    all_nodes: NodeErrors
    nodes: tuple[NodeErrors, ...]
    identity: Identity | None
    calibration: Calibration | None
    calibration_note: str | None
    sleap: Mapping[str, Any]

    @property
    def residuals(self) -> NDArray[np.float64]:
        """Predicted − true of every match: `(n_matches, n_nodes, 2)` px; NaN unless both have the node."""
        found = self.pairs.predicted.xy[self.matches.predicted_rows]
        return np.asarray(found - self.pairs.truth.xy[self.matches.truth_rows])

    @property
    def missed_and_extra(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Missed animals and extra predictions of every frame, `(n_frames,)` each."""
        return per_frame(self.pairs, self.matches)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values; None for what is not known."""
        return {
            "truth": self.truth,
            "predicted": self.predicted,
            "notes": list(self.pairs.notes),
            "options": self.options.model_dump(mode="json"),
            "animal_size_px": None if np.isnan(self.pairs.size_px) else self.pairs.size_px,
            "gate_px": self.matches.gate_px,
            "detection": self.detection.as_dict(),
            "errors": self.all_nodes.as_dict(),
            "nodes": {node.name: node.as_dict() for node in self.nodes},
            "identity": None if self.identity is None else self.identity.as_dict(),
            "calibration": None if self.calibration is None else self.calibration.as_dict(),
            "calibration_note": self.calibration_note,
            "sleap": summary(self.sleap),
        }


def evaluate(truth: Labels, predicted: Labels, options: EvaluationOptions | None = None) -> Evaluation:
    """Compare predictions with the truth in every frame of the truth.

    Args:
        truth: What is right. Its frames count, those without an animal too.
        predicted: What is judged. It may have other frames and more nodes; they are left out.
        options: What is compared, and how strictly.

    Raises:
        LabelsError: Nodes are missing, there is nothing to compare, or the animals are points and no gate is given.
    """
    options = options or EvaluationOptions()
    if options.grid_pull_px is not None:
        truth = without_grid_pull(truth, options.grid_pull_px)
    everything = pair_frames(truth, predicted, options)
    pairs = everything.marked()
    if not len(pairs.truth.xy):
        raise LabelsError(f"{truth.source}: expected animals with one of {', '.join(pairs.nodes)}, got none")
    matches = match(pairs, gate_of(pairs, options.gate_px))
    calibrated, calibration_note = calibration(pairs, matches)
    true_xy, xy = pairs.truth.xy[matches.truth_rows], pairs.predicted.xy[matches.predicted_rows]
    return Evaluation(
        truth=truth.source,
        predicted=predicted.source,
        options=options,
        pairs=pairs,
        matches=matches,
        detection=detection(pairs, matches),
        all_nodes=node_errors("all", true_xy.reshape(-1, 2), xy.reshape(-1, 2)),
        nodes=tuple(node_errors(name, true_xy[:, k], xy[:, k]) for k, name in enumerate(pairs.nodes)),
        identity=identity(pairs, matches),
        calibration=calibrated,
        calibration_note=calibration_note,
        sleap=sleap_metrics(everything, options.oks_sigma),
    )
