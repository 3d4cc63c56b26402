"""`poseloop quantise` as a person or a script meets it."""

import json
import shutil
from fractions import Fraction

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from camera_drivers.sim import SimOptions, SimScene
from models.exported import ZOO
from models.spec import ModelSpec, sha256_of
from realtime.cli.commands import app

N_FRAMES = 40


def write_video(path, images):
    height, width = images[0].shape
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="gray")
            frame.pts, frame.time_base = index, Fraction(1, 10)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    scene = SimScene(SimOptions(seed=3))
    return write_video(tmp_path_factory.mktemp("video") / "pair.mkv", [scene.image(k * 8) for k in range(N_FRAMES)])


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(ZOO / "sim_pair", tmp_path / "sim_pair")


def poseloop(*arguments):
    return CliRunner().invoke(app, ["quantise", *map(str, arguments)], env={"COLUMNS": "200"})


def test_a_model_is_quantised_on_some_frames_and_says_how_far_it_is(folder, video):
    done = poseloop(folder, video, "--frames", "4-31", "--count", 8)
    assert done.exit_code == 0, done.output
    assert f"{folder}: int8 written. On 4 frames that it was not calibrated on, " in done.stdout
    calibration = ModelSpec.load(folder).int8.calibration
    assert calibration["video"] == "pair.mkv"
    assert calibration["video_sha256"] == sha256_of(video)
    assert (calibration["frames"], calibration["n_frames"]) == ([4, 31], 4)


def test_numbers_as_json(folder, video):
    done = poseloop(folder, video, "--count", 6, "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["exit_code"]) == (0, 0)
    # Matroska does not say how long it is: the first ones.
    assert report["int8"]["calibration"]["frames"] == [0, 5]
    assert report["int8"] == ModelSpec.load(folder).int8.model_dump(mode="json")


def test_what_is_too_far_from_float32_is_not_written_and_exits_with_1(folder, video):
    done = poseloop(folder, video, "--count", 6, "--tolerance-px", 0.01)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"{folder}: not quantised: in 8-bit integers ")
    assert ModelSpec.load(folder).int8 is None
    assert not list(folder.glob("*.int8.onnx"))


WRONG = {
    "no model": (("no/such/model", "{video}"), "no/such/model/model.json: No such file or directory"),
    "no video": (("{folder}", "no.mp4"), "no.mp4: expected a video file, got no such file"),
    "no range": (("{folder}", "{video}", "--frames", "4"), "--frames: expected FIRST-LAST, as in 100-199"),
    "beyond the end": (
        ("{folder}", "{video}", "--frames", "40-80"), "pair.mkv: expected 2 frames or more from frame 40 on, got 0",
    ),
    "another size": (
        ("{folder}", "{small}"),
        "small.mkv: expected 512 × 512 px, for which the model was exported, got 64 × 48",
    ),
    "one frame": (("{folder}", "{video}", "--count", "1"), "--count"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_is_explained_and_exits_with_2(folder, video, tmp_path, arguments, message):
    small = write_video(tmp_path / "small.mkv", [np.zeros((48, 64), np.uint8)] * 3)
    done = poseloop(*(argument.format(folder=folder, video=video, small=small) for argument in arguments))
    assert done.exit_code == 2
    assert message in done.stderr
    assert "Traceback" not in done.output
