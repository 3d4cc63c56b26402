"""Quantisation: a model's graphs once more, with their networks in 8-bit integers, if they find what float32 finds.

Nothing is trained. Frames tell between which numbers the values in the networks are; half of them are kept back to
compare with.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from models.engines.options import EngineOptions
from models.engines.registry import open_engine
from models.errors import ModelDiffersError, ModelInputError
from models.export.int8 import quantised
from models.export.ranges import measure_ranges
from models.export.reference import Reference, stored_reference
from models.exported import model_folder
from models.parity import ROUNDING, Parity, compare
from models.spec import INT8_SUFFIX, GraphFile, Int8Spec, ModelSpec, PartsSpec, read_checked, sha256_of
from models.verification import answers


@dataclass(frozen=True, slots=True)
class Quantisation:
    """What became of quantising a model.

    Attributes:
        spec: What was written to `model.json`.
        parity: How the integers' answers differ from float32's, on the frames that were kept back.
    """

    spec: ModelSpec
    parity: Parity


def quantise(
    path: Path,
    frames: NDArray[np.uint8],
    provenance: Mapping[str, JsonValue],
    tolerance_px: float = ROUNDING["int8"].tolerance_px,
) -> Quantisation:
    """Write the graphs of a model in 8-bit integers beside those in float32, and note them in its `model.json`.

    Args:
        path: The model's folder, or `zoo:NAME`.
        frames: Such as the model will see, in which there are animals: `(n, height, width)` or `(n, height, width, 3)`
            uint8, at least 2. Every second one is kept back.
        provenance: Where the frames come from; noted.
        tolerance_px: How far the points may lie from those that float32 finds; see `models.parity.ROUNDING`.

    Raises:
        ModelDiffersError: The integers do not find what float32 finds, on the frames kept back or on the images of the
            model's reference, with which every session begins. Nothing is written.
        ModelInputError: The frames are not such as the model takes, the model has nothing to quantise, or its folder
            cannot be written to.
        ModelNotOpenError: The model is missing or damaged.
        ModelNotInstalledError: The package `onnx` is missing.
    """
    folder = model_folder(path)
    spec = ModelSpec.load(folder)
    _check_frames(folder, spec, frames)
    whole = folder / spec.graph.file
    graph = read_checked(folder, spec.graph)
    ranges = measure_ranges(graph, whole, frames[::2])
    integers = {file: quantised(content, ranges) for file, content in _graphs(folder, spec).items()}
    kept_back = _float32(spec, graph, whole, frames[1::2])
    parity = _compared(folder, spec, integers[spec.graph.file], kept_back, tolerance_px)
    if (reference := stored_reference(folder, spec)) is not None:
        _compared(folder, spec, integers[spec.graph.file], reference, tolerance_px, " on the model's reference")
    calibration = {**provenance, "n_frames": len(frames[::2]), "compared": parity.as_dict()}
    return Quantisation(_write(folder, spec, integers, calibration), parity)


def _check_frames(folder: Path, spec: ModelSpec, frames: NDArray[np.uint8]) -> None:
    if frames.shape[1:] != spec.image.shape or frames.dtype != np.uint8 or len(frames) < 2:
        raise ModelInputError(
            f"{folder}: frames: expected (2 or more, {', '.join(map(str, spec.image.shape))}) uint8, "
            f"got {frames.shape} {frames.dtype}"
        )


def _graphs(folder: Path, spec: ModelSpec) -> dict[str, bytes]:
    """Return file name → content of the graph and, if there are some, of its halves."""
    entries = [spec.graph] if spec.parts is None else [spec.graph, spec.parts.detector, spec.parts.crops]
    return {entry.file: read_checked(folder, entry) for entry in entries}


def _float32(spec: ModelSpec, graph: bytes, path: Path, frames: NDArray[np.uint8]) -> Reference:
    """Return frames and what float32 finds in them, as a reference for the integers."""
    with closing(open_engine(graph, path, EngineOptions())) as engine:
        return Reference(frames, answers(engine, spec, Reference(frames, {})))


def _compared(
    folder: Path, spec: ModelSpec, integers: bytes, expected: Reference, tolerance_px: float, where: str = ""
) -> Parity:
    """Compare with what is expected; refuse beyond the tolerance."""
    with closing(open_engine(integers, folder / spec.graph.file, EngineOptions(precision="int8"))) as engine:
        got = answers(engine, spec, Reference(expected.images, {}))
    parity = compare(expected.outputs, got, spec, "int8")
    if deviation := parity.deviation(tolerance_px):
        raise ModelDiffersError(f"{folder}: not quantised: in 8-bit integers{where} {deviation}")
    return parity


def _write(
    folder: Path, spec: ModelSpec, integers: Mapping[str, bytes], calibration: dict[str, JsonValue]
) -> ModelSpec:
    """Write the graphs and then `model.json`: what it does not name, or names with another SHA-256, is not run."""
    try:
        written = {file: _written(folder, file, content) for file, content in integers.items()}
        parts = None
        if spec.parts is not None:
            parts = PartsSpec(detector=written[spec.parts.detector.file], crops=written[spec.parts.crops.file])
        int8 = Int8Spec(graph=written[spec.graph.file], parts=parts, calibration=calibration)
        noted = spec.model_copy(update={"int8": int8})
        noted.save(folder)
    except OSError as error:
        raise ModelInputError(
            f"{error.filename or folder}: cannot be written: {error.strerror}; quantise a copy of the model's folder "
            f"where you may write, and name that in the rig"
        ) from error
    return noted


def _written(folder: Path, file: str, content: bytes) -> GraphFile:
    path = folder / (Path(file).stem + INT8_SUFFIX)
    path.write_bytes(content)
    return GraphFile(file=path.name, sha256=sha256_of(path))
