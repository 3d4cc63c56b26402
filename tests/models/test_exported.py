import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import models.exported
from models.errors import ModelInputError, ModelNotOpenError
from models.export.export import Crops, WholeImage, export_model
from models.exported import ExportedModel, ExportedOptions, model_folder
from models.network import Layer, Network
from models.skeleton import Skeleton
from models.testing import check_model

SHAPE = (90, 100)
HERE = [(30.0, 20.0), (70.0, 60.0)]
TYPES = ["single_instance", "centroid", "top_down", "top_down_id", "bottom_up", "bottom_up_id"]


@pytest.fixture
def folder(tmp_path, export_spots):
    return export_spots(tmp_path / "model", SHAPE)


@pytest.fixture
def with_offsets(tmp_path, copy_network):
    """A model with offset maps that throw points about twice as far as `offset`, or to infinity."""

    def make(offset, *, n_nodes=1, detector_offset=None):
        def network(n_maps, offset):
            return copy_network(n_maps) if offset is None else copy_network(n_maps, offsets=(offset, offset))

        export_model(
            tmp_path,
            "top_down",
            skeleton=Skeleton(tuple("abcdef"[:n_nodes])),
            image_shape=SHAPE,
            whole_image=WholeImage(network(1, detector_offset)),
            crops=Crops(network(n_nodes, offset), 24),
        )
        return ExportedModel(ExportedOptions(path=tmp_path))

    return make


def untrained(heads, channels=1):
    """A small encoder and decoder with random weights: head → its channels."""
    rng = np.random.default_rng(11)
    layers = [
        Layer("input", "input", channels=channels),
        Layer("stem", "conv", ("input",), 8, 3, 2),
        Layer("skip", "relu", ("stem",)),
        Layer("pool", "max_pool", ("skip",), stride=2),
        Layer("deep", "conv", ("pool",), 16, 3),
        Layer("dense_maps", "relu", ("deep",)),
        Layer("up", "upsample", ("dense_maps",), stride=2),
        Layer("both", "concat", ("skip", "up")),
        Layer("mixed", "conv", ("both",), 8, 3),
    ]
    shapes = {"stem": (3, 3, channels, 8), "deep": (3, 3, 8, 16), "mixed": (3, 3, 24, 8)}
    for head, n in heads.items():
        if head == "class_vectors":
            layers += [Layer("global", "global_max_pool", ("dense_maps",)), Layer("flat", "flatten", ("global",))]
            layers += [Layer("logits", "dense", ("flat",), n), Layer(head, "softmax", ("logits",))]
            shapes["logits"] = (16, n)
        else:
            layers.append(Layer(head, "conv", ("mixed",), n, 1))
            shapes[head] = (1, 1, 8, n)
    weights = {}
    for name, shape in shapes.items():
        fan_in = int(np.prod(shape[:-1]))
        weights[f"{name}/kernel"] = (rng.standard_normal(shape) * np.sqrt(4 / fan_in)).astype(np.float32)
        weights[f"{name}/bias"] = (rng.standard_normal(shape[-1]) / 10).astype(np.float32)
    return Network(tuple(layers), {head: head for head in heads}, weights)


@pytest.fixture
def untrained_model(tmp_path):
    """A model of any type whose networks have random weights; their maps have peaks everywhere."""

    def make(kind, channels=1):
        skeleton, crops, heads = Skeleton(("a", "b", "c"), ((0, 1), (1, 2))), None, {"confmaps": 3}
        if kind == "centroid":
            skeleton, heads = Skeleton(("a",)), {"confmaps": 1}
        elif kind.startswith("top_down"):
            more = {"class_vectors": 2} if kind == "top_down_id" else {}
            crops, heads = Crops(untrained(heads | more, channels), 24, 0.75), {"confmaps": 1}
        elif kind == "bottom_up":
            heads |= {"pafs": 4}
        elif kind == "bottom_up_id":
            heads |= {"class_maps": 2}
        export_model(
            tmp_path,
            kind,
            skeleton=skeleton,
            image_shape=SHAPE if channels == 1 else (*SHAPE, 3),
            whole_image=WholeImage(untrained(heads, channels), 0.75),
            crops=crops,
            max_instances=3,
            min_edge_score=-100.0,
            class_names=("m", "f") if kind.endswith("_id") else (),
        )
        return ExportedModel(ExportedOptions(path=tmp_path))

    return make


