"""Memory, stream and graph of a GPU, on a stand-in; and that the real package takes the calls."""

import numpy as np
import pytest

from models.engines.cuda import Buffers, CapturedWork, CudaError, Gpu, import_runtime
from models.errors import ModelNotInstalledError

SHAPE = (1, 4, 6)


@pytest.fixture
def gpu(fake_cuda):
    return Gpu(import_runtime("test"))


def outputs():
    return {"xy": np.zeros((1, 2, 2), np.float32), "valid": np.zeros((1, 2), np.bool_), "n": np.zeros(1, np.int64)}


def test_images_go_to_the_device_and_outputs_come_back(gpu, fake_cuda):
    arrays = outputs()
    buffers = Buffers(gpu, SHAPE, arrays)
    image = np.arange(24, dtype=np.uint8).reshape(SHAPE)
    buffers.put(image)
    buffers.queue_upload()
    device = fake_cuda.memory[buffers.image_address]
    assert bytes(device) == bytes(24), "nothing happens before the stream is waited for"
    gpu.wait()
    assert bytes(device) == image.tobytes()
    made = {"xy": np.float32([[[1, 2], [np.nan, 4]]]), "valid": np.array([[True, False]]), "n": np.array([7])}
    for name, value in made.items():
        device_array = (type(device)._type_ * value.nbytes).from_address(buffers.output_addresses[name])
        device_array[:] = list(value.tobytes())
    buffers.queue_download()
    gpu.wait()
    buffers.take()
    for name, value in made.items():
        np.testing.assert_array_equal(arrays[name], value)


def test_outputs_are_aligned_and_do_not_overlap(gpu):
    addresses = Buffers(gpu, SHAPE, outputs()).output_addresses
    first = min(addresses.values())
    assert sorted(address - first for address in addresses.values()) == [0, 256, 512]


def test_closing_frees_all_memory_and_may_be_repeated(gpu, fake_cuda):
    buffers = Buffers(gpu, SHAPE, outputs())
    for closed in (buffers, gpu):
        closed.close()
        closed.close()
    assert not fake_cuda.memory
    assert fake_cuda.calls.count("cudaStreamDestroy") == 1


@pytest.mark.parametrize("function", ["cudaHostAlloc", "cudaMalloc"])
def test_without_enough_memory_nothing_is_kept(gpu, fake_cuda, function):
    fake_cuda.fails_at = function
    with pytest.raises(CudaError) as error:
        Buffers(gpu, SHAPE, outputs())
    assert str(error.value) == f"{function}: cudaErrorMemoryAllocation: out of memory"
    assert not fake_cuda.memory


def test_captured_work_happens_at_every_launch_and_not_before(gpu, fake_cuda):
    done = []
    work = CapturedWork(gpu, lambda: fake_cuda.queue(lambda: done.append("kernel")))
    gpu.wait()
    assert done == []
    for _ in range(2):
        work.launch()
        gpu.wait()
    assert done == ["kernel"] * 2
    work.close()
    work.close()
    assert fake_cuda.calls.count("cudaGraphExecDestroy") == 1


def test_a_recording_ends_when_the_work_fails(gpu, fake_cuda):
    def fail():
        raise CudaError("broken")

    with pytest.raises(CudaError, match="broken"):
        CapturedWork(gpu, fail)
    gpu.wait()


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cuda", None)
    with pytest.raises(ModelNotInstalledError) as error:
        import_runtime("engine tensorrt")
    assert str(error.value) == (
        "engine tensorrt: expected the package cuda-bindings, got none; install it with: pip install 'poseloop[cuda]'"
    )


def test_the_real_package_takes_these_calls():
    """Without a driver every call returns an error; another number or type of arguments would raise."""
    runtime = pytest.importorskip("cuda.bindings.runtime")
    if runtime.cudaGetDeviceCount()[0] == runtime.cudaError_t.cudaSuccess:
        pytest.skip("there is a GPU: the calls are made for good by the other tests")
    with pytest.raises(CudaError, match=r"^cudaSetDevice: cudaErrorInsufficientDriver: CUDA driver version is "):
        Gpu(runtime)
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    for function, *arguments in (
        ("cudaGetDeviceProperties", 0),
        ("cudaStreamCreateWithFlags", runtime.cudaStreamNonBlocking),
        ("cudaStreamSynchronize", 0),
        ("cudaStreamDestroy", 0),
        ("cudaHostAlloc", 24, runtime.cudaHostAllocDefault),
        ("cudaMalloc", 24),
        ("cudaFreeHost", 0),
        ("cudaFree", 0),
        ("cudaMemcpyAsync", 0, 0, 24, runtime.cudaMemcpyKind.cudaMemcpyDefault, 0),
        ("cudaStreamBeginCapture", 0, mode),
        ("cudaStreamEndCapture", 0),
        ("cudaGraphInstantiate", 0, 0),
        ("cudaGraphDestroy", 0),
        ("cudaGraphLaunch", 0, 0),
        ("cudaGraphExecDestroy", 0),
    ):
        status, *_ = getattr(runtime, function)(*arguments)
        assert status != runtime.cudaError_t.cudaSuccess or function in {"cudaFree", "cudaFreeHost"}, function
    assert hasattr(runtime.cudaDeviceProp(), "name")
