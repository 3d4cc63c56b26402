"""A folder that `sleap-nn export` wrote (`model.onnx` and `export_metadata.json`) into `TrainedModel`s.

Only the convolutional networks are taken from the graph. What it does around them is not: its peaks have no sub-cell
refinement, its crops are stretched and its points shifted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.errors import ModelNotOpenError
from models.export.graph import output_stride
from models.network import Head, Layer, Network, Op
from models.skeleton import Skeleton
from models.sources.onnx_graph import Node, OnnxGraph, walk_back
from models.sources.onnx_network import FoundNetwork, find_networks
from models.sources.trained import CROPPED, Kind, TrainedModel, check_heads, reduced
from models.spec import listed_faults

GRAPH_FILE = "model.onnx"
WEIGHTS_FILE = "model.onnx.data"
METADATA_FILE = "export_metadata.json"
METADATA_KEY = "sleap_nn_metadata"

FULL_SCALE = 255.0
GRAY_FROM_RGB = (0.2989, 0.587, 0.114)
# What may happen to an image before a network: scaling to 0–1, gray, copies of a channel, resizing and cropping.
_IMAGE_OPS = ("Add", "Cast", "Div", "Expand", "GridSample", "Identity", "Mul", "Reshape", "Resize", "Slice", "Split",
              "Squeeze", "Tile", "Unsqueeze")  # fmt: skip
_HEAD_OPS: tuple[Op, ...] = ("conv", "dense", "sigmoid", "softmax")


@dataclass(frozen=True, slots=True)
class _Part:
    """One network of an export.

    Attributes:
        kind: What it was trained for.
        values: The output of the graph that is read from the confidence maps alone.
        further: Its other head and the output that is read from that one too.
    """

    kind: Kind
    values: str = "peak_vals"
    further: tuple[Head, str] | None = None


_CENTROID = _Part("centroid", "centroid_vals")
_IDENTITY = _Part("multi_class_topdown", further=("class_vectors", "class_logits"))
_PARTS: Mapping[str, tuple[_Part, ...]] = {
    "single_instance": (_Part("single_instance"),),
    "centroid": (_CENTROID,),
    "centered_instance": (_Part("centered_instance"),),
    "topdown": (_CENTROID, _Part("centered_instance")),
    "bottomup": (_Part("multi_instance", further=("pafs", "line_scores")),),
    "multi_class_bottomup": (_Part("multi_class_bottomup", further=("class_maps", "class_probs")),),
    "multi_class_topdown": (_IDENTITY,),
    "multi_class_topdown_combined": (_CENTROID, _IDENTITY),
}


class _Metadata(BaseModel):
    """What counts of `export_metadata.json`."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    sleap_nn_version: str = ""
    model_type: str
    n_nodes: int
    node_names: tuple[str, ...] = Field(min_length=1)
    n_edges: int = 0
    edge_inds: tuple[tuple[int, int], ...] = ()
    input_scale: float = Field(gt=0)
    output_stride: int = Field(gt=0)
    crop_size: tuple[int, int] | None = None
    input_dtype: str = "uint8"
    normalization: str = "0_to_1"
    class_names: tuple[str, ...] | None = None
    anchor_part: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        expected = {
            "model_type": (" or ".join(_PARTS), self.model_type in _PARTS, self.model_type),
            "n_nodes": (f"{len(self.node_names)} as node_names", self.n_nodes == len(self.node_names), self.n_nodes),
            "n_edges": (f"{len(self.edge_inds)} as edge_inds", self.n_edges == len(self.edge_inds), self.n_edges),
            "input_dtype": ("uint8", self.input_dtype == "uint8", self.input_dtype),
            "normalization": ("0_to_1", self.normalization == "0_to_1", self.normalization),
            "anchor_part": (
                f"one of {', '.join(self.node_names)}",
                self.anchor_part in (None, *self.node_names),
                self.anchor_part,
            ),
        }
        if wrong := [f"{key}: expected {wish}, got {got}" for key, (wish, fits, got) in expected.items() if not fits]:
            raise ValueError("; ".join(wrong))
        return self


