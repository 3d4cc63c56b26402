"""Small networks, synthetic animals and the shared recordings for the tests of `models`."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from models.export.builder import GraphBuilder
from models.export.export import Crops, WholeImage, export_model
from models.network import Layer, Network
from models.skeleton import Skeleton

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    if not DATA.is_dir():
        pytest.skip("needs the recordings in ../shared/data")
    return DATA


@pytest.fixture(scope="session")
def copy_network() -> Callable[..., Network]:
    """A network whose maps are copies of its (gray or averaged) input, at any stride, and any 1×1 heads beside them."""

    def make(n_maps: int = 1, channels: int = 1, stride: int = 1, **heads: tuple[Any, Any]) -> Network:
        """`heads`: name → slope and offset of each of its maps, as functions of the (averaged) input.

        `class_maps` end in a sigmoid; `class_vectors` are made of the crop's brightest point and end in a softmax.
        """
        layers = [Layer("input", "input", channels=channels)]
        weights = {}
        above = "input"
        if stride > 1:  # takes the top-left pixel of every cell, as index i ↔ pixel i · stride wants it
            kernel = np.zeros((stride, stride, channels, 1), np.float32)
            kernel[0, 0] = 1.0
            layers.append(Layer("cells", "depthwise_conv", (above,), channels, stride, stride))
            weights |= {"cells/kernel": kernel, "cells/bias": np.zeros(channels, np.float32)}
            above = "cells"
        outputs = {}
        for head, (slopes, offsets) in {"confmaps": (np.ones(n_maps), np.zeros(n_maps)), **heads}.items():
            kernel = np.repeat(np.float32(slopes)[np.newaxis] / channels, channels, axis=0)
            if head == "class_vectors":
                layers += [Layer("pool", "global_max_pool", (above,)), Layer("flat", "flatten", ("pool",))]
                layers.append(Layer(head, "dense", ("flat",), len(slopes)))
            else:
                layers.append(Layer(head, "conv", (above,), len(slopes), 1))
                kernel = kernel[np.newaxis, np.newaxis]
            weights |= {f"{head}/kernel": kernel, f"{head}/bias": np.float32(offsets)}
            outputs[head] = head
            if end := {"class_vectors": "softmax", "class_maps": "sigmoid"}.get(head):
                layers.append(Layer(f"{head}_{end}", end, (head,)))
                outputs[head] = f"{head}_{end}"
        return Network(tuple(layers), outputs, weights)

    return make


@pytest.fixture(scope="session")
def export_spots(copy_network: Callable[..., Network]) -> Callable[..., Path]:
    """Export a top-down model that finds bright spots, with these networks and sides of crops; return its folder."""

    def export(
        folder: Path, shape: tuple[int, int], *, crops: Network | None = None, side: int = 24, **options: Any
    ) -> Path:
        export_model(
            folder,
            "top_down",
            skeleton=Skeleton(("spot",)),
            image_shape=shape,
            whole_image=WholeImage(copy_network()),
            crops=Crops(crops or copy_network(), side),
            **options,
        )
        return folder

    return export


@pytest.fixture(scope="session")
def spots() -> Callable[..., np.ndarray]:
    """A dark uint8 image with Gaussian spots at `points` (x, y)."""

    def draw(shape: tuple[int, int], points: Any, sigma_px: float, top: float = 250.0) -> np.ndarray:
        image = np.zeros(shape)
        for x, y in points:
            across, down = (
                np.exp(-((np.arange(n) - at) ** 2) / (2 * sigma_px**2))
                for n, at in zip(shape[::-1], (x, y), strict=True)
            )
            np.maximum(image, np.outer(down, across), out=image)
        return np.round(image * top).astype(np.uint8)

    return draw


@pytest.fixture(scope="session")
def run_graph() -> Callable[..., list[np.ndarray]]:
    """Finish a graph with the given outputs and run it."""

    def run(graph: GraphBuilder, outputs: Mapping[str, tuple[Any, int]], feeds: Mapping[str, Any]) -> list[np.ndarray]:
        for k, (value, (dtype, rank)) in enumerate(outputs.items()):
            graph.output(value, f"out{k}", dtype, [f"d{k}_{i}" for i in range(rank)])
        session = onnxruntime.InferenceSession(graph.build().SerializeToString())
        return session.run(None, dict(feeds))

    return run
