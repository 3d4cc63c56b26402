"""A writer of Keras 2's HDF5 layout, and a way to run a network."""

import json

import numpy as np
import onnxruntime
import pytest

from models.export.builder import GraphBuilder
from models.export.graph import add_network, input_channels, layer_strides

# Settings that Keras 3 spells in another way than Keras 2.
RENAMED = {
    ("InputLayer", "batch_shape"): "batch_input_shape",
    ("LeakyReLU", "negative_slope"): "alpha",
}


@pytest.fixture(scope="session")
def write_keras2():
    """Write a Keras 3 functional model as Keras 2 would have."""
    h5py = pytest.importorskip("h5py")

    def layer_of(layer, inbound):
        kind = type(layer).__name__
        config = {RENAMED.get((kind, key), key): value for key, value in layer.get_config().items()}
        config["dtype"] = "float32"
        return {"class_name": kind, "name": layer.name, "config": config, "inbound_nodes": inbound}

    def plain(value):
        return list(value) if isinstance(value, tuple) else str(value)

    def write(model, path):
        layers = []
        for layer in model.layers:
            tensors = [] if type(layer).__name__ == "InputLayer" else layer._inbound_nodes[0].input_tensors
            sources = [[tensor._keras_history.operation.name, 0, tensor._keras_history.tensor_index, {}]
                       for tensor in tensors]  # fmt: skip
            layers.append(layer_of(layer, [sources] if sources else []))
        outputs = [[tensor._keras_history.operation.name, 0, 0] for tensor in model.outputs]
        config = {"name": "model", "layers": layers, "output_layers": outputs,
                  "input_layers": [[model.layers[0].name, 0, 0]]}  # fmt: skip
        with h5py.File(path, "w") as file:
            file.attrs["keras_version"] = "2.4.0"
            file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config}, default=plain)
            group = file.create_group("model_weights")
            for layer in model.layers:
                names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
                group.create_group(layer.name).attrs["weight_names"] = [name.encode() for name in names]
                for name, weight in zip(names, layer.weights, strict=True):
                    group[layer.name][name] = np.asarray(weight)

    return write


@pytest.fixture(scope="session")
def run_network():
    """Run a `Network` on `(batch, height, width, channels)` images; return its outputs by name, channels last."""

    def run(network, images):
        graph = GraphBuilder("network")
        shape = ("batch", input_channels(network), *images.shape[1:3])
        outputs = add_network(graph, network, graph.input("image", np.float32, shape))
        maps = layer_strides(network)
        for k, (name, value) in enumerate(outputs.items()):
            rank = 4 if network.outputs[name] in maps else 2
            graph.output(value, f"out{k}", np.float32, ["batch", *(f"d{k}{i}" for i in range(1, rank))])
        session = onnxruntime.InferenceSession(graph.build().SerializeToString())
        results = session.run(None, {"image": np.ascontiguousarray(images.transpose(0, 3, 1, 2))})
        return {
            name: result.transpose(0, 2, 3, 1) if result.ndim == 4 else result
            for name, result in zip(outputs, results, strict=True)
        }

    return run
