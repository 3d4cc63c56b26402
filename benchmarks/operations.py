"""What a graph costs on paper: multiply-accumulates and bytes of every operator, counted for one run of the graph."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Operator:
    """One node of a graph.

    Attributes:
        name: As in the graph.
        kind: `Conv`, `MatMul`, ….
        macs: Multiply-accumulates; counted for convolutions and matrix products, 0 for everything else.
        read_bytes: Of its inputs, weights included, each once.
        written_bytes: Of its outputs.
    """

    name: str
    kind: str
    macs: int
    read_bytes: int
    written_bytes: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a graph costs.

    Attributes:
        operators: In order.
        weight_bytes: Of all constants.
        border_bytes: Of the graph's own inputs and outputs.
        outputs: Name → an array of its shape and dtype.
    """

    operators: tuple[Operator, ...]
    weight_bytes: int
    border_bytes: int
    outputs: Mapping[str, NDArray[Any]]

    @property
    def macs(self) -> int:
        """Of all operators."""
        return sum(operator.macs for operator in self.operators)

    @property
    def least_bytes(self) -> int:
        """What has to be read or written at least, even if everything in between stays in the caches."""
        return self.weight_bytes + self.border_bytes

    @property
    def unfused_bytes(self) -> int:
        """What is read and written if every operator is run for itself and nothing stays in the caches."""
        return sum(operator.read_bytes + operator.written_bytes for operator in self.operators)


def cost_of(graph: bytes | Path, batch: int) -> Cost:
    """Count the operations of a graph with one input `image`, uint8 `(batch, height, width)`.

    The shapes are those of a real run, since what a graph computes can decide over them; the image is black.

    Raises:
        ValueError: The graph has other inputs.
    """
    model = onnx.load_from_string(graph) if isinstance(graph, bytes) else onnx.load(graph)
    image = _black(model, batch)
    values = _values(model, image)
    constants = [name for name in values if name in _constants(model)]
    return Cost(
        operators=tuple(_operator(node, values) for node in model.graph.node if node.op_type != "Constant"),
        weight_bytes=sum(values[name].nbytes for name in constants),
        border_bytes=image.nbytes + sum(values[output.name].nbytes for output in model.graph.output),
        outputs={output.name: values[output.name] for output in model.graph.output},
    )


def _black(model: Any, batch: int) -> NDArray[np.uint8]:
    inputs = {each.name: [dim.dim_value for dim in each.type.tensor_type.shape.dim] for each in model.graph.input}
    if list(inputs) != ["image"] or len(inputs["image"]) != 3:
        raise ValueError(f"expected a graph with one input `image` (batch, height, width), got {inputs}")
    return np.zeros((batch, *inputs["image"][1:]), np.uint8)


def _constants(model: Any) -> set[str]:
    nodes = [node.output[0] for node in model.graph.node if node.op_type == "Constant"]
    return {*(each.name for each in model.graph.initializer), *nodes}


def _values(model: Any, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return everything that is computed on the way, and the constants, by name."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    there = {output.name for output in opened.graph.output}
    names = [name for node in opened.graph.node for name in node.output if name]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(opened.SerializeToString(), options, providers=["CPUExecutionProvider"])
    computed = dict(
        zip((each.name for each in session.get_outputs()), session.run(None, {"image": image}), strict=True)
    )
    constants = {each.name: onnx.numpy_helper.to_array(each) for each in model.graph.initializer}
    return {"image": image, **constants, **computed}


def _operator(node: Any, values: Mapping[str, NDArray[Any]]) -> Operator:
    inputs = [values[name] for name in node.input if name]
    outputs = [values[name] for name in node.output if name]
    macs = 0
    if node.op_type == "Conv":
        macs = outputs[0].size * int(np.prod(inputs[1].shape[1:]))  # (out, in / groups, height, width)
    elif node.op_type == "MatMul":
        macs = outputs[0].size * inputs[0].shape[-1]
    read, written = sum(value.nbytes for value in inputs), sum(value.nbytes for value in outputs)
    return Operator(node.name or node.output[0], node.op_type, macs, read, written)
