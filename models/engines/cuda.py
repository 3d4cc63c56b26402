"""Memory, stream and graph of one NVIDIA GPU, as the engines need them.

The calls are those of the CUDA runtime, through the package `cuda-bindings`. Device 0 is used; the environment variable
`CUDA_VISIBLE_DEVICES` makes another one the first.

Not run so far: this module was written and checked without a GPU, against the package's real signatures and a recording
stand-in.
"""

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelNotInstalledError

# What cudaMalloc guarantees; vector loads of the outputs' kernels rely on it.
_ALIGNMENT = 256


class CudaError(RuntimeError):
    """A call of the CUDA runtime failed."""


def import_runtime(what: str) -> Any:
    """Return the module `cuda.bindings.runtime`.

    Args:
        what: What needs it; begins the message.

    Raises:
        ModelNotInstalledError: The package is missing.
    """
    try:
        from cuda.bindings import runtime  # noqa: PLC0415 - only machines with a GPU have it
    except ImportError as error:
        raise ModelNotInstalledError(
            f"{what}: expected the package cuda-bindings, got none; install it with: pip install 'poseloop[cuda]'"
        ) from error
    return runtime


class Gpu:
    """The GPU and the one stream on which everything runs.

    Args:
        runtime: The module `cuda.bindings.runtime`.

    Attributes:
        name: The device's name: `NVIDIA GeForce RTX 4090`.
        stream: Address of the stream.

    Raises:
        CudaError: There is no usable GPU.
    """

    def __init__(self, runtime: Any) -> None:
        self.runtime = runtime
        self._stream: Any = None
        self.call("cudaSetDevice", 0)
        self.name: str = self.call("cudaGetDeviceProperties", 0).name.decode()
        self._stream = self.call("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking)
        self.stream = int(self._stream)

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function of the CUDA runtime and return what it returns beside its status.

        Raises:
            CudaError: The status is not success.
        """
        status, *values = getattr(self.runtime, function)(*arguments)
        if status != self.runtime.cudaError_t.cudaSuccess:
            text = self.runtime.cudaGetErrorString(status)[1].decode()
            raise CudaError(f"{function}: {status.name}: {text}")
        return values[0] if values else None

    def copy(self, target: int, source: int, n_bytes: int) -> None:
        """Queue a copy between pinned host memory and device memory, in either direction."""
        kind = self.runtime.cudaMemcpyKind.cudaMemcpyDefault
        self.call("cudaMemcpyAsync", target, source, n_bytes, kind, self._stream)

    def wait(self) -> None:
        """Block until all that was queued is done."""
        self.call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        """Destroy the stream. May be called twice."""
        if self._stream is not None:
            self.call("cudaStreamDestroy", self._stream)
            self._stream = None


class Buffers:
    """Pinned host memory and device memory for one image and the outputs that it brings.

    All outputs lie in one block, so that one copy brings them back.

    Args:
        gpu: Where.
        image_shape: Shape of the uint8 image.
        outputs: Name → array that the caller wants filled.

    Attributes:
        image_address: Device address of the image.
        output_addresses: Name → device address.

    Raises:
        CudaError: There is not enough memory.
    """

    def __init__(self, gpu: Gpu, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> None:
        self._gpu = gpu
        self._host: list[int] = []
        self._device: list[int] = []
        offsets, n_bytes = _laid_out(outputs)
        self._image_bytes = int(np.prod(image_shape))
        self._output_bytes = n_bytes
        try:
            self._image = self._pinned(self._image_bytes).reshape(image_shape)
            block = self._pinned(n_bytes)
            self.image_address = self._on_device(self._image_bytes)
            self._output_address = self._on_device(n_bytes)
        except CudaError:
            self.close()
            raise
        self.output_addresses = {name: self._output_address + offset for name, offset in offsets.items()}
        self._copies = [
            (array, block[offsets[name] : offsets[name] + array.nbytes].view(array.dtype).reshape(array.shape))
            for name, array in outputs.items()
        ]

    def put(self, image: NDArray[np.uint8]) -> None:
        """Copy the image to pinned memory, from where `queue_upload` takes it."""
        np.copyto(self._image, image)

    def queue_upload(self) -> None:
        """Queue the copy of the image to the device."""
        self._gpu.copy(self.image_address, self._host[0], self._image_bytes)

    def queue_download(self) -> None:
        """Queue the copy of the outputs from the device."""
        self._gpu.copy(self._host[1], self._output_address, self._output_bytes)

    def take(self) -> None:
        """Copy the outputs from pinned memory to the caller's arrays; call it after `Gpu.wait`."""
        for array, pinned in self._copies:
            np.copyto(array, pinned)

    def close(self) -> None:
        """Free all memory. May be called twice."""
        self._copies = []
        while self._host:
            self._gpu.call("cudaFreeHost", self._host.pop())
        while self._device:
            self._gpu.call("cudaFree", self._device.pop())

    def _pinned(self, n_bytes: int) -> NDArray[np.uint8]:
        address = int(self._gpu.call("cudaHostAlloc", n_bytes, self._gpu.runtime.cudaHostAllocDefault))
        self._host.append(address)
        return np.ctypeslib.as_array((ctypes.c_uint8 * n_bytes).from_address(address))

    def _on_device(self, n_bytes: int) -> int:
        address = int(self._gpu.call("cudaMalloc", n_bytes))
        self._device.append(address)
        return address


class CapturedWork:
    """What was queued once, as a CUDA graph that is launched with one call.

    Args:
        gpu: Where.
        queue: Queues the work on `gpu`'s stream; is called once, while the stream records.

    Raises:
        CudaError: The work cannot be captured.
    """

    def __init__(self, gpu: Gpu, queue: Callable[[], None]) -> None:
        self._gpu = gpu
        stream = gpu.stream
        # Other threads' CUDA calls do not disturb a recording in this mode.
        mode = gpu.runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        gpu.call("cudaStreamBeginCapture", stream, mode)
        try:
            queue()
        finally:
            graph = gpu.call("cudaStreamEndCapture", stream)
        self._launchable: Any = gpu.call("cudaGraphInstantiate", graph, 0)
        gpu.call("cudaGraphDestroy", graph)

    def launch(self) -> None:
        """Queue all of it."""
        self._gpu.call("cudaGraphLaunch", self._launchable, self._gpu.stream)

    def close(self) -> None:
        """Destroy the graph. May be called twice."""
        if self._launchable is not None:
            self._gpu.call("cudaGraphExecDestroy", self._launchable)
            self._launchable = None


def _laid_out(outputs: Mapping[str, NDArray[Any]]) -> tuple[dict[str, int], int]:
    """Return the offset of every output in one block, and the block's size, bytes."""
    offsets: dict[str, int] = {}
    end = 0
    for name, array in outputs.items():
        offsets[name] = end
        end += -(-array.nbytes // _ALIGNMENT) * _ALIGNMENT
    return offsets, end
