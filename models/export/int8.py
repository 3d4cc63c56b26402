"""The convolutions of a graph in 8-bit integers; images, peaks and points stay float32.

The graph says it in ONNX's QuantizeLinear and DequantizeLinear: an engine that knows integers fuses them with the
convolution between them, any other computes the same numbers. A value becomes one of 256 steps between the lowest and
the highest that was measured, a weight one of 127 steps up to the largest of its output channel.

Weights take 7 bits because processors without VNNI add two products of 8 by 8 bits in 16: 2 · 255 · 63 fits,
2 · 255 · 127 does not. The first convolution of a network, which reads the image, and those that make its maps stay
float32: they are a few per cent of the work.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelInputError
from models.export.builder import import_onnx
from models.export.ranges import Range, places

VALUE_STEPS = 255
WEIGHT_STEPS = 63
_BIAS_STEPS = 2.0**30
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm"})
# What they give is not beyond what they get, so that it keeps the steps of that.
_KEEPING = frozenset({"MaxPool", "Resize"})
_CARRYING = _KEEPING | {"Concat"}


def quantised(graph: bytes, ranges: Mapping[str, Range]) -> bytes:
    """Return the graph with the convolutions inside its networks in 8-bit integers.

    Args:
        graph: A serialised ONNX model in float32, as `build_graph` and `write_parts` make it: every convolution has a
            bias.
        ranges: See `measure_ranges`; of this graph, or of the whole one whose half this is.

    Raises:
        ModelInputError: There is no convolution to quantise, or a range is missing, not finite or without 0.
        ModelNotInstalledError: The package `onnx` is missing.
    """
    onnx = import_onnx()
    model = onnx.load_from_string(graph)
    _Quantising(onnx, model.graph, ranges).rewrite()
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString()
    return serialised


class _Quantising:
    def __init__(self, onnx: Any, graph: Any, ranges: Mapping[str, Range]) -> None:
        self._onnx = onnx
        self._graph = graph
        self._ranges = ranges
        self._places = places(graph)
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._reads = {node.output[0]: node.input[0] for node in graph.node if node.input}
        self._origins = self._same_steps()
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._in_steps: dict[str, str] = {}

    def rewrite(self) -> None:
        convolutions = self._convolutions()
        if not convolutions:
            raise ModelInputError("expected a network with a convolution between its first and its last, got none")
        carriers = self._carriers(convolutions)
        for node in self._graph.node:
            if node.output[0] in convolutions:
                self._quantise(node)
            elif node.output[0] in carriers:
                for i, name in enumerate(node.input):
                    if name in self._places:
                        node.input[i] = self._stepped(node, name)
            self._nodes.append(node)
        used = {name for node in self._nodes for name in node.input}
        constants = [tensor for tensor in (*self._graph.initializer, *self._constants) if tensor.name in used]
        for field, content in ((self._graph.node, self._nodes), (self._graph.initializer, constants)):
            kept = list(content)
            del field[:]
            field.extend(kept)

    def _same_steps(self) -> dict[str, str]:
        """Return, for what only keeps values, the value whose steps its output has."""
        found: dict[str, str] = {}
        for node in self._graph.node:  # in an order in which they can be computed
            if node.op_type in _KEEPING and node.input[0] in self._places:
                found[node.output[0]] = found.get(node.input[0], node.input[0])
        return found

    def _convolutions(self) -> set[str]:
        """Return the outputs of the convolutions that read what another one made and are not the last ones."""
        leading: set[str] = set()  # values that lead to a weighted operation of the same network
        found = set()
        for node in reversed(self._graph.node):
            if node.output[0] not in self._places:
                continue
            leads = node.output[0] in leading
            if leads and node.op_type == "Conv" and _group(node) == 1 and node.input[0] in self._places:
                found.add(node.output[0])
            if leads or node.op_type in _WEIGHTED:
                leading.update(node.input)
        return found

    def _carriers(self, convolutions: set[str]) -> set[str]:
        """Return the outputs of what carries values to those convolutions without computing with them."""
        read = {self._reads[name] for name in convolutions}
        found = set()
        for node in reversed(self._graph.node):
            if node.op_type in _CARRYING and node.output[0] in read:
                found.add(node.output[0])
                read.update(name for name in node.input if name in self._places)
        return found

    def _quantise(self, node: Any) -> None:
        value, kernel = node.input[0], self._array(node.input[1])
        bias = self._array(node.input[2])
        value_scale, _ = self._steps(value)
        scale = np.abs(kernel).max(axis=(1, 2, 3)) / WEIGHT_STEPS
        # A bias is counted in steps of value times weight, and has 31 bits for it; a channel without weights has any.
        scale = np.maximum(scale, np.abs(bias) / (value_scale * _BIAS_STEPS))
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        bias_scale = (scale * value_scale).astype(np.float32)
        steps = np.rint(kernel / scale[:, np.newaxis, np.newaxis, np.newaxis]).astype(np.int8)
        node.input[0] = self._stepped(node, value)
        node.input[1] = self._dequantised(f"{node.name}/weights", steps, scale)
        node.input[2] = self._dequantised(f"{node.name}/bias", np.rint(bias / bias_scale).astype(np.int32), bias_scale)

    def _stepped(self, reader: Any, value: str) -> str:
        """Return the name of a value that was brought to its steps and back."""
        if value not in self._in_steps:
            name = f"{reader.name}/{value}"
            scale, zero = self._steps(value)
            steps = [self._constant(f"{name}/scale", scale), self._constant(f"{name}/zero", zero)]
            self._add("QuantizeLinear", [value, *steps], f"{name}/int8")
            self._in_steps[value] = self._add("DequantizeLinear", [f"{name}/int8", *steps], f"{name}/float32")
        return self._in_steps[value]

    def _steps(self, value: str) -> tuple[np.float32, np.uint8]:
        """Return the size of a value's steps and the step that is 0."""
        place = self._places[self._origins.get(value, value)]
        low, high = self._ranges.get(place, (np.nan, np.nan))
        if not (np.isfinite(low) and np.isfinite(high) and low <= 0 <= high):
            raise ModelInputError(f"{place}: expected a finite range of values with 0 in it, got {low:g} to {high:g}")
        scale = np.float32((high - low) / VALUE_STEPS) or np.float32(1.0)
        return scale, np.uint8(np.rint(-low / scale))

    def _dequantised(self, name: str, steps: NDArray[Any], scale: NDArray[np.float32]) -> str:
        zero = np.zeros(len(scale), steps.dtype)
        constants = {"steps": steps, "scale": scale, "zero": zero}
        names = [self._constant(f"{name}/{what}", array) for what, array in constants.items()]
        return self._add("DequantizeLinear", names, f"{name}/float32", axis=0)

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = self._onnx.numpy_helper.to_array(self._weights[name])
        return array

    def _constant(self, name: str, value: Any) -> str:
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, kind: str, inputs: Iterable[str], output: str, **attributes: Any) -> str:
        # Named after the operation that reads it, so that it belongs to the same network.
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output


def _group(node: Any) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)
