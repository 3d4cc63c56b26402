"""The layers of a `Network` as ONNX operations on `(batch, channels, height, width)`."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelInputError
from models.export.builder import GraphBuilder
from models.network import Layer, Network, Op

_PLAIN_OPERATIONS: Mapping[Op, tuple[str, Mapping[str, int]]] = {
    "relu": ("Relu", {}),
    "elu": ("Elu", {}),
    "tanh": ("Tanh", {}),
    "sigmoid": ("Sigmoid", {}),
    "softmax": ("Softmax", {"axis": 1}),
    "concat": ("Concat", {"axis": 1}),
    "add": ("Sum", {}),
}
_INTERPOLATIONS: Mapping[Op, Mapping[str, str]] = {
    "upsample": {"mode": "linear", "coordinate_transformation_mode": "half_pixel"},
    "upsample_nearest": {
        "mode": "nearest",
        "coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor",
    },
}
_POOLS: Mapping[Op, str] = {"max_pool": "MaxPool", "average_pool": "AveragePool"}
_GLOBAL_POOLS: Mapping[Op, str] = {"global_max_pool": "GlobalMaxPool", "global_average_pool": "GlobalAveragePool"}
_STRIDED: tuple[Op, ...] = ("conv", "depthwise_conv", "max_pool", "average_pool")
_UPSAMPLING: tuple[Op, ...] = ("upsample", "upsample_nearest", "conv_transpose")
_VECTORS: tuple[Op, ...] = ("global_max_pool", "global_average_pool", "flatten", "dense")


def layer_strides(network: Network) -> dict[str, Fraction]:
    """Return, for every layer with a map, the input px per cell of that map."""
    strides: dict[str, Fraction] = {}
    for layer in network.layers:
        above = [strides[name] for name in layer.inputs if name in strides]
        if layer.op == "input":
            strides[layer.name] = Fraction(1)
        elif layer.op in _VECTORS or not above:
            continue
        elif layer.op in _STRIDED:
            strides[layer.name] = above[0] * layer.stride
        elif layer.op in _UPSAMPLING:
            strides[layer.name] = above[0] / layer.stride
        else:
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


def check_map_sizes(network: Network) -> None:
    """Check that every joined and every put out map has exactly input size / stride cells.

    Paddings other than "same" can make maps that are a little smaller or larger: cell i is then not pixel i · stride.

    Raises:
        ModelInputError: A map has another size; the layer is named.
    """
    strides, side = layer_strides(network), 4 * max_stride(network)
    sizes: dict[str, tuple[int, int]] = {}
    joined = {name for layer in network.layers if len(layer.inputs) > 1 for name in layer.inputs}
    for layer in network.layers:
        if layer.name not in strides:
            continue
        above = sizes[layer.inputs[0]] if layer.inputs else (side, side)
        sizes[layer.name] = size = (_size(layer, above[0], 0), _size(layer, above[1], 1))
        wanted = int(side / strides[layer.name])
        if (layer.name in joined or layer.name in network.outputs.values()) and size != (wanted, wanted):
            raise ModelInputError(
                f"layer {layer.name}: expected a map of {wanted}×{wanted} cells for an input of {side}×{side} px, "
                f"got {size[0]}×{size[1]}"
            )


def _size(layer: Layer, cells: int, axis: int) -> int:
    """Return the cells of a layer's map along one axis, from those of its input."""
    padding = None if layer.pads is None else layer.pads[axis] + layer.pads[axis + 2]
    if layer.op == "pad":
        return cells + (padding or 0)
    if layer.op in _STRIDED:
        return -(-cells // layer.stride) if padding is None else (cells + padding - _extent(layer)) // layer.stride + 1
    if layer.op == "conv_transpose" and padding is not None:
        return (cells - 1) * layer.stride + _extent(layer) - padding
    return cells * layer.stride if layer.op in _UPSAMPLING else cells


def add_network(graph: GraphBuilder, network: Network, image: str) -> dict[str, str]:
    """Add every layer of a network to a graph.

    Args:
        graph: The graph.
        network: The network.
        image: The network's input, `(batch, channels, height, width)` float32 in 0–1; height and width are multiples
            of `max_stride(network)`.

    Returns:
        The network's outputs under the keys of `network.outputs`, `(batch, channels, height, width)`, or
        `(batch, channels)` after `dense`, `flatten` or a global pool.

    Raises:
        ModelInputError: A weight is missing or has another shape than its layer says.
    """
    values: dict[str, str] = {}
    maps = layer_strides(network)
    for layer in network.layers:
        values[layer.name] = image if layer.op == "input" else _add_layer(graph, network, layer, values, maps)
    return {head: values[name] for head, name in network.outputs.items()}


def _add_layer(
    graph: GraphBuilder, network: Network, layer: Layer, values: dict[str, str], maps: Mapping[str, Fraction]
) -> str:
    inputs = [values[name] for name in layer.inputs]
    if layer.op in ("conv", "depthwise_conv", "conv_transpose", "dense"):
        value = _add_weighted(graph, network, layer, inputs[0])
    elif layer.op == "affine":
        value = _add_affine(graph, network, layer, inputs[0], is_map=layer.name in maps)
    elif layer.op in _POOLS:
        value = graph.op(_POOLS[layer.op], inputs[0], **_window(layer))
    elif layer.op in _INTERPOLATIONS:
        factors = graph.float32([1, 1, layer.stride, layer.stride])
        value = graph.op("Resize", inputs[0], "", factors, **_INTERPOLATIONS[layer.op])
    elif layer.op == "pad":
        top, left, bottom, right = layer.pads or (0, 0, 0, 0)
        value = graph.op("Pad", inputs[0], graph.int64([0, 0, top, left, 0, 0, bottom, right]), graph.float32(0.0))
    elif layer.op in _GLOBAL_POOLS:
        value = graph.op("Flatten", graph.op(_GLOBAL_POOLS[layer.op], inputs[0]), axis=1)
    elif layer.op == "flatten":
        value = _add_flattening(graph, inputs[0], is_map=layer.inputs[0] in maps)
    elif layer.op == "leaky_relu":
        value = graph.op("LeakyRelu", inputs[0], alpha=layer.slope)
    else:
        kind, attributes = _PLAIN_OPERATIONS[layer.op]
        value = graph.op(kind, *inputs, **attributes)
    return value


def _add_flattening(graph: GraphBuilder, value: str, *, is_map: bool) -> str:
    # The weights of a following `dense` expect the channels last.
    return graph.op("Flatten", graph.op("Transpose", value, perm=[0, 2, 3, 1]), axis=1) if is_map else value


def _extent(layer: Layer) -> int:
    """Return the cells that a kernel or a window spans along one axis."""
    return ((layer.kernel or layer.stride) - 1) * layer.dilation + 1


def _window(layer: Layer) -> dict[str, object]:
    """Return the attributes that convolutions and pools share.

    Inputs are multiples of the stride, so that TensorFlow's "same" padding does not depend on their size.
    """
    surplus = max(_extent(layer) - layer.stride, 0)
    begin, end = surplus // 2, surplus - surplus // 2
    side = layer.kernel or layer.stride
    return {
        "kernel_shape": [side, side],
        "strides": [layer.stride, layer.stride],
        "pads": list(layer.pads or (begin, begin, end, end)),
    }


def _add_weighted(graph: GraphBuilder, network: Network, layer: Layer, value: str) -> str:
    kernel = _weight(network, layer, "kernel")
    bias = graph.float32(_weight(network, layer, "bias"))
    if layer.op == "dense":
        return graph.op("Gemm", value, graph.float32(kernel), bias)
    attributes = _window(layer)
    if layer.dilation > 1:
        attributes["dilations"] = [layer.dilation, layer.dilation]
    if layer.op == "conv_transpose":
        return graph.op("ConvTranspose", value, graph.float32(kernel.transpose(3, 2, 0, 1)), bias, **attributes)
    if layer.op == "depthwise_conv":
        attributes["group"] = kernel.shape[2]
        return graph.op("Conv", value, graph.float32(kernel.transpose(2, 3, 0, 1)), bias, **attributes)
    return graph.op("Conv", value, graph.float32(kernel.transpose(3, 2, 0, 1)), bias, **attributes)


def _add_affine(graph: GraphBuilder, network: Network, layer: Layer, value: str, *, is_map: bool) -> str:
    scale, bias = (_weight(network, layer, kind) for kind in ("scale", "bias"))
    shape = (1, -1, 1, 1) if is_map else (1, -1)
    product = graph.op("Mul", value, graph.float32(scale.reshape(shape)))
    return graph.op("Add", product, graph.float32(bias.reshape(shape)))


def _weight(network: Network, layer: Layer, kind: str) -> NDArray[np.float32]:
    key = f"{layer.name}/{kind}"
    if key not in network.weights:
        raise ModelInputError(f"layer {layer.name}: expected the weight {key}, got none")
    array = np.asarray(network.weights[key], dtype=np.float32)
    rank = {"bias": 1, "scale": 1}.get(kind, 2 if layer.op == "dense" else 4)
    if array.ndim != rank:
        raise ModelInputError(f"weight {key}: expected {rank} dimensions, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ModelInputError(f"weight {key}: expected finite numbers, got NaN or infinity")
    return array


def _listed(strides: list[Fraction]) -> str:
    return " and ".join(str(stride) for stride in strides)