def noise(n, channels=1):
    shape = (n, *SHAPE) if channels == 1 else (n, *SHAPE, 3)
    return np.random.default_rng(6).integers(0, 256, shape, dtype=np.uint8)


def test_the_contract(folder, spots):
    images = [spots(SHAPE, points, 1.5) for points in ([], HERE[:1], HERE, [(50.0, 10.0), *HERE])]
    check_model(ExportedModel(ExportedOptions(path=folder, threads=1)), images)


@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "colour"])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_keeps_the_contract(untrained_model, kind, channels):
    check_model(untrained_model(kind, channels), list(noise(3, channels)))


@pytest.mark.parametrize("kind", TYPES)
def test_a_batch_gives_what_its_images_give(untrained_model, kind):
    model = untrained_model(kind)
    images = noise(5)
    images[3] = 0
    alone = [model.predict(image, 0) for image in images]
    assert sum(len(poses.xy) for poses in alone) >= 3
    for batch in (model.predict_batch(images), [*model.predict_batch(images[:2]), *model.predict_batch(images[2:])]):
        for one, other in zip(alone, batch, strict=True):
            for name in ("xy", "node_scores", "instance_scores"):
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            if one.class_probs is not None:
                np.testing.assert_array_equal(one.class_probs, other.class_probs)
    assert model.predict_batch(images[:0]) == []


@pytest.mark.parametrize("kind", ["centroid", "top_down"])
def test_more_animals_than_slots_are_counted(tmp_path, copy_network, spots, kind):
    export_model(
        tmp_path,
        kind,
        skeleton=Skeleton(("spot",)),
        image_shape=SHAPE,
        whole_image=WholeImage(copy_network()),
        crops=Crops(copy_network(), 24) if kind == "top_down" else None,
    )
    model = ExportedModel(ExportedOptions(path=tmp_path))
    assert len(model.predict(spots(SHAPE, HERE, 1.5), 0).xy) == 2
    assert model.overflows == 0
    assert len(model.predict(spots(SHAPE, [*HERE, (50.0, 10.0)], 1.5), 1).xy) == 2
    model.predict_batch(np.stack([spots(SHAPE, [*HERE[:k], (50.0, 10.0)], 1.5) for k in (1, 2)]))
    assert model.overflows == 2


@pytest.fixture
def sideways(tmp_path, copy_network):
    """A bottom-up model of two nodes, both of them any spot, that are joined from left to right."""
    fields = ((0.0, 0.0), (1.0, 0.0))

    def make(**options):
        heads = {"pafs": fields} | options.pop("heads", {})
        export_model(
            tmp_path,
            "bottom_up",
            skeleton=Skeleton(("left", "right"), ((0, 1),)),
            image_shape=SHAPE,
            whole_image=WholeImage(copy_network(2, **heads)),
            **options,
        )
        return ExportedModel(ExportedOptions(path=tmp_path))

    return make


def test_too_many_peaks_and_too_many_animals_are_counted(sideways, spots):
    rows = [[(40.0, y), (60.0, y)] for y in (15.0, 45.0, 75.0)]
    one, two, three = (spots(SHAPE, sum(rows[:n], []), 1.5) for n in (1, 2, 3))  # noqa: RUF017
    roomy = sideways(max_instances=2, max_peaks=6)
    assert [len(roomy.predict(image, 0).xy) for image in (one, two)] == [1, 2]
    assert roomy.overflows == 0
    assert len(roomy.predict(three, 0).xy) == 2
    assert roomy.overflows == 1
    tight = sideways(max_instances=2, max_peaks=3)
    assert len(tight.predict(one, 0).xy) == 1
    assert tight.overflows == 0
    tight.predict(two, 0)
    assert tight.overflows == 1


