"""Labels that a stride-4 network pulled to its grid are found and put back; others are left alone."""

import numpy as np
import pytest

from models.training.grid_pull import find_grid_pull, undo_grid_pull

STRIDE, SIGMA_CELLS = 4, 1.9


def pulled(true: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """What SLEAP's integral refinement makes of points: the 5×5 cells around the peak of a wide Gaussian."""
    cells = (true - corner) / STRIDE
    peak = np.rint(cells)
    reach = np.arange(-2, 3)
    weights = np.exp(-((reach - (cells - peak)[..., None]) ** 2) / (2 * SIGMA_CELLS**2))
    return (peak + (weights * reach).sum(-1) / weights.sum(-1)) * STRIDE + corner


@pytest.fixture
def labels():
    rng = np.random.default_rng(5)
    true = rng.uniform(100, 900, (600, 1, 2)) + rng.uniform(-60, 60, (600, 13, 2))
    labelled = pulled(true, rng.uniform(0, 100, (600, 1, 2)))
    labelled[rng.random((600, 13)) < 0.05] = np.nan
    return true.astype(np.float32), labelled.astype(np.float32)


def test_the_stride_of_the_grid_is_found(labels):
    true, labelled = labels
    found = find_grid_pull(labelled)
    assert found is not None
    assert found.stride_px == STRIDE
    assert found.concentration > 0.7
    assert find_grid_pull(true) is None


def test_undoing_takes_most_of_the_error_away_and_no_bias_in(labels):
    true, labelled = labels
    error_before = np.linalg.norm(labelled - true, axis=-1)
    after = undo_grid_pull(labelled, STRIDE) - true
    assert np.nanmedian(error_before) > 0.8
    assert np.nanmedian(np.linalg.norm(after, axis=-1)) < 0.35 * np.nanmedian(error_before)
    assert np.abs(np.nanmean(after, axis=(0, 1))).max() < 0.02


def test_a_grid_that_all_instances_share_is_found_better_than_one_of_their_own(labels):
    true = labels[0]
    rng = np.random.default_rng(7)
    noise = rng.normal(0, 0.2, true.shape)  # px; blurs the phase of a single instance

    def common_shift_px(corner: np.ndarray) -> float:
        labelled = (pulled(true, corner) + noise).astype(np.float32)
        return float(np.median(np.abs((undo_grid_pull(labelled, STRIDE) - true).mean(axis=1))))

    own, shared = common_shift_px(rng.uniform(0, 100, (600, 1, 2))), common_shift_px(np.array([0.5, 2.5]))
    assert shared < 0.8 * own


def test_what_is_not_labelled_stays_so(labels):
    _, labelled = labels
    np.testing.assert_array_equal(np.isnan(undo_grid_pull(labelled, STRIDE)), np.isnan(labelled))


def test_instances_with_few_nodes_come_back_as_they_are():
    few = np.array([[[10.3, 20.1], [31.7, 5.2], [np.nan, np.nan]]], np.float32)
    np.testing.assert_array_equal(undo_grid_pull(few, STRIDE), few)
    assert find_grid_pull(few) is None


def test_wild_points_do_not_move_the_grid(labels):
    true, labelled = labels
    rng = np.random.default_rng(6)
    wild = rng.random((600, 13)) < 0.05
    labelled[wild] += rng.uniform(-20, 20, (600, 13, 2))[wild].astype(np.float32)
    after = np.linalg.norm(undo_grid_pull(labelled, STRIDE) - true, axis=-1)
    assert np.nanmedian(after[~wild]) < 0.4
