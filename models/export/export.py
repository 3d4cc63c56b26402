"""Trained networks into a model folder: `model.json` and `model.onnx`; what training and importing call."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.decode.assembly import tree_walk
from models.errors import ModelInputError
from models.export.graph import input_channels, max_stride, output_channels, output_stride
from models.export.images import scaled_size
from models.export.parts import has_parts, write_parts
from models.export.pipeline import build_graph
from models.network import Head, Network
from models.skeleton import Skeleton
from models.spec import (
    BOTTOM_UP,
    CROPS_FILE,
    DETECTOR_FILE,
    GRAPH_FILE,
    INT8_SUFFIX,
    REFERENCE_FILE,
    TOP_DOWN,
    CropSpec,
    Geometry,
    GraphFile,
    ImageSpec,
    ModelSpec,
    ModelType,
    PeaksSpec,
    SkeletonSpec,
    WholeImageSpec,
    listed_faults,
    sha256_of,
)

_NOT_WRITTEN_YET = GraphFile(file=GRAPH_FILE, sha256="0" * 64)


@dataclass(frozen=True, slots=True)
class WholeImage:
    """The network that sees the whole image; in a top-down model it finds the animals.

    Attributes:
        network: The network, with weights.
        input_scale: Size of its input over size of the camera's image.
        pad_to_stride: The scaled image is padded to a multiple of this; None = what the network needs.
    """

    network: Network
    input_scale: float = 1.0
    pad_to_stride: int | None = None


@dataclass(frozen=True, slots=True)
class Crops:
    """The network of a top-down model that finds the nodes of one animal.

    Attributes:
        network: The network, with weights.
        size_px: Side of the square crop around each animal, px of the full frame.
        input_scale: Size of its input over size of the crop.
        views: See `CropSpec`.
    """

    network: Network
    size_px: int
    input_scale: float = 1.0
    views: int = 1


def export_model(
    out: Path,
    type: ModelType,  # noqa: A002  # what model.json calls it
    *,
    skeleton: Skeleton,
    image_shape: Sequence[int],
    whole_image: WholeImage,
    crops: Crops | None = None,
    anchor: str | None = None,
    peak_threshold: float = 0.2,
    max_instances: int = 2,
    max_peaks: int | None = None,
    min_edge_score: float = 0.25,
    class_names: Sequence[str] = (),
    geometry: Geometry = "exact",
    provenance: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Write `model.onnx` and `model.json` into the folder `out`, and the halves of a top-down model beside them.

    Args:
        out: The folder; created if missing, an older model in it is replaced.
        type: What the networks are.
        skeleton: The animal's plan. Its nodes are the confidence maps of the network that finds nodes, its edges the
            part affinity fields; of type `centroid` its only node is what the network points at.
        image_shape: `(height, width)` or `(height, width, 3)` of the camera's image, px.
        whole_image: The network that sees the whole image, and how.
        crops: The second network of the top-down types; None for the others.
        anchor: The node that a detector was trained to point at; None = the middle of the bounding box.
        peak_threshold: A confidence below this is not a detection.
        max_instances: Slots for animals; `single_instance` has 1 and `bottom_up_id` one a class, whatever is given.
        max_peaks: Slots for peaks, a node, of the bottom-up types; None = `max_instances` + 2.
        min_edge_score: See `PeaksSpec`.
        class_names: Identities, in the order of the network's classes; for the types with `_id`.
        geometry: See `ModelSpec`.
        provenance: Where the weights come from, as JSON-able values.

    Returns:
        What was written to `model.json`.

    Raises:
        ModelInputError: The networks do not fit the type, the skeleton, each other or the options.
        ModelNotOpenError: The skeleton of a `bottom_up` model is not a tree.
        ModelNotInstalledError: The package `onnx` is missing.
    """
    crop_network = crops.network if crops else None
    _check_networks(type, skeleton, whole_image.network, crop_network, len(class_names))
    slots = {"single_instance": 1, "bottom_up_id": len(class_names)}.get(type, max_instances)
    if type == "bottom_up":
        tree_walk(skeleton)
    try:
        spec = ModelSpec(
            type=type,
            skeleton=SkeletonSpec(nodes=skeleton.nodes, edges=skeleton.edges, symmetries=skeleton.symmetries),
            image=_image_spec(image_shape),
            whole_image=_whole_image_spec(whole_image),
            crop=_crop_spec(crops) if crops else None,
            peaks=_peaks_spec(type, max_peaks or slots + 2, min_edge_score),
            anchor=anchor,
            peak_threshold=peak_threshold,
            max_instances=slots,
            class_names=tuple(class_names),
            geometry=geometry,
            graph=_NOT_WRITTEN_YET,
            provenance=dict(provenance or {}),
        )
    except ValidationError as error:
        raise ModelInputError(listed_faults("export", error)) from error
    _check_sizes(spec, whole_image.network)
    written = _write(out, spec, build_graph(spec, whole_image.network, crop_network))
    for old in (out / DETECTOR_FILE, out / CROPS_FILE, *out.glob(f"*{INT8_SUFFIX}")):
        old.unlink(missing_ok=True)
    if crop_network is None or not has_parts(spec):
        return written
    parts = write_parts(out, spec, whole_image.network, crop_network)
    written = written.model_copy(update={"parts": parts})
    written.save(out)
    return written


