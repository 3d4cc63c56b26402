"""Whether labels have what the configuration and the type of model need; every fault is named."""

from pathlib import Path

import numpy as np
import pytest

from models.errors import TrainingInputError
from models.labels import Labels
from models.skeleton import Skeleton
from models.training.config import TRAININGS
from models.training.data import Dataset, LabelledFrame
from models.training.tasks import Seen, make_plan

PATH = Path("train.toml")
CHAIN = ((0, 1), (1, 2))
NODES = ("a", "b", "c")


def dataset(edges=CHAIN, tracks=("one", "two"), ids=(0, 1), nodes=NODES, symmetries=()):
    frames = [
        LabelledFrame(
            index,
            np.zeros((len(ids), len(nodes), 2), np.float32),
            np.array(ids, np.int32),
            np.ones((len(ids), len(nodes)), np.bool_),
        )
        for index in (3, 4)
    ]
    skeleton = Skeleton(nodes, edges, symmetries)
    nobody = Labels.from_arrays(skeleton, [], np.empty((0, len(nodes), 2)))
    return Dataset(skeleton, Path("film.mkv"), tracks, (frames[0],), (frames[1],), nobody)


def config(type_, **sections):
    required = {"instance": {"crop_size_px": 96}} if type_.startswith("top_down") else {}
    return TRAININGS[type_].model_validate({"type": type_, "data": {"labels": "a.slp"}, **required, **sections})


FAULTS = {
    "anchor": (
        config("top_down", detector={"anchor": "tail"}),
        dataset(),
        ["$.detector.anchor: expected a node of the labels (a, b, c), got 'tail'"],
    ),
    "several": (
        config("centroid", detector={"anchor": "tail"}, augment={"symmetries": [["a", "x"]]}),
        dataset(),
        [
            "$.augment.symmetries[0][1]: expected a node of the labels (a, b, c), got 'x'",
            "$.detector.anchor: expected a node of the labels (a, b, c), got 'tail'",
        ],
    ),
    "mirror": (
        config("bottom_up", augment={"mirror": True}),
        dataset(),
        ["$.augment.mirror: expected left-right pairs in the labels or in $.augment.symmetries, got none"],
    ),
    "circle": (
        config("bottom_up"),
        dataset(edges=(*CHAIN, (2, 0))),
        [
            "$.data.labels: skeleton: expected a tree, got a circle of edges through a, b, c; train the model with a "
            "skeleton that lacks one of these edges"
        ],
    ),
    "apart": (
        config("bottom_up"),
        dataset(edges=((0, 1),)),
        [
            "$.data.labels: skeleton: expected edges that link all nodes, got none between a, b and c; train the model "
            "with a skeleton that has one, or without the nodes apart"
        ],
    ),
    "single node": (
        config("bottom_up"),
        dataset(edges=(), nodes=("a",)),
        ["$.type: expected a skeleton with at least two nodes for bottom_up, got one; train it as centroid"],
    ),
    "no tracks": (
        config("top_down_id"),
        dataset(tracks=(), ids=(-1, -1)),
        ["$.type: expected labels with at least two tracks that instances belong to for top_down_id, got no tracks"],
    ),
    "one track": (
        config("bottom_up_id"),
        dataset(tracks=("one",), ids=(0,)),
        [
            "$.type: expected labels with at least two tracks that instances belong to for bottom_up_id, got 1 tracks "
            "(one)"
        ],
    ),
    "a track that nobody is on": (
        config("bottom_up_id"),
        dataset(ids=(0, -1)),
        ["$.data.class_names: expected instances of every track among the frames to learn, got none of 'two'"],
    ),
    "crowd": (
        config("single_instance"),
        dataset(),
        [
            "$.type: expected one animal in every frame for single_instance, got 2 in frame 3; train top_down or "
            "bottom_up"
        ],
    ),
}


@pytest.mark.parametrize(("config", "dataset", "messages"), FAULTS.values(), ids=FAULTS)
def test_what_does_not_fit_is_named(config, dataset, messages):
    with pytest.raises(TrainingInputError) as caught:
        make_plan(config, dataset, PATH)
    assert str(caught.value).splitlines() == [f"{PATH}: {message}" for message in messages]


HEADS = {
    "single_instance": [("network", {"confmaps": 3})],
    "centroid": [("detector", {"confmaps": 1})],
    "top_down": [("detector", {"confmaps": 1}), ("instance", {"confmaps": 3})],
    "top_down_id": [("detector", {"confmaps": 1}), ("instance", {"confmaps": 3, "class_vectors": 2})],
    "bottom_up": [("network", {"confmaps": 3, "pafs": 4})],
    "bottom_up_id": [("network", {"confmaps": 3, "class_maps": 2})],
}


@pytest.mark.parametrize("type_", HEADS)
@pytest.mark.parametrize("offsets", [False, True])
def test_networks_put_out_what_their_targets_say(type_, offsets):
    sections = {role: {"offsets": offsets} for role, _ in HEADS[type_]}
    if type_.startswith("top_down"):
        sections["instance"]["crop_size_px"] = 96
    plan = make_plan(config(type_, **sections), dataset(ids=(0,) if type_ == "single_instance" else (0, 1)), PATH)
    assert [task.role for task in plan.tasks] == [role for role, _ in HEADS[type_]]
    for task, (_, channels) in zip(plan.tasks, HEADS[type_], strict=True):
        wanted = channels | ({"offsets": 2 * channels["confmaps"]} if offsets else {})
        seen = Seen(
            np.full((1, task.n_points, 2), 20, np.float32),
            np.ones((1, task.n_points), np.bool_),
            np.zeros(1, np.int32),
            64,
            96,
        )
        targets = task.targets(seen)
        assert {head: target.shape[-1] for head, target in targets.items()} == wanted
        assert set(task.network().outputs) == set(task.loss_weights()) == set(wanted)
    assert plan.class_names == (("one", "two") if type_.endswith("_id") else ())


def test_a_detectors_skeleton_is_its_anchor():
    for anchor, name in (("b", "b"), (None, "centroid")):
        plan = make_plan(config("centroid", detector={"anchor": anchor}), dataset(), PATH)
        assert plan.skeleton == Skeleton((name,))
        assert plan.anchor == (None if anchor is None else 1)


def test_symmetries_of_the_configuration_swap_nodes():
    plan = make_plan(config("bottom_up", augment={"mirror": True, "symmetries": [["a", "c"]]}), dataset(), PATH)
    assert plan.swap.tolist() == [2, 1, 0]
    assert plan.skeleton.symmetries == ((0, 2),)


def test_fields_along_edges_of_a_doubtful_node_are_not_learnt():
    plan = make_plan(config("bottom_up"), dataset(), PATH)
    learn = np.array([[True, True, False]])
    points = np.array([[(10, 10), (20, 10), (30, 10)]], np.float32)
    targets = plan.tasks[0].targets(Seen(points, learn, np.zeros(1, np.int32), 64, 64))
    assert np.isnan(targets["pafs"]).all(axis=(0, 1)).tolist() == [False, False, True, True]
