"""`poseloop train` as a user runs it: a process that can be stopped, killed and resumed."""

import json
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from realtime.cli.commands import app
from realtime.cli.training import _not_learnt

sleap_io = pytest.importorskip("sleap_io", reason="needs the extra train")
pytest.importorskip("tensorflow", reason="needs the extra train")

CONFIG = """
type = "centroid"
[data]
labels = "labels.slp"
block_frames = 4
{data}
[detector]
filters = 4
stem_stride = 4
input_scale = 1.0
[fit]
epochs = {epochs}
steps_per_epoch = 4
batch_size = 2
"""


@pytest.fixture
def folder(tmp_path):
    """Thirty frames of a spot that wanders."""
    rng = np.random.default_rng(0)
    skeleton = sleap_io.Skeleton(nodes=["spot"])
    video = sleap_io.Video(filename="film.mkv", open_backend=False)
    y, x = np.mgrid[:48, :64]
    frames = []
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = 48, 64, "gray"
        for k in range(30):
            at = rng.uniform((8, 8), (56, 40))
            image = 200 * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / 18)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8), format="gray")))
            spot = sleap_io.Instance.from_numpy(at[None], skeleton=skeleton)
            frames.append(sleap_io.LabeledFrame(video=video, frame_idx=k, instances=[spot]))
        container.mux(stream.encode())
    labels = sleap_io.Labels(frames, videos=[video], skeletons=[skeleton])
    labels.save(str(tmp_path / "labels.slp"), embed=False, verbose=False)
    write_config(tmp_path)
    return tmp_path


def write_config(folder, epochs=3, data=""):
    (folder / "train.toml").write_text(CONFIG.format(epochs=epochs, data=data))


def command(folder, *options):
    return [
        *(sys.executable, "-m", "realtime.cli", "train", str(folder / "train.toml")),
        *("--out", str(folder / "model"), *options),
    ]


def run(folder, *options):
    return CliRunner().invoke(app, command(folder, *options)[3:])


def start_and_wait_for_checkpoint(folder):
    process = subprocess.Popen(command(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    checkpoint = folder / "model" / "training" / "detector.checkpoint.npz"
    deadline_s = time.monotonic() + 120
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline_s, "no checkpoint within two minutes"
        time.sleep(0.05)
    return process


def n_steps(folder):
    with np.load(folder / "model" / "training" / "detector.checkpoint.npz") as file:
        return json.loads(file["state.json"].tobytes())["step"]


def test_it_trains_exports_verifies_and_says_so_as_json(folder):
    write_config(folder, data="held_out = [25, 29]")
    ended = run(folder, "--json")
    assert ended.exit_code == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["model"] == str(folder / "model")
    assert report["verified"] is True
    assert report["parity"]["missing"] == report["parity"]["extra"] == 0
    assert report["evaluation"]["detection"]["frames"] == 5


def test_a_second_training_needs_to_be_told_what_to_do_with_the_first(folder):
    assert run(folder).exit_code == 0
    out = folder / "model"
    refused = run(folder)
    assert refused.exit_code == 2
    assert refused.stderr.strip().splitlines()[-1] == (
        f"{out}: expected a new folder, got one with training in it; go on with the training there with --resume, "
        "or replace it with --overwrite"
    )
    both = run(folder, "--resume", "--overwrite")
    assert (both.exit_code, both.stderr.strip()) == (2, "expected --resume or --overwrite, got both")


def test_control_c_saves_and_says_how_to_go_on(folder):
    write_config(folder, epochs=2000)
    process = start_and_wait_for_checkpoint(folder)
    before = n_steps(folder)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert told.strip().splitlines()[-1] == (
        f"interrupted; go on with: poseloop train {folder / 'train.toml'} --out {folder / 'model'} --resume"
    )
    assert n_steps(folder) >= before


def test_a_killed_training_goes_on_where_it_was(folder):
    write_config(folder, epochs=40)
    process = start_and_wait_for_checkpoint(folder)
    process.kill()
    process.communicate(timeout=60)
    done = n_steps(folder)
    assert 0 < done < 160
    ended = run(folder, "--resume")
    assert ended.exit_code == 0, ended.stderr
    history = json.loads((folder / "model" / "training" / "history.json").read_text())
    numbers = [epoch["number"] for epoch in history]
    assert numbers == list(range(1, len(history) + 1))

    (folder / "again").mkdir()
    for name in ("train.toml", "labels.slp", "film.mkv"):
        (folder / "again" / name).write_bytes((folder / name).read_bytes())
    assert run(folder / "again").exit_code == 0
    whole = json.loads((folder / "again" / "model" / "training" / "history.json").read_text())
    n = min(len(whole), len(history))
    assert n >= 10
    losses = ([epoch["loss"] for epoch in one[:n]] for one in (history, whole))
    np.testing.assert_allclose(*losses, rtol=0.02)


def test_mistakes_are_named_before_anything_starts(folder):
    (folder / "train.toml").write_text('type = "centroid"\n[data]\n[detector]\nfilter = 3\n')
    ended = run(folder)
    assert ended.exit_code == 2
    assert [line.split(": ", 1)[1] for line in ended.stderr.strip().splitlines()] == [
        "$.data.labels: expected a value, got none",
        "$.detector.filter: expected no such key; known are filters, filters_rate, max_stride, output_stride, "
        "stem_stride, sigma_cells, offsets, offsets_weight, shift_px, fit, input_scale, window_px, anchor",
    ]
    assert not (folder / "model").exists()


def test_nodes_that_were_not_learnt_are_named():

    nodes = {
        "head": {"not_reported_fraction": 0.02},
        "abdomen": {"not_reported_fraction": 1.0},
        "wing": {"not_reported_fraction": None},
    }
    assert _not_learnt({"nodes": nodes}) == ["abdomen"]
