"""Small graphs of every kind that export writes, and a stand-in for a GPU."""

import ctypes
import enum
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.engines.options import EngineOptions
from models.engines.registry import InstalledEngine, installed_engines
from models.export.builder import GraphBuilder
from models.export.export import Crops, WholeImage, export_model
from models.export.graph import add_network
from models.network import Layer, Network
from models.skeleton import Skeleton

SKELETON = Skeleton(("head", "thorax", "abdomen"), edges=((1, 0), (1, 2)))
CLASSES = ("female", "male")
SHAPE = (40, 56)
COLOR_SHAPE = (40, 56, 3)


@dataclass(frozen=True)
class Case:
    """A graph, and the dtype and shape of its image and outputs for a batch."""

    graph: bytes
    image_shape: tuple[int, ...]
    outputs: Mapping[str, tuple[Any, tuple[int, ...]]]

    def arrays(self, batch: int) -> dict[str, np.ndarray]:
        return {name: np.zeros((batch, *shape), dtype) for name, (dtype, shape) in self.outputs.items()}

    def images(self, batch: int, seed: int = 0) -> np.ndarray:
        """Bright blobs on a noisy ground."""
        random = np.random.default_rng(seed)
        height, width = self.image_shape[:2]
        y, x = np.mgrid[:height, :width]
        images = np.zeros((batch, *self.image_shape))
        for image in images:
            ground = random.uniform(0, 40, self.image_shape)
            for _ in range(4):
                at = random.uniform((0, 0), (height, width))
                blob = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * random.uniform(1.5, 3) ** 2))
                ground += 200 * (blob if image.ndim == 2 else blob[..., np.newaxis])
            image[:] = np.clip(ground, 0, 255)
        return images.astype(np.uint8)


def _case(
    graph: GraphBuilder, image_shape: tuple[int, ...], outputs: Mapping[str, tuple[Any, tuple[int, ...]]]
) -> Case:
    return Case(graph.build().SerializeToString(), image_shape, outputs)


def _of_dtypes() -> Case:
    graph = GraphBuilder("dtypes")
    image = graph.input("image", np.uint8, ("batch", 4, 6))
    value = graph.cast(image, np.float32)
    outputs = {
        "whole": (np.int64, graph.cast(graph.op("Floor", graph.op("Div", value, graph.float32(7.0))), np.int64)),
        "bright": (np.bool_, graph.op("Greater", value, graph.float32(128.0))),
        "logarithmic": (np.float32, graph.op("Sqrt", value)),
    }
    for name, (dtype, made) in outputs.items():
        graph.output(made, name, dtype, ("batch", 4, 6))
    return _case(graph, (4, 6), {name: (dtype, (4, 6)) for name, (dtype, _) in outputs.items()})


def _of_missing_numbers() -> Case:
    graph = GraphBuilder("missing")
    image = graph.input("image", np.uint8, ("batch", 4, 6))
    value = graph.cast(image, np.float32)
    seen = graph.op("Greater", value, graph.float32(128.0))
    graph.output(graph.op("Where", seen, value, graph.float32(np.nan)), "nan", np.float32, ("batch", 4, 6))
    graph.output(graph.op("Where", seen, value, graph.float32(-np.inf)), "inf", np.float32, ("batch", 4, 6))
    return _case(graph, (4, 6), {"nan": (np.float32, (4, 6)), "inf": (np.float32, (4, 6))})


def _weighted(layers: list[Layer], outputs: Mapping[str, str], seed: int) -> Network:
    """Fill in random weights that keep the values' size."""
    random = np.random.default_rng(seed)
    channels: dict[str, int] = {}
    weights: dict[str, np.ndarray] = {}
    for layer in layers:
        above = [channels[name] for name in layer.inputs]
        n_in = sum(above) if layer.op == "concat" else (above or [0])[0]
        channels[layer.name] = layer.channels or n_in
        shape = {
            "conv": (layer.kernel, layer.kernel, n_in, layer.channels),
            "depthwise_conv": (layer.kernel, layer.kernel, n_in, 1),
            "conv_transpose": (layer.kernel, layer.kernel, layer.channels, n_in),
            "dense": (n_in, layer.channels),
        }.get(layer.op)
        if shape:
            fan_in = max(layer.kernel, 1) ** 2 * (1 if layer.op == "depthwise_conv" else n_in)
            weights[f"{layer.name}/kernel"] = random.normal(0.0, np.sqrt(2 / fan_in), shape).astype(np.float32)
            weights[f"{layer.name}/bias"] = random.normal(0.0, 0.05, channels[layer.name]).astype(np.float32)
        elif layer.op == "affine":
            weights[f"{layer.name}/scale"] = random.uniform(0.5, 1.5, n_in).astype(np.float32)
            weights[f"{layer.name}/bias"] = random.normal(0.0, 0.05, n_in).astype(np.float32)
    return Network(tuple(layers), dict(outputs), weights)


