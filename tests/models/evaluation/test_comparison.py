import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.errors import LabelsError
from models.evaluation import EvaluationOptions, evaluate
from models.labels import Labels, read_labels
from models.skeleton import Skeleton

NAN = np.nan


def counts(evaluation):
    found = evaluation.detection
    return {
        "found": found.found,
        "missed": found.missed,
        "extra": found.extra,
        "complete": found.frames_complete,
        "no frame": found.frames_without_prediction,
    }


TRUTH = [(0, 0, 0), (0, 100, 0), (1, 0, 0), (1, 100, 0)]
COUNTS = {
    "all found": (TRUTH, {}, {"found": 4, "missed": 0, "extra": 0, "complete": 2, "no frame": 0}),
    "an extra one": ([*TRUTH, (1, 50, 50)], {}, {"found": 4, "missed": 0, "extra": 1, "complete": 1, "no frame": 0}),
    "two on one animal": ([*TRUTH, (1, 1, 0)], {}, {"found": 4, "missed": 0, "extra": 1, "complete": 1, "no frame": 0}),
    "a missed one": (TRUTH[:3], {}, {"found": 3, "missed": 1, "extra": 0, "complete": 1, "no frame": 0}),
    "a missing frame": (TRUTH[:2], {}, {"found": 2, "missed": 2, "extra": 0, "complete": 1, "no frame": 1}),
    "an empty frame": (
        TRUTH[:2],
        {"frames": [0, 1]},
        {"found": 2, "missed": 2, "extra": 0, "complete": 1, "no frame": 0},
    ),
    "too far to be the same": (
        [(0, 0, 0), (0, 100, 0), (1, 0, 0), (1, 100, 11)],
        {},
        {"found": 3, "missed": 1, "extra": 1, "complete": 1, "no frame": 0},
    ),
}


@pytest.mark.parametrize(("predicted", "more", "expected"), COUNTS.values(), ids=COUNTS)
def test_what_counts(animals, predicted, more, expected):
    assert counts(evaluate(animals(*TRUTH), animals(*predicted, **more))) == expected


def test_shares(animals):
    found = evaluate(animals(*TRUTH), animals(*TRUTH[:3], (0, 50, 50), (1, 50, 50))).detection
    assert (found.precision, found.recall, found.f1) == pytest.approx((3 / 5, 3 / 4, 6 / 9))
    assert found.as_dict()["complete_fraction"] == 0


def test_predictions_in_a_frame_without_animals_are_extra(animals):
    truth = animals((0, 0, 0), frames=[0, 1])
    expected = {"found": 1, "missed": 0, "extra": 1, "complete": 1, "no frame": 0}
    assert counts(evaluate(truth, animals((0, 0, 0), (1, 0, 0)))) == expected


def test_no_prediction_at_all_is_a_result(animals):
    evaluation = evaluate(animals((0, 0, 0, 0)), animals())
    assert counts(evaluation) == {"found": 0, "missed": 1, "extra": 0, "complete": 0, "no frame": 1}
    assert evaluation.detection.precision is None
    json.dumps(evaluation.as_dict(), allow_nan=False)


def test_the_gate_is_a_quarter_of_the_median_size(animals):
    truth = animals((0, 0, 0))
    assert evaluate(truth, truth).matches.gate_px == pytest.approx(np.hypot(4, 40) / 4)
    assert evaluate(truth, truth, EvaluationOptions(nodes=("head",))).matches.gate_px == pytest.approx(
        np.hypot(4, 40) / 4
    )
    assert evaluate(truth, truth, EvaluationOptions(gate_px=3.0)).matches.gate_px == 3.0


def test_points_have_no_gate():
    points = Labels.from_arrays(Skeleton(("centroid",)), [0], [[[5, 5]]])
    with pytest.raises(LabelsError) as error:
        evaluate(points, points)
    assert str(error.value) == (
        "truth: expected animals with an extent, got points only, which have no size to take a gate from; say with "
        "--gate-px how far from an animal a prediction may lie"
    )
    assert evaluate(points, points, EvaluationOptions(gate_px=5.0)).detection.found == 1


def test_animals_on_a_line_are_found_though_their_area_is_nothing():
    line = Labels.from_arrays(Skeleton(("a", "b")), [0], [[[5, 5], [5, 45]]])
    near = Labels.from_arrays(Skeleton(("a", "b")), [0], [[[6, 5], [6, 45]]])
    evaluation = evaluate(line, near)
    assert (evaluation.detection.found, evaluation.all_nodes.bias_px) == (1, (1.0, 0.0))
    assert evaluation.sleap["oks_voc.mAP"] == 0.0
    assert evaluate(line, line).sleap["oks_voc.mAP"] == pytest.approx(1.0)


