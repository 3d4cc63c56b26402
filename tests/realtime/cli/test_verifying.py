"""`poseloop verify` as a person or a script meets it: numbers, sentences and exit codes."""

import json
from functools import partial

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from models.engines.options import EngineOptions
from models.engines.registry import InstalledEngine
from models.errors import ModelFailedError
from realtime.cli.commands import app

SIZE = 96


def write_video(path, images):
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "gray"
        for image in images:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        out.mux(stream.encode())


def poseloop(*arguments):
    return CliRunner().invoke(app, ["verify", *map(str, arguments)], env={"COLUMNS": "200"})


def test_an_equal_engine_exits_with_0_and_a_table(spot_model):
    done = poseloop(spot_model, "--threads", 1)
    assert done.exit_code == 0, done.output
    rows = {
        cells[1].strip(): cells[2].strip() for line in done.stdout.splitlines() if len(cells := line.split("│")) > 2
    }
    assert rows["animals missing"] == "0 of 2"
    assert rows["animals extra"] == "0"
    assert rows["points compared"] == "6"
    assert rows["median offset x, px"].lstrip("+-") == "0.0000"
    assert rows["distance max, px"] == "0.0000"
    assert rows["edge scores"] == "–"
    assert rows["verdict"] == "equal"
    assert "2 images; tolerance 0.1 px for the median offset per axis and for 99 % of the points" in done.stdout


def test_another_engine_exits_with_1_and_a_sentence(spot_model, shift_weights):
    shift_weights(spot_model)
    done = poseloop(spot_model)
    assert done.exit_code == 1
    assert "differs" in done.stdout
    assert done.stderr.strip() == (
        "onnxruntime on cpu, fp32: points lie 1.00 px to the left of the reference, all shifted alike: check "
        "that these are its weights, and "
        "try another engine, as this one may resize or crop differently"
    )


def test_the_tolerance_can_be_set(spot_model, shift_weights):
    shift_weights(spot_model)
    assert poseloop(spot_model, "--tolerance-px", 1.1).exit_code == 0
    assert poseloop(spot_model, "--tolerance-px", 0.9).exit_code == 1


def test_numbers_as_json(spot_model, shift_weights):
    shift_weights(spot_model)
    done = poseloop(spot_model, "--json")
    report = json.loads(done.stdout)
    (engine,) = report["engines"]
    assert (done.exit_code, report["exit_code"], report["n_images"]) == (1, 1, 2)
    assert (engine["engine"], engine["equal"], engine["n_points"]) == ("onnxruntime on cpu, fp32", False, 6)
    assert engine["tolerance_px"] == 0.1
    assert engine["offset_x_px"] == pytest.approx(-1, abs=1e-3)
    assert engine["deviation"].startswith("points lie 1.00 px to the left")
    assert engine["max_edge_score_difference"] is None


def test_a_quantised_model_is_compared_in_integers_too_with_the_tolerance_that_they_need(monkeypatch):
    works = partial(InstalledEngine, works=True, text="")
    monkeypatch.setattr("models.engines.registry.installed_engines", lambda all_options: tuple(map(works, all_options)))
    monkeypatch.setattr("models.engines.registry.ALL_OPTIONS", (EngineOptions(),))
    monkeypatch.setattr("models.engines.registry.INT8_OPTIONS", (EngineOptions(precision="int8"),))
    done = poseloop("zoo:fly_pair", "--all-engines", "--threads", 1, "--json")
    limits = {engine["engine"]: engine["tolerance_px"] for engine in json.loads(done.stdout)["engines"]}
    assert (done.exit_code, limits) == (0, {"onnxruntime on cpu, fp32": 0.1, "onnxruntime on cpu, int8": 1.0})
    table = poseloop("zoo:fly_pair", "--all-engines", "--threads", 1).stdout
    assert "tolerance 0.1 px for the median offset per axis and for 99 % of the points, 0.02 for all scores" in table
    assert (
        "tolerance 1 px for the median offset per axis and for 90 % of the points, 0.08 for 90 % of the scores" in table
    )
    done = poseloop("zoo:sim_pair", "--all-engines", "--threads", 1, "--json")
    assert [engine["engine"] for engine in json.loads(done.stdout)["engines"]] == ["onnxruntime on cpu, fp32"]


def test_frames_of_a_video(spot_model, tmp_path, draw_spots):
    write_video(tmp_path / "spots.mkv", [draw_spots([(20 + k, 40)]) for k in range(9)])
    done = poseloop(spot_model, "--against", tmp_path / "spots.mkv", "--frames", 3, "--json")
    (engine,) = json.loads(done.stdout)["engines"]
    assert (done.exit_code, engine["n_images"], engine["n_animals"]) == (0, 3, 3)