def read_sleap_nn_export(folder: Path) -> tuple[TrainedModel, ...]:
    """Read a sleap-nn ONNX export.

    Returns:
        The network; of the combined top-down exports the one for the whole image and the one for crops.

    Raises:
        ModelNotOpenError: A file is missing, damaged, not supported, or does not fit the other.
        ModelNotInstalledError: The package `onnx` is missing.
    """
    graph = OnnxGraph(folder / GRAPH_FILE)
    metadata = _read_metadata(folder, graph)
    parts = _PARTS[metadata.model_type]
    wanted = [output for part in parts for output in (part.values, *(part.further or ())[1:])]
    if missing := [output for output in wanted if output not in graph.outputs]:
        raise ModelNotOpenError(
            f"{graph.path}: expected the outputs {', '.join(wanted)} of a {metadata.model_type} export, "
            f"got {', '.join(graph.outputs)} without {', '.join(missing)}"
        )
    found = find_networks(graph)
    paths = [_image_path(graph, found, network.source) for network in found]
    if len(found) != len(parts):
        raise ModelNotOpenError(
            f"{graph.path}: expected {len(parts)} convolutional network(s) in a {metadata.model_type} export, "
            f"got {len(found)}"
        )
    return tuple(
        _trained(folder, graph, metadata, part, network, path)
        for part, network, path in zip(parts, found, paths, strict=True)
    )


def _read_metadata(folder: Path, graph: OnnxGraph) -> _Metadata:
    """Read the metadata beside the graph and inside it, which must agree; either may be missing."""
    file = folder / METADATA_FILE
    try:
        texts = {str(file): file.read_text(encoding="utf-8")} if file.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ModelNotOpenError(f"{file}: expected a text in JSON: {error}") from error
    if METADATA_KEY in graph.metadata:
        texts[f"{graph.path}: {METADATA_KEY}"] = graph.metadata[METADATA_KEY]
    read = []
    for where, text in texts.items():
        try:
            read.append(_Metadata.model_validate_json(text))
        except ValidationError as error:
            raise ModelNotOpenError(listed_faults(where, error)) from error
    if not read:
        raise ModelNotOpenError(f"{file}: no such file, and {GRAPH_FILE} has no {METADATA_KEY}")
    for key in _Metadata.model_fields:
        ours, embedded = getattr(read[0], key), getattr(read[-1], key)
        if ours != embedded:
            raise ModelNotOpenError(f"{file}: $.{key}: expected {embedded} as {GRAPH_FILE} says, got {ours}")
    return read[0]


def _image_path(graph: OnnxGraph, found: Sequence[FoundNetwork], source: str) -> list[Node]:
    """Return the operations between the graph's input and a network, and check that they do what they should."""
    path = list(walk_back(graph, source))
    inside = {value for network in found for value in network.names if value != network.source}
    if strange := [node for node in path if node.op not in _IMAGE_OPS]:
        # Where a network is cut in two, the fault is what reads the first half.
        cuts = [node for node in path if inside.intersection(node.inputs) and not inside.intersection(node.outputs)]
        node = (cuts or strange)[0]
        advice = (
            "; was it exported for a size that is no multiple of the network's largest stride? Export it again with "
            "--input-height and --input-width"
            if node.op == "Pad"
            else ""
        )
        raise graph.error(node, "a layer of a UNet or a step in preparing an image", f"{node.op}{advice}")
    for node in path:
        numbers = [np.ravel(graph.constants[name]).tolist() for name in node.inputs if name in graph.constants]
        if node.op == "Div" and numbers != [[FULL_SCALE]]:
            raise graph.error(node, f"a division by {FULL_SCALE:g}", numbers or "by a computed value")
        if node.op == "Mul" and not any(np.allclose(numbers, weight) for weight in GRAY_FROM_RGB):
            raise graph.error(node, "a weight of gray from RGB", numbers or "a computed value")
    if [node.op for node in path].count("Div") != 1:
        raise ModelNotOpenError(
            f"{graph.path}: expected one division by {FULL_SCALE:g} between the image and {source}, "
            f"got {' ← '.join(node.op for node in path) or 'nothing'}"
        )
    return path


