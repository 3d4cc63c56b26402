"""Networks in half precision: which operations are, that all else is float32, and how much it changes."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from models.engines.half import halved
from models.engines.onnxruntime import OnnxRuntimeEngine
from models.engines.options import EngineOptions
from models.errors import ModelNotOpenError
from models.export.builder import GraphBuilder

PATH = Path("folder/model.onnx")


def types_of_values(graph):
    """Inferred element type of every value."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph), strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    return model.graph, {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}


def run(graph, case, batch=1):
    arrays, images = case.arrays(batch), case.images(batch)
    OnnxRuntimeEngine(graph, PATH, EngineOptions()).bind(images.shape, arrays).run(images)
    return arrays


def test_weights_and_maps_are_half_and_coordinates_are_not(top_down_case):
    graph, types = types_of_values(halved(top_down_case.graph, PATH))
    kinds = {True: set(), False: set()}
    for node in graph.node:
        if node.op_type not in {"Cast", "Identity"} and node.output[0] in types:
            kinds[types[node.output[0]] == onnx.TensorProto.FLOAT16].add(node.op_type)
    # A relu lies between two convolutions; whatever finds peaks or cuts crops does not.
    assert kinds[True] == {"Conv", "ConvTranspose", "Relu", "MaxPool", "Resize", "Concat", "Sum"}
    assert {"TopK", "Gather", "GatherElements", "Where", "ArgMax", "MatMul", "Div"} <= kinds[False]
    assert not {"Conv", "ConvTranspose"} & kinds[False]


def test_every_layer_of_a_network_is_computed_in_half(network_case):
    graph, types = types_of_values(halved(network_case.graph, PATH))
    single = [node.op_type for node in graph.node if types.get(node.output[0]) == onnx.TensorProto.FLOAT]
    # What comes before the first weighted layer, and after the last one of each branch.
    assert sorted(set(single)) == ["Cast", "Flatten", "Mul", "Pad", "Sigmoid", "Softmax", "Transpose", "Unsqueeze"]


def test_the_numbers_stay_close(network_case, top_down_case):
    for name, array in run(network_case.graph, network_case).items():
        np.testing.assert_allclose(run(halved(network_case.graph, PATH), network_case)[name], array, atol=5e-3)
    single, half = run(top_down_case.graph, top_down_case), run(halved(top_down_case.graph, PATH), top_down_case)
    assert np.array_equal(single["valid"], half["valid"])
    np.testing.assert_allclose(half["xy"], single["xy"], atol=0.05)
    assert not np.array_equal(half["xy"], single["xy"], equal_nan=True), "nothing was halved"


def test_inputs_and_outputs_keep_their_types(top_down_case):
    def declared(graph):
        values = onnx.load_from_string(graph).graph
        return [(value.name, value.type.tensor_type) for value in (*values.input, *values.output)]

    assert declared(halved(top_down_case.graph, PATH)) == declared(top_down_case.graph)


def test_a_graph_without_a_network_stays_as_it_is(plain_case):
    assert onnx.load_from_string(halved(plain_case.graph, PATH)) == onnx.load_from_string(plain_case.graph)


def test_a_weight_that_half_precision_cannot_hold_is_named():
    graph = GraphBuilder("large")
    image = graph.input("image", np.uint8, ("batch", 4, 6))
    pixels = graph.unsqueeze(graph.cast(image, np.float32), 1)
    kernel = graph.float32(np.full((1, 1, 1, 1), 7e4))
    graph.output(graph.op("Conv", pixels, kernel), "maps", np.float32, ("batch", 1, 4, 6))
    with pytest.raises(ModelNotOpenError) as error:
        halved(graph.build().SerializeToString(), PATH)
    assert str(error.value) == (
        f"folder/model.onnx: weight {kernel}: expected at most 65504 for precision fp16, got 70000; use fp32"
    )


def test_a_damaged_graph_is_refused(plain_case):
    with pytest.raises(ModelNotOpenError, match=r"^folder/model\.onnx: not an ONNX graph: "):
        halved(plain_case.graph[:50], PATH)
