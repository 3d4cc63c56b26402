"""Starting weights: a training goes on from the networks of a model folder instead of from random numbers."""

from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingInputError
from models.export.graph import output_channels
from models.exported import model_folder
from models.network import Layer, Network
from models.skeleton import Skeleton
from models.sources.onnx_graph import OnnxGraph
from models.sources.onnx_network import find_networks
from models.spec import ModelSpec, read_checked
from models.training.config import Role


@dataclass(frozen=True, slots=True)
class Start:
    """The networks of a model folder as a training may take them up.

    Attributes:
        folder: The model's folder.
        spec: Its `model.json`.
        networks: Trained, in the order in which a frame goes through them.
    """

    folder: Path
    spec: ModelSpec
    networks: tuple[Network, ...]


def read_start(path: Path) -> Start:
    """Read a model folder, or `zoo:NAME`; nothing in it is run.

    Raises:
        ModelNotOpenError: It is missing, damaged or not a model folder.
        ModelNotInstalledError: The package `onnx` is missing.
    """
    folder = model_folder(path)
    spec = ModelSpec.load(folder)
    read_checked(folder, spec.graph)
    found = find_networks(OnnxGraph(folder / spec.graph.file))
    return Start(folder, spec, tuple(one.network() for one in found))


def starting_weights(
    start: Start, role: Role, untrained: Network, skeleton: Skeleton, class_names: tuple[str, ...]
) -> dict[str, NDArray[np.float32]]:
    """Return the weights that an untrained network takes over.

    Everything before the heads must be of the same sizes. The heads are taken over where they mean the same: of a
    detector always, of other networks if nodes, edges and identities are the same. Heads that are left out start
    anew.

    Args:
        start: The model to go on from.
        role: Which of its networks.
        untrained: The network to be.
        skeleton: The animal's plan, as the labels have it.
        class_names: Identities to tell apart.

    Returns:
        As `Network.weights`, some or all of them.

    Raises:
        TrainingInputError: The model has no such network, or it has other sizes.
    """
    trained = _network_of(start, role)
    mine, its = _weighted(untrained), _weighted(trained)
    n_before_heads = sum(not _is_head(untrained, layer) for layer in mine)
    spec = start.spec
    same = role == "detector" or (
        (spec.skeleton.nodes, spec.skeleton.edges, spec.class_names) == (skeleton.nodes, skeleton.edges, class_names)
    )
    weights: dict[str, NDArray[np.float32]] = {}
    for i, (layer, source) in enumerate(zip_longest(mine, its[: len(mine)])):
        fits = source is not None and _shape(untrained, layer) == trained.weights[f"{source.name}/kernel"].shape
        if i < n_before_heads and not fits:
            got = "no such layer" if source is None else f"{trained.weights[f'{source.name}/kernel'].shape}"
            raise TrainingInputError(
                f"{start.folder}: {role}: layer {layer.name}: expected a kernel of shape {_shape(untrained, layer)}, "
                f"got {got}; a training that starts from a model needs its profile and its sizes"
            )
        if fits and (i < n_before_heads or same):
            for kind in ("kernel", "bias"):
                weights[f"{layer.name}/{kind}"] = trained.weights[f"{source.name}/{kind}"]
    return weights


def _network_of(start: Start, role: Role) -> Network:
    position = 1 if role == "instance" else 0
    has_crops = start.spec.crop is not None
    if (role == "network" and has_crops) or position >= len(start.networks):
        raise TrainingInputError(
            f"{start.folder}: expected a model with a network like [{role}], got one of type {start.spec.type}"
        )
    return start.networks[position]


def _weighted(network: Network) -> list[Layer]:
    return [layer for layer in network.layers if layer.op in ("conv", "dense")]


def _is_head(network: Network, layer: Layer) -> bool:
    """Return whether nothing but heads depends on a layer."""
    return layer.name.startswith(tuple(network.outputs)) or layer.name.startswith("class_")


def _shape(network: Network, layer: Layer) -> tuple[int, ...]:
    """Return the shape of a layer's kernel."""
    inside = output_channels(network, layer.inputs[0])
    return (inside, layer.channels) if layer.op == "dense" else (layer.kernel, layer.kernel, inside, layer.channels)