def _network(channels: int, heads: Mapping[str, int], seed: int) -> Network:
    """A small UNet of stride 8 whose maps have stride 2; heads with a number of channels each."""
    layers = [
        Layer("image", "input", channels=channels),
        Layer("stem", "conv", ("image",), channels=6, kernel=3, stride=2),
        Layer("stem_relu", "relu", ("stem",)),
        Layer("pool", "max_pool", ("stem_relu",), stride=2),
        Layer("deep", "conv", ("pool",), channels=8, kernel=3, stride=2),
        Layer("deep_relu", "relu", ("deep",)),
        Layer("up", "upsample", ("deep_relu",), stride=2),
        Layer("joined", "concat", ("pool", "up")),
        Layer("mixed", "conv_transpose", ("joined",), channels=6, kernel=3, stride=2),
        Layer("mixed_relu", "relu", ("mixed",)),
        Layer("both", "add", ("stem_relu", "mixed_relu")),
    ]
    outputs = {}
    for head, count in heads.items():
        if head == "class_vectors":
            layers += [
                Layer("middle", "global_max_pool", ("deep_relu",)),
                Layer("vectors", "dense", ("middle",), channels=count),
                Layer(head, "softmax", ("vectors",)),
            ]
        else:
            layers.append(Layer(head, "conv", ("both",), channels=count, kernel=1))
        outputs[head] = head
    if "class_maps" in heads:
        layers.append(Layer("scores", "sigmoid", ("class_maps",)))
        outputs["class_maps"] = "scores"
    return _weighted(layers, outputs, seed)


def _of_every_layer() -> Case:
    """All operations of `models.network`, those of foreign networks too."""
    layers = [
        Layer("image", "input", channels=1),
        Layer("edge", "pad", ("image",), pads=(1, 1, 1, 1)),
        Layer("valid", "conv", ("edge",), channels=4, kernel=3, pads=(0, 0, 0, 0)),
        Layer("norm", "affine", ("valid",)),
        Layer("leaky", "leaky_relu", ("norm",), slope=0.1),
        Layer("room", "pad", ("leaky",), pads=(1, 2, 3, 2)),
        Layer("wide", "conv", ("room",), channels=6, kernel=3, dilation=2, pads=(1, 0, 0, 0)),
        Layer("elu", "elu", ("wide",)),
        Layer("by_channel", "depthwise_conv", ("elu",), channels=6, kernel=3, stride=2),
        Layer("tanh", "tanh", ("by_channel",)),
        Layer("mean", "average_pool", ("tanh",), kernel=3, stride=2),
        Layer("most", "max_pool", ("mean",), kernel=3, stride=2),
        Layer("nearest", "upsample_nearest", ("most",), stride=2),
        Layer("both", "concat", ("mean", "nearest")),
        Layer("linear", "upsample", ("both",), stride=2),
        Layer("full", "conv_transpose", ("linear",), channels=3, kernel=4, stride=2),
        Layer("sigmoid", "sigmoid", ("full",)),
        Layer("average", "global_average_pool", ("tanh",)),
        Layer("flat", "flatten", ("most",)),
        Layer("vector", "dense", ("average",), channels=4),
        Layer("probabilities", "softmax", ("vector",)),
    ]
    outputs = {"maps": "sigmoid", "probabilities": "probabilities", "flat": "flat"}
    network = _weighted(layers, outputs, seed=3)
    graph = GraphBuilder("every_layer")
    image = graph.input("image", np.uint8, ("batch", 16, 24))
    pixels = graph.unsqueeze(graph.op("Mul", graph.cast(image, np.float32), graph.float32(1 / 255)), 1)
    made = add_network(graph, network, pixels)
    shapes = {"maps": (3, 16, 24), "probabilities": (4,), "flat": (2 * 3 * 6,)}
    for name, shape in shapes.items():
        graph.output(made[name], name, np.float32, ("batch", *shape))
    return _case(graph, (16, 24), {name: (np.float32, shape) for name, shape in shapes.items()})


