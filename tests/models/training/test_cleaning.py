"""Labels that jump away from their path and back are found; an animal that moves is not blamed for it."""

import numpy as np
import pytest

from models.labels import Labels
from models.skeleton import Skeleton
from models.training.cleaning import agreeing, disagreement


def path(n_frames=30, n_nodes=2):
    """Nodes that move along a parabola, 3 px a frame at most."""
    t = np.arange(n_frames)[:, None]
    return np.stack([3.0 * t + np.arange(n_nodes), 0.02 * t**2 + np.zeros(n_nodes)], axis=-1)


def test_a_steady_path_agrees_with_itself():
    found = disagreement(path())
    assert np.isnan(found[[0, -1]]).all()  # no neighbours on both sides
    assert np.nanmax(found) < 0.35


def test_a_jump_stands_out_and_its_neighbours_do_not():
    jumped = path()
    jumped[12, 1] += (0, 25)
    found = disagreement(jumped)
    assert found[12, 1] == pytest.approx(25, abs=0.5)
    found[12, 1] = 0
    # Four midpoints, one of them wrong by half the jump: the median keeps out of it.
    assert np.nanmax(found) < 1.0


def test_missing_labels_and_missing_neighbours_say_nothing():
    gaps = path()
    gaps[10:20, 0] = np.nan
    found = disagreement(gaps)
    assert np.isnan(found[10:20, 0]).all()
    assert np.isnan(disagreement(path(2))).all()


def test_tracks_are_followed_through_frames_in_any_row():
    n = 20
    one, two = path(n), path(n) + 200
    one[8, 0] += (0, 40)
    rows = [(t, k, (one, two)[k][t]) for t in range(n) for k in ((0, 1) if t % 2 else (1, 0))]
    labels = Labels.from_arrays(
        Skeleton(("a", "b")),
        [t for t, _, _ in rows],
        np.stack([points for _, _, points in rows]),
        tracks=[k for _, k, _ in rows],
        track_names=("one", "two"),
    )
    agree = agreeing(labels, np.array([10.0, np.inf]))
    ((row, node),) = np.argwhere(~agree)
    assert (labels.frame_ids[row], labels.tracks[row], node) == (8, 0, 0)
    assert agreeing(labels, np.array([50.0, 50.0])).all()


def test_instances_without_a_track_are_kept():
    labels = Labels.from_arrays(Skeleton(("a",)), [0, 1, 2], [[[0, 0]], [[99, 99]], [[0, 0]]])
    assert agreeing(labels, np.array([1.0])).all()