def _image_spec(shape: Sequence[int]) -> ImageSpec:
    return ImageSpec(height_px=int(shape[0]), width_px=int(shape[1]), channels=3 if len(shape) == 3 else 1)


def _whole_image_spec(part: WholeImage) -> WholeImageSpec:
    return WholeImageSpec(
        input_scale=part.input_scale,
        output_stride=_stride(part.network, "confmaps"),
        pad_to_stride=part.pad_to_stride or max_stride(part.network),
    )


def _crop_spec(crops: Crops) -> CropSpec:
    return CropSpec(
        size_px=crops.size_px,
        input_scale=crops.input_scale,
        output_stride=_stride(crops.network, "confmaps"),
        views=crops.views,
    )


def _peaks_spec(type: ModelType, max_peaks: int, min_edge_score: float) -> PeaksSpec | None:  # noqa: A002
    return PeaksSpec(max_peaks=max_peaks, min_edge_score=min_edge_score) if type in BOTTOM_UP else None


def _stride(network: Network, head: Head) -> int:
    return output_stride(network, network.outputs[head])


def _check_networks(
    type: ModelType,  # noqa: A002
    skeleton: Skeleton,
    whole_image: Network,
    crops: Network | None,
    n_classes: int,
) -> None:
    """Raise ModelInputError if a network is missing or its outputs are not those that the type needs."""
    if (crops is not None) != (type in TOP_DOWN):
        raise ModelInputError(
            f"crops: expected {'a' if crops is None else 'no'} network for crops in a model of type {type}, "
            f"got {'none' if crops is None else 'one'}"
        )
    n_nodes = len(skeleton.nodes)
    if type == "centroid" and n_nodes != 1:
        raise ModelInputError(f"skeleton: expected 1 node, the anchor, for type centroid, got {n_nodes}")
    if crops is not None:
        _check_outputs("whole_image", whole_image, {"confmaps": (1, "the animals' anchors")})
    needed: dict[Head, tuple[int, str]] = {"confmaps": (n_nodes, "one a node")}
    if type == "top_down_id":
        needed["class_vectors"] = (n_classes, "one a class")
    elif type == "bottom_up":
        needed["pafs"] = (2 * len(skeleton.edges), "two an edge")
    elif type == "bottom_up_id":
        needed["class_maps"] = (n_classes, "one a class")
    role, network = ("whole_image", whole_image) if crops is None else ("crops", crops)
    _check_outputs(role, network, needed)


def _check_outputs(role: str, network: Network, needed: Mapping[Head, tuple[int, str]]) -> None:
    """Compare a network's outputs with the heads that are needed: head → channels, why as many."""
    if input_channels(network) not in (1, 3):
        raise ModelInputError(f"{role}: expected 1 or 3 input channels, got {input_channels(network)}")
    if set(network.outputs) - {"offsets"} != set(needed):
        raise ModelInputError(
            f"{role}: expected the outputs {', '.join(needed)} (and perhaps offsets), got {', '.join(network.outputs)}"
        )
    n_maps = needed["confmaps"][0]
    for head, (n_channels, meaning) in {**needed, "offsets": (2 * n_maps, "two a confidence map")}.items():
        if head in network.outputs and (got := output_channels(network, network.outputs[head])) != n_channels:
            raise ModelInputError(f"{role}: {head}: expected {n_channels} channels ({meaning}), got {got}")


def _check_sizes(spec: ModelSpec, network: Network) -> None:
    """Raise ModelInputError if the scaled image or its confidence map is too small, or padded to a wrong size."""
    part, image = spec.whole_image, spec.image
    if part.pad_to_stride % max_stride(network):
        raise ModelInputError(
            f"whole_image: expected pad_to_stride to be a multiple of {max_stride(network)}, got {part.pad_to_stride}"
        )
    size = [scaled_size(side, part.input_scale) for side in (image.height_px, image.width_px)]
    n_cells = math.prod(-(-side // part.pad_to_stride) * part.pad_to_stride // part.output_stride for side in size)
    slots = ("max_peaks", spec.peaks.max_peaks) if spec.peaks else ("max_instances", spec.max_instances)
    if slots[1] >= max(n_cells, 2):
        raise ModelInputError(f"{slots[0]}: expected less than the map's {n_cells} cells, got {slots[1]}")


def _write(out: Path, spec: ModelSpec, graph: Any) -> ModelSpec:
    out.mkdir(parents=True, exist_ok=True)
    (out / REFERENCE_FILE).unlink(missing_ok=True)
    path = out / GRAPH_FILE
    path.write_bytes(graph.SerializeToString())
    written = spec.model_copy(update={"graph": GraphFile(file=path.name, sha256=sha256_of(path))})
    written.save(out)
    return written
