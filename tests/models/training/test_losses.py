"""What each head pays for, and that what is not known is free."""

import numpy as np
import pytest

from models.training.losses import losses

pytest.importorskip("tensorflow", reason="needs the extra train")


def loss(head, target, predicted):
    return np.asarray(losses([head])[head](np.float32(target), np.float32(predicted)))


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        # The second channel of a cell with a peak weighs as much as the first.
        ("confmaps", [[21 * 0.25, 21 * 0.04], [0.01, 0]]),
        ("class_maps", [[21 * 0.25, 21 * 0.04], [0.01, 0]]),
        ("pafs", [[0.25, 0.04], [0.01, 0]]),
        ("offsets", [[0.25, 0.04], [0.01, 0]]),
    ],
)
def test_errors_of_maps(head, expected):
    target = [[1.0, 0.0], [0.0, np.nan]]
    predicted = [[0.5, 0.2], [0.1, 7.0]]
    np.testing.assert_allclose(loss(head, [target], [predicted])[0], expected, atol=1e-5)


def test_a_wrong_class_costs_its_logarithm_and_an_unknown_one_nothing():
    got = loss("class_vectors", [[1, 0], [0, 1], [np.nan, np.nan]], [[0.5, 0.5], [1.0, 0.0], [0.3, 0.7]])
    np.testing.assert_allclose(got, [np.log(2), -np.log(1e-7), 0], rtol=1e-5)


@pytest.mark.parametrize("head", ["confmaps", "pafs", "class_maps", "offsets", "class_vectors"])
def test_the_unknown_has_no_gradient(head):
    tf = pytest.importorskip("tensorflow")
    predicted = tf.Variable([[0.3, 0.7]])
    with tf.GradientTape() as tape:
        value = losses([head])[head](tf.constant([[np.nan, np.nan]]), predicted)
    assert not np.asarray(tape.gradient(value, predicted)).any()
