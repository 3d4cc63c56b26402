"""TensorRT up to its own calls: TensorRT and the GPU are stand-ins.

The calls at run time are also compared with the real lean runtime where that is installed, which needs no GPU:
`pip install --no-deps tensorrt-lean-cu13-bindings tensorrt-lean-cu13-libs`.
"""

import enum
import sys
import types
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from models.engines.onnxruntime import OnnxRuntimeEngine, session_options, signature_of
from models.engines.options import EngineOptions
from models.engines.tensorrt import TensorRtEngine, _error_log
from models.errors import ModelFailedError, ModelNotInstalledError, ModelNotOpenError

PATH = Path("folder/model.onnx")
OPTIONS = EngineOptions(engine="tensorrt", device="cuda")


class Severity(enum.IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class Logger:
    Severity = Severity


class FakeTensorRt(types.ModuleType):
    """A TensorRT whose plans are graphs, run by ONNX Runtime when the stream is waited for."""

    __version__ = "11.4.0.106"
    ILogger = Logger
    TensorIOMode = enum.Enum("TensorIOMode", ("INPUT", "OUTPUT"))
    NetworkDefinitionCreationFlag = enum.IntEnum("Flag", {"STRONGLY_TYPED": 1})
    BuilderFlag = enum.Enum("BuilderFlag", ("TF32", "DEBUG"))

    def __init__(self, cuda):
        super().__init__("tensorrt")
        self.cuda = cuda
        self.builds = 0
        self.refuses = ""

    def nptype(self, dtype):
        return dtype.type

    def Builder(self, log):
        return FakeBuilder(self, log)

    def OnnxParser(self, network, log):
        return FakeParser(self, network)

    def Runtime(self, log):
        return types.SimpleNamespace(deserialize_cuda_engine=lambda plan: self._deserialized(plan, log))

    def _deserialized(self, plan, log):
        if self.refuses == "load":
            log.log(Severity.WARNING, "a warning")
            log.log(Severity.ERROR, "the plan is for another GPU")
            return None
        return FakeEngine(self.cuda, plan)


class FakeBuilder:
    def __init__(self, trt, log):
        self._trt = trt
        self._log = log

    def create_network(self, flags):
        assert flags == 2
        image = types.SimpleNamespace(shape=(-1, 4, 6))
        return types.SimpleNamespace(num_inputs=1, get_input=lambda k: image)

    def create_builder_config(self):
        cleared = []
        return types.SimpleNamespace(cleared=cleared, clear_flag=cleared.append)

    def build_serialized_network(self, network, config):
        assert config.cleared == [FakeTensorRt.BuilderFlag.TF32]
        self._trt.builds += 1
        if self._trt.refuses == "build":
            self._log.log(Severity.ERROR, "no kernel for TopK")
            return None
        return bytearray([network.get_input(0).shape[0]]) + network.graph


class FakeParser:
    def __init__(self, trt, network):
        self._trt = trt
        self._network = network
        self.num_errors = 2

    def parse(self, graph):
        self._network.graph = graph
        return self._trt.refuses != "parse"

    def get_error(self, k):
        return types.SimpleNamespace(desc=lambda: f"error {k}")


class FakeEngine:
    def __init__(self, cuda, plan):
        self._cuda = cuda
        options = session_options(EngineOptions(), plan[0])
        self._session = onnxruntime.InferenceSession(plan[1:], options, providers=["CPUExecutionProvider"])
        signature = signature_of(self._session)
        self._inputs, self._types = list(signature.inputs), {**signature.inputs, **signature.outputs}
        self.num_io_tensors = len(self._types)

    def get_tensor_name(self, k):
        return list(self._types)[k]

    def get_tensor_mode(self, name):
        return FakeTensorRt.TensorIOMode.INPUT if name in self._inputs else FakeTensorRt.TensorIOMode.OUTPUT

    def get_tensor_shape(self, name):
        return self._types[name].shape

    def get_tensor_dtype(self, name):
        return self._types[name].dtype

    def create_execution_context(self):
        return FakeContext(self._cuda, self)

    def run(self, arrays):
        names = [name for name in arrays if name not in self._inputs]
        for name, value in zip(names, self._session.run(names, {"image": arrays["image"]}), strict=True):
            np.copyto(arrays[name], value)


class FakeContext:
    def __init__(self, cuda, engine):
        self._cuda = cuda
        self._engine = engine
        self._arrays = {}
        self._has_run = False

    def set_tensor_address(self, name, address):
        (start,) = (start for start, block in self._cuda.memory.items() if start <= address < start + len(block))
        shape, dtype = self._engine.get_tensor_shape(name), self._engine.get_tensor_dtype(name)
        view = np.frombuffer(self._cuda.memory[start], dtype, int(np.prod(shape)), address - start)
        self._arrays[name] = view.reshape(shape)
        return True

    def execute_async_v3(self, stream):
        assert stream == 77
        assert len(self._arrays) == self._engine.num_io_tensors, "TensorRT wants an address for everything"
        if self._cuda.records and not self._has_run:
            return False  # a first run allocates, which a recording may not
        self._has_run = True
        self._cuda.queue(lambda: self._engine.run(self._arrays))
        return True


@pytest.fixture
def trt(fake_cuda, monkeypatch, tmp_path):
    fake = FakeTensorRt(fake_cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return fake


@pytest.mark.parametrize("batch", [1, 2])
def test_outputs_come_back_through_one_graph_and_one_wait(trt, fake_cuda, top_down_case, batch):
    images = top_down_case.images(batch)
    expected, found = top_down_case.arrays(batch), top_down_case.arrays(batch)
    OnnxRuntimeEngine(top_down_case.graph, PATH, EngineOptions()).bind(images.shape, expected).run(images)
    engine = TensorRtEngine(top_down_case.graph, PATH, OPTIONS)
    bound = engine.bind(images.shape, found)
    fake_cuda.calls.clear()
    bound.run(images)
    assert fake_cuda.calls == ["cudaGraphLaunch", "cudaStreamSynchronize"]
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
    engine.close()
    assert not fake_cuda.memory
    assert fake_cuda.calls.count("cudaGraphExecDestroy") == 1


def test_outputs_that_are_not_wanted_have_an_address_too(trt, plain_case):
    bright = np.zeros((1, 4, 6), np.bool_)
    images = plain_case.images(1)
    TensorRtEngine(plain_case.graph, PATH, OPTIONS).bind(images.shape, {"bright": bright}).run(images)
    assert np.array_equal(bright, images > 128)


def test_a_graph_is_compiled_once_a_machine_precision_and_batch(trt, network_case, monkeypatch):
    half = OPTIONS.model_copy(update={"precision": "fp16"})
    for _ in range(2):
        TensorRtEngine(network_case.graph, PATH, OPTIONS).bind((2, 16, 24), network_case.arrays(2))
        TensorRtEngine(network_case.graph, PATH, half)
    assert trt.builds == 3
    monkeypatch.setattr(FakeTensorRt, "__version__", "11.5.0")
    TensorRtEngine(network_case.graph, PATH, OPTIONS)
    assert trt.builds == 4


def test_the_description_names_gpu_version_and_precision(trt, plain_case):
    engine = TensorRtEngine(plain_case.graph, PATH, OPTIONS)
    assert engine.description == "tensorrt 11.4.0.106, cuda (Stand-in), fp32, CUDA graph"


@pytest.mark.parametrize(
    ("refuses", "message"),
    [
        ("parse", "TensorRT cannot read the graph: error 0; error 1"),
        ("build", "TensorRT cannot compile the graph: no kernel for TopK"),
        ("load", "TensorRT cannot load the compiled graph: the plan is for another GPU"),
    ],
)
def test_what_tensorrt_refuses_is_reported_in_its_words(trt, plain_case, refuses, message):
    trt.refuses = refuses
    with pytest.raises(ModelNotOpenError) as error:
        TensorRtEngine(plain_case.graph, PATH, OPTIONS)
    assert str(error.value) == f"folder/model.onnx: {message}"


def test_tensorrt_is_not_asked_before_there_is_a_gpu(trt, fake_cuda, plain_case, monkeypatch):
    """Its runtime ends the process with a segmentation fault where the CUDA driver is missing."""
    fake_cuda.fails_at = "cudaSetDevice"
    monkeypatch.setattr(FakeTensorRt, "Runtime", lambda trt, log: pytest.fail("asked"))
    with pytest.raises(ModelNotOpenError) as error:
        TensorRtEngine(plain_case.graph, PATH, OPTIONS)
    assert str(error.value) == (
        "folder/model.onnx: engine tensorrt: cudaSetDevice: cudaErrorMemoryAllocation: out of memory"
    )


def test_a_failure_while_running_is_reported(trt, fake_cuda, plain_case):
    bound = TensorRtEngine(plain_case.graph, PATH, OPTIONS).bind((1, 4, 6), plain_case.arrays(1))
    fake_cuda.fails_at = "cudaGraphLaunch"
    with pytest.raises(ModelFailedError) as error:
        bound.run(plain_case.images(1))
    assert str(error.value) == (
        "folder/model.onnx: inference failed: cudaGraphLaunch: cudaErrorMemoryAllocation: out of memory"
    )


def test_a_missing_package_is_named(plain_case, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(ModelNotInstalledError) as error:
        TensorRtEngine(plain_case.graph, PATH, OPTIONS)
    assert str(error.value) == (
        "engine tensorrt: expected the package tensorrt, got none; install it with: pip install 'poseloop[tensorrt]'"
    )


def test_an_old_tensorrt_is_refused(trt, plain_case, monkeypatch):
    monkeypatch.setattr(FakeTensorRt, "__version__", "8.6.1")
    with pytest.raises(ModelNotInstalledError) as error:
        TensorRtEngine(plain_case.graph, PATH, OPTIONS)
    assert str(error.value) == (
        "engine tensorrt: expected tensorrt 10 or later, got 8.6.1; install it with: "
        "pip install --upgrade 'poseloop[tensorrt]'"
    )


def test_the_real_runtime_has_what_is_called():
    """The lean runtime is TensorRT's run side, with the same classes; it has no builder."""
    trt = pytest.importorskip("tensorrt_lean_bindings")
    log = _error_log(trt)
    log.log(trt.ILogger.Severity.WARNING, "not kept")
    log.log(trt.ILogger.Severity.ERROR, "kept")
    assert log.errors == ["kept"]
    assert isinstance(log, trt.ILogger)
    for method, parameters in (
        (trt.Runtime.deserialize_cuda_engine, "serialized_engine: typing_extensions.Buffer"),
        (trt.ICudaEngine.get_tensor_name, "index: typing.SupportsInt"),
        (trt.ICudaEngine.get_tensor_mode, "name: str"),
        (trt.ICudaEngine.get_tensor_shape, "name: str"),
        (trt.ICudaEngine.get_tensor_dtype, "name: str"),
        (trt.ICudaEngine.create_execution_context, "strategy:"),
        (trt.IExecutionContext.set_tensor_address, "name: str, memory: typing.SupportsInt"),
        (trt.IExecutionContext.execute_async_v3, "stream_handle: typing.SupportsInt"),
    ):
        assert parameters in method.__doc__
    assert hasattr(trt.ICudaEngine, "num_io_tensors")
    assert hasattr(trt.BuilderFlag, "TF32")
    assert hasattr(trt.TensorIOMode, "INPUT")
    assert tuple(trt.Dims([2, -1])) == (2, -1)
    for dtype, array_dtype in (("UINT8", np.uint8), ("BOOL", np.bool_), ("FLOAT", np.float32), ("INT64", np.int64)):
        assert trt.nptype(getattr(trt.DataType, dtype)) is array_dtype
