import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.parity import compare
from models.spec import CropSpec, GraphFile, ImageSpec, ModelSpec, PeaksSpec, SkeletonSpec, WholeImageSpec

NODES = ("head", "thorax", "abdomen")
TYPES = ["single_instance", "centroid", "top_down", "top_down_id", "bottom_up", "bottom_up_id"]
NAN = float("nan")


def spec_of(kind):
    skeleton = SkeletonSpec(nodes=NODES, edges=((1, 0), (1, 2)))
    return ModelSpec(
        type=kind,
        skeleton=SkeletonSpec(nodes=("thorax",)) if kind == "centroid" else skeleton,
        image=ImageSpec(height_px=200, width_px=300, channels=1),
        whole_image=WholeImageSpec(input_scale=1.0, output_stride=1, pad_to_stride=1),
        crop=CropSpec(size_px=32, input_scale=1.0, output_stride=1) if kind.startswith("top_down") else None,
        peaks=PeaksSpec(max_peaks=4) if kind.startswith("bottom_up") else None,
        peak_threshold=0.2,
        max_instances=1 if kind == "single_instance" else 2 if kind.endswith("_id") else 3,
        class_names=("female", "male") if kind.endswith("_id") else (),
        geometry="exact",
        graph=GraphFile(file="model.onnx", sha256="0" * 64),
    )


def healthy(kind, n_images=2):
    """What a graph gives for images with two animals (one for `single_instance`), 100 px apart."""
    spec = spec_of(kind)
    found = {name: np.zeros((n_images, *of.shape), of.dtype) for name, of in spec.outputs.items()}
    n_nodes, n = len(spec.skeleton.nodes), min(2, spec.max_instances)
    animals = np.array([[50, 60], [150, 160]])[:n, np.newaxis] + np.arange(n_nodes)[:, np.newaxis] * [8, -5]
    if spec.peaks is None:
        found["xy"][:] = NAN
        found["xy"][:, :n] = animals
        found["node_scores"][:, :n], found["instance_scores"][:, :n], found["valid"][:, :n] = 0.9, 0.8, True
        if kind == "top_down_id":
            found["class_probs"][:] = [[0.9, 0.1], [0.2, 0.8]]
        return found
    found["peaks"][:] = NAN
    found["peaks"][:, :, :n] = animals.swapaxes(0, 1)
    found["peak_scores"][:, :, :n], found["peak_valid"][:, :, :n] = 0.9, True
    if kind == "bottom_up":
        found["edge_scores"][:] = -np.inf
        found["edge_scores"][:, :, :n, :n] = np.where(np.eye(n), 0.95, 0.05)
    else:
        found["class_probs"][:, :, :n] = [[0.9, 0.1], [0.2, 0.8]]
    return found


def changed(found, **changes):
    """A copy in which `name=function` changed an array in place."""
    copy = {name: array.copy() for name, array in found.items()}
    for name, change in changes.items():
        change(copy[name])
    return copy


def points_of(found):
    return "peaks" if "peaks" in found else "xy"


@pytest.mark.parametrize("kind", TYPES)
def test_equal_answers_are_equal(kind):
    parity = compare(healthy(kind), healthy(kind), spec_of(kind))
    n_animals = 2 * min(2, spec_of(kind).max_instances)
    assert (parity.n_images, parity.n_animals, parity.missing, parity.extra) == (2, n_animals, 0, 0)
    per_animal = len(spec_of(kind).skeleton.nodes) * (2 if kind.startswith("bottom_up") else 1)
    assert (parity.n_points, parity.missing_points, parity.extra_points) == (n_animals * per_animal, 0, 0)
    assert (parity.offset_px, parity.p50_px, parity.p99_px, parity.max_px) == ((0, 0), 0, 0, 0)
    assert parity.max_score_difference == 0
    assert (parity.max_edge_score_difference == 0) == (kind == "bottom_up")
    assert np.isnan(parity.max_map_difference)
    assert parity.within(1e-6)
    assert parity.deviation(1e-6) == ""


