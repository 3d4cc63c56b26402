"""A SLEAP model folder (`best_model.h5` and `training_config.json`) into a network and what must be known about it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from models.errors import ModelNotOpenError
from models.network import Network
from models.skeleton import Skeleton
from models.sources.keras import read_keras_network

CONFIG_FILE = "training_config.json"
WEIGHTS_FILE = "best_model.h5"

Kind = Literal[
    "single_instance", "centroid", "centered_instance", "multi_instance", "multi_class_bottomup", "multi_class_topdown"
]

# SLEAP's numbers for the two kinds of link between nodes.
_BODY_EDGE, _SYMMETRY = 1, 2


@dataclass(frozen=True, slots=True)
class SleapModel:
    """One SLEAP model.

    Attributes:
        folder: Where it came from.
        kind: SLEAP's name of the model type: the only key of `model.heads` that is not null.
        network: Layers and weights; outputs in the order of SLEAP's heads, confidence maps first.
        skeleton: The animal's plan; its nodes are in the order of the confidence maps where there is one a node.
        input_scale: Size of the network's input over size of the image.
        pad_to_stride: The scaled image is padded to a multiple of this.
        anchor: The node that crops are centred on, or None for the middle of the bounding box.
        crop_size: Side of the crops, px of the *scaled* image, or None for a model that sees the whole image.
        image_size: `(height, width)` of the images that it was trained at, px, or None where any would do.
        target_size: `(height, width)` to which SLEAP brings every image before anything else, px, or None.
        version: SLEAP's version, or None in old files.
    """

    folder: Path
    kind: Kind
    network: Network
    skeleton: Skeleton
    input_scale: float
    pad_to_stride: int
    anchor: str | None
    crop_size: int | None
    image_size: tuple[int, int] | None
    target_size: tuple[int, int] | None
    version: str | None


def read_sleap_model(folder: Path) -> SleapModel:
    """Read a SLEAP (TensorFlow) model folder.

    Keys that old files lack take SLEAP's defaults.

    Raises:
        ModelNotOpenError: A file is missing, damaged or not supported.
        ModelNotInstalledError: The package `h5py` is missing.
    """
    path = folder / CONFIG_FILE
    config = _Config(path, _read_json(path))
    kind, head = _head(config)
    network, input_size = read_keras_network(folder / WEIGHTS_FILE)
    cropped = kind in ("centered_instance", "multi_class_topdown")
    maps = head.part("confmaps") if kind.startswith("multi_") else head
    anchor = maps.get("anchor_part", str) or config.get("data.instance_cropping.center_on_part", str)
    crop_size = config.get("data.instance_cropping.crop_size", int) or input_size[0] or None
    skeleton = _in_map_order(config, _skeleton(config), maps.get("part_names", list))
    input_scale = config.get("data.preprocessing.input_scaling", float) or 1.0
    target_size = _target_size(config)
    if anchor is not None and anchor not in skeleton.nodes:
        raise ModelNotOpenError(f"{path}: anchor: expected one of {', '.join(skeleton.nodes)}, got {anchor}")
    if cropped and crop_size is None:
        raise ModelNotOpenError(f"{path}: $.data.instance_cropping.crop_size: expected an integer, got null")
    return SleapModel(
        folder=folder,
        kind=kind,
        network=network,
        skeleton=skeleton,
        input_scale=input_scale,
        pad_to_stride=config.get("data.preprocessing.pad_to_stride", int) or 1,
        anchor=anchor,
        crop_size=crop_size if cropped else None,
        image_size=target_size or _unscaled(input_size, input_scale),
        target_size=target_size,
        version=config.get("sleap_version", str),
    )


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
