"""How found animals are counted against labelled ones."""

import numpy as np
import pytest

from models.training.evaluation import _Tally

NODES = ("a", "b")
ONE = [[10.0, 10.0], [20.0, 10.0]]
TWO = [[50.0, 50.0], [60.0, 50.0]]
NAN = [np.nan, np.nan]


def summary(truth, found):
    tally = _Tally(gate_px=15.0)
    tally.add(np.array(truth, np.float32).reshape(-1, 2, 2), np.array(found, np.float32).reshape(-1, 2, 2))
    return tally.summary(NODES)


@pytest.mark.parametrize(
    ("truth", "found", "found_missed_extra"),
    [
        ([ONE, TWO], [TWO, ONE], (2, 0, 0)),
        ([ONE, TWO], [TWO], (1, 1, 0)),
        ([ONE], [TWO, ONE], (1, 0, 1)),
        ([ONE], [TWO], (0, 1, 1)),
        ([ONE], [], (0, 1, 0)),
        ([], [ONE], (0, 0, 1)),
        ([ONE, TWO], [ONE, ONE], (1, 1, 1)),
        ([[NAN, NAN], TWO], [TWO], (1, 0, 0)),
        ([[ONE[0], NAN]], [[NAN, ONE[1]]], (0, 1, 1)),
    ],
    ids=[
        "any order",
        "missed",
        "extra",
        "elsewhere",
        "nothing found",
        "nothing there",
        "found twice",
        "not labelled",
        "nothing in common",
    ],
)
def test_animals_are_counted(truth, found, found_missed_extra):
    got = summary(truth, found)
    assert (got["animals_found"], got["animals_missed"], got["extra_instances"]) == found_missed_extra
    assert got["complete_fraction"] == (found_missed_extra[1:] == (0, 0))


def test_distances_are_per_node_and_unreported_nodes_are_counted():
    got = summary([ONE, TWO], [[[13.0, 14.0], NAN], [[50.0, 51.0], [60.0, 50.0]]])
    assert got["nodes"]["a"] == {"n": 2, "median_px": 3.0, "p95_px": 4.8, "p99_px": 4.96, "not_reported_fraction": 0.0}
    assert got["nodes"]["b"] == {"n": 1, "median_px": 0.0, "p95_px": 0.0, "p99_px": 0.0, "not_reported_fraction": 0.5}


def test_nodes_without_labels_have_no_percentiles():
    got = summary([[ONE[0], NAN]], [ONE])
    assert got["nodes"]["b"] == {
        "n": 0,
        "median_px": None,
        "p95_px": None,
        "p99_px": None,
        "not_reported_fraction": None,
    }
