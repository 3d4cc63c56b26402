"""The layers of a `Network` as ONNX operations on `(batch, channels, height, width)`."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from models.errors import ModelInputError
from models.export.builder import GraphBuilder
from models.network import Layer, Network, Op

_PLAIN_OPERATIONS: Mapping[Op, tuple[str, Mapping[str, int]]] = {
    "relu": ("Relu", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "concat": ("Concat", {"axis": 1}),
    "add": ("Sum", {}),
    "global_max_pool": ("GlobalMaxPool", {}),
}


def layer_strides(network: Network) -> dict[str, Fraction]:
    """Return, for every layer with a map, the input px per cell of that map."""
    strides: dict[str, Fraction] = {}
    for layer in network.layers:
        above = [strides[name] for name in layer.inputs if name in strides]
        if layer.op == "input":
            strides[layer.name] = Fraction(1)
        elif layer.op in ("conv", "depthwise_conv", "max_pool"):
            strides[layer.name] = above[0] * layer.stride
        elif layer.op in ("upsample", "conv_transpose"):
            strides[layer.name] = above[0] / layer.stride
        elif layer.op in ("global_max_pool", "flatten", "dense"):
            continue
        elif above:
            if len(set(above)) > 1:
                raise ModelInputError(f"layer {layer.name}: expected inputs of one stride, got {_listed(above)}")
            strides[layer.name] = above[0]
    return strides


def max_stride(network: Network) -> int:
    """Return the side of the coarsest cell, px; the input must be a multiple of it."""
    return int(max(layer_strides(network).values()))


def output_stride(network: Network, output: str) -> int:
    """Return the input px per cell of one output."""
    return int(layer_strides(network)[output])


def input_channels(network: Network) -> int:
    """Return the channels of the image that the network takes."""
    return network.layers[0].channels


def output_channels(network: Network, output: str) -> int:
    """Return the channels of one output."""
    layers = {layer.name: layer for layer in network.layers}
    layer = layers[output]
    while layer.channels == 0 and layer.op != "concat":
        layer = layers[layer.inputs[0]]
    return layer.channels or sum(output_channels(network, name) for name in layer.inputs)


def add_network(graph: GraphBuilder, network: Network, image: str) -> dict[str, str]:
    """Add every layer of a network to a graph.

    Args:
        graph: The graph.
        network: The network.
        image: The network's input, `(batch, channels, height, width)` float32 in 0–1; height and width are multiples
            of `max_stride(network)`.

    Returns:
        The network's outputs by layer name, `(batch, channels, height, width)`, or `(batch, channels)` after `dense`.

    Raises:
        ModelInputError: A weight is missing or has another shape than its layer says.
    """
    values: dict[str, str] = {}
    for layer in network.layers:
        values[layer.name] = image if layer.op == "input" else _add_layer(graph, network, layer, values)
    return {name: values[name] for name in network.outputs}


def _add_layer(graph: GraphBuilder, network: Network, layer: Layer, values: dict[str, str]) -> str:
    inputs = [values[name] for name in layer.inputs]
    if layer.op in ("conv", "depthwise_conv", "conv_transpose", "dense"):
        return _add_weighted(graph, network, layer, inputs[0])
    if layer.op == "max_pool":
        size = [layer.stride, layer.stride]
        return graph.op("MaxPool", inputs[0], kernel_shape=size, strides=size)
    if layer.op == "upsample":
        return _add_upsampling(graph, inputs[0], layer.stride)
    if layer.op == "flatten":
        # The weights of a following `dense` expect the channels last.
        return graph.op("Flatten", graph.op("Transpose", inputs[0], perm=[0, 2, 3, 1]), axis=1)
    kind, attributes = _PLAIN_OPERATIONS[layer.op]
    return graph.op(kind, *inputs, **attributes)


def _add_upsampling(graph: GraphBuilder, value: str, factor: int) -> str:
    return graph.op(
        "Resize",
        value,
        "",
        graph.float32([1, 1, factor, factor]),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )


def _add_weighted(graph: GraphBuilder, network: Network, layer: Layer, value: str) -> str:
    kernel = _weight(network, layer, "kernel")
    bias = graph.float32(_weight(network, layer, "bias"))
    side, stride = layer.kernel, layer.stride
    if layer.op == "dense":
        return graph.op("Gemm", value, graph.float32(kernel), bias)
    attributes: dict[str, object] = {"kernel_shape": [side, side], "strides": [stride, stride]}
    # "Same" padding (TensorFlow's convention): the odd pixel goes to the end. Inputs are multiples of the stride.
    surplus = max(side - stride, 0)
    begin, end = surplus // 2, surplus - surplus // 2
    attributes["pads"] = [begin, begin, end, end]
    if layer.op == "conv_transpose":
        return graph.op("ConvTranspose", value, graph.float32(kernel.transpose(3, 2, 0, 1)), bias, **attributes)
    if layer.op == "depthwise_conv":
        attributes["group"] = kernel.shape[2]
        return graph.op("Conv", value, graph.float32(kernel.transpose(2, 3, 0, 1)), bias, **attributes)
    return graph.op("Conv", value, graph.float32(kernel.transpose(3, 2, 0, 1)), bias, **attributes)


def _weight(network: Network, layer: Layer, kind: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    key = f"{layer.name}/{kind}"
    if key not in network.weights:
        raise ModelInputError(f"layer {layer.name}: expected the weight {key}, got none")
    array = np.asarray(network.weights[key], dtype=np.float32)
    rank = {"bias": 1}.get(kind, 2 if layer.op == "dense" else 4)
    if array.ndim != rank:
        raise ModelInputError(f"weight {key}: expected {rank} dimensions, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ModelInputError(f"weight {key}: expected finite numbers, got NaN or infinity")
    return array


def _listed(strides: list[Fraction]) -> str:
    return " and ".join(str(stride) for stride in strides)
