"""TrainedModel: a network that another program trained, and what must be known to use it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.errors import ModelInputError, ModelNotOpenError
from models.export.graph import check_map_sizes, layer_strides, output_channels
from models.network import Head, Network
from models.skeleton import Skeleton

Kind = Literal[
    "single_instance", "centroid", "centered_instance", "multi_instance", "multi_class_bottomup", "multi_class_topdown"
]
"""SLEAP's names of what a network was trained for; the second and the last three have more than confidence maps."""

CROPPED: tuple[Kind, ...] = ("centered_instance", "multi_class_topdown")


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """One trained network.

    Attributes:
        folder: Where it came from.
        files: What was read there.
        program: The program that trained it and its version, for the report: `SLEAP 1.3.4`.
        kind: What it was trained for.
        network: Layers, weights and heads.
        skeleton: The animal's plan. Nodes are in the order of the confidence maps where there is one a node, edges in
            the order of the part affinity fields where there are such.
        class_names: Identities in the order of the network's classes; empty for most kinds.
        input_scale: Size of the network's input over size of the image or crop.
        pad_to_stride: The scaled image is padded to a multiple of this.
        anchor: The node that crops are centred on, or None for the middle of the animal.
        crop_size_px: Side of the crops, px of the full frame, or None for a network that sees the whole image.
        image_size: `(height, width)` of the images that it was trained at, px, or None where that is not known.
        target_size: `(height, width)` to which the program brings every image before anything else, px, or None.
        notes: What is different or approximate about this network, one line each, for the report.
    """

    folder: Path
    files: tuple[Path, ...]
    program: str
    kind: Kind
    network: Network
    skeleton: Skeleton
    class_names: tuple[str, ...]
    input_scale: float
    pad_to_stride: int
    anchor: str | None
    crop_size_px: int | None
    image_size: tuple[int, int] | None
    target_size: tuple[int, int] | None
    notes: tuple[str, ...] = ()


def reduced(network: Network, outputs: Mapping[Head, str]) -> Network:
    """Return the network with these outputs, without the layers that they do not need."""
    needed = set(outputs.values())
    for layer in reversed(network.layers):
        if layer.name in needed:
            needed.update(layer.inputs)
    layers = tuple(layer for layer in network.layers if layer.name in needed)
    weights = {key: weight for key, weight in network.weights.items() if key.rsplit("/", 1)[0] in needed}
    return Network(layers, {str(head): name for head, name in outputs.items()}, weights)


def check_heads(where: Path, model: TrainedModel) -> None:
    """Check that the network puts out what its kind, skeleton and identities promise.

    Args:
        where: The file to blame.
        model: The model.

    Raises:
        ModelNotOpenError: A head is missing, has another number of channels, or its maps have an odd size.
    """
    heads, maps = model.network.outputs, layer_strides(model.network)
    wanted = _wanted(model)
    if not set(wanted) <= set(heads) <= {*wanted, "offsets"}:
        raise ModelNotOpenError(
            f"{where}: expected the heads {' and '.join(wanted)} of a {model.kind} model, got {' and '.join(heads)}"
        )
    for head, (channels, why) in wanted.items():
        _check_channels(where, model.network, head, channels, why)
        if (head == "class_vectors") == (heads[head] in maps):
            expected, got = ("a vector", "maps") if head == "class_vectors" else ("maps", "a vector")
            raise ModelNotOpenError(f"{where}: head {head}: expected {expected}, got {got}")
    if "offsets" in heads:
        n_maps = wanted["confmaps"][0]
        _check_channels(where, model.network, "offsets", 2 * n_maps, f"2 for each of {n_maps} confidence maps")
        if maps[heads["offsets"]] != maps[heads["confmaps"]]:
            raise ModelNotOpenError(
                f"{where}: head offsets: expected the stride of the confidence maps, {maps[heads['confmaps']]}, "
                f"got {maps[heads['offsets']]}"
            )
    try:
        check_map_sizes(model.network)
    except ModelInputError as error:
        raise ModelNotOpenError(f"{where}: {error}") from error


def _wanted(model: TrainedModel) -> dict[Head, tuple[int, str]]:
    """Return the channels that every head must have, and why."""
    n_nodes, n_edges, n_classes = len(model.skeleton.nodes), len(model.skeleton.edges), len(model.class_names)
    classes = (n_classes, f"one for each of {n_classes} identities")
    if model.kind == "centroid":
        return {"confmaps": (1, "one for the anchors")}
    wanted: dict[Head, tuple[int, str]] = {"confmaps": (n_nodes, f"one for each of {n_nodes} nodes")}
    if model.kind == "multi_instance":
        wanted["pafs"] = (2 * n_edges, f"2 for each of {n_edges} edges")
    elif model.kind == "multi_class_bottomup":
        wanted["class_maps"] = classes
    elif model.kind == "multi_class_topdown":
        wanted["class_vectors"] = classes
    return wanted


def _check_channels(where: Path, network: Network, head: Head, expected: int, why: str) -> None:
    got = output_channels(network, network.outputs[head])
    if got != expected:
        raise ModelNotOpenError(f"{where}: head {head}: expected {expected} channels ({why}), got {got}")
