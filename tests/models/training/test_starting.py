"""What a training takes over from a model folder, and what it refuses to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.errors import ModelNotOpenError, TrainingInputError
from models.skeleton import Skeleton
from models.training.config import BottomUpConfig, DetectorConfig, InstanceConfig, InstanceIdConfig
from models.training.profiles import PROFILES
from models.training.starting import read_start, starting_weights
from models.training.tasks import Task

pytest.importorskip("onnx", reason="needs the extra train")

SECTIONS = PROFILES["nano"]["top_down"]
DETECTOR = Task("detector", DetectorConfig(**SECTIONS["detector"]), 1)
OTHERS = Skeleton(("nose", "tail"))


@pytest.fixture(scope="module")
def start():
    return read_start(Path("zoo:fly_pair"))


def skeleton_of(start):
    return Skeleton(start.spec.skeleton.nodes, start.spec.skeleton.edges)


def instance_task(n_points=13, **changes):
    return Task("instance", InstanceConfig(**{**SECTIONS["instance"], **changes}), n_points)


def taken(start, task, skeleton, class_names=()):
    return starting_weights(start, task.role, task.network(), skeleton, class_names)


@pytest.mark.parametrize("task", [DETECTOR, instance_task()], ids=["detector", "instance"])
def test_the_same_networks_are_taken_over_whole(start, task):
    network = task.network()
    weights = taken(start, task, skeleton_of(start))
    weighted = [layer.name for layer in network.layers if layer.op in ("conv", "dense")]
    assert set(weights) == {f"{name}/{kind}" for name in weighted for kind in ("kernel", "bias")}
    trained = start.networks[task.role == "instance"]
    assert len(trained.weights) == len(weights)
    for mine, its in zip(weights.values(), trained.weights.values(), strict=True):
        np.testing.assert_array_equal(mine, its)


def test_heads_for_other_nodes_start_anew_and_a_detector_keeps_its_own(start):
    weights = taken(start, instance_task(2), OTHERS)
    assert "dec0_conv1/kernel" in weights
    assert not [name for name in weights if name.startswith("confmaps")]
    assert "confmaps/kernel" in taken(start, DETECTOR, OTHERS)


def test_as_many_nodes_with_other_names_are_other_heads(start):
    names = tuple(f"n{i}" for i in range(13))
    assert "confmaps/kernel" not in taken(start, instance_task(), Skeleton(names))


def test_a_head_that_the_model_does_not_have_starts_anew(start):
    sections = {**SECTIONS["instance"], "class_layers": 1}
    task = Task("instance", InstanceIdConfig(**sections), 13, n_classes=2)
    weights = taken(start, task, skeleton_of(start), ("female", "male"))
    assert "enc0_conv0/kernel" in weights
    assert not [name for name in weights if name.startswith("class_")]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"filters": 16},
            "instance: layer stem: expected a kernel of shape (4, 4, 1, 16), got (4, 4, 1, 24); a training that starts "
            "from a model needs its profile and its sizes",
        ),
        (
            {"max_stride": 16},
            "instance: layer dec1_conv0: expected a kernel of shape (3, 3, 90, 36), got (3, 3, 54, 81); a training "
            "that starts from a model needs its profile and its sizes",
        ),
    ],
    ids=["wider", "shallower"],
)
def test_other_sizes_are_refused(start, changes, message):
    with pytest.raises(TrainingInputError) as caught:
        taken(start, instance_task(**changes), skeleton_of(start))
    assert str(caught.value) == f"{start.folder}: {message}"


def test_a_deeper_network_has_layers_that_the_model_does_not_have(start):
    shallow = replace(start, networks=(replace(start.networks[0], layers=start.networks[0].layers[:3]),))
    with pytest.raises(TrainingInputError, match=r"layer enc0_conv0: expected .*, got no such layer; a tr"):
        taken(shallow, DETECTOR, OTHERS)


def test_a_type_without_such_a_network_is_refused(start):
    bottom_up = Task("network", BottomUpConfig(**PROFILES["nano"]["bottom_up"]["network"]), 2, ((0, 1),))
    with pytest.raises(TrainingInputError) as caught:
        taken(start, bottom_up, OTHERS)
    assert str(caught.value) == (
        f"{start.folder}: expected a model with a network like [network], got one of type top_down"
    )


def test_a_model_that_is_not_there():
    with pytest.raises(ModelNotOpenError, match=r"^zoo:fly_triple: expected one of "):
        read_start(Path("zoo:fly_triple"))


def test_a_changed_graph_is_refused(start, tmp_path):
    for name in ("model.json", "model.onnx"):
        (tmp_path / name).write_bytes((start.folder / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"\0" + (start.folder / "model.onnx").read_bytes())
    with pytest.raises(ModelNotOpenError, match="expected SHA-256"):
        read_start(tmp_path)
