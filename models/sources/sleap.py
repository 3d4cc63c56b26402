"""A SLEAP ≤ 1.4 model folder (`best_model.h5` and `training_config.json`) into a `TrainedModel`."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

from models.errors import ModelNotOpenError
from models.network import Head, Network
from models.skeleton import Skeleton
from models.sources.keras import read_keras_network
from models.sources.trained import CROPPED, Kind, TrainedModel, check_heads, reduced

CONFIG_FILE = "training_config.json"
WEIGHTS_FILE = "best_model.h5"

# SLEAP's numbers for the two kinds of link between nodes.
_BODY_EDGE, _SYMMETRY = 1, 2

# The names that SLEAP gives to its output layers; some versions append _0, _1, … for the stacks of a network.
_HEADS: Mapping[str, Head] = {
    "SingleInstanceConfmapsHead": "confmaps",
    "CentroidConfmapsHead": "confmaps",
    "CenteredInstanceConfmapsHead": "confmaps",
    "MultiInstanceConfmapsHead": "confmaps",
    "OffsetRefinementHead": "offsets",
    "PartAffinityFieldsHead": "pafs",
    "ClassMapsHead": "class_maps",
    "ClassVectorsHead": "class_vectors",
}
# Where the two kinds with identities keep their names.
_CLASSES = {"multi_class_bottomup": "class_maps", "multi_class_topdown": "class_vectors"}


def read_sleap_model(folder: Path) -> TrainedModel:
    """Read a SLEAP (TensorFlow) model folder.

    Keys that old files lack take SLEAP's defaults.

    Raises:
        ModelNotOpenError: A file is missing, damaged, not supported, or does not fit the other.
        ModelNotInstalledError: The package `h5py` is missing.
    """
    path = folder / CONFIG_FILE
    config = _Config(path, _read_json(path))
    kind, head = _head(config)
    keras_network, input_size = read_keras_network(folder / WEIGHTS_FILE)
    network, notes = _with_heads(folder, keras_network)
    maps = head.part("confmaps") if kind.startswith("multi_") else head
    anchor = maps.get("anchor_part", str) or config.get("data.instance_cropping.center_on_part", str)
    skeleton = _in_map_order(config, _skeleton(config), maps.get("part_names", list))
    if kind == "multi_instance":
        skeleton = _in_field_order(config, skeleton, head.part("pafs").get("edges", list))
    if anchor is not None and anchor not in skeleton.nodes:
        raise ModelNotOpenError(f"{path}: anchor: expected one of {', '.join(skeleton.nodes)}, got {anchor}")
    input_scale = config.get("data.preprocessing.input_scaling", float) or 1.0
    target_size = _target_size(config)
    model = TrainedModel(
        folder=folder,
        files=(folder / WEIGHTS_FILE, path),
        program=f"SLEAP {config.get('sleap_version', str) or '(version not given)'}",
        kind=kind,
        network=network,
        skeleton=skeleton,
        class_names=_class_names(config, kind, head),
        input_scale=input_scale,
        pad_to_stride=config.get("data.preprocessing.pad_to_stride", int) or 1,
        anchor=anchor,
        crop_size_px=_crop_size_px(config, input_size, input_scale) if kind in CROPPED else None,
        image_size=target_size or (None if kind in CROPPED else _unscaled(input_size, input_scale)),
        target_size=target_size,
        notes=notes,
    )
    check_heads(folder / WEIGHTS_FILE, model)
    return model


def _with_heads(folder: Path, network: Network) -> tuple[Network, tuple[str, ...]]:
    """Key the outputs by head. Of several stacks SLEAP reads the first."""
    outputs: dict[Head, str] = {}
    notes = []
    for name, layer in network.outputs.items():
        head = _HEADS.get(re.sub(r"_\d+$", "", name))
        if head is None:
            raise ModelNotOpenError(
                f"{folder / WEIGHTS_FILE}: expected the outputs of SLEAP's heads ({', '.join(_HEADS)}), got {name}"
            )
        if head in outputs:
            notes.append(f"as SLEAP: of the outputs for {head} of several stacks the first is used, {name} is not")
        else:
            outputs[head] = layer
    return reduced(network, outputs), tuple(notes)


def _class_names(config: "_Config", kind: Kind, head: "_Config") -> tuple[str, ...]:
    if kind not in _CLASSES:
        return ()
    part = head.part(_CLASSES[kind])
    names = part.get("classes", list)
    if not names or not all(isinstance(name, str) for name in names):
        raise ModelNotOpenError(f"{config.path}: {part.at}.classes: expected names of identities, got {names}")
    return tuple(names)


def _crop_size_px(config: "_Config", input_size: tuple[int, int], input_scale: float) -> int:
    """Return the side of the crop in px of the full frame; SLEAP counts it in scaled px."""
    key = "data.instance_cropping.crop_size"
    side = config.get(key, int) or input_size[0]
    if not side:
        raise ModelNotOpenError(f"{config.path}: $.{key}: expected an integer, got null")
    if not math.isclose(side / input_scale, round(side / input_scale)):
        raise ModelNotOpenError(
            f"{config.path}: $.{key}: expected a crop of whole pixels, got {side} px at scale {input_scale} = "
            f"{side / input_scale} px"
        )
    return round(side / input_scale)


class _Config:
    """A JSON object with checked access by dotted keys."""

    def __init__(self, path: Path, values: Mapping[str, Any], at: str = "$") -> None:
        self.path, self.values, self.at = path, values, at

    def get(self, key: str, kind: type) -> Any:
        """Return the value at `key`, or None where it or a part of the way to it is missing or null."""
        value: Any = self.values
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if kind is float and type(value) is int:
            value = float(value)
        if value is not None and type(value) is not kind:
            raise ModelNotOpenError(
                f"{self.path}: {self.at}.{key}: expected {kind.__name__}, got {type(value).__name__}"
            )
        return value

    def part(self, key: str) -> "_Config":
        """Return the object at `key`."""
        value = self.get(key, dict)
        if value is None:
            raise ModelNotOpenError(f"{self.path}: {self.at}.{key}: expected an object, got none")
        return _Config(self.path, value, f"{self.at}.{key}")


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelNotOpenError(f"{path}: {error.strerror}; expected a model folder that SLEAP wrote") from error
    except ValueError as error:
        raise ModelNotOpenError(f"{path}: expected JSON, got a damaged file: {error}") from error
    if not isinstance(values, dict):
        raise ModelNotOpenError(f"{path}: $: expected an object, got {type(values).__name__}")
    return values


def _head(config: _Config) -> tuple[Kind, _Config]:
    heads = config.part("model.heads")
    kinds = [name for name, head in heads.values.items() if head is not None]
    if len(kinds) != 1 or kinds[0] not in get_args(Kind):
        raise ModelNotOpenError(
            f"{config.path}: $.model.heads: expected exactly one of {', '.join(get_args(Kind))}, "
            f"got {', '.join(kinds) or 'none'}"
        )
    return cast("Kind", kinds[0]), heads.part(kinds[0])


def _target_size(config: _Config) -> tuple[int, int] | None:
    height, width = (config.get(f"data.preprocessing.target_{side}", int) for side in ("height", "width"))
    wanted = config.get("data.preprocessing.resize_and_pad_to_target", bool)
    return None if wanted is False or height is None or width is None else (height, width)


def _unscaled(input_size: tuple[int, int], scale: float) -> tuple[int, int] | None:
    return (round(input_size[0] / scale), round(input_size[1] / scale)) if all(input_size) else None


def _in_map_order(config: _Config, skeleton: Skeleton, part_names: list[str] | None) -> Skeleton:
    """Order and choose the nodes as the confidence maps do."""
    if not part_names or tuple(part_names) == skeleton.nodes:
        return skeleton
    if unknown := [name for name in part_names if name not in skeleton.nodes]:
        raise ModelNotOpenError(
            f"{config.path}: part_names: expected nodes of the skeleton ({', '.join(skeleton.nodes)}), "
            f"got {', '.join(map(str, unknown))}"
        )
    index = {skeleton.nodes.index(name): new for new, name in enumerate(part_names)}

    def moved(links: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple((index[a], index[b]) for a, b in links if a in index and b in index)

    return Skeleton(tuple(part_names), moved(skeleton.edges), moved(skeleton.symmetries))


def _in_field_order(config: _Config, skeleton: Skeleton, edges: list[Any] | None) -> Skeleton:
    """Order and choose the edges as the part affinity fields do."""
    if edges is None:
        return skeleton
    try:
        pairs = tuple(
            (skeleton.nodes.index(source), skeleton.nodes.index(destination)) for source, destination in edges
        )
    except (TypeError, ValueError) as error:
        raise ModelNotOpenError(
            f"{config.path}: pafs.edges: expected pairs of nodes of the skeleton ({', '.join(skeleton.nodes)}), "
            f"got {edges}"
        ) from error
    return Skeleton(skeleton.nodes, pairs, skeleton.symmetries)


def _skeleton(config: _Config) -> Skeleton:
    """Decode the first skeleton: a networkx graph as jsonpickle writes it."""
    graphs = config.get("data.labels.skeletons", list)
    if not graphs:
        raise ModelNotOpenError(f"{config.path}: $.data.labels.skeletons: expected a skeleton, got none")
    try:
        return _decoded_skeleton(graphs[0])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ModelNotOpenError(
            f"{config.path}: $.data.labels.skeletons[0]: expected a graph written by SLEAP: {error!r}"
        ) from error


def _decoded_skeleton(graph: Mapping[str, Any]) -> Skeleton:
    objects: list[str | int] = []
    # References count the objects in the order in which the file first has them, so the whole is decoded in that order.
    decoded = {key: _decoded(value, objects) for key, value in graph.items()}
    nodes = tuple(entry["id"] for entry in decoded["nodes"])
    links = sorted(decoded["links"], key=lambda link: link.get("edge_insert_idx", 0))
    pairs = {
        kind: [(nodes.index(link["source"]), nodes.index(link["target"])) for link in links if link["type"] == kind]
        for kind in (_BODY_EDGE, _SYMMETRY)
    }
    # SLEAP links symmetric nodes in both directions.
    symmetries = dict.fromkeys((min(pair), max(pair)) for pair in pairs[_SYMMETRY])
    return Skeleton(nodes, tuple(pairs[_BODY_EDGE]), tuple(symmetries))


def _decoded(value: Any, objects: list[str | int]) -> Any:
    """Decode jsonpickle: a node becomes its name, a type of link its number; nothing is imported or called."""
    if isinstance(value, list):
        return [_decoded(item, objects) for item in value]
    if not isinstance(value, dict):
        return value
    if "py/id" in value:
        return objects[value["py/id"] - 1]
    if "py/object" in value:
        objects.append(_node_name(value))
        return objects[-1]
    if "py/reduce" in value:
        objects.append(value["py/reduce"][1]["py/tuple"][0])
        return objects[-1]
    return {key: _decoded(item, objects) for key, item in value.items()}


def _node_name(node: Mapping[str, Any]) -> str:
    """Return a node's name; its attributes were stored in three ways over the years."""
    state = node.get("py/state", node)
    name = state["py/tuple"][0] if "py/tuple" in state else state["name"]
    if not isinstance(name, str):
        raise TypeError(f"a node's name is a {type(name).__name__}")
    return name