@pytest.mark.parametrize("kind", TYPES)
@given(x=st.floats(-7, 7), y=st.floats(-7, 7))
def test_a_shift_is_what_is_reported(kind, x, y):
    shift = np.float32([x, y])
    reference = healthy(kind)
    found = changed(reference, **{points_of(reference): lambda points: points.__iadd__(shift)})
    parity = compare(reference, found, spec_of(kind))
    np.testing.assert_allclose(parity.offset_px, (x, y), atol=1e-4)
    np.testing.assert_allclose([parity.p50_px, parity.p99_px, parity.max_px], np.hypot(x, y), atol=1e-4)
    assert (parity.missing, parity.extra) == (0, 0)
    assert parity.within(abs(x) + abs(y) + 1e-3)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize(("n_far", "is_fine"), [(1, True), (2, False)])
def test_where_rounding_chooses_a_tenth_may_be_elsewhere(n_far, is_fine, precision):
    reference = healthy("top_down")

    def throw(points):  # 1 or 2 of 12 points
        points[0, :n_far, 0] += 20
        return points

    got = changed(reference, xy=throw)
    found = compare(reference, got, spec_of("top_down"), precision).deviation(0.1)
    assert found == "" if is_fine else found.startswith("10 % of the points lie ")
    for exact in ("fp32", "fp16"):
        parity = compare(reference, got, spec_of("top_down"), exact)
        assert parity.deviation(0.1).startswith("1 % of the points lie ")


@pytest.mark.parametrize(
    ("precision", "by", "is_fine"),
    [
        ("fp32", 0.015, True),
        ("fp32", 0.03, False),
        ("bf16", 0.04, True),
        ("bf16", 0.06, False),
        ("int8", 0.06, True),
        ("int8", 0.1, False),
    ],
)
def test_scores_may_differ_by_what_the_precision_rounds(precision, by, is_fine):
    reference = healthy("top_down")
    got = changed(reference, node_scores=lambda scores: scores.__isub__(np.float32(by)))
    found = compare(reference, got, spec_of("top_down"), precision).deviation(0.1)
    assert found == "" if is_fine else found.startswith("points lie where they should, but ")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
@pytest.mark.parametrize(("n_far", "is_fine"), [(1, True), (2, False)])
def test_where_rounding_chooses_a_tenth_of_the_scores_may_differ(n_far, is_fine, precision):
    reference = healthy("top_down")

    def lower(scores):  # 1 or 2 of 16: 12 nodes and 4 animals
        scores[0, 0, :n_far] -= 0.3
        return scores

    got = changed(reference, node_scores=lower)
    found = compare(reference, got, spec_of("top_down"), precision).deviation(0.1)
    assert (
        found == "" if is_fine else found.startswith("points lie where they should, but 10 % of the scores differ by ")
    )
    for exact in ("fp32", "fp16"):
        parity = compare(reference, got, spec_of("top_down"), exact)
        assert "scores differ by up to 0.300" in parity.deviation(0.1)


@pytest.mark.parametrize(("n_lost", "is_fine"), [(1, True), (2, False)])
def test_in_integers_one_of_a_hundred_points_may_go(n_lost, is_fine):
    reference = {name: np.tile(array, (10, *[1] * (array.ndim - 1))) for name, array in healthy("top_down").items()}

    def lose(points):  # of 120
        points[range(n_lost), 0, 1] = NAN
        return points

    got = changed(reference, xy=lose)
    in_integers = compare(reference, got, spec_of("top_down"), "int8")
    assert in_integers.missing_points == n_lost
    assert in_integers.deviation(0.1) == (
        "" if is_fine else "2 of the reference's 120 points are missing and 0 are extra: check the weights and the "
        "precision"
    )  # fmt: skip
    assert compare(reference, got, spec_of("top_down")).deviation(0.1) != ""


@pytest.mark.parametrize("kind", ["centroid", "top_down", "top_down_id"])
def test_the_order_of_animals_does_not_matter(kind):
    def swap(array):
        array[:, :2] = array[:, 1::-1]

    found = changed(healthy(kind), **{name: swap for name in healthy(kind) if name != "overflow"})
    assert compare(healthy(kind), found, spec_of(kind)).deviation(1e-6) == ""


