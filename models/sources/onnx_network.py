"""The convolutional networks inside an ONNX graph as `Network`s; what is around them is looked at, not run.

A network begins where a convolution reads something that no network made. It goes on as long as operations are ones
that `Layer` knows; what other operations read of it are its outputs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.network import Layer, Network, Op
from models.sources.onnx_graph import Array, Node, OnnxGraph

_PLAIN: Mapping[str, Op] = {"Relu": "relu", "Tanh": "tanh", "Sigmoid": "sigmoid"}
_ALIASES = ("Identity", "Dropout")
_GLOBAL_POOLS: Mapping[str, Op] = {
    "GlobalMaxPool": "global_max_pool",
    "ReduceMax": "global_max_pool",
    "GlobalAveragePool": "global_average_pool",
    "ReduceMean": "global_average_pool",
}
_HALF_PIXEL = ("half_pixel", "pytorch_half_pixel")


@dataclass(slots=True)
class FoundNetwork:
    """A network inside a graph, as it grows.

    Attributes:
        source: The value that goes in.
        layers: Layers so far; named after the values that they make.
        weights: As in `Network`.
        channels: Value → number of channels.
        vectors: Values that are no maps.
        names: Value → the layer that makes it.
        leaving: Values that other operations read, or that are outputs of the graph.
    """

    source: str
    layers: list[Layer]
    weights: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    vectors: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)
    leaving: set[str] = field(default_factory=set)

    def network(self) -> Network:
        """Return the network; its outputs are named after the values that leave it."""
        return Network(tuple(self.layers), {value: self.names[value] for value in sorted(self.leaving)}, self.weights)


def find_networks(graph: OnnxGraph) -> tuple[FoundNetwork, ...]:
    """Return the networks inside a graph, in the order in which they begin.

    Raises:
        ModelNotOpenError: A convolution, pool or resize is of a form that `Layer` does not know; the node is named.
    """
    finder = _Finder(graph)
    for node in graph.nodes:
        try:
            finder.look_at(node)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise graph.error(node, "an operation as ONNX defines it", repr(error)) from error
    for value in graph.outputs:
        finder.leave(value)
    return tuple(finder.networks.values())


class _Finder:
    """Goes through the nodes of a graph and lets networks grow."""

    def __init__(self, graph: OnnxGraph) -> None:
        self.networks: dict[str, FoundNetwork] = {}
        self._graph = graph
        self._home: dict[str, FoundNetwork] = {}

    def look_at(self, node: Node) -> None:
        """Add a node to the network whose values it reads, or note that these leave it."""
        values = [name for name in node.inputs if name and name not in self._graph.constants]
        if node.op == "Conv" and values == [node.inputs[0]] and values[0] not in self._home:
            self._begin(node)
        homes = {id(self._home[name]): self._home[name] for name in values if name in self._home}
        inside = len(homes) == 1 and all(name in self._home for name in values)
        if inside and self._grow(next(iter(homes.values())), node, values):
            return
        if node.op != "Shape":
            for name in values:
                self.leave(name)

    def leave(self, value: str) -> None:
        """Note that something outside reads a value."""
        if value in self._home and value != self._home[value].source:
            self._home[value].leaving.add(value)

    def _begin(self, node: Node) -> None:
        source = node.inputs[0]
        channels = self._constant(node, 1, None, None, None, None).shape[1] * node.attributes.get("group", 1)
        network = FoundNetwork(source, [Layer(source, "input", channels=channels)])
        network.channels[source], network.names[source] = channels, source
        self.networks[source] = self._home[source] = network

    def _grow(self, network: FoundNetwork, node: Node, values: list[str]) -> bool:
        """Translate a node; False if it is no layer of a network."""
        if node.op in _ALIASES:
            layer: Layer | str | None = values[0]
        elif node.op in _PLAIN:
            layer = self._layer(network, node, _PLAIN[node.op])
        elif node.op in self._TRANSLATIONS:
            layer = self._TRANSLATIONS[node.op](self, network, node, values)
        else:
            return False
        if layer is None:
            return False
        made = node.outputs[0]
        self._home[made] = network
        if isinstance(layer, str):
            network.channels[made], network.names[made] = network.channels[layer], network.names[layer]
            network.vectors |= {made} & ({made} if layer in network.vectors else set())
            return True
        network.layers.append(layer)
        network.names[made] = made
        if layer.op in _GLOBAL_POOLS.values() or values[0] in network.vectors:
            network.vectors.add(made)
        network.channels[made] = layer.channels or network.channels[values[0]]
        if layer.op == "concat":
            network.channels[made] = sum(network.channels[name] for name in values)
        return True

    def _layer(self, network: FoundNetwork, node: Node, op: Op, **settings: Any) -> Layer:
        inputs = (network.names[name] for name in node.inputs if name in network.names)
        return Layer(node.outputs[0], op, tuple(inputs), **settings)

    def _convolution(self, network: FoundNetwork, node: Node, values: list[str]) -> Layer | None:
        if values != [node.inputs[0]] or node.inputs[0] in network.vectors:
            raise self._graph.error(node, "constant weights and maps", ", ".join(node.inputs))
        group, above = node.attributes.get("group", 1), network.channels[values[0]]
        n_in, n_out = (None, above // group) if node.op == "Conv" else (above, None)
        weight = self._constant(node, 1, n_in, n_out, None, None)
        if node.op == "Conv":
            depthwise = group == above == len(weight) and group > 1
            op: Op = "depthwise_conv" if depthwise else "conv"
            channels, kernel = len(weight), weight.transpose(2, 3, 0, 1) if depthwise else weight.transpose(2, 3, 1, 0)
            groups_fit = depthwise or group == 1
        else:
            op, channels, kernel = "conv_transpose", weight.shape[1], weight.transpose(2, 3, 1, 0)
            groups_fit = group == 1
        if not groups_fit:
            raise self._graph.error(node, "1 group or one for each channel", f"{group} groups")
        layer = self._layer(
            network,
            node,
            op,
            channels=channels,
            kernel=self._square(node, "kernel", weight.shape[2:]),
            stride=self._square(node, "strides", node.attributes.get("strides", [1, 1])),
            pads=self._pads(node),
            dilation=self._square(node, "dilations", node.attributes.get("dilations", [1, 1])),
        )
        self._store(network, node, kernel=kernel, bias=self._bias(node, channels))
        return layer

    def _pads(self, node: Node) -> tuple[int, int, int, int] | None:
        auto = node.attributes.get("auto_pad", "NOTSET")
        if auto == "SAME_UPPER" and node.op != "ConvTranspose":
            return None
        if auto not in ("NOTSET", "VALID") or "output_shape" in node.attributes:
            raise self._graph.error(node, "explicit pads", f"auto_pad {auto}")
        pads = node.attributes.get("pads", [0, 0, 0, 0]) if auto == "NOTSET" else [0, 0, 0, 0]
        further = node.attributes.get("output_padding", [0, 0])
        top, left, bottom, right = pads[0], pads[1], pads[2] - further[0], pads[3] - further[1]
        if min(top, left, bottom, right) < 0:
            raise self._graph.error(node, "at most as much output_padding as pads", f"{further} and {pads}")
        return top, left, bottom, right

    def _pool(self, network: FoundNetwork, node: Node, _values: list[str]) -> Layer | None:
        attributes = node.attributes
        side = self._square(node, "kernel_shape", attributes["kernel_shape"])
        stride = self._square(node, "strides", attributes.get("strides", [1, 1]))
        pads = self._pads(node)
        if attributes.get("ceil_mode", 0) or set(attributes.get("dilations", [1])) != {1}:
            raise self._graph.error(node, "ceil_mode 0 and dilations 1", dict(attributes))
        if node.op == "AveragePool" and attributes.get("count_include_pad", 0) and any(pads or (1,)):
            raise self._graph.error(node, "padding that does not count", "count_include_pad 1")
        op: Op = "max_pool" if node.op == "MaxPool" else "average_pool"
        return self._layer(network, node, op, kernel=side, stride=stride, pads=pads)

    def _resize(self, network: FoundNetwork, node: Node, _values: list[str]) -> Layer | None:
        mode = node.attributes.get("mode", "nearest")
        where = node.attributes.get("coordinate_transformation_mode", "half_pixel")
        rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
        copies = (where, rounding) == ("asymmetric", "floor") or (where in _HALF_PIXEL and rounding.startswith("round"))
        if not (mode == "linear" and where in _HALF_PIXEL) and not (mode == "nearest" and copies):
            raise self._graph.error(
                node, "linear with half-pixel centres, or copies of the nearest", f"{mode}, {where}"
            )
        scales = self._graph.constants.get(node.inputs[2]) if len(node.inputs) > 2 else None
        factors = [] if scales is None else np.asarray(scales, float).tolist()
        if len(factors) != 4 or factors[:2] != [1, 1] or factors[2] != factors[3] or factors[2] % 1 or factors[2] < 1:
            raise self._graph.error(node, "a whole constant factor for height and width", factors or "a given size")
        op: Op = "upsample" if mode == "linear" else "upsample_nearest"
        return self._layer(network, node, op, stride=int(factors[2]))

    def _normalisation(self, network: FoundNetwork, node: Node, _values: list[str]) -> Layer | None:
        n = network.channels[node.inputs[0]]
        gamma, beta, mean, variance = (self._constant(node, k, n).astype(np.float64) for k in range(1, 5))
        scale = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
        self._store(network, node, scale=scale, bias=beta - mean * scale)
        return self._layer(network, node, "affine")

    def _arithmetic(self, network: FoundNetwork, node: Node, values: list[str]) -> Layer | None:
        """A sum of maps, or numbers per channel that maps are multiplied with or that are added to them."""
        if len(values) == len(node.inputs) > 1:
            return self._layer(network, node, "add") if self._alike(network, node, values) else None
        constants = [self._graph.constants[name] for name in node.inputs if name in self._graph.constants]
        numbers = self._per_channel(network, values[0], constants[0]) if len(constants) == 1 else None
        if numbers is None or (node.op in ("Sub", "Div") and node.inputs[0] != values[0]):
            return None
        one, zero = np.ones_like(numbers), np.zeros_like(numbers)
        scale, bias = {
            "Add": (one, numbers), "Sub": (one, -numbers), "Mul": (numbers, zero), "Div": (1 / numbers, zero),
        }[node.op]  # fmt: skip
        self._store(network, node, scale=scale, bias=bias)
        return self._layer(network, node, "affine")

    @staticmethod
    def _alike(network: FoundNetwork, node: Node, values: list[str]) -> bool:
        kinds = {(network.channels[name], name in network.vectors) for name in values}
        return node.op in ("Add", "Sum") and len(kinds) == 1

    @staticmethod
    def _per_channel(network: FoundNetwork, value: str, constant: Array) -> Array | None:
        """Return a number for each channel, if that is what broadcasting makes of a constant."""
        n, behind = network.channels[value], 0 if value in network.vectors else 2
        shape = (1,) * (2 + behind - constant.ndim) + constant.shape
        if len(shape) != 2 + behind or shape[0] != 1 or shape[1] not in (1, n) or set(shape[2:]) > {1}:
            return None
        return np.broadcast_to(constant.astype(np.float64).reshape(-1), n)

    def _softmax(self, network: FoundNetwork, node: Node, values: list[str]) -> Layer | None:
        channel_axes = (1, -1) if values[0] in network.vectors else (1, -3)
        return self._layer(network, node, "softmax") if node.attributes.get("axis", -1) in channel_axes else None

    def _leaky_relu(self, network: FoundNetwork, node: Node, _values: list[str]) -> Layer | None:
        return self._layer(network, node, "leaky_relu", slope=float(node.attributes.get("alpha", 0.01)))

    def _concatenation(self, network: FoundNetwork, node: Node, values: list[str]) -> Layer | None:
        fits = node.attributes["axis"] in (1, -3) and len(values) == len(node.inputs)
        return self._layer(network, node, "concat") if fits and not set(values) & network.vectors else None

    def _global_pool(self, network: FoundNetwork, node: Node, values: list[str]) -> Layer | None:
        if node.op.startswith("Reduce"):
            axes = node.attributes.get("axes")
            if axes is None and len(node.inputs) > 1:
                axes = self._graph.constants.get(node.inputs[1])
            if axes is None or sorted(axis % 4 for axis in np.asarray(axes).tolist()) != [2, 3]:
                return None
        return None if values[0] in network.vectors else self._layer(network, node, _GLOBAL_POOLS[node.op])

    def _flattening(self, network: FoundNetwork, node: Node, values: list[str]) -> str | None:
        """What a global pool leaves is a vector here already."""
        return values[0] if values[0] in network.vectors and node.attributes.get("axis", 1) == 1 else None

    def _dense(self, network: FoundNetwork, node: Node, values: list[str]) -> Layer | None:
        if values != [node.inputs[0]] or values[0] not in network.vectors:
            return None
        kernel, n_in = self._constant(node, 1, None, None), network.channels[values[0]]
        if node.attributes.get("transB", 0):
            kernel = kernel.T
        scaled = {node.attributes.get(name, 1.0) for name in ("alpha", "beta")} | {node.attributes.get("transA", 0)}
        if len(kernel) != n_in or scaled != {1.0, 0}:
            got = f"{len(kernel)} rows, {dict(node.attributes)}"
            raise self._graph.error(node, f"a plain product with a matrix of {n_in} rows", got)
        self._store(network, node, kernel=kernel, bias=self._bias(node, kernel.shape[1]))
        return self._layer(network, node, "dense", channels=kernel.shape[1])

    def _padding(self, network: FoundNetwork, node: Node, values: list[str]) -> Layer | None:
        constants = [self._graph.constants.get(name) for name in node.inputs[1:3] if name]
        if values != [node.inputs[0]] or not constants or any(value is None for value in constants):
            return None
        (pads, *fill) = (np.asarray(value) for value in constants)
        zeros = node.attributes.get("mode", "constant") == "constant" and not any(np.any(value) for value in fill)
        if not zeros or pads.shape != (8,) or pads[[0, 1, 4, 5]].any():
            return None
        return self._layer(network, node, "pad", pads=tuple(pads[[2, 3, 6, 7]].tolist()))

    _TRANSLATIONS: ClassVar[Mapping[str, Callable[["_Finder", FoundNetwork, Node, list[str]], Layer | str | None]]] = {
        "Conv": _convolution,
        "ConvTranspose": _convolution,
        "MaxPool": _pool,
        "AveragePool": _pool,
        "Resize": _resize,
        "BatchNormalization": _normalisation,
        "Add": _arithmetic,
        "Sum": _arithmetic,
        "Sub": _arithmetic,
        "Mul": _arithmetic,
        "Div": _arithmetic,
        "Softmax": _softmax,
        "LeakyRelu": _leaky_relu,
        "Concat": _concatenation,
        "Flatten": _flattening,
        "Gemm": _dense,
        "MatMul": _dense,
        "Pad": _padding,
        **dict.fromkeys(_GLOBAL_POOLS, _global_pool),
    }

    def _constant(self, node: Node, k: int, *shape: int | None) -> Array:
        """Return a constant input of this shape; None = any number."""
        if k >= len(node.inputs) or node.inputs[k] not in self._graph.constants:
            raise self._graph.error(node, f"input {k} to be constant", "a computed value or none")
        array = self._graph.constants[node.inputs[k]]
        if array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
            wanted = ", ".join("any" if n is None else str(n) for n in shape)
            raise self._graph.error(node, f"input {k} of shape ({wanted})", array.shape)
        return array

    def _bias(self, node: Node, channels: int) -> Array:
        return self._constant(node, 2, channels) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(channels)

    def _store(self, network: FoundNetwork, node: Node, **weights: Array) -> None:
        for kind, weight in weights.items():
            if not np.isfinite(weight).all():
                raise self._graph.error(node, f"a finite {kind}", "NaN or infinity")
            network.weights[f"{node.outputs[0]}/{kind}"] = np.ascontiguousarray(weight, np.float32)

    def _square(self, node: Node, what: str, pair: Sequence[int]) -> int:
        if len(pair) != 2 or pair[0] != pair[1]:
            raise self._graph.error(node, f"the same {what} in both directions", list(pair))
        return int(pair[0])
