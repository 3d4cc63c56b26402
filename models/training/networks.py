"""Networks to train: SLEAP's UNet rule as a `Network`, with a head for everything that a pose model puts out."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.network import Head, Layer, Network


@dataclass(frozen=True, slots=True)
class MapHead:
    """Maps to predict, by a 1×1 convolution on the decoder's feature of their stride.

    Attributes:
        head: What the maps mean; `class_maps` end in a sigmoid.
        channels: How many maps.
        stride: Input px per cell, a power of two from `stem_stride` to `max_stride`.
    """

    head: Head
    channels: int
    stride: int


@dataclass(frozen=True, slots=True)
class ClassHead:
    """Class probabilities of the whole input: the middle block's maxima, dense layers with ReLU, a softmax.

    Attributes:
        classes: How many classes.
        layers: Dense layers before the last one.
        units: Their width.
    """

    classes: int
    layers: int
    units: int


def unet(
    heads: Sequence[MapHead],
    classes: ClassHead | None = None,
    *,
    filters: int,
    filters_rate: float,
    max_stride: int,
    stem_stride: int = 1,
) -> Network:
    """Return an untrained UNet by SLEAP's rule.

    Block `i` has two 3×3 convolutions of `⌊filters · filters_rate^i⌋` channels; the encoder pools after every block
    down to `max_stride`, the decoder upsamples bilinearly, joins the skip of that stride and convolves twice, up to
    the finest stride of the heads. With `stem_stride` > 1 one convolution whose kernel equals its stride comes first
    and block 0 works at that stride: most of a small UNet's time goes into its finest level.

    Args:
        heads: The maps; confidence maps first.
        classes: Class probabilities of the whole input, `class_vectors`.
        filters: Channels of block 0 (and of the stem).
        filters_rate: Growth of the channels from block to block.
        max_stride: Stride of the coarsest block, a power of two; images must be multiples of it.
        stem_stride: Stride of the stem, a power of two; 1 = none.
    """
    layers = [Layer("image", "input", channels=1)]
    if stem_stride > 1:
        layers.append(Layer("stem", "conv", ("image",), channels=filters, kernel=stem_stride, stride=stem_stride))
        layers.append(Layer("stem_relu", "relu", ("stem",)))
    strides = [stem_stride << i for i in range((max_stride // stem_stride).bit_length())]
    widths = [int(filters * filters_rate**i) for i in range(len(strides))]
    for i, width in enumerate(widths):
        if i:
            layers.append(Layer(f"enc{i}_pool", "max_pool", (layers[-1].name,), stride=2))
        layers += _block(f"enc{i}", layers[-1].name, width)
    middle = layers[-1].name
    features = {max_stride: middle}
    finest = min(head.stride for head in heads)
    for i in reversed(range(strides.index(finest), len(strides) - 1)):
        layers.append(Layer(f"dec{i}_up", "upsample", (layers[-1].name,), stride=2))
        layers.append(Layer(f"dec{i}_concat", "concat", (f"enc{i}_relu1", f"dec{i}_up")))
        layers += _block(f"dec{i}", f"dec{i}_concat", widths[i])
        features[strides[i]] = layers[-1].name
    for head in heads:
        layers += _map_head(head, features[head.stride])
    outputs: dict[str, str] = {head.head: head.head for head in heads}
    if classes is not None:
        layers += _class_head(classes, middle)
        outputs["class_vectors"] = "class_vectors"
    return Network(layers=tuple(layers), outputs=outputs)


def _block(name: str, source: str, width: int) -> list[Layer]:
    return [
        Layer(f"{name}_conv0", "conv", (source,), channels=width, kernel=3),
        Layer(f"{name}_relu0", "relu", (f"{name}_conv0",)),
        Layer(f"{name}_conv1", "conv", (f"{name}_relu0",), channels=width, kernel=3),
        Layer(f"{name}_relu1", "relu", (f"{name}_conv1",)),
    ]


def _map_head(head: MapHead, feature: str) -> list[Layer]:
    if head.head != "class_maps":
        return [Layer(head.head, "conv", (feature,), channels=head.channels, kernel=1)]
    return [
        Layer("class_maps_logits", "conv", (feature,), channels=head.channels, kernel=1),
        Layer("class_maps", "sigmoid", ("class_maps_logits",)),
    ]


def _class_head(head: ClassHead, feature: str) -> list[Layer]:
    layers = [
        Layer("class_pool", "global_max_pool", (feature,)),
        Layer("class_flatten", "flatten", ("class_pool",)),
    ]
    for i in range(head.layers):
        layers.append(Layer(f"class_dense{i}", "dense", (layers[-1].name,), channels=head.units))
        layers.append(Layer(f"class_relu{i}", "relu", (f"class_dense{i}",)))
    layers.append(Layer("class_logits", "dense", (layers[-1].name,), channels=head.classes))
    layers.append(Layer("class_vectors", "softmax", ("class_logits",)))
    return layers


def parameter_count(network: Network) -> int:
    """Return how many weights and biases `network` has, trained or not."""
    channels: dict[str, int] = {}
    count = 0
    for layer in network.layers:
        n_in = sum(channels[name] for name in layer.inputs)
        channels[layer.name] = layer.channels or n_in
        if layer.op in ("conv", "dense"):
            count += max(layer.kernel, 1) ** 2 * n_in * layer.channels + layer.channels
    return count
