"""Tasks: what each network of a model has to learn, checked against the labels."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.decode.assembly import tree_walk
from models.errors import ModelNotOpenError, TrainingInputError
from models.network import Head, Network
from models.skeleton import Skeleton
from models.training import targets
from models.training.config import (
    AnyTraining,
    BottomUpConfig,
    BottomUpIdConfig,
    BottomUpIdTraining,
    BottomUpTraining,
    CentroidTraining,
    InstanceIdConfig,
    Role,
    SingleInstanceTraining,
    TopDownIdTraining,
    TopDownTraining,
    UNetConfig,
)
from models.training.data import Dataset
from models.training.networks import ClassHead, MapHead, unet


@dataclass(frozen=True, slots=True)
class Seen:
    """What there is in the input of a network.

    Attributes:
        points: `(n_instances, n_points, 2)` float32, px of the input; NaN = not labelled.
        learn: `(n_instances, n_points)` whether the label, or its absence, is learnt.
        classes: `(n_instances,)` identity, −1 = not known; the first instance is the one that a crop is about.
        height: Height of the input, px.
        width: Its width.
    """

    points: NDArray[np.float32]
    learn: NDArray[np.bool_]
    classes: NDArray[np.int32]
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Task:
    """One network, and what it learns to draw.

    Attributes:
        role: Its section of the configuration.
        config: The settings there.
        n_points: Points that the confidence maps show; 1 for a detector.
        edges: Edges of the skeleton; a network with part affinity fields draws one along each.
        n_classes: Identities.
    """

    role: Role
    config: UNetConfig
    n_points: int
    edges: tuple[tuple[int, int], ...] = ()
    n_classes: int = 0

    def network(self) -> Network:
        """Return the untrained network."""
        config = self.config
        heads = [MapHead("confmaps", self.n_points, config.output_stride)]
        classes = None
        if config.offsets:
            heads.append(MapHead("offsets", 2 * self.n_points, config.output_stride))
        match config:
            case BottomUpConfig():
                heads.append(MapHead("pafs", 2 * len(self.edges), config.paf_stride))
            case BottomUpIdConfig():
                heads.append(MapHead("class_maps", self.n_classes, config.class_stride))
            case InstanceIdConfig():
                classes = ClassHead(self.n_classes, config.class_layers, config.class_units)
        return unet(
            heads,
            classes,
            filters=config.filters,
            filters_rate=config.filters_rate,
            max_stride=config.max_stride,
            stem_stride=config.stem_stride,
        )

    def loss_weights(self) -> dict[Head, float]:
        """Return each head's share of the loss."""
        weights: dict[Head, float] = {"confmaps": 1.0}
        if self.config.offsets:
            weights["offsets"] = self.config.offsets_weight
        match self.config:
            case BottomUpConfig(paf_weight=weight):
                weights["pafs"] = weight
            case BottomUpIdConfig(class_weight=weight):
                weights["class_maps"] = weight
            case InstanceIdConfig(class_weight=weight):
                weights["class_vectors"] = weight
        return weights

    def targets(self, seen: Seen) -> dict[Head, NDArray[np.float32]]:
        """Return what each head should put out; NaN where nothing is learnt."""
        config, size = self.config, (seen.height, seen.width)
        grid = (*size, config.output_stride, config.sigma_cells)
        here: NDArray[np.bool_] = np.asarray(targets.inside(seen.points, *size).any(axis=1))
        ignored: NDArray[np.bool_] = np.asarray((~seen.learn & here[:, None]).any(axis=0))
        drawn: dict[Head, NDArray[np.float32]] = {"confmaps": targets.confidence_maps(seen.points, *grid)}
        drawn["confmaps"][..., ignored] = np.nan
        if config.offsets:
            drawn["offsets"] = targets.offset_maps(seen.points, *grid)
            drawn["offsets"][..., np.repeat(ignored, 2)] = np.nan
        match config:
            case BottomUpConfig(paf_stride=stride, paf_sigma_px2=sigma_px2):
                drawn["pafs"] = targets.part_affinity_fields(seen.points, self.edges, *size, stride, sigma_px2)
                drawn["pafs"][..., np.repeat([ignored[a] or ignored[b] for a, b in self.edges], 2)] = np.nan
            case BottomUpIdConfig(class_stride=stride, class_sigma_cells=sigma):
                drawn["class_maps"] = targets.class_maps(
                    seen.points, seen.classes, self.n_classes, *size, stride, sigma
                )
            case InstanceIdConfig():
                drawn["class_vectors"] = targets.class_vector(int(seen.classes[0]), self.n_classes)
        return drawn


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration that fits its labels.

    Attributes:
        config: The configuration.
        skeleton: The labels' skeleton with the configuration's symmetries; of type `centroid` only the anchor.
        anchor: Index of the node of the labels that detectors point at; None = the middle of the box.
        class_names: Identities; empty for types without.
        tasks: The networks.
    """

    config: AnyTraining
    skeleton: Skeleton
    anchor: int | None
    class_names: tuple[str, ...]
    tasks: tuple[Task, ...]

    @property
    def swap(self) -> NDArray[np.intp]:
        """`(n_nodes,)` order of the nodes of a mirrored animal."""
        order = np.arange(len(self.skeleton.nodes))
        for left, right in self.skeleton.symmetries:
            order[[left, right]] = right, left
        return order


def make_plan(config: AnyTraining, dataset: Dataset, path: Path) -> Plan:
    """Return what to learn.

    Args:
        config: The configuration.
        dataset: Its labels.
        path: The configuration's file, for messages.

    Raises:
        TrainingInputError: The labels lack what the configuration names or what the type of model needs; every such
            fault is named.
    """
    faults: list[str] = []
    skeleton = _skeleton(config, dataset, faults)
    anchor = None
    if isinstance(config, CentroidTraining | TopDownTraining | TopDownIdTraining) and config.detector.anchor:
        anchor = _index(skeleton, config.detector.anchor, "$.detector.anchor", faults)
    class_names = dataset.tracks if isinstance(config, TopDownIdTraining | BottomUpIdTraining) else ()
    if isinstance(config, TopDownIdTraining | BottomUpIdTraining):
        faults += _class_faults(dataset, config.type)
    if isinstance(config, BottomUpTraining):
        faults += _tree_faults(skeleton)
    if isinstance(config, SingleInstanceTraining):
        faults += _crowd_faults(dataset)
    if faults:
        raise TrainingInputError("\n".join(f"{path}: {fault}" for fault in faults))
    if isinstance(config, CentroidTraining):
        skeleton = Skeleton((config.detector.anchor or "centroid",))
    return Plan(config, skeleton, anchor, class_names, _tasks(config, skeleton, len(class_names)))


def _tasks(config: AnyTraining, skeleton: Skeleton, n_classes: int) -> tuple[Task, ...]:
    n_nodes = len(skeleton.nodes)
    match config:
        case SingleInstanceTraining() | BottomUpTraining() | BottomUpIdTraining():
            return (Task("network", config.network, n_nodes, skeleton.edges, n_classes),)
        case CentroidTraining():
            return (Task("detector", config.detector, 1),)
        case _:
            return (
                Task("detector", config.detector, 1),
                Task("instance", config.instance, n_nodes, n_classes=n_classes),
            )


def _skeleton(config: AnyTraining, dataset: Dataset, faults: list[str]) -> Skeleton:
    pairs = config.augment.symmetries
    if not pairs:
        if config.augment.mirror and not dataset.skeleton.symmetries and not isinstance(config, CentroidTraining):
            faults.append(
                "$.augment.mirror: expected left-right pairs in the labels or in $.augment.symmetries, got none"
            )
        return dataset.skeleton
    symmetries = [
        tuple(_index(dataset.skeleton, name, f"$.augment.symmetries[{i}][{k}]", faults) for k, name in enumerate(pair))
        for i, pair in enumerate(pairs)
    ]
    return replace(dataset.skeleton, symmetries=tuple((left, right) for left, right in symmetries))


def _index(skeleton: Skeleton, node: str, where: str, faults: list[str]) -> int:
    if node not in skeleton.nodes:
        faults.append(f"{where}: expected a node of the labels ({', '.join(skeleton.nodes)}), got {node!r}")
        return 0
    return skeleton.nodes.index(node)


def _class_faults(dataset: Dataset, type_: str) -> list[str]:
    known = {int(track) for frame in dataset.training for track in frame.tracks} - {-1}
    if len(dataset.tracks) < 2 or not known:
        got = f"{len(dataset.tracks)} tracks ({', '.join(dataset.tracks)})" if dataset.tracks else "no tracks"
        return [f"$.type: expected labels with at least two tracks that instances belong to for {type_}, got {got}"]
    return [
        f"$.data.class_names: expected instances of every track among the frames to learn, got none of {name!r}"
        for k, name in enumerate(dataset.tracks)
        if k not in known
    ]


def _tree_faults(skeleton: Skeleton) -> list[str]:
    """Part affinity fields can join the nodes of an animal only along a tree that reaches them all."""
    if len(skeleton.nodes) == 1:
        return ["$.type: expected a skeleton with at least two nodes for bottom_up, got one; train it as centroid"]
    try:
        tree_walk(skeleton)
    except ModelNotOpenError as error:
        return [f"$.data.labels: {error}"]
    return []


def _crowd_faults(dataset: Dataset) -> list[str]:
    for frame in (*dataset.training, *dataset.validation):
        if len(frame.points) > 1:
            return [
                f"$.type: expected one animal in every frame for single_instance, got {len(frame.points)} in frame "
                f"{frame.index}; train top_down or bottom_up"
            ]
    return []
