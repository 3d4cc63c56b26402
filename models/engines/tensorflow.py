"""TensorFlow on the CPU: the reference that other engines are compared with.

It computes an exported graph with TensorFlow's own operations, or a SavedModel. It is no engine for a rig: every frame
allocates.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.engines.checked import CheckedEngine, CheckedGraph
from models.engines.onnx_to_tensorflow import translate
from models.engines.options import EngineOptions
from models.engines.signature import INPUT, Signature, TensorType
from models.errors import ModelFailedError, ModelNotInstalledError, ModelNotOpenError

_SERVING = "serving_default"


class TensorFlowEngine(CheckedEngine):
    """A TensorFlow function of an image.

    Args:
        function: Tensor → output name → tensor.
        signature: What it takes and gives.
        path: Where it came from; only for messages.

    Attributes:
        signature: What it takes and gives; the only input is called `image` here, whatever it is called there.
    """

    def __init__(self, function: Callable[[Any], Mapping[str, Any]], signature: Signature, path: Path) -> None:
        super().__init__(path)
        self.signature = signature
        self._function: Any = function

    @property
    def description(self) -> str:
        """Runtime, version, device and precision."""
        return f"tensorflow {tf.__version__}, cpu, fp32"

    def _bind(self, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> CheckedGraph:
        self.signature.check(self._path, image_shape, outputs)
        return _TensorFlowGraph(self._function, self._path, image_shape, outputs)

    def compute(self, image: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        """Return all outputs for an image; for functions whose outputs' shapes depend on what is in it.

        Raises:
            ModelFailedError: The function does not take the image, or failed.
        """
        try:
            return {name: value.numpy() for name, value in self._function(tf.constant(image)).items()}
        except (TypeError, ValueError, tf.errors.OpError) as error:
            raise ModelFailedError(f"{self._path}: inference failed: {error}") from error

    def _release(self) -> None:
        self._function = None


class _TensorFlowGraph(CheckedGraph):
    def __init__(
        self,
        function: Callable[[Any], Mapping[str, Any]],
        path: Path,
        image_shape: tuple[int, ...],
        outputs: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__(path, image_shape)
        self._function: Any = function
        self._outputs = outputs

    def _execute(self, image: NDArray[np.uint8]) -> None:
        try:
            found = self._function(tf.constant(image))
        except tf.errors.OpError as error:
            raise ModelFailedError(f"{self._path}: inference failed: {error.message}") from error
        for name, array in self._outputs.items():
            value = found[name].numpy()
            if value.shape != array.shape:  # NumPy would repeat what is too small
                raise ModelFailedError(f"{self._path}: output {name}: expected shape {array.shape}, got {value.shape}")
            np.copyto(array, value)

    def _release(self) -> None:
        self._function = None


def open_graph(graph: bytes, path: Path, options: EngineOptions) -> TensorFlowEngine:  # noqa: ARG001
    """Translate an exported graph.

    Args:
        graph: The serialised ONNX model.
        path: Where it came from; only for messages.
        options: Not used: how many threads TensorFlow has is one setting for the whole process.

    Raises:
        ModelNotInstalledError: The package `onnx` is missing.
        ModelNotOpenError: The graph is damaged, or has an operation that export does not write.
    """
    function = _function(graph, path).get_concrete_function()
    return TensorFlowEngine(function, _signature(function.inputs[0], function.structured_outputs), path)


def open_saved_model(folder: Path) -> TensorFlowEngine:
    """Load a SavedModel: one that `save_saved_model` wrote, or another whose only input is a uint8 image.

    A SavedModel is a program. TensorFlow runs the operations in it, and there are some that read and write files: load
    one only if you would also run a program from where it comes.

    Args:
        folder: The directory with `saved_model.pb`. Its signature `serving_default` is used.

    Raises:
        ModelNotOpenError: It is not a SavedModel, or none with one input.
    """
    try:
        loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ModelNotOpenError(f"{folder}: TensorFlow cannot load a SavedModel from there: {error}") from error
    if _SERVING not in loaded.signatures:
        there = ", ".join(loaded.signatures) or "none"
        raise ModelNotOpenError(f"{folder}: expected a SavedModel with the signature {_SERVING}, got {there}")
    function = loaded.signatures[_SERVING]
    inputs = function.structured_input_signature[1]
    if len(inputs) != 1:
        raise ModelNotOpenError(
            f"{folder}: expected a SavedModel with one input, got {', '.join(sorted(inputs)) or 'none'}"
        )
    ((name, image),) = inputs.items()

    def call(value: Any) -> Any:
        # The function dies with what was loaded.
        return loaded.signatures[_SERVING](**{name: value})

    return TensorFlowEngine(call, _signature(image, function.structured_outputs), folder)


def save_saved_model(graph: bytes, folder: Path) -> None:
    """Write an exported graph as a SavedModel.

    Args:
        graph: The serialised ONNX model.
        folder: The directory; created if missing, a SavedModel in it is replaced.

    Raises:
        ModelNotInstalledError: The package `onnx` is missing.
        ModelNotOpenError: The graph is damaged, or has an operation that export does not write.
    """
    module = tf.Module()
    module.serve = _function(graph, folder)
    tf.saved_model.save(module, str(folder), signatures={_SERVING: module.serve})


def _function(graph: bytes, path: Path) -> Any:
    """Return a `tf.function` from the image, with any batch, to the outputs by name."""
    try:
        import onnx  # noqa: PLC0415 - an optional package
        from google.protobuf.message import DecodeError  # noqa: PLC0415 - comes with it
    except ImportError as error:
        raise ModelNotInstalledError(
            "engine tensorflow: expected the package onnx, got none; install it with: pip install 'poseloop[train]'"
        ) from error
    try:
        parsed = onnx.load_from_string(graph).graph
    except DecodeError as error:
        raise ModelNotOpenError(f"{path}: not an ONNX graph: {error}") from error
    names = [value.name for value in parsed.input]
    if names != [INPUT]:
        raise ModelNotOpenError(f"{path}: expected one input, {INPUT}, got {', '.join(names) or 'none'}")
    kind = parsed.input[0].type.tensor_type
    spec = tf.TensorSpec(
        [None if size.dim_param else size.dim_value for size in kind.shape.dim],
        tf.as_dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)),
        name=INPUT,
    )

    def serve(image: Any) -> dict[str, Any]:
        with tf.device("/CPU:0"):
            return translate(tf, onnx, parsed, image)

    function = tf.function(serve, input_signature=[spec], autograph=False)
    try:
        function.get_concrete_function()
    except (ModelNotOpenError, ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise ModelNotOpenError(f"{path}: TensorFlow cannot compute the graph: {error}") from error
    return function


def _signature(image: Any, outputs: Mapping[str, Any]) -> Signature:
    return Signature({INPUT: _type_of(image)}, {name: _type_of(value) for name, value in outputs.items()})


def _type_of(tensor: Any) -> TensorType:
    return TensorType(np.dtype(tensor.dtype.as_numpy_dtype), tuple(tensor.shape.as_list()))
