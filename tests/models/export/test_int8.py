"""Which operations become integers, how weights and values are divided into steps, and that NumPy and engines agree."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from camera_drivers.sim import SimOptions, SimScene
from models.errors import ModelInputError
from models.export.int8 import VALUE_STEPS, WEIGHT_STEPS, quantised
from models.export.pipeline import build_graph
from models.export.ranges import measure_ranges, places
from models.export.reference import reference_outputs, with_maps
from models.exported import ZOO
from models.spec import ModelSpec

FOLDER = ZOO / "sim_pair"


@pytest.fixture(scope="module")
def whole():
    return (FOLDER / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def crops():
    return (FOLDER / "crops.onnx").read_bytes()


@pytest.fixture(scope="module")
def halves(crops):
    return {"whole_image/": (FOLDER / "detector.onnx").read_bytes(), "crops/": crops}


@pytest.fixture(scope="module")
def frames():
    scene = SimScene(SimOptions(seed=5))
    return np.stack([scene.image(k * 30) for k in range(3)])


@pytest.fixture(scope="module")
def ranges(whole, frames):
    return measure_ranges(whole, Path("model.onnx"), frames)


def arrays_of(graph):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def makers_of(graph):
    return {name: node for node in graph.node for name in node.output}


@pytest.mark.parametrize("network", ["whole_image/", "crops/"])
def test_a_half_holds_the_same_values_in_the_same_places(whole, halves, network):
    ours, theirs = (
        {
            place: (makers[value].op_type, len(makers[value].input))
            for value, place in places(graph).items()
            if place.startswith(network)
        }
        for graph in (onnx.load_from_string(content).graph for content in (whole, halves[network]))
        for makers in [makers_of(graph)]
    )
    assert ours == theirs
    assert f"{network}0" in ours


def test_ranges_hold_what_the_values_were_and_0(whole, frames, ranges):
    model = onnx.load_from_string(whole)
    value, place = next((v, p) for v, p in places(model.graph).items() if p == "whole_image/3")
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(value))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    found = np.concatenate([session.run([value], {"image": frame[np.newaxis]})[0] for frame in frames])
    np.testing.assert_allclose(ranges[place], (min(found.min(), 0), max(found.max(), 0)), rtol=1e-5)


def test_all_but_the_first_convolution_and_the_last_read_integers(crops, ranges):
    graph = onnx.load_from_string(quantised(crops, ranges)).graph
    makers = makers_of(graph)
    kinds = [[makers[name].op_type for name in node.input[:2] if name in makers] for node in graph.node
             if node.op_type == "Conv"]  # fmt: skip
    assert "DequantizeLinear" not in kinds[0] + kinds[-1]
    assert kinds[1:-1] == [["DequantizeLinear"] * 2] * (len(kinds) - 2)
    for node in graph.node:
        if node.op_type == "MaxPool" and node.name.startswith("crops/"):
            assert makers[node.input[0]].op_type == "DequantizeLinear"


def test_weights_are_divided_by_output_channel_into_steps_that_16_bits_hold(crops, ranges):
    before, after = (onnx.load_from_string(graph).graph for graph in (crops, quantised(crops, ranges)))
    floats, integers = arrays_of(before), arrays_of(after)
    n = 0
    for node in before.node:
        steps = integers.get(f"{node.name}/weights/steps")
        if steps is None:
            continue
        n += 1
        scale, kernel = integers[f"{node.name}/weights/scale"], floats[node.input[1]]
        assert steps.dtype == np.int8
        assert abs(steps).max() == WEIGHT_STEPS
        assert 2 * VALUE_STEPS * WEIGHT_STEPS < 2**15
        np.testing.assert_allclose(scale, abs(kernel).max(axis=(1, 2, 3)) / WEIGHT_STEPS, rtol=1e-5)
        back = steps * scale[:, None, None, None]
        assert (abs(back - kernel) <= scale[:, None, None, None] * 0.501).all()
        bias = integers[f"{node.name}/bias/steps"] * integers[f"{node.name}/bias/scale"]
        np.testing.assert_allclose(bias, floats[node.input[2]], atol=integers[f"{node.name}/bias/scale"].max())
    assert n > 4


def test_a_channel_without_weights_and_a_value_that_is_always_0_stay_what_they_are(crops, ranges):
    model = onnx.load_from_string(crops)
    second = [node for node in model.graph.node if node.op_type == "Conv"][1]
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == second.input[1])
    array = numpy_helper.to_array(kernel).copy()
    array[2] = 0
    kernel.CopyFrom(numpy_helper.from_array(array, kernel.name))
    dead = {place: (0.0, 0.0) if place == "crops/1" else limits for place, limits in ranges.items()}
    integers = arrays_of(onnx.load_from_string(quantised(model.SerializeToString(), dead)).graph)
    assert not integers[f"{second.name}/weights/steps"][2].any()
    scales = {name: array for name, array in integers.items() if name.endswith("/scale")}
    assert len(scales) > 10
    for name, scale in scales.items():
        assert ((scale > 0) & np.isfinite(scale)).all(), name


def test_numpy_and_onnx_runtime_compute_the_same_maps_near_those_of_float32(crops, ranges, frames):
    side = ModelSpec.load(FOLDER).crop.size_px
    images = frames[:, 180 : 180 + side, 180 : 180 + side]
    found = {}
    for name, graph in (("float32", with_maps(crops)), ("int8", with_maps(quantised(crops, ranges)))):
        numpy = reference_outputs(graph, images)
        (maps,) = (name for name in numpy if name.startswith("maps/"))
        session = onnxruntime.InferenceSession(graph)
        runtime = np.stack([session.run([maps], {"image": image[np.newaxis]})[0] for image in images])
        # A value half-way between two steps goes to either of them.
        np.testing.assert_allclose(numpy[maps], runtime, atol=1e-4 if name == "float32" else 0.05)
        found[name] = runtime
    assert 0 < abs(found["int8"] - found["float32"]).max() < 0.1


WRONG_RANGES = {
    "none": ({}, "nan to nan"),
    "no number": ({"crops/1": (0.0, float("inf"))}, "0 to inf"),
    "above 0": ({"crops/1": (0.5, 2.0)}, "0.5 to 2"),
    "below 0": ({"crops/1": (-2.0, -0.5)}, "-2 to -0.5"),
}


@pytest.mark.parametrize(("given", "got"), WRONG_RANGES.values(), ids=WRONG_RANGES.keys())
def test_a_range_that_cannot_be_divided_into_steps_is_named(crops, ranges, given, got):
    others = {place: limits for place, limits in ranges.items() if place != "crops/1"}
    with pytest.raises(ModelInputError) as error:
        quantised(crops, others | given)
    assert str(error.value) == f"crops/1: expected a finite range of values with 0 in it, got {got}"


def test_a_network_without_an_inner_convolution_is_refused(copy_network, frames):
    spec = ModelSpec.load(FOLDER).model_copy(
        update={"type": "single_instance", "crop": None, "parts": None, "max_instances": 1}
    )
    graph = build_graph(spec, copy_network(len(spec.skeleton.nodes), stride=4), None).SerializeToString()
    with pytest.raises(ModelInputError, match="expected a network with a convolution between its first and its last"):
        quantised(graph, measure_ranges(graph, Path("model.onnx"), frames[:1]))
