"""Operations counted against figures worked out by hand, the floor that follows from them, and the command line."""

import json

import numpy as np
import onnx
import pytest

from benchmarks import floor
from benchmarks.floor import chosen, main, wide_convolutions
from benchmarks.model_latency import Setting, export_fast
from benchmarks.operations import Cost, Operator, cost_of
from benchmarks.reading import read_result

FLOAT = onnx.TensorProto.FLOAT


def graph(nodes, weights, channels):
    """Image of 4 × 6 px → float → (batch, 1, 4, 6) → `nodes`, from `in` to `out`."""
    helper = onnx.helper
    before = [
        helper.make_node("Cast", ["image"], ["float"], to=FLOAT),
        helper.make_node("Unsqueeze", ["float", "axis"], ["in"]),
    ]
    constants = {"axis": np.array([1], np.int64), **weights}
    return helper.make_model(
        helper.make_graph(
            [*before, *nodes],
            "test",
            [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["batch", 4, 6])],
            [helper.make_tensor_value_info("out", FLOAT, ["batch", *channels])],
            [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    ).SerializeToString()


def ones(*shape):
    return np.ones(shape, np.float32)


CONV = onnx.helper.make_node("Conv", ["in", "kernel"], ["out"], pads=[1, 1, 1, 1], name="conv")
STRIDED = onnx.helper.make_node("Conv", ["in", "kernel"], ["out"], pads=[1, 1, 1, 1], strides=[2, 2], name="conv")
PRODUCT = onnx.helper.make_node("MatMul", ["in", "factor"], ["out"], name="product")
GRAPHS = {
    # Outputs × kernel: 5 channels × 4 × 6 px × 9; strided 5 × 2 × 3 px × 9; product (4 × 6) · (6 × 7).
    "convolution": ([CONV], {"kernel": ones(5, 1, 3, 3)}, [5, 4, 6], 5 * 24 * 9),
    "with strides": ([STRIDED], {"kernel": ones(5, 1, 3, 3)}, [5, 2, 3], 5 * 6 * 9),
    "product": ([PRODUCT], {"factor": ones(6, 7)}, [1, 4, 7], 4 * 7 * 6),
}


@pytest.mark.parametrize(("nodes", "weights", "channels", "macs"), GRAPHS.values(), ids=GRAPHS)
@pytest.mark.parametrize("batch", [1, 3])
def test_multiplications_are_counted_by_hand(nodes, weights, channels, macs, batch):
    cost = cost_of(graph(nodes, weights, channels), batch)
    (weight,) = weights.values()
    out_bytes, in_bytes = 4 * batch * int(np.prod(channels)), 4 * batch * 24
    assert cost.macs == batch * macs
    assert cost.weight_bytes == weight.nbytes + 8  # with the axis
    assert cost.border_bytes == batch * 24 + out_bytes
    assert (cost.operators[-1].read_bytes, cost.operators[-1].written_bytes) == (in_bytes + weight.nbytes, out_bytes)
    assert cost.least_bytes == weight.nbytes + 8 + batch * 24 + out_bytes
    cast, unsqueeze = batch * 24 + in_bytes, in_bytes + 8 + in_bytes
    assert cost.unfused_bytes == cast + unsqueeze + in_bytes + weight.nbytes + out_bytes
    assert cost.outputs["out"].shape == (batch, *channels)


def test_channels_in_groups_see_only_their_own():
    wide = onnx.helper.make_node("Conv", ["in", "first"], ["wide"])
    apart = onnx.helper.make_node("Conv", ["wide", "second"], ["out"], group=4)
    cost = cost_of(graph([wide, apart], {"first": ones(4, 1, 1, 1), "second": ones(4, 1, 1, 1)}, [4, 4, 6]), 1)
    assert [operator.macs for operator in cost.operators if operator.kind == "Conv"] == [4 * 24, 4 * 24]


def test_the_peaks_graph_is_as_wide_as_it_says():
    cost = cost_of(wide_convolutions(), 1)
    assert cost.macs == 64 * 64 * 64 * 9 * (1 + 4 * 64)


def test_a_graph_with_other_inputs_is_refused():
    model = onnx.load_from_string(graph([CONV], {"kernel": ones(5, 1, 3, 3)}, [5, 4, 6]))
    model.graph.input[0].name = "picture"
    with pytest.raises(ValueError, match=r"^expected a graph with one input `image` \(batch, height, width\), got"):
        cost_of(model.SerializeToString(), 1)


COST = Cost((Operator("conv", "Conv", 6_000_000, 9_000, 1_000),), weight_bytes=500, border_bytes=1_500, outputs={})
FLOORS = {
    "bound by computing": (2e6, 1e6, 3.0),
    "bound by memory": (2e9, 500.0, 4.0),
}  # fmt: skip


@pytest.mark.parametrize(("macs_per_ms", "bytes_per_ms", "floor_ms"), FLOORS.values(), ids=FLOORS)
def test_the_floor_is_the_larger_bound(macs_per_ms, bytes_per_ms, floor_ms):
    found = floor._floor("x", "y", COST, [12_000_000, 24_000_000, 90_000_000], macs_per_ms, bytes_per_ms)
    assert found["floor_ms"] == floor_ms
    assert (found["fastest_ms"], found["p50_ms"], found["times_floor"]) == (12.0, 24.0, 12.0 / floor_ms)
    assert found["gmacs_per_s"] == 0.5
    assert found["unfused_ms"] == pytest.approx(10_000 / bytes_per_ms)


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(floor, "_COPY_BYTES", 4096)
    return "zoo:fly_pair"


def test_the_command_writes_what_it_prints(model, tmp_path, capsys):
    out = tmp_path / "result.json"
    assert main(["--model", model, "--engines", "onnxruntime", "-n", "2", "--json", str(out)]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert capsys.readouterr().out == floor.as_text(result) + "\n"
    engine = "onnxruntime on cpu, fp32, 1 thread"
    names = ["peak", "whole model", "detector", "crops of 2 animals"]
    assert list(read_result(out).rows) == ["copy of 64 MB", *(f"{name}: {engine}" for name in names)]
    assert [each["graph"] for each in result["floors"]] == names
    assert result["floors"][0]["times_floor"] == pytest.approx(1.0)
    counts = result["counts"]
    assert counts["whole model"]["macs"] == pytest.approx(
        counts["detector"]["macs"] + counts["crops of 2 animals"]["macs"], rel=0.01
    )
    assert sum(each["macs"] for each in counts["detector"]["convolutions"]) == counts["detector"]["macs"]


def test_a_model_without_parts_is_refused(tmp_path, capsys):
    export_fast(tmp_path, Setting("centroid", 64, 2, 1))
    assert main(["--model", str(tmp_path), "-n", "1"]) == 2
    assert "expected a top-down model with its parts, detector and crops, got none" in capsys.readouterr().err


def test_engines_are_chosen_with_their_precision_and_threads():
    assert [(options.title, options.threads) for options in chosen(["onnxruntime", "openvino:bf16"], [1, 2])] == [
        ("onnxruntime on cpu, fp32", 1),
        ("onnxruntime on cpu, fp32", 2),
        ("openvino on cpu, bf16", 1),
        ("openvino on cpu, bf16", 2),
    ]


@pytest.mark.parametrize("wrong", ["caffe", "onnxruntime:bf16", "openvino:int3", "openvino:int8", "onnxruntime:auto"])
def test_an_engine_that_there_is_not_is_said(wrong, capsys):
    assert main(["--engines", wrong, "-n", "1"]) == 2
    assert capsys.readouterr().err.startswith("floor: ")
