"""Verification: runs an engine on a reference's images and compares."""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engines.base import Engine
from models.engines.fastest import concrete
from models.engines.registry import open_engine
from models.errors import ModelInputError, ModelNotInstalledError, ModelNotOpenError
from models.export.reference import (
    MAPS,
    Reference,
    checked_file,
    load_reference,
    reference_outputs,
    stored_reference,
    with_maps,
)
from models.exported import ExportedModel, ExportedOptions, FolderModel, model_folder
from models.guided import GuidedModel, GuidedOptions
from models.parity import Parity, compare
from models.spec import ModelSpec, read_checked

# What SLEAP's own exports call their outputs. They have no fixed number of slots, and NaN where nothing is seen.
SLEAP_OUTPUTS = {"instance_peaks": "xy", "instance_peak_vals": "node_scores", "centroid_vals": "instance_scores"}
# A session's start compares as many images: some milliseconds each.
QUICK_IMAGES = 2


@dataclass(frozen=True, slots=True)
class Verification:
    """What came out of `verify`.

    Attributes:
        engine: The engine, in its own words.
        parity: How its answers differ from the reference.
    """

    engine: str
    parity: Parity


def verify(options: ExportedOptions, reference: Reference | None = None) -> Verification:
    """Compare the engine that `options` name with a reference, image by image as in a session.

    Args:
        options: The model and its engine; with `GuidedOptions` its halves are run, the detector in every image.
        reference: See `find_reference` and `compute_reference`; None = the one in the model's folder.

    Raises:
        ModelNotOpenError: The model or its reference is missing, damaged or does not fit.
        ModelNotInstalledError: The engine is not there.
        ModelFailedError: Inference failed.
    """
    reference = reference or find_reference(options.path)
    return _verify_guided(options, reference) if isinstance(options, GuidedOptions) else _verify(options, reference)


def _verify(options: ExportedOptions, reference: Reference) -> Verification:
    folder = model_folder(options.path)
    spec = ModelSpec.load(folder)
    chosen = ExportedModel.in_precision(options, spec, folder)
    precision = concrete(chosen)
    entry = spec.graphs(folder, precision).graph
    graph = read_checked(folder, entry)
    if any(name.startswith(MAPS) for name in reference.outputs):
        graph = with_maps(graph)
    with closing(open_engine(graph, folder / entry.file, chosen)) as engine:
        found = answers(engine, spec, reference)
        return Verification(engine.description, compare(reference.outputs, found, spec, precision))


def _verify_guided(options: GuidedOptions, reference: Reference) -> Verification:
    with closing(GuidedModel(options)) as model:
        found = _found_by(model, reference.images)
        return Verification(
            f"guided: {model.source['engine']}", compare(reference.outputs, found, model.spec, model.precision)
        )


def quick_parity(model: FolderModel) -> Parity | None:
    """Compare a loaded model with the reference in its folder, on a few images; None if it has none.

    Raises:
        ModelNotOpenError: The reference is damaged or not the model's.
        ModelFailedError: Inference failed.
    """
    reference = stored_reference(Path(model.source["path"]), model.spec)
    if reference is None:
        return None
    expected = {name: array[:QUICK_IMAGES] for name, array in reference.outputs.items()}
    got = _found_by(model, reference.images[:QUICK_IMAGES])
    return compare(expected, got, model.spec, model.precision)