def _exported(folder: Path, model_type: str, **options: Any) -> Case:
    shape = options.pop("image_shape", SHAPE)
    channels = len(shape[2:]) * 2 + 1
    heads: dict[str, int] = {"confmaps": 3}
    heads |= {
        "top_down_id": {"class_vectors": 2},
        "bottom_up": {"pafs": 4},
        "bottom_up_id": {"class_maps": 2},
    }.get(model_type, {})
    if options.pop("offsets", False):
        heads["offsets"] = 6
    skeleton = SKELETON
    whole, crops = _network(channels, heads, seed=1), None
    if model_type == "centroid":
        skeleton, whole = Skeleton(("thorax",)), _network(channels, {"confmaps": 1}, seed=1)
    if model_type in ("top_down", "top_down_id"):
        crops = Crops(_network(channels, heads, seed=2), 24, views=options.pop("views", 1))
        whole = _network(channels, {"confmaps": 1}, seed=1)
    whole_image = WholeImage(whole, input_scale=options.pop("input_scale", 1.0))
    identity = {"class_names": CLASSES} if model_type.endswith("_id") else {}
    spec = export_model(
        folder,
        model_type,  # type: ignore[arg-type]
        skeleton=skeleton,
        image_shape=shape,
        whole_image=whole_image,
        crops=crops,
        peak_threshold=0.1,
        **identity,
        **options,
    )
    graph = (folder / spec.graph.file).read_bytes()
    return Case(graph, shape, _outputs_of(graph))


def _outputs_of(graph: bytes) -> dict[str, tuple[Any, tuple[int, ...]]]:
    import onnx  # noqa: PLC0415

    found = {}
    for value in onnx.load_from_string(graph).graph.output:
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        found[value.name] = (dtype, tuple(size.dim_value for size in kind.shape.dim[1:]))
    return found


EXPORTED: Mapping[str, Mapping[str, Any]] = {
    "single_instance": {"model_type": "single_instance"},
    "centroid, half size": {"model_type": "centroid", "input_scale": 0.5},
    "centroid": {"model_type": "centroid"},
    "top_down": {"model_type": "top_down", "input_scale": 0.5},
    "top_down, as SLEAP does": {"model_type": "top_down", "geometry": "sleap_compat", "input_scale": 0.5},
    "top_down, color": {"model_type": "top_down", "image_shape": COLOR_SHAPE},
    "top_down, offsets": {"model_type": "top_down", "offsets": True},
    "top_down_id": {"model_type": "top_down_id"},
    "top_down, color, views": {"model_type": "top_down", "image_shape": COLOR_SHAPE, "views": 8},
    "top_down_id, views": {"model_type": "top_down_id", "views": 4},
    "bottom_up": {"model_type": "bottom_up"},
    "bottom_up, as SLEAP does": {"model_type": "bottom_up", "geometry": "sleap_compat"},
    "bottom_up_id": {"model_type": "bottom_up_id"},
}
PLAIN: Mapping[str, Callable[[], Case]] = {
    "dtypes": _of_dtypes,
    "missing numbers": _of_missing_numbers,
    "every layer": _of_every_layer,
}


