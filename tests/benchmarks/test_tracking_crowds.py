"""How crowds are scored, and the command line."""

import json
import sys

import numpy as np
import pytest

from benchmarks import tracking_crowds
from benchmarks.crowds import CrowdFrame, simulate
from benchmarks.tracking_crowds import STAGES, TRACKERS, reliability, score, tracker_for
from models.poses import Poses


def crowd(*truth, n_animals=2):
    """Frames that have only a truth."""
    nobody = Poses(np.zeros((0, 1, 2), np.float32), np.zeros((0, 1), np.float32), np.zeros(0, np.float32))
    return [CrowdFrame(k, nobody, np.array(who), n_animals) for k, who in enumerate(truth)]


@pytest.mark.parametrize(
    ("truth", "given", "expected"),
    [
        ([[0, 1], [0, 1]], [[5, 6], [5, 6]], (1.0, 0)),
        ([[0, 1], [1, 0]], [[5, 6], [6, 5]], (1.0, 0)),
        ([[0, 1], [0, 1]], [[5, 6], [6, 5]], (0.5, 2)),
        ([[0, 1], [0]], [[5, 6], [5]], (6 / 7, 0)),
        ([[0, -1], [0, 1]], [[5, 6], [5, 7]], (6 / 8, 0)),
        ([[0, 1], [0, 1]], [[5, -1], [5, 6]], (6 / 7, 0)),
        ([[0, 1]], [[-1, -1]], (0.0, 0)),
    ],
    ids=["right", "order", "swapped", "missed", "false", "not tracked", "nothing"],
)
def test_scores_by_hand(truth, given, expected):
    answers = iter(given)
    found = score(crowd(*truth), lambda _: (np.array(tracks := next(answers)), np.full(len(tracks), 0.5)))
    assert (found.idf1, found.switches) == (pytest.approx(expected[0]), expected[1])


def test_confidence_is_compared_with_the_animal_that_a_track_began_with():
    answers = iter([([5, 6], [1.0, 1.0]), ([6, 5], [0.95, 0.35]), ([6, 5], [0.55, 0.35])])
    found = score(crowd([0, 1], [0, 1], [0, 1]), lambda _: tuple(np.array(part) for part in next(answers)))
    assert found.right.tolist() == [True, True, False, False, False, False]
    assert (found.switches, found.sure_switches) == (2, 1)
    summary = reliability([found])
    assert [(row["n"], row["confidence"], row["right"]) for row in summary["bins"]] == [
        (2, pytest.approx(0.35), 0.0),
        (1, pytest.approx(0.55), 0.0),
        (3, pytest.approx(2.95 / 3), pytest.approx(2 / 3)),
    ]
    assert summary["expected_calibration_error"] == pytest.approx((2 * 0.35 + 0.55 + 0.95) / 6)
    assert tracking_crowds.reliability_text(summary).endswith("error 0.367; confidence below 0.9 at 1 of 2 switches")


@pytest.mark.parametrize("name", [*TRACKERS, *STAGES[1:]])
def test_two_animals_that_hardly_meet_are_followed_by_every_tracker(name):
    frames = list(simulate("cross", 2, seconds=1.0, seed=0))
    assert score(frames, tracker_for(name, "cross", 2)).idf1 > 0.9


def test_the_live_tracker_is_better_in_a_crowd(monkeypatch):
    scenes = ("huddle", "occlude")
    monkeypatch.setattr(tracking_crowds, "SCENES", scenes)
    rows = tracking_crowds.measure(5.0, [0], sizes=(8,))["rows"]
    assert [(row["scene"], row["tracker"]) for row in rows] == [(s, t) for s in scenes for t in TRACKERS]
    lines = tracking_crowds.table(rows).splitlines()
    assert [line.split()[0] for line in lines] == ["IDF1", *scenes]
    live = {row["scene"]: row["idf1"] for row in rows if row["tracker"] == "live"}
    assert all(row["idf1"] < live[row["scene"]] for row in rows if row["tracker"] != "live")


def test_the_stages_are_compared_among_themselves(monkeypatch):
    monkeypatch.setattr(tracking_crowds, "SCENES", ("cross",))
    rows = tracking_crowds.measure(0.5, [0], sizes=(2,), trackers=STAGES)["rows"]
    assert tracking_crowds.table(rows).splitlines()[0].split() == ["IDF1", "(switches)", *STAGES]


@pytest.mark.parametrize(("live", "code"), [(0.9, 0), (0.8, 1)])
def test_the_exit_code_says_whether_the_live_tracker_is_better_everywhere(monkeypatch, capsys, live, code):
    rows = [
        {"scene": "cross", "animals": 2, "tracker": name, "idf1": live if name == "live" else 0.8, "switches": 0}
        for name in TRACKERS
    ]
    empty = {"expected_calibration_error": 0.0, "switches": 0, "sure_switches": 0, "bins": []}
    monkeypatch.setattr(tracking_crowds, "measure", lambda *_, **__: {"rows": rows, "reliability": empty})
    monkeypatch.setattr(sys, "argv", ["tracking_crowds", "--json"])
    assert tracking_crowds.main() == code
    out = capsys.readouterr()
    assert json.loads(out.out)["rows"] == rows
    assert ("not better than sleap: cross 2" in out.err) == bool(code)
