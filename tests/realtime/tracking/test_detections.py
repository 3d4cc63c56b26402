import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.compiled import in_python
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracking.buffers import detections_in, empty_room, settings_in, work_in
from realtime.tracking.detections import Detections, sort_detections, usable

BODY = np.array([(0, 0), (20, 0), (40, 0), (20, 10)], dtype=np.float64)


def _detections(*poses: np.ndarray, scores: tuple[float, ...] = ()) -> Detections:
    xy = np.array(poses, dtype=np.float64).reshape(-1, 4, 2)
    return Detections(
        xy, np.ones(xy.shape[:2]), np.array(scores or (1.0,) * len(xy), dtype=np.float64), np.empty((len(xy), 0))
    )


def _usable(raw: Detections, *expected: np.ndarray) -> Detections:
    n, n_tracks = len(raw.scores), max(len(expected), 1)
    settings = settings_in(GreedyTracker(TrackerOptions(), 4)._buffers.settings)
    room = empty_room(settings, n_tracks, max(n, 1))
    kept = in_python(detections_in)(room.detections[: room.detections.size // 2], 4, 0)
    work = in_python(work_in)(room.floats, room.integers, n_tracks, max(n, 1), 4, 0)
    for track, pose in enumerate(expected):
        work.expected[track] = pose
    n_kept = usable(raw, n, len(expected), settings, work, kept)
    return Detections(kept.xy[:n_kept], kept.node_scores[:n_kept], kept.scores[:n_kept], kept.class_probs[:n_kept])


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


@pytest.mark.parametrize(
    ("expected", "n_kept"),
    [
        pytest.param((), 1, id="nobody-expected"),
        pytest.param((BODY,), 1, id="one-animal-expected"),
        pytest.param((BODY, BODY + 2), 2, id="two-animals-expected-there"),
        pytest.param((BODY, BODY + 100), 1, id="the-other-animal-elsewhere"),
        pytest.param((BODY, BODY * np.nan), 1, id="the-other-animal-not-known"),
    ],
)
def test_two_detections_alike_are_two_animals_only_where_two_are_expected(
    expected: tuple[np.ndarray, ...], n_kept: int
) -> None:
    assert len(_usable(_detections(BODY, BODY + 1, scores=(0.9, 0.8)), *expected).scores) == n_kept


@given(st.integers(0, 2**32 - 1), st.integers(0, 8))
def test_the_order_is_by_content_alone(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    xy = random.choice([np.nan, 0.0, 1.0], (n, 2, 2))  # few values make ties likely
    scores, node_scores = random.choice([0.5, 1.0], n), random.choice([0.5, 1.0], (n, 2))
    probs = random.choice([np.nan, 0.0, 1.0], (n, 1))
    contents = []
    for order in (np.arange(n), random.permutation(n)):
        shuffled = Detections(xy[order], node_scores[order], scores[order], probs[order])
        found = np.empty(n, np.int64)
        centres = np.ascontiguousarray(shuffled.xy.sum(axis=1))
        sort_detections(shuffled, n, centres, found)
        assert sorted(found.tolist()) == list(range(n))
        left = np.nan_to_num(centres[found, 0], nan=-1e9)
        assert left.tolist() == sorted(left)
        contents.append([part[found].tobytes() for part in shuffled])
    assert contents[0] == contents[1]
