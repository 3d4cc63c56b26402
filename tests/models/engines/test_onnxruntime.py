from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from models.engines.onnxruntime import OnnxGraph
from models.errors import ModelFailedError, ModelNotInstalledError, ModelNotOpenError
from models.export.builder import GraphBuilder

PATH = Path("folder/graph.onnx")


def doubling(*, shape=("n",)):
    graph = GraphBuilder("doubling")
    value = graph.input("x", np.uint8, shape)
    graph.output(graph.op("Mul", graph.cast(value, np.float32), graph.float32(2.0)), "y", np.float32, shape)
    return graph.build().SerializeToString()


def test_a_run_reads_and_writes_the_callers_arrays():
    x, y = np.array([1, 2], np.uint8), np.zeros(2, np.float32)
    bound = OnnxGraph(doubling(), PATH).bind({"x": x}, {"y": y})
    bound.run()
    assert y.tolist() == [2, 4]
    x[0] = 7
    bound.run()
    assert y.tolist() == [14, 4]


def test_an_input_can_be_replaced_even_by_a_read_only_one():
    x, y = np.zeros(2, np.uint8), np.zeros(2, np.float32)
    bound = OnnxGraph(doubling(), PATH).bind({"x": x}, {"y": y})
    frame = np.array([3, 4], np.uint8)
    frame.flags.writeable = False
    bound.run("x", frame)
    assert y.tolist() == [6, 8]
    assert frame.tolist() == [3, 4]


def test_a_damaged_graph_is_refused():
    with pytest.raises(ModelNotOpenError, match=r"^folder/graph.onnx: ONNX Runtime cannot load the graph: "):
        OnnxGraph(doubling()[:50], PATH)


def test_a_graph_with_other_inputs_is_refused():
    graph = OnnxGraph(doubling(), PATH)
    with pytest.raises(ModelNotOpenError, match=r"^folder/graph.onnx: not the graph that model.json promises: "):
        graph.bind({"image": np.zeros(2, np.uint8)}, {})


def test_failing_inference_is_reported():
    graph = OnnxGraph(doubling(shape=(2,)), PATH)
    bound = graph.bind({"x": np.zeros(2, np.uint8)}, {"y": np.zeros(2, np.float32)})
    with pytest.raises(ModelFailedError, match=r"^folder/graph.onnx: inference failed: "):
        bound.run("x", np.zeros(3, np.uint8))


def test_a_missing_provider_is_refused_rather_than_replaced(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelNotInstalledError) as error:
        OnnxGraph(doubling(), PATH, provider="cuda")
    assert str(error.value) == (
        f"provider cuda: expected one of cpu in onnxruntime {onnxruntime.__version__}; "
        "install onnxruntime-gpu in its place or choose another provider"
    )


def test_a_provider_that_silently_fell_back_is_refused(monkeypatch):
    everything = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: everything)
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda graph, options, providers: session(graph, options, providers=everything[2:]),
    )
    with pytest.raises(ModelNotOpenError, match="expected provider cuda, but it could not be started"):
        OnnxGraph(doubling(), PATH, provider="cuda")
