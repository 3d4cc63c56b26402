"""The networks of a graph in half precision; images, peaks and points stay float32.

Runtimes have switches for half precision of their own, but they apply to the whole graph, and a coordinate beyond
1024 px is a whole number in float16. TensorRT 11 has no such switch any more: it computes in the types that the graph
says. So the graph says it.
"""

from pathlib import Path
from typing import Any

import numpy as np

from models.errors import ModelNotInstalledError, ModelNotOpenError

_LARGEST = float(np.finfo(np.float16).max)
# Operations that belong to a network, and those that do if they lie between two such.
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm"})
_MAPS = {"Concat", "Flatten", "Pad", "Resize", "Transpose"}
_POOLS = {"AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"}
_ELEMENTWISE = {"Add", "Elu", "LeakyRelu", "Mul", "Relu", "Sigmoid", "Sum", "Tanh"}
_BETWEEN = frozenset(_MAPS | _POOLS | _ELEMENTWISE)
# Inputs that are maps or weights, of operations that also have others: sizes, scales.
_DATA_INPUTS = {"Pad": (0, 2), "Resize": (0,)}


def halved(graph: bytes, path: Path) -> bytes:
    """Return the graph with every network in float16, from its first weighted operation to its last.

    Args:
        graph: A serialised ONNX model in float32.
        path: Where it came from; for messages.

    Raises:
        ModelNotInstalledError: The package `onnx` is missing.
        ModelNotOpenError: The graph is damaged, or a weight is too large for float16.
    """
    try:
        import onnx  # noqa: PLC0415  # an optional package
        from google.protobuf.message import DecodeError  # noqa: PLC0415
    except ImportError as error:
        raise ModelNotInstalledError(
            "precision fp16: expected the package onnx, got none; install it with: pip install 'poseloop[cuda]'"
        ) from error
    try:
        model = onnx.load_from_string(graph)
    except DecodeError as error:
        raise ModelNotOpenError(f"{path}: not an ONNX graph: {error}") from error
    _Halving(onnx, model.graph, path).rewrite()
    serialised: bytes = model.SerializeToString()
    return serialised


class _Halving:
    def __init__(self, onnx: Any, graph: Any, path: Path) -> None:
        self._onnx = onnx
        self._graph = graph
        self._path = path
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._halved = _nodes_of_networks(graph)
        self._values = {name for k in self._halved for name in graph.node[k].output}
        self._nodes: list[Any] = []
        self._half_names: dict[str, str] = {}

    def rewrite(self) -> None:
        wanted = {name for k, node in enumerate(self._graph.node) if k not in self._halved for name in node.input}
        wanted |= {value.name for value in self._graph.output}
        for k, node in enumerate(self._graph.node):
            if k not in self._halved:
                self._nodes.append(node)
                continue
            for i, name in enumerate(node.input):
                if name and _is_data(node, i):
                    node.input[i] = self._half(name)
            self._nodes.append(node)
            for i, name in enumerate(node.output):
                node.output[i] = _half_name(name)
                if name in wanted:
                    self._cast(_half_name(name), name, self._onnx.TensorProto.FLOAT)
        del self._graph.node[:]
        self._graph.node.extend(self._nodes)
        # The types of values inside the graph are not what was noted there.
        del self._graph.value_info[:]

    def _half(self, name: str) -> str:
        """Return the name of the half-precision form of a value, which is made if need be."""
        if name in self._values:
            return _half_name(name)
        if name not in self._half_names:
            self._half_names[name] = _half_name(name)
            if name in self._weights:
                self._graph.initializer.append(self._half_weight(name))
            else:
                self._cast(name, _half_name(name), self._onnx.TensorProto.FLOAT16)
        return self._half_names[name]

    def _half_weight(self, name: str) -> Any:
        array = self._onnx.numpy_helper.to_array(self._weights[name])
        largest = float(np.abs(array).max(initial=0.0))
        if not largest <= _LARGEST:
            raise ModelNotOpenError(
                f"{self._path}: weight {name}: expected at most {_LARGEST:g} for precision fp16, got {largest:g}; "
                f"use fp32"
            )
        return self._onnx.numpy_helper.from_array(array.astype(np.float16), _half_name(name))

    def _cast(self, source: str, target: str, to: int) -> None:
        self._nodes.append(self._onnx.helper.make_node("Cast", [source], [target], name=f"Cast/{target}", to=to))


def _nodes_of_networks(graph: Any) -> set[int]:
    """Return the indices of the weighted operations and of those that lie between such, with nothing else between."""
    weights = {tensor.name for tensor in graph.initializer}
    made_by = {name: k for k, node in enumerate(graph.node) for name in node.output}
    after: set[int] = set()
    for k, node in enumerate(graph.node):  # in an order in which they can be computed
        data = [name for i, name in enumerate(node.input) if name and _is_data(node, i)]
        computed = [made_by.get(name) for name in data if name not in weights]
        between = node.op_type in _BETWEEN and computed and all(source in after for source in computed)
        if node.op_type in _WEIGHTED or between:
            after.add(k)
    found: set[int] = set()
    leading: set[str] = set()  # values that a node found so far reads
    for k in reversed(range(len(graph.node))):
        node = graph.node[k]
        if node.op_type in _WEIGHTED or (k in after and leading.intersection(node.output)):
            found.add(k)
            leading.update(node.input)
    return found


def _is_data(node: Any, i: int) -> bool:
    """Return whether input `i` is a map or a weight, and not a size or a scale."""
    return i in _DATA_INPUTS.get(node.op_type, (i,))


def _half_name(name: str) -> str:
    return f"{name}/half"
