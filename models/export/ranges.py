"""What the values in a graph's networks range over, measured on images: what 8-bit integers are to be spread over."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engines.onnxruntime import new_session, session_options
from models.engines.options import EngineOptions
from models.engines.signature import INPUT
from models.export.builder import import_onnx
from models.export.reference import NETWORKS

Range = tuple[float, float]
"""Lowest and highest value; 0 lies within, because 0 is what a map is padded with."""


def measure_ranges(graph: bytes, path: Path, images: Iterable[NDArray[np.uint8]]) -> dict[str, Range]:
    """Run a graph on images, in float32, and note between which numbers every value in its networks was.

    Args:
        graph: The serialised ONNX model.
        path: Where it came from; for messages.
        images: `(height, width)` or `(height, width, 3)` uint8 each.

    Returns:
        Place (see `places`) → range.

    Raises:
        ModelNotInstalledError: The package `onnx` is missing.
        ModelNotOpenError: ONNX Runtime cannot load the graph.
    """
    onnx = import_onnx()
    model = onnx.load_from_string(graph)
    found = places(model.graph)
    for value in found:
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(value))
    options = session_options(EngineOptions(), 1)
    session = new_session(model.SerializeToString(), path, options, ["CPUExecutionProvider"])
    ranges = dict.fromkeys(found.values(), (0.0, 0.0))
    for image in images:
        arrays = session.run(list(found), {INPUT: image[np.newaxis]})
        for place, array in zip(found.values(), arrays, strict=True):
            low, high = ranges[place]
            ranges[place] = min(low, float(array.min())), max(high, float(array.max()))
    return ranges


def places(graph: Any) -> Mapping[str, str]:
    """Return, for every value that the networks of an ONNX graph make, its place: `crops/4` is the fifth in `crops`.

    The halves of a top-down model hold the same networks as the whole graph, under other names and in the same places.
    """
    found: dict[str, str] = {}
    for network in NETWORKS:
        inside = [node for node in graph.node if node.name.startswith(network)]
        found |= {node.output[0]: f"{network}{k}" for k, node in enumerate(inside)}
    return found
