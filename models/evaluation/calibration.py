"""Calibration: whether a tracker's identity confidence is as large as the share of its rows that are right.

The confidence says how likely it is that a row is still the animal that it was when its track began. So a row is right
if its animal is the one that its track was first matched to. Naming tracks as suits them best over the whole video, as
IDF1 does, would blame the frames before a switch for it; and two tracks one after the other on one animal, which no
one-to-one choice can both take, are each right about it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.evaluation.matching import Matches
from models.evaluation.pairing import PairedFrames

N_BINS = 10

NO_TRACKS = "the truth or the predictions have no tracks"
NOT_SAID = (
    "the predictions carry no identity confidence; files of `poseloop track` with its own tracker do, and say so "
    "(SLEAP's tracking scores are similarities)"
)
NOTHING_MATCHED = "no animal with a track was matched by a prediction with an identity confidence"


@dataclass(frozen=True, slots=True)
class ConfidenceBin:
    """The instances whose confidence is in one bin.

    Attributes:
        low: Where the bin begins.
        high: Where it ends; only the last one contains its end.
        n: How many instances.
        confidence: Their mean confidence; NaN without instances.
        right: Share of them that is right; NaN without instances.
    """

    low: float
    high: float
    n: int
    confidence: float
    right: float

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values; None instead of NaN."""
        return asdict(self) if self.n else {**asdict(self), "confidence": None, "right": None}


@dataclass(frozen=True, slots=True)
class Calibration:
    """How true confidences are.

    Attributes:
        n: Instances that have one.
        confidence: Their mean confidence.
        right: Share of them that is right.
        expected_calibration_error: Mean over the instances of how far confidence and share right of their bin are
            apart (Naeini et al. 2015), 0–1.
        bins: `N_BINS` of equal width from 0 to 1.
    """

    n: int
    confidence: float
    right: float
    expected_calibration_error: float
    bins: tuple[ConfidenceBin, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values; None instead of NaN."""
        return {**asdict(self), "bins": [one.as_dict() for one in self.bins]}


def calibration(pairs: PairedFrames, matches: Matches) -> tuple[Calibration | None, str | None]:
    """Return how true the predictions' confidences are, or None and why there is nothing to tell.

    Only instances count that have a track and a confidence and are matched to an animal with a track. The first match
    of every track is among them; it is right by definition.

    Args:
        pairs: What is compared. A track that began before the compared frames is held against its first match in them.
        matches: Its matches.
    """
    truth, predicted = pairs.truth, pairs.predicted
    if not ((truth.tracks >= 0).any() and (predicted.tracks >= 0).any()):
        return None, NO_TRACKS
    if np.isnan(predicted.identity_confidence).all():
        return None, NOT_SAID
    animals, tracks = truth.tracks[matches.truth_rows], predicted.tracks[matches.predicted_rows]
    known = (animals >= 0) & (tracks >= 0)
    right = still_the_same(tracks[known], animals[known])
    confidence = predicted.identity_confidence[matches.predicted_rows][known]
    said = np.isfinite(confidence)
    if not said.any():
        return None, NOTHING_MATCHED
    return calibrate(confidence[said], right[said]), None


def still_the_same(tracks: ArrayLike, animals: ArrayLike) -> NDArray[np.bool_]:
    """Return `(n,)` whether each row's animal is the one that its track began with.

    Args:
        tracks: `(n,)` int, of every row, in the order of time.
        animals: `(n,)` int, that the rows show.
    """
    shown = np.asarray(animals)
    _, first, track = np.unique(np.asarray(tracks), return_index=True, return_inverse=True)
    return np.asarray(shown == shown[first[track]])


def calibrate(confidence: ArrayLike, right: ArrayLike) -> Calibration:
    """Hold confidences against what is right.

    Args:
        confidence: `(n,)` 0–1, at least one.
        right: `(n,)` bool.
    """
    sure, true = np.asarray(confidence, np.float64), np.asarray(right, np.bool_)
    in_bin = np.minimum((sure * N_BINS).astype(np.int64), N_BINS - 1)
    bins = tuple(_bin(number, sure[in_bin == number], true[in_bin == number]) for number in range(N_BINS))
    return Calibration(
        n=len(sure),
        confidence=float(sure.mean()),
        right=float(true.mean()),
        expected_calibration_error=sum(one.n * abs(one.confidence - one.right) for one in bins if one.n) / len(sure),
        bins=bins,
    )


def _bin(number: int, confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> ConfidenceBin:
    n = len(confidence)
    return ConfidenceBin(
        low=number / N_BINS,
        high=(number + 1) / N_BINS,
        n=n,
        confidence=float(confidence.mean()) if n else float("nan"),
        right=float(right.mean()) if n else float("nan"),
    )
