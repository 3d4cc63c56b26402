"""A Keras 2 functional model in HDF5 (`best_model.h5`) into a `Network`; neither Keras nor TensorFlow is needed.

Format: `model_config` (JSON) describes the layers, `model_weights/<layer>` holds their weights.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelNotInstalledError, ModelNotOpenError
from models.network import Layer, Network, Op

_ACTIVATIONS: Mapping[str, Op | None] = {"linear": None, "relu": "relu", "sigmoid": "sigmoid", "softmax": "softmax"}
_KERNEL_RANK = {"Conv2D": 4, "DepthwiseConv2D": 4, "Conv2DTranspose": 4, "Dense": 2}


def read_keras_network(path: Path) -> tuple[Network, tuple[int, int]]:
    """Read a network.

    Args:
        path: A file that Keras 2 wrote.

    Returns:
        The network, with every activation as a layer of its own, and the `(height, width)` that it was trained at, px
        (0 where that is free).

    Raises:
        ModelNotOpenError: The file is missing or damaged, or has a layer that is not supported.
        ModelNotInstalledError: The package `h5py` is missing.
    """
    with _opened(path) as file:
        config = _model_config(path, file)
        weights = _Weights(path, file)
        reader = _Reader(path, weights)
        for layer in config["layers"]:
            reader.add(layer)
        outputs = tuple(reader.outputs[name] for name in _names(config["output_layers"]))
    if [layer.op for layer in reader.layers].count("input") != 1 or reader.layers[0].op != "input":
        raise ModelNotOpenError(f"{path}: expected a network with one input, which comes first")
    return Network(tuple(reader.layers), outputs, reader.weights), reader.input_size


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file and turn what damage makes of h5py into our error."""
    try:
        import h5py  # noqa: PLC0415  # an optional package
    except ImportError as error:
        raise ModelNotInstalledError(
            f"{path}: expected the package h5py, got none; install it with: pip install 'poseloop[sleap]'"
        ) from error
    if not path.is_file():
        raise ModelNotOpenError(f"{path}: no such file")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except ModelNotOpenError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ModelNotOpenError(f"{path}: expected a functional model written by Keras 2: {error!r}") from error
    except OSError as error:
        raise ModelNotOpenError(f"{path}: expected an HDF5 file, got a damaged or truncated one: {error}") from error


def _model_config(path: Path, file: Any) -> Mapping[str, Any]:
    if "model_config" not in file.attrs:
        raise ModelNotOpenError(f"{path}: expected the attribute model_config, got none; is it a file of weights only?")
    version = _text(file.attrs.get("keras_version", "2"))
    if not version.startswith("2"):
        raise ModelNotOpenError(f"{path}: expected a file written by Keras 2, got Keras {version}")
    model = json.loads(_text(file.attrs["model_config"]))
    if model["class_name"] not in ("Functional", "Model"):
        raise ModelNotOpenError(f"{path}: expected a Functional model, got {model['class_name']}")
    config: Mapping[str, Any] = model["config"]
    return config


