import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.evaluation import EvaluationOptions, evaluate
from models.evaluation.identity import own_tracks

HERE, THERE = (0, 0), (300, 0)


def scores(identity):
    names = ("hota", "deta", "assa", "mota", "idf1", "switches", "fragments", "accuracy")
    return {name: getattr(identity, name) for name in names}


# Worked out by hand from the definitions.
TABLE = {
    "all right": (
        [(f, *HERE, 0) for f in range(4)],
        [(f, *HERE, 1) for f in range(4)],
        {"hota": 1, "deta": 1, "assa": 1, "mota": 1, "idf1": 1, "switches": 0, "fragments": 0, "accuracy": 1},
    ),
    # Every match: 2 of its kind, 4 + 2 − 2 frames with either track.
    "another track from the middle on": (
        [(f, *HERE, 0) for f in range(4)],
        [(f, *HERE, f // 2) for f in range(4)],
        {
            "hota": 0.5**0.5,
            "deta": 1,
            "assa": 0.5,
            "mota": 0.75,
            "idf1": 0.5,
            "switches": 1,
            "fragments": 0,
            "accuracy": 0.5,
        },
    ),
    # 3 matches, 1 missed, 1 extra; association (1 + 1 + 1/2) / 3.
    "one missed, one invented": (
        [(0, *HERE, 0), (0, *THERE, 1), (1, *HERE, 0), (1, *THERE, 1)],
        [(0, *HERE, 0), (0, *THERE, 1), (1, *HERE, 0), (1, 900, 900, 2)],
        {"hota": 0.5**0.5, "deta": 0.6, "assa": 2.5 / 3, "mota": 0.5, "idf1": 0.75, "switches": 0, "accuracy": 1},
    ),
    # 0.56 gates away: similar by 0.72, which 14 of the 19 thresholds accept.
    "all somewhat off": (
        [(f, *HERE, 0) for f in range(4)],
        [(f, 5.6, 0, 0) for f in range(4)],
        {"hota": 14 / 19, "deta": 14 / 19, "assa": 14 / 19, "mota": 1, "idf1": 1, "switches": 0, "accuracy": 1},
    ),
    "nothing found": (
        [(f, *HERE, 0) for f in range(4)],
        [(f, *THERE, 0) for f in range(4)],
        {"hota": 0, "deta": 0, "assa": 0, "mota": -1, "idf1": 0, "switches": 0, "accuracy": 0},
    ),
    # A lost animal that comes back under another track has switched.
    "another track after a gap": (
        [(f, *HERE, 0) for f in range(3)],
        [(0, *HERE, 0), (2, *HERE, 1)],
        {"mota": 1 - 2 / 3, "switches": 1, "fragments": 1, "idf1": 2 / 5, "accuracy": 0.5},
    ),
    "the same track after a gap": (
        [(f, *HERE, 0) for f in range(3)],
        [(0, *HERE, 0), (2, *HERE, 0)],
        {"mota": 1 - 1 / 3, "switches": 0, "fragments": 1, "idf1": 4 / 5, "accuracy": 1},
    ),
}


@pytest.mark.parametrize(("truth", "predicted", "expected"), TABLE.values(), ids=TABLE)
def test_by_hand(animals, truth, predicted, expected):
    found = evaluate(animals(*truth), animals(*predicted), EvaluationOptions(gate_px=10.0)).identity
    assert {name: value for name, value in scores(found).items() if name in expected} == pytest.approx(expected)


# Frame by frame, an animal a word: x = found, - = missed, . = not in the truth.
FRAGMENTS = {
    "always found": (["xxxx"], 0),
    "one gap": (["x-x"], 1),
    "one long gap": (["x---x"], 1),
    "two gaps": (["x-x-x"], 2),
    "found late": (["--xx"], 0),
    "lost for good": (["xx--"], 0),
    "never found": (["----"], 0),
    "found once": (["--x--"], 0),
    "not there": (["x.x"], 0),
    "not there and then missed": (["x.-x"], 1),
    "missed, not there, missed": (["x-.-x"], 1),
    "away between two gaps": (["x-x.x-x"], 2),
    "two animals in turn": (["x-x-x", "-x-x-"], 3),
    "nothing found in a frame": (["x-x", "x-x"], 2),
}


def labels_of(animals, words, tracks=lambda _animal, _frame: 0):
    """Animals far apart, and predictions of those that are found; one that is no animal makes every frame a frame."""
    at = [(frame, 300.0 * k, 0.0, k, mark) for k, word in enumerate(words) for frame, mark in enumerate(word)]
    names = [f"track_{k}" for k in range(20)]
    truth = animals(*(row[:4] for row in at if row[4] != "."), track_names=names)
    found = [(*row[:3], 4 * row[3] + tracks(row[3], row[0])) for row in at if row[4] == "x"]
    found += [(frame, 0.0, 900.0, 19) for frame in range(max(map(len, words)))]
    return truth, animals(*found, track_names=names)


def fragments(words):
    return sum(len(re.findall("(?<=x)-+(?=x)", word.replace(".", ""))) for word in words)


@pytest.mark.parametrize(("words", "expected"), FRAGMENTS.values(), ids=FRAGMENTS)
def test_fragments_by_hand(animals, words, expected):
    found = evaluate(*labels_of(animals, words), EvaluationOptions(gate_px=10.0)).identity
    assert (found.fragments, fragments(words)) == (expected, expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text("x-.", min_size=1, max_size=12), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_fragments_are_the_gaps_of_every_animal_whatever_the_tracks(animals, words, chance):
    words[0] += "x"
    truth, predicted = labels_of(animals, words, lambda *_: chance.randrange(4))
    assert evaluate(truth, predicted, EvaluationOptions(gate_px=10.0)).identity.fragments == fragments(words)


def test_names_that_mean_something_and_names_that_do_not(animals):
    truth = animals((0, *HERE, 0), (0, *THERE, 1), (1, *HERE, 0), (1, *THERE, 1), track_names=("male", "female"))
    swapped = ((0, *HERE, 1), (0, *THERE, 0), (1, *HERE, 1), (1, *THERE, 0))
    same = evaluate(truth, animals(*swapped, track_names=("male", "female"))).identity
    assert (same.accuracy_by_name, same.accuracy) == (0.0, 1.0)
    assert same.renamed == {"female": "male", "male": "female"}
    others = evaluate(truth, animals(*swapped, track_names=("track_0", "track_1"))).identity
    assert (others.accuracy_by_name, others.accuracy) == (None, 1.0)


@pytest.mark.parametrize("which", ["truth", "predicted"])
def test_without_tracks_there_is_no_identity(animals, which):
    tracked, untracked = animals((0, *HERE, 0)), animals((0, *HERE))
    pair = (untracked, tracked) if which == "truth" else (tracked, untracked)
    assert evaluate(*pair).identity is None


def test_an_instance_without_a_track_is_a_track_of_its_own(animals):
    labels = evaluate(
        animals((0, *HERE, 0)), animals((0, *HERE, 0), (0, *THERE), (1, *HERE), (1, *THERE, 0), frames=[0, 1])
    )
    assert own_tracks(labels.pairs.predicted).tolist() == [0, 1]
    truth = animals((0, *HERE, 0), (1, *HERE, 0), (2, *HERE, 0))
    found = evaluate(truth, animals((0, *HERE, 0), (1, *HERE), (2, *HERE))).identity
    assert (found.switches, found.idf1, found.accuracy) == (2, pytest.approx(1 / 3), pytest.approx(1 / 3))


def test_of_two_instances_with_one_track_the_better_keeps_it(animals):
    predicted = animals((0, *THERE, 0), (0, *HERE, 0), scores=[0.2, 0.9])
    pairs = evaluate(animals((0, *HERE, 0)), predicted).pairs
    assert own_tracks(pairs.predicted).tolist() == [1, 0]


def test_an_animal_keeps_its_track_while_it_is_inside_the_gate(animals):
    """The other prediction is nearer in the second frame: to keep the first one is no switch."""
    truth = animals((0, 0, 0, 0), (1, 0, 0, 0))
    predicted = animals((0, 0, 0, 0), (1, 6, 0, 0), (1, 1, 0, 1))
    assert evaluate(truth, predicted, EvaluationOptions(gate_px=10.0)).identity.switches == 0


def test_a_track_is_kept_by_the_animal_that_had_it_last(animals):
    """The first animal vanishes, the second takes its track; when both are there it stays with the second."""
    truth = animals((0, 0, 0, 0), (1, 4, 0, 1), (2, 0, 0, 0), (2, 4, 0, 1))
    predicted = animals((0, 0, 0, 0), (1, 4, 0, 0), (2, 3, 0, 0), (2, 1, 0, 1))
    assert evaluate(truth, predicted, EvaluationOptions(gate_px=10.0)).identity.switches == 1


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_motmetrics(walk, seed):
    motmetrics = pytest.importorskip("motmetrics")
    evaluation = evaluate(*walk(seed), EvaluationOptions(gate_px=12.0))
    truth, predicted = own_tracks(evaluation.pairs.truth), own_tracks(evaluation.pairs.predicted)
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for (t, p), distances in zip(evaluation.pairs.rows(), evaluation.matches.distances, strict=True):
        accumulator.update(truth[t], predicted[p], np.where(distances < 12.0, distances, np.nan))
    names = ["mota", "idf1", "num_switches", "num_fragmentations"]
    expected = motmetrics.metrics.create().compute(accumulator, metrics=names, name="all").iloc[0]
    found = evaluation.identity
    assert (found.mota, found.idf1, found.switches, found.fragments) == pytest.approx(tuple(expected[names]))
    assert found.fragments > 0


def trackeval_data(evaluation):
    truth, predicted = own_tracks(evaluation.pairs.truth), own_tracks(evaluation.pairs.predicted)
    rows, gate_px = list(evaluation.pairs.rows()), evaluation.matches.gate_px
    return {
        "num_timesteps": len(rows),
        "num_gt_dets": len(truth),
        "num_tracker_dets": len(predicted),
        "num_gt_ids": truth.max() + 1,
        "num_tracker_ids": predicted.max() + 1,
        "gt_ids": [truth[t] for t, _ in rows],
        "tracker_ids": [predicted[p] for _, p in rows],
        "similarity_scores": [
            np.maximum(0, 1 - distances / (2 * gate_px)) for distances in evaluation.matches.distances
        ],
    }


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_trackeval(walk, seed):
    trackeval = pytest.importorskip("trackeval.metrics.hota")
    evaluation = evaluate(*walk(seed), EvaluationOptions(gate_px=12.0))
    expected = trackeval.HOTA().eval_sequence(trackeval_data(evaluation))
    found = evaluation.identity
    assert (found.hota, found.deta, found.assa) == pytest.approx(
        tuple(expected[name].mean() for name in ("HOTA", "DetA", "AssA"))
    )


@pytest.mark.parametrize("seed", range(6))
def test_fragments_equal_trackevals_where_no_animal_leaves_the_truth(animals, seed):
    trackeval = pytest.importorskip("trackeval.metrics.clear")
    chance = np.random.default_rng(seed)
    words = ["".join(chance.choice(["x", "-"], 40, p=(0.7, 0.3))) for _ in range(4)]
    truth, predicted = labels_of(animals, words, lambda *_: chance.integers(2))
    evaluation = evaluate(truth, predicted, EvaluationOptions(gate_px=10.0))
    expected = trackeval.CLEAR().eval_sequence(trackeval_data(evaluation))
    found = evaluation.identity
    assert (found.fragments, found.switches) == (expected["Frag"], expected["IDSW"])
    assert found.mota == pytest.approx(expected["MOTA"])


def test_trackevals_fragments_count_what_leaves_the_truth_too(animals):
    """What `ClearCounts` says of the difference."""
    trackeval = pytest.importorskip("trackeval.metrics.clear")
    evaluation = evaluate(*labels_of(animals, ["x.x", "xxx"]), EvaluationOptions(gate_px=10.0))
    assert trackeval.CLEAR().eval_sequence(trackeval_data(evaluation))["Frag"] == 1
    assert evaluation.identity.fragments == 0
