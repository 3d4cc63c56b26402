import json
import zipfile

import numpy as np
import onnx
import pytest

from models.engines.options import EngineOptions
from models.engines.registry import open_engine
from models.errors import ModelInputError, ModelNotOpenError
from models.export.builder import GraphBuilder
from models.export.export import Crops, WholeImage, export_model
from models.export.reference import (
    MAX_IMAGE_BYTES,
    add_reference,
    load_reference,
    reference_outputs,
    stored_reference,
    synthetic_images,
    with_maps,
)
from models.skeleton import Skeleton
from models.spec import ModelSpec, sha256_of

SHAPE = (90, 100)
HERE = [(30.0, 20.0), (70.0, 60.0)]
TYPES = ["single_instance", "centroid", "top_down", "top_down_id", "bottom_up", "bottom_up_id"]
# Of two animals the first is the brighter: classes are told by brightness.
BRIGHT = ((40.0, -40.0), (-20.0, 20.0))


@pytest.fixture
def make_model(tmp_path, copy_network):
    """A model of any type that finds bright spots."""

    def make(kind="top_down", shape=SHAPE, **options):
        skeleton, whole, crops = Skeleton(("spot",)), WholeImage(copy_network()), None
        if kind in ("top_down", "top_down_id"):
            crops = Crops(copy_network(**({"class_vectors": BRIGHT} if kind == "top_down_id" else {})), 24)
        elif kind == "bottom_up":
            skeleton = Skeleton(("left", "right"), ((0, 1),))
            whole = WholeImage(copy_network(2, pafs=((0.0, 0.0), (1.0, 0.0))))
        elif kind == "bottom_up_id":
            whole = WholeImage(copy_network(class_maps=BRIGHT))
        if kind in ("top_down_id", "bottom_up_id"):
            options |= {"class_names": ("bright", "dim")}
        folder = tmp_path / kind
        export_model(folder, kind, skeleton=skeleton, image_shape=shape, whole_image=whole, crops=crops, **options)
        return folder

    return make


@pytest.fixture
def filed(make_model, spots):
    """A model with a reference, and a function that changes the arrays in its file."""
    folder = make_model()
    spec = add_reference(folder, spots(SHAPE, HERE, 1.5)[np.newaxis])
    path = folder / spec.reference.file

    def change(**arrays):
        with np.load(path) as file:
            content = {name: file[name] for name in file.files if not name.startswith("maps/")}
        content |= arrays
        np.savez(path, **{name: array for name, array in content.items() if array is not None})

    return folder, path, spec, change


def outputs_of_engine(folder, reference, spec):
    graph = (folder / "model.onnx").read_bytes()
    arrays = {name: np.zeros((len(reference.images), *of.shape), of.dtype) for name, of in spec.outputs.items()}
    engine = open_engine(graph, folder, EngineOptions(threads=1))
    engine.bind(reference.images.shape, arrays).run(reference.images)
    engine.close()
    return arrays


@pytest.mark.parametrize("kind", TYPES)
def test_numpy_and_an_engine_agree_on_every_type(make_model, kind):
    folder = make_model(kind)
    spec = add_reference(folder)
    reference = stored_reference(folder, spec)
    found = outputs_of_engine(folder, reference, spec)
    assert np.isfinite(reference.outputs["peaks" if spec.peaks else "xy"]).any()
    for name in spec.outputs:
        np.testing.assert_allclose(found[name], reference.outputs[name], atol=1e-4, err_msg=name)


def test_the_operators_are_those_of_an_engine(run_graph):
    def graph():
        rng = np.random.default_rng(1)
        graph = GraphBuilder("operators")
        value = graph.input("image", np.float32, ("batch", 4, 11, 12))
        value = graph.op("Conv", value, graph.float32(rng.normal(size=(6, 4, 3, 3))), graph.float32(rng.normal(size=6)),
                         kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])  # fmt: skip
        value = graph.op("Conv", value, graph.float32(rng.normal(size=(6, 1, 3, 3))), kernel_shape=[3, 3],
                         strides=[1, 1], pads=[1, 1, 1, 1], group=6)  # fmt: skip
        value = graph.op("Conv", value, graph.float32(rng.normal(size=(6, 6, 3, 3))), kernel_shape=[3, 3],
                         dilations=[2, 1], pads=[2, 1, 2, 1])  # fmt: skip
        value = graph.op("ConvTranspose", value, graph.float32(rng.normal(size=(6, 5, 3, 3))),
                         graph.float32(rng.normal(size=5)), kernel_shape=[3, 3], strides=[2, 2],
                         pads=[0, 0, 1, 1])  # fmt: skip
        value = graph.op("MaxPool", value, kernel_shape=[1, 3], strides=[1, 2], pads=[0, 1, 0, 1])
        index = graph.int64(rng.integers(0, 6, (1, 5, 10, 70)))
        return graph, graph.op("GatherElements", value, index, axis=3)

    image = np.random.default_rng(2).normal(size=(1, 4, 11, 12)).astype(np.float32)
    one, value = graph()
    (expected,) = run_graph(one, {value: (np.float32, 4)}, {"image": image})
    other, value = graph()
    other.output(value, "value", np.float32, ["a", "b", "c", "d"])
    serialised = other.build().SerializeToString()
    np.testing.assert_allclose(reference_outputs(serialised, image)["value"], expected, atol=1e-3)