@pytest.mark.parametrize("kind", ["bottom_up", "bottom_up_id"])
def test_the_order_of_peaks_does_not_matter(kind):
    order = [3, 1, 0, 2]
    found = healthy(kind)
    for name in ("peaks", "peak_scores", "peak_valid", "class_probs"):
        if name in found:
            found[name] = found[name][:, :, order].copy()
    if kind == "bottom_up":
        found["edge_scores"] = found["edge_scores"][:, :, order][:, :, :, order].copy()
    assert compare(healthy(kind), found, spec_of(kind)).deviation(1e-6) == ""


def at(index, value):
    def change(array):
        array[index] = value

    return change


WORDS = {
    "to the left and above": (
        "top_down", {"xy": lambda xy: xy.__iadd__(np.float32([-0.5, -0.25]))},
        "points lie 0.50 px to the left of and 0.25 px above the reference, all shifted alike: check that "
        "these are its weights, and "
        "try another engine, as this one may resize or crop differently",
    ),
    "to the right": (
        "single_instance", {"xy": lambda xy: xy.__iadd__(np.float32([8, 0.05]))},
        "points lie 8.00 px to the right of the reference, all shifted alike: check that these are its weights, and "
        "try another engine, as this one may resize or crop differently",
    ),
    "below": (
        "bottom_up", {"peaks": lambda peaks: peaks.__iadd__(np.float32([0, 1]))},
        "points lie 1.00 px below the reference, all shifted alike: check that these are its weights, and "
        "try another engine, as this one may resize or crop differently",
    ),
    "an animal missing": (
        "centroid", {"valid": at((0, 1), False)},
        "1 of the reference's 4 animals are missing and 0 are extra: check that these are the weights and the peak "
        "threshold of the reference, and try another engine",
    ),
    "an animal elsewhere": (
        "top_down", {"xy": at((1, 0), 100)},
        "1 of the reference's 4 animals are missing and 1 are extra: check that these are the weights and the peak "
        "threshold of the reference, and try another engine",
    ),
    "a point elsewhere": (
        "top_down", {"xy": at((0, 0, 0), (52, 60))},
        "1 % of the points lie 1.78 px or more from the reference (half of them within 0.00 px, the farthest 2.00 px): "
        "check the weights and the precision",
    ),
    "a point lost": (
        "top_down_id", {"xy": at((0, 0, 1), NAN), "node_scores": at((0, 0, 1), 0)},
        "1 of the reference's 12 points are missing and 0 are extra: check the weights and the precision",
    ),
    "other scores": (
        "single_instance", {"node_scores": lambda scores: scores.__imul__(np.float32(0.5))},
        "points lie where they should, but scores differ by up to 0.450 from the reference: check the weights and the "
        "precision",
    ),
    "names swapped": (
        "top_down_id", {"class_probs": lambda probs: probs.__isub__(np.float32([0.3, -0.3]))},
        "points lie where they should, but scores differ by up to 0.300 from the reference: check the weights and the "
        "precision",
    ),
    "a peak lost": (
        "bottom_up", {"peak_valid": at((0, 0, 1), False)},
        "2 of the reference's 24 points are missing and 0 are extra: check the weights and the precision",
    ),
    "animals joined otherwise": (
        "bottom_up", {"edge_scores": at((0, 0, slice(2), slice(2)), [[0.05, 0.95], [0.95, 0.05]])},
        "2 of the reference's 4 animals are missing and 2 are extra: check that these are the weights and the peak "
        "threshold of the reference, and try another engine",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "changes", "words"), WORDS.values(), ids=WORDS.keys())
def test_a_deviation_is_said_in_a_sentence(kind, changes, words):
    parity = compare(healthy(kind), changed(healthy(kind), **changes), spec_of(kind))
    assert parity.deviation(0.1) == words
    assert not parity.within(0.1)


def test_what_only_the_engine_finds_is_extra():
    fewer = changed(healthy("top_down"), xy=at((0, 1), NAN), valid=at((0, 1), False))
    parity = compare(fewer, healthy("top_down"), spec_of("top_down"))
    assert (parity.n_animals, parity.missing, parity.extra) == (3, 0, 1)


