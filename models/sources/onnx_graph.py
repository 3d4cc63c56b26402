"""An ONNX file as plain data: nodes and constants. Nothing in it is run."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from models.errors import ModelNotOpenError
from models.export.builder import import_onnx

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a graph.

    Attributes:
        name: For messages.
        op: ONNX's name of the operation.
        inputs: Names of the values it reads; empty = left out.
        outputs: Names of the values it makes.
        attributes: Its settings.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        return f"node {self.name or self.outputs[0]} ({self.op})"


class OnnxGraph:
    """An ONNX file as nodes and constants.

    Attributes:
        path: The file.
        nodes: In an order in which they can be computed.
        constants: Values that do not depend on the input.
        inputs: Name → shape; None where a dimension is free.
        outputs: Names of the outputs.
        metadata: Free texts in the file.
        makers: Value → the node that makes it.

    Raises:
        ModelNotOpenError: The file is missing, damaged or not an ONNX model.
        ModelNotInstalledError: The package `onnx` is missing.
    """

    def __init__(self, path: Path) -> None:
        onnx = import_onnx()
        from google.protobuf.message import DecodeError  # noqa: PLC0415

        if not path.is_file():
            raise ModelNotOpenError(f"{path}: no such file")
        try:
            model = onnx.load(path)
            onnx.checker.check_model(model)
            self._read(onnx, model)
        except (DecodeError, onnx.checker.ValidationError, OSError, KeyError, TypeError, ValueError) as error:
            reason = str(error).strip().split("\n", maxsplit=1)[0]
            raise ModelNotOpenError(f"{path}: expected an ONNX model, got a damaged file: {reason}") from error
        self.path = path
        self.makers = {value: node for node in self.nodes for value in node.outputs}

    def _read(self, onnx: Any, model: Any) -> None:
        as_array = onnx.numpy_helper.to_array
        self.constants: dict[str, Array] = {tensor.name: as_array(tensor) for tensor in model.graph.initializer}
        self.metadata = {entry.key: entry.value for entry in model.metadata_props}
        self.inputs = {
            value.name: tuple(d.dim_value or None for d in value.type.tensor_type.shape.dim)
            for value in model.graph.input
            if value.name not in self.constants
        }
        self.outputs = tuple(value.name for value in model.graph.output)
        self.nodes: list[Node] = []
        for node in model.graph.node:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            if node.op_type == "Constant" and "value" in attributes:
                self.constants[node.output[0]] = as_array(attributes["value"])
            elif node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
            else:
                plain = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
                self.nodes.append(Node(node.name, node.op_type, tuple(node.input), tuple(node.output), plain))

    def needed_for(self, output: str) -> set[str]:
        """Return the names of all values that `output` depends on, and its own."""
        needed, waiting = set(), [output]
        while waiting:
            value = waiting.pop()
            if value not in needed:
                needed.add(value)
                waiting += self.makers[value].inputs if value in self.makers else ()
        return needed

    def error(self, node: Node, expected: str, got: object) -> ModelNotOpenError:
        """Return the error that says what is wrong with a node."""
        return ModelNotOpenError(f"{self.path}: {node}: expected {expected}, got {got}")


def walk_back(graph: OnnxGraph, value: str) -> Iterator[Node]:
    """Yield the nodes between `value` and the graph's input that images go through, nearest first.

    Of operations such as a crop or a reshape only the first input is an image.
    """
    waiting, seen = [value], {value}
    while waiting:
        node = graph.makers.get(waiting.pop(0))
        if node is None:
            continue
        yield node
        images = node.inputs if node.op in ("Add", "Concat") else node.inputs[:1]
        further = [name for name in dict.fromkeys(images) if name not in graph.constants and name not in seen]
        waiting += further
        seen.update(further)
