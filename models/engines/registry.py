"""The engines by name, each imported when it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from models.engines.base import BoundGraph, Engine
from models.engines.onnxruntime import OnnxRuntimeEngine
from models.engines.options import Device, EngineName, EngineOptions, Precision
from models.errors import ModelNotInstalledError, ModelNotOpenError


class _Entry(NamedTuple):
    """Where an engine is.

    `package` is what its module imports, `extra` what installs it; empty for what comes with the program, and for
    modules that look for their packages themselves.
    """

    module: str
    function: str
    package: str = ""
    extra: str = ""


_ENGINES: Mapping[tuple[EngineName, Device], _Entry] = {
    ("onnxruntime", "cpu"): _Entry("models.engines.onnxruntime", "OnnxRuntimeEngine"),
    ("onnxruntime", "cuda"): _Entry("models.engines.onnxruntime_cuda", "OnnxRuntimeCudaEngine"),
    ("openvino", "cpu"): _Entry("models.engines.openvino", "OpenVinoEngine", "openvino", "openvino"),
    ("tensorrt", "cuda"): _Entry("models.engines.tensorrt", "TensorRtEngine"),
    ("tensorflow", "cpu"): _Entry("models.engines.tensorflow", "open_graph", "tensorflow", "train"),
}

ALL_OPTIONS: tuple[EngineOptions, ...] = (
    EngineOptions(),
    EngineOptions(engine="openvino"),
    EngineOptions(engine="tensorflow"),
    EngineOptions(device="cuda"),
    EngineOptions(device="cuda", precision="fp16"),
    EngineOptions(device="cuda", provider="tensorrt"),
    EngineOptions(device="cuda", provider="tensorrt", precision="fp16"),
    EngineOptions(engine="tensorrt", device="cuda"),
    EngineOptions(engine="tensorrt", device="cuda", precision="fp16"),
)
"""Every combination of engine, device, provider and precision that there is, for a graph in float32."""

INT8_OPTIONS: tuple[EngineOptions, ...] = (
    EngineOptions(precision="int8"),
    EngineOptions(engine="openvino", precision="int8"),
)
"""The same for a graph in 8-bit integers."""

BF16_OPTIONS: tuple[EngineOptions, ...] = (EngineOptions(engine="openvino", precision="bf16"),)
"""The same for networks alone, without coordinates between them: what kind `guided` runs."""

# The smallest graph: `image` uint8 (batch, 1, 1), cast to float32; as bytes, because the package `onnx` may be missing.
_PROBE = bytes.fromhex(
    "08081208706f73656c6f6f703a9b010a2a0a05696d6167651208436173745f302e301a06436173745f302204436173742a09"
    "0a02746f1801a001020a220a08436173745f302e30120576616c75651a0576616c756522084964656e74697479120570726f"
    "62655a200a05696d61676512170a15080212110a07120562617463680a0208010a02080162200a0576616c756512170a1508"
    "0112110a07120562617463680a0208010a02080142040a001011"
)


class InstalledEngine(NamedTuple):
    """What became of trying an engine.

    Attributes:
        options: Which engine.
        works: It is installed and its device could be used.
        text: Its description, or the reason why not.
    """

    options: EngineOptions
    works: bool
    text: str


def open_engine(graph: bytes, path: Path, options: EngineOptions) -> Engine:
    """Load a graph into the engine that `options` name.

    Args:
        graph: The serialised ONNX model.
        path: Where it came from; only for messages.
        options: Which engine, where and how.

    Raises:
        ModelNotInstalledError: The engine's package is not there; the message names the extra.
        ModelNotOpenError: The graph is damaged, the device could not be used, or the precision is still to be chosen.
    """
    if options.precision == "auto":
        raise ModelNotOpenError(f"{path}: precision: expected one that was chosen for this graph, got auto")
    try:
        return _opener(options)(graph, path, options)
    except (ModelNotInstalledError, ModelNotOpenError) as error:
        if options.fallback == "none":
            raise
        # A graph in 8-bit integers is one wherever it runs.
        precision: Precision = "int8" if options.precision == "int8" else "fp32"
        cpu = EngineOptions(threads=options.threads, spinning=options.spinning, precision=precision)
        return _InPlace(OnnxRuntimeEngine(graph, path, cpu), f"in place of {options.title}: {error}")


def installed_engines(candidates: Sequence[EngineOptions] = ALL_OPTIONS) -> list[InstalledEngine]:
    """Try engines on the smallest graph; takes as long as importing them, which for TensorFlow is seconds."""
    return [_tried(options) for options in candidates]


def _tried(options: EngineOptions) -> InstalledEngine:
    try:
        engine = open_engine(_PROBE, Path("probe.onnx"), options)
    except (ModelNotInstalledError, ModelNotOpenError) as error:
        return InstalledEngine(options, False, str(error))
    with closing(engine):
        return InstalledEngine(options, True, engine.description)


def _opener(options: EngineOptions) -> Callable[[bytes, Path, EngineOptions], Engine]:
    entry = _ENGINES[options.engine, options.device]
    try:
        module = import_module(entry.module)
    except ImportError as error:
        raise ModelNotInstalledError(
            f"engine {options.engine}: expected the package {entry.package}, got: {error}; "
            f"install it with: pip install 'poseloop[{entry.extra}]'"
        ) from error
    opener: Callable[[bytes, Path, EngineOptions], Engine] = getattr(module, entry.function)
    return opener


class _InPlace(Engine):
    """An engine that runs because another one could not, and says so."""

    def __init__(self, engine: Engine, reason: str) -> None:
        self._engine = engine
        self._reason = reason

    @property
    def description(self) -> str:
        """What runs, and in place of what."""
        return f"{self._engine.description}, {self._reason}"

    def bind(self, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> BoundGraph:
        """Bind the engine that runs."""
        return self._engine.bind(image_shape, outputs)

    def close(self) -> None:
        """Close the engine that runs."""
        self._engine.close()
