import json
import shutil

import numpy as np
import pytest

from models.errors import ModelNotOpenError
from models.export.graph import output_stride
from models.skeleton import Skeleton
from models.sources.sleap import _decoded_skeleton, read_sleap_model

h5py = pytest.importorskip("h5py")

FOLDERS = {
    "minimal_instance.UNet.centroid": "centroid",
    "minimal_instance.UNet.centered_instance": "centered_instance",
    "minimal_instance.UNet.bottomup": "multi_instance",
    "min_tracks_2node.UNet.bottomup_multiclass": "multi_class_bottomup",
}


@pytest.mark.parametrize("name", FOLDERS)
def test_networks_compute_what_sleap_computed(data, run_network, name):
    folder = data / "sleap_models" / name
    network = read_sleap_model(folder).network
    with h5py.File(folder / "dummy_activations.h5") as file:
        expected = {head: file[layer.split("/")[0]][()] for head, layer in network.outputs.items()}
    stride = output_stride(network, network.outputs["confmaps"])
    height, width = (side * stride for side in expected["confmaps"].shape[1:3])
    results = run_network(network, np.zeros((1, height, width, 1), np.float32))
    for head, reference in expected.items():
        np.testing.assert_allclose(results[head], reference, atol=1e-4)
        assert np.abs(reference).max() > 1e-3


def test_what_a_folder_says(data):
    models = {kind: read_sleap_model(data / "sleap_models" / name) for name, kind in FOLDERS.items()}
    assert {kind: model.kind for kind, model in models.items()} == {kind: kind for kind in models}
    assert models["centered_instance"].crop_size_px == 96
    assert models["centroid"].crop_size_px is None
    assert models["centroid"].image_size == (384, 384)
    identity = models["multi_class_bottomup"]
    assert (identity.input_scale, identity.pad_to_stride, identity.image_size) == (0.5, 16, (1024, 1024))
    assert identity.skeleton == Skeleton(("head", "thorax"), ((1, 0),))
    assert identity.class_names == ("female", "male")
    assert {kind: tuple(model.network.outputs) for kind, model in models.items()} == {
        "centroid": ("confmaps", "offsets"),
        "centered_instance": ("confmaps", "offsets"),
        "multi_instance": ("confmaps", "pafs", "offsets"),
        "multi_class_bottomup": ("confmaps", "class_maps"),
    }


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
        (set_at("stack0_enc0_act0_relu.config.activation", "gelu"),
         "layer stack0_enc0_act0_relu: activation: expected linear, relu, elu, tanh, sigmoid, softmax, got gelu"),
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


def test_skeletons_are_decoded_by_reference():
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

    assert _decoded_skeleton(graph) == Skeleton(("B", "wingL", "A"), ((0, 1), (2, 0)), ((1, 2),))


def test_maps_follow_part_names(folder):
    edit_config(folder, set_at("model.heads.centered_instance.part_names", ["B", "A"]))
    assert read_sleap_model(folder).skeleton == Skeleton(("B", "A"), ((1, 0),))


@pytest.mark.parametrize("state", [{"py/state": {"name": "A", "weight": 1.0}}, {"name": "A", "weight": 1.0}])
def test_other_ways_to_store_a_node(folder, state):
    def change(config):
        config["data"]["labels"]["skeletons"][0]["links"][0]["source"] = {"py/object": "sleap.skeleton.Node"} | state

    edit_config(folder, change)
    assert read_sleap_model(folder).skeleton.nodes == ("A", "B")


@pytest.fixture
def fields(data, tmp_path):
    """A copy of a real bottom-up folder, to damage."""
    copy = tmp_path / "bottomup"
    copy.mkdir()
    for name in ("best_model.h5", "training_config.json"):
        shutil.copy(data / "sleap_models" / "minimal_instance.UNet.bottomup" / name, copy)
    return copy


def test_edges_follow_the_fields(fields):
    edit_config(fields, set_at("model.heads.multi_instance.pafs.edges", [["B", "A"]]))
    assert read_sleap_model(fields).skeleton == Skeleton(("A", "B"), ((1, 0),))


