import json

import numpy as np
import pytest

from models.evaluation.accuracy import node_errors

NAN = np.nan


def test_errors_of_a_node():
    truth = np.zeros((6, 2))
    predicted = np.array([[0.5, 0], [0, 1.5], [3, 4], [-12, 0], [NAN, NAN], [7, 7]])
    truth[5] = NAN
    errors = node_errors("head", truth, predicted)
    assert (errors.n, errors.labelled, errors.unlabelled) == (4, 5, 1)
    assert errors.percentiles_px == pytest.approx(np.percentile([0.5, 1.5, 5, 12], (50, 90, 95, 99)))
    # A distance of exactly 5 px is not nearer than 5 px; the node that was not reported is not near.
    assert errors.within == pytest.approx((1 / 5, 2 / 5, 2 / 5, 3 / 5))
    assert errors.bias_px == pytest.approx((0.25, 0.75))
    assert errors.as_dict()["not_reported_fraction"] == pytest.approx(0.2)


def test_a_shift_is_found_in_noise_and_outliers():
    chance = np.random.default_rng(3)
    truth = chance.uniform(0, 1000, (4000, 2))
    predicted = truth + np.array([0.5, -0.25]) + chance.normal(0, 0.8, truth.shape)
    predicted[::100] += 200
    predicted[1::100] -= 200
    errors = node_errors("all", truth, predicted)
    for axis, shift in enumerate((0.5, -0.25)):
        assert errors.bias_low_px[axis] < shift < errors.bias_high_px[axis]
        assert errors.bias_high_px[axis] - errors.bias_low_px[axis] < 0.1
        assert errors.spread_px[axis] == pytest.approx(0.8, rel=0.06)


def test_the_interval_holds_the_median_as_often_as_it_says():
    chance = np.random.default_rng(5)
    held = []
    for _ in range(1500):
        errors = node_errors("a", np.zeros((40, 2)), chance.exponential(1.0, (40, 2)))
        held += [low <= np.log(2) <= high for low, high in zip(errors.bias_low_px, errors.bias_high_px, strict=True)]
    assert 0.93 < np.mean(held) < 0.98


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_points(n):
    errors = node_errors("a", np.zeros((n, 2)), np.ones((n, 2)))
    values = errors.as_dict()
    json.dumps(values, allow_nan=False)
    assert values["bias_px"] == ([1.0, 1.0] if n else [None, None])
    assert values["within_px"]["2"] == (1.0 if n else None)
