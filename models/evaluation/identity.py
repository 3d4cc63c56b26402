"""Identity: whether an animal keeps its track, as share of right names, switches, fragments, IDF1, MOTA and HOTA.

A prediction can be an animal if it lies nearer than the gate; the similarity that HOTA needs falls from 1 at no
distance to 0 at twice the gate, so that its threshold of 0.5 is the gate. An instance without a track is a track of its
own, and so is every one but the best-scored of several with the same track in a frame.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.evaluation.matching import Matches, nearest
from models.evaluation.pairing import Animals, PairedFrames

_ALPHAS = np.arange(1, 20) * 0.05


@dataclass(frozen=True, slots=True)
class Identity:
    """How well tracks follow animals.

    Attributes:
        accuracy_by_name: Share of the found animals whose prediction has a track of the same name; None if no name
            occurs in both.
        accuracy: The same with the predictions' tracks renamed, one to one, as suits them best.
        renamed: The best names: predicted track → true track.
        switches: How often an animal's prediction has another track than its last one had.
        fragments: How often an animal that a prediction matched is missed and later matched again, whatever the track;
            see `ClearCounts`.
        mota: 1 − (missed + extra + switches) / animals (Bernardin and Stiefelhagen 2008); an animal keeps its last
            prediction's track while that is inside the gate.
        idf1: F1 of the predictions that have the right track, with the best one-to-one choice of tracks (Ristani et
            al. 2016).
        hota: √(detection accuracy · association accuracy), mean over thresholds of 0.05 to 0.95 (Luiten et al. 2021).
        deta: The detection accuracy, mean over thresholds.
        assa: The association accuracy, mean over thresholds.
    """

    accuracy_by_name: float | None
    accuracy: float
    renamed: dict[str, str]
    switches: int
    fragments: int
    mota: float
    idf1: float
    hota: float
    deta: float
    assa: float

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return asdict(self)


class ClearCounts(NamedTuple):
    """The counts of the CLEAR MOT metrics.

    Attributes:
        missed: Animals that no prediction matches.
        extra: Predictions that match no animal.
        switches: How often an animal's prediction has another track than its last one had.
        fragments: How often an animal that was found is missed and found again later, as `num_fragmentations` of
            motmetrics counts: only frames in which the truth has the animal, whatever the predictions have there, and
            one gap is one fragment, however long. `Frag` of TrackEval (the same for an animal that is in every frame)
            counts a gap of the truth itself too, and passes over frames that have no animal or no prediction at all.
    """

    missed: int
    extra: int
    switches: int
    fragments: int


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Every animal with every prediction of its frame: `(n,)` tracks and distances, px."""

    truth: NDArray[np.int64]
    predicted: NDArray[np.int64]
    distances: NDArray[np.float64]


def identity(pairs: PairedFrames, matches: Matches) -> Identity | None:
    """Return how well tracks follow animals, or None if truth or predictions have no tracks.

    Args:
        pairs: What is compared; every animal has a marked node.
        matches: Its matches.
    """
    if not ((pairs.truth.tracks >= 0).any() and (pairs.predicted.tracks >= 0).any()):
        return None
    truth, predicted = own_tracks(pairs.truth), own_tracks(pairs.predicted)
    by_name, accuracy, renamed = _accuracy(pairs, matches)
    clear = clear_counts(pairs, matches, truth, predicted)
    hota, deta, assa = hota_scores(pairs, matches, truth, predicted)
    return Identity(
        accuracy_by_name=by_name,
        accuracy=accuracy,
        renamed=renamed,
        switches=clear.switches,
        fragments=clear.fragments,
        mota=1 - (clear.missed + clear.extra + clear.switches) / len(truth),
        idf1=_idf1(_candidates(pairs, matches, truth, predicted), matches.gate_px, len(truth), len(predicted)),
        hota=hota,
        deta=deta,
        assa=assa,
    )


