"""What is TensorFlow's own: the operations that it knows, and SavedModels; test_engines.py has the rest."""

from pathlib import Path

import numpy as np
import onnx
import pytest

tf = pytest.importorskip("tensorflow")

from models.engines.onnx_to_tensorflow import KNOWN  # noqa: E402
from models.engines.options import EngineOptions  # noqa: E402
from models.engines.tensorflow import open_graph, open_saved_model, save_saved_model  # noqa: E402
from models.errors import ModelNotOpenError  # noqa: E402
from models.export.builder import GraphBuilder  # noqa: E402

PATH = Path("folder/model.onnx")
OPTIONS = EngineOptions(engine="tensorflow")


def outputs_of(engine, case, images):
    arrays = case.arrays(len(images))
    engine.bind(images.shape, arrays).run(images)
    return arrays


def graph_of(operation, *, shape=("batch", 4, 6)):
    graph = GraphBuilder("one")
    value = graph.cast(graph.input("image", np.uint8, shape), np.float32)
    graph.output(operation(graph, value), "out", np.float32, shape)
    return graph.build().SerializeToString()


def test_every_operation_that_export_writes_is_known(case):
    written = {node.op_type for node in onnx.load_from_string(case.graph).graph.node}
    assert written <= KNOWN


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (lambda graph, value: graph.op("Erf", value), "Erf_1: expected an operation that export writes, got Erf"),
        (
            lambda graph, value: graph.slice(
                graph.op(
                    "Slice",
                    value,
                    graph.cast(graph.op("Shape", value, start=0, end=1), np.int64),
                    graph.int64([9]),
                    graph.int64([1]),
                ),
                1,
                0,
                4,
            ),
            "Slice Slice_3: expected a constant as input 1, got a computed value",
        ),
        (
            lambda graph, value: graph.op("Pad", value, graph.int64([0] * 6), graph.float32(0.0), mode="edge"),
            "Pad Pad_1: expected mode constant, got edge",
        ),
        (
            lambda graph, value: graph.op(
                "Resize",
                value,
                "",
                graph.float32([1, 1, 1]),
                mode="linear",
                coordinate_transformation_mode="align_corners",
            ),
            "Resize Resize_1: expected linear half_pixel or nearest asymmetric, got linear align_corners",
        ),
    ],
)
def test_other_operations_and_forms_are_named(operation, message):
    with pytest.raises(ModelNotOpenError) as error:
        open_graph(graph_of(operation), PATH, OPTIONS)
    assert str(error.value) == f"folder/model.onnx: TensorFlow cannot compute the graph: {message}"


def test_a_graph_with_other_inputs_is_refused():
    graph = GraphBuilder("other")
    graph.output(graph.input("pixels", np.float32, ("batch", 2)), "out", np.float32, ("batch", 2))
    with pytest.raises(ModelNotOpenError) as error:
        open_graph(graph.build().SerializeToString(), PATH, OPTIONS)
    assert str(error.value) == "folder/model.onnx: expected one input, image, got pixels"


def test_a_saved_model_computes_the_same_for_any_batch(tmp_path, top_down_case):
    save_saved_model(top_down_case.graph, tmp_path)
    translated, saved = open_graph(top_down_case.graph, PATH, OPTIONS), open_saved_model(tmp_path)
    assert saved.signature == translated.signature
    for batch in (1, 3):
        images = top_down_case.images(batch)
        expected = outputs_of(translated, top_down_case, images)
        for name, found in outputs_of(saved, top_down_case, images).items():
            np.testing.assert_array_equal(found, expected[name])


def test_a_foreign_saved_model_needs_one_image_of_whatever_name(tmp_path):
    module = tf.Module()
    module.brightness = tf.function(
        lambda frame: {"mean": tf.reduce_mean(tf.cast(frame, tf.float32), axis=[1, 2])},
        input_signature=[tf.TensorSpec((None, None, None), tf.uint8, name="frame")],
    )
    tf.saved_model.save(module, str(tmp_path), signatures=module.brightness)
    mean = np.zeros(2, np.float32)
    open_saved_model(tmp_path).bind((2, 3, 4), {"mean": mean}).run(np.full((2, 3, 4), 7, np.uint8))
    assert mean.tolist() == [7.0, 7.0]


def test_a_saved_model_without_our_signature_or_with_more_inputs_is_refused(tmp_path):
    module = tf.Module()
    spec = tf.TensorSpec((None,), tf.float32)
    module.sum = tf.function(lambda a, b: {"sum": a + b}, input_signature=[spec, spec])
    tf.saved_model.save(module, str(tmp_path / "bare"), signatures={"other": module.sum})
    with pytest.raises(ModelNotOpenError) as error:
        open_saved_model(tmp_path / "bare")
    assert str(error.value) == (
        f"{tmp_path / 'bare'}: expected a SavedModel with the signature serving_default, got other"
    )
    tf.saved_model.save(module, str(tmp_path / "two"), signatures=module.sum)
    with pytest.raises(ModelNotOpenError) as error:
        open_saved_model(tmp_path / "two")
    assert str(error.value) == f"{tmp_path / 'two'}: expected a SavedModel with one input, got a, b"


def test_a_folder_that_is_no_saved_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"not one")
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ModelNotOpenError, match=f"^{folder}: TensorFlow cannot load a SavedModel from there: ."):
            open_saved_model(folder)