@pytest.mark.parametrize(("score", "missing"), [(0.21, 0), (0.23, 1)])
def test_what_rounding_decides_is_neither_missing_nor_extra(score, missing):
    animal = changed(healthy("top_down"), instance_scores=at((0, 1), score))
    without = changed(animal, valid=at((0, 1), False))
    assert compare(animal, without, spec_of("top_down")).missing == missing
    assert compare(without, animal, spec_of("top_down")).extra == missing
    node = changed(healthy("top_down"), node_scores=at((0, 1, 2), score))
    unseen = changed(node, node_scores=at((0, 1, 2), 0.19), xy=at((0, 1, 2), NAN))
    assert compare(node, unseen, spec_of("top_down")).missing_points == missing
    assert compare(unseen, node, spec_of("top_down")).extra_points == missing
    peak = changed(healthy("bottom_up"), peak_scores=at((0, 2, 1), score))
    gone = changed(peak, peak_valid=at((0, 2, 1), False))
    assert compare(peak, gone, spec_of("bottom_up")).missing_points == 2 * missing


def test_edge_scores_are_those_between_the_same_peaks():
    found = changed(healthy("bottom_up"), edge_scores=at((0, 1, 1, 1), 0.85))
    parity = compare(healthy("bottom_up"), found, spec_of("bottom_up"))
    assert parity.max_edge_score_difference == pytest.approx(0.1)


def test_maps_are_compared_where_both_have_them():
    maps = {"maps/whole_image/Conv_1.0": np.arange(8, dtype=np.float32).reshape(2, 1, 1, 2, 2)}
    reference = healthy("centroid") | maps | {"maps/other": np.zeros((2, 1))}
    found = healthy("centroid") | {name: array + np.float32(0.25) for name, array in maps.items()}
    assert compare(reference, found, spec_of("centroid")).max_map_difference == 0.25


def test_nothing_to_compare_is_no_proof():
    empty = changed(healthy("top_down"), valid=lambda valid: valid.fill(False))
    parity = compare(empty, empty, spec_of("top_down"))
    assert parity.deviation(0.1) == (
        "nothing could be compared, because there is no animal in the reference's images: give the model a reference "
        "with real frames"
    )
    assert not parity.within(100)
    assert json.loads(json.dumps(parity.as_dict(), allow_nan=False))["p99_px"] is None


@pytest.mark.parametrize("kind", TYPES)
def test_a_reference_of_another_origin_needs_only_points(kind):
    spec = spec_of(kind)
    n_nodes, n = len(spec.skeleton.nodes), min(2, spec.max_instances)
    xy = np.full((2, 5, n_nodes, 2), NAN)  # more slots than the model has, animals somewhere in them
    animals = np.array([[50, 60], [150, 160]])[:n, np.newaxis] + np.arange(n_nodes)[:, np.newaxis] * [8, -5]
    xy[:, 4 - n : 4] = animals + np.array([0.25, 0])
    parity = compare({"xy": xy}, healthy(kind), spec)
    assert (parity.n_animals, parity.missing, parity.extra) == (2 * n, 0, 0)
    assert parity.offset_px == (-0.25, 0)
    assert np.isnan(parity.max_score_difference)
    assert not parity.within(0.1)
    assert parity.within(0.3)


def test_scores_of_a_reference_of_another_origin_are_compared_if_they_are_there():
    outputs = {name: healthy("top_down_id")[name] for name in ("xy", "node_scores", "class_probs")}
    parity = compare(outputs, healthy("top_down_id"), spec_of("top_down_id"))
    assert parity.max_score_difference == 0
    outputs["class_probs"] = outputs["class_probs"][..., ::-1]
    assert compare(outputs, healthy("top_down_id"), spec_of("top_down_id")).max_score_difference > 0.5


def test_numbers_as_json():
    numbers = compare(healthy("bottom_up"), healthy("bottom_up"), spec_of("bottom_up")).as_dict()
    assert json.loads(json.dumps(numbers, allow_nan=False)) == {
        "n_images": 2, "n_animals": 4, "missing": 0, "extra": 0, "n_points": 24, "missing_points": 0,
        "extra_points": 0, "offset_x_px": 0.0, "offset_y_px": 0.0, "p50_px": 0.0, "p90_px": 0.0, "p99_px": 0.0,
        "max_px": 0.0, "p90_score_difference": 0.0, "max_score_difference": 0.0,
        "max_edge_score_difference": 0.0, "max_map_difference": None,
    }  # fmt: skip
