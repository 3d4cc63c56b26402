"""How crowds are scored, and the command line."""

import json
import sys

import numpy as np
import pytest

from benchmarks import tracking_crowds
from benchmarks.crowds import CrowdFrame, simulate
from benchmarks.tracking_crowds import TRACKERS, Result, score, tracker_for
from models.poses import Poses


def crowd(*truth, n_animals=2):
    """Frames that have only a truth."""
    nobody = Poses(np.zeros((0, 1, 2), np.float32), np.zeros((0, 1), np.float32), np.zeros(0, np.float32))
    return [CrowdFrame(k, nobody, np.array(who), n_animals) for k, who in enumerate(truth)]


@pytest.mark.parametrize(
    ("truth", "given", "expected"),
    [
        ([[0, 1], [0, 1]], [[5, 6], [5, 6]], Result(1.0, 0)),
        ([[0, 1], [1, 0]], [[5, 6], [6, 5]], Result(1.0, 0)),
        ([[0, 1], [0, 1]], [[5, 6], [6, 5]], Result(0.5, 2)),
        ([[0, 1], [0]], [[5, 6], [5]], Result(6 / 7, 0)),
        ([[0, -1], [0, 1]], [[5, 6], [5, 7]], Result(6 / 8, 0)),
        ([[0, 1], [0, 1]], [[5, -1], [5, 6]], Result(6 / 7, 0)),
        ([[0, 1]], [[-1, -1]], Result(0.0, 0)),
    ],
    ids=["right", "order", "swapped", "missed", "false", "not tracked", "nothing"],
)
def test_scores_by_hand(truth, given, expected):
    answers = iter(given)
    assert score(crowd(*truth), lambda _: np.array(next(answers))) == Result(
        pytest.approx(expected.idf1), expected.switches
    )


@pytest.mark.parametrize("name", TRACKERS)
def test_two_animals_that_hardly_meet_are_followed_by_every_tracker(name):
    frames = list(simulate("cross", 2, seconds=1.0, seed=0))
    assert score(frames, tracker_for(name, "cross", 2)).idf1 > 0.9


def test_the_live_tracker_is_better_in_a_crowd(monkeypatch):
    scenes = ("huddle", "occlude")
    monkeypatch.setattr(tracking_crowds, "SCENES", scenes)
    rows = tracking_crowds.measure(5.0, [0], sizes=(8,))
    assert [(row["scene"], row["tracker"]) for row in rows] == [(s, t) for s in scenes for t in TRACKERS]
    lines = tracking_crowds.table(rows).splitlines()
    assert [line.split()[0] for line in lines] == ["IDF1", *scenes]
    live = {row["scene"]: row["idf1"] for row in rows if row["tracker"] == "live"}
    assert all(row["idf1"] < live[row["scene"]] for row in rows if row["tracker"] != "live")


@pytest.mark.parametrize(("live", "code"), [(0.9, 0), (0.8, 1)])
def test_the_exit_code_says_whether_the_live_tracker_is_better_everywhere(monkeypatch, capsys, live, code):
    rows = [
        {"scene": "cross", "animals": 2, "tracker": name, "idf1": live if name == "live" else 0.8, "switches": 0}
        for name in TRACKERS
    ]
    monkeypatch.setattr(tracking_crowds, "measure", lambda *_: rows)
    monkeypatch.setattr(sys, "argv", ["tracking_crowds", "--json"])
    assert tracking_crowds.main() == code
    out = capsys.readouterr()
    assert json.loads(out.out)["rows"] == rows
    assert ("not better than sleap: cross 2" in out.err) == bool(code)
