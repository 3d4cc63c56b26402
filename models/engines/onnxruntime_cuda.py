"""ONNX Runtime on an NVIDIA GPU: its CUDA or its TensorRT execution provider.

Inputs and outputs are bound device memory, filled and read through pinned host memory; the kernels of a frame are one
CUDA graph; everything runs on one stream and is waited for once a frame.

Not run so far: this module was written without a GPU. The calls up to ONNX Runtime's are tested with a stand-in for the
GPU; `python -m benchmarks.gpu_checks` tests the rest where there is one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.engines.checked import CheckedEngine, CheckedGraph
from models.engines.cuda import Buffers, CudaError, Gpu, import_runtime
from models.engines.engine_cache import cache_folder, cache_name
from models.engines.half import halved
from models.engines.onnxruntime import RUNTIME_ERRORS, new_session, session_options, signature_of
from models.engines.options import EngineOptions, Provider
from models.engines.signature import INPUT
from models.errors import ModelFailedError, ModelNotInstalledError, ModelNotOpenError

_PROVIDERS: Mapping[Provider, str] = {"cuda": "CUDAExecutionProvider", "tensorrt": "TensorrtExecutionProvider"}


class OnnxRuntimeCudaEngine(CheckedEngine):
    """A graph in ONNX Runtime on the GPU; every bound graph has its own session, as a captured CUDA graph needs it.

    Args:
        graph: The serialised ONNX model.
        path: Where it came from; only for messages.
        options: `provider` and `precision` are used.

    Raises:
        ModelNotInstalledError: This build of ONNX Runtime lacks the provider, or a package is missing.
        ModelNotOpenError: The graph is damaged, or the GPU could not be used.
    """

    def __init__(self, graph: bytes, path: Path, options: EngineOptions) -> None:
        super().__init__(path)
        self._options = options
        self._provider = _PROVIDERS[options.provider]
        _check_there(options.provider)
        runtime = import_runtime(f"provider {options.provider}")
        self._graph = halved(graph, path) if options.precision == "fp16" else graph
        # CUDA's libraries may lie in NVIDIA's pip packages, where the system's loader does not look.
        onnxruntime.preload_dlls()
        try:
            self._gpu = Gpu(runtime)
        except CudaError as error:
            raise ModelNotOpenError(f"{path}: provider {options.provider}: {error}") from error
        self._as_graph = True
        # What cannot be opened is known now, and not when a camera is already running.
        self._ready: dict[int, Any] = {1: self._session(1)}

    @property
    def description(self) -> str:
        """Runtime, version, provider, GPU and precision."""
        device = f"{self._options.provider} ({self._gpu.name})"
        how = "CUDA graph" if self._as_graph else "no CUDA graph"
        return f"onnxruntime {onnxruntime.__version__}, {device}, {self._options.precision}, {how}"

    def _bind(self, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> CheckedGraph:
        session = self._ready.pop(image_shape[0], None) or self._session(image_shape[0])
        signature_of(session).check(self._path, image_shape, outputs)
        try:  # a CudaError is a RuntimeError, which is among these
            bound = _CudaGraph(session, self._gpu, self._path, image_shape, outputs)
        except RUNTIME_ERRORS as error:
            raise ModelNotOpenError(f"{self._path}: provider {self._options.provider}: {error}") from error
        return bound

    def _release(self) -> None:
        self._ready.clear()
        self._gpu.close()

    def _session(self, batch: int) -> Any:
        try:
            return self._new_session(batch)
        except ModelNotOpenError:
            if not self._as_graph:
                raise
        # What has an operation without a CUDA kernel cannot be a CUDA graph, but can be run.
        self._as_graph = False
        return self._new_session(batch)

    def _new_session(self, batch: int) -> Any:
        session = new_session(self._graph, self._path, session_options(self._options, batch), self._providers(batch))
        found = session.get_providers()
        if self._provider not in found:
            raise ModelNotOpenError(
                f"{self._path}: expected provider {self._options.provider}, but it could not be started; ONNX Runtime "
                f"fell back to {', '.join(found)}: check the GPU's driver and libraries"
            )
        return session

    def _providers(self, batch: int) -> list[tuple[str, dict[str, str]]]:
        common = {"device_id": "0", "user_compute_stream": str(self._gpu.stream)}
        # TF32 has 10 bits of mantissa; who wants less than fp32 says fp16.
        cuda = {**common, "use_tf32": "0"}
        as_graph = "1" if self._as_graph else "0"
        if self._options.provider == "cuda":
            return [(self._provider, {**cuda, "enable_cuda_graph": as_graph})]
        name = cache_name(self._graph, "onnxruntime", onnxruntime.__version__, self._gpu.name, batch)
        folder = cache_folder() / name
        folder.mkdir(mode=0o700, exist_ok=True)
        tensorrt = {
            **common,
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(folder),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(folder),
            "trt_cuda_graph_enable": as_graph,
        }
        return [(self._provider, tensorrt), (_PROVIDERS["cuda"], cuda)]


class _CudaGraph(CheckedGraph):
    """A session with its image and outputs in device memory."""

    def __init__(
        self,
        session: Any,
        gpu: Gpu,
        path: Path,
        image_shape: tuple[int, ...],
        outputs: Mapping[str, NDArray[Any]],
    ) -> None:
        super().__init__(path, image_shape)
        self._session = session
        self._gpu = gpu
        self._buffers = Buffers(gpu, image_shape, outputs)
        self._binding = session.io_binding()
        self._binding.bind_input(INPUT, "cuda", 0, np.uint8, image_shape, self._buffers.image_address)
        for name, array in outputs.items():
            address = self._buffers.output_addresses[name]
            self._binding.bind_output(name, "cuda", 0, array.dtype.type, array.shape, address)
        self._run_options = onnxruntime.RunOptions()
        # We wait ourselves, after the copy of the outputs.
        self._run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def _execute(self, image: NDArray[np.uint8]) -> None:
        try:
            self._buffers.put(image)
            self._buffers.queue_upload()
            self._session.run_with_iobinding(self._binding, self._run_options)
            self._buffers.queue_download()
            self._gpu.wait()
        except RUNTIME_ERRORS as error:
            raise ModelFailedError(f"{self._path}: inference failed: {error}") from error
        self._buffers.take()

    def _release(self) -> None:
        self._binding = self._session = None
        self._buffers.close()


def _check_there(provider: Provider) -> None:
    available = onnxruntime.get_available_providers()
    if _PROVIDERS[provider] not in available:
        raise ModelNotInstalledError(
            f"provider {provider}: expected {_PROVIDERS[provider]} in onnxruntime {onnxruntime.__version__}, "
            f"got {', '.join(available)}; install onnxruntime-gpu in its place: "
            f"pip uninstall onnxruntime && pip install onnxruntime-gpu"
        )