def test_animals_and_predictions_without_a_node_do_not_count(animals):
    truth, predicted = animals(*TRUTH), animals(*TRUTH)
    truth.xy[0] = NAN
    predicted.xy[0] = predicted.xy[3] = NAN
    assert counts(evaluate(truth, predicted)) == {"found": 2, "missed": 1, "extra": 0, "complete": 1, "no frame": 0}


def test_nodes_meet_by_their_names(animals):
    truth = animals((0, 0, 0))
    names = ("tail", "wing", "thorax", "head")
    shuffled = Labels.from_arrays(
        Skeleton(names), [0], [[truth.xy[0, 2] + [1, 0], [0, 0], truth.xy[0, 1], truth.xy[0, 0]]], source="found.slp"
    )
    evaluation = evaluate(truth, shuffled)
    assert [node.bias_px for node in evaluation.nodes] == [(0, 0), (0, 0), (1, 0)]
    assert evaluation.pairs.notes == ("found.slp: nodes that were not compared: wing",)


def test_some_nodes(animals):
    truth, predicted = animals((0, 0, 0)), animals((0, 0, 0))
    predicted.xy[0, 1] += 3
    evaluation = evaluate(truth, predicted, EvaluationOptions(nodes=("tail", "head")))
    assert [node.name for node in evaluation.nodes] == ["tail", "head"]
    assert evaluation.all_nodes.percentiles_px == (0, 0, 0, 0)
    # The area stays that of the whole animal: two nodes on a line would have none.
    assert evaluation.pairs.areas.tolist() == [160.0]


def test_an_offset_moves_the_truth(animals):
    evaluation = evaluate(animals((0, 10, 10)), animals((0, 10.5, 10.25)), EvaluationOptions(offset_px=0.5))
    assert evaluation.all_nodes.bias_px == (0.0, -0.25)


def test_the_pull_of_a_grid_is_undone_in_predictions_and_not_in_a_persons_labels(animals, monkeypatch):
    monkeypatch.setattr("models.training.grid_pull.undo_grid_pull", lambda points, stride_px: points + stride_px)
    truth = animals((0, 10, 10), (1, 10, 10), predicted=[True, False])
    found = animals((0, 14, 14), (1, 10, 10))
    evaluation = evaluate(truth, found, EvaluationOptions(grid_pull_px=4))
    assert evaluation.all_nodes.percentiles_px == (0, 0, 0, 0)
    assert evaluate(truth, found).all_nodes.bias_px != (0, 0)


def test_some_frames(animals):
    truth = animals((0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0))
    evaluation = evaluate(truth, animals((0, 0, 0), (2, 0, 0), (9, 0, 0)), EvaluationOptions(frames=(1, 2)))
    assert evaluation.pairs.frame_ids.tolist() == [1, 2]
    assert counts(evaluation) == {"found": 1, "missed": 1, "extra": 0, "complete": 1, "no frame": 1}
    assert evaluation.pairs.notes == ()


def test_frames_without_a_truth_are_told(animals):
    evaluation = evaluate(animals((0, 0, 0)), animals((0, 0, 0), (1, 0, 0), source="found"))
    assert evaluation.detection.extra == 0
    assert evaluation.pairs.notes == ("found: 1 frames without a truth were left out",)


VIDEOS = {
    "the same": ("C:\\rig\\fly.mp4", "/home/me/fly.mp4", ()),
    "packed differently": ("fly.avi", "fly.mp4", ()),
    "one unknown": (None, "fly.mp4", ()),
    "others": (
        "a/fly.mp4",
        "a/bee.mp4",
        ("the truth is of video fly.mp4, the predictions are of bee.mp4: taken for the same",),
    ),
}


@pytest.mark.parametrize(("video", "other", "notes"), VIDEOS.values(), ids=VIDEOS)
def test_other_videos_are_told(animals, video, other, notes):
    assert evaluate(animals((0, 0, 0), video=video), animals((0, 0, 0), video=other)).pairs.notes == notes


WRONG = {
    "nodes that the predictions do not have": (
        {"predicted": ("head", "tail")},
        "found.slp: expected the nodes head, thorax, tail, got none called thorax among head, tail; compare those that "
        "both files have with --nodes",
    ),
    "nodes that the truth does not have": (
        {"nodes": ("head", "nose")},
        "truth: expected the nodes head, nose, got none called nose among head, thorax, tail; compare those that both "
        "files have with --nodes",
    ),
    "a node twice": ({"nodes": ("head", "head")}, "--nodes: expected every node once, got head, head"),
    "frames without a truth": (
        {"frames": (7, 9)},
        "truth: expected labelled animals in frames 7-9, got 2 frame(s) from 0 to 1",
    ),
    "predictions of other frames": (
        {"first": 100},
        "found.slp: expected predictions in frames of the truth (2 frame(s) from 0 to 1), got 1 frame(s) from 100 to "
        "100; are they of the same video?",
    ),
}


