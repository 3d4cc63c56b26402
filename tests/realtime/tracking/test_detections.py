import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.tracking.detections import Detections, canonical_order, usable

BODY = np.array([(0, 0), (20, 0), (40, 0), (20, 10)], dtype=np.float64)


def _detections(*poses: np.ndarray, scores: tuple[float, ...] = ()) -> Detections:
    xy = np.array(poses, dtype=np.float64).reshape(-1, 4, 2)
    return Detections(
        xy, np.ones(xy.shape[:2]), np.array(scores or (1.0,) * len(xy), dtype=np.float64), np.empty((len(xy), 0))
    )


def _usable(detections: Detections) -> Detections:
    return usable(detections, 0.1, 10.0)


def test_nothing() -> None:
    assert _usable(_detections()).xy.shape == (0, 4, 2)


def test_instances_that_show_nothing_go() -> None:
    assert _usable(_detections(BODY * np.nan, BODY)).xy.tolist() == [BODY.tolist()]


def test_half_a_point_is_no_point_and_no_score_is_zero() -> None:
    broken = _detections(BODY, scores=(np.nan,))
    broken.xy[0, 1, 1] = np.inf
    broken.node_scores[0, 2] = np.nan
    clean = _usable(broken)
    assert np.isnan(clean.xy[0, 1]).all()
    assert clean.node_scores.tolist() == [[1, 0, 0, 1]]
    assert clean.scores.tolist() == [0]


@pytest.mark.parametrize(
    ("poses", "scores", "kept"),
    [
        pytest.param((BODY, BODY + 1), (0.9, 0.8), [0.9], id="lower-score-goes"),
        pytest.param((BODY, BODY + 1), (0.8, 0.9), [0.9], id="lower-score-goes-whatever-the-order"),
        pytest.param((BODY, BODY + np.array([0, 15])), (0.9, 0.8), [0.9, 0.8], id="another-animal-in-contact"),
        pytest.param((BODY, BODY + 1, BODY - 1), (0.7, 0.8, 0.9), [0.9], id="three-on-one-animal"),
    ],
)
def test_duplicates(poses: tuple[np.ndarray, ...], scores: tuple[float, ...], kept: list[float]) -> None:
    assert _usable(_detections(*poses, scores=scores)).scores.tolist() == kept


def test_of_two_equal_scores_the_pose_with_more_nodes_stays() -> None:
    partial = BODY + 1
    partial[0] = np.nan
    assert np.isfinite(_usable(_detections(partial, BODY)).xy).all()


@given(st.lists(st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.5]), min_size=3, max_size=3), max_size=8))
def test_canonical_order_sorts_rows(rows: list[list[float]]) -> None:
    keys = np.array(rows, dtype=np.float64).reshape(-1, 3)
    assert keys[canonical_order(keys)].tolist() == sorted(keys.tolist())
