"""Adds the halves of a top-down model to a folder that was exported without: `python -m models.splitting MODEL`."""

import argparse
import sys
from pathlib import Path

from models.errors import ModelError, ModelInputError
from models.export.graph import output_channels
from models.export.parts import has_parts, write_parts
from models.exported import model_folder
from models.network import Head, Network
from models.sources.onnx_graph import OnnxGraph
from models.sources.onnx_network import find_networks
from models.spec import INT8_SUFFIX, ModelSpec, read_checked


def add_parts(path: Path) -> ModelSpec:
    """Write both halves of a model that was exported without them, from the networks in its graph.

    A quantised model loses its graphs in integers.

    Raises:
        ModelInputError: The model is of a kind that has no halves.
        ModelNotOpenError: It is missing or damaged.
        ModelNotInstalledError: The package `onnx` is missing.
    """
    folder = model_folder(path)
    spec = ModelSpec.load(folder)
    if not has_parts(spec):
        raise ModelInputError(
            f"{folder}: expected a top-down model with geometry exact, got {spec.type}, {spec.geometry}"
        )
    read_checked(folder, spec.graph)
    detector, crops = (found.network() for found in find_networks(OnnxGraph(folder / spec.graph.file)))
    n_nodes, n_classes = len(spec.skeleton.nodes), len(spec.class_names)
    parts = write_parts(folder, spec, _with_heads(detector, 1, 0), _with_heads(crops, n_nodes, n_classes))
    # Graphs in integers have halves if the model had them when it was quantised: it is to be quantised again.
    written = spec.model_copy(update={"parts": parts, "int8": None})
    written.save(folder)
    for old in folder.glob(f"*{INT8_SUFFIX}"):
        old.unlink()
    return written


def _with_heads(network: Network, n_maps: int, n_classes: int) -> Network:
    """Name a found network's outputs by what they are, which the numbers of their channels and their order tell."""
    heads: dict[str, str] = {}
    for layer in network.outputs.values():
        n = output_channels(network, layer)
        is_vector = n_classes and n == n_classes and ("confmaps" in heads or n != n_maps)
        head: Head = "class_vectors" if is_vector else "confmaps" if n == n_maps else "offsets"
        if head in heads:
            raise ModelInputError(f"the network's outputs {', '.join(network.outputs)}: two of them may be {head}")
        heads[head] = layer
    return Network(network.layers, heads, network.weights)


def main() -> int:
    """Add the halves to model folders from the command line."""
    parser = argparse.ArgumentParser(prog="python -m models.splitting", description=add_parts.__doc__)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL", help="a model's folder, or zoo:NAME")
    for path in parser.parse_args().models:
        try:
            sys.stdout.write(f"{path}: {add_parts(path).parts}\n")
        except ModelError as error:
            sys.stderr.write(f"{error}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
