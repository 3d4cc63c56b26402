"""GraphBuilder: an ONNX graph written one operation at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from models.errors import ModelNotInstalledError

# Opset 17 with IR 8 is what every runtime of the last years reads (ONNX Runtime 1.14, TensorRT 8.6, OpenVINO 2023).
OPSET = 17
IR_VERSION = 8


def import_onnx() -> Any:
    """Import the `onnx` package.

    Raises:
        ModelNotInstalledError: It is missing.
    """
    try:
        import onnx  # noqa: PLC0415  # an optional package
    except ImportError as error:
        raise ModelNotInstalledError(
            "exporting a model: expected the package onnx, got none; install it with: pip install 'poseloop[sleap]'"
        ) from error
    return onnx


class GraphBuilder:
    """Collects inputs, constants, operations and outputs; values are known by their names.

    Args:
        name: Name of the graph.
    """

    def __init__(self, name: str) -> None:
        self._onnx = import_onnx()
        self._name = name
        self._scope = ""
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._known_constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> str:
        """Declare a graph input; a string in `shape` is a dynamic dimension."""
        self._inputs.append(self._tensor(name, dtype, shape))
        return name

    def output(self, value: str, name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> None:
        """Declare `value` as the graph output `name`."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name], name=name))
        self._outputs.append(self._tensor(name, dtype, shape))

    def constant(self, value: ArrayLike, dtype: DTypeLike) -> str:
        """Store an array; equal arrays are stored once."""
        array = np.ascontiguousarray(np.asarray(value, dtype=dtype)).reshape(np.shape(value))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known_constants:
            name = f"c{len(self._constants)}"
            self._known_constants[key] = name
            self._constants[name] = self._onnx.numpy_helper.from_array(array, name)
        return self._known_constants[key]

    def float32(self, value: ArrayLike) -> str:
        """Store a float32 constant."""
        return self.constant(value, np.float32)

    def int64(self, value: ArrayLike) -> str:
        """Store an int64 constant."""
        return self.constant(value, np.int64)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Begin the names of the operations that are added inside with `name` and a slash."""
        self._scope = f"{name}/"
        try:
            yield
        finally:
            self._scope = ""

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add an operation with one output and return the output."""
        return self.ops(kind, *inputs, n_outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, n_outputs: int, **attributes: Any) -> tuple[str, ...]:
        """Add an operation with several outputs and return them."""
        name = f"{self._scope}{kind}_{len(self._nodes)}"
        outputs = tuple(f"{name}.{i}" for i in range(n_outputs))
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), list(outputs), name=name, **attributes))
        return outputs

    def cast(self, value: str, dtype: DTypeLike) -> str:
        """Convert `value` to `dtype`."""
        return self.op("Cast", value, to=self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def reshape(self, value: str, shape: Sequence[int]) -> str:
        """Give `value` another shape; −1 = the rest, which for most values here is the batch."""
        return self.op("Reshape", value, self.int64(shape))

    def slice(self, value: str, axis: int, start: int, end: int) -> str:
        """Take `start` to `end` along one axis."""
        return self.op("Slice", value, self.int64([start]), self.int64([end]), self.int64([axis]))

    def squeeze(self, value: str, axis: int) -> str:
        """Drop an axis of length 1."""
        return self.op("Squeeze", value, self.int64([axis]))

    def unsqueeze(self, value: str, *axes: int) -> str:
        """Insert axes of length 1."""
        return self.op("Unsqueeze", value, self.int64(axes))

    def build(self) -> Any:
        """Return the checked `onnx.ModelProto`."""
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, initializer=list(self._constants.values())
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="poseloop"
        )
        self._onnx.checker.check_model(model, full_check=True)
        return model

    def _tensor(self, name: str, dtype: DTypeLike, shape: Sequence[int | str]) -> Any:
        helper = self._onnx.helper
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), list(shape))
