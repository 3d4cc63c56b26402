"""Network: a convolutional network as data; importers and training make one, export writes it as a graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Op = Literal[
    "input",
    "conv",
    "depthwise_conv",
    "conv_transpose",
    "dense",
    "affine",
    "relu",
    "leaky_relu",
    "elu",
    "tanh",
    "sigmoid",
    "softmax",
    "pad",
    "max_pool",
    "average_pool",
    "upsample",
    "upsample_nearest",
    "concat",
    "add",
    "global_max_pool",
    "global_average_pool",
    "flatten",
]


Head = Literal["confmaps", "offsets", "pafs", "class_maps", "class_vectors"]
HEADS: tuple[Head, ...] = get_args(Head)
"""What a pose network can put out, channels last.

`confmaps`: one map a node (or one for the animals' anchors). `offsets`: 2 a confidence map, x and y interleaved, cells.
`pafs`: 2 an edge, x and y interleaved. `class_maps`: one an identity, 0–1. `class_vectors`: `(batch, n_classes)`, sums
to 1.
"""


@dataclass(frozen=True, slots=True)
class Layer:
    """One operation on channels-last maps, or on vectors behind a `flatten` or a global pool.

    Attributes:
        name: Unique in its network.
        op: `input`, `conv` (kernel HWIO), `depthwise_conv` (kernel HWC1), `conv_transpose` (kernel HW out in), `dense`
            (kernel in out), `affine` (times `scale` plus `bias`, each a number per channel), `relu`, `leaky_relu`,
            `elu`, `tanh`, `sigmoid`, `softmax` (over the channels), `pad` (zeros around the map), `max_pool`,
            `average_pool` (padding does not count), `upsample` (bilinear, half-pixel, edge-clamped, by `stride`),
            `upsample_nearest`, `concat` (channels, in input order), `add`, `global_max_pool` and `global_average_pool`
            (a vector), `flatten` (a vector, channels last; a vector stays).
        inputs: Names of the layers it reads.
        channels: Output channels of `input`, convolutions and `dense`; 0 elsewhere.
        kernel: Side of a convolution's kernel or of a pool's window (0 = as `stride`); 0 elsewhere.
        stride: Stride of a convolution or pool, factor of an upsampling; 1 elsewhere.
        pads: Cells added at the top, left, bottom and right by a convolution, a pool or `pad`, and cropped from the
            full transposed convolution by `conv_transpose`. None = "same" by TensorFlow's rule: max(extent − stride, 0)
            cells an axis, the smaller half at the beginning.
        dilation: Distance of a convolution's taps, cells.
        slope: Slope of `leaky_relu` below 0.
    """

    name: str
    op: Op
    inputs: tuple[str, ...] = ()
    channels: int = 0
    kernel: int = 0
    stride: int = 1
    pads: tuple[int, int, int, int] | None = None
    dilation: int = 1
    slope: float = 0.0


@dataclass(frozen=True, slots=True)
class Network:
    """Layers in an order in which they can be computed, and their weights.

    Attributes:
        layers: The first is the only `input`: float32 in 0–1, `(batch, height, width, channels)`.
        outputs: What comes out → the layer that makes it; confidence maps come first. In a network that can be
            exported the keys are `HEADS`; a reader that does not know what its outputs mean takes the layers' names.
        weights: `"<layer>/kernel"` (`"<layer>/scale"` of `affine`) and `"<layer>/bias"` to float32 arrays in the
            layouts of `Layer`.
    """

    layers: tuple[Layer, ...]
    outputs: Mapping[str, str]
    weights: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