def test_points_from_elsewhere(spot_model, tmp_path, draw_spots):
    np.savez(
        tmp_path / "other.npz",
        images=draw_spots()[np.newaxis],
        xy=np.tile(np.float32([[(30, 20)], [(70, 60)]]), (1, 1, 3, 1)),
    )
    assert poseloop(spot_model, "--against", tmp_path / "other.npz").exit_code == 0


def test_all_engines_that_are_there(spot_model):
    done = poseloop(spot_model, "--all-engines", "--json")
    engines = {engine["engine"]: engine["equal"] for engine in json.loads(done.stdout)["engines"]}
    assert done.exit_code == 0
    assert engines["onnxruntime on cpu, fp32"]
    assert all(engines.values())


def test_the_halves_of_a_model_are_compared_as_a_rig_would_run_them(spot_model, monkeypatch):
    done = poseloop(spot_model, "--kind", "guided", "--threads", 1, "--json")
    (engine,) = json.loads(done.stdout)["engines"]
    assert (done.exit_code, engine["n_animals"]) == (0, 2)
    assert engine["description"].startswith("guided: onnxruntime ")
    monkeypatch.setattr("models.guided.GuidedModel.predict", lambda *_: None)
    assert poseloop(spot_model, "--kind", "guided", "--threads", 1).exit_code == 1
    assert poseloop(spot_model, "--threads", 1).exit_code == 0


def test_only_the_halves_are_compared_in_bfloat16(spot_model, monkeypatch):
    tried = []

    def first(options):
        tried.append(options)
        return [InstalledEngine(options[0], works=True, text="")]

    monkeypatch.setattr("models.engines.registry.installed_engines", first)
    for kind in ("exported", "guided"):
        assert poseloop(spot_model, "--kind", kind, "--all-engines").exit_code == 0
    assert [any(one.precision == "bf16" for one in options) for options in tried] == [False, True]


def test_an_engine_that_fails_exits_with_3(spot_model, monkeypatch):
    def fail(*_):
        raise ModelFailedError("model.onnx: inference failed: out of memory")

    monkeypatch.setattr("models.verification.verify", fail)
    done = poseloop(spot_model)
    assert (done.exit_code, done.stderr.strip()) == (3, "model.onnx: inference failed: out of memory")
    done = poseloop(spot_model, "--all-engines", "--json")
    assert done.exit_code == 3
    assert json.loads(done.stdout)["engines"][0]["deviation"] == "model.onnx: inference failed: out of memory"


WRONG = {
    "no model": (("no/such/model",), "no/such/model/model.json: No such file or directory"),
    "no zoo model": (("zoo:nothing",), "zoo:nothing: expected one of "),
    "an impossible combination": (
        ("{folder}", "--engine", "openvino", "--device", "cuda"),
        "options: $: device: expected cpu for engine openvino, got cuda",
    ),
    "coordinates in bfloat16": (
        ("{folder}", "--engine", "openvino", "--precision", "bf16"),
        "precision: expected fp32, fp16 or int8 for kind exported, got bf16; use kind guided",
    ),
    "a tolerance of nothing": (
        ("{folder}", "--tolerance-px", "0"), "options: $.tolerance_px: expected greater than 0, got 0.0",
    ),
    "no engine of this name": (("{folder}", "--engine", "caffe"), "caffe"),
    "no reference file": (("{folder}", "--against", "no.npz"), "no.npz: No such file or directory"),
    "no video": (("{folder}", "--against", "no.mp4"), "no.mp4: expected a video file, got no such file"),
    "text for a video": (("{folder}", "--against", "{folder}/model.json"), "model.json: expected a video"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_explained_and_exits_with_2(spot_model, arguments, message):
    done = poseloop(*(argument.format(folder=spot_model) for argument in arguments))
    assert done.exit_code == 2
    assert message in done.stderr.replace("\n", "")
    assert "Traceback" not in done.output


def test_a_video_of_another_size_is_refused(spot_model, tmp_path):
    with av.open(str(tmp_path / "large.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64), np.uint8), format="gray")))
        out.mux(stream.encode())
    done = poseloop(spot_model, "--against", tmp_path / "large.mkv")
    assert done.exit_code == 2
    assert "expected images of shape (96, 96) uint8, got (48, 64) uint8" in done.stderr.replace("\n", "")
