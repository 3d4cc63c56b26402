"""Keras: the one place that imports it, and a `Network` as a Keras model and back.

Everything that training asks of Keras is the same on each of its backends, so that `KERAS_BACKEND=jax` or `torch`
selects another one than TensorFlow.
"""

from typing import Any

import numpy as np

from models.errors import ModelNotInstalledError
from models.network import Layer, Network
from models.training.config import Precision


def import_keras() -> Any:  # Keras has no complete type information
    """Return the `keras` module on the backend that `KERAS_BACKEND` names, by default TensorFlow.

    Raises:
        ModelNotInstalledError: Keras or the backend is not installed.
    """
    try:
        import keras  # noqa: PLC0415 - its backend takes seconds to import; only training needs it
    except ImportError as error:
        raise ModelNotInstalledError(
            f"training: Keras and its backend are not installed ({error}); install them with: "
            "pip install 'poseloop[train]', or set KERAS_BACKEND to a backend that is there"
        ) from error
    return keras


def to_keras(network: Network, height: int, width: int, precision: Precision = "fp32") -> Any:
    """Return `network` as a Keras model with float32 `(n, height, width, 1)` inputs in 0–1 and fresh weights.

    Its outputs are a dictionary with the keys of `network.outputs`, always float32. Weights that `network` brings are
    copied in.

    Raises:
        ModelNotInstalledError: Keras or its backend is not installed.
        ValueError: The network has an operation that training does not build.
    """
    keras = import_keras()
    last = {_weighted_source(network, layer) for layer in network.outputs.values()} | set(network.outputs.values())
    tensors: dict[str, Any] = {}
    for layer in network.layers:
        if layer.op == "input":
            tensors[layer.name] = keras.Input((height, width, layer.channels), name=layer.name)
        else:
            inputs = [tensors[name] for name in layer.inputs]
            # What comes out, and what a softmax or sigmoid is taken of, needs more digits than bfloat16 has.
            dtype = "mixed_bfloat16" if precision == "bf16" and layer.name not in last else "float32"
            tensors[layer.name] = _keras_layer(keras, layer, dtype)(inputs if len(inputs) > 1 else inputs[0])
    outputs = {head: tensors[name] for head, name in network.outputs.items()}
    model = keras.Model(tensors[network.layers[0].name], outputs)
    for layer in network.layers:
        if f"{layer.name}/kernel" in network.weights:
            model.get_layer(layer.name).set_weights(
                [network.weights[f"{layer.name}/kernel"], network.weights[f"{layer.name}/bias"]]
            )
    return model


def _weighted_source(network: Network, output: str) -> str:
    layers = {layer.name: layer for layer in network.layers}
    while layers[output].op in ("sigmoid", "softmax"):
        output = layers[output].inputs[0]
    return output


def _keras_layer(keras: Any, layer: Layer, dtype: str) -> Any:
    make = keras.layers
    # He's initialisation keeps the variance through ReLUs; Keras' default lets a deep map start at zero.
    initial = {"kernel_initializer": "he_normal"}
    stride = layer.stride
    makers: dict[str, tuple[Any, dict[str, Any]]] = {
        "conv": (
            make.Conv2D,
            {"filters": layer.channels, "kernel_size": layer.kernel, "strides": stride, "padding": "same", **initial},
        ),
        "dense": (make.Dense, {"units": layer.channels, **initial}),
        "relu": (make.ReLU, {}),
        "sigmoid": (make.Activation, {"activation": "sigmoid"}),
        "softmax": (make.Softmax, {}),
        "max_pool": (make.MaxPooling2D, {"pool_size": stride, "padding": "same"}),
        "global_max_pool": (make.GlobalMaxPooling2D, {}),
        "flatten": (make.Flatten, {}),
        "upsample": (make.UpSampling2D, {"size": stride, "interpolation": "bilinear"}),
        "concat": (make.Concatenate, {"axis": -1}),
    }
    if layer.op not in makers:
        raise ValueError(f"training: expected an operation of a UNet, got {layer.op} ({layer.name})")
    maker, options = makers[layer.op]
    return maker(name=layer.name, dtype=dtype, **options)


def with_weights_of(network: Network, model: Any) -> Network:
    """Return `network` with the weights of its Keras model."""
    weights = {}
    for layer in network.layers:
        if layer.op in ("conv", "dense"):
            kernel, bias = model.get_layer(layer.name).get_weights()
            weights[f"{layer.name}/kernel"] = np.asarray(kernel, np.float32)
            weights[f"{layer.name}/bias"] = np.asarray(bias, np.float32)
    return Network(layers=network.layers, outputs=network.outputs, weights=weights)
