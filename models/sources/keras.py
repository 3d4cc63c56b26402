"""A Keras 2 functional model in HDF5 (`best_model.h5`) into a `Network`; neither Keras nor TensorFlow is needed.

Format: `model_config` (JSON) describes the layers, `model_weights/<layer>` holds their weights.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelNotInstalledError, ModelNotOpenError
from models.network import Layer, Network, Op

_ACTIVATIONS: Mapping[str, Op | None] = {
    "linear": None,
    "relu": "relu",
    "elu": "elu",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "softmax": "softmax",
}
_PLAIN: Mapping[str, Op] = {
    "Add": "add",
    "GlobalMaxPooling2D": "global_max_pool",
    "GlobalAveragePooling2D": "global_average_pool",
    "Flatten": "flatten",
}
_IDENTITIES = ("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization")
"""Layers that do something during training alone."""

_WITH_KERNEL = ("Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "Dense")

# SLEAP's preparation of images for networks that were first trained on ImageNet, as 1×1 convolutions (in × out): gray
# to three channels; and RGB in 0–1 to BGR in 0–255 less ImageNet's mean colour (the convention of Caffe).
_FUNCTIONS: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]] = {
    "tile_channels": (np.ones((1, 3), np.float32), np.zeros(3, np.float32)),
    "imagenet_preproc_v1": (
        255 * np.eye(3, dtype=np.float32)[::-1],
        np.array([-103.939, -116.779, -123.68], np.float32),
    ),
}


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
        outputs = {name: reader.outputs[name] for name in _names(config["output_layers"])}
    if not reader.layers or reader.layers[0].op != "input":
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

    def read(self, layer: str, kind: str, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
        """Read `kernel`, `bias` or a statistic and check its shape; None in `shape` stands for any number."""
        names = [_text(name) for name in self._groups[layer].attrs["weight_names"]] if layer in self._groups else []
        matching = [name for name in names if name.rsplit("/", 1)[-1].split(":")[0].endswith(kind)]
        if len(matching) != 1:
            raise ModelNotOpenError(f"{self._path}: layer {layer}: expected one {kind}, got {len(matching)}")
        array = np.asarray(self._groups[layer][matching[0]][()], dtype=np.float32)
        if len(array.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True)):
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
        self._channels: dict[str, int | None] = {}  # None behind a flattened map, whose size is not known
        self._vectors: set[str] = set()
        self.layers: list[Layer] = []
        self.weights: dict[str, NDArray[np.float32]] = {}
        self.outputs: dict[str, str] = {}  # Keras's name of a layer → ours: an activation may follow
        self.input_size = (0, 0)

    def add(self, layer: Mapping[str, Any]) -> None:
        """Translate one layer."""
        kind, name, config = layer["class_name"], layer["name"], layer["config"]
        inputs = tuple(self.outputs[above] for above in self._inbound(layer))
        self._require(name, config, "data_format", "channels_last")
        if kind in _IDENTITIES:
            self.outputs[name] = inputs[0]
        elif kind in _WITH_KERNEL:
            self._add_weighted(kind, name, config, inputs)
        elif kind in _PLAIN:
            self._append(Layer(name, _PLAIN[kind], inputs))
        elif kind in self._TRANSLATIONS:
            self._TRANSLATIONS[kind](self, name, config, inputs)
        else:
            raise ModelNotOpenError(f"{self._path}: layer {name}: layers of type {kind} are not supported")

    def _add_input(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        _, height, width, channels = config["batch_input_shape"]
        if channels not in (1, 3):
            raise self._unsupported(name, "channels", "1 or 3", channels)
        if inputs or self.layers:
            raise ModelNotOpenError(f"{self._path}: expected a network with one input, which comes first, got {name}")
        self.input_size = (height or 0, width or 0)
        self._append(Layer(name, "input", channels=channels))

    def _add_weighted(self, kind: str, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        above = self._channels[inputs[0]]
        if (kind == "Dense") != (inputs[0] in self._vectors):
            expected, got = ("a vector", "maps") if kind == "Dense" else ("maps", "a vector")
            raise self._unsupported(name, "input", expected, got)
        if kind == "Dense":
            layer = Layer(name, "dense", inputs, channels=config["units"])
            shape: tuple[int | None, ...] = (above, config["units"])
        else:
            layer, shape = self._convolution(kind, name, config, inputs, above or 0)
        self._append(layer)
        biased = config.get("use_bias", True)
        self.weights[f"{name}/kernel"] = self._stored.read(name, "kernel", shape)
        self.weights[f"{name}/bias"] = (
            self._stored.read(name, "bias", (layer.channels,)) if biased else np.zeros(layer.channels, np.float32)
        )
        op = self._activation(name, config["activation"])
        if op is not None:
            self._append(Layer(f"{name}/{op}", op, (name,)))
            self.outputs[name] = f"{name}/{op}"

    def _convolution(
        self, kind: str, name: str, config: Mapping[str, Any], inputs: tuple[str, ...], above: int
    ) -> tuple[Layer, tuple[int, ...]]:
        side = self._square(name, "kernel_size", config["kernel_size"])
        stride = self._square(name, "strides", config["strides"])
        dilation = self._square(name, "dilation_rate", config.get("dilation_rate", [1, 1]))
        pads = self._pads(name, config)
        self._require(name, config, "groups", 1)
        if kind == "Conv2D":
            layer = Layer(name, "conv", inputs, config["filters"], side, stride, pads, dilation)
            return layer, (side, side, above, layer.channels)
        if kind == "DepthwiseConv2D":
            self._require(name, config, "depth_multiplier", 1)
            return Layer(name, "depthwise_conv", inputs, above, side, stride, pads, dilation), (side, side, above, 1)
        self._require(name, config, "output_padding", None)
        self._require(name, config, "dilation_rate", [1, 1])
        if side < stride:
            raise self._unsupported(name, "kernel_size", f"at least the stride, {stride}", side)
        layer = Layer(name, "conv_transpose", inputs, config["filters"], side, stride, pads)
        return layer, (side, side, layer.channels, above)

    def _add_normalisation(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        channels = self._channels[inputs[0]] or 0
        axis = config["axis"][0] if isinstance(config["axis"], list) else config["axis"]
        if axis not in (-1, 1 if inputs[0] in self._vectors else 3):
            raise self._unsupported(name, "axis", "-1", config["axis"])

        def stored(kind: str, default: float | None = None) -> NDArray[np.float64]:
            if default is not None:
                return np.full(channels, default)
            return self._stored.read(name, kind, (channels,)).astype(np.float64)

        gamma, beta = (
            stored("gamma", None if config.get("scale", True) else 1.0),
            stored("beta", None if config.get("center", True) else 0.0),
        )
        scale = gamma / np.sqrt(stored("moving_variance") + config["epsilon"])
        self._append_affine(name, inputs, scale, beta - stored("moving_mean") * scale)

    def _append_affine(
        self, name: str, inputs: tuple[str, ...], scale: NDArray[np.float64], bias: NDArray[np.float64]
    ) -> None:
        self.weights |= {f"{name}/scale": scale.astype(np.float32), f"{name}/bias": bias.astype(np.float32)}
        self._append(Layer(name, "affine", inputs))

    def _add_activation(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        op = self._activation(name, config["activation"])
        if op is None:
            self.outputs[name] = inputs[0]
        else:
            self._append(Layer(name, op, inputs))

    def _activation(self, name: str, kind: str) -> Op | None:
        if kind not in _ACTIVATIONS:
            raise self._unsupported(name, "activation", ", ".join(_ACTIVATIONS), kind)
        return _ACTIVATIONS[kind]

    def _add_relu(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        self._require(name, config, "max_value", None)
        self._require(name, config, "threshold", 0)
        slope = float(config.get("negative_slope") or 0.0)
        self._append(Layer(name, "leaky_relu", inputs, slope=slope) if slope else Layer(name, "relu", inputs))

    def _add_leaky_relu(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        slope = config["alpha"] if "alpha" in config else config["negative_slope"]
        self._append(Layer(name, "leaky_relu", inputs, slope=float(slope)))

    def _add_elu(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        self._require(name, config, "alpha", 1)
        self._append(Layer(name, "elu", inputs))

    def _add_softmax(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        self._require(name, config, "axis", -1)
        self._append(Layer(name, "softmax", inputs))

    def _add_padding(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        (top, bottom), (left, right) = config["padding"]
        self._append(Layer(name, "pad", inputs, pads=(top, left, bottom, right)))

    def _add_max_pool(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        self._append(self._pool(name, "max_pool", config, inputs))

    def _add_average_pool(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        self._append(self._pool(name, "average_pool", config, inputs))

    def _pool(self, name: str, op: Op, config: Mapping[str, Any], inputs: tuple[str, ...]) -> Layer:
        side = self._square(name, "pool_size", config["pool_size"])
        stride = self._square(name, "strides", config["strides"] or config["pool_size"])
        return Layer(name, op, inputs, kernel=side, stride=stride, pads=self._pads(name, config))

    def _add_upsampling(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        ops: dict[str, Op] = {"bilinear": "upsample", "nearest": "upsample_nearest"}
        kind = config.get("interpolation", "nearest")
        if kind not in ops:
            raise self._unsupported(name, "interpolation", " or ".join(ops), kind)
        self._append(Layer(name, ops[kind], inputs, stride=self._square(name, "size", config["size"])))

    def _add_concatenation(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        if config["axis"] not in (-1, 3):
            raise self._unsupported(name, "axis", "-1", config["axis"])
        self._append(Layer(name, "concat", inputs))

    def _add_function(self, name: str, config: Mapping[str, Any], inputs: tuple[str, ...]) -> None:
        """Translate the functions that SLEAP puts before a pretrained ResNet; they are known by their names alone."""
        function = config["function"]
        if config.get("function_type") != "function" or function not in _FUNCTIONS:
            got = function if config.get("function_type") == "function" else "code, which is never run"
            raise self._unsupported(name, "function", " or ".join(_FUNCTIONS), got)
        kernel, bias = _FUNCTIONS[function]
        if kernel.shape[0] != self._channels[inputs[0]]:
            raise self._unsupported(name, "channels", str(kernel.shape[0]), self._channels[inputs[0]])
        self._append(Layer(name, "conv", inputs, channels=kernel.shape[1], kernel=1))
        self.weights |= {f"{name}/kernel": kernel[np.newaxis, np.newaxis], f"{name}/bias": bias}

    _TRANSLATIONS: ClassVar[Mapping[str, Callable[["_Reader", str, Mapping[str, Any], tuple[str, ...]], None]]] = {
        "InputLayer": _add_input,
        "BatchNormalization": _add_normalisation,
        "Activation": _add_activation,
        "ReLU": _add_relu,
        "LeakyReLU": _add_leaky_relu,
        "ELU": _add_elu,
        "Softmax": _add_softmax,
        "ZeroPadding2D": _add_padding,
        "MaxPooling2D": _add_max_pool,
        "AveragePooling2D": _add_average_pool,
        "UpSampling2D": _add_upsampling,
        "Concatenate": _add_concatenation,
        "Lambda": _add_function,
    }

    def _append(self, layer: Layer) -> None:
        channels: int | None = layer.channels
        if layer.op == "concat":
            channels = sum(self._channels[name] or 0 for name in layer.inputs)
        elif layer.op == "flatten" and layer.inputs[0] not in self._vectors:
            channels = None
        elif not channels:
            channels = self._channels[layer.inputs[0]]
        if layer.op in ("flatten", "global_max_pool", "global_average_pool") or set(layer.inputs) & self._vectors:
            self._vectors.add(layer.name)
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

    def _pads(self, name: str, config: Mapping[str, Any]) -> tuple[int, int, int, int] | None:
        padding = config["padding"]
        if padding not in ("same", "valid"):
            raise self._unsupported(name, "padding", "same or valid", padding)
        return None if padding == "same" else (0, 0, 0, 0)

    def _square(self, name: str, key: str, pair: Sequence[int]) -> int:
        if len(set(pair)) != 1:
            raise self._unsupported(name, key, "the same in both directions", list(pair))
        return int(pair[0])

    def _require(self, name: str, config: Mapping[str, Any], key: str, value: object) -> None:
        """Check a setting, which may be missing."""
        if config.get(key, value) != value:
            raise self._unsupported(name, key, str(value), config[key])

    def _unsupported(self, name: str, key: str, expected: str, got: object) -> ModelNotOpenError:
        return ModelNotOpenError(f"{self._path}: layer {name}: {key}: expected {expected}, got {got}")


def _names(nodes: Sequence[Any]) -> tuple[str, ...]:
    """Return the layer names of Keras's node references `[name, node, tensor, …]`."""
    return tuple(node[0] for node in nodes)


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
