"""The two networks of a top-down model as graphs of their own, beside the one that runs both."""

from pathlib import Path
from typing import Any

from models.export.pipeline import build_crops, build_detector
from models.network import Network
from models.spec import CROPS_FILE, DETECTOR_FILE, TOP_DOWN, GraphFile, ModelSpec, PartsSpec, sha256_of


def has_parts(spec: ModelSpec) -> bool:
    """Return whether a model of this kind can be run in two halves.

    SLEAP's own geometry crops between pixels; what is cut from the frame here are whole ones.
    """
    return spec.type in TOP_DOWN and spec.geometry == "exact"


def write_parts(folder: Path, spec: ModelSpec, detector: Network, crops: Network) -> PartsSpec:
    """Write the graphs of both halves into a model's folder."""
    return PartsSpec(
        detector=_written(folder / DETECTOR_FILE, build_detector(spec, detector)),
        crops=_written(folder / CROPS_FILE, build_crops(spec, crops)),
    )


def _written(path: Path, graph: Any) -> GraphFile:
    path.write_bytes(graph.SerializeToString())
    return GraphFile(file=path.name, sha256=sha256_of(path))
