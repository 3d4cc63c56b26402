"""OnnxGraph: an ONNX graph run by ONNX Runtime on arrays that the caller owns."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _native

from models.errors import ModelFailedError, ModelNotInstalledError, ModelNotOpenError

Provider = Literal["cpu", "cuda", "tensorrt"]

_PROVIDER_NAMES: Mapping[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
# ONNX Runtime's exceptions have no common base of their own, and a bound run raises a plain RuntimeError.
_ENGINE_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    _native.EPFail,
    _native.EngineError,
    _native.Fail,
    _native.InvalidArgument,
    _native.InvalidGraph,
    _native.InvalidProtobuf,
    _native.NoModel,
    _native.NotImplemented,
    _native.RuntimeException,
)


class OnnxGraph:
    """A loaded graph.

    Args:
        graph: The serialised ONNX model.
        path: Where it came from; only for messages.
        threads: Threads for one operation; None = one for every core that this process may use.
        provider: Where it runs; there is no fall-back to another one.
        spinning: Let waiting threads poll instead of sleep: faster by some tens of µs where cores are to spare, ruinous
            where they are not.

    Raises:
        ModelNotInstalledError: This build of ONNX Runtime lacks the provider.
        ModelNotOpenError: The graph is damaged, or the provider could not be started.
    """

    def __init__(
        self,
        graph: bytes,
        path: Path,
        *,
        threads: int | None = None,
        provider: Provider = "cpu",
        spinning: bool = False,
    ) -> None:
        self._path = path
        name = _PROVIDER_NAMES[provider]
        if name not in onnxruntime.get_available_providers():
            raise ModelNotInstalledError(_provider_missing(provider))
        try:
            session = onnxruntime.InferenceSession(graph, _options(threads, spinning=spinning), providers=[name])
        except _ENGINE_ERRORS as error:
            raise ModelNotOpenError(f"{path}: ONNX Runtime cannot load the graph: {error}") from error
        if name not in session.get_providers():
            raise ModelNotOpenError(
                f"{path}: expected provider {provider}, but it could not be started; ONNX Runtime fell back to "
                f"{', '.join(session.get_providers())}: check the GPU's driver and libraries"
            )
        self._session: Any = session

    def bind(self, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]) -> "BoundGraph":
        """Tie the graph to the arrays that it reads and writes; their shapes are those of every later run.

        Raises:
            ModelNotOpenError: The graph has no such input or output.
        """
        try:
            return BoundGraph(self._session, self._path, inputs, outputs)
        except _ENGINE_ERRORS as error:
            raise ModelNotOpenError(f"{self._path}: not the graph that model.json promises: {error}") from error


class BoundGraph:
    """A graph with the arrays that it reads and writes; nothing is copied or allocated on our side of it."""

    def __init__(
        self, session: Any, path: Path, inputs: Mapping[str, NDArray[Any]], outputs: Mapping[str, NDArray[Any]]
    ) -> None:
        self._path = path
        self._binding: Any = session.io_binding()
        self._set_input: Callable[[str, NDArray[Any]], None] = self._binding.bind_cpu_input
        self._run: Callable[[Any], None] = session.run_with_iobinding
        for name, array in inputs.items():
            self._set_input(name, array)
        for name, array in outputs.items():
            self._binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))

    def run(self, name: str | None = None, array: NDArray[np.uint8] | None = None) -> None:
        """Fill the output arrays, after replacing the input `name` by `array` if given.

        Raises:
            ModelFailedError: Inference failed.
        """
        try:
            if name is not None and array is not None:
                self._set_input(name, array)
            self._run(self._binding)
        except _ENGINE_ERRORS as error:
            raise ModelFailedError(f"{self._path}: inference failed: {error}") from error


def engine_version() -> str:
    """Return the runtime's name and version, for the session's record."""
    return f"onnxruntime {onnxruntime.__version__}"


def _options(threads: int | None, *, spinning: bool) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    return options


def _provider_missing(provider: Provider) -> str:
    names = {long: short for short, long in _PROVIDER_NAMES.items()}
    there = [names[name] for name in onnxruntime.get_available_providers() if name in names]
    package = "onnxruntime-gpu" if provider in get_args(Provider)[1:] else "onnxruntime"
    return (
        f"provider {provider}: expected one of {', '.join(there)} in onnxruntime {onnxruntime.__version__}; "
        f"install {package} in its place or choose another provider"
    )
