"""The likeliest distribution of values of which each observation leaves several possible."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.looptest.distribution import FALL_95, edges_of, fit, intervals, log_likelihood, quantile

GRID = np.arange(100, dtype=np.float64)


def seen(low, high):
    """Each observation leaves the values from low to high."""
    possible = (np.asarray(low)[:, np.newaxis] <= GRID) & (np.asarray(high)[:, np.newaxis] >= GRID)
    return np.where(possible, 1.0, 1e-9)


def found(table, shares=(0.5, 0.95, 0.99)):
    weights = fit(table)
    least = log_likelihood(table, weights) - FALL_95
    return weights, intervals(GRID, table, shares, least)


def test_exact_values_give_their_shares():
    values = np.array([10, 10, 20, 50])
    weights = fit(seen(values, values))
    assert weights.sum() == pytest.approx(1.0)
    assert weights[[10, 20, 50]] == pytest.approx([0.5, 0.25, 0.25], abs=1e-6)
    assert quantile(GRID, weights, 0.25) == pytest.approx(10.0)
    assert quantile(GRID, weights, 0.75) == pytest.approx(20.5, abs=0.01)


def test_intervals_of_one_value_leave_what_they_share():
    starts = np.arange(20, 40)
    weights = fit(seen(starts, starts + 20))
    assert weights[39:41].sum() == pytest.approx(1.0, abs=1e-3)


@given(st.lists(st.tuples(st.integers(0, 80), st.integers(0, 19)), min_size=2, max_size=12))
def test_no_step_makes_the_observations_less_likely(spans):
    table = seen([low for low, _ in spans], [low + width for low, width in spans])
    steps = [log_likelihood(table, fit(table, n)) for n in range(1, 12)]
    assert np.all(np.diff(steps) >= -1e-9)
    held = fit(table, 10, held=(40, 0.3))
    assert (held[:40].sum(), held.sum()) == pytest.approx((0.3, 1.0))
    assert log_likelihood(table, held) <= log_likelihood(table, fit(table)) + 1e-3


def test_the_interval_of_the_median_is_that_of_the_order_statistics():
    """100 exact values: ±9.8 ranks by the binomial distribution, as the median's likelihood ratio says too."""
    values = np.arange(100)
    (low, high) = found(seen(values, values), shares=(0.5,))[1][0]
    assert low == pytest.approx(49.5 - 9.8, abs=1.0)
    assert high == pytest.approx(49.5 + 9.8, abs=1.0)


@pytest.mark.parametrize(("n", "bounded"), [(100, False), (180, False), (210, True), (400, True)])
def test_few_values_have_no_upper_end_of_p99(n, bounded):
    """Nothing above p99 among n has the likelihood 0.99^n: more than exp(−1.92) up to n = 191."""
    values = np.random.default_rng(0).integers(20, 40, n)
    high = found(seen(values, values), shares=(0.99,))[1][0][1]
    assert math.isfinite(high) == bounded
    assert high >= quantile(GRID, fit(seen(values, values)), 0.99) - 0.5


def test_the_interval_holds_the_truth_in_about_95_of_100():
    rng = np.random.default_rng(4)
    hits = np.zeros(2)
    for _ in range(60):
        values = 20 + 20 * rng.random(50)
        low = np.floor(values - 8 * rng.random(50))  # known to 8, wherever it lies in there
        (a, b), (c, d) = found(seen(low, low + 8), shares=(0.3, 0.7))[1]
        hits += [a <= 26 <= b, c <= 34 <= d]
    assert np.all(hits >= 52)


def test_edges():
    assert edges_of(np.array([2.0, 4.0, 6.0])).tolist() == [1.0, 3.0, 5.0, 7.0]
