"""ONNX Runtime on the CPU."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as _native

from models.engines.checked import CheckedEngine, CheckedGraph
from models.engines.options import EngineOptions
from models.engines.signature import INPUT, Signature, TensorType
from models.errors import ModelFailedError, ModelNotOpenError

# ONNX Runtime's exceptions have no common base of their own, and a bound run raises a plain RuntimeError.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
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
# What is worse than a warning is raised as well; printed, it would be there twice.
_FATAL = 4
_DTYPES = {
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
}


class OnnxRuntimeEngine(CheckedEngine):
    """A graph in ONNX Runtime; every batch size has its own session, in which all shapes are known.

    Args:
        graph: The serialised ONNX model.
        path: Where it came from; only for messages.
        options: `threads` and `spinning` are used.

    Raises:
        ModelNotOpenError: The graph is damaged.
    """

    def __init__(self, graph: bytes, path: Path, options: EngineOptions) -> None:
        super().__init__(path)
        self._graph = graph
        self._options = options
        self._sessions: dict[int, Any] = {}
        self._session(1)

    @property
    def description(self) -> str:
        """Runtime, version, device and precision."""
        return f"onnxruntime {onnxruntime.__version__}, cpu, {self._options.precision}"

    def _bind(self, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> CheckedGraph:
        session = self._session(image_shape[0])
        signature_of(session).check(self._path, image_shape, outputs)
        return _CpuGraph(session, self._path, image_shape, outputs)

    def _release(self) -> None:
        self._sessions.clear()

    def _session(self, batch: int) -> Any:
        if batch not in self._sessions:
            options = session_options(self._options, batch)
            self._sessions[batch] = new_session(self._graph, self._path, options, ["CPUExecutionProvider"])
        return self._sessions[batch]


class _CpuGraph(CheckedGraph):
    """A session that reads the caller's image and writes the caller's arrays where they are."""

    def __init__(
        self, session: Any, path: Path, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]
    ) -> None:
        super().__init__(path, image_shape)
        self._session = session
        self._binding = session.io_binding()
        for name, array in outputs.items():
            self._binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))

    def _execute(self, image: NDArray[np.uint8]) -> None:
        try:
            self._binding.bind_cpu_input(INPUT, image)
            self._session.run_with_iobinding(self._binding)
        except RUNTIME_ERRORS as error:
            raise ModelFailedError(f"{self._path}: inference failed: {error}") from error

    def _release(self) -> None:
        self._binding = self._session = None


def new_session(graph: bytes, path: Path, options: Any, providers: Sequence[Any]) -> Any:
    """Return an `onnxruntime.InferenceSession`.

    Args:
        graph: The serialised ONNX model.
        path: Where it came from; for messages.
        options: What `session_options` returned.
        providers: Names, or pairs of a name and its options.

    Raises:
        ModelNotOpenError: ONNX Runtime cannot load the graph.
    """
    try:
        return onnxruntime.InferenceSession(graph, options, providers=list(providers))
    except RUNTIME_ERRORS as error:
        raise ModelNotOpenError(f"{path}: ONNX Runtime cannot load the graph: {error}") from error


def session_options(options: EngineOptions, batch: int) -> Any:
    """Return the `onnxruntime.SessionOptions` for images in batches of exactly `batch`."""
    found = onnxruntime.SessionOptions()
    found.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    found.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    found.intra_op_num_threads = options.threads or len(os.sched_getaffinity(0))
    found.inter_op_num_threads = 1
    found.use_deterministic_compute = True
    found.log_severity_level = _FATAL
    found.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    # With every shape known, a CUDA graph can be captured, and outputs that do not fit are refused when they are bound.
    # On a CPU it makes no difference to the time.
    found.add_free_dimension_override_by_name("batch", batch)
    return found


def signature_of(session: Any) -> Signature:
    """Return what a session takes and gives."""
    return Signature(
        inputs={value.name: _type_of(value) for value in session.get_inputs()},
        outputs={value.name: _type_of(value) for value in session.get_outputs()},
    )


def _type_of(value: Any) -> TensorType:
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    return TensorType(np.dtype(_DTYPES.get(value.type, np.object_)), shape)
