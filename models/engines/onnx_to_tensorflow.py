"""An exported ONNX graph as TensorFlow operations, one for one.

Only what `models.export` writes is known; another operation, or one of these in a form that export does not use, is an
error.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelNotOpenError

# Operations that TensorFlow has under another name and with the same meaning.
_SAME: Mapping[str, str] = {
    "Abs": "abs",
    "Add": "add",
    "And": "logical_and",
    "Ceil": "math.ceil",
    "Elu": "nn.elu",
    "Equal": "equal",
    "Floor": "floor",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Identity": "identity",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Log": "math.log",
    "Mul": "multiply",
    "Not": "logical_not",
    "Range": "range",
    "Relu": "nn.relu",
    "Round": "round",  # both round half to even
    "Sigmoid": "sigmoid",
    "Sqrt": "sqrt",
    "Sub": "subtract",
    "Tanh": "tanh",
    "Where": "where",
    "Xor": "math.logical_xor",
}
_OF_ANY_NUMBER: Mapping[str, str] = {"Max": "maximum", "Min": "minimum", "Sum": "add"}
_REDUCTIONS: Mapping[str, str] = {
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceSum": "reduce_sum",
}


class Node:
    """One ONNX operation.

    Args:
        tf: The module `tensorflow`.
        onnx: The module `onnx`.
        proto: The `onnx.NodeProto`.
        inputs: Tensors; None where an optional input is left out.
    """

    def __init__(self, tf: Any, onnx: Any, proto: Any, inputs: Sequence[Any]) -> None:
        self.tf = tf
        self.onnx = onnx
        self.kind: str = proto.op_type
        self.name: str = proto.name
        self.inputs = inputs
        self._attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in proto.attribute}

    def get(self, attribute: str, default: Any) -> Any:
        """Return an attribute; strings as str."""
        value = self._attributes.get(attribute, default)
        return value.decode() if isinstance(value, bytes) else value

    def only(self, **expected: Any) -> None:
        """Raise ModelNotOpenError unless the attributes are these, where they are given at all."""
        for attribute, value in expected.items():
            if (got := self.get(attribute, value)) != value:
                raise ModelNotOpenError(f"{self.kind} {self.name}: expected {attribute} {value}, got {got}")

    def known(self, i: int) -> NDArray[Any]:
        """Return an input that is the same for every image.

        Raises:
            ModelNotOpenError: It is not.
        """
        value = self.tf.get_static_value(self.inputs[i])
        if value is None:
            raise ModelNotOpenError(f"{self.kind} {self.name}: expected a constant as input {i}, got a computed value")
        return np.asarray(value)

    def optional(self, i: int) -> Any:
        """Return an input, or None if it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None


def translate(tf: Any, onnx: Any, graph: Any, image: Any) -> dict[str, Any]:
    """Compute the graph's outputs.

    Args:
        tf: The module `tensorflow`.
        onnx: The module `onnx`.
        graph: An `onnx.GraphProto` with one input.
        image: The tensor for that input.

    Returns:
        Output name → tensor.

    Raises:
        ModelNotOpenError: The graph has an operation that is not known.
    """
    values = {weight.name: tf.constant(onnx.numpy_helper.to_array(weight)) for weight in graph.initializer}
    values[graph.input[0].name] = image
    for proto in graph.node:
        node = Node(tf, onnx, proto, [values[name] if name else None for name in proto.input])
        made = _translated(node)
        values.update(zip(proto.output, made if isinstance(made, tuple) else (made,), strict=True))
    return {output.name: tf.identity(values[output.name], name=output.name) for output in graph.output}


def _translated(node: Node) -> Any:
    if node.kind in _SAME:
        return attrgetter(_SAME[node.kind])(node.tf)(*node.inputs)
    if node.kind in _OF_ANY_NUMBER:
        first, *others = node.inputs
        for other in others:
            first = getattr(node.tf, _OF_ANY_NUMBER[node.kind])(first, other)
        return first
    if node.kind in _REDUCTIONS:
        axes = node.known(1) if len(node.inputs) > 1 else node.get("axes", None)
        return getattr(node.tf, _REDUCTIONS[node.kind])(
            node.inputs[0], axis=axes, keepdims=bool(node.get("keepdims", 1))
        )
    if node.kind not in _OTHERS:
        raise ModelNotOpenError(f"{node.name}: expected an operation that export writes, got {node.kind}")
    return _OTHERS[node.kind](node)


def _reduced(node: Node) -> Any:
    # The axes are an attribute of most reductions and an input of ReduceSum.
    axes = node.known(1) if len(node.inputs) > 1 else node.get("axes", None)
    reduce = getattr(node.tf, _REDUCTIONS[node.kind])
    return reduce(node.inputs[0], axis=axes, keepdims=bool(node.get("keepdims", 1)))


def _arg_max(node: Node) -> Any:
    node.only(select_last_index=0)
    axis = node.get("axis", 0)
    found = node.tf.argmax(node.inputs[0], axis=axis)
    return node.tf.expand_dims(found, axis) if node.get("keepdims", 1) else found


