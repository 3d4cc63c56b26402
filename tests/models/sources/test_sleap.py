import json
import shutil

import numpy as np
import onnxruntime
import pytest

from models.errors import ModelNotOpenError
from models.export.builder import GraphBuilder
from models.export.graph import add_network, output_stride
from models.skeleton import Skeleton
from models.sources.sleap import read_sleap_model

h5py = pytest.importorskip("h5py")

FOLDERS = {
    "minimal_instance.UNet.centroid": "centroid",
    "minimal_instance.UNet.centered_instance": "centered_instance",
    "minimal_instance.UNet.bottomup": "multi_instance",
    "min_tracks_2node.UNet.bottomup_multiclass": "multi_class_bottomup",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_networks_compute_what_sleap_computed(data, name):
    folder = data / "sleap_models" / name
    network = read_sleap_model(folder).network
    with h5py.File(folder / "dummy_activations.h5") as file:
        expected = {name: file[name][()] for name in (output.split("/")[0] for output in network.outputs)}
    stride = output_stride(network, network.outputs[0])
    height, width = (side * stride for side in expected[network.outputs[0].split("/")[0]].shape[1:3])
    graph = GraphBuilder("network")
    outputs = add_network(graph, network, graph.input("image", np.float32, (1, 1, height, width)))
    for k, value in enumerate(outputs.values()):
        graph.output(value, f"out{k}", np.float32, [f"d{k}{i}" for i in range(4)])
    session = onnxruntime.InferenceSession(graph.build().SerializeToString())
    results = session.run(None, {"image": np.zeros((1, 1, height, width), np.float32)})
    for result, reference in zip(results, expected.values(), strict=True):
        np.testing.assert_allclose(result.transpose(0, 2, 3, 1), reference, atol=1e-4)
        assert np.abs(reference).max() > 1e-3


def test_what_a_folder_says(data):
    models = {kind: read_sleap_model(data / "sleap_models" / name) for name, kind in FOLDERS.items()}
    assert {kind: model.kind for kind, model in models.items()} == {kind: kind for kind in models}
    assert models["centered_instance"].crop_size == 96
    assert models["centroid"].crop_size is None
    assert models["centroid"].image_size == (384, 384)
    identity = models["multi_class_bottomup"]
    assert (identity.input_scale, identity.pad_to_stride, identity.image_size) == (0.5, 16, (1024, 1024))
    assert identity.skeleton == Skeleton(("head", "thorax"), ((1, 0),))
    assert models["multi_instance"].network.outputs == (
        "MultiInstanceConfmapsHead_0",
        "PartAffinityFieldsHead_0",
        "OffsetRefinementHead_0",
    )


@pytest.fixture
def folder(data, tmp_path):
    """A copy of a real centred-instance folder, to damage."""
    copy = tmp_path / "model"
    copy.mkdir()
    for name in ("best_model.h5", "training_config.json"):
        shutil.copy(data / "sleap_models" / "minimal_instance.UNet.centered_instance" / name, copy)
    return copy


def edit_config(folder, change):
    path = folder / "training_config.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))


def edit_layers(folder, change):
    with h5py.File(folder / "best_model.h5", "r+") as file:
        model = json.loads(file.attrs["model_config"])
        change({layer["name"]: layer for layer in model["config"]["layers"]})
        file.attrs["model_config"] = json.dumps(model)


def set_at(path, value):
    *parents, last = path.split(".")

    def change(config):
        for key in parents:
            config = config[key]
        config[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_at("model.heads.centered_instance", None),
         "$.model.heads: expected exactly one of single_instance, centroid, centered_instance, multi_instance, "
         "multi_class_bottomup, multi_class_topdown, got none"),
        (set_at("model.heads.centroid", {}),
         "$.model.heads: expected exactly one of single_instance, centroid, centered_instance, multi_instance, "
         "multi_class_bottomup, multi_class_topdown, got centroid, centered_instance"),
        (set_at("model.heads", None), "$.model.heads: expected an object, got none"),
        (set_at("model", 3), "$.model.heads: expected an object, got none"),
        (set_at("data.preprocessing.input_scaling", "half"),
         "$.data.preprocessing.input_scaling: expected float, got str"),
        (set_at("data.labels.skeletons", []), "$.data.labels.skeletons: expected a skeleton, got none"),
        (set_at("model.heads.centered_instance.part_names", ["A", "C"]),
         "part_names: expected nodes of the skeleton (A, B), got C"),
        (set_at("model.heads.centered_instance.anchor_part", "C"), "anchor: expected one of A, B, got C"),
    ],
)  # fmt: skip
def test_mistakes_in_the_configuration_are_named(folder, change, message):
    edit_config(folder, change)
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_model(folder)
    assert str(error.value) == f"{folder / 'training_config.json'}: {message}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_at("input.config.batch_input_shape", [None, 96, 96, 2]), "layer input: channels: expected 1 or 3, got 2"),
        (set_at("stack0_enc0_conv0.class_name", "Conv3D"),
         "layer stack0_enc0_conv0: layers of type Conv3D are not supported"),
        (set_at("stack0_enc0_conv0.config.padding", "valid"),
         "layer stack0_enc0_conv0: padding: expected same, got valid"),
        (set_at("stack0_enc0_conv0.config.dilation_rate", [2, 2]),
         "layer stack0_enc0_conv0: dilation_rate: expected 1, got [2, 2]"),
        (set_at("stack0_enc0_act0_relu.config.activation", "gelu"),
         "layer stack0_enc0_act0_relu: activation: expected linear, relu, sigmoid, softmax, got gelu"),
        (set_at("stack0_enc0_conv0.config.filters", 17),
         "layer stack0_enc0_conv0: expected a kernel of shape (3, 3, 1, 17), got (3, 3, 1, 16)"),
    ],
)  # fmt: skip
def test_unsupported_layers_are_named(folder, change, message):
    edit_layers(folder, change)
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_model(folder)
    assert str(error.value) == f"{folder / 'best_model.h5'}: {message}"


