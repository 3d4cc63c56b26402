"""Networks to train: SLEAP's UNet rule as a `Network`, and the way to Keras and back."""

from typing import Any

import numpy as np

from models.errors import ModelNotInstalledError
from models.network import Layer, Network


def unet(
    channels: int,
    *,
    filters: int,
    filters_rate: float,
    max_stride: int,
    output_stride: int,
    stem_stride: int = 1,
) -> Network:
    """Return an untrained UNet by SLEAP's rule.

    Block `i` has two 3×3 convolutions of `⌊filters · filters_rate^i⌋` channels; the encoder pools after every block
    down to `max_stride`, the decoder upsamples bilinearly, joins the skip of that stride and convolves twice, up to
    `output_stride`; a 1×1 convolution makes the maps. With `stem_stride` > 1 one convolution whose kernel equals its
    stride comes first and block 0 works at that stride: most of a small UNet's time goes into its finest level.

    Args:
        channels: Maps to predict.
        filters: Channels of block 0 (and of the stem).
        filters_rate: Growth of the channels from block to block.
        max_stride: Stride of the coarsest block, a power of two; images must be multiples of it.
        output_stride: Stride of the maps, a power of two from `stem_stride` to `max_stride`.
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
    for i in reversed(range(strides.index(output_stride), len(strides) - 1)):
        layers.append(Layer(f"dec{i}_up", "upsample", (layers[-1].name,), stride=2))
        layers.append(Layer(f"dec{i}_concat", "concat", (f"enc{i}_relu1", f"dec{i}_up")))
        layers += _block(f"dec{i}", f"dec{i}_concat", widths[i])
    layers.append(Layer("confmaps", "conv", (layers[-1].name,), channels=channels, kernel=1))
    return Network(layers=tuple(layers), outputs=("confmaps",))


def _block(name: str, source: str, width: int) -> list[Layer]:
    return [
        Layer(f"{name}_conv0", "conv", (source,), channels=width, kernel=3),
        Layer(f"{name}_relu0", "relu", (f"{name}_conv0",)),
        Layer(f"{name}_conv1", "conv", (f"{name}_relu0",), channels=width, kernel=3),
        Layer(f"{name}_relu1", "relu", (f"{name}_conv1",)),
    ]


def parameter_count(network: Network) -> int:
    """Return how many weights and biases `network` has, trained or not."""
    channels: dict[str, int] = {}
    count = 0
    for layer in network.layers:
        n_in = sum(channels[name] for name in layer.inputs)
        channels[layer.name] = layer.channels or n_in
        if layer.op == "conv":
            count += layer.kernel**2 * n_in * layer.channels + layer.channels
    return count


def import_keras() -> Any:  # Keras has no complete type information
    """Return the `keras` module on TensorFlow.

    Raises:
        ModelNotInstalledError: TensorFlow is not installed.
    """
    try:
        from tensorflow import keras  # noqa: PLC0415 - takes seconds to import; only training needs it
    except ImportError as error:
        raise ModelNotInstalledError(
            "training: TensorFlow is not installed; install it with: pip install 'poseloop[train]'"
        ) from error
    return keras


def to_keras(network: Network, height: int, width: int) -> Any:
    """Return `network` as a Keras model with float32 `(n, height, width, 1)` inputs in 0–1 and fresh weights.

    Weights that `network` brings are copied in.

    Raises:
        ModelNotInstalledError: TensorFlow is not installed.
        ValueError: The network has an operation that training does not build.
    """
    keras = import_keras()
    tensors: dict[str, Any] = {}
    for layer in network.layers:
        if layer.op == "input":
            tensors[layer.name] = keras.Input((height, width, layer.channels), name=layer.name)
        else:
            inputs = [tensors[name] for name in layer.inputs]
            tensors[layer.name] = _keras_layer(keras, layer)(inputs if len(inputs) > 1 else inputs[0])
    outputs = [tensors[name] for name in network.outputs]
    model = keras.Model(tensors[network.layers[0].name], outputs if len(outputs) > 1 else outputs[0])
    for layer in network.layers:
        if f"{layer.name}/kernel" in network.weights:
            model.get_layer(layer.name).set_weights(
                [network.weights[f"{layer.name}/kernel"], network.weights[f"{layer.name}/bias"]]
            )
    return model


def _keras_layer(keras: Any, layer: Layer) -> Any:
    make = keras.layers
    match layer.op:
        case "conv":
            # He's initialisation keeps the variance through ReLUs; Keras' default lets a deep map start at zero.
            return make.Conv2D(
                layer.channels,
                layer.kernel,
                strides=layer.stride,
                padding="same",
                kernel_initializer="he_normal",
                name=layer.name,
            )
        case "relu":
            return make.ReLU(name=layer.name)
        case "max_pool":
            return make.MaxPooling2D(layer.stride, padding="same", name=layer.name)
        case "upsample":
            return make.UpSampling2D(layer.stride, interpolation="bilinear", name=layer.name)
        case "concat":
            return make.Concatenate(axis=-1, name=layer.name)
        case _:
            raise ValueError(f"training: expected an operation of a UNet, got {layer.op} ({layer.name})")


def with_weights_of(network: Network, model: Any) -> Network:
    """Return `network` with the weights of its Keras model."""
    weights = {}
    for layer in network.layers:
        if layer.op == "conv":
            kernel, bias = model.get_layer(layer.name).get_weights()
            weights[f"{layer.name}/kernel"] = np.asarray(kernel, np.float32)
            weights[f"{layer.name}/bias"] = np.asarray(bias, np.float32)
    return Network(layers=network.layers, outputs=network.outputs, weights=weights)
