"""ONNX Runtime on a GPU, up to its own calls: the GPU is a stand-in, and so is the provider."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import models.engines.onnxruntime_cuda as module
from models.engines.onnxruntime import OnnxRuntimeEngine, new_session
from models.engines.options import EngineOptions
from models.errors import ModelFailedError, ModelNotInstalledError, ModelNotOpenError

PATH = Path("folder/model.onnx")
OPTIONS = EngineOptions(device="cuda")
ALL_PROVIDERS = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class FakeSession:
    """A real session on the CPU that reads and writes "device" memory when the stream is waited for."""

    def __init__(self, cuda, real, providers):
        self._cuda = cuda
        self._real = real
        self.providers = providers

    def get_providers(self):
        return [provider for provider, _ in self.providers]

    def get_inputs(self):
        return self._real.get_inputs()

    def get_outputs(self):
        return self._real.get_outputs()

    def io_binding(self):
        return FakeBinding(self._cuda)

    def run_with_iobinding(self, binding, options):
        assert options.get_run_config_entry("disable_synchronize_execution_providers") == "1"
        (image,) = binding.inputs.values()
        names = list(binding.outputs)

        def kernels():
            for name, value in zip(names, self._real.run(names, {"image": image}), strict=True):
                np.copyto(binding.outputs[name], value)

        self._cuda.queue(kernels)


class FakeBinding:
    def __init__(self, cuda):
        self._cuda = cuda
        self.inputs = {}
        self.outputs = {}

    def bind_input(self, name, device, device_id, element_type, shape, address):
        self.inputs[name] = self._view(device, device_id, element_type, shape, address)

    def bind_output(self, name, device, device_id, element_type, shape, address):
        self.outputs[name] = self._view(device, device_id, element_type, shape, address)

    def _view(self, device, device_id, element_type, shape, address):
        assert (device, device_id) == ("cuda", 0)
        (start,) = (start for start, block in self._cuda.memory.items() if start <= address < start + len(block))
        return np.frombuffer(self._cuda.memory[start], element_type, int(np.prod(shape)), address - start).reshape(
            shape
        )


@pytest.fixture
def sessions(fake_cuda, monkeypatch, tmp_path):
    """All sessions made so far."""
    made = []

    def make(graph, path, options, providers):
        made.append(FakeSession(fake_cuda, new_session(graph, path, options, ["CPUExecutionProvider"]), providers))
        return made[-1]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ALL_PROVIDERS)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(module, "new_session", make)
    return made


@pytest.mark.parametrize("batch", [1, 2])
def test_outputs_come_back_through_device_memory(sessions, fake_cuda, top_down_case, batch):
    images = top_down_case.images(batch)
    expected, found = top_down_case.arrays(batch), top_down_case.arrays(batch)
    OnnxRuntimeEngine(top_down_case.graph, PATH, EngineOptions()).bind(images.shape, expected).run(images)
    engine = module.OnnxRuntimeCudaEngine(top_down_case.graph, PATH, OPTIONS)
    bound = engine.bind(images.shape, found)
    fake_cuda.calls.clear()
    bound.run(images)
    assert fake_cuda.calls == ["cudaMemcpyAsync", "cudaMemcpyAsync", "cudaStreamSynchronize"]
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    engine.close()
    assert not fake_cuda.memory
    assert fake_cuda.calls[-1] == "cudaStreamDestroy"


def test_cuda_gets_a_graph_our_stream_and_true_float32(sessions, plain_case):
    engine = module.OnnxRuntimeCudaEngine(plain_case.graph, PATH, OPTIONS)
    assert sessions[0].providers == [
        (
            "CUDAExecutionProvider",
            {"device_id": "0", "user_compute_stream": "77", "use_tf32": "0", "enable_cuda_graph": "1"},
        )
    ]
    version = onnxruntime.__version__
    assert engine.description == f"onnxruntime {version}, cuda (Stand-in), fp32, CUDA graph"


def test_tensorrt_caches_its_engines_apart_by_batch_and_leaves_the_rest_to_cuda(sessions, plain_case, tmp_path):
    engine = module.OnnxRuntimeCudaEngine(plain_case.graph, PATH, EngineOptions(device="cuda", provider="tensorrt"))
    engine.bind((2, 4, 6), plain_case.arrays(2))
    folders = []
    for session in sessions:
        (first, tensorrt), (second, _) = session.providers
        assert (first, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
        assert tensorrt["trt_engine_cache_enable"] == tensorrt["trt_cuda_graph_enable"] == "1"
        folders.append(Path(tensorrt["trt_engine_cache_path"]))
    assert all(folder.parent == tmp_path / "poseloop" / "engines" and folder.is_dir() for folder in folders)
    assert len(set(folders)) == 2


def test_every_bound_graph_has_its_own_session(sessions, plain_case):
    engine = module.OnnxRuntimeCudaEngine(plain_case.graph, PATH, OPTIONS)
    for _ in range(2):
        engine.bind((1, 4, 6), plain_case.arrays(1))
    assert len(sessions) == 2


def test_half_precision_halves_the_graph(sessions, network_case):
    engine = module.OnnxRuntimeCudaEngine(network_case.graph, PATH, EngineOptions(device="cuda", precision="fp16"))
    arrays = network_case.arrays(1)
    engine.bind((1, 16, 24), arrays).run(network_case.images(1))
    assert "fp16" in engine.description
    assert np.isfinite(arrays["maps"]).all()


def test_what_cannot_be_a_cuda_graph_runs_without_and_says_so(sessions, plain_case, monkeypatch):
    make = module.new_session

    def refuse_graphs(graph, path, options, providers):
        if providers[0][1]["enable_cuda_graph"] == "1":
            raise ModelNotOpenError("not all nodes have been partitioned to the CUDA EP")
        return make(graph, path, options, providers)

    monkeypatch.setattr(module, "new_session", refuse_graphs)
    engine = module.OnnxRuntimeCudaEngine(plain_case.graph, PATH, OPTIONS)
    assert engine.description.endswith("fp32, no CUDA graph")
    arrays, images = plain_case.arrays(2), plain_case.images(2)
    engine.bind(images.shape, arrays).run(images)
    assert np.array_equal(arrays["bright"], images > 128)


def test_a_damaged_graph_is_refused(sessions, plain_case):
    with pytest.raises(ModelNotOpenError, match=r"^folder/model\.onnx: ONNX Runtime cannot load the graph: "):
        module.OnnxRuntimeCudaEngine(plain_case.graph[:50], PATH, OPTIONS)


def test_a_missing_provider_is_refused_rather_than_replaced(plain_case, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelNotInstalledError) as error:
        module.OnnxRuntimeCudaEngine(plain_case.graph, PATH, OPTIONS)
    assert str(error.value) == (
        f"provider cuda: expected CUDAExecutionProvider in onnxruntime {onnxruntime.__version__}, got "
        "CPUExecutionProvider; install onnxruntime-gpu in its place: pip uninstall onnxruntime && "
        "pip install onnxruntime-gpu"
    )


def test_a_provider_that_silently_fell_back_is_refused(sessions, plain_case, monkeypatch):
    monkeypatch.setattr(FakeSession, "get_providers", lambda session: ["CPUExecutionProvider"])
    with pytest.raises(ModelNotOpenError) as error:
        module.OnnxRuntimeCudaEngine(plain_case.graph, PATH, OPTIONS)
    assert str(error.value) == (
        "folder/model.onnx: expected provider cuda, but it could not be started; ONNX Runtime fell back to "
        "CPUExecutionProvider: check the GPU's driver and libraries"
    )


def test_a_gpu_that_cannot_be_used_is_named(sessions, fake_cuda, plain_case):
    fake_cuda.fails_at = "cudaSetDevice"
    with pytest.raises(ModelNotOpenError) as error:
        module.OnnxRuntimeCudaEngine(plain_case.graph, PATH, OPTIONS)
    assert str(error.value) == (
        "folder/model.onnx: provider cuda: cudaSetDevice: cudaErrorMemoryAllocation: out of memory"
    )


def test_a_failure_while_running_is_reported(sessions, fake_cuda, plain_case):
    bound = module.OnnxRuntimeCudaEngine(plain_case.graph, PATH, OPTIONS).bind((1, 4, 6), plain_case.arrays(1))
    fake_cuda.fails_at = "cudaStreamSynchronize"
    with pytest.raises(ModelFailedError) as error:
        bound.run(plain_case.images(1))
    assert str(error.value) == (
        "folder/model.onnx: inference failed: cudaStreamSynchronize: cudaErrorMemoryAllocation: out of memory"
    )