def test_an_operator_that_numpy_does_not_know_is_refused():
    graph = GraphBuilder("padded")
    image = graph.input("image", np.float32, (1, 1, 8, 8))
    kernel = graph.float32(np.ones((1, 1, 3, 3)))
    graph.output(graph.op("Conv", image, kernel, auto_pad="SAME_UPPER"), "value", np.float32, (1, 1, 8, 8))
    with pytest.raises(NotImplementedError, match="expected explicit pads"):
        reference_outputs(graph.build().SerializeToString(), np.zeros((1, 1, 8, 8), np.float32))


def test_what_is_in_the_file(filed):
    folder, path, spec, _ = filed
    assert ModelSpec.load(folder) == spec
    assert (spec.reference.file, spec.reference.sha256) == ("reference.npz", sha256_of(path))
    reference = stored_reference(folder, spec)
    assert [image.max() for image in reference.images] == [250, 0]
    assert reference.outputs["xy"].shape == (2, 2, 1, 2)
    np.testing.assert_allclose(np.sort(reference.outputs["xy"][0, :, 0], axis=0), HERE, atol=0.01)
    assert np.isnan(reference.outputs["xy"][1]).all()
    assert set(spec.outputs) < set(reference.outputs)
    assert path.stat().st_size < 60_000


def test_small_maps_are_kept_and_large_ones_left_out(make_model, spots):
    small, large = make_model(shape=(40, 50)), make_model("centroid", shape=(400, 500))
    kept = stored_reference(small, add_reference(small, spots((40, 50), HERE[:1], 1.5)[np.newaxis])).outputs
    maps = {name: array.shape for name, array in kept.items() if name.startswith("maps/")}
    assert list(maps.values()) == [(2, 1, 1, 40, 50), (2, 2, 1, 24, 24)]
    assert [name.split("/")[1] for name in maps] == ["whole_image", "crops"]
    assert not any("maps" in name for name in stored_reference(large, add_reference(large)).outputs)


def test_maps_are_outputs_beside_those_of_the_graph(make_model):
    graph = onnx.load_from_string(with_maps((make_model("bottom_up") / "model.onnx").read_bytes())).graph
    names = [value.name for value in graph.output]
    assert names[:5] == ["peaks", "peak_scores", "peak_valid", "edge_scores", "overflow"]
    assert len(names) == 7
    assert all(name.startswith("maps/whole_image/") for name in names[5:])


def test_images_whose_answer_hangs_on_rounding_come_last(make_model, spots):
    folder = make_model()
    at_threshold = spots(SHAPE, HERE, 1.5, top=51)  # 51 / 255 is the threshold
    nothing = np.full(SHAPE, 3, np.uint8)
    good = spots(SHAPE, HERE, 1.5, top=200)
    spec = add_reference(folder, np.stack([nothing, at_threshold, good]))
    images = stored_reference(folder, spec).images
    np.testing.assert_array_equal(images[0], good)
    np.testing.assert_array_equal(images[-1], np.zeros(SHAPE, np.uint8))


def test_the_file_stays_small(make_model):
    shape = (512, 512)
    folder = make_model("centroid", shape=shape)
    noise = np.random.default_rng(0).integers(0, 255, (4, *shape)).astype(np.uint8)  # does not compress
    spec = add_reference(folder, noise)
    assert len(stored_reference(folder, spec).images) == 2
    assert (folder / spec.reference.file).stat().st_size < MAX_IMAGE_BYTES


def test_synthetic_images_are_always_the_same_and_compress():
    images = synthetic_images((256, 300))
    np.testing.assert_array_equal(images, synthetic_images((256, 300)))
    assert (images.shape, images.dtype) == ((16, 256, 300), np.uint8)
    assert all(np.ptp(image) > 100 for image in images)
    assert synthetic_images((40, 50, 3)).shape == (16, 40, 50, 3)


@pytest.mark.parametrize(
    "images", [np.zeros((2, 90, 101), np.uint8), np.zeros((2, 90, 100), np.float32), np.zeros((0, 90, 100), np.uint8)]
)
def test_images_of_another_camera_are_refused(make_model, images):
    folder = make_model()
    with pytest.raises(ModelInputError) as error:
        add_reference(folder, images)
    assert str(error.value) == (
        f"{folder}: reference images: expected (n, 90, 100) uint8, got {images.shape} {images.dtype}"
    )


