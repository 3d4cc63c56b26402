from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.evaluation.matching import mean_distances, nearest

NAN = np.nan


def test_mean_distances_are_over_the_nodes_that_both_have():
    truth = np.array([[[0.0, 0.0], [10.0, 0.0], [NAN, NAN]], [[NAN, NAN], [NAN, NAN], [0.0, 0.0]]])
    predicted = np.array([[[3.0, 4.0], [10.0, 1.0], [50.0, 50.0]], [[6.0, 8.0], [NAN, NAN], [NAN, NAN]]])
    np.testing.assert_allclose(mean_distances(truth, predicted), [[3.0, 10.0], [np.sqrt(5000), np.inf]])


def test_more_pairs_are_better_than_a_nearer_one():
    distances = np.array([[1.0, 9.0], [9.0, np.inf]])
    assert nearest(distances, 10.0).tolist() == [[0, 1], [1, 0]]
    assert nearest(distances, 9.0).tolist() == [[0], [0]]


def test_nobody_to_match():
    assert nearest(np.empty((0, 3)), 1.0).shape == (2, 0)
    assert nearest(np.full((2, 2), np.inf), 1.0).shape == (2, 0)


@given(arrays(float, st.tuples(st.integers(1, 3), st.integers(3, 4)), elements=st.floats(0, 10) | st.just(np.inf)))
def test_nearest_is_the_best_of_all_choices(distances):
    gate_px = 6.0
    found = distances[tuple(nearest(distances, gate_px))]
    choices = [
        [distances[i, j] for i, j in enumerate(columns) if distances[i, j] < gate_px]
        for columns in permutations(range(distances.shape[1]), distances.shape[0])
    ]
    best = min(choices, key=lambda choice: (-len(choice), sum(choice)))
    assert (found < gate_px).all()
    assert len(found) == len(best)
    # Sums as large as the gate cannot tell smaller differences than this.
    np.testing.assert_allclose(found.sum(), sum(best), atol=1e-9)