@pytest.mark.parametrize(("case", "expected"), WRONG.values(), ids=WRONG)
def test_labels_that_do_not_fit(animals, case, expected):
    names = case.get("predicted", ("head", "thorax", "tail"))
    predicted = Labels.from_arrays(
        Skeleton(names), [case.get("first", 0)], np.ones((1, len(names), 2)), source="found.slp"
    )
    options = EvaluationOptions(**{key: case[key] for key in ("nodes", "frames") if key in case})
    with pytest.raises(LabelsError) as error:
        evaluate(animals((0, 0, 0), (1, 0, 0)), predicted, options)
    assert str(error.value) == expected


def test_a_truth_without_animals(animals):
    with pytest.raises(LabelsError, match=r"^truth: expected labelled animals, got no frames$"):
        evaluate(animals(), animals((0, 0, 0)))
    truth = animals((0, 0, 0))
    truth.xy[:] = NAN
    with pytest.raises(LabelsError, match=r"^truth: expected animals with one of head, thorax, tail, got none$"):
        evaluate(truth, animals((0, 0, 0)), EvaluationOptions(gate_px=1.0))


@pytest.mark.parametrize(
    "options", [{"frames": (3, 2)}, {"gate_px": 0.0}, {"oks_sigma": NAN}, {"nodes": ()}, {"gate": 1}]
)
def test_options_that_mean_nothing(options):
    with pytest.raises(ValidationError):
        EvaluationOptions(**options)


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_instances_does_not_matter(walk, chance):
    truth, predicted = walk(7)
    rows = chance.sample(range(len(predicted.xy)), len(predicted.xy))
    shuffled = Labels.from_arrays(
        predicted.skeleton,
        predicted.frame_ids[rows],
        predicted.xy[rows],
        tracks=predicted.tracks[rows],
        track_names=predicted.track_names,
    )
    options = EvaluationOptions(gate_px=12.0)
    expected, found = evaluate(truth, predicted, options).as_dict(), evaluate(truth, shuffled, options).as_dict()
    del expected["sleap"], found["sleap"]  # where scores tie, SLEAP takes the first
    assert found == expected


def test_json(walk):
    values = evaluate(*walk(1), EvaluationOptions(gate_px=12.0)).as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["nodes"].keys() == {"head", "thorax", "tail"}
    assert values["detection"]["missed"] > 0 < values["detection"]["extra"]


def test_a_recording_against_itself(data):
    labels = read_labels(data / "flies_1024" / "session_a.predictions.slp")
    evaluation = evaluate(labels, labels)
    assert counts(evaluation) == {"found": 6000, "missed": 0, "extra": 0, "complete": 3000, "no frame": 0}
    assert evaluation.all_nodes.percentiles_px == (0, 0, 0, 0)
    assert (evaluation.sleap["oks_voc.mAP"], evaluation.identity.hota, evaluation.identity.switches) == (1, 1, 0)


def test_a_recording_against_a_worse_copy(data):
    truth = read_labels(data / "flies_1024" / "session_a.predictions.slp")
    chance = np.random.default_rng(2)
    xy = truth.xy + np.array([0.3, -0.2]) + chance.normal(0, 0.8, truth.xy.shape)
    kept = truth.frame_ids % 100 != 7
    extra = (truth.frame_ids % 60 == 1) & (truth.tracks == 0)
    exchanged = (truth.frame_ids >= 1000) & (truth.frame_ids < 1400)
    tracks = np.where(exchanged, 1 - truth.tracks, truth.tracks)
    predicted = Labels.from_arrays(
        truth.skeleton,
        np.concatenate([truth.frame_ids[kept], truth.frame_ids[extra]]),
        np.concatenate([xy[kept], xy[extra] + 400]),
        scores=np.concatenate([truth.scores[kept], np.full(extra.sum(), 0.1)]),
        tracks=np.concatenate([tracks[kept], np.full(extra.sum(), -1)]),
        track_names=truth.track_names,
    )
    evaluation = evaluate(truth, predicted)
    assert counts(evaluation) == {
        "found": 5940,
        "missed": 60,
        "extra": 50,
        "complete": 3000 - 30 - 50,
        "no frame": 30,
    }
    assert evaluation.all_nodes.bias_px == pytest.approx((0.3, -0.2), abs=0.02)
    assert evaluation.all_nodes.spread_px == pytest.approx((0.8, 0.8), abs=0.02)
    identity = evaluation.identity
    assert identity.accuracy == pytest.approx(1 - 396 / 2970, abs=1e-9)
    assert identity.switches == 4
