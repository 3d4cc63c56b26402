"""The reference's own operators against ONNX Runtime's."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from models.export.numpy_operators import OPERATORS


def computed(kind, inputs, out_type, **attributes):
    """Return what NumPy and what ONNX Runtime make of one operation; its first input is the graph's."""
    names = [f"in{k}" for k in range(len(inputs))]
    first = numpy_helper.from_array(inputs[0]).data_type
    graph = helper.make_graph(
        [helper.make_node(kind, names, ["out"], **attributes)],
        "one",
        [helper.make_tensor_value_info("in0", first, list(inputs[0].shape))],
        [helper.make_tensor_value_info("out", out_type, list(inputs[0].shape))],
        [numpy_helper.from_array(array, name) for name, array in zip(names[1:], inputs[1:], strict=True)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    (ours,) = ReferenceEvaluator(model, new_ops=list(OPERATORS)).run(None, {"in0": inputs[0]})
    (theirs,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"in0": inputs[0]})
    return ours, theirs


def test_values_become_the_nearest_of_256_steps_even_where_two_are_as_near_and_no_others():
    values = np.array([-9, -0.5, -0.25, 0, 0.24, 0.25, 0.75, 1.25, 60, 900], np.float32)
    ours, theirs = computed("QuantizeLinear", [values, np.float32(0.5), np.uint8(3)], TensorProto.UINT8)
    assert ours.tolist() == theirs.tolist() == [0, 2, 3, 3, 3, 3, 5, 5, 123, 255]
    assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("given", [{}, {"axis": 0}, {"axis": 1}, {"axis": -1}], ids=str)
def test_steps_become_values_with_a_scale_and_a_zero_of_each_row_or_column(given):
    steps = np.arange(-4, 5, dtype=np.int8).reshape(3, 3)
    scale, zero = np.array([0.5, 2, 0.1], np.float32), np.array([0, 1, -2], np.int8)
    ours, theirs = computed("DequantizeLinear", [steps, scale, zero], TensorProto.FLOAT, **given)
    np.testing.assert_array_equal(ours, theirs)


def test_steps_become_values_with_one_scale_and_zero():
    steps = np.array([0, 3, 255], np.uint8)
    ours, theirs = computed("DequantizeLinear", [steps, np.float32(0.5), np.uint8(3)], TensorProto.FLOAT)
    assert ours.tolist() == theirs.tolist() == [-1.5, 0, 126]
