"""SLEAP's five similarities: cases worked out by hand, and what must not matter."""

import warnings
from math import exp

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from realtime.tracking.sleap.instances import Instances
from realtime.tracking.sleap.options import SleapTrackerOptions
from realtime.tracking.sleap.similarity import (
    centroid,
    chosen_similarity,
    instance,
    iou,
    normalized_instance,
    object_keypoint,
)

NONE = (np.nan, np.nan)


def poses(*rows, scores=1.0):
    xy = np.array(rows, float)
    return Instances(xy, np.broadcast_to(np.array(scores, float), xy.shape[:2]))


HERE = poses([(10, 20), (13, 24), (18, 22)])
ONE_ASIDE = poses([(11, 20), (13, 24), (18, 24)])  # one node by 1 px, one by 2 px
ONE_MISSING = poses([(10, 20), (13, 24), NONE])
HALF_A_POINT = poses([(10, 20), (13, 24), (18, np.nan)])
UNSEEN = poses([NONE] * 3)
FAR = poses([(60, 20), (63, 24), (68, 22)])

INSTANCE = {
    "the same": (HERE, HERE, 1.0),
    "two nodes aside": (HERE, ONE_ASIDE, (exp(-1) + 1 + exp(-4)) / 3),
    "far: exactly nothing": (HERE, FAR, 0.0),
    "the candidate lacks a node: divided by the untracked one's": (HERE, ONE_MISSING, 2 / 3),
    "the untracked one lacks a node": (ONE_MISSING, HERE, 1.0),
    "half a point is none": (HALF_A_POINT, HERE, 1.0),
    "the candidate is not seen": (HERE, UNSEEN, 0.0),
    "the untracked one is not seen": (UNSEEN, HERE, np.nan),
}
NORMALIZED = {
    "x by the width, y by the height": (
        poses([(0, 0), (0, 0)]), poses([(50, 0), (0, 50)]), (exp(-(0.5**2)) + exp(-(0.25**2))) / 2,
    ),
    "the same": (HERE, HERE, 1.0),
}  # fmt: skip
CENTROID = {
    "median, not mean": (HERE, poses([(10, 20), (13, 24), (180, 22)]), 0.0),
    "3-4-5": (HERE, poses([(13, 24), (16, 28), (21, 26)]), -5.0),
    "without the node not seen": (ONE_MISSING, HERE, -1.5),
    "not seen": (UNSEEN, HERE, np.nan),
}
IOU = {
    "the same": (HERE, HERE, 1.0),
    "a single pixel is a box of one": (poses([(5, 5)]), poses([(5, 5)]), 1.0),
    # 3 × 3 px each, 2 × 3 px shared.
    "one aside": (poses([(0, 0), (2, 2)]), poses([(1, 0), (3, 2)]), 6 / 12),
    # Half a pixel apart, and yet 0.5 × 3 px shared: every side is a pixel longer than its ends are apart.
    "half a pixel apart": (poses([(0, 0), (2, 2)]), poses([(2.5, 0), (4.5, 2)]), 1.5 / 16.5),
    "apart along one axis": (poses([(0, 0), (2, 2)]), poses([(3, 0), (5, 2)]), 0.0),
    "apart along both axes": (poses([(0, 0), (2, 2)]), poses([(30, 30), (32, 32)]), 0.0),
    "without the node not seen": (ONE_MISSING, HERE, 4 * 5 / (9 * 5)),
    "not seen": (UNSEEN, HERE, np.nan),
}
OKS = {
    "the same": (HERE, HERE, {}, 1.0),
    "two nodes aside": (HERE, ONE_ASIDE, {}, (exp(-1 / 2) + 1 + exp(-4 / 2)) / 3),
    "one error for all": (HERE, ONE_ASIDE, {"errors_px": (2.0,)}, (exp(-1 / 8) + 1 + exp(-4 / 8)) / 3),
    "an error for each": (HERE, ONE_ASIDE, {"errors_px": (1.0, 1.0, 2.0)}, (exp(-1 / 2) + 1 + exp(-4 / 8)) / 3),
    "all: by the skeleton": (ONE_MISSING, HERE, {"normalization": "all"}, 2 / 3),
    "ref: by the untracked one": (ONE_MISSING, HERE, {"normalization": "ref"}, 1.0),
    "ref: not by the candidate": (HERE, ONE_MISSING, {"normalization": "ref"}, 2 / 3),
    "union: by what both show": (HERE, ONE_MISSING, {"normalization": "union"}, 1.0),
    "ref, not seen: 0": (UNSEEN, HERE, {"normalization": "ref"}, 0.0),
    "union, nothing shared: 0": (HERE, UNSEEN, {"normalization": "union"}, 0.0),
    "all, not seen: 0": (UNSEEN, HERE, {}, 0.0),
    "weighed by both scores": (
        poses([(0, 0), (5, 5)], scores=[[0.5, 0.25]]),
        poses([(0, 0), (5, 5)], scores=[[0.5, 1.0]]),
        {"score_weighting": True},
        (0.25 + 0.25) / 2,
    ),
    "not weighed": (poses([(0, 0)], scores=0.5), poses([(0, 0)], scores=0.5), {}, 1.0),
}


