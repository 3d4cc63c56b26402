"""Exports of sleap-nn, written here operation by operation as sleap-nn 0.3 and PyTorch's exporter write them."""

import json

import numpy as np
import onnxruntime
import pytest

import models.importing
from models.errors import ModelNotOpenError
from models.exported import ExportedModel, ExportedOptions
from models.importing import import_models
from models.skeleton import Skeleton
from models.sources.onnx_graph import OnnxGraph
from models.sources.onnx_network import find_networks
from models.sources.sleap_nn import read_sleap_nn_export
from models.spec import ModelSpec

onnx = pytest.importorskip("onnx")

NODES, EDGES, CLASSES = ("head", "thorax", "abdomen"), ((0, 1), (2, 1)), ("female", "male")
SIZE, CROP = (32, 48), 16
RANKS = {"peaks": 2, "peak_vals": 2, "line_scores": 4, "class_probs": 4, "class_logits": 2, "centroids": 3,
         "centroid_vals": 3}  # fmt: skip


class Writer:
    """An ONNX graph with constants as nodes and weights as initialisers."""

    def __init__(self):
        self.nodes, self.weights = [], []
        self.rng = np.random.default_rng(8)

    def op(self, kind, *inputs, out=None, name=None, **attributes):
        out = out or f"v{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [out], name or f"/{kind}_{out}", **attributes))
        return out

    def constant(self, value, dtype=np.int64):
        return self.op("Constant", value=onnx.numpy_helper.from_array(np.array(value, dtype)))

    def weight(self, *shape):
        array = self.rng.normal(0, 0.4, shape).astype(np.float32)
        self.weights.append(onnx.numpy_helper.from_array(array, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def conv(self, x, n_in, n_out, side=3):
        return self.op("Conv", x, self.weight(n_out, n_in, side, side), self.weight(n_out), auto_pad="SAME_UPPER",
                       dilations=[1, 1], group=1, kernel_shape=[side, side], strides=[1, 1])  # fmt: skip

    def relu_conv(self, x, n_in, n_out, side=3):
        return self.op("Relu", self.conv(x, n_in, n_out, side))

    def save(self, path, channels, outputs, metadata):
        tensor = onnx.helper.make_tensor_value_info
        image = tensor("image", onnx.TensorProto.UINT8, ["batch", channels, "height", "width"])
        values = [tensor(name, onnx.TensorProto.FLOAT, [f"{name}{k}" for k in range(RANKS[name])]) for name in outputs]
        graph = onnx.helper.make_graph(
            self.nodes, "main_graph", [image], values, self.weights)  # fmt: skip
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        if metadata:
            onnx.helper.set_model_props(model, {"sleap_nn_metadata": json.dumps(metadata), "training_config": "{}"})
        onnx.save(model, path)


def resized(g, x, size):
    kept = g.op("Slice", g.op("Shape", x), g.constant([0]), g.constant([2]), g.constant([0]))
    sizes = g.op("Concat", kept, g.constant(size), axis=0)
    return g.op("Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")


def network(g, x, maps, further=None, *, transposed=False, normalised=False):
    """A small UNet of maximum stride 4; confidence maps at stride 2, the other head at stride 4."""
    a = g.relu_conv(x, 1, 3)
    b = g.op("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 0, 0], ceil_mode=0)
    b = g.relu_conv(b, 3, 4)
    if normalised:
        statistics = [g.weight(4) for _ in range(3)]
        b = g.op("BatchNormalization", b, *statistics, g.constant([1, 2, 0.5, 3], np.float32), epsilon=1e-4)
    c = g.relu_conv(g.op("MaxPool", b, kernel_shape=[2, 2], strides=[2, 2]), 4, 5)
    if transposed:
        up = g.op("ConvTranspose", c, g.weight(5, 5, 3, 3), g.weight(5), dilations=[1, 1], group=1, kernel_shape=[3, 3],
                  output_padding=[1, 1], pads=[1, 1, 1, 1], strides=[2, 2])  # fmt: skip
    else:
        factors = g.constant([1, 1, 2, 2], np.float32)
        up = g.op("Resize", c, "", factors, mode="linear", coordinate_transformation_mode="half_pixel")
    d = g.relu_conv(g.op("Concat", b, up, axis=1), 9, 4)
    heads = {"confmaps": g.conv(d, 4, maps, 1)}
    if further == "pafs":
        heads[further] = g.conv(c, 5, 2 * len(EDGES), 1)
    elif further == "class_maps":
        heads[further] = g.op("Sigmoid", g.conv(c, 5, len(CLASSES), 1))
    elif further == "class_vectors":
        y = g.op("Flatten", g.op("GlobalMaxPool", c), axis=1)
        y = g.op("Relu", g.op("Gemm", y, g.weight(6, 5), g.weight(6), alpha=1.0, beta=1.0, transB=1))
        y = g.op("Gemm", y, g.weight(len(CLASSES), 6), g.weight(len(CLASSES)), transB=1)
        heads[further] = g.op("Softmax", y, axis=-1)
    return heads


def global_peaks(g, maps):
    flat = g.op("Reshape", maps, g.constant([0, 0, -1]))
    g.op("ReduceMax", flat, out="peak_vals", axes=[-1], keepdims=0)
    g.op("Cast", g.op("ArgMax", flat, axis=-1, keepdims=0), out="peaks", to=1)


def local_peaks(g, maps, names):
    """Peaks by comparison with shifted copies, whose padding is computed."""
    pads = g.op("Cast", g.op("Concat", g.constant([0, 0, 1, 1]), g.constant([0, 0, 1, 1]), axis=0), to=7)
    padded = g.op("Pad", maps, pads, g.constant(-np.inf, np.float32), mode="constant")
    around = g.op("Slice", padded, g.constant([1]), g.constant([-1]), g.constant([3]))
    around = g.op("Slice", around, g.constant([0]), g.constant([-2]), g.constant([2]))
    best = g.op("Where", g.op("Greater", maps, around), maps, g.constant(-1e9, np.float32))
    flat = g.op("Reshape", best, g.constant([0, 0, -1]))
    values, where = names
    g.nodes.append(onnx.helper.make_node("TopK", [flat, g.constant([2])], [values, f"{where}_cells"], axis=-1))
    return g.op("Cast", f"{where}_cells", out=where, to=1)


def crops(g, pixels, centroids):
    """Two crops an image, by sampling copies of the image on a grid."""
    copies = g.op("Expand", g.op("Unsqueeze", pixels, g.constant([1])), g.constant([1, 2, 1, 1, 1]))
    copies = g.op("Reshape", copies, g.constant([-1, 1, *SIZE]))
    grid = g.rng.uniform(-1, 1, (1, CROP, CROP, 2)).astype(np.float32)
    shift = g.op("Mul", g.op("Reshape", centroids, g.constant([-1, 1, 1, 1])), g.constant(1e-4, np.float32))
    grid = g.op("Add", g.constant(grid, np.float32), shift)
    cut = g.op("GridSample", copies, grid, mode="bilinear", padding_mode="zeros", align_corners=1)
    return g.op("Reshape", g.op("Reshape", cut, g.constant([-1, 2, 1, CROP, CROP])), g.constant([-1, 1, CROP, CROP]))


@pytest.fixture
def export(tmp_path):
    """Write an export; return its folder and the head tensors' names, network by network."""

    def write(model_type, *, scale=1.0, crop_scale=1.0, channels=1, prepare=None, embed=True, name="", **options):
        g = Writer()
        pixels = g.op("Div", g.op("Cast", "image", to=1), g.constant(255.0, np.float32))
        image = resized(g, pixels, [int(side * scale) for side in SIZE]) if scale != 1 else pixels
        if prepare:
            image = prepare(g, image)
        metadata = {
            "sleap_nn_version": "0.3.5", "model_type": model_type, "node_names": NODES, "n_nodes": len(NODES),
            "edge_inds": EDGES, "n_edges": len(EDGES), "input_scale": scale, "output_stride": 2, "crop_size": None,
            "input_dtype": "uint8", "normalization": "0_to_1", "class_names": None, "anchor_part": "thorax",
            "peak_threshold": 0.2,
        }  # fmt: skip
        heads, outputs = [], ["peaks", "peak_vals"]
        if model_type in ("single_instance", "centered_instance", "multi_class_topdown"):
            further = "class_vectors" if model_type == "multi_class_topdown" else None
            heads.append(network(g, image, len(NODES), further, **options))
            global_peaks(g, heads[0]["confmaps"])
        elif model_type in ("bottomup", "multi_class_bottomup"):
            further, read = ("pafs", "line_scores") if model_type == "bottomup" else ("class_maps", "class_probs")
            heads.append(network(g, image, len(NODES), further, **options))
            local_peaks(g, heads[0]["confmaps"], ("values", "cells"))
            g.op("ReduceMax", "values", out="peak_vals", axes=[-1], keepdims=0)
            where = g.op("ReduceMax", "cells", out="peaks", axes=[-1], keepdims=0)
            grid = g.op("Expand", g.op("Reshape", where, g.constant([0, -1, 1, 1])), g.constant([1, 1, 1, 2]))
            g.op("GridSample", heads[0][further], grid, out=read, align_corners=1)
            outputs.append(read)
        else:
            heads.append(network(g, image, 1, **options))
            outputs = ["centroids", "centroid_vals"]
            where = local_peaks(g, heads[0]["confmaps"], ("centroid_vals", "centroids"))
            if model_type != "centroid":
                cut = crops(g, pixels, where)
                if crop_scale != 1:
                    cut = resized(g, cut, [int(CROP * crop_scale)] * 2)
                further = "class_vectors" if model_type == "multi_class_topdown_combined" else None
                heads.append(network(g, cut, len(NODES), further, **options))
                global_peaks(g, heads[1]["confmaps"])
                outputs += ["peaks", "peak_vals"]
        if model_type.startswith("multi_class_topdown"):
            g.op("Identity", heads[-1]["class_vectors"], out="class_logits")
            outputs.append("class_logits")
        if "instance" in model_type or "topdown" in model_type:
            metadata["crop_size"] = None if model_type == "single_instance" else [CROP, CROP]
        if "class" in model_type:
            metadata["class_names"] = CLASSES
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        g.save(folder / "model.onnx", channels, outputs, metadata if embed else None)
        (folder / "export_metadata.json").write_text(json.dumps(metadata))
        return folder, heads

    return write


def values_of(folder, names, image):
    """Run an export and return some of its values."""
    model = onnx.load(folder / "model.onnx")
    known = {value.name for value in model.graph.output}
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    return onnxruntime.InferenceSession(model.SerializeToString()).run(names, {"image": image})


def channels_last(value):
    return value.transpose(0, 2, 3, 1) if value.ndim == 4 else value


KINDS = {
    "single_instance": ["single_instance"],
    "centroid": ["centroid"],
    "centered_instance": ["centered_instance"],
    "topdown": ["centroid", "centered_instance"],
    "bottomup": ["multi_instance"],
    "multi_class_bottomup": ["multi_class_bottomup"],
    "multi_class_topdown": ["multi_class_topdown"],
    "multi_class_topdown_combined": ["centroid", "multi_class_topdown"],
}
OPTIONS = {
    "plain": {},
    "scaled": {"scale": 0.5},
    "transposed": {"transposed": True},
    "normalised": {"normalised": True},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("model_type", KINDS)
def test_head_maps_are_those_of_the_export(export, run_network, model_type, options):
    folder, heads = export(model_type, **OPTIONS[options])
    found = read_sleap_nn_export(folder)
    assert [model.kind for model in found] == KINDS[model_type]
    sources = [network.source for network in find_networks(OnnxGraph(folder / "model.onnx"))]
    size = (CROP, CROP) if model_type in ("centered_instance", "multi_class_topdown") else SIZE
    image = np.random.default_rng(9).integers(0, 256, (1, 1, *size), dtype=np.uint8)
    for model, source, wanted in zip(found, sources, heads, strict=True):
        assert tuple(model.network.outputs) == tuple(wanted)
        given, *expected = values_of(folder, [source, *wanted.values()], image)
        results = run_network(model.network, channels_last(given).copy())
        for result, reference in zip(results.values(), expected, strict=True):
            np.testing.assert_allclose(result, channels_last(reference), atol=1e-5)
            assert reference.std() > 1e-3


TYPES = {
    "single_instance": (["single_instance"], {}),
    "centroid": (["centroid"], {"scale": 0.5}),
    "top_down": (["topdown"], {"crop_scale": 0.5}),
    "top_down from two exports": (["centered_instance", "centroid"], {}),
    "bottom_up": (["bottomup"], {}),
    "bottom_up_id": (["multi_class_bottomup"], {}),
    "top_down_id": (["multi_class_topdown_combined"], {"scale": 0.5}),
    "top_down_id from two exports": (["multi_class_topdown", "centroid"], {}),
}


@pytest.mark.parametrize("name", TYPES)
def test_every_type_runs(export, tmp_path, monkeypatch, name):
    monkeypatch.setattr(models.importing, "add_reference", ModelSpec.load)
    model_types, options = TYPES[name]
    folders = [export(model_type, name=model_type, **options)[0] for model_type in model_types]
    with pytest.raises(ModelNotOpenError, match=r"give the camera's size"):
        import_models(folders, tmp_path / "out")
    imported = import_models(folders, tmp_path / "out", (37, 50))
    spec = imported.spec
    assert (spec.type, spec.image.shape) == (name.split()[0], (37, 50))
    assert spec.skeleton.nodes == (("thorax",) if spec.type == "centroid" else NODES)
    assert imported.report[-1].startswith("different from sleap-nn: peaks are refined below a cell of the map")
    model = ExportedModel(ExportedOptions(path=tmp_path / "out", threads=1))
    poses = model.predict(np.random.default_rng(3).integers(0, 256, (37, 50), dtype=np.uint8), 0)
    assert poses.xy.shape[1:] == (len(spec.skeleton.nodes), 2)


def test_what_an_export_says(export):
    folder, _ = export("multi_class_topdown_combined", scale=0.5, crop_scale=0.5)
    centroid, instance = read_sleap_nn_export(folder)
    assert (centroid.input_scale, centroid.crop_size_px, centroid.class_names) == (0.5, None, ())
    assert (instance.input_scale, instance.crop_size_px, instance.class_names) == (0.5, CROP, CLASSES)
    assert instance.skeleton == Skeleton(NODES, EDGES)
    assert (centroid.anchor, instance.program, instance.image_size) == ("thorax", "sleap-nn 0.3.5", None)
    assert instance.notes == (
        "approximate: sleap-nn shrank the images of training with antialiasing, the graph does not",
        "approximate: sleap-nn enlarged the crops of training by 16/15, the graph does not",
    )


def gray(g, x):
    channels = [f"c{k}" for k in range(3)]
    g.nodes.append(onnx.helper.make_node("Split", [x, g.constant([1, 1, 1])], channels, axis=-3))
    flat = [g.op("Squeeze", channel, g.constant([-3])) for channel in channels]
    weighted = [g.op("Mul", channel, g.constant(weight, np.float32))
                for channel, weight in zip(flat, (0.2989, 0.587, 0.114), strict=True)]  # fmt: skip
    total = g.op("Add", g.op("Add", weighted[0], weighted[1]), weighted[2])
    return g.op("Unsqueeze", total, g.constant([-3]))


def test_gray_from_colour_is_part_of_preparing_an_image(export):
    folder, _ = export("single_instance", channels=3, prepare=gray)
    assert read_sleap_nn_export(folder)[0].network.layers[0].channels == 1


def test_either_place_of_the_metadata_will_do(export):
    folder, _ = export("bottomup")
    both = read_sleap_nn_export(folder)[0].skeleton
    (folder / "export_metadata.json").unlink()
    assert read_sleap_nn_export(folder)[0].skeleton == both
    folder, _ = export("bottomup", embed=False)
    assert read_sleap_nn_export(folder)[0].skeleton == both
    (folder / "export_metadata.json").unlink()
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_nn_export(folder)
    assert str(error.value) == (
        f"{folder / 'export_metadata.json'}: no such file, and model.onnx has no sleap_nn_metadata"
    )


def erf_gelu(g, x):
    y = g.relu_conv(x, 1, 1)
    return g.op("Mul", y, g.op("Erf", y), name="/act/Mul")


def mean_and_deviation(g, x):
    return g.op("Sub", x, g.constant([[[[0.5]]]], np.float32), name="/normalise/Sub")


def odd_size(g, x):
    y = g.relu_conv(x, 1, 1)
    return g.op("Pad", y, g.op("Cast", g.constant([0, 0, 0, 0, 0, 0, 1, 0]), to=7), name="/pool/Pad")


def fewer_levels(g, x):
    return g.op("Mul", x, g.constant(2.0, np.float32), name="/brighter/Mul")


def scaled_twice(g, x):
    return g.op("Div", x, g.constant(255.0, np.float32), out="pixels")


def other_scale(g, x):
    return g.op("Div", x, g.constant(128.0, np.float32), name="/scale/Div")


def half_sized(g, x):
    return g.op("Resize", g.relu_conv(x, 1, 1), "", g.constant([1, 1, 0.5, 0.5], np.float32), name="/half/Resize",
                mode="linear")  # fmt: skip


def aligned(g, x):
    return g.op("Resize", g.relu_conv(x, 1, 1), "", g.constant([1, 1, 2, 2], np.float32), name="/up/Resize",
                mode="linear", coordinate_transformation_mode="align_corners")  # fmt: skip


def grouped(g, x):
    four = g.relu_conv(x, 1, 4)
    return g.op("Conv", four, g.weight(4, 2, 3, 3), name="/grouped/Conv", group=2, pads=[1, 1, 1, 1])


def wrong_weights(g, x):
    return g.op("Conv", g.relu_conv(x, 1, 4), g.weight(4, 3, 3, 3), name="/wrong/Conv", pads=[1, 1, 1, 1])


STRANGE = {
    erf_gelu: "node /act/Mul (Mul): expected a layer of a UNet or a step in preparing an image, got Mul",
    mean_and_deviation:
        "node /normalise/Sub (Sub): expected a layer of a UNet or a step in preparing an image, got Sub",
    odd_size:
        "node /pool/Pad (Pad): expected a layer of a UNet or a step in preparing an image, got Pad; was it exported "
        "for a size that is no multiple of the network's largest stride? Export it again with --input-height and "
        "--input-width",
    fewer_levels: "node /brighter/Mul (Mul): expected a weight of gray from RGB, got [[2.0]]",
    scaled_twice: "expected one division by 255 between the image and pixels, got Div ← Div ← Cast",
    other_scale: "node /scale/Div (Div): expected a division by 255, got [[128.0]]",
    half_sized:
        "node /half/Resize (Resize): expected a whole constant factor for height and width, "
        "got [1.0, 1.0, 0.5, 0.5]",
    aligned:
        "node /up/Resize (Resize): expected linear with half-pixel centres, or copies of the nearest, "
        "got linear, align_corners",
    wrong_weights: "node /wrong/Conv (Conv): expected input 1 of shape (any, 4, any, any), got (4, 3, 3, 3)",
    grouped: "node /grouped/Conv (Conv): expected 1 group or one for each channel, got 2 groups",
}  # fmt: skip


@pytest.mark.parametrize("prepare", STRANGE, ids=lambda function: function.__name__)
def test_what_is_not_understood_is_named(export, prepare):
    folder, _ = export("single_instance", prepare=prepare)
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_nn_export(folder)
    assert str(error.value) == f"{folder / 'model.onnx'}: {STRANGE[prepare]}"


def edited(folder, change, *, embedded):
    """Change the metadata beside the graph and inside it, or only the former."""
    path = folder / "export_metadata.json"
    metadata = json.loads(path.read_text())
    change(metadata)
    path.write_text(json.dumps(metadata))
    if embedded:
        model = onnx.load(folder / "model.onnx")
        onnx.helper.set_model_props(model, {"sleap_nn_metadata": json.dumps(metadata)})
        onnx.save(model, folder / "model.onnx")


@pytest.mark.parametrize(
    ("change", "embedded", "where", "message"),
    [
        ({"anchor_part": "head"}, False, "export_metadata.json",
         "$.anchor_part: expected thorax as model.onnx says, got head"),
        ({"output_stride": 4}, True, "export_metadata.json", "$.output_stride: expected 2 as model.onnx says, got 4"),
        ({"input_scale": 0.5}, True, "model.onnx",
         "expected a resize before the network because input_scale is 0.5, got none"),
        ({"model_type": "embedding"}, True, "export_metadata.json",
         "$: model_type: expected single_instance or centroid or centered_instance or topdown or bottomup or "
         "multi_class_bottomup or multi_class_topdown or multi_class_topdown_combined, got embedding"),
        ({"n_nodes": 4}, True, "export_metadata.json", "$: n_nodes: expected 3 as node_names, got 4"),
        ({"normalization": "imagenet"}, True, "export_metadata.json",
         "$: normalization: expected 0_to_1, got imagenet"),
        ({"anchor_part": "tail"}, True, "export_metadata.json",
         "$: anchor_part: expected one of head, thorax, abdomen, got tail"),
        ({"node_names": "head"}, True, "export_metadata.json", '$.node_names: expected array, got "head"'),
        ({"model_type": "multi_class_bottomup", "class_names": CLASSES}, True, "model.onnx",
         "expected the outputs peak_vals, class_probs of a multi_class_bottomup export, "
         "got peaks, peak_vals, line_scores without class_probs"),
        ({"model_type": "topdown"}, True, "model.onnx",
         "expected the outputs centroid_vals, peak_vals of a topdown export, "
         "got peaks, peak_vals, line_scores without centroid_vals"),
        ({"node_names": ["head", "thorax"], "n_nodes": 2, "edge_inds": [[0, 1], [1, 0]]}, True, "model.onnx",
         "head confmaps: expected 2 channels (one for each of 2 nodes), got 3"),
        ({"edge_inds": [[0, 1]], "n_edges": 1}, True, "model.onnx",
         "head pafs: expected 2 channels (2 for each of 1 edges), got 4"),
        ({"edge_inds": [[0, 1], [2, 7]]}, True, "export_metadata.json",
         "skeleton: expected links between nodes 0 to 2, got 2 → 7"),
    ],
)  # fmt: skip
def test_metadata_must_fit_the_graph(export, change, embedded, where, message):
    folder, _ = export("bottomup")
    edited(folder, lambda metadata: metadata.update(change), embedded=embedded)
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_nn_export(folder)
    assert str(error.value) == f"{folder / where}: {message}"


def test_crops_must_be_square_and_known(export):
    folder, _ = export("topdown")
    for size, got in (([16, 24], "(16, 24)"), (None, "None")):
        edited(folder, lambda metadata, size=size: metadata.update(crop_size=size), embedded=True)
        with pytest.raises(ModelNotOpenError) as error:
            read_sleap_nn_export(folder)
        assert str(error.value) == f"{folder / 'export_metadata.json'}: $.crop_size: expected a square, got {got}"


def test_damaged_files_are_named(export):
    folder, _ = export("centroid")
    path, metadata = folder / "model.onnx", folder / "export_metadata.json"
    whole = path.read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 3):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelNotOpenError, match=r"model\.onnx: expected an ONNX model, got a damaged file: "):
            read_sleap_nn_export(folder)
    path.write_bytes(whole)
    metadata.write_text("{")
    with pytest.raises(ModelNotOpenError, match=r"export_metadata\.json: expected JSON, got a damaged file: "):
        read_sleap_nn_export(folder)
    path.unlink()
    with pytest.raises(ModelNotOpenError) as error:
        read_sleap_nn_export(folder)
    assert str(error.value) == f"{path}: no such file"


def test_weights_that_are_no_numbers_are_refused(export):
    folder, _ = export("centroid")
    model = onnx.load(folder / "model.onnx")
    array = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    array.flat[0] = np.nan
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(array, model.graph.initializer[0].name))
    onnx.save(model, folder / "model.onnx")
    with pytest.raises(ModelNotOpenError, match=r"\(Conv\): expected a finite kernel, got NaN or infinity"):
        read_sleap_nn_export(folder)