def own_tracks(animals: Animals) -> NDArray[np.int64]:
    """Return a track number for every animal, 0 to the number of tracks − 1, no two alike in one frame."""
    best_first = np.argsort(-animals.scores, kind="stable")
    keys = np.stack([animals.frames, animals.tracks], axis=1)[best_first]
    kept = best_first[np.unique(keys, axis=0, return_index=True)[1]]
    kept = kept[animals.tracks[kept] >= 0]
    numbers = len(animals.track_names) + np.arange(len(animals.tracks), dtype=np.int64)
    numbers[kept] = animals.tracks[kept]
    return np.asarray(np.unique(numbers, return_inverse=True)[1], np.int64)


def _accuracy(pairs: PairedFrames, matches: Matches) -> tuple[float | None, float, dict[str, str]]:
    true_names, names = pairs.truth.track_names, pairs.predicted.track_names
    right, given = pairs.truth.tracks[matches.truth_rows], pairs.predicted.tracks[matches.predicted_rows]
    known = right >= 0
    right, given = right[known], given[known]
    n = max(len(right), 1)
    tracked = given >= 0
    together = np.zeros((len(names), len(true_names)), np.int64)
    np.add.at(together, (given[tracked], right[tracked]), 1)
    best = [(i, j) for i, j in zip(*linear_sum_assignment(-together), strict=True) if together[i, j]]
    by_name = None
    if set(names) & set(true_names):
        alike = np.array([[name == true_name for true_name in true_names] for name in names])
        by_name = float(together[alike].sum() / n)
    return by_name, float(sum(together[i, j] for i, j in best) / n), {names[i]: true_names[j] for i, j in best}


def clear_counts(
    pairs: PairedFrames, matches: Matches, truth: NDArray[np.int64], predicted: NDArray[np.int64]
) -> ClearCounts:
    """Count as the CLEAR MOT metrics do.

    Args:
        pairs: What is compared.
        matches: Its distances and gate; CLEAR's own matches keep to the past where they can.
        truth: Track number of every animal.
        predicted: Track number of every prediction.
    """
    last, lost = np.full(truth.max() + 1, -1), np.zeros(truth.max() + 1, np.bool_)
    n_found = n_switches = n_fragments = 0
    for there, animals, tracks in _clear_matches(pairs, matches, truth, predicted):
        before = last[animals]
        n_found += len(animals)
        n_switches += int(((before >= 0) & (before != tracks)).sum())
        n_fragments += int(lost[animals].sum())
        last[animals] = tracks
        lost[there] = last[there] >= 0
        lost[animals] = False
    return ClearCounts(len(truth) - n_found, len(predicted) - n_found, n_switches, n_fragments)