@pytest.fixture(scope="session", params=[*PLAIN, *EXPORTED])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A small graph."""
    if request.param in PLAIN:
        return PLAIN[request.param]()
    return _exported(tmp_path_factory.mktemp("model"), **EXPORTED[request.param])


@pytest.fixture(scope="session")
def plain_case() -> Case:
    """One graph, where it does not matter which."""
    return _of_dtypes()


@pytest.fixture(scope="session")
def network_case() -> Case:
    """One graph with a network in it."""
    return _of_every_layer()


@pytest.fixture(scope="session")
def top_down_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """An exported top-down model."""
    return _exported(tmp_path_factory.mktemp("model"), "top_down")


@pytest.fixture(scope="session")
def tried() -> Mapping[str, InstalledEngine]:
    """What became of trying every engine, by title."""
    return {engine.options.title: engine for engine in installed_engines()}


@pytest.fixture
def usable(tried: Mapping[str, InstalledEngine]) -> Callable[[EngineOptions], EngineOptions]:
    """Skip the test, with the reason, if an engine cannot be used here."""

    def check(options: EngineOptions) -> EngineOptions:
        if not tried[options.title].works:
            pytest.skip(tried[options.title].text)
        return options

    return check


class FakeCuda:
    """The functions of `cuda.bindings.runtime` that `models.engines.cuda` calls, on host memory.

    As on a GPU, nothing that is queued happens before the stream is waited for, and nothing at all of what is queued
    while the stream records before its graph is launched.
    """

    cudaError_t = enum.Enum("cudaError_t", {"cudaSuccess": 0, "cudaErrorMemoryAllocation": 2})  # noqa: N815
    cudaMemcpyKind = enum.Enum("cudaMemcpyKind", {"cudaMemcpyDefault": 4})  # noqa: N815
    cudaStreamCaptureMode = enum.Enum("cudaStreamCaptureMode", {"cudaStreamCaptureModeThreadLocal": 1})  # noqa: N815
    cudaStreamNonBlocking = 1  # noqa: N815
    cudaHostAllocDefault = 0  # noqa: N815

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.fails_at = ""
        self.memory: dict[int, Any] = {}
        self._queued: list[Callable[[], Any]] = []
        self._recorded: list[Callable[[], Any]] | None = None
        self._graphs: list[list[Callable[[], Any]]] = []

    def __getattr__(self, function: str) -> Callable[..., tuple[Any, ...]]:
        do = object.__getattribute__(self, f"_{function}")

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(function)
            if function == self.fails_at:
                return (self.cudaError_t.cudaErrorMemoryAllocation, None)
            value = do(*arguments)
            return (self.cudaError_t.cudaSuccess,) if value is None else (self.cudaError_t.cudaSuccess, value)

        return call

    @property
    def records(self) -> bool:
        return self._recorded is not None

    def queue(self, work: Callable[[], Any]) -> None:
        (self._queued if self._recorded is None else self._recorded).append(work)

    def _cudaGetErrorString(self, status: Any) -> bytes:
        return b"out of memory"

    def _cudaSetDevice(self, device: int) -> None:
        assert device == 0

    def _cudaGetDeviceProperties(self, device: int) -> Any:
        return types.SimpleNamespace(name=b"Stand-in")

    def _cudaStreamCreateWithFlags(self, flags: int) -> int:
        assert flags == self.cudaStreamNonBlocking
        return 77

    def _cudaStreamDestroy(self, stream: int) -> None:
        assert stream == 77

    def _allocate(self, n_bytes: int) -> int:
        block = (ctypes.c_uint8 * n_bytes)()
        self.memory[ctypes.addressof(block)] = block
        return ctypes.addressof(block)

    def _cudaMalloc(self, n_bytes: int) -> int:
        return self._allocate(n_bytes)

    def _cudaHostAlloc(self, n_bytes: int, flags: int) -> int:
        return self._allocate(n_bytes)

    def _cudaFree(self, address: int) -> None:
        del self.memory[address]

    def _cudaFreeHost(self, address: int) -> None:
        del self.memory[address]

    def _cudaMemcpyAsync(self, target: int, source: int, n_bytes: int, kind: Any, stream: int) -> None:
        assert (kind, stream) == (self.cudaMemcpyKind.cudaMemcpyDefault, 77)
        self.queue(lambda: ctypes.memmove(target, source, n_bytes))

    def _cudaStreamSynchronize(self, stream: int) -> None:
        assert self._recorded is None, "a stream that records cannot be waited for"
        for work in self._queued:
            work()
        self._queued.clear()

    def _cudaStreamBeginCapture(self, stream: int, mode: Any) -> None:
        self._recorded = []

    def _cudaStreamEndCapture(self, stream: int) -> int:
        self._graphs.append(self._recorded or [])
        self._recorded = None
        return len(self._graphs)

    def _cudaGraphInstantiate(self, graph: int, flags: int) -> int:
        return 100 + graph

    def _cudaGraphDestroy(self, graph: int) -> None:
        assert graph == len(self._graphs)

    def _cudaGraphLaunch(self, launchable: int, stream: int) -> None:
        self._queued += self._graphs[launchable - 101]

    def _cudaGraphExecDestroy(self, launchable: int) -> None:
        assert launchable > 100


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """A stand-in in place of the CUDA runtime."""
    fake = FakeCuda()
    package = types.ModuleType("cuda")
    bindings = types.ModuleType("cuda.bindings")
    bindings.runtime = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cuda", package)
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    return fake
