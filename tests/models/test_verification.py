import json
from contextlib import closing

import numpy as np
import onnx
import pytest

from models.engines.registry import ALL_OPTIONS, BF16_OPTIONS, INT8_OPTIONS
from models.errors import ModelInputError, ModelNotInstalledError, ModelNotOpenError
from models.export.export import Crops, WholeImage, export_model
from models.export.reference import add_reference
from models.exported import ExportedModel, ExportedOptions
from models.guided import GuidedModel, GuidedOptions
from models.network import Layer, Network
from models.skeleton import Skeleton
from models.spec import ModelSpec, sha256_of
from models.verification import compute_reference, find_reference, quick_parity, verify

SHAPE = (90, 100)
HERE = [(30.0, 20.0), (70.0, 60.0)]


def copying_network(n_maps):
    """Copies its input, by a 3×3 kernel with a one in its middle."""
    kernel = np.zeros((3, 3, 1, n_maps), np.float32)
    kernel[1, 1] = 1.0
    layers = (Layer("input", "input", channels=1), Layer("maps", "conv", ("input",), n_maps, 3))
    return Network(layers, {"confmaps": "maps"}, {"maps/kernel": kernel, "maps/bias": np.zeros(n_maps, np.float32)})


@pytest.fixture
def folder(tmp_path, spots):
    """A model that finds bright spots, with a reference."""
    export_model(
        tmp_path / "model", "top_down", skeleton=Skeleton(("spot",)), image_shape=SHAPE,
        whole_image=WholeImage(copying_network(1)), crops=Crops(copying_network(1), 24),
    )  # fmt: skip
    add_reference(tmp_path / "model", spots(SHAPE, HERE, 1.5)[np.newaxis])
    return tmp_path / "model"


def tamper(folder, change):
    """Change a model's weights as somebody does who knows of the hash: the folder fits together again."""
    path = folder / "model.onnx"
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        kernel = onnx.numpy_helper.to_array(tensor)
        if kernel.ndim == 4:
            tensor.CopyFrom(onnx.numpy_helper.from_array(change(kernel), tensor.name))
    path.write_bytes(model.SerializeToString())
    described = json.loads((folder / "model.json").read_text())
    described["graph"]["sha256"] = sha256_of(path)
    (folder / "model.json").write_text(json.dumps(described))


def options(folder, **more):
    return ExportedOptions(path=folder, threads=1, **more)


def test_an_exported_model_is_equal_to_its_reference(folder):
    found = verify(options(folder))
    assert found.engine.startswith("onnxruntime ")
    assert (found.parity.n_images, found.parity.n_animals, found.parity.n_points) == (2, 2, 2)
    assert found.parity.max_px < 1e-4
    assert found.parity.max_map_difference < 1e-5
    assert found.parity.deviation(0.001) == ""


@pytest.mark.parametrize("engine", ALL_OPTIONS, ids=lambda engine: engine.title)
def test_every_engine_is_equal_to_the_reference(folder, engine):
    try:
        found = verify(options(folder).model_copy(update=engine.model_dump()))
    except (ModelNotInstalledError, ModelNotOpenError) as error:
        # A CPU engine that is there must take every graph; a GPU may be missing although its engine is there.
        if engine.device == "cpu" and not isinstance(error, ModelNotInstalledError):
            raise
        pytest.skip(str(error))
    assert found.parity.deviation(0.1 if engine.precision == "fp16" else 0.001) == ""


@pytest.mark.parametrize("engine", [*ALL_OPTIONS, *INT8_OPTIONS, *BF16_OPTIONS], ids=lambda engine: engine.title)
def test_the_halves_of_the_shipped_model_are_equal_to_its_reference_in_every_precision(engine):
    options = GuidedOptions(path="zoo:fly_pair").model_copy(update=engine.model_dump() | {"threads": 1})
    try:
        found = verify(options)
    except (ModelNotInstalledError, ModelNotOpenError) as error:
        pytest.skip(str(error))
    assert found.engine.startswith("guided: ")
    assert found.parity.deviation() == ""
    with closing(GuidedModel(options)) as model:
        at_start = quick_parity(model)
    assert at_start.deviation() == ""
    assert at_start.n_images < found.parity.n_images


def test_other_weights_are_found_although_the_hash_fits(folder):
    tamper(folder, lambda kernel: np.roll(kernel, 1, axis=3))
    ExportedModel(options(folder)).close()
    # The detector's shift moves only the crop; the crop's own shift is what is left.
    assert verify(options(folder)).parity.deviation(0.1) == (
        "points lie 1.00 px to the left of the reference, all shifted alike: check that these are its weights, and "
        "try another engine, as this one may resize or crop differently"
    )


def test_the_quick_form_says_the_same_of_a_loaded_model(folder):
    model = ExportedModel(options(folder))
    parity = quick_parity(model)
    assert (parity.n_images, parity.n_animals, parity.deviation(0.001)) == (2, 2, "")
    model.close()
    tamper(folder, lambda kernel: np.roll(kernel, 1, axis=3))
    model = ExportedModel(options(folder))
    assert quick_parity(model).offset_px == pytest.approx((-1, 0), abs=1e-4)
    model.close()


