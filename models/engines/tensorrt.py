"""TensorRT itself: an engine compiled for this GPU, one CUDA graph and one wait a frame.

Compiling takes minutes, once: the engine is kept in the user's cache directory under a name made of the graph, the GPU,
TensorRT's version, the precision and the batch.

Not run so far: this module was written without a GPU and without TensorRT's builder. The calls at run time are checked
against the real lean runtime 11.4 (names and signatures), the builder's against its documentation, the sequence of all
of them with a recording stand-in; `python -m benchmarks.gpu_checks` tests the rest where there is a GPU.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engines.checked import CheckedEngine, CheckedGraph
from models.engines.cuda import Buffers, CapturedWork, CudaError, Gpu, import_runtime
from models.engines.engine_cache import cache_folder, cache_name, cached
from models.engines.half import halved
from models.engines.options import EngineOptions
from models.engines.signature import INPUT, Signature, TensorType
from models.errors import ModelFailedError, ModelNotInstalledError, ModelNotOpenError

_OLDEST = 10


class TensorRtEngine(CheckedEngine):
    """A graph compiled by TensorRT, anew for every batch size.

    Args:
        graph: The serialised ONNX model.
        path: Where it came from; only for messages.
        options: `precision` is used.

    Raises:
        ModelNotInstalledError: A package is missing or too old.
        ModelNotOpenError: The graph is damaged or has an operation that TensorRT lacks, or the GPU could not be used.
    """

    def __init__(self, graph: bytes, path: Path, options: EngineOptions) -> None:
        super().__init__(path)
        self._precision = options.precision
        self._trt = _import_tensorrt()
        runtime = import_runtime("engine tensorrt")
        self._graph = halved(graph, path) if options.precision == "fp16" else graph
        self._engines: dict[int, Any] = {}
        try:
            # First of all: without a GPU, TensorRT crashes instead of raising an error.
            self._gpu = Gpu(runtime)
        except CudaError as error:
            raise ModelNotOpenError(f"{path}: engine tensorrt: {error}") from error
        self._log = _error_log(self._trt)
        self._runtime = self._trt.Runtime(self._log)
        self._for_batch(1)

    @property
    def description(self) -> str:
        """Runtime, version, GPU and precision."""
        return f"tensorrt {self._trt.__version__}, cuda ({self._gpu.name}), {self._precision}, CUDA graph"

    def _bind(self, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> CheckedGraph:
        engine = self._for_batch(image_shape[0])
        signature = _signature(self._trt, engine)
        signature.check(self._path, image_shape, outputs)
        # TensorRT wants an address for every output, wanted or not.
        everything = {
            name: outputs[name] if name in outputs else np.empty(_sizes(kind), kind.dtype)
            for name, kind in signature.outputs.items()
        }
        try:
            bound = _TensorRtGraph(engine, self._gpu, self._path, image_shape, everything)
        except CudaError as error:
            raise ModelNotOpenError(f"{self._path}: engine tensorrt: {error}") from error
        return bound

    def _release(self) -> None:
        self._engines.clear()
        self._gpu.close()

    def _for_batch(self, batch: int) -> Any:
        if batch not in self._engines:
            name = cache_name(self._graph, "tensorrt", self._trt.__version__, self._gpu.name, self._precision, batch)
            plan = cached(cache_folder() / f"{name}.plan", lambda: self._compile(batch))
            engine = self._runtime.deserialize_cuda_engine(plan)
            if engine is None:
                raise self._refused("cannot load the compiled graph")
            self._engines[batch] = engine
        return self._engines[batch]

    def _compile(self, batch: int) -> bytes:
        trt = self._trt
        builder = trt.Builder(self._log)
        # Computes in the types that the graph says; TensorRT 11 always does.
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._log)
        if not parser.parse(self._graph):
            reasons = "; ".join(parser.get_error(k).desc() for k in range(parser.num_errors))
            raise ModelNotOpenError(f"{self._path}: TensorRT cannot read the graph: {reasons}")
        for k in range(network.num_inputs):
            image = network.get_input(k)
            image.shape = [batch, *tuple(image.shape)[1:]]
        config = builder.create_builder_config()
        # TF32 has 10 bits of mantissa; who wants less than fp32 says fp16.
        config.clear_flag(trt.BuilderFlag.TF32)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self._refused("cannot compile the graph")
        return bytes(plan)

    def _refused(self, what: str) -> ModelNotOpenError:
        reasons = "; ".join(self._log.errors) or "it gives no reason"
        return ModelNotOpenError(f"{self._path}: TensorRT {what}: {reasons}")


class _TensorRtGraph(CheckedGraph):
    """An execution context whose upload, kernels and download are one CUDA graph."""

    def __init__(
        self, engine: Any, gpu: Gpu, path: Path, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]
    ) -> None:
        super().__init__(path, image_shape)
        self._gpu = gpu
        self._context = engine.create_execution_context()
        self._buffers = Buffers(gpu, image_shape, outputs)
        for name, address in {INPUT: self._buffers.image_address, **self._buffers.output_addresses}.items():
            if not self._context.set_tensor_address(name, address):
                raise CudaError(f"set_tensor_address refused {name}")
        # The first run allocates, which a recording may not.
        self._queue()
        gpu.wait()
        self._work = CapturedWork(gpu, self._queue)

    def _queue(self) -> None:
        self._buffers.queue_upload()
        if not self._context.execute_async_v3(self._gpu.stream):
            raise CudaError("execute_async_v3 failed")
        self._buffers.queue_download()

    def _execute(self, image: NDArray[np.uint8]) -> None:
        try:
            self._buffers.put(image)
            self._work.launch()
            self._gpu.wait()
        except CudaError as error:
            raise ModelFailedError(f"{self._path}: inference failed: {error}") from error
        self._buffers.take()

    def _release(self) -> None:
        self._work.close()
        self._context = None
        self._buffers.close()


def _import_tensorrt() -> Any:
    try:
        import tensorrt  # noqa: PLC0415 - only machines with a GPU have it
    except ImportError as error:
        raise ModelNotInstalledError(
            "engine tensorrt: expected the package tensorrt, got none; install it with: "
            "pip install 'poseloop[tensorrt]'"
        ) from error
    if int(tensorrt.__version__.split(".")[0]) < _OLDEST:
        raise ModelNotInstalledError(
            f"engine tensorrt: expected tensorrt {_OLDEST} or later, got {tensorrt.__version__}; install it with: "
            f"pip install --upgrade 'poseloop[tensorrt]'"
        )
    return tensorrt


def _error_log(trt: Any) -> Any:
    """Return a logger that keeps what went wrong; TensorRT's calls themselves only return None or False."""

    class _Log(trt.ILogger):  # type: ignore[misc]  # the base is known at run time only
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.errors.append(message)

    return _Log()


def _signature(trt: Any, engine: Any) -> Signature:
    inputs: dict[str, TensorType] = {}
    outputs: dict[str, TensorType] = {}
    for k in range(engine.num_io_tensors):
        name = engine.get_tensor_name(k)
        kind = TensorType(
            np.dtype(trt.nptype(engine.get_tensor_dtype(name))),
            tuple(None if size < 0 else size for size in engine.get_tensor_shape(name)),
        )
        (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs)[name] = kind
    return Signature(inputs, outputs)


def _sizes(kind: TensorType) -> tuple[int, ...]:
    return tuple(size or 1 for size in kind.shape)
