import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.tracking.similarity import box_overlap, boxes_apart, keypoint_similarity, pair_cost
from realtime.tracking.work import SIMILARITIES

NAN = (np.nan, np.nan)
BODY = np.array([(0, 0), (20, 0), (40, 0), (20, 10)], dtype=np.float64)


def _moved(dx: float, dy: float) -> np.ndarray:
    return BODY + np.array([dx, dy])


def _without(pose: np.ndarray, *nodes: int) -> np.ndarray:
    pose = pose.copy()
    pose[list(nodes)] = np.nan
    return pose


@pytest.mark.parametrize(
    ("detection", "expected"),
    [
        pytest.param(BODY, 1.0, id="the-same"),
        pytest.param(_moved(5, 0), math.exp(-0.5), id="one-sigma-away"),
        pytest.param(_without(BODY, 0), 0.75, id="a-node-not-seen-adds-nothing"),
        pytest.param(_without(BODY, 0, 1, 2, 3), 0.0, id="nothing-seen"),
        pytest.param(_moved(1000, 0), 0.0, id="far-away"),
    ],
)
def test_keypoint_similarity(detection: np.ndarray, expected: float) -> None:
    assert keypoint_similarity(BODY, detection, 4, 5.0) == pytest.approx(expected, abs=1e-12)


def test_similarity_is_scale_free() -> None:
    moved = _moved(3, 4)
    assert keypoint_similarity(BODY, moved, 4, 5.0) == keypoint_similarity(4 * BODY, 4 * moved, 4, 20.0)


@pytest.mark.parametrize(
    ("expected", "detection", "cost"),
    [
        pytest.param(BODY, BODY, 0.0, id="perfect"),
        pytest.param(BODY, _moved(100, 0), 2.0, id="at-the-gate"),
        pytest.param(BODY, _moved(100.001, 0), np.inf, id="beyond-the-gate"),
        pytest.param(
            _without(BODY, 0, 1),
            _without(BODY, 2, 3),
            1 - math.exp(-(425 / 50)) + 0.01 * math.sqrt(425),
            id="centres-where-no-node-is-shared",
        ),
    ],
)
def test_pair_cost(expected: np.ndarray, detection: np.ndarray, cost: float) -> None:
    n_expected = int(np.isfinite(expected[:, 0]).sum())
    assert pair_cost(expected, detection, n_expected, 5.0, 100.0, 0, np.empty((2, 4))) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("kind", "detection", "cost"),
    [
        pytest.param("centroid", BODY, 0.0, id="centroid-perfect"),
        pytest.param("centroid", _moved(3, 4), 1 - math.exp(-0.5) + 0.05, id="centroid-one-sigma-away"),
        pytest.param("centroid", _moved(100, 0), 2.0, id="centroid-at-the-gate"),
        pytest.param("iou", BODY, 0.0, id="iou-perfect"),
        pytest.param("iou", _moved(20, 0), 1 - 200 / 600 + 0.2, id="iou-half-a-box-away"),
        pytest.param("iou", _moved(100, 0), 2.0, id="iou-at-the-gate"),
        pytest.param("iou", _moved(101, 0), np.inf, id="iou-beyond-the-gate"),
    ],
)
def test_pair_cost_by_another_similarity(kind: str, detection: np.ndarray, cost: float) -> None:
    nodes = np.empty((2, 4))
    assert pair_cost(BODY, detection, 4, 5.0, 100.0, SIMILARITIES.index(kind), nodes) == pytest.approx(cost)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param(BODY, 1.0, id="the-same"),
        pytest.param(_moved(20, 5), 100 / 700, id="a-corner"),
        pytest.param(_moved(40, 0), 0.0, id="side-by-side"),
        pytest.param(_moved(900, 0), 0.0, id="apart"),
        pytest.param(_without(BODY, 3), 0.0, id="a-line-has-no-area"),
        pytest.param(BODY * np.nan, 0.0, id="nothing-seen"),
    ],
)
def test_box_overlap(other: np.ndarray, expected: float) -> None:
    assert box_overlap(BODY, other) == pytest.approx(expected)


def test_far_beyond_the_kernel_the_nearer_is_still_cheaper() -> None:
    nodes = np.empty((2, 4))
    costs = [pair_cost(BODY, _moved(distance, 0), 4, 1.0, 500.0, 0, nodes) for distance in (100, 200, 300)]
    assert costs == sorted(costs)
    assert len(set(costs)) == 3


@pytest.mark.parametrize(
    ("other", "apart"),
    [
        pytest.param(_moved(30, 5), 0.0, id="overlapping"),
        pytest.param(_moved(40, 10), 0.0, id="touching"),
        pytest.param(_moved(47, 0), 7.0, id="right"),
        pytest.param(_moved(-52, 3), 12.0, id="left"),
        pytest.param(_moved(0, 13), 3.0, id="below"),
        pytest.param(_moved(45, -30), 20.0, id="the-larger-of-both"),
        pytest.param(_without(_moved(47, 0), 0), 27.0, id="of-what-is-seen"),
    ],
)
def test_boxes_apart(other: np.ndarray, apart: float) -> None:
    assert boxes_apart(BODY, other) == apart
    assert boxes_apart(other, BODY) == apart


@pytest.mark.parametrize(("away_px", "is_refused"), [(59.9, False), (60.0, False), (60.1, True)])
def test_poses_of_one_node_are_refused_from_the_gate_on(away_px: float, is_refused: bool) -> None:
    expected, detection = _without(BODY, 1, 2, 3), _without(_moved(-away_px, 0), 1, 2, 3)
    assert np.isinf(pair_cost(expected, detection, 1, 5.0, 60.0, 0, np.empty((2, 4)))) == is_refused


@given(seed=st.integers(0, 2**32 - 1), reach_px=st.floats(10, 300))
def test_what_is_too_far_apart_would_have_been_refused_node_by_node(seed: int, reach_px: float) -> None:
    """The box is a shortcut and no other rule: beyond the gate is where the distance of the nodes says."""
    random = np.random.default_rng(seed)
    expected, detection = random.uniform(0, 100, (2, 7, 2))
    detection += random.uniform(-reach_px, reach_px, 2)
    expected[random.random(7) < 0.3] = np.nan
    detection[random.random(7) < 0.3] = np.nan
    if np.isnan(expected).all() or np.isnan(detection).all():
        return
    difference = (detection - expected)[np.isfinite((detection - expected)[:, 0])]
    if len(difference):
        away = np.median(difference, axis=0)
    else:
        away = np.nanmean(detection, axis=0) - np.nanmean(expected, axis=0)
    n_expected = int(np.isfinite(expected[:, 0]).sum())
    cost = pair_cost(expected, detection, n_expected, 5.0, 60.0, 0, np.empty((2, 7)))
    assert np.isinf(cost) == (np.hypot(*away) > 60.0)
