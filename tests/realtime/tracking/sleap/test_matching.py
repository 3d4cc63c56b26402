"""Both ways to match, on costs made by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from realtime.tracking.sleap.matching import greedy, hungarian

INF = np.inf
GREEDY = {
    "the cheapest first, whatever it costs later": ([[-5, -4], [-4, 0]], [(0, 0), (1, 1)]),
    "in the order of the costs": ([[-1, 0], [0, -2]], [(1, 1), (0, 0)]),
    "no gate": ([[0.0, 1e9]], [(0, 0)]),
    "even at infinity": ([[INF, 0], [INF, 0]], [(0, 1), (1, 0)]),
    "ties: lower row, then lower column": ([[0, 0], [0, 0]], [(0, 0), (1, 1)]),
    "ties of minus zero": ([[0.0, -0.0], [-0.0, 0.0]], [(0, 0), (1, 1)]),
    "ties among many": (np.zeros((6, 6)), [(k, k) for k in range(6)]),
    "more rows": ([[-1], [-3], [-2]], [(1, 0)]),
    "more columns": ([[-1, -3, -2]], [(0, 1)]),
    "no row": (np.empty((0, 3)), []),
}
HUNGARIAN = {
    "the least sum, in the order of the rows": ([[-5, -4], [-4, 0]], [(0, 1), (1, 0)]),
    "no gate": ([[0.0, 1e9], [0.0, 1e9 + 1]], [(0, 1), (1, 0)]),
    "around infinity": ([[-5, -4], [-4, INF]], [(0, 1), (1, 0)]),
    "as little infinity as can be": ([[INF, INF, INF], [-1, -9, INF], [-2, -3, INF]], [(0, 2), (1, 1), (2, 0)]),
    "no infinity for the sake of the others": ([[-9, 9], [9, INF]], [(0, 1), (1, 0)]),
    "nothing but infinity": ([[INF, INF]], [(0, 0)]),
    "more rows": ([[-1], [-3], [-2]], [(1, 0)]),
    "no row": (np.empty((0, 3)), []),
}


@pytest.mark.parametrize(("cost", "pairs"), GREEDY.values(), ids=GREEDY)
def test_greedy(cost, pairs):
    assert [tuple(pair) for pair in greedy(np.array(cost, float)).tolist()] == pairs


@pytest.mark.parametrize(("cost", "pairs"), HUNGARIAN.values(), ids=HUNGARIAN)
def test_hungarian(cost, pairs):
    assert [tuple(pair) for pair in hungarian(np.array(cost, float)).tolist()] == pairs


SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4))
COSTS = SIZES.flatmap(lambda size: arrays(np.float64, size, elements=st.integers(-1000, 1000), unique=True))


@given(COSTS)
def test_every_row_or_every_column_is_matched_once(cost):
    for match in (greedy, hungarian):
        rows, columns = match(cost).T
        assert len(rows) == min(cost.shape)
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)


@given(COSTS, st.randoms(use_true_random=False))
def test_the_order_of_rows_and_columns_does_not_matter_without_ties(cost, random):
    rows, columns = (random.sample(range(n), n) for n in cost.shape)
    again = {(rows[i], columns[j]) for i, j in greedy(cost[np.ix_(rows, columns)]).tolist()}
    assert again == {tuple(pair) for pair in greedy(cost).tolist()}


@given(COSTS)
def test_hungarian_is_the_best_of_all(cost):
    wide = cost if cost.shape[0] <= cost.shape[1] else cost.T
    choices = itertools.permutations(range(wide.shape[1]), wide.shape[0])
    best = min(sum(wide[row, column] for row, column in enumerate(choice)) for choice in choices)
    assert cost[tuple(hungarian(cost).T)].sum() == best


@given(SIZES.flatmap(lambda size: arrays(np.float64, size, elements=st.integers(-2, 0))))
def test_ties_go_to_the_lower_row_then_to_the_lower_column(cost):
    left = {(cost[row, column], row, column) for row, column in np.ndindex(*cost.shape)}
    expected = []
    while left:
        _, row, column = min(left)
        expected.append((row, column))
        left = {place for place in left if place[1] != row and place[2] != column}
    assert [tuple(pair) for pair in greedy(cost).tolist()] == expected
