"""Network: a convolutional network as data; importers and training make one, export writes it as a graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Op = Literal[
    "input",
    "conv",
    "depthwise_conv",
    "conv_transpose",
    "dense",
    "relu",
    "sigmoid",
    "softmax",
    "max_pool",
    "upsample",
    "concat",
    "add",
    "global_max_pool",
    "flatten",
]


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation on channels-last maps, "same" padding throughout.

    Attributes:
        name: Unique in its network.
        op: `input`, `conv` (kernel HWIO), `depthwise_conv` (kernel HWC1), `conv_transpose` (kernel HW out in; output is
            the full transposed convolution cropped 0 at the beginning, 1 at the end, per axis), `dense` (kernel in
            out), `relu`, `sigmoid`, `softmax`, `max_pool` (size = stride = `stride`), `upsample` (bilinear, half-pixel,
            edge-clamped, by `stride`), `concat` (channels, in input order), `add`, `global_max_pool`, `flatten`.
        inputs: Names of the layers it reads.
        channels: Output channels of `input`, convolutions and `dense`; 0 elsewhere.
        kernel: Side of a convolution's kernel; 0 elsewhere.
        stride: Stride of a convolution or pool, factor of an upsampling; 1 elsewhere.
    """

    name: str
    op: Op
    inputs: tuple[str, ...] = ()
    channels: int = 0
    kernel: int = 0
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in an order in which they can be computed, and their weights.

    Attributes:
        layers: The first is the only `input`: float32 in 0–1, `(1, height, width, channels)`.
        outputs: Names of the output layers, in the order of the heads.
        weights: `"<layer>/kernel"` and `"<layer>/bias"` to float32 arrays in the layouts of `Layer`.
    """

    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
