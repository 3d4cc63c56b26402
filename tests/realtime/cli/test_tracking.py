"""`poseloop track` as a person or a script meets it: a real model, a real video, real signals."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import pytest
from typer.testing import CliRunner

from camera_drivers.sim import SimOptions, SimScene
from models.errors import ModelFailedError
from models.exported import ExportedModel
from realtime.cli.commands import app
from realtime.cli.tracking import _told
from realtime.offline import Progress, outputs

N_FRAMES = 72


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Two simulated animals, 60 frames a second, 512 × 512 px."""
    path = tmp_path_factory.mktemp("video") / "pair.mp4"
    scene = SimScene(SimOptions())
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=60)
        stream.width = stream.height = 512
        stream.pix_fmt = "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "10", "g": "12"}
        for index in range(N_FRAMES):
            frame = av.VideoFrame.from_ndarray(scene.image(index), format="gray")
            frame.pts, frame.time_base = index, Fraction(1, 60)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def command(*arguments):
    return [sys.executable, "-m", "realtime.cli", "track", *map(str, arguments)]


def poseloop_track(*arguments):
    return CliRunner().invoke(app, ["track", *map(str, arguments)])


def started(*arguments):
    return subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_work(path, n_bytes, child):
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s and child.poll() is None:
        if path.exists() and path.stat().st_size > n_bytes:
            return
        time.sleep(0.002)
    pytest.fail(f"{path.name} did not grow: {child.communicate()}")


