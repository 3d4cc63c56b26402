"""OpenVINO on the CPU."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from models.engines.checked import CheckedEngine, CheckedGraph
from models.engines.options import EngineOptions
from models.engines.signal_stack import signal_stack_kept
from models.engines.signature import INPUT, Signature, TensorType
from models.errors import ModelFailedError, ModelNotOpenError

_DEVICE = "CPU"
# In a graph in 8-bit integers the hint is for what is left in floating point.
_HINTS = {"fp32": "f32", "int8": "f32", "bf16": "bf16"}


class OpenVinoEngine(CheckedEngine):
    """A graph in OpenVINO, compiled anew for every batch size; nothing is cached on disk.

    Args:
        graph: The serialised ONNX model.
        path: Where it came from; only for messages.
        options: `threads` is used. OpenVINO's waiting threads sleep, whatever `spinning` says.

    Raises:
        ModelNotOpenError: The graph is damaged, or the processor lacks the precision.
    """

    def __init__(self, graph: bytes, path: Path, options: EngineOptions) -> None:
        super().__init__(path)
        self._graph = graph
        self._core = openvino.Core()
        self._precision = options.precision
        if options.precision == "bf16" and not has_bfloat16(self._core):
            raise ModelNotOpenError(f"{path}: expected a processor with bfloat16 for precision bf16, got one without")
        self._properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(options.threads or len(os.sched_getaffinity(0))),
            # Processors with bfloat16 would otherwise compute in it.
            "INFERENCE_PRECISION_HINT": _HINTS[options.precision],
            # Which thread runs where is for the program and its scheduler to say.
            "ENABLE_CPU_PINNING": "NO",
        }
        self._compiled: dict[int, tuple[Any, Signature]] = {}
        self._for_batch(1)

    @property
    def description(self) -> str:
        """Runtime, version, device and precision."""
        return f"openvino {openvino.__version__.split('-')[0]}, cpu, {self._precision}"

    def _bind(self, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> CheckedGraph:
        compiled, signature = self._for_batch(image_shape[0])
        signature.check(self._path, image_shape, outputs)
        return _OpenVinoGraph(compiled, self._path, image_shape, outputs)

    def _release(self) -> None:
        self._compiled.clear()

    def _for_batch(self, batch: int) -> tuple[Any, Signature]:
        if batch not in self._compiled:
            try:
                model = self._core.read_model(model=self._graph)
                shapes = {port: port.partial_shape for port in model.inputs}
                for shape in shapes.values():
                    shape[0] = batch
                model.reshape(shapes)
                # Once compiled, an output has other names beside its own.
                signature = _signature(model)
                with signal_stack_kept():
                    self._compiled[batch] = self._core.compile_model(model, _DEVICE, self._properties), signature
            except RuntimeError as error:
                raise ModelNotOpenError(f"{self._path}: OpenVINO cannot load the graph: {_last_line(error)}") from error
        return self._compiled[batch]


class _OpenVinoGraph(CheckedGraph):
    """One infer request that writes the caller's arrays where they are.

    The image is copied first: OpenVINO takes no memory that is read-only, as a camera's ring is.
    """

    def __init__(
        self, compiled: Any, path: Path, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]
    ) -> None:
        super().__init__(path, image_shape)
        self._request = compiled.create_infer_request()
        self._image = np.zeros(image_shape, np.uint8)
        # The request knows where the arrays lie, not who owns them: they must live as long as it does.
        self._outputs = tuple(outputs.values())
        self._request.set_tensor(INPUT, openvino.Tensor(self._image, shared_memory=True))
        for name, array in outputs.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))

    def _execute(self, image: NDArray[np.uint8]) -> None:
        np.copyto(self._image, image)
        try:
            self._request.infer()
        except RuntimeError as error:
            raise ModelFailedError(f"{self._path}: inference failed: {_last_line(error)}") from error

    def _release(self) -> None:
        self._request = None


def _signature(model: Any) -> Signature:
    return Signature(
        inputs={port.any_name: _type_of(port) for port in model.inputs},
        outputs={port.any_name: _type_of(port) for port in model.outputs},
    )


def _type_of(port: Any) -> TensorType:
    shape = tuple(size.get_length() if size.is_static else None for size in port.partial_shape)
    return TensorType(np.dtype(port.element_type.to_dtype()), shape)


def _last_line(error: RuntimeError) -> str:
    """OpenVINO's messages are a trace of source lines that ends with what happened."""
    return str(error).strip().splitlines()[-1]


def processor_has_bfloat16() -> bool:
    """Return whether the processor computes in bfloat16."""
    return has_bfloat16(openvino.Core())


def has_bfloat16(core: Any) -> bool:
    """Return whether the processor computes in bfloat16.

    To ask is to load OpenVINO's part for the processor, which installs a signal stack just as compiling does.
    """
    with signal_stack_kept():
        return "BF16" in core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