@pytest.mark.parametrize(
    ("change", "file", "message"),
    [
        (set_at("model.heads.multi_instance.pafs.edges", [["A", "B"], ["B", "A"]]), "best_model.h5",
         "head pafs: expected 4 channels (2 for each of 2 edges), got 2"),
        (set_at("model.heads.multi_instance.pafs.edges", []), "best_model.h5",
         "head pafs: expected 0 channels (2 for each of 0 edges), got 2"),
        (set_at("model.heads.multi_instance.pafs.edges", [["A", "C"]]), "training_config.json",
         "pafs.edges: expected pairs of nodes of the skeleton (A, B), got [['A', 'C']]"),
        (set_at("model.heads.multi_instance.pafs", None), "training_config.json",
         "$.model.heads.multi_instance.pafs: expected an object, got none"),
        (set_at("model.heads.multi_instance.confmaps.part_names", ["A"]), "training_config.json",
         "pafs.edges: expected pairs of nodes of the skeleton (A), got [['A', 'B']]"),
    ],
)  # fmt: skip
def test_heads_must_fit_the_configuration(fields, change, file, message):
    edit_config(fields, set_at("model.heads.multi_instance.pafs.edges", [["A", "B"]]))
    edit_config(fields, change)
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_model(fields)
    assert str(error.value) == f"{fields / file}: {message}"


def test_a_configuration_of_another_kind_is_refused(fields):
    def change(config):
        heads = config["model"]["heads"]
        heads["single_instance"], heads["multi_instance"] = heads["multi_instance"]["confmaps"], None

    edit_config(fields, change)
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_model(fields)
    assert str(error.value) == (
        f"{fields / 'best_model.h5'}: expected the heads confmaps of a single_instance model, "
        "got confmaps and pafs and offsets"
    )


@pytest.mark.parametrize("classes", [None, [], ["male", 2]])
def test_identities_need_names(data, tmp_path, classes):
    name = "min_tracks_2node.UNet.bottomup_multiclass"
    for file in ("best_model.h5", "training_config.json"):
        shutil.copy(data / "sleap_models" / name / file, tmp_path)
    edit_config(tmp_path, set_at("model.heads.multi_class_bottomup.class_maps.classes", classes))
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_model(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'training_config.json'}: $.model.heads.multi_class_bottomup.class_maps.classes: "
        f"expected names of identities, got {classes}"
    )


def rename_layers(folder, old, new):
    with h5py.File(folder / "best_model.h5", "r+") as file:
        file.attrs["model_config"] = str(file.attrs["model_config"]).replace(old, new)
        groups = file["model_weights"]
        for layer in [name for name in groups if old in name]:
            names = [name.decode() for name in groups[layer].attrs["weight_names"]]
            weights = {name.replace(old, new): groups[layer][name][()] for name in names}
            del groups[layer]
            group = groups.create_group(layer.replace(old, new))
            group.attrs["weight_names"] = [name.encode() for name in weights]
            for name, values in weights.items():
                group[name] = values


@pytest.mark.parametrize("suffix", ["", "_0", "_1"])
def test_numbers_behind_the_names_of_heads_do_not_matter(folder, suffix):
    rename_layers(folder, "ConfmapsHead_0", f"ConfmapsHead{suffix}")
    assert tuple(read_sleap_model(folder).network.outputs) == ("confmaps", "offsets")


def test_unknown_heads_are_refused(folder):
    rename_layers(folder, "OffsetRefinementHead_0", "DepthHead_0")
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_model(folder)
    assert str(error.value) == (
        f"{folder / 'best_model.h5'}: expected the outputs of SLEAP's heads (SingleInstanceConfmapsHead, "
        "CentroidConfmapsHead, CenteredInstanceConfmapsHead, MultiInstanceConfmapsHead, OffsetRefinementHead, "
        "PartAffinityFieldsHead, ClassMapsHead, ClassVectorsHead), got DepthHead_0"
    )


def test_of_several_stacks_the_first_is_read(folder):
    """SLEAP looks for the first output whose name fits."""
    whole = read_sleap_model(folder).network

    def change(layers):
        head = layers["CenteredInstanceConfmapsHead_0"]
        again = json.loads(json.dumps(head).replace("ConfmapsHead_0", "ConfmapsHead_1"))
        layers["CenteredInstanceConfmapsHead_1"] = again

    with h5py.File(folder / "best_model.h5", "r+") as file:
        model = json.loads(file.attrs["model_config"])
        named = {layer["name"]: layer for layer in model["config"]["layers"]}
        change(named)
        model["config"]["layers"] = list(named.values())
        model["config"]["output_layers"].insert(1, ["CenteredInstanceConfmapsHead_1", 0, 0])
        file.attrs["model_config"] = json.dumps(model)
        groups = file["model_weights"]
        group = groups.create_group("CenteredInstanceConfmapsHead_1")
        source = groups["CenteredInstanceConfmapsHead_0"]
        group.attrs["weight_names"] = list(source.attrs["weight_names"])
        for weight in source.attrs["weight_names"]:
            group[weight] = source[weight][()] + 1
    model = read_sleap_model(folder)
    assert model.network.layers == whole.layers
    assert model.notes == (
        "as SLEAP: of the outputs for confmaps of several stacks the first is used, "
        "CenteredInstanceConfmapsHead_1 is not",
    )