def check(found, expected):
    assert found.shape == (1, 1)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-12)


@pytest.mark.parametrize(("untracked", "candidate", "expected"), INSTANCE.values(), ids=INSTANCE)
def test_instance(untracked, candidate, expected):
    check(instance(untracked, candidate), expected)


@pytest.mark.parametrize(("untracked", "candidate", "expected"), NORMALIZED.values(), ids=NORMALIZED)
def test_normalized_instance(untracked, candidate, expected):
    check(normalized_instance(untracked, candidate, (100, 200)), expected)


@pytest.mark.parametrize(("untracked", "candidate", "expected"), CENTROID.values(), ids=CENTROID)
def test_centroid(untracked, candidate, expected):
    check(centroid(untracked, candidate), expected)


@pytest.mark.parametrize(("untracked", "candidate", "expected"), IOU.values(), ids=IOU)
def test_iou(untracked, candidate, expected):
    check(iou(untracked, candidate), expected)


@pytest.mark.parametrize(("untracked", "candidate", "how", "expected"), OKS.values(), ids=OKS)
def test_object_keypoint(untracked, candidate, how, expected):
    check(object_keypoint(untracked, candidate, **how), expected)


NAMES = ("instance", "normalized_instance", "centroid", "iou", "object_keypoint")


def named(name, **options):
    return chosen_similarity(SleapTrackerOptions(similarity=name, **options), 3, (100, 200))


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_untracked_and_columns_candidates(name):
    untracked = Instances(*(np.concatenate(both) for both in zip(HERE, ONE_MISSING, strict=True)))
    candidates = Instances(*(np.concatenate(all_) for all_ in zip(ONE_ASIDE, HERE, FAR, strict=True)))
    table = named(name)(untracked, candidates)
    assert table.shape == (2, 3)
    for row, one in enumerate((HERE, ONE_MISSING)):
        for column, other in enumerate((ONE_ASIDE, HERE, FAR)):
            np.testing.assert_array_equal(table[row, column], named(name)(one, other)[0, 0])


def test_the_options_decide_over_object_keypoint():
    how = {"errors_px": (1.0, 2.0, 3.0), "score_weighting": True, "normalization": "ref"}
    chosen = named("object_keypoint", oks_errors=(1.0, 2.0, 3.0), oks_score_weighting=True, oks_normalization="ref")
    halves = ONE_ASIDE._replace(node_scores=np.full((1, 3), 0.5))
    np.testing.assert_array_equal(chosen(ONE_MISSING, halves), object_keypoint(ONE_MISSING, halves, **how))


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match=r"^oks_errors: expected 1 or 3 numbers, one for each node, got 2$"):
        named("object_keypoint", oks_errors=(1.0, 2.0))
    with pytest.raises(ValueError, match=r"^similarity normalized_instance: expected the size of the image, got none$"):
        chosen_similarity(SleapTrackerOptions(similarity="normalized_instance"), 3, None)


# Quarters, so that moving everything by a whole number is exact.
POINTS = arrays(np.float64, (2, 3, 2), elements=st.integers(-40, 40).map(lambda quarters: quarters / 4))


@pytest.mark.parametrize("name", NAMES[:1] + NAMES[2:])
@given(xy=POINTS, others=POINTS, dx=st.integers(-100, 100), dy=st.integers(-100, 100))
def test_the_place_of_both_does_not_matter(name, xy, others, dx, dy):
    def alike(by):
        return named(name)(*(Instances(points + by, np.ones((2, 3))) for points in (xy, others)))

    np.testing.assert_array_equal(alike((dx, dy)), alike((0, 0)))


@pytest.mark.parametrize("name", NAMES)
@given(xy=POINTS, others=POINTS, order=st.permutations(range(3)))
def test_the_order_of_the_nodes_does_not_matter(name, xy, others, order):
    def alike(nodes):
        return named(name)(*(Instances(points[:, nodes], np.ones((2, 3))) for points in (xy, others)))

    np.testing.assert_allclose(alike(list(order)), alike([0, 1, 2]), rtol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_seen_is_no_reason_to_warn(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        named(name)(UNSEEN, HERE)
        named(name)(HERE, UNSEEN)