def test_a_model_without_a_reference(folder):
    described = json.loads((folder / "model.json").read_text()) | {"reference": None}
    (folder / "model.json").write_text(json.dumps(described))
    model = ExportedModel(options(folder))
    assert quick_parity(model) is None
    model.close()
    with pytest.raises(ModelNotOpenError) as error:
        verify(options(folder))
    assert str(error.value) == (
        f"{folder}: expected a reference in the model's folder, got none: export the model again, or compare it with a "
        f"video or another reference"
    )


def test_another_graph_than_model_json_says_is_refused(folder):
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")
    with pytest.raises(ModelNotOpenError, match="expected SHA-256"):
        verify(options(folder))


def test_points_from_elsewhere(folder, tmp_path, spots):
    path = tmp_path / "sleap.npz"
    xy = np.array(HERE)[np.newaxis, :, np.newaxis] - 0.5
    np.savez(path, images=spots(SHAPE, HERE, 1.5)[np.newaxis], xy=xy)
    parity = verify(options(folder), find_reference(folder, path)).parity
    assert parity.offset_px == pytest.approx((0.5, 0.5), abs=0.01)
    assert parity.deviation(0.1).startswith("points lie 0.50 px to the right of and 0.50 px below the reference, ")


def test_frames_are_compared_with_plain_numpy(folder, spots):
    images = [spots(SHAPE, [(x, 40), (80, 20)], 1.5) for x in (20, 30.5, 40.25)]
    done = []
    reference = compute_reference(folder, iter(images), done.append)
    assert done == [1, 2, 3]
    parity = verify(options(folder), reference).parity
    assert (parity.n_images, parity.n_animals, parity.deviation(0.001)) == (3, 6, "")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([np.zeros((90, 101), np.uint8)], "expected images of shape (90, 100) uint8, got (90, 101) uint8"),
        ([], "expected images to compute a reference for, got none"),
    ],
    ids=["another size", "none"],
)
def test_frames_that_the_model_does_not_take(folder, images, message):
    with pytest.raises(ModelInputError) as error:
        compute_reference(folder, images)
    assert str(error.value) == f"{folder}: {message}"


def test_a_saved_model_is_run_on_the_same_images(folder, tmp_path):
    tensorflow = pytest.importorskip("models.engines.tensorflow", reason="needs the extra train")
    tensorflow.save_saved_model((folder / "model.onnx").read_bytes(), tmp_path / "saved")
    reference = find_reference(folder, tmp_path / "saved")
    assert set(reference.outputs) == set(ModelSpec.load(folder).outputs)
    assert verify(options(folder), reference).parity.deviation(0.001) == ""
    tamper(folder, lambda kernel: np.roll(kernel, 1, axis=2))
    assert "px above the reference" in verify(options(folder), reference).parity.deviation(0.1)


def test_a_folder_that_is_no_saved_model(folder, tmp_path):
    pytest.importorskip("models.engines.tensorflow", reason="needs the extra train")
    with pytest.raises(ModelNotOpenError, match="SavedModel"):
        find_reference(folder, tmp_path)


def test_an_export_of_sleap_is_compared_point_by_point(folder, tmp_path, spots):
    tf = pytest.importorskip("tensorflow", reason="needs the extra train")

    class Sleap(tf.Module):
        """Finds the brightest pixel, if there is one, and reports it half a pixel off; as many rows as animals."""

        @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE, 1], tf.uint8)])
        def __call__(self, x):
            flat = tf.cast(tf.reshape(x, [1, -1]), tf.int32)
            best = tf.argmax(flat, axis=1)
            point = tf.cast(tf.stack([best % SHAPE[1], best // SHAPE[1]], axis=-1), tf.float32) - 0.5
            n = tf.cast(tf.reduce_max(flat) > 0, tf.int32)
            return {
                "centroids": tf.reshape(point, [1, 1, 2])[:, :n],
                "instance_peaks": tf.reshape(point, [1, 1, 1, 2])[:, :n],
                "instance_peak_vals": tf.fill([1, n, 1], 0.98),
            }

    model = Sleap()
    tf.saved_model.save(model, str(tmp_path / "sleap"), signatures=model.__call__.get_concrete_function())
    add_reference(folder, spots(SHAPE, HERE[:1], 1.5)[np.newaxis])
    parity = verify(options(folder), find_reference(folder, tmp_path / "sleap")).parity
    assert (parity.n_images, parity.n_animals, parity.missing, parity.extra) == (2, 1, 0, 0)
    assert parity.offset_px == pytest.approx((0.5, 0.5), abs=0.01)
    assert parity.max_score_difference < 0.02


def test_a_saved_model_with_other_outputs_is_refused(folder, tmp_path):
    tf = pytest.importorskip("tensorflow", reason="needs the extra train")

    class Other(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, *SHAPE], tf.uint8)])
        def __call__(self, x):
            return {"brightest": tf.reduce_max(x)}

    model = Other()
    tf.saved_model.save(model, str(tmp_path / "other"), signatures=model.__call__.get_concrete_function())
    with pytest.raises(ModelNotOpenError) as error:
        find_reference(folder, tmp_path / "other")
    assert str(error.value) == (
        f"{tmp_path / 'other'}: expected the outputs xy, node_scores, instance_scores, valid, overflow, or SLEAP's "
        "instance_peaks, got brightest"
    )