class _Weights:
    """The weights of a file, by layer."""

    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self._groups = file["model_weights"]

    def read(self, layer: str, kind: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Read `kernel` or `bias` and check its shape."""
        names = [_text(name) for name in self._groups[layer].attrs["weight_names"]] if layer in self._groups else []
        matching = [name for name in names if name.rsplit("/", 1)[-1].split(":")[0].endswith(kind)]
        if len(matching) != 1:
            raise ModelNotOpenError(f"{self._path}: layer {layer}: expected one {kind}, got {len(matching)}")
        array = np.asarray(self._groups[layer][matching[0]][()], dtype=np.float32)
        if array.shape != shape:
            raise ModelNotOpenError(
                f"{self._path}: layer {layer}: expected a {kind} of shape {shape}, got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ModelNotOpenError(f"{self._path}: layer {layer}: expected a finite {kind}, got NaN or infinity")
        return array


class _Reader:
    """Translates one Keras layer after the other."""

    def __init__(self, path: Path, weights: _Weights) -> None:
        self._path = path
        self._stored = weights
        self._channels: dict[str, int] = {}
        self.layers: list[Layer] = []
        self.weights: dict[str, NDArray[np.float32]] = {}
        self.outputs: dict[
            str, str
        ] = {}  # Keras's layer name → the layer whose output it is (an activation may follow)
        self.input_size = (0, 0)

    def add(self, layer: Mapping[str, Any]) -> None:
        """Translate one layer."""
        kind, name, config = layer["class_name"], layer["name"], layer["config"]
        inputs = tuple(self.outputs[above] for above in self._inbound(layer))
        if config.get("data_format", "channels_last") != "channels_last":
            raise self._unsupported(name, "data_format", "channels_last", config["data_format"])
        if kind == "InputLayer":
            self._add_input(name, config)
        elif kind in _KERNEL_RANK:
            self._add_weighted(kind, name, config, inputs)
        elif kind == "Activation":
            self._append(self._activation(name, config["activation"], inputs) or self._passed(name, inputs))
        elif kind == "ReLU":
            self._append(Layer(name, "relu", inputs))
        elif kind == "MaxPooling2D":
            self._append(Layer(name, "max_pool", inputs, stride=self._pool_stride(name, config)))
        elif kind == "UpSampling2D":
            self._require(name, config, "interpolation", "bilinear")
            self._append(Layer(name, "upsample", inputs, stride=self._square(name, "size", config["size"])))
        elif kind == "Concatenate":
            if config["axis"] not in (-1, 3):
                raise self._unsupported(name, "axis", "-1", config["axis"])
            self._append(Layer(name, "concat", inputs))
        elif kind in ("Add", "GlobalMaxPooling2D", "Flatten"):
            ops: dict[str, Op] = {"Add": "add", "GlobalMaxPooling2D": "global_max_pool", "Flatten": "flatten"}
            self._append(Layer(name, ops[kind], inputs))
        else:
            raise ModelNotOpenError(f"{self._path}: layer {name}: layers of type {kind} are not supported")

    def _add_input(self, name: str, config: Mapping[str, Any]) -> None:
        _, height, width, channels = config["batch_input_shape"]
        if channels not in (1, 3):
            raise self._unsupported(name, "channels", "1 or 3", channels)
        self.input_size = (height or 0, width or 0)
        self._append(Layer(name, "input", channels=channels))

    def _add_weighted(self, kind: str, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        above = self._channels[inputs[0]]
        if kind == "Dense":
            layer = Layer(name, "dense", inputs, channels=config["units"])
            shape: tuple[int, ...] = (above, config["units"])
        else:
            layer, shape = self._convolution(kind, name, config, inputs, above)
        self._append(layer)
        biased = config.get("use_bias", True)
        self.weights[f"{name}/kernel"] = self._stored.read(name, "kernel", shape)
        self.weights[f"{name}/bias"] = (
            self._stored.read(name, "bias", (layer.channels,)) if biased else np.zeros(layer.channels, np.float32)
        )
        activation = self._activation(f"{name}/{config['activation']}", config["activation"], (name,))
        if activation is not None:
            self._append(activation)
            self.outputs[name] = activation.name

    def _convolution(
        self, kind: str, name: str, config: Mapping[str, Any], inputs: tuple[str, ...], above: int
    ) -> tuple[Layer, tuple[int, ...]]:
        self._require(name, config, "padding", "same")
        side = self._square(name, "kernel_size", config["kernel_size"])
        stride = self._square(name, "strides", config["strides"])
        if self._square(name, "dilation_rate", config.get("dilation_rate", [1, 1])) != 1:
            raise self._unsupported(name, "dilation_rate", "1", config["dilation_rate"])
        if config.get("groups", 1) != 1:
            raise self._unsupported(name, "groups", "1", config["groups"])
        if kind == "DepthwiseConv2D":
            if config.get("depth_multiplier", 1) != 1:
                raise self._unsupported(name, "depth_multiplier", "1", config["depth_multiplier"])
            return Layer(name, "depthwise_conv", inputs, above, side, stride), (side, side, above, 1)
        channels = config["filters"]
        if kind == "Conv2DTranspose":
            if side < stride or config.get("output_padding") is not None:
                raise self._unsupported(name, "output_padding", "none", config.get("output_padding"))
            return Layer(name, "conv_transpose", inputs, channels, side, stride), (side, side, channels, above)
        return Layer(name, "conv", inputs, channels, side, stride), (side, side, above, channels)

    def _activation(self, name: str, kind: str, inputs: tuple[str, ...]) -> Layer | None:
        if kind not in _ACTIVATIONS:
            raise self._unsupported(name, "activation", ", ".join(_ACTIVATIONS), kind)
        op = _ACTIVATIONS[kind]
        return None if op is None else Layer(name, op, inputs)

    def _passed(self, name: str, inputs: tuple[str, ...]) -> Layer:
        """A layer that changes nothing: the concatenation of one input."""
        return Layer(name, "concat", inputs)

    def _append(self, layer: Layer) -> None:
        channels = layer.channels or sum(self._channels[name] for name in layer.inputs)
        if layer.op == "add":
            channels = self._channels[layer.inputs[0]]
        self._channels[layer.name] = channels
        self.outputs[layer.name] = layer.name
        self.layers.append(layer)

    def _inbound(self, layer: Mapping[str, Any]) -> tuple[str, ...]:
        nodes = layer["inbound_nodes"]
        if len(nodes) > 1:
            raise ModelNotOpenError(
                f"{self._path}: layer {layer['name']}: layers that are used twice are not supported"
            )
        return _names(nodes[0]) if nodes else ()

    def _pool_stride(self, name: str, config: Mapping[str, Any]) -> int:
        size, stride = (self._square(name, key, config[key]) for key in ("pool_size", "strides"))
        if size != stride:
            raise self._unsupported(name, "strides", str(size), stride)
        return stride

    def _square(self, name: str, key: str, pair: Sequence[int]) -> int:
        if len(set(pair)) != 1:
            raise self._unsupported(name, key, "the same in both directions", list(pair))
        return int(pair[0])

    def _require(self, name: str, config: Mapping[str, Any], key: str, value: str) -> None:
        if config[key] != value:
            raise self._unsupported(name, key, value, config[key])

    def _unsupported(self, name: str, key: str, expected: str, got: object) -> ModelNotOpenError:
        return ModelNotOpenError(f"{self._path}: layer {name}: {key}: expected {expected}, got {got}")


def _names(nodes: Sequence[Any]) -> tuple[str, ...]:
    """Return the layer names of Keras's node references `[name, node, tensor, …]`."""
    return tuple(node[0] for node in nodes)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
