"""Frames a second of a real small video through a small model, stage by stage, and the command line."""

import itertools
import json

import av
import numpy as np
import pytest

from benchmarks import circumstances, throughput
from benchmarks.model_latency import Setting, export_fast
from benchmarks.reading import read_result
from benchmarks.throughput import ThroughputError, _Stopwatch, main, measure, predict_ns
from models.exported import ExportedOptions
from realtime.offline.finding import Progress

SIDE_PX = 64
N_FRAMES = 12


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "noise.mkv"
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.height, stream.width, stream.pix_fmt = SIDE_PX, SIDE_PX, "gray"
        for _ in range(N_FRAMES):
            image = random.integers(0, 256, (SIDE_PX, SIDE_PX), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    export_fast(folder, Setting("centroid", SIDE_PX, 2, 1))
    return folder


def test_every_batch_size_has_its_rows_and_rates(video, model):
    found = measure(video, ExportedOptions(path=model, threads=1), [1, 4], N_FRAMES, 2)
    assert {name: row["n"] for name, row in found["rows"].items()} == {
        "decode alone": 12,
        "batch 1: predict alone": 12,
        "batch 1: find": 11,
        "batch 4: predict alone": 3,
        "batch 4: find": 2,
    }
    assert found["n_frames"] == N_FRAMES
    for rates in found["frames_per_s"].values():
        assert list(rates) == ["decode alone", "predict alone", "find", "track", "write", "whole"]
        whole_s = sum(1 / rates[stage] for stage in throughput.STAGES)
        assert 1 / rates["whole"] == pytest.approx(whole_s)


def test_stages_end_where_the_next_begins():
    clock = iter([0, 3_000, 4_000, 6_000, 7_000, 9_000])
    watch = _Stopwatch(lambda: next(clock))
    watch.tell(Progress(4, 6, 4, 2))
    watch.tell(Progress(4, 6, 4, 2))  # still waiting
    watch.tell(Progress(6, 6, 6, 2))
    watch.tell(Progress(0, 6, 0, 2, "following"))
    watch.tell(Progress(6, 6, 6, 2, "following"))
    assert watch.find_ns() == [1_500]
    assert watch.seconds(10_000) == pytest.approx({"find": 6e-6, "track": 3e-6, "write": 1e-6, "whole": 10e-6})


class Model:
    def __init__(self):
        self.batches = []

    def predict_batch(self, images):
        self.batches.append(images[:, 0, 0].tolist())


def test_every_batch_is_whole_and_time_is_a_frames(monkeypatch):
    clock = itertools.count(0, 1_000)
    monkeypatch.setattr(throughput, "monotonic_ns", lambda: next(clock))
    model = Model()
    assert predict_ns(model, np.arange(5, dtype=np.uint8).reshape(5, 1, 1), 2, 2) == [500, 500]
    assert model.batches == [[0, 1], [2, 3], [0, 1], [2, 3], [0, 1]]


def test_batches_in_memory_end_when_their_time_is_up(monkeypatch):
    clock = itertools.count(0, 6_000_000_000)
    monkeypatch.setattr(throughput, "monotonic_ns", lambda: next(clock))
    assert len(predict_ns(Model(), np.zeros((2, 1, 1), np.uint8), 2, 1000)) == 1


def test_a_video_that_is_too_short_is_refused(video, model):
    with pytest.raises(ThroughputError, match=r"noise.mkv: expected at least 40 frames, got 12; lower --frames"):
        measure(video, ExportedOptions(path=model), [16], 40, 2)


def test_the_command_writes_what_it_prints(video, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(circumstances, "REFERENCE", Setting("centroid", SIDE_PX, 2, 1))
    out = tmp_path / "result.json"
    arguments = ["--video", str(video), "--model", str(model), "--threads", "1", "--batches", "2", "--frames", "6"]
    assert main([*arguments, "--reference", "2", "--json", str(out)]) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert capsys.readouterr().out == throughput.as_text(result) + "\n"
    read = read_result(out)
    assert list(read.rows) == ["decode alone", "batch 2: predict alone", "batch 2: find"]
    assert (read.settings["settings.n_frames"], read.settings["settings.model.threads"]) == (6, 1)
    assert set(result["ratio"]) == set(read.rows)


WRONG = {
    "no video": (["--video", "none.mp4"], "none.mp4"),
    "no model": (["--model", "zoo:none"], "zoo:none"),
    "no engine": (["--engine", "caffe"], "caffe"),
}


@pytest.mark.parametrize(("changed", "message"), WRONG.values(), ids=WRONG)
def test_what_is_not_there_is_said(video, model, capsys, changed, message):
    assert main(["--video", str(video), "--model", str(model), "--batches", "1", "--frames", "2", *changed]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("throughput: ")
    assert message in shown


@pytest.mark.parametrize("wrong", [["--batches", "0"], ["--batches", "8", "--frames", "15"], ["--max-tracks", "0"]])
def test_options_out_of_range(wrong, capsys):
    with pytest.raises(SystemExit) as end:
        main(wrong)
    assert end.value.code == 2
    assert "expected --batches" in capsys.readouterr().err