def test_a_foreign_file_needs_only_images_and_points(filed, tmp_path):
    spec = filed[2]
    path = tmp_path / "other.npz"
    np.savez(path, images=np.zeros((3, *SHAPE), np.uint8), xy=np.zeros((3, 5, 1, 2)), frame_ids=np.arange(3))
    reference = load_reference(path, spec)
    assert set(reference.outputs) == {"xy"}
    assert reference.outputs["xy"].shape == (3, 5, 1, 2)


WRONG = {
    "other images": ({"images": np.zeros((2, 90, 101), np.uint8)},
                     "images: expected (2, 90, 100) numbers, got (2, 90, 101) uint8"),
    "images that are no bytes": ({"images": np.zeros((2, 90, 100))}, "images: expected uint8, got float64"),
    "no images": ({"images": None}, "images: expected (n, 90, 100) numbers, got (0,) uint8"),
    "no points": ({"xy": None, "valid": None}, "expected the arrays images and xy, node_scores, instance_scores, "
                  "valid, overflow (or images and xy), got none named xy, valid"),
    "another skeleton": ({"xy": np.zeros((2, 2, 3, 2), np.float32)},
                         "xy: expected (2, 2, 1, 2) numbers, got (2, 2, 3, 2) float32"),
    "another number of frames": ({"xy": np.zeros((3, 2, 1, 2), np.float32)},
                                 "xy: expected (2, 2, 1, 2) numbers, got (3, 2, 1, 2) float32"),
    "another number of slots": ({"valid": np.zeros((2, 3), bool)}, "valid: expected (2, 2) numbers, got (2, 3) bool"),
    "a flat array": ({"xy": np.zeros(2)}, "xy: expected (2, 0, 1, 2) numbers, got (2,) float64"),
    "text": ({"node_scores": np.full((2, 2, 1), "high")},
             "node_scores: expected (2, 2, 1) numbers, got (2, 2, 1) <U4"),
}  # fmt: skip


@pytest.mark.parametrize(("arrays", "message"), WRONG.values(), ids=WRONG.keys())
def test_arrays_that_do_not_fit_are_named(filed, arrays, message):
    _, path, spec, change = filed
    change(**arrays)
    with pytest.raises(ModelNotOpenError) as error:
        load_reference(path, spec)
    assert str(error.value) == f"{path}: {message}"


def test_pickled_objects_are_not_read(filed):
    _, path, spec, change = filed
    change(xy=np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(ModelNotOpenError, match="got a damaged file: Object arrays cannot be loaded"):
        load_reference(path, spec)


@pytest.mark.parametrize("content", [b"", b"not a zip file", None], ids=["empty", "text", "cut off"])
def test_a_damaged_file_is_refused(filed, content):
    _, path, spec, _ = filed
    path.write_bytes(path.read_bytes()[:1000] if content is None else content)
    with pytest.raises(ModelNotOpenError, match=r"reference.npz: expected a reference \(.npz\), got a damaged file"):
        load_reference(path, spec)


def test_damaged_bytes_inside_are_refused(filed):
    _, path, spec, _ = filed
    with zipfile.ZipFile(path) as file:
        entry = file.getinfo("xy.npy")
    content = bytearray(path.read_bytes())
    for k in range(entry.header_offset + 40, entry.header_offset + 60):
        content[k] ^= 255
    path.write_bytes(content)
    with pytest.raises(ModelNotOpenError, match="got a damaged file"):
        load_reference(path, spec)


def test_a_missing_file_is_named(filed):
    folder, path, spec, _ = filed
    path.unlink()
    with pytest.raises(ModelNotOpenError) as error:
        stored_reference(folder, spec)
    assert str(error.value) == f"{path}: No such file or directory; model.json names it"
    with pytest.raises(ModelNotOpenError) as error:
        load_reference(path, spec)
    assert str(error.value) == f"{path}: No such file or directory; expected a reference (.npz)"


def test_another_file_than_model_json_says_is_refused(filed):
    folder, path, spec, change = filed
    change(xy=np.zeros((2, 2, 1, 2), np.float32))
    with pytest.raises(ModelNotOpenError) as error:
        stored_reference(folder, spec)
    noted = json.loads((folder / "model.json").read_text())["reference"]["sha256"]
    assert str(error.value) == (
        f"{path}: expected SHA-256 {noted} as model.json says, got {sha256_of(path)}; "
        f"the file was changed or damaged: export the model again"
    )


def test_a_folder_without_a_reference_has_none(make_model):
    folder = make_model()
    assert stored_reference(folder, ModelSpec.load(folder)) is None
