"""Engines by name, engines that are not there, and the way out that a rig may ask for."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from models.engines import registry
from models.engines.options import EngineOptions
from models.engines.registry import ALL_OPTIONS, INT8_OPTIONS, open_engine
from models.errors import ModelNotInstalledError, ModelNotOpenError
from models.export.builder import GraphBuilder

PATH = Path("folder/model.onnx")


@pytest.fixture
def without(monkeypatch):
    """Hide an engine's package and its module."""

    def hide(package):
        monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(sys.modules, f"models.engines.{package}", raising=False)

    return hide


@pytest.mark.parametrize(("package", "extra"), [("openvino", "openvino"), ("tensorflow", "train")])
def test_an_engine_that_is_not_there_names_its_extra(without, plain_case, package, extra):
    without(package)
    with pytest.raises(ModelNotInstalledError) as error:
        open_engine(plain_case.graph, PATH, EngineOptions(engine=package))
    assert str(error.value) == (
        f"engine {package}: expected the package {package}, got: import of {package} halted; None in sys.modules; "
        f"install it with: pip install 'poseloop[{extra}]'"
    )


def test_another_engine_runs_in_its_place_only_if_asked_and_says_so(without, plain_case):
    without("openvino")
    engine = open_engine(plain_case.graph, PATH, EngineOptions(engine="openvino", fallback="cpu"))
    usual = open_engine(plain_case.graph, PATH, EngineOptions())
    assert engine.description.startswith(
        f"{usual.description}, in place of openvino on cpu, fp32: engine openvino: expected the package openvino, got"
    )
    arrays, images = plain_case.arrays(1), plain_case.images(1)
    engine.bind(images.shape, arrays).run(images)
    assert np.array_equal(arrays["bright"], images > 128)
    engine.close()


def test_a_graph_in_integers_stays_one_in_another_engine(without, plain_case):
    without("openvino")
    options = EngineOptions(engine="openvino", precision="int8", fallback="cpu")
    engine = open_engine(plain_case.graph, PATH, options)
    assert engine.description.startswith(f"onnxruntime {onnxruntime.__version__}, cpu, int8, in place of openvino")


def test_a_damaged_graph_has_no_way_out(plain_case):
    with pytest.raises(ModelNotOpenError, match="ONNX Runtime cannot load the graph"):
        open_engine(plain_case.graph[:50], PATH, EngineOptions(engine="openvino", fallback="cpu"))


def test_the_probe_is_the_smallest_graph():
    graph = GraphBuilder("probe")
    image = graph.input("image", np.uint8, ("batch", 1, 1))
    graph.output(graph.cast(image, np.float32), "value", np.float32, ("batch", 1, 1))
    assert onnx.load_from_string(registry._PROBE) == graph.build()


def test_every_combination_is_tried_and_says_what_it_is_or_why_not(tried):
    assert list(tried) == [options.title for options in ALL_OPTIONS]
    assert len(set(tried)) == len(ALL_OPTIONS)
    assert tried["onnxruntime on cpu, fp32"].works
    for engine in tried.values():
        if engine.works:
            assert engine.text.startswith(engine.options.engine)
        else:
            assert "expected" in engine.text or "cannot" in engine.text or "failed" in engine.text


@pytest.mark.parametrize(("precisions", "listed"), [(("fp32", "fp16"), ALL_OPTIONS), (("int8",), INT8_OPTIONS)])
def test_combinations_are_all_that_options_allow(precisions, listed):
    every = [
        {"engine": engine, "device": device, "provider": provider, "precision": precision}
        for engine in ("onnxruntime", "openvino", "tensorrt", "tensorflow")
        for device in ("cpu", "cuda")
        for provider in ("cuda", "tensorrt")
        for precision in precisions
    ]
    allowed = set()
    for given in every:
        try:
            allowed.add(EngineOptions(**given).title)
        except ValueError:
            continue
    assert allowed == {options.title for options in listed}
