"""The models that the latency benchmark measures, its table, and its command line."""

import json

import pytest

from benchmarks import model_latency
from benchmarks.model_latency import QUICK, Effort, Setting, as_text, chosen, export_fast, measure, times_ns
from models.engines.options import EngineOptions
from models.engines.registry import InstalledEngine
from models.spec import ModelSpec

SMALL = Setting("centroid", 64, 2, 1)
CPU = InstalledEngine(EngineOptions(), True, "onnxruntime")


@pytest.fixture
def small_reference(monkeypatch):
    monkeypatch.setattr(model_latency, "REFERENCE", SMALL)


@pytest.mark.parametrize("model_type", ["single_instance", "centroid", "bottom_up", "bottom_up_id"])
@pytest.mark.parametrize("batch", [1, 2])
def test_every_type_runs(tmp_path, model_type, batch):
    setting = Setting(model_type, 64, 1 if model_type == "single_instance" else 2, batch)
    export_fast(tmp_path, setting)
    spec = ModelSpec.load(tmp_path)
    assert (spec.type, spec.max_instances, spec.image.shape) == (model_type, setting.animals, (64, 64))
    times, description = times_ns(tmp_path, EngineOptions(), setting, Effort(warm_up=1, n=3, seconds=60.0))
    assert len(times) == 3
    assert min(times) > 0
    assert description.startswith("onnxruntime")


@pytest.mark.parametrize("model_type", ["top_down", "top_down_id"])
def test_top_down_models_have_the_papers_crops(tmp_path, model_type):
    export_fast(tmp_path, Setting(model_type, 128, 2, 1))
    spec = ModelSpec.load(tmp_path)
    assert spec.crop is not None
    assert (spec.crop.size_px, spec.crop.output_stride, spec.whole_image.input_scale) == (160, 2, 0.5)


def test_a_single_instance_model_is_measured_once_whatever_the_number_of_animals():
    found = model_latency.all_settings(["single_instance", "centroid"], [64], [2, 4], [1])
    assert [(setting.type, setting.animals) for setting in found] == [
        ("single_instance", 1),
        ("centroid", 2),
        ("centroid", 4),
    ]


def test_a_row_ends_when_its_time_is_up(tmp_path):
    export_fast(tmp_path, SMALL)
    times, _ = times_ns(tmp_path, EngineOptions(), SMALL, Effort(warm_up=2, n=10**9, seconds=0.0))
    assert len(times) == 1


def test_rows_carry_their_ratio_and_what_was_left_out_its_reason(small_reference):
    missing = InstalledEngine(EngineOptions(device="cuda"), False, "no GPU")
    batch = Setting("centroid", 64, 2, 4)
    result = measure([SMALL, batch], [CPU, missing], QUICK)
    assert [row["title"] for row in result["rows"]] == [SMALL.title, batch.title]
    reference_ms = sum(result["reference"][f"{when}_ms"]["p50"] for when in ("before", "after")) / 2
    for row in result["rows"]:
        per_frame_ms = row["latency_ms"]["p50"] / row["batch"]
        assert row["ratio"] == pytest.approx(per_frame_ms / reference_ms)
    assert result["skipped"] == [{"engine": "onnxruntime on cuda, fp32", "reason": "no GPU"}]
    text = as_text(result)
    assert "centroid 64², 2 animals, batch 4: onnxruntime on cpu, fp32" in text
    assert "skipped: onnxruntime on cuda, fp32: no GPU" in text


def test_an_engine_that_fails_at_one_model_does_not_end_the_rest(small_reference):
    broken = InstalledEngine(EngineOptions(engine="tensorrt", device="cuda"), True, "said to work")
    result = measure([SMALL], [broken, CPU], QUICK)
    assert [row["engine"] for row in result["rows"]] == ["onnxruntime on cpu, fp32"]
    (skipped,) = result["skipped"]
    assert skipped["engine"] == f"tensorrt on cuda, fp32, {SMALL.title}"


def test_engines_are_chosen_by_the_beginning_of_their_titles():
    assert [options.title for options in chosen(["openvino", "tensorrt on cuda, fp16"])] == [
        "openvino on cpu, fp32",
        "tensorrt on cuda, fp16",
    ]
    assert all(options.engine != "tensorflow" for options in chosen([]))
    with pytest.raises(ValueError, match=r"^expected one of onnxruntime on cpu, fp32; .*; got caffe$"):
        chosen(["caffe"])


def test_the_command_writes_what_it_prints(small_reference, tmp_path, capsys):
    out = tmp_path / "result.json"
    command = ["--quick", "--types", "centroid", "--sizes", "64", "--engines", "onnxruntime on cpu", "--json", str(out)]
    assert model_latency.main(command) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert capsys.readouterr().out == as_text(result) + "\n"
    assert result["rows"][0]["latency_ms"]["n"] == QUICK.n
    assert result["machine"]


def test_a_wrong_engine_is_a_usage_error(capsys):
    with pytest.raises(SystemExit) as end:
        model_latency.main(["--engines", "caffe"])
    assert end.value.code == 2
    assert "--engines: expected one of onnxruntime on cpu, fp32; " in capsys.readouterr().err