def test_missing_and_damaged_files_are_named(folder):
    weights, config = folder / "best_model.h5", folder / "training_config.json"
    whole = weights.read_bytes()
    for size in (0, 100, len(whole) // 4, len(whole) // 2, len(whole) - 1000):
        weights.write_bytes(whole[:size])
        with pytest.raises(ModelNotOpenError, match=r"best_model\.h5: expected"):
            read_sleap_model(folder)
    weights.unlink()
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_model(folder)
    assert str(error.value) == f"{weights}: no such file"
    config.write_text("{")
    with pytest.raises(ModelNotOpenError, match=r"training_config\.json: expected JSON, got a damaged file"):
        read_sleap_model(folder)
    config.unlink()
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_model(folder)
    assert str(error.value) == f"{config}: No such file or directory; expected a model folder that SLEAP wrote"


def test_weights_alone_are_no_model(folder):
    with h5py.File(folder / "best_model.h5", "r+") as file:
        del file.attrs["model_config"]
    with pytest.raises(ModelNotOpenError, match="expected the attribute model_config, got none"):
        read_sleap_model(folder)


def test_infinite_weights_are_refused(folder):
    with h5py.File(folder / "best_model.h5", "r+") as file:
        file["model_weights/stack0_enc0_conv0/stack0_enc0_conv0/bias:0"][0] = np.nan
    with pytest.raises(ModelNotOpenError, match="layer stack0_enc0_conv0: expected a finite bias, got NaN or infinity"):
        read_sleap_model(folder)


def node(name):
    return {"py/object": "sleap.skeleton.Node", "py/state": {"py/tuple": [name, 1.0]}}


def link(index, source, target, kind):
    return {"edge_insert_idx": index, "key": 0, "source": source, "target": target, "type": kind}


def edge_type(number):
    return {"py/reduce": [{"py/type": "sleap.skeleton.EdgeType"}, {"py/tuple": [number]}]}


def test_skeletons_are_decoded_by_reference(folder):
    """Objects 1, 2: nodes of the first link, 3: its type, 4: the next new node, 5: the type of symmetries."""
    links = [
        link(1, node("A"), node("B"), edge_type(1)),
        link(0, {"py/id": 2}, node("wingL"), {"py/id": 3}),
        link(2, {"py/id": 1}, {"py/id": 4}, edge_type(2)),
        link(3, {"py/id": 4}, {"py/id": 1}, {"py/id": 5}),
    ]
    graph = {
        "directed": True,
        "links": links,
        "nodes": [{"id": {"py/id": 2}}, {"id": {"py/id": 4}}, {"id": {"py/id": 1}}],
    }

    def change(config):
        config["data"]["labels"]["skeletons"] = [graph]
        config["model"]["heads"]["centered_instance"]["part_names"] = None

    edit_config(folder, change)
    assert read_sleap_model(folder).skeleton == Skeleton(("B", "wingL", "A"), ((0, 1), (2, 0)), ((1, 2),))


def test_maps_follow_part_names(folder):
    edit_config(folder, set_at("model.heads.centered_instance.part_names", ["B", "A"]))
    assert read_sleap_model(folder).skeleton == Skeleton(("B", "A"), ((1, 0),))


@pytest.mark.parametrize("state", [{"py/state": {"name": "A", "weight": 1.0}}, {"name": "A", "weight": 1.0}])
def test_other_ways_to_store_a_node(folder, state):
    def change(config):
        config["data"]["labels"]["skeletons"][0]["links"][0]["source"] = {"py/object": "sleap.skeleton.Node"} | state

    edit_config(folder, change)
    assert read_sleap_model(folder).skeleton.nodes == ("A", "B")
