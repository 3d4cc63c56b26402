"""Optimal assignment against SciPy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from models.decode.kernel import AssignmentRoom, assign

NO = -np.inf
SIDE = 7
ROOM = AssignmentRoom.empty(SIDE)  # one for all: nothing of an earlier matrix may count


def assigned(scores) -> list[int]:
    scores = np.asarray(scores, np.float64)
    ROOM.scores[:] = np.nan
    ROOM.scores[: scores.shape[0], : scores.shape[1]] = scores
    assign(*scores.shape, ROOM)
    return ROOM.match[: len(scores)].tolist()


def matrices(scores):
    sides = st.integers(0, SIDE)
    return st.tuples(sides, sides).flatmap(
        lambda shape: st.lists(scores, min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]).map(
            lambda values: np.array(values, np.float64).reshape(shape)
        )
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        pytest.param([[0.9, 0.1], [0.1, 0.9]], [0, 1], id="each-its-own"),
        pytest.param([[0.9, 0.8], [0.8, 0.1]], [1, 0], id="highest-sum-not-highest-pair-first"),
        pytest.param([[-0.5]], [0], id="negative"),
        pytest.param([[0.5, NO], [0.9, NO]], [-1, 0], id="impossible-is-dropped"),
        pytest.param([[0.9, 0.1], [0.1, NO]], [1, 0], id="as-many-pairs-as-can-be"),
        pytest.param([[NO, np.nan], [np.inf, NO]], [-1, -1], id="nothing-is-possible"),
        pytest.param([[0.4], [0.6], [0.5]], [-1, 0, -1], id="more-rows-than-columns"),
        pytest.param([[0.4, 0.6, 0.5]], [1], id="more-columns-than-rows"),
        pytest.param([[1.0, 1.0], [1.0, 1.0]], [0, 1], id="all-tied"),
        pytest.param([[0.0, NO], [NO, 0.0]], [0, 1], id="nothing-to-gain"),
        pytest.param([[3e38, 2e38], [3e38, NO]], [1, 0], id="huge"),
        pytest.param([[3e-30, 2e-30], [3e-30, NO]], [1, 0], id="tiny"),
    ],
)
def test_assign(scores, expected):
    assert assigned(scores) == expected


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_assign_without_rows_or_columns(shape):
    assert assigned(np.empty(shape)) == [-1] * shape[0]


def check_against_scipy(scores, match):
    possible = np.isfinite(scores)
    pairs = [(row, column) for row, column in enumerate(match) if column >= 0]
    assert len({column for _, column in pairs}) == len(pairs)
    assert all(possible[pair] for pair in pairs)
    theirs = [
        pair
        for pair in zip(*linear_sum_assignment(np.where(possible, scores, -1e6), maximize=True), strict=True)
        if possible[pair]
    ]
    assert len(pairs) == len(theirs)
    assert sum(scores[pair] for pair in pairs) == pytest.approx(sum(scores[pair] for pair in theirs), abs=1e-9)


@settings(deadline=None)  # the first call may compile
@given(matrices(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0, NO, np.nan, np.inf])))
def test_assign_is_optimal_with_ties_and_impossible_pairs(scores):
    check_against_scipy(scores, assigned(scores))


@settings(deadline=None)  # the first call may compile
@given(matrices(st.floats(-1, 1, width=32)))
def test_assign_is_optimal(scores):
    check_against_scipy(scores, assigned(scores))


@settings(deadline=None)  # the first call may compile
@given(matrices(st.sampled_from([0.0, 0.5, 1.0, NO])))
def test_the_same_matrix_gives_the_same_match(scores):
    assert assigned(scores) == assigned(scores)