def _clear_matches(
    pairs: PairedFrames, matches: Matches, truth: NDArray[np.int64], predicted: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the animals of every frame, those of them that are found, and the tracks of their predictions."""
    last: dict[int, int] = {}
    owners: dict[int, int] = {}
    for (t, p), distances in zip(pairs.rows(), matches.distances, strict=True):
        animals, tracks = truth[t], predicted[p]
        # An animal keeps its track unless another one had it since.
        owned = np.array([owners.get(track, -1) for track in tracks.tolist()], np.int64)
        expected = np.array([last.get(animal, -1) for animal in animals.tolist()], np.int64)
        kept = (expected[:, None] == tracks) & (animals[:, None] == owned) & (distances < matches.gate_px)
        free = np.where(kept.any(axis=1)[:, None] | kept.any(axis=0)[None], np.inf, distances)
        rows, columns = np.concatenate([np.array(np.nonzero(kept)), nearest(free, matches.gate_px)], axis=1)
        last.update(zip(animals[rows].tolist(), tracks[columns].tolist(), strict=True))
        owners.update(zip(tracks[columns].tolist(), animals[rows].tolist(), strict=True))
        yield animals, animals[rows], tracks[columns]


def _candidates(
    pairs: PairedFrames, matches: Matches, truth: NDArray[np.int64], predicted: NDArray[np.int64]
) -> _Candidates:
    columns = [
        (np.repeat(truth[t], p.stop - p.start), np.tile(predicted[p], t.stop - t.start), distances.ravel())
        for (t, p), distances in zip(pairs.rows(), matches.distances, strict=True)
    ]
    return _Candidates(*(np.concatenate(column) for column in zip(*columns, strict=True)))


def _idf1(candidates: _Candidates, gate_px: float, n_truth: int, n_predicted: int) -> float:
    inside = candidates.distances < gate_px
    return idf1_score(candidates.truth[inside], candidates.predicted[inside], n_truth, n_predicted)


def idf1_score(truth: NDArray[np.int64], predicted: NDArray[np.int64], n_truth: int, n_predicted: int) -> float:
    """Return IDF1, 0–1: with the best one-to-one choice of tracks, 2 · pairs of it / (animals + predictions).

    Args:
        truth: `(n,)` the animal's track of every pair of an animal and a prediction that can be it.
        predicted: `(n,)` the prediction's track of each.
        n_truth: Animals, paired or not.
        n_predicted: Predictions, paired or not.
    """
    if not len(truth):
        return 0.0
    rows, columns = (np.unique(tracks, return_inverse=True)[1] for tracks in (truth, predicted))
    together = np.zeros((rows.max() + 1, columns.max() + 1), np.int64)
    np.add.at(together, (rows, columns), 1)
    n_right = together[linear_sum_assignment(-together)].sum()
    return float(2 * n_right / (n_truth + n_predicted))


def hota_scores(
    pairs: PairedFrames, matches: Matches, truth: NDArray[np.int64], predicted: NDArray[np.int64]
) -> tuple[float, float, float]:
    """Return HOTA, detection accuracy and association accuracy, means over thresholds.

    As in TrackEval, animals and predictions of a frame are paired by similarity times how much their tracks go
    together over the whole video; a pair counts at a threshold if its similarity reaches it.

    Args:
        pairs: What is compared.
        matches: Its distances and gate.
        truth: Track number of every animal.
        predicted: Track number of every prediction.
    """
    similarities = [np.maximum(0.0, 1 - distances / (2 * matches.gate_px)) for distances in matches.distances]
    lengths, predicted_lengths = np.bincount(truth), np.bincount(predicted)
    together = np.zeros((len(lengths), len(predicted_lengths)))
    for (t, p), similarity in zip(pairs.rows(), similarities, strict=True):
        either = similarity.sum(axis=0)[None] + similarity.sum(axis=1)[:, None] - similarity
        shared = np.divide(similarity, either, out=np.zeros_like(similarity), where=either > 0)
        together[np.ix_(truth[t], predicted[p])] += shared
    alignment = together / (lengths[:, None] + predicted_lengths[None] - together)
    paired: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    for (t, p), similarity in zip(pairs.rows(), similarities, strict=True):
        rows, columns = linear_sum_assignment(-alignment[np.ix_(truth[t], predicted[p])] * similarity)
        paired.append((truth[t][rows], predicted[p][columns], similarity[rows, columns]))
    animals, tracks, similarity = (np.concatenate(column) for column in zip(*paired, strict=True))
    scores = [
        _at_threshold(animals[reached], tracks[reached], lengths, predicted_lengths)
        for reached in (similarity >= alpha - np.finfo(float).eps for alpha in _ALPHAS)
    ]
    hota, deta, assa = np.mean([(np.sqrt(det * ass), det, ass) for det, ass in scores], axis=0).tolist()
    return hota, deta, assa


def _at_threshold(
    animals: NDArray[np.int64],
    tracks: NDArray[np.int64],
    lengths: NDArray[np.int64],
    predicted_lengths: NDArray[np.int64],
) -> tuple[float, float]:
    """Return detection and association accuracy of pairs of tracks, one a match."""
    n = len(animals)
    if not n:
        return 0.0, 0.0
    combinations, counts = np.unique(np.stack([animals, tracks]), axis=1, return_counts=True)
    either = lengths[combinations[0]] + predicted_lengths[combinations[1]] - counts
    detection = n / (lengths.sum() + predicted_lengths.sum() - n)
    return float(detection), float((counts * counts / either).sum() / n)