def test_animals_are_found_where_they_are(folder, spots):
    model = ExportedModel(ExportedOptions(path=folder))
    model.warm_up(*SHAPE, 1)
    poses = model.predict(spots(SHAPE, HERE, 1.5), 0)
    order = np.argsort(poses.xy[:, 0, 0])
    np.testing.assert_allclose(poses.xy[order, 0], HERE, atol=0.01)
    np.testing.assert_allclose(poses.node_scores, 250 / 255, atol=1e-3)
    np.testing.assert_allclose(poses.instance_scores, 250 / 255, atol=1e-3)
    assert model.predict(np.zeros(SHAPE, np.uint8), 1).xy.shape == (0, 1, 2)
    assert model.faults == 0


def test_where_it_comes_from(folder):
    source = ExportedModel(ExportedOptions(path=folder)).source
    assert (source["kind"], source["path"]) == ("exported", str(folder))
    assert source["engine"].startswith("onnxruntime ")
    assert set(source["files"]) == {"model.onnx", "model.json"}


@pytest.mark.parametrize("size", [(90, 101, 1), (100, 90, 1), (90, 100, 3)])
def test_another_camera_is_refused(folder, size):
    height, width, channels = size
    with pytest.raises(ModelInputError) as error:
        ExportedModel(ExportedOptions(path=folder)).warm_up(*size)
    assert str(error.value) == (
        f"{folder}: expected images of 100×90 px with 1 channel(s), got {width}×{height} px with {channels}; "
        "set the camera to that size or export the model again for this one"
    )


@pytest.mark.parametrize("image", [np.zeros((90, 101), np.uint8), np.zeros(SHAPE, np.float32)])
def test_another_image_is_refused(folder, image):
    model = ExportedModel(ExportedOptions(path=folder))
    with pytest.raises(ModelInputError, match=r"expected an image of shape \(90, 100\) uint8, got"):
        model.predict(image, 0)
    with pytest.raises(ModelInputError, match=r"expected images of shape \(n, 90, 100\) uint8, got \(1, 90, 10"):
        model.predict_batch(image[np.newaxis])


def test_a_changed_graph_is_refused(folder):
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(ModelNotOpenError) as error:
        ExportedModel(ExportedOptions(path=folder))
    expected = json.loads((folder / "model.json").read_text())["graph"]["sha256"]
    assert str(error.value).startswith(f"{graph}: expected SHA-256 {expected} as model.json says, got ")
    assert str(error.value).endswith("the file was changed or damaged: export the model again")


def test_a_missing_graph_is_named(folder):
    (folder / "model.onnx").unlink()
    with pytest.raises(ModelNotOpenError) as error:
        ExportedModel(ExportedOptions(path=folder))
    assert str(error.value) == f"{folder / 'model.onnx'}: No such file or directory; model.json names it as the graph"


@pytest.mark.parametrize("offset", [(3e38, 0), (0, -3e38), (1e30, 0), (100, 0), (0, -25)])
def test_impossible_points_are_not_seen_and_counted(with_offsets, spots, offset):
    model = with_offsets((*offset, 0, 0), n_nodes=2)
    poses = model.predict(spots(SHAPE, HERE[:1], 1.5), 0)
    assert np.isnan(poses.xy[0, 0]).all()
    assert poses.node_scores[0, 0] == 0
    np.testing.assert_allclose(poses.xy[0, 1], HERE[0], atol=0.01)
    assert poses.node_scores[0, 1] > 0.9
    assert model.faults == 1


def test_an_instance_without_any_possible_point_is_dropped(with_offsets, spots):
    model = with_offsets((100.0, 0.0))
    poses = model.predict(spots(SHAPE, HERE, 1.5), 0)
    assert (poses.xy.shape, poses.node_scores.shape, poses.instance_scores.shape) == ((0, 1, 2), (0, 1), (0,))
    assert model.faults == 2


@pytest.mark.parametrize(("offset", "faults"), [((-20.0, 0.0), 1), ((-3e38, 0.0), 2)])
def test_an_impossible_centroid_is_dropped_and_counted(with_offsets, spots, offset, faults):
    model = with_offsets(None, detector_offset=offset)
    poses = model.predict(spots(SHAPE, HERE, 1.5, top=200), 0)
    assert model.faults == faults
    impossible = ~np.isfinite(model.outputs["instance_scores"][0])
    assert impossible.sum() == faults
    assert np.isnan(model.outputs["xy"][0, impossible]).all()
    # The other centroid lies 40 px beside its animal: in that crop there is nothing to see.
    assert len(poses.xy) == 0