@pytest.fixture(scope="module")
def whole(video, tmp_path_factory):
    """The outputs and the report of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    paths = [folder / "o.csv", folder / "o.slp", folder / "o.h5"]
    outputs = [part for path in paths for part in ("-o", path)]
    with started(video, "--model", "zoo:sim_pair", *outputs, "--batch", "4", "--json") as child:
        out, err = child.communicate(timeout=300)
    assert (child.returncode, err) == (0, "")
    return paths, json.loads(out)


def test_the_report_for_scripts(whole, video):
    paths, report = whole
    assert report["video"] == str(video)
    assert report["outputs"] == [str(path) for path in paths]
    assert report["n_frames"] == N_FRAMES
    assert report["track_names"] == ["track_1", "track_2"]
    assert report["n_instances"] == 2 * N_FRAMES
    assert (report["interrupted"], report["partial"], report["exit_code"]) == (False, False, 0)


def test_the_animals_are_where_they_were_simulated(whole):
    (table, _, _), _ = whole
    scene = SimScene(SimOptions())
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[::7]:
        truth = scene.poses(int(row["frame_idx"]))[:, 0]  # the heads
        x, y = float(row["head.x"]), float(row["head.y"])
        assert min(abs(truth[:, 0] - x) + abs(truth[:, 1] - y)) < 6


def test_for_a_person(video, tmp_path):
    done = poseloop_track(video, "-m", "zoo:sim_pair", "-o", tmp_path / "o.csv", "--frames", "-15", "--max-animals", 1)
    assert done.exit_code == 0
    out = done.stdout.replace("\n", " ")
    assert "16 frames at " in out
    assert "tracks: track_1\n" in done.stdout
    assert "16 instances belong to no track and are left out: doubles, or more animals than --max-animals 1 says" in out
    assert f"written: {tmp_path / 'o.csv'}" in done.stdout


SIGNALS = {"SIGINT": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 143), "SIGKILL": (signal.SIGKILL, -9)}


@pytest.mark.parametrize(("number", "code"), SIGNALS.values(), ids=SIGNALS)
def test_an_interrupted_run_goes_on_and_ends_the_same(video, tmp_path, whole, number, code):
    output = tmp_path / "o.csv"
    arguments = (video, "--model", "zoo:sim_pair", "-o", output, "--batch", "4")
    work = tmp_path / "o.csv.part"
    with started(*arguments) as child:
        wait_for_work(work, 2000, child)
        child.send_signal(number)
        _, complaint = child.communicate(timeout=60)
    if child.returncode == 0:
        pytest.skip("the machine was faster than the signal")
    assert child.returncode == code
    assert list(tmp_path.iterdir()) == [work]
    if code > 0:
        assert f"frames, which are kept in {work}: the same command again goes on from there" in complaint
    done = poseloop_track(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["n_resumed"] >= 4
    assert list(tmp_path.iterdir()) == [output]
    assert output.read_bytes() == whole[0][0].read_bytes()


def test_a_video_damaged_in_the_middle(video, tmp_path):
    content = bytearray(video.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = os.urandom(4000)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(content)
    for name, kind in (("a", ()), ("b", ("--json",))):
        done = poseloop_track(damaged, "-m", "zoo:sim_pair", "-o", tmp_path / f"{name}.csv", *kind)
        assert done.exit_code == 3
        assert (tmp_path / f"{name}.csv").exists()
        if kind:
            report = json.loads(done.stdout)
            assert report["partial"] is True
            assert 0 < report["n_frames"] < N_FRAMES
            assert f"frame {report['n_frames']}, got" in report["damage"]
            assert report["exit_code"] == 3
        else:
            assert "frames before it are written, marked as partial" in done.stderr


@pytest.fixture
def tracker_file(tmp_path):
    path = tmp_path / "arena.toml"
    path.write_text("[camera]\ndriver = 'sim'\n\n[tracker]\nmax_tracks = 1\n")
    return path


def test_the_tracker_of_a_rig_file(video, tmp_path, tracker_file):
    arguments = (video, "-m", "zoo:sim_pair", "-o", tmp_path / "o.csv", "--frames", "0-7", "--json")
    done = poseloop_track(*arguments, "--tracker", tracker_file)
    report = json.loads(done.stdout)
    assert report["track_names"] == ["track_1"]
    assert report["n_left_out"] == 8


def test_sleaps_own_tracker(video, tmp_path):
    arguments = (video, "-m", "zoo:sim_pair", "-o", tmp_path / "o.csv", "--frames", "0-7", "--json", "--overwrite")
    for name in ("sleap", "sleap-flow"):
        report = json.loads(poseloop_track(*arguments, "--tracker", name).stdout)
        assert report["track_names"] == ["track_0", "track_1"]
        assert (report["n_instances"], report["n_left_out"]) == (16, 0)


def test_tracks_joined_and_smoothed(video, tmp_path, whole):
    out = tmp_path / "o.csv"
    arguments = (video, "-m", "zoo:sim_pair", "-o", out, "--tracker", "sleap", "--join-breaks", 2, "--smooth-s", 0.15)
    done = poseloop_track(*arguments)
    assert done.exit_code == 0, done.stderr
    assert "tracks: track_0, track_1\n" in done.stdout
    with out.open(newline="") as smoothed, whole[0][0].open(newline="") as raw:
        rows = [sorted(csv.DictReader(file), key=lambda row: float(row["head.score"])) for file in (raw, smoothed)]
    moved = [abs(float(a["head.x"]) - float(b["head.x"])) for a, b in zip(*rows, strict=True)]
    assert 0 < sum(moved) / len(moved) < 1


def test_live_is_what_is_meant_without_a_word(video, tmp_path):
    for name, word in (("a", ()), ("b", ("--tracker", "live"))):
        out = tmp_path / f"{name}.csv"
        assert poseloop_track(video, "-m", "zoo:sim_pair", "-o", out, "--frames", "0-7", *word).exit_code == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


USUAL = ["VIDEO", "-m", "zoo:sim_pair", "-o", "o.csv"]
WRONG = {
    "a missing video": (["no_such.mp4", "-m", "zoo:sim_pair", "-o", "o.csv"], "no_such.mp4"),
    "no video": (["notes.txt", "-m", "zoo:sim_pair", "-o", "o.csv"], "notes.txt: expected a video file"),
    "a missing model": (["VIDEO", "-m", "zoo:sim_pear", "-o", "o.csv"], "expected one of"),
    "another size": (["VIDEO", "-m", "zoo:fly_pair", "-o", "o.csv"], "for which the model was exported"),
    "an unknown format": (["VIDEO", "-m", "zoo:sim_pair", "-o", "o.xls"], "expected a name that ends with .slp"),
    "a range": ([*USUAL, "--frames", "7"], "expected FIRST-LAST"),
    "a range backward": ([*USUAL, "--frames", "9-3"], "before the last"),
    "a range too far": ([*USUAL, "--frames", "0-72"], "frames within 0-71"),
    "tracker and none": (
        [*USUAL, "--no-tracking", "--max-animals", "2"],
        "expected --no-tracking or options of the tracker, got both",
    ),
    "SLEAP's tracker and none": (
        [*USUAL, "--no-tracking", "--tracker", "sleap"],
        "expected --no-tracking or options of the tracker, got both",
    ),
    "a limit for SLEAP's tracker": (
        [*USUAL, "--tracker", "sleap-flow", "--max-animals", "2"],
        "--max-animals: expected the live tracker, got --tracker sleap-flow, which has no limit",
    ),
    "an unknown tracker": (
        [*USUAL, "--tracker", "kalman"],
        "kalman: expected one of live, sleap, sleap-flow, or a file with a tracker section: No such file or directory",
    ),
    "an unknown key": ([*USUAL, "--tracker", "wrong.toml"], "$.tracker.gaet"),
    "no tracker section": ([*USUAL, "--tracker", "none.toml"], "$.tracker"),
    "no TOML": ([*USUAL, "--tracker", "notes.txt"], "not valid TOML"),
    "no tracker file": ([*USUAL, "--tracker", "x.toml"], "No such file"),
    "joining without a number": (
        [*USUAL, "--tracker", "sleap", "--join-breaks"],
        "Option '--join-breaks' requires an argument.",
    ),
    "joining nobody": (
        [*USUAL, "--tracker", "sleap", "--join-breaks", "0"],
        "--join-breaks: expected how many animals there are, 1 or more, got 0",
    ),
    "joining what does not end": (
        [*USUAL, "--join-breaks", "2"],
        "--join-breaks: expected tracks that end, got the live tracker for a closed population, which gives a lost "
        "animal its own track back; leave out --join-breaks, or name with --tracker a file whose tracker section says "
        "closed_population = false",
    ),
    "joining no tracks": (
        [*USUAL, "--no-tracking", "--join-breaks", "2"],
        "--join-breaks: expected tracks, got --no-tracking; leave out one of the two",
    ),
    "smoothing no tracks": (
        [*USUAL, "--no-tracking", "--smooth-s", "0.2"],
        "--smooth-s: expected tracks, got --no-tracking; leave out one of the two",
    ),
    "smoothing in milliseconds": (
        [*USUAL, "--smooth-s", "200"],
        "--smooth-s: expected seconds, more than 0 and at most 10, got 200; 0.2 is a good start",
    ),
    "smoothing over no time": (
        [*USUAL, "--smooth-s", "nan"],
        "--smooth-s: expected seconds, more than 0 and at most 10, got nan; 0.2 is a good start",
    ),
    "smoothing in two frames": (
        [*USUAL, "--smooth-s", "0.03"],
        "--smooth-s: expected 0.0667 s or more, the time of 5 frames at 60 frames/s, got 0.03; in fewer frames there "
        "is nothing to smooth",
    ),
    "half precision on a CPU": ([*USUAL, "--precision", "fp16"], "needs cuda"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_and_nothing_is_left_behind(video, tmp_path, arguments, message, monkeypatch):
    (tmp_path / "notes.txt").write_text("no video, no [TOML")
    (tmp_path / "wrong.toml").write_text("[tracker]\ngaet = 1.0\n")
    (tmp_path / "none.toml").write_text("[camera]\ndriver = 'sim'\n")
    before = set(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["track", *(str(video) if part == "VIDEO" else part for part in arguments)])
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.stderr.split())
    assert done.stdout == ""
    assert set(tmp_path.iterdir()) == before


LINES = {
    "on the way": (Progress(17, 100, 0, 0), 0.0, "frame 17 of 100 · on the way to the first one"),
    "under way": (Progress(60, 100, 40, 2), 4.0, "frame 60 of 100 · 10 frames/s · 0:04 min left · 2 animals"),
    "for hours": (
        Progress(100, 100_100, 100, 0),
        10.0,
        "frame 100 of 100100 · 10 frames/s · 2 h 46 min left · 0 animals",
    ),
    "all found": (Progress(100, 100, 40, 2), 4.0, "frame 100 of 100 · all poses are found"),
    "following begins": (
        Progress(20, 100, 0, 2, "following"),
        0.0,
        "following the animals: frame 20 of 100 · on the way to the first one",
    ),
    "following": (
        Progress(60, 100, 40, 2, "following"),
        4.0,
        "following the animals: frame 60 of 100 · 10 frames/s · 0:04 min left · 2 animals",
    ),
    "at the end": (Progress(100, 100, 80, 2, "following"), 4.0, "all animals are followed · writing the files"),
    "without end": (Progress(60, None, 40, 2), 4.0, "frame 60 · 10 frames/s · 2 animals"),
}


@pytest.mark.parametrize(("progress", "seconds", "line"), LINES.values(), ids=LINES)
def test_how_far_it_is(progress, seconds, line):
    assert _told(progress, seconds) == line


def test_a_model_that_fails_is_a_fault_and_what_was_found_is_kept(video, tmp_path, monkeypatch):
    real, calls = ExportedModel.predict_batch, []

    def predict_batch(self, images):
        calls.append(len(images))
        if len(calls) == 3:
            raise ModelFailedError("sim_pair: the device is gone")
        return real(self, images)

    monkeypatch.setattr(ExportedModel, "predict_batch", predict_batch)
    arguments = ["track", str(video), "-m", "zoo:sim_pair", "-o", str(tmp_path / "o.csv"), "--batch", "2"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 3
    assert "sim_pair: the device is gone\nwhat was found before is kept: the same command again" in done.stderr
    again = CliRunner().invoke(app, [*arguments, "--frames", "-", "--json"])
    assert json.loads(again.stdout)["n_resumed"] == 4


def test_a_missing_package_is_wrong_input(video, tmp_path, monkeypatch):
    monkeypatch.setattr(outputs.importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["track", str(video), "-m", "zoo:sim_pair", "-o", str(tmp_path / "o.slp")])
    assert done.exit_code == 2
    assert "pip install 'poseloop[sleap]'" in done.stderr
