"""`reference.npz`: images, and what a model's graph must give for them; the yardstick of every engine.

The answers are computed by ONNX's own evaluator in plain NumPy, float32, which shares no code with any engine and
knows no optimisation. That takes some seconds an image and, for a large bottom-up model on 1024×1024, 1.5 GB, once,
when a model is exported.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.engines.options import EngineOptions
from models.engines.registry import open_engine
from models.errors import ModelInputError, ModelNotOpenError
from models.export.builder import import_onnx
from models.spec import REFERENCE_FILE, GraphFile, ModelSpec, read_checked, sha256_of

IMAGES = "images"
MAPS = "maps/"
N_IMAGES = 3
N_CANDIDATES = 16
MAX_IMAGE_BYTES = 400_000
MAX_MAP_BYTES = 100_000
NETWORKS = ("whole_image/", "crops/")


@dataclass(frozen=True, slots=True)
class Reference:
    """The content of an `.npz` file: images and what must come out for them.

    Attributes:
        images: `images` in the file, `(n_images, height, width)` or `(n_images, height, width, 3)` uint8.
        outputs: The other arrays, each with a leading `n_images`. In a model's own file these are the graph's outputs
            (see `ModelSpec.outputs`) and, where they are small, what its networks put out (`maps/…`, `(n_images, 1 or
            n_slots · views, …)`). A file of another
            origin needs only `xy`, `(n_images, n_instances, n_nodes, 2)`, px of the full frame, NaN = not seen;
            `node_scores`, `instance_scores`, `valid` and `class_probs` are used if they are there.
    """

    images: NDArray[np.uint8]
    outputs: Mapping[str, NDArray[Any]]


def load_reference(path: Path, spec: ModelSpec) -> Reference:
    """Read an `.npz` file as a reference for a model; nothing in it is executed.

    Raises:
        ModelNotOpenError: It is missing or damaged, or its arrays do not fit the model.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise ModelNotOpenError(f"{path}: {error.strerror or error}; expected a reference (.npz)") from error
    except (AttributeError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelNotOpenError(f"{path}: expected a reference (.npz), got a damaged file: {error}") from error
    images = arrays.pop(IMAGES, np.empty(0, np.uint8))
    outputs = {}
    shapes = {IMAGES: spec.image.shape, **_expected_shapes(path, arrays, spec)}
    for name, array in {IMAGES: images, **arrays}.items():
        if name not in shapes and not name.startswith(MAPS):
            continue
        fits = array.dtype.kind in "fbui" and len(array) == len(images) > 0
        if not fits or array.shape[1:] != shapes.get(name, array.shape[1:]):
            wanted = ", ".join(map(str, (len(images) or "n", *shapes.get(name, ("…",)))))
            raise ModelNotOpenError(f"{path}: {name}: expected ({wanted}) numbers, got {array.shape} {array.dtype}")
        outputs[name] = array
    if outputs.pop(IMAGES).dtype != np.uint8:
        raise ModelNotOpenError(f"{path}: {IMAGES}: expected uint8, got {images.dtype}")
    return Reference(images, outputs)


def stored_reference(folder: Path, spec: ModelSpec) -> Reference | None:
    """Read the reference of a model folder; None if it has none.

    Raises:
        ModelNotOpenError: It is missing, damaged or not the one that `model.json` names.
    """
    return None if spec.reference is None else load_reference(checked_file(folder, spec.reference), spec)


def checked_file(folder: Path, entry: GraphFile) -> Path:
    """Return the path of a file that `model.json` names.

    Raises:
        ModelNotOpenError: It is not there, or is another file than `model.json` says.
    """
    read_checked(folder, entry)
    return folder / entry.file


def _expected_shapes(path: Path, arrays: Mapping[str, NDArray[Any]], spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Return name → shape for one image of the arrays that count."""
    if "xy" not in arrays:
        if missing := [name for name in spec.outputs if name not in arrays]:
            raise ModelNotOpenError(
                f"{path}: expected the arrays {IMAGES} and {', '.join(spec.outputs)} (or {IMAGES} and xy), "
                f"got none named {', '.join(missing)}"
            )
        return {name: shape for name, (shape, _) in spec.outputs.items()}
    n, n_nodes = (*arrays["xy"].shape, 0, 0)[1], len(spec.skeleton.nodes)
    return {
        "xy": (n, n_nodes, 2),
        "node_scores": (n, n_nodes),
        "instance_scores": (n,),
        "valid": (n,),
        "class_probs": (n, len(spec.class_names)),
        "overflow": (),
    }


def add_reference(folder: Path, images: NDArray[np.uint8] | None = None) -> ModelSpec:
    """Write `reference.npz` into a model folder and note it in its `model.json`.

    Of the images those are kept whose answers hang least on rounding errors: with noise of one gray level on them, no
    point should come or go, and points should move little. Images in which nothing is seen come last. An all-black one
    is added. The images stay below `MAX_IMAGE_BYTES`, compressed, where the first one does.

    Args:
        folder: A model folder, as `export_model` leaves it.
        images: Frames like those that the model will see, `(n, height, width)` or `(n, height, width, 3)` uint8; at
            most `N_CANDIDATES` of them, evenly spread, are looked at. None = synthetic images, in which most networks
            see something, but by no means all.

    Returns:
        What was written to `model.json`.

    Raises:
        ModelInputError: The images have another shape or type than the model takes.
        ModelNotOpenError: The folder holds no model.
        ModelNotInstalledError: The package `onnx` is missing.
    """
    spec = ModelSpec.load(folder)
    path = folder / spec.graph.file
    graph = read_checked(folder, spec.graph)
    if images is None:
        images = synthetic_images(spec.image.shape)
    elif images.shape[1:] != spec.image.shape or images.dtype != np.uint8 or len(images) == 0:
        raise ModelInputError(
            f"{folder}: reference images: expected (n, {', '.join(map(str, spec.image.shape))}) uint8, "
            f"got {images.shape} {images.dtype}"
        )
    candidates = images[np.unique(np.linspace(0, len(images) - 1, N_CANDIDATES).astype(int))]
    chosen = _steadiest(graph, path, spec, candidates)
    file = folder / REFERENCE_FILE
    arrays: dict[str, Any] = {IMAGES: chosen, **_answers(graph, chosen)}
    np.savez_compressed(file, **arrays)
    noted = spec.model_copy(update={"reference": GraphFile(file=file.name, sha256=sha256_of(file))})
    noted.save(folder)
    return noted


def reference_outputs(graph: bytes, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Compute a graph's outputs in plain NumPy, image by image.

    Returns:
        The outputs, each with a leading `n_images`; `maps/…` after that as they are for a batch of one image.

    Raises:
        ModelNotInstalledError: The package `onnx` is missing.
    """
    onnx = import_onnx()
    from onnx.reference import ReferenceEvaluator  # noqa: PLC0415  # an optional package

    from models.export.numpy_operators import OPERATORS  # noqa: PLC0415  # needs it

    evaluator = ReferenceEvaluator(onnx.load_from_string(graph), new_ops=list(OPERATORS))
    with np.errstate(all="ignore"):  # graphs divide by what is 0 in empty slots
        found = [evaluator.run(None, {"image": image[np.newaxis]}) for image in images]
    return {
        name: np.stack(arrays) if name.startswith(MAPS) else np.concatenate(arrays)
        for name, *arrays in zip(evaluator.output_names, *found, strict=True)
    }


def with_maps(graph: bytes) -> bytes:
    """Return the graph with what leaves its networks as further outputs, `maps/…`."""
    onnx = import_onnx()
    model = onnx.load_from_string(graph)
    inside = {name for node in model.graph.node if node.name.startswith(NETWORKS) for name in node.output}
    outside = [node for node in model.graph.node if not node.name.startswith(NETWORKS)]
    for value in dict.fromkeys(name for node in outside for name in node.input if name in inside):
        name = MAPS + value
        # A node of its own, because an engine in half precision rewrites the networks and what they hand over.
        model.graph.node.append(onnx.helper.make_node("Identity", [value], [name], name=name))
        model.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    serialised: bytes = onnx.shape_inference.infer_shapes(model).SerializeToString()
    return serialised


def _answers(graph: bytes, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return the graph's outputs, and the maps of its networks if they are small."""
    found = reference_outputs(with_maps(graph), images)
    maps = {name: array for name, array in found.items() if name.startswith(MAPS)}
    if sum(array.nbytes for array in maps.values()) < MAX_MAP_BYTES:
        return found
    return {name: array for name, array in found.items() if name not in maps}


def _steadiest(graph: bytes, path: Path, spec: ModelSpec, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the images with the steadiest answers, as many as a small file holds, and a black one."""
    outputs = {name: np.empty((1, *shape), dtype) for name, (shape, dtype) in spec.outputs.items()}
    points = outputs["peaks" if spec.peaks else "xy"]
    noise = np.random.default_rng(0)

    def found(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        bound.run(image[np.newaxis])
        return np.array(points[0])

    def restlessness(image: NDArray[np.uint8]) -> tuple[bool, bool, float]:
        noisy = np.clip(image + noise.integers(-1, 2, image.shape), 0, 255).astype(np.uint8)
        here, there = found(image), found(noisy)
        seen = np.isfinite(here)
        shift = np.max(np.abs(there - here), initial=0.0, where=seen & np.isfinite(there))
        return not seen.any(), not np.array_equal(seen, np.isfinite(there)), float(shift)

    with closing(open_engine(graph, path, EngineOptions())) as engine:
        bound = engine.bind((1, *spec.image.shape), outputs)
        order = sorted(range(len(images)), key=[restlessness(image) for image in images].__getitem__)
    kept = [np.zeros(spec.image.shape, np.uint8), images[order[0]]]
    for k in order[1:N_IMAGES]:
        if _compressed_bytes(np.stack([*kept, images[k]])) <= MAX_IMAGE_BYTES:
            kept.append(images[k])
    # The image that says most is the first: a quick check looks at no more than that.
    return np.stack([*kept[1:], kept[0]])


def _compressed_bytes(array: NDArray[Any]) -> int:
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return file.getbuffer().nbytes


def synthetic_images(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Draw images with soft blobs, round and long, dark on light and light on dark, of several sizes on cloudy ground.

    Args:
        shape: `(height, width)` or `(height, width, 3)`.

    Returns:
        `(N_CANDIDATES, *shape)` uint8; always the same. They compress well.
    """
    rng = np.random.default_rng(0)
    sizes = np.geomspace(1 / 64, 1 / 6, N_CANDIDATES // 2) * min(shape[:2])
    images = [_blobs(rng, (shape[0], shape[1]), size, light=light) for light in (False, True) for size in sizes]
    color = (1,) if len(shape) == 2 else (1, 1, 3)
    return np.stack([image if len(shape) == 2 else np.tile(image[..., np.newaxis], color) for image in images])


def _blobs(rng: np.random.Generator, size: tuple[int, int], sigma: float, *, light: bool) -> NDArray[np.uint8]:
    height, width = size
    coarse = rng.random((6, 6)).astype(np.float32)
    ground = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) * 40
    ground += 30 if light else 170
    y, x = np.mgrid[:height, :width].astype(np.float32)
    top = np.zeros(size, np.float32)
    for x0, y0, angle, length in _placed(rng, size):
        along = (x - x0) * np.cos(angle) + (y - y0) * np.sin(angle)
        beside = (y - y0) * np.cos(angle) - (x - x0) * np.sin(angle)
        np.maximum(top, np.exp(-((along / length) ** 2 + beside**2) / (2 * sigma**2)), out=top)
    image = ground + top * (200 if light else -160)
    return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)


def _placed(rng: np.random.Generator, size: tuple[int, int]) -> Iterator[tuple[float, float, float, float]]:
    """Yield x, y, angle and length (in widths) of four blobs, one in each quarter of the image."""
    for row, column in np.ndindex(2, 2):
        y, x = ((k + rng.uniform(0.35, 0.65)) / 2 * side for k, side in zip((row, column), size, strict=True))
        yield x, y, rng.uniform(0, np.pi), rng.uniform(1, 2.5)
