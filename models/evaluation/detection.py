"""Detection: how many animals were found, missed and invented."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation.matching import Matches
from models.evaluation.pairing import PairedFrames


@dataclass(frozen=True, slots=True)
class Detection:
    """Counts over all frames of the truth; a frame that the predictions do not have is one without predictions.

    Attributes:
        frames: The truth's frames.
        frames_without_prediction: Those that the predictions do not have at all.
        frames_complete: Those with every animal found and nothing extra.
        animals: The truth's animals.
        found: Those that a prediction matches.
        missed: Those that none matches.
        extra: Predictions that match no animal.
        precision: Share of the predictions that match an animal, or None without predictions.
        recall: Share of the animals that are found.
        f1: Harmonic mean of both.
    """

    frames: int
    frames_without_prediction: int
    frames_complete: int
    animals: int
    found: int
    missed: int
    extra: int
    precision: float | None
    recall: float
    f1: float

    def as_dict(self) -> dict[str, Any]:
        """Return the counts and shares as JSON-able values."""
        return {**asdict(self), "complete_fraction": self.frames_complete / self.frames}


def detection(pairs: PairedFrames, matches: Matches) -> Detection:
    """Count; every animal of `pairs` has a marked node."""
    missed, extra = per_frame(pairs, matches)
    animals, predictions, found = len(pairs.truth.xy), len(pairs.predicted.xy), len(matches.truth_rows)
    return Detection(
        frames=len(pairs.frame_ids),
        frames_without_prediction=int((~pairs.predicted_frames).sum()),
        frames_complete=int(((missed == 0) & (extra == 0)).sum()),
        animals=animals,
        found=found,
        missed=animals - found,
        extra=predictions - found,
        precision=found / predictions if predictions else None,
        recall=found / animals,
        f1=2 * found / (animals + predictions),
    )


def per_frame(pairs: PairedFrames, matches: Matches) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of animals that were missed and of extra predictions in every frame, `(n_frames,)` each."""
    n = len(pairs.frame_ids)
    found = np.bincount(pairs.truth.frames[matches.truth_rows], minlength=n)
    missed = np.bincount(pairs.truth.frames, minlength=n) - found
    extra = np.bincount(pairs.predicted.frames, minlength=n) - found
    return missed, extra
