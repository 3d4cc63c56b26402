import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluation import EvaluationOptions, evaluate
from models.evaluation.calibration import N_BINS, NO_TRACKS, NOT_SAID, NOTHING_MATCHED, calibrate, still_the_same

NAN = math.nan
HERE, THERE = (0, 0), (300, 0)

SAME = {
    "always itself": ([5, 5, 5], [0, 0, 0], [True, True, True]),
    "goes over": ([5, 5, 5], [0, 0, 1], [True, True, False]),
    "comes back": ([5, 5, 5], [0, 1, 0], [True, False, True]),
    # Of 10 frames 9 are of another animal than the first: the confidence is about the first.
    "goes over early": ([5] * 10, [0] + [1] * 9, [True] + [False] * 9),
    "two that swap": ([5, 6, 5, 6], [0, 1, 1, 0], [True, True, False, False]),
    "another track of the same animal": ([5, 6, 7], [0, 0, 0], [True, True, True]),
    "nothing": ([], [], []),
}


@pytest.mark.parametrize(("tracks", "animals", "expected"), SAME.values(), ids=SAME)
def test_a_row_is_right_if_its_animal_is_the_first_of_its_track(tracks, animals, expected):
    assert still_the_same(np.array(tracks, int), np.array(animals, int)).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_the_first_of_a_track_as_a_loop_finds_it(rows):
    first = {}
    expected = [first.setdefault(track, animal) == animal for track, animal in rows]
    tracks, animals = np.array(rows, int).reshape(-1, 2).T
    assert still_the_same(tracks, animals).tolist() == expected


# Worked out by hand: the number of instances, mean confidence and share right of each bin that has some; the error.
CALIBRATED = {
    "sure and right": ([1.0, 1.0], [True, True], {9: (2, 1.0, 1.0)}, 0.0),
    "sure and wrong": ([1.0, 1.0], [False, False], {9: (2, 1.0, 0.0)}, 1.0),
    "half sure, half right": ([0.5, 0.5], [True, False], {5: (2, 0.5, 0.5)}, 0.0),
    "too sure": ([0.95, 0.95], [True, False], {9: (2, 0.95, 0.5)}, 0.45),
    "not sure enough": ([0.35], [True], {3: (1, 0.35, 1.0)}, 0.65),
    "both, which do not cancel out": ([0.8, 0.2], [False, True], {2: (1, 0.2, 1.0), 8: (1, 0.8, 0.0)}, 0.8),
    "weighed by instances": ([0.95] * 3 + [0.5], [True] * 4, {5: (1, 0.5, 1), 9: (3, 0.95, 1)}, (3 * 0.05 + 0.5) / 4),
    "ends of bins": ([0.0, 0.1, 0.9, 1.0], [True] * 4, {0: (1, 0, 1), 1: (1, 0.1, 1), 9: (2, 0.95, 1)}, 2 / 4),
}


@pytest.mark.parametrize(("confidence", "right", "bins", "error"), CALIBRATED.values(), ids=CALIBRATED)
def test_calibration_by_hand(confidence, right, bins, error):
    found = calibrate(confidence, right)
    assert {k: (b.n, b.confidence, b.right) for k, b in enumerate(found.bins) if b.n} == {
        k: pytest.approx(one) for k, one in bins.items()
    }
    assert found.expected_calibration_error == pytest.approx(error)
    assert (found.n, found.right) == (len(right), np.mean(right))
    assert found.confidence == pytest.approx(np.mean(confidence))


ROWS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(ROWS)
def test_calibration_as_loops_find_it(rows):
    found = calibrate(*zip(*rows, strict=True))
    error = 0.0
    for number, one in enumerate(found.bins):
        inside = [row for row in rows if min(int(row[0] * 10), 9) == number]
        assert (one.n, one.low, one.high) == (len(inside), number / 10, (number + 1) / 10)
        if inside:
            sure, right = sum(row[0] for row in inside) / one.n, sum(row[1] for row in inside) / one.n
            assert (one.confidence, one.right) == pytest.approx((sure, right))
            error += one.n / len(rows) * abs(sure - right)
        else:
            assert math.isnan(one.confidence)
            assert math.isnan(one.right)
    assert found.expected_calibration_error == pytest.approx(error)
    assert abs(found.confidence - found.right) - 1e-9 <= found.expected_calibration_error <= 1 + 1e-9