def _cast(node: Node) -> Any:
    return node.tf.cast(node.inputs[0], node.onnx.helper.tensor_dtype_to_np_dtype(node.get("to", 1)))


def _clip(node: Node) -> Any:
    low, high = node.optional(1), node.optional(2)
    value = node.inputs[0] if low is None else node.tf.maximum(node.inputs[0], low)
    return value if high is None else node.tf.minimum(value, high)


def _concat(node: Node) -> Any:
    return node.tf.concat(node.inputs, axis=node.get("axis", 0))


def _conv(node: Node) -> Any:
    tf = node.tf
    value, kernel, bias = node.inputs
    group, n_in = node.get("group", 1), kernel.shape[1]
    if group > 1 and n_in > 1:
        raise ModelNotOpenError(f"Conv {node.name}: expected group 1 or one channel a group, got group {group}")
    padded = _channels_last(node, _padded(node, value, 0.0))
    strides, dilations = node.get("strides", [1, 1]), node.get("dilations", [1, 1])
    if group == 1:
        kernel = tf.transpose(kernel, [2, 3, 1, 0])
        maps = tf.nn.conv2d(padded, kernel, strides, "VALID", dilations=dilations)
    else:
        kernel = tf.transpose(kernel, [2, 3, 0, 1])
        maps = tf.nn.depthwise_conv2d(padded, kernel, [1, *strides, 1], "VALID", dilations=dilations)
    return _channels_first(node, maps + bias)


def _conv_transpose(node: Node) -> Any:
    tf = node.tf
    node.only(group=1, dilations=[1, 1], output_padding=[0, 0], auto_pad="NOTSET")
    value, kernel, bias = node.inputs
    strides, (top, left, bottom, right) = node.get("strides", [1, 1]), node.get("pads", [0, 0, 0, 0])
    above = _channels_last(node, value)
    height, width = (
        (above.shape[1 + k] - 1) * strides[k] + kernel.shape[2 + k] for k in (0, 1)
    )  # of the full transposed convolution
    shape = tf.stack([tf.shape(above)[0], height, width, kernel.shape[1]])
    maps = tf.nn.conv2d_transpose(above, tf.transpose(kernel, [2, 3, 1, 0]), shape, strides, "VALID")
    return _channels_first(node, maps[:, top : height - bottom, left : width - right] + bias)


def _div(node: Node) -> Any:
    first, second = node.inputs
    return node.tf.divide(first, second) if first.dtype.is_floating else node.tf.math.floordiv(first, second)


def _expand(node: Node) -> Any:
    tf = node.tf
    value, shape = node.inputs
    return tf.broadcast_to(value, tf.broadcast_dynamic_shape(tf.shape(value, out_type=tf.int64), shape))


def _flatten(node: Node) -> Any:
    node.only(axis=1)
    value = node.inputs[0]
    return node.tf.reshape(value, [-1, math.prod(value.shape[1:])])


def _gather(node: Node) -> Any:
    return node.tf.gather(*node.inputs, axis=node.get("axis", 0))


def _gather_elements(node: Node) -> Any:
    tf = node.tf
    value, index = node.inputs
    last, axis = value.shape.rank - 1, node.get("axis", 0)
    swap = list(range(last + 1))
    swap[axis], swap[last] = last, axis
    found = tf.gather(tf.transpose(value, swap), tf.transpose(index, swap), axis=last, batch_dims=last)
    return tf.transpose(found, swap)


def _gather_nd(node: Node) -> Any:
    return node.tf.gather_nd(*node.inputs, batch_dims=node.get("batch_dims", 0))


def _gemm(node: Node) -> Any:
    node.only(alpha=1.0, beta=1.0, transA=0, transB=0)
    value, kernel, bias = node.inputs
    return node.tf.matmul(value, kernel) + bias


def _global_pool(node: Node) -> Any:
    pool = node.tf.reduce_max if node.kind == "GlobalMaxPool" else node.tf.reduce_mean
    return pool(node.inputs[0], axis=[2, 3], keepdims=True)


def _leaky_relu(node: Node) -> Any:
    return node.tf.nn.leaky_relu(node.inputs[0], alpha=node.get("alpha", 0.01))


def _mat_mul(node: Node) -> Any:
    first, second = node.inputs
    return node.tf.tensordot(first, second, axes=1) if second.shape.rank <= 2 else node.tf.matmul(first, second)


def _pad(node: Node) -> Any:
    node.only(mode="constant")
    pads = node.known(1)
    value = node.optional(2)
    begins_and_ends = pads.reshape(2, -1).T
    return node.tf.pad(node.inputs[0], begins_and_ends, constant_values=0 if value is None else value)


