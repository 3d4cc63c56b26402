import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from realtime.tracking import assignment

INF = np.inf


def greedy(cost: np.ndarray) -> np.ndarray:
    match = np.empty(len(cost), np.int64)
    assignment.greedy(cost, *cost.shape, match, np.empty(cost.shape[1], np.int64))
    return match


def hungarian(cost: np.ndarray) -> np.ndarray:
    match, width = np.empty(len(cost), np.int64), sum(cost.shape) + 1
    assignment.hungarian(cost, *cost.shape, match, np.empty((3, width)), np.empty((3, width), np.int64))
    return match


def margin(cost: np.ndarray, match: np.ndarray, row: int, highest_cost: float) -> float:
    taken = np.empty(cost.shape[1], np.int64)
    return float(assignment.margin(cost, *cost.shape, match, row, highest_cost, taken))


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        pytest.param([[0.1, 1.0], [1.0, 0.2]], [0, 1], id="each-its-own"),
        pytest.param([[1.0, 0.2], [0.1, 1.0]], [1, 0], id="crossed"),
        pytest.param([[0.2, 0.3], [0.1, 5.0]], [1, 0], id="cheapest-pair-first"),
        pytest.param([[INF, INF], [INF, 0.5]], [-1, 1], id="beyond-the-gate"),
        pytest.param([[0.5], [0.4], [0.6]], [-1, 0, -1], id="more-rows-than-columns"),
        pytest.param([[0.5, 0.4, 0.6]], [1], id="more-columns-than-rows"),
        pytest.param([[0.5, 0.5], [0.5, 0.5]], [0, 1], id="all-tied"),
    ],
)
def test_greedy(cost: list[list[float]], expected: list[int]) -> None:
    assert greedy(np.array(cost)).tolist() == expected


@pytest.mark.parametrize(
    ("cost", "expected"),
    [
        pytest.param([[0.1, 1.0], [1.0, 0.2]], [0, 1], id="each-its-own"),
        pytest.param([[0.2, 0.3], [0.1, 5.0]], [1, 0], id="the-least-in-all"),
        pytest.param([[0.1, 0.2], [0.15, 0.9]], [1, 0], id="greedy-would-take-the-cheapest"),
        pytest.param([[INF, INF], [INF, 0.5]], [-1, 1], id="beyond-the-gate"),
        pytest.param([[0.1, INF], [0.2, INF]], [0, -1], id="two-for-one-column"),
        pytest.param([[0.0, 2.0], [0.0, INF]], [1, 0], id="as-many-as-possible"),
        pytest.param([[0.5], [0.4], [0.6]], [-1, 0, -1], id="more-rows-than-columns"),
        pytest.param([[0.5, 0.4, 0.6]], [1], id="more-columns-than-rows"),
    ],
)
def test_hungarian(cost: list[list[float]], expected: list[int]) -> None:
    assert hungarian(np.array(cost)).tolist() == expected


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_without_rows_or_columns(shape: tuple[int, int]) -> None:
    assert greedy(np.empty(shape)).tolist() == [-1] * shape[0]
    assert hungarian(np.empty(shape)).tolist() == [-1] * shape[0]


def test_only_the_rows_and_columns_that_count_are_looked_at() -> None:
    cost = np.array([[0.5, 0.4, 0.0], [0.3, 0.6, 0.0], [0.0, 0.0, 0.0]])
    match, width = np.full(3, 7), 6
    assignment.greedy(cost, 2, 2, match, np.empty(2, np.int64))
    assert match.tolist() == [1, 0, 7]
    assignment.hungarian(cost, 2, 2, match, np.empty((3, width)), np.empty((3, width), np.int64))
    assert match.tolist() == [1, 0, 7]


@pytest.mark.parametrize(
    ("cost", "row", "expected"),
    [
        pytest.param([[0.1, 1.0], [1.1, 0.2]], 0, 1.8, id="changing-places"),
        pytest.param([[0.1, INF], [1.0, 0.2]], 0, INF, id="cannot-change-places"),
        pytest.param([[0.1, 0.6]], 0, 0.5, id="a-column-that-nobody-took"),
        pytest.param([[0.1], [0.4]], 0, 0.3, id="a-row-that-got-nothing"),
        pytest.param([[0.1], [INF]], 0, 1.9, id="a-row-that-may-be-anywhere"),
        pytest.param([[0.1]], 0, INF, id="alone"),
        pytest.param([[0.1, 0.2], [0.2, 5.0]], 0, 0.0, id="greedy-was-not-the-best"),
    ],
)
def test_margin(cost: list[list[float]], row: int, expected: float) -> None:
    assert margin(np.array(cost), greedy(np.array(cost)), row, 2.0) == pytest.approx(expected)


COSTS = st.integers(0, 4).flatmap(
    lambda rows: st.integers(0, 4).flatmap(
        lambda columns: st.lists(
            st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, INF]), min_size=columns, max_size=columns),
            min_size=rows,
            max_size=rows,
        ).map(lambda values: np.array(values, dtype=np.float64).reshape(rows, columns))
    )
)


@given(COSTS)
def test_greedy_matches_each_column_once_and_leaves_no_possible_pair(cost: np.ndarray) -> None:
    match = greedy(cost)
    taken = [column for column in match if column >= 0]
    assert len(set(taken)) == len(taken)
    assert all(np.isfinite(cost[row, column]) for row, column in enumerate(match) if column >= 0)
    free_rows = [row for row, column in enumerate(match) if column < 0]
    free_columns = sorted(set(range(cost.shape[1])) - set(taken))
    assert not any(np.isfinite(cost[pair]) for pair in itertools.product(free_rows, free_columns))


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 0.8]))
def test_hungarian_is_as_cheap_as_scipy_s(n_rows: int, n_columns: int, seed: int, impossible: float) -> None:
    random = np.random.default_rng(seed)
    cost = random.uniform(0, 2, (n_rows, n_columns))
    cost[random.random(cost.shape) < impossible] = INF
    match = hungarian(cost)
    rows = np.flatnonzero(match >= 0)
    assert len(set(match[rows].tolist())) == len(rows)
    assert np.isfinite(cost[rows, match[rows]]).all()
    # SciPy refuses what cannot be done, so impossible pairs cost more than all others together.
    possible = np.where(np.isfinite(cost), cost, 1e4)
    best_rows, best_columns = linear_sum_assignment(possible)
    best = possible[best_rows, best_columns]
    assert len(rows) == (best < 1e4).sum()
    assert cost[rows, match[rows]].sum() == pytest.approx(best[best < 1e4].sum(), abs=1e-6)