def _trained(
    folder: Path, graph: OnnxGraph, metadata: _Metadata, part: _Part, found: FoundNetwork, path: list[Node]
) -> TrainedModel:
    network = _with_heads(graph, part, found)
    cropped = part.kind in CROPPED
    scale = _input_scale(graph, metadata, path, cut=any(node.op == "GridSample" for node in path))
    stride = output_stride(network, network.outputs["confmaps"])
    # The metadata of a combined export describe the crops' network.
    if (cropped or len(_PARTS[metadata.model_type]) == 1) and stride != metadata.output_stride:
        raise ModelNotOpenError(
            f"{folder / METADATA_FILE}: $.output_stride: expected {stride} as {GRAPH_FILE} says, "
            f"got {metadata.output_stride}"
        )
    height, width = (*next(iter(graph.inputs.values()), ()), None, None, None, None)[2:4]
    model = TrainedModel(
        folder=folder,
        files=tuple(file for name in (GRAPH_FILE, WEIGHTS_FILE, METADATA_FILE) if (file := folder / name).is_file()),
        program=f"sleap-nn {metadata.sleap_nn_version or '(version not given)'}",
        kind=part.kind,
        network=network,
        skeleton=_skeleton(folder, metadata),
        class_names=(metadata.class_names or ()) if part.further and part.further[0].startswith("class") else (),
        input_scale=scale,
        pad_to_stride=1,
        anchor=metadata.anchor_part,
        crop_size_px=_crop_size_px(folder, metadata) if cropped else None,
        image_size=(height, width) if height and width and not cropped else None,
        target_size=None,
        notes=_notes(scale, cropped=cropped, side=(metadata.crop_size or (0,))[0]),
    )
    check_heads(graph.path, model)
    return model


def _with_heads(graph: OnnxGraph, part: _Part, found: FoundNetwork) -> Network:
    """Find the heads: what the graph's outputs are read from."""
    network = found.network()
    made = {layer.name: layer.op for layer in network.layers}
    leaving = [value for value, layer in network.outputs.items() if made[layer] in _HEAD_OPS]

    def read_by(output: str, known: tuple[str, ...] = ()) -> str:
        needed = graph.needed_for(output)
        values = [value for value in leaving if value in needed and value not in known]
        if len(values) != 1:
            raise ModelNotOpenError(
                f"{graph.path}: output {output}: expected it to be read from one{' more' if known else ''} output of "
                f"the network that begins at {found.source}, got {' and '.join(values) or 'none'}"
            )
        return values[0]

    confmaps = read_by(part.values)
    outputs: dict[Head, str] = {"confmaps": network.outputs[confmaps]}
    if part.further:
        head, output = part.further
        outputs[head] = network.outputs[read_by(output, (confmaps,))]
        if head == "class_vectors" and made[outputs[head]] != "softmax":
            layers = (*network.layers, Layer("probabilities", "softmax", (outputs[head],)))
            network, outputs[head] = Network(layers, network.outputs, network.weights), "probabilities"
    return reduced(network, outputs)


def _input_scale(graph: OnnxGraph, metadata: _Metadata, path: list[Node], *, cut: bool) -> float:
    """Return the scale that the metadata say, or, for a network whose crops the graph cuts, the graph itself."""
    resizes = [node for node in path if node.op == "Resize"]
    if not cut:
        if bool(resizes) != (metadata.input_scale != 1.0):
            expected = "a resize" if not resizes else "no resize"
            raise ModelNotOpenError(
                f"{graph.path}: expected {expected} before the network because input_scale is "
                f"{metadata.input_scale:g}, got {'one' if resizes else 'none'}"
            )
        return metadata.input_scale
    if not resizes:
        return 1.0
    sizes = graph.makers.get(resizes[0].inputs[-1])
    sides = [graph.constants[name] for name in (sizes.inputs if sizes else ()) if name in graph.constants]
    if metadata.crop_size is None or [side.size for side in sides] != [2]:
        raise graph.error(resizes[0], "a constant height and width of the crops", "computed ones")
    return float(sides[0].flat[0]) / metadata.crop_size[0]


def _skeleton(folder: Path, metadata: _Metadata) -> Skeleton:
    try:
        return Skeleton(metadata.node_names, metadata.edge_inds)
    except ValueError as error:
        raise ModelNotOpenError(f"{folder / METADATA_FILE}: {error}") from error


def _crop_size_px(folder: Path, metadata: _Metadata) -> int:
    size = metadata.crop_size
    if size is None or size[0] != size[1] or size[0] <= 0:
        raise ModelNotOpenError(f"{folder / METADATA_FILE}: $.crop_size: expected a square, got {size}")
    return size[0]


def _notes(scale: float, *, cropped: bool, side: int) -> tuple[str, ...]:
    """Say how sleap-nn prepared what the network learnt from, where that is not what it will see."""
    notes = []
    if scale < 1.0:
        notes.append("approximate: sleap-nn shrank the images of training with antialiasing, the graph does not")
    if cropped:
        notes.append(f"approximate: sleap-nn enlarged the crops of training by {side}/{side - 1}, the graph does not")
    return tuple(notes)