def _found_by(model: FolderModel, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return what the model puts out for each image without knowing the one before."""
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in model.spec.outputs}
    for i, image in enumerate(images):
        model.predict(image, i)
        for name, array in model.outputs.items():
            found[name].append(array[0].copy())
    return {name: np.stack(arrays) for name, arrays in found.items()}


def find_reference(model: Path, against: Path | None = None) -> Reference:
    """Return a reference for a model.

    Args:
        model: The model's folder, or `zoo:NAME`.
        against: None = the reference in the folder; an `.npz` file (see `Reference`); or the directory of a TensorFlow
            SavedModel, ours or one of SLEAP's exports, which is then run on the images in the folder's reference. A
            SavedModel is a program: name only one that you would run.

    Raises:
        ModelNotOpenError: Something is missing, damaged or does not fit.
        ModelNotInstalledError: TensorFlow is missing.
    """
    spec, path = _model(model)
    if against is not None and not against.is_dir():
        return load_reference(against, spec)
    stored = stored_reference(path.parent, spec)
    if stored is None:
        raise ModelNotOpenError(
            f"{path.parent}: expected a reference in the model's folder, got none: export the model again, or compare "
            f"it with a video or another reference"
        )
    return stored if against is None else _saved_model(against, spec, stored)


def compute_reference(
    model: Path, images: Iterable[NDArray[np.uint8]], tell: Callable[[int], None] = lambda _: None
) -> Reference:
    """Compute a model's answers for images in plain NumPy; seconds each, and the package `onnx` is needed.

    Args:
        model: The model's folder, or `zoo:NAME`.
        images: `(height, width)` or `(height, width, 3)` uint8 each.
        tell: Called after each image with the number of those done.

    Raises:
        ModelNotOpenError: The model is missing or damaged.
        ModelInputError: The images are not such that the model takes, or there are none.
        ModelNotInstalledError: The package `onnx` is missing.
    """
    spec, path = _model(model)
    graph = path.read_bytes()
    kept, found = [], []
    for image in images:
        if image.shape != spec.image.shape or image.dtype != np.uint8:
            raise ModelInputError(
                f"{path.parent}: expected images of shape {spec.image.shape} uint8, got {image.shape} {image.dtype}"
            )
        kept.append(image.copy())
        found.append(reference_outputs(graph, kept[-1][np.newaxis]))
        tell(len(kept))
    if not kept:
        raise ModelInputError(f"{path.parent}: expected images to compute a reference for, got none")
    return Reference(np.stack(kept), {name: np.concatenate([one[name] for one in found]) for name in found[0]})


def _model(path: Path) -> tuple[ModelSpec, Path]:
    folder = model_folder(path)
    spec = ModelSpec.load(folder)
    return spec, checked_file(folder, spec.graph)


def _saved_model(folder: Path, spec: ModelSpec, stored: Reference) -> Reference:
    try:
        from models.engines.tensorflow import open_saved_model  # noqa: PLC0415  # an optional package
    except ImportError as error:
        raise ModelNotInstalledError(
            f"{folder}: expected the package tensorflow to run a SavedModel, got none; install it with: "
            f"pip install 'poseloop[train]'"
        ) from error
    with_channels = stored.images[:, np.newaxis]
    if spec.image.channels == 1:
        with_channels = with_channels[..., np.newaxis]
    with closing(open_saved_model(folder)) as engine:
        if set(spec.outputs) <= set(engine.signature.outputs):
            return Reference(stored.images, answers(engine, spec, Reference(stored.images, {})))
        if "instance_peaks" in engine.signature.outputs:
            return Reference(
                stored.images, _sleap_answers([engine.compute(image) for image in with_channels], folder, spec)
            )
        raise ModelNotOpenError(
            f"{folder}: expected the outputs {', '.join(spec.outputs)}, or SLEAP's instance_peaks, got "
            f"{', '.join(engine.signature.outputs)}"
        )


def _sleap_answers(found: list[dict[str, NDArray[Any]]], folder: Path, spec: ModelSpec) -> dict[str, NDArray[Any]]:
    """Bring what a SLEAP export gave for each image to the form of `Reference.outputs`."""
    n_nodes = len(spec.skeleton.nodes)
    for outputs in found:
        shape = outputs["instance_peaks"].shape
        if len(shape) != 4 or shape[2:] != (n_nodes, 2):
            raise ModelNotOpenError(f"{folder}: instance_peaks: expected (1, n, {n_nodes}, 2), got {shape}")
    n = max(outputs["instance_peaks"].shape[1] for outputs in found)
    return {
        ours: np.stack([_filled_up(outputs[theirs][0], n) for outputs in found])
        for theirs, ours in SLEAP_OUTPUTS.items()
        if theirs in found[0]
    }


def _filled_up(array: NDArray[Any], n: int) -> NDArray[Any]:
    """Append rows of NaN until there are `n`."""
    return np.concatenate([array, np.full((n - len(array), *array.shape[1:]), np.nan, array.dtype)])


def answers(engine: Engine, spec: ModelSpec, reference: Reference) -> dict[str, NDArray[Any]]:
    """Return the engine's answers for the reference's images, image by image as in a session."""
    arrays = {name: np.empty((1, *of.shape), of.dtype) for name, of in spec.outputs.items()}
    arrays |= {
        name: np.empty(array.shape[1:], array.dtype)
        for name, array in reference.outputs.items()
        if name.startswith(MAPS)
    }
    bound = engine.bind((1, *spec.image.shape), arrays)
    found: dict[str, list[NDArray[Any]]] = {name: [] for name in arrays}
    for image in reference.images:
        bound.run(image[np.newaxis])
        for name, array in arrays.items():
            found[name].append(array.copy() if name.startswith(MAPS) else array[0].copy())
    return {name: np.stack(each) for name, each in found.items()}
