import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.decode.identity import IdentityGrouper, exclusive_classes
from models.decode.kernel import assign_classes


def grouped(scores, probs, *, sleap_compat: bool = False, valid=None):
    """Group peaks at (node, peak); the animals as ({node: peak}, grouper's rows)."""
    scores, probs = np.asarray(scores, np.float32), np.asarray(probs, np.float32)
    n_nodes, n_peaks, n_classes = probs.shape
    peaks = np.stack(np.meshgrid(np.arange(n_nodes), np.arange(n_peaks), indexing="ij"), axis=-1)
    grouper = IdentityGrouper(n_nodes, n_classes, n_peaks, sleap_compat=sleap_compat)
    n = grouper.group(peaks, scores, np.ones_like(scores, np.bool_) if valid is None else valid, probs)
    assert np.isnan(grouper.xy[n:]).all()
    for rest in (grouper.node_scores[n:], grouper.instance_scores[n:], grouper.class_probs[n:]):
        assert not rest.any()
    animals = [{int(node): int(peak) for node, peak in row if not np.isnan(node)} for row in grouper.xy[:n]]
    return animals, grouper


# --- named cases ------------------------------------------------------------------------------------------------------


def test_peaks_of_the_same_class_are_one_animal():
    probs = [[[0.1, 0.9], [0.8, 0.2]], [[0.7, 0.3], [0.4, 0.6]]]
    animals, grouper = grouped([[0.5, 0.6], [0.7, 0.8]], probs)
    assert animals == [{0: 1, 1: 0}, {0: 0, 1: 1}]
    np.testing.assert_allclose(grouper.node_scores, [[0.6, 0.7], [0.5, 0.8]])
    np.testing.assert_allclose(grouper.instance_scores, [0.65, 0.65])
    np.testing.assert_allclose(grouper.class_probs, [[0.75, 0.25], [0.25, 0.75]])


def test_class_probabilities_of_a_row_sum_to_one_though_the_maps_do_not():
    _, grouper = grouped([[1.0]], [[[0.9, 0.3]]])
    np.testing.assert_allclose(grouper.class_probs[0], [0.75, 0.25])


def test_a_faint_false_peak_with_a_saturated_class_does_not_win():
    scores, probs = [[0.21, 0.95]], [[[1.0, 0.0], [0.99, 0.0]]]
    assert grouped(scores, probs)[0] == [{0: 1}]
    assert grouped(scores, probs, sleap_compat=True)[0] == [{0: 0}]


def test_a_peak_is_not_lost_to_a_class_that_it_is_then_denied():
    scores, probs = [[1.0, 1.0]], [[[0.9, 0.85], [0.8, 0.1]]]
    assert grouped(scores, probs)[0] == [{0: 0}]
    assert grouped(scores, probs, sleap_compat=True)[0] == [{0: 1}]


def test_a_leftover_class_is_not_given_to_a_peak_of_another():
    animals, grouper = grouped([[0.9, 0.8]], [[[0.9, 0.1], [0.8, 0.2]]])
    assert animals == [{0: 0}]
    assert grouper.class_probs[0].argmax() == 0


def test_a_class_without_peaks_is_left_out():
    animals, grouper = grouped([[0.9]], [[[0.1, 0.1, 0.8]]])
    assert animals == [{0: 0}]
    np.testing.assert_allclose(grouper.class_probs[0], [0.1, 0.1, 0.8], rtol=1e-6)


def test_the_instance_score_is_the_mean_of_what_is_seen_within_0_and_1():
    probs = [[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 0.0]]]
    assert grouped([[0.5], [0.7], [0.9]], probs)[1].instance_scores[0] == pytest.approx(0.6)
    assert grouped([[1.5], [1.2], [0.9]], probs)[1].instance_scores[0] == 1.0


@pytest.mark.parametrize("prob", [0.0, np.nan, -0.5])
def test_an_impossible_class_is_not_given(prob):
    assert grouped([[0.9]], [[[prob, prob]]])[0] == []


@pytest.mark.parametrize(("probs", "expected"), [([np.nan, 0.4], [0, 1]), ([0.4, np.nan], [1, 0])])
def test_a_probability_that_is_no_number_does_not_count_beside_one_that_is(probs, expected):
    animals, grouper = grouped([[0.9]], [[probs]])
    assert animals == [{0: 0}]
    np.testing.assert_array_equal(grouper.class_probs[0], expected)


def test_a_slot_that_is_not_valid_does_not_count():
    valid = np.array([[False, True]])
    assert grouped([[0.9, 0.3]], [[[1.0, 0.0], [0.6, 0.4]]], valid=valid)[0] == [{0: 1}]