def _pool(node: Node) -> Any:
    tf = node.tf
    node.only(ceil_mode=0, count_include_pad=0, auto_pad="NOTSET", dilations=[1, 1])
    value, size, strides = node.inputs[0], node.get("kernel_shape", None), node.get("strides", [1, 1])
    if node.kind == "MaxPool":
        padded = _channels_last(node, _padded(node, value, -math.inf))
        return _channels_first(node, tf.nn.max_pool2d(padded, size, strides, "VALID"))
    # Cells of the padding do not count.
    sums, counts = (
        tf.nn.avg_pool2d(_channels_last(node, _padded(node, each, 0.0)), size, strides, "VALID")
        for each in (value, tf.ones_like(value))
    )
    return _channels_first(node, sums / counts)


def _reshape(node: Node) -> Any:
    node.only(allowzero=0)
    return node.tf.reshape(*node.inputs)


def _resize(node: Node) -> Any:
    value, factors = node.inputs[0], node.known(2)
    forms = {("linear", "half_pixel"): _linear, ("nearest", "asymmetric"): _nearest}
    form = (node.get("mode", "nearest"), node.get("coordinate_transformation_mode", "half_pixel"))
    if form not in forms or (form[0] == "nearest" and node.get("nearest_mode", "") != "floor"):
        raise ModelNotOpenError(
            f"Resize {node.name}: expected {' or '.join(map(' '.join, forms))}, got {' '.join(form)}"
        )
    for axis, factor in enumerate(factors):
        if factor != 1.0:
            value = forms[form](node.tf, value, axis, factor)
    return value


def _linear(tf: Any, value: Any, axis: int, factor: np.float32) -> Any:
    size = value.shape[axis]
    at = (np.arange(int(np.float32(size) * factor)) + 0.5) / float(factor) - 0.5
    at = np.clip(at, 0.0, size - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, size - 1)
    weight = (at - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(value.shape.rank)])
    return tf.gather(value, low, axis=axis) * (1 - weight) + tf.gather(value, high, axis=axis) * weight


def _nearest(tf: Any, value: Any, axis: int, factor: np.float32) -> Any:
    size = value.shape[axis]
    index = np.floor(np.arange(int(np.float32(size) * factor)) / float(factor)).astype(np.int64)
    return tf.gather(value, np.minimum(index, size - 1), axis=axis)


def _shape(node: Node) -> Any:
    return node.tf.shape(node.inputs[0], out_type=node.tf.int64)


def _slice(node: Node) -> Any:
    value = node.inputs[0]
    ranges = [slice(None)] * value.shape.rank
    steps = node.known(4) if node.optional(4) is not None else None
    for k, (axis, start, end) in enumerate(zip(node.known(3), node.known(1), node.known(2), strict=True)):
        ranges[axis] = slice(int(start), int(end), None if steps is None else int(steps[k]))
    return value[tuple(ranges)]


def _softmax(node: Node) -> Any:
    return node.tf.nn.softmax(node.inputs[0], axis=node.get("axis", -1))


def _squeeze(node: Node) -> Any:
    return node.tf.squeeze(node.inputs[0], axis=node.known(1).tolist())


def _top_k(node: Node) -> Any:
    node.only(largest=1, sorted=1)
    value = node.inputs[0]
    if node.get("axis", -1) not in (-1, value.shape.rank - 1):
        raise ModelNotOpenError(f"TopK {node.name}: expected the last axis, got axis {node.get('axis', -1)}")
    # Of equal values both put the one with the lower index first.
    found, index = node.tf.math.top_k(value, k=int(node.known(1)[0]))
    return found, node.tf.cast(index, node.tf.int64)


def _transpose(node: Node) -> Any:
    return node.tf.transpose(node.inputs[0], perm=node.get("perm", None))


def _unsqueeze(node: Node) -> Any:
    value = node.inputs[0]
    for axis in sorted(node.known(1).tolist()):
        value = node.tf.expand_dims(value, axis)
    return value


def _padded(node: Node, value: Any, filling: float) -> Any:
    """Add the padding that a convolution or pool asks for; `(n, channels, height, width)`."""
    node.only(auto_pad="NOTSET")
    top, left, bottom, right = node.get("pads", [0, 0, 0, 0])
    return node.tf.pad(value, [[0, 0], [0, 0], [top, bottom], [left, right]], constant_values=filling)


def _channels_last(node: Node, value: Any) -> Any:
    """TensorFlow has convolutions and pools on a CPU in this layout only."""
    return node.tf.transpose(value, [0, 2, 3, 1])


def _channels_first(node: Node, value: Any) -> Any:
    return node.tf.transpose(value, [0, 3, 1, 2])


_OTHERS: Mapping[str, Callable[[Node], Any]] = {
    "ArgMax": _arg_max,
    "AveragePool": _pool,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _div,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool,
    "GlobalMaxPool": _global_pool,
    "LeakyRelu": _leaky_relu,
    "MatMul": _mat_mul,
    "MaxPool": _pool,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Shape": _shape,
    "Slice": _slice,
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "TopK": _top_k,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
KNOWN = frozenset({*_SAME, *_OF_ANY_NUMBER, *_REDUCTIONS, *_OTHERS})
"""The operations that can be translated."""
