import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.evaluation import evaluate
from models.evaluation.sleap_metrics import object_keypoint_similarity, summary
from models.evaluation.stored import read_stored_metrics
from models.labels import Labels, read_labels
from models.skeleton import Skeleton

NAN = np.nan
MODELS = ("bottomup", "centered_instance", "centroid")
BOX = np.array([[[0.0, 0.0], [30.0, 40.0]]])
AREA = np.array([1200.0])


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("model", MODELS)
def test_sleaps_own_numbers(data, model, split):
    folder = data / "sleap_models" / f"minimal_instance.UNet.{model}"
    stored = read_stored_metrics(folder / f"metrics.{split}.npz")
    found = evaluate(
        read_labels(folder / f"labels_gt.{split}.slp", kind="user"),
        read_labels(folder / f"labels_pr.{split}.slp", kind="predicted"),
    ).sleap
    assert found.keys() == stored.keys()
    for name, expected in stored.items():
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-6, err_msg=name)


def test_similarity_of_a_known_distance():
    moved = BOX + np.array([3.0, 4.0])
    expected = np.exp(-25 / (8 * 0.025**2 * 1200))
    assert object_keypoint_similarity(BOX, moved, AREA, 0.025)[0, 0] == pytest.approx(expected, rel=1e-12)


SIMILARITIES = {
    "the same": (BOX, BOX, AREA, 1.0),
    "half of the nodes reported": (BOX, [[[0, 0], [NAN, NAN]]], AREA, 0.5),
    "a node too many": ([[[0, 0], [NAN, NAN]]], BOX, AREA, 1.0),
    "without extent, exactly there": ([[[5, 5], [5, 9]]], [[[5, 5], [5, 9]]], [0.0], 1.0),
    "without extent, a hair away": ([[[5, 5], [5, 9]]], [[[5, 5.001], [5, 9.001]]], [0.0], 0.0),
    "nothing marked": ([[[NAN, NAN], [NAN, NAN]]], BOX, [NAN], NAN),
}


@pytest.mark.parametrize(("truth", "predicted", "areas", "expected"), SIMILARITIES.values(), ids=SIMILARITIES)
def test_similarities(truth, predicted, areas, expected):
    found = object_keypoint_similarity(np.array(truth, float), np.array(predicted, float), np.array(areas), 0.025)
    np.testing.assert_array_equal(found, [[expected]])


@given(
    arrays(float, (2, 3, 2), elements=st.floats(0, 100) | st.just(NAN)),
    arrays(float, (3, 3, 2), elements=st.floats(0, 100) | st.just(NAN)),
)
def test_similarities_are_shares(truth, predicted):
    truth[np.isnan(truth).any(axis=2)] = NAN
    predicted[np.isnan(predicted).any(axis=2)] = NAN
    found = object_keypoint_similarity(truth, predicted, np.array([500.0, 0.0]), 0.025)
    known = np.isfinite(truth[..., 0]).any(axis=1)
    assert np.isnan(found[~known]).all()
    assert ((found[known] >= 0) & (found[known] <= 1)).all()


def test_the_best_scored_prediction_chooses_first(animals):
    truth = animals((0, 0, 0), (0, 6, 0))
    # The second prediction lies on the first animal; the first one, in between, takes it because of its score.
    metrics = evaluate(truth, animals((0, 2, 0), (0, 0, 0), scores=[0.9, 0.8])).sleap
    np.testing.assert_allclose(metrics["dist.dists"], [[2] * 3, [6] * 3])
    metrics = evaluate(truth, animals((0, 2, 0), (0, 0, 0), scores=[0.8, 0.9])).sleap
    np.testing.assert_allclose(metrics["dist.dists"], [[0] * 3, [4] * 3])


def test_among_equal_scores_the_first_chooses_first(animals):
    metrics = evaluate(animals((0, 0, 0), (0, 6, 0)), animals((0, 2, 0), (0, 0, 0), scores=[0.5, 0.5])).sleap
    np.testing.assert_allclose(metrics["dist.dists"], [[2] * 3, [6] * 3])


def test_extra_predictions_and_missing_frames_are_free(animals):
    truth = animals((0, 0, 0), (1, 0, 0))
    metrics = evaluate(truth, animals((0, 0, 0), (0, 90, 90), (0, 50, 0), scores=[0.5, 0.9, 0.9])).sleap
    assert (metrics["oks_voc.mAP"], metrics["oks_voc.mAR"]) == pytest.approx((1.0, 1.0))


def test_an_animal_missed_in_a_frame_with_predictions_costs(animals):
    metrics = evaluate(animals((0, 0, 0), (0, 90, 90)), animals((0, 0, 0))).sleap
    assert metrics["oks_voc.mAR"] == 0.5
    assert metrics["oks_voc.mAP"] == pytest.approx(51 / 101)


def test_a_labelled_animal_without_a_node_is_missed(animals):
    truth = animals((0, 0, 0), (0, 90, 90))
    truth.xy[1] = NAN
    assert evaluate(truth, animals((0, 0, 0), (0, 90, 90))).sleap["oks_voc.mAR"] == 0.5


def test_average_precision_by_hand():
    """Similarities of 1, 0.1 and 1 in the order of the scores, and one animal missed."""
    pair = Skeleton(("a", "b"))
    far = 40 * np.sqrt(-np.log(0.1) * 8 * 0.025**2)
    points = np.array([[[0, 0], [40, 40]]] * 4, float) + np.arange(4).reshape(4, 1, 1) * 200
    truth = Labels.from_arrays(pair, [0] * 4, points)
    found = points[:3] + np.array([[0, 0], [far, 0], [0, 0]])[:, None]
    metrics = evaluate(truth, Labels.from_arrays(pair, [0] * 3, found, scores=[0.9, 0.8, 0.7])).sleap
    np.testing.assert_allclose(metrics["oks_voc.match_scores"], [1, 0.1, 1], atol=1e-12)
    # Precision 1 up to recall 1/4, 2/3 up to recall 1/2, nothing beyond.
    np.testing.assert_allclose(metrics["oks_voc.AP"], [(26 + 25 * 2 / 3) / 101] * 10)
    np.testing.assert_allclose(metrics["oks_voc.AR"], [0.5] * 10)


def test_a_distance_equal_to_the_threshold_is_not_below_it(animals):
    metrics = evaluate(animals((0, 0, 0)), animals((0, 3, 0))).sleap
    np.testing.assert_array_equal(metrics["pck.pcks"][0, 0], [False] * 3 + [True] * 7)
    assert metrics["pck.mPCK"] == pytest.approx(0.7)


def test_visibility(animals):
    truth, predicted = animals((0, 0, 0), (1, 0, 0)), animals((0, 0, 0), (1, 0, 0))
    truth.xy[0, 0] = predicted.xy[0, 0] = truth.xy[1, 1] = predicted.xy[1, 2] = NAN
    metrics = evaluate(truth, predicted).sleap
    assert [metrics[f"vis.{name}"] for name in ("tp", "fp", "tn", "fn")] == [3, 1, 1, 1]
    assert (metrics["vis.precision"], metrics["vis.recall"]) == (0.75, 0.75)


def test_without_a_match_there_is_a_result(animals):
    metrics = evaluate(animals((0, 0, 0)), animals((0, 500, 500))).sleap
    assert (metrics["oks_voc.mAP"], metrics["pck_voc.mAR"]) == (0, 0)
    shown = summary(metrics)
    assert (shown["dist.p50"], shown["oks.mOKS"], shown["pck.mPCK_parts"]) == (None, None, [None] * 3)
    json.dumps(shown, allow_nan=False)