def test_an_image_leaves_nothing_behind_for_the_next():
    grouper = IdentityGrouper(1, 2, 2)
    peaks, scores = np.ones((1, 2, 2)), np.ones((1, 2))
    probs = np.array([[[0.9, 0.1], [0.1, 0.9]]])
    assert grouper.group(peaks, scores, np.ones((1, 2), bool), probs) == 2
    assert grouper.group(peaks, scores, np.zeros((1, 2), bool), probs) == 0
    assert np.isnan(grouper.xy).all()
    for rest in (grouper.node_scores, grouper.instance_scores, grouper.class_probs):
        assert not rest.any()


# --- properties -------------------------------------------------------------------------------------------------------


def best_classes(values):
    """The class of each row (-1 = none) by trying all: first as many as can be, then the highest sum."""
    n_rows, n_classes = values.shape
    best, best_value = [-1] * n_rows, (0, 0.0)
    for chosen in set(itertools.permutations([*range(n_classes), *[-1] * n_rows], n_rows)):
        pairs = [pair for pair in enumerate(chosen) if pair[1] >= 0]
        value = (len(pairs), sum(float(values[pair]) for pair in pairs))
        if all(values[pair] > 0 for pair in pairs) and value > best_value:
            best, best_value = list(chosen), value
    return best


@st.composite
def class_scenes(draw, max_nodes: int = 3):
    """Weights and probabilities that do not tie, some of them 0."""
    shape = (draw(st.integers(1, max_nodes)), draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    probs = random.random(shape).astype(np.float32)
    probs[random.random(shape) < draw(st.sampled_from([0.0, 0.3]))] = 0
    valid = random.random(shape[:2]) < 0.9
    return random.uniform(0.2, 1.0, shape[:2]).astype(np.float32), probs, valid


@settings(deadline=None)  # the first call may compile
@given(class_scenes(), st.booleans())
def test_grouping_equals_brute_force(case, sleap_compat):
    scores, probs, valid = case
    expected: list[dict[int, int]] = [{} for _ in range(probs.shape[2])]
    for node in range(len(probs)):
        weights = np.where(valid[node], 1.0 if sleap_compat else scores[node].astype(np.float64), 0.0)
        most_probable = probs[node] == probs[node].max(axis=1, keepdims=True)
        values = probs[node] * weights[:, None] * (1 if sleap_compat else most_probable)
        for peak, k in enumerate(best_classes(values)):
            if k >= 0 and most_probable[peak, k]:
                expected[k][node] = peak
    animals, grouper = grouped(scores, probs, sleap_compat=sleap_compat, valid=valid)
    assert animals == [animal for animal in expected if animal]
    present = [k for k, animal in enumerate(expected) if animal]
    assert grouper.class_probs[: len(animals)].argmax(axis=1).tolist() == present
    np.testing.assert_allclose(grouper.class_probs[: len(animals)].sum(axis=1), 1, rtol=1e-6)
    for row, k in enumerate(present):
        assert grouper.instance_scores[row] == pytest.approx(np.mean([scores[item] for item in expected[k].items()]))


@settings(deadline=None)  # the first call may compile
@given(class_scenes(max_nodes=1))
def test_exclusive_classes_equal_brute_force(case):
    (weights,), (probs,), _ = case
    found = exclusive_classes(probs, weights)
    assert found.dtype == np.int32
    assert found.tolist() == best_classes(probs.astype(np.float64) * weights[:, None])


@pytest.mark.parametrize(
    ("probs", "weights", "expected"),
    [
        pytest.param([[0.9, 0.1], [0.2, 0.8]], [1, 1], [0, 1], id="each-its-own"),
        pytest.param([[0.9, 0.1], [0.6, 0.4]], [1, 1], [0, 1], id="the-second-gets-what-is-left"),
        pytest.param([[0.8, 0.2], [0.9, 0.1]], [1.0, 0.2], [0, 1], id="the-surer-instance-counts-more"),
        pytest.param([[0.9, 0.0], [0.8, 0.0]], [1, 1], [0, -1], id="what-is-left-is-impossible"),
        pytest.param([[0.5], [0.9], [0.7]], [1, 1, 1], [-1, 0, -1], id="more-instances-than-classes"),
        pytest.param([[0.1, 0.7, 0.2]], [1], [1], id="more-classes-than-instances"),
        pytest.param([[np.nan, np.nan], [0.3, 0.7]], [1, 1], [-1, 1], id="not-a-number"),
        pytest.param([[0.6, 0.4], [0.3, 0.7]], [0, np.nan], [-1, -1], id="no-weight"),
        pytest.param(np.empty((0, 2)), [], [], id="no-instances"),
    ],
)
def test_exclusive_classes(probs, weights, expected):
    assert exclusive_classes(np.array(probs, np.float32), np.array(weights, np.float32)).tolist() == expected


def test_exclusive_classes_take_any_layout_and_compile_nothing_again():
    probs = np.asfortranarray([[0.9, 0.1], [0.2, 0.8]])
    probs.flags.writeable = False
    assert exclusive_classes(probs, np.ones(2)).tolist() == [0, 1]
    assert len(assign_classes.signatures) == 1