def test_confidences_that_are_true_have_a_small_error():
    chance = np.random.default_rng(0)
    confidence = chance.uniform(0, 1, 200_000)
    true = calibrate(confidence, chance.uniform(0, 1, 200_000) < confidence)
    too_sure = calibrate(np.sqrt(confidence), chance.uniform(0, 1, 200_000) < confidence)
    assert true.expected_calibration_error < 0.01
    # The mean of √c − c over c from 0 to 1 is 2/3 − 1/2.
    assert too_sure.expected_calibration_error == pytest.approx(1 / 6, abs=0.01)


def test_json():
    values = calibrate([0.95], [True]).as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert len(values["bins"]) == N_BINS
    assert values["bins"][0] == {"low": 0.0, "high": 0.1, "n": 0, "confidence": None, "right": None}
    assert values["bins"][9] == {"low": 0.9, "high": 1.0, "n": 1, "confidence": 0.95, "right": 1.0}


def judged(animals, truth, predicted, confidence):
    found = animals(*predicted, identity_confidence=confidence, source="found")
    return evaluate(animals(*truth), found, EvaluationOptions(gate_px=10.0))


TWO = [(f, *place, k) for f in range(3) for k, place in enumerate((HERE, THERE))]
# Rows of the predictions with their confidence; the instances that count, as confidence → right.
JUDGED = {
    "right": ([(0, *HERE, 1), (1, *HERE, 1)], [1.0, 0.8], [(1.0, True), (0.8, True)]),
    "goes over": ([(0, *HERE, 1), (1, *THERE, 1)], [1.0, 0.6], [(1.0, True), (0.6, False)]),
    "a tracked one that is no animal": ([(0, *HERE, 1), (1, 900, 900, 1)], [1.0, 0.3], [(1.0, True)]),
    "one without a track": ([(0, *HERE, 1), (1, *HERE, -1)], [1.0, NAN], [(1.0, True)]),
    # Its track began there all the same.
    "one without a confidence": ([(0, *HERE, 1), (1, *THERE, 1)], [NAN, 0.4], [(0.4, False)]),
    "a second track": ([(0, *HERE, 1), (1, *HERE, 2)], [1.0, 0.7], [(1.0, True), (0.7, True)]),
}


@pytest.mark.parametrize(("predicted", "confidence", "expected"), JUDGED.values(), ids=JUDGED)
def test_which_instances_count(animals, predicted, confidence, expected):
    evaluation = judged(animals, TWO, predicted, confidence)
    assert evaluation.calibration.as_dict() == calibrate(*zip(*expected, strict=True)).as_dict()
    assert evaluation.calibration_note is None


def test_animals_without_a_track_do_not_count(animals):
    truth = [(0, *HERE, 0), (1, *HERE), (2, *HERE, 0)]
    found = judged(animals, truth, [(f, *HERE, 0) for f in range(3)], [1.0, 0.2, 0.6])
    assert found.calibration.as_dict() == calibrate([1.0, 0.6], [True, True]).as_dict()


NONE = {
    "no tracks in the truth": ([row[:3] for row in TWO], [(0, *HERE, 0)], [1.0], NO_TRACKS),
    "no tracks in the predictions": (TWO, [(0, *HERE)], None, NO_TRACKS),
    "another tracker": (TWO, [(0, *HERE, 0)], None, NOT_SAID),
    "nothing but an invented animal": (TWO, [(0, 900, 900, 0)], [1.0], NOTHING_MATCHED),
    "none of the frames with a confidence": (TWO, [(0, *HERE, 0), (1, 900, 900, 0)], [NAN, 1.0], NOTHING_MATCHED),
}


@pytest.mark.parametrize(("truth", "predicted", "confidence", "note"), NONE.values(), ids=NONE)
def test_why_there_is_none(animals, truth, predicted, confidence, note):
    evaluation = judged(animals, truth, predicted, confidence)
    assert (evaluation.calibration, evaluation.calibration_note) == (None, note)
    values = evaluation.as_dict()
    assert (values["calibration"], values["calibration_note"]) == (None, note)
