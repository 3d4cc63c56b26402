"""Whole sessions in real processes: what the folder holds, and what happens when something dies."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camera_drivers.frame_log import read_frame_log
from realtime.cli.commands import app
from realtime.live import Request, run_live
from realtime.loop import StopRequest
from realtime.recording import RecordingError
from realtime.recording.log import read_log
from realtime.recording.records import EndRecord, FrameRecord
from triggers.lock import DeviceLock

pytestmark = pytest.mark.alone

ALWAYS = """
[loop]
frames = "{frames}"
wait = "{wait}"
deadline_ms = 2000.0
[rules.always]
any_pair = ["a", "b"]
when = "distance(a, b) > 0 px"
when_unknown = "release"
[triggers.laser]
driver = "simulated"
log_path = "device.jsonl"
max_on_ms = 60000
[stimuli.light]
rule = "always"
triggers = ["laser"]
channel = 0
duration_ms = {duration_ms}
[limits.laser.0]
max_on_s = 60.0
max_duty = 1.0
[safety]
armed_at_start = true
[recording]
video = "{video}"
"""


@pytest.fixture
def write_rig(tmp_path, rig_text):
    """Write a rig whose light goes on in every frame; return its path."""

    def write(camera='n_frames = 40\npace = "consumer"', *, model="zoo:sim_pair", **changes):
        settings = {"frames": "every", "wait": "sleep", "duration_ms": 20, "video": "none"} | changes
        path = tmp_path / "rig.toml"
        path.write_text(rig_text(ALWAYS.format(**settings), camera=camera, model=model))
        return path

    return write


def start(rig, *options):
    command = [sys.executable, "-m", "realtime.cli", "run", str(rig), "--json", "--out", str(rig.parent / "session")]
    return subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run(rig, *options):
    """Run a whole session, its loop in a process of its own; return the exit code and the answer."""
    done = CliRunner().invoke(app, ["run", str(rig), "--json", "--out", str(rig.parent / "session"), *options])
    assert done.stdout, done.output
    return done.exit_code, json.loads(done.stdout.splitlines()[-1])


def finish(process):
    out, err = process.communicate(timeout=120)
    return json.loads(out.splitlines()[-1]) if out.strip() else {}, err


def device_log(folder):
    lines = (folder / "device.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def frames_of(session):
    return [record for record in read_log(session / "events.log") if isinstance(record, FrameRecord)]


def edges(folder):
    return [line for line in device_log(folder) if line["record"] == "edge"]


def is_on(folder):
    return (folder / "device.jsonl").exists() and any(edge["on"] for edge in edges(folder))


def is_off_again(folder):
    return is_on(folder) and not edges(folder)[-1]["on"]


def test_a_session_leaves_everything_in_its_folder(tmp_path, write_rig):
    code, answer = run(write_rig(video="lossy"))
    session = tmp_path / "session"
    assert code == 0
    assert (answer["reason"], answer["n_frames"], answer["fault"]) == ("camera ended", 40, "")
    assert sorted(path.name for path in session.iterdir()) == [
        "events.log",
        "frames.log",
        "frames.mkv",
        "rig.toml",
        "session.json",
    ]
    description = json.loads((session / "session.json").read_text())
    assert description["ended"] == "camera ended"
    assert description["seed"] == 7
    records = list(read_log(session / "events.log"))
    assert [record.frame_id for record in records if isinstance(record, FrameRecord)] == list(range(40))
    assert isinstance(records[-1], EndRecord)
    assert read_frame_log(session / "frames.log").frame_ids.tolist() == list(range(40))
    assert (session / "rig.toml").read_text() == (tmp_path / "rig.toml").read_text()


def test_a_session_that_waits_awake_finds_the_same(tmp_path, write_rig):
    """What it does meanwhile, with a tracker and rules of its own, leaves those of the session alone."""
    found = {}
    for wait in ("sleep", "spin"):
        rig = write_rig('n_frames = 30\npace = "realtime"\nframe_rate_hz = 20.0', wait=wait)
        assert run(rig, "--out", str(tmp_path / wait))[0] == 0
        found[wait] = [
            (
                frame.frame_id,
                frame.tracks.track_ids,
                frame.tracks.xy,
                [(d.state, d.edge, d.values) for d in frame.decisions],
            )
            for frame in frames_of(tmp_path / wait)
        ]
    assert len(found["sleep"]) == 30
    assert found["sleep"] == found["spin"]


def test_a_dry_run_sends_nothing(tmp_path, write_rig):
    assert run(write_rig(), "--dry-run")[0] == 0
    assert not (tmp_path / "device.jsonl").exists()
    assert [intent.outcome for frame in frames_of(tmp_path / "session") for intent in frame.intents] == ["sent"]


@pytest.fixture
def endless(tmp_path, write_rig, wait_for):
    """Return a running session whose output is on for a minute."""

    def begin(**changes):
        camera = f'n_frames = {10**6}\npace = "realtime"'
        process = start(write_rig(camera, frames="latest", duration_ms=60_000, **changes))
        wait_for(lambda: is_on(tmp_path) or process.poll() is not None)
        return process

    return begin


@pytest.fixture
def loop_pid(child_of):
    return lambda process: child_of(process.pid, "realtime.live")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "terminated"]
)
def test_a_signal_switches_off_and_leaves_a_whole_session(tmp_path, number, code, endless, loop_pid):
    process = endless()
    # As a terminal does it: Ctrl-C goes to every process of the group, SIGTERM to the one that was named.
    os.kill(loop_pid(process) if number == signal.SIGINT else process.pid, number)
    answer, _ = finish(process)
    assert process.returncode == code
    assert answer["reason"] == f"signal {number.name}"
    assert is_off_again(tmp_path)
    assert isinstance(list(read_log(tmp_path / "session" / "events.log"))[-1], EndRecord)


def test_killing_the_loop_switches_off_by_the_dead_man_and_what_was_written_is_readable(
    tmp_path, endless, loop_pid, wait_for
):
    process = endless(video="lossy")
    session = tmp_path / "session"
    wait_for(lambda: len(frames_of(session)) > 30)
    os.kill(loop_pid(process), signal.SIGKILL)
    answer, _ = finish(process)
    assert process.returncode == 128 + signal.SIGKILL
    assert answer["error"]["text"] == (
        f"the loop's process was killed by SIGKILL; {session} is readable; the loop's process died; "
        "outputs: laser gone with the loop"
    )
    wait_for(lambda: is_off_again(tmp_path))
    frames = frames_of(session)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert json.loads((session / "session.json").read_text())["ended"] == (
        "the supervisor ended it: the loop's process died"
    )


def test_killing_the_command_line_ends_the_session_in_order(tmp_path, endless, loop_pid, wait_for):
    process = endless()
    loop = loop_pid(process)
    process.kill()
    process.communicate()
    wait_for(lambda: not Path(f"/proc/{loop}").exists())
    assert is_off_again(tmp_path)
    assert json.loads((tmp_path / "session" / "session.json").read_text())["ended"] == "signal SIGTERM"


def test_a_stimulator_that_vanishes_in_a_pulse_disarms_and_is_reported(tmp_path, endless, loop_pid, child_of, wait_for):
    process = endless()
    device = child_of(loop_pid(process), "triggers.simulated")
    os.kill(device, signal.SIGKILL)
    session = tmp_path / "session"
    wait_for(lambda: any(frame.trigger_events for frame in frames_of(session)))
    os.kill(loop_pid(process), signal.SIGINT)
    answer, _ = finish(process)
    assert process.returncode == 3
    assert answer["fault"].startswith("laser: ")
    faults = [event for frame in frames_of(session) for event in frame.trigger_events if event.kind == "fault"]
    assert len(faults) == 1


def test_a_camera_whose_process_dies_ends_the_session_with_outputs_off(tmp_path, endless, loop_pid, child_of):
    process = endless()
    camera = child_of(loop_pid(process), "camera_drivers.process")
    os.kill(camera, signal.SIGKILL)
    answer, _ = finish(process)
    assert process.returncode == 3
    assert "the camera process was killed by SIGKILL" in answer["error"]["text"]
    assert is_off_again(tmp_path)


def test_a_device_that_another_program_drives_is_refused_and_the_program_named(tmp_path, write_rig):
    rig = write_rig()
    address = f"ipc://{tmp_path}/lamp"
    laser = 'driver = "simulated"\nlog_path = "device.jsonl"\nmax_on_ms = 60000'
    rig.write_text(rig.read_text().replace(laser, f'driver = "zmq"\naddress = "{address}"\npattern = "pub"'))
    with DeviceLock(address):
        code, answer = run(rig)
    assert code == 3
    text = f"{address}: expected a device that nobody drives, got one that is driven by process {os.getpid()} ("
    assert answer["error"]["text"].startswith(text)


def test_a_folder_that_is_in_use_is_refused_before_anything_fires(tmp_path, write_rig):
    (tmp_path / "session").mkdir()
    (tmp_path / "session" / "notes.txt").write_text("mine")
    code, answer = run(write_rig())
    assert code == 2
    assert "expected a new or empty folder" in answer["error"]["text"]
    assert not (tmp_path / "device.jsonl").exists()


def test_a_full_disk_ends_the_session_with_outputs_off_and_a_valid_log(tmp_path, endless, loop_pid, child_of):
    process = endless()
    recorder = child_of(loop_pid(process), "realtime.recording.process")
    # A file-size limit is met by the same failing write as a full disk, and needs no rights to set up.
    resource.prlimit(recorder, resource.RLIMIT_FSIZE, (65536, 65536))
    answer, _ = finish(process)
    assert process.returncode == 4
    assert answer["reason"].startswith("recording failed: ")
    assert is_off_again(tmp_path)
    frames = frames_of(tmp_path / "session")
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert len(frames) > 10


SPOT_CAMERA = 'n_frames = 5\npace = "consumer"\nwidth_px = 96\nheight_px = 96\nbody_px = 20.0'


@pytest.fixture
def spot_rig(write_rig, spot_model):
    """A rig of simulated frames and a small model."""
    return write_rig(SPOT_CAMERA, model=spot_model)


def test_a_disk_that_is_full_from_the_beginning_is_named_and_nothing_is_left(tmp_path, write_rig, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordingError) as caught:
        run_live(Request(rig=str(write_rig()), out=str(tmp_path / "session")), StopRequest())
    path = tmp_path / "session" / "session.json"
    assert str(caught.value) == f"{path}: cannot write it: No space left on device"
    assert not (tmp_path / "session").exists()


def test_the_record_says_that_the_engine_was_equal_to_the_reference(tmp_path, spot_rig):
    code, answer = run(spot_rig)
    assert code == 0, answer
    parity = json.loads((tmp_path / "session" / "session.json").read_text())["model"]["parity"]
    assert (parity["checked"], parity["tolerance_px"], parity["n_points"], parity["missing"]) == (True, 0.1, 6, 0)
    assert parity["max_px"] < 1e-3


@pytest.mark.parametrize("options", [(), ("--dry-run",)], ids=["live", "dry run"])
def test_an_engine_that_does_not_find_what_the_reference_says_is_not_armed(
    tmp_path, spot_model, shift_weights, options, spot_rig
):
    shift_weights(spot_model)
    code, answer = run(spot_rig, *options)
    assert code == 2
    assert answer["error"] == {
        "kind": "ModelDiffersError",
        "text": f"{spot_model}: not armed: points lie 1.00 px to the left of the reference, all shifted alike: check "
        "that these are its weights, and try another engine, as this one may resize or crop differently "
        f"(tolerance 0.1 px; all numbers: poseloop verify {spot_model} --kind exported --engine onnxruntime "
        "--device cpu --precision fp32)",
    }
    assert not (tmp_path / "device.jsonl").exists()
    assert not (tmp_path / "session").exists()


def test_a_rig_may_tolerate_more(tmp_path, spot_model, shift_weights, spot_rig):
    shift_weights(spot_model)
    spot_rig.write_text(spot_rig.read_text().replace('kind = "exported"', 'kind = "exported"\ntolerance_px = 1.5'))
    assert run(spot_rig)[0] == 0
    parity = json.loads((tmp_path / "session" / "session.json").read_text())["model"]["parity"]
    assert (parity["tolerance_px"], parity["offset_x_px"]) == (1.5, pytest.approx(-1, abs=1e-3))


def test_without_a_reference_nothing_is_armed(tmp_path, spot_model, forget_reference, spot_rig):
    forget_reference(spot_model)
    code, answer = run(spot_rig)
    assert code == 2
    assert answer["error"]["text"] == (
        f"{spot_model}: not armed: expected a reference (reference.npz) that proves what the engine finds, got none; "
        "export the model again, or rehearse with --dry-run"
    )
    assert not (tmp_path / "device.jsonl").exists()
    assert run(spot_rig, "--dry-run")[0] == 0
    assert json.loads((tmp_path / "session" / "session.json").read_text())["model"]["parity"] == {
        "checked": False,
        "reason": "the model's folder has no reference",
    }
