import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.tracking.assignment import greedy, margin

INF = np.inf


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


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_greedy_without_rows_or_columns(shape: tuple[int, int]) -> None:
    assert greedy(np.empty(shape)).tolist() == [-1] * shape[0]


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