def test_infinite_edges_join_nothing(sideways, spots):
    too_large = (3e38, 3e38)  # x · 3e38 + 3e38 is infinite where the image is bright
    model = sideways(heads={"pafs": (too_large, too_large)})
    assert len(model.predict(spots(SHAPE, HERE, 1.5), 0).xy) == 0
    assert model.faults == 1  # the other way round the score is minus infinity, as of a pair that is not there


def test_impossible_peaks_are_not_there_and_counted(sideways, spots):
    offsets = (0.0, 0.0, 100.0, 0.0)
    model = sideways(heads={"offsets": (offsets, offsets)})
    assert len(model.predict(spots(SHAPE, [(40.0, 20.0), (60.0, 20.0)], 1.5), 0).xy) == 0
    assert model.faults == 2


def test_an_animal_whose_class_is_not_a_number_may_be_any(tmp_path, copy_network, spots):
    too_large = (3e38, 3e38)  # x · 3e38 + 3e38 is infinite where the image is bright
    export_model(
        tmp_path,
        "top_down_id",
        skeleton=Skeleton(("spot",)),
        image_shape=SHAPE,
        whole_image=WholeImage(copy_network()),
        crops=Crops(copy_network(class_vectors=(too_large, too_large)), 24),
        class_names=("m", "f"),
    )
    model = ExportedModel(ExportedOptions(path=tmp_path))
    poses = model.predict(spots(SHAPE, HERE, 1.5), 0)
    np.testing.assert_allclose(np.sort(poses.xy[:, 0], axis=0), HERE, atol=0.01)
    assert poses.class_probs.tolist() == [[0.5, 0.5]] * 2
    assert model.faults == 2


def with_nan(network, head):
    """The network with maps of NaN in place of one head's."""
    n = next(layer.channels for layer in network.layers if layer.name == head)
    bias, kernel = np.full(n, 3e38, np.float32), np.zeros((1, 1, 1, n), np.float32)
    layers = [
        Layer("plus", "conv", ("input",), n, 1),
        Layer("minus", "conv", ("input",), n, 1),
        Layer("infinity", "add", ("plus", "plus")),
        Layer("minus_infinity", "add", ("minus", "minus")),
        Layer("nan", "add", ("infinity", "minus_infinity")),
    ]
    weights = {"plus/kernel": kernel, "plus/bias": bias, "minus/kernel": kernel, "minus/bias": -bias}
    return Network((*network.layers, *layers), {**network.outputs, head: "nan"}, {**network.weights, **weights})


@pytest.mark.parametrize(
    ("kind", "head", "faults"),
    [
        ("single_instance", "confmaps", 1),
        ("bottom_up", "pafs", 2),  # of 2 × 2 pairs those of two different spots
        ("bottom_up_id", "class_maps", 8),  # 2 peaks of 2 nodes, 2 classes
    ],
)
def test_maps_that_are_not_a_number_are_counted(tmp_path, copy_network, spots, kind, head, faults):
    heads = {} if head == "confmaps" else {head: ((1.0, -1.0), (0.0, 0.0))}
    export_model(
        tmp_path,
        kind,
        skeleton=Skeleton(("left", "right"), ((0, 1),)),
        image_shape=SHAPE,
        whole_image=WholeImage(with_nan(copy_network(2, **heads), head)),
        class_names=("m", "f") if kind == "bottom_up_id" else (),
    )
    model = ExportedModel(ExportedOptions(path=tmp_path))
    assert len(model.predict(spots(SHAPE, HERE, 1.5), 0).xy) == 0
    assert model.faults == faults


@pytest.mark.parametrize("kind", TYPES)
def test_nothing_in_an_empty_image(tmp_path, copy_network, kind):
    heads, crops = {}, None
    skeleton, names = Skeleton(("a", "b"), ((0, 1),)), ("m", "f") if kind.endswith("_id") else ()
    if kind.startswith("top_down"):
        crops = Crops(copy_network(2, **({"class_vectors": ((1.0, 2.0), (0.0, 0.0))} if names else {})), 24)
    elif kind == "bottom_up":
        heads = {"pafs": ((0.0, 0.0), (1.0, 0.0))}
    elif kind == "bottom_up_id":
        heads = {"class_maps": ((1.0, -1.0), (0.0, 0.0))}
    if kind == "centroid":
        skeleton = Skeleton(("a",))
    n_maps = 1 if crops or kind == "centroid" else 2
    export_model(
        tmp_path,
        kind,
        skeleton=skeleton,
        image_shape=SHAPE,
        whole_image=WholeImage(copy_network(n_maps, **heads)),
        crops=crops,
        class_names=names,
    )
    model = ExportedModel(ExportedOptions(path=tmp_path))
    for poses in (model.predict(np.zeros(SHAPE, np.uint8), 0), *model.predict_batch(np.zeros((2, *SHAPE), np.uint8))):
        n_nodes = len(skeleton.nodes)
        assert (poses.xy.shape, poses.node_scores.shape, poses.instance_scores.shape) == (
            (0, n_nodes, 2),
            (0, n_nodes),
            (0,),
        )
        assert (poses.class_probs is None) if not names else (poses.class_probs.shape == (0, 2))
    assert (model.faults, model.overflows) == (0, 0)


def test_a_skeleton_that_is_no_tree_is_refused(sideways, tmp_path):
    sideways()
    path = tmp_path / "model.json"
    spec = json.loads(path.read_text())
    spec["skeleton"]["nodes"].append("apart")
    path.write_text(json.dumps(spec))
    with pytest.raises(ModelNotOpenError, match="expected edges that link all nodes, got none between left, right and"):
        ExportedModel(ExportedOptions(path=tmp_path))


def test_the_single_animals_score_is_the_mean_of_its_nodes(tmp_path, spots):
    layers = (Layer("input", "input", channels=3), Layer("maps", "conv", ("input",), 2, 1))
    weights = {"maps/kernel": np.eye(3, 2, dtype=np.float32).reshape(1, 1, 3, 2), "maps/bias": np.zeros(2, np.float32)}
    rgb = Network(layers, {"confmaps": "maps"}, weights)
    export_model(
        tmp_path,
        "single_instance",
        skeleton=Skeleton(("a", "b")),
        image_shape=(*SHAPE, 3),
        whole_image=WholeImage(rgb),
    )
    model = ExportedModel(ExportedOptions(path=tmp_path))
    image = np.stack([spots(SHAPE, HERE[:1], 1.5, top) for top in (200, 100, 0)], axis=2)
    poses = model.predict(image, 0)
    np.testing.assert_allclose(poses.node_scores, [[200 / 255, 100 / 255]], atol=1e-6)
    np.testing.assert_allclose(poses.instance_scores, poses.node_scores.mean(axis=1), atol=1e-6)


def test_a_threshold_hides_nodes_without_a_fault(tmp_path, export_spots, spots):
    export_spots(tmp_path, SHAPE, peak_threshold=0.6)
    model = ExportedModel(ExportedOptions(path=tmp_path))
    assert len(model.predict(spots(SHAPE, HERE, 1.5, top=150), 0).xy) == 0
    assert len(model.predict(spots(SHAPE, HERE, 1.5, top=160), 0).xy) == 2
    assert model.faults == 0


def test_models_of_the_zoo_go_by_name(folder, tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    shutil.copytree(folder, zoo / "spots")
    monkeypatch.setattr(models.exported, "ZOO", zoo)
    assert model_folder(Path("zoo:spots")) == zoo / "spots"
    # A rig file's own folder comes before a relative path.
    assert model_folder(Path("/some/rigs/zoo:spots")) == zoo / "spots"
    with pytest.raises(ModelNotOpenError) as error:
        model_folder(Path("zoo:spot"))
    assert str(error.value) == "zoo:spot: expected one of spots"
    assert model_folder(Path("folder")) == Path.cwd() / "folder"
