"""The command line as a person or a script meets it: messages and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from realtime.cli.commands import app

REPOSITORY = Path(__file__).parents[2]
DEMO = REPOSITORY / "rigs" / "demo.toml"


def poseloop(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def changed_demo(folder, before, after):
    text = DEMO.read_text()
    assert before in text
    rig = folder / "rig.toml"
    rig.write_text(text.replace(before, after))
    return rig


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "replay",
        "check",
        "report",
        "demo",
        "devices",
        "import",
        "train",
        "verify",
        "track",
        "evaluate",
        "rules",
        "looptest",
    ],
)
def test_every_command_teaches_itself(command):
    done = poseloop(command, "--help")
    assert done.exit_code == 0
    assert "Usage:" in done.stdout


def test_help_documents_the_exit_codes_and_is_there_in_a_process_of_its_own():
    done = subprocess.run([sys.executable, "-m", "realtime.cli", "--help"], capture_output=True, text=True, check=True)
    assert "Exit codes:" in done.stdout


def test_exit_codes_are_those_of_the_process():
    command = [sys.executable, "-m", "realtime.cli", "run", "no_such.toml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot read the rig file" in done.stderr
    assert "Traceback" not in done.stderr


WRONG = {
    "a misspelt key": (("seed = 7", "sede = 7"), "$.camera.sede: unknown key; did you mean 'seed'?"),
    "an unknown node": (("a.head, b.thorax) <", "a.haed, b.thorax) <"), "haed"),
    "a wrong unit": (("< 40 deg", "< 40 mm"), "$.rules.courting.when"),
    "a missing unit": (("< 3.5 mm", "< 3.5"), "$.rules.courting.when"),
    "an unknown driver": (('driver = "sim"', 'driver = "sin"'), "did you mean 'sim'?"),
    "a missing model": (("zoo:sim_pair", "no/such/model"), "no/such/model"),
    "a missing video": (
        ('driver = "sim"\nseed = 7\nwidth_px = 512\nheight_px = 512\nframe_rate_hz = 60.0\nn_animals = 2',
         'driver = "video"\npath = "no_such.mp4"'),
        "no_such.mp4",
    ),
    "a heading that the model does not have": (('front = "head"', 'front = "nose"'), "$.animal.front"),
    "a port that is not there": (
        ('driver = "simulated"', 'driver = "serial"\nport = "/dev/no-such-port"'),
        "/dev/no-such-port",
    ),
    "a stimulus longer than its limit": (("max_on_s = 0.5", "max_on_s = 0.1"), "can never be sent"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_in_a_rig_is_said_and_nothing_is_left_behind(tmp_path, change, message, capfd):
    rig = changed_demo(tmp_path, *change)
    done = poseloop("run", rig, "--out", tmp_path / "session", "--seconds", "1")
    assert done.exit_code in {2, 3}, done.stderr
    assert message in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr + capfd.readouterr().err, "neither here nor from the loop's process"
    assert not (tmp_path / "session").exists()


def test_a_damaged_model_is_refused_before_anything_starts(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    for path in (REPOSITORY / "models" / "zoo" / "sim_pair").iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    graph = model / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    done = poseloop("run", changed_demo(tmp_path, "zoo:sim_pair", "model"), "--out", tmp_path / "session")
    assert done.exit_code == 2
    assert graph.name in done.stderr.replace("\n", "")
    assert not (tmp_path / "session").exists()


def test_check_lists_everything_that_is_wrong_and_exits_with_1(tmp_path):
    rig = changed_demo(tmp_path, 'driver = "simulated"', 'driver = "serial"\nport = "/dev/no-such-port"')
    rig.write_text(rig.read_text().replace("zoo:sim_pair", "no/such/model"))
    done = poseloop("check", rig, "--json")
    findings = json.loads(done.stdout)
    assert done.exit_code == 1
    assert {finding["subject"] for finding in findings if finding["level"] == "error"} == {"model", "trigger laser"}


def test_check_of_the_demo_finds_nothing_wrong():
    done = poseloop("check", DEMO)
    assert done.exit_code == 0, done.stdout
    assert "error" not in done.stdout


def test_check_of_a_rig_with_mistakes_exits_with_2(tmp_path):
    done = poseloop("check", changed_demo(tmp_path, "seed = 7", "sede = 7"))
    assert done.exit_code == 2
    assert "did you mean 'seed'?" in done.stdout


def test_devices_are_listed():
    done = poseloop("devices", "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {"sim", "video", "session", "opencv"} <= set(found["camera_drivers"])
    assert {"serial", "simulated", "zmq", "recording"} <= set(found["triggers"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run",), "Missing argument"),
        (("run", "no_such.toml"), "cannot read the rig file"),
        (("run", DEMO, "--seconds", "soon"), "Invalid value"),
        (("run", DEMO, "--seconds", "inf"), "31536000"),
        (("demo", "--seconds", "1e300"), "31536000"),
        (("verify", "zoo:sim_pair", "--threads", "100000"), "1024"),
        (("verify", "zoo:sim_pair", "--tolerance-px", "inf"), "$.tolerance_px: expected a finite number, got Infinity"),
        (("replay", "no/such/session"), "not a session folder"),
        (("replay", ".", "--from-poses", "--from-frames"), "got both"),
        (("report", "."), "not a session folder"),
        (("import", "no/such/folder", "--out", "model"), "no/such/folder"),
        (("import", ".", "--out", "model", "--size", "big"), "expected WIDTHxHEIGHT in px"),
        (("import", ".", "--out", "model", "--size", "512x99999999"), "expected sides of at most 16384 px, got"),
        (("train", "no_such.toml", "--out", "model"), "no_such.toml"),
        (("fly",), "No such command"),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, tuple) else None,
)
def test_a_wrong_command_line_is_explained_and_exits_with_2(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = poseloop(*arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr


def test_import_replaces_a_model_only_when_told_to(tmp_path):
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").write_text("what rigs rely on")
    done = poseloop("import", tmp_path / "trained", "--out", model)
    assert done.exit_code == 2
    assert f"--out: expected no model in {model}, got one" in done.stderr.replace("\n", "")
    assert (model / "model.json").read_text() == "what rigs rely on"
    # Told to, it goes on to what it would import, which is not there.
    done = poseloop("import", tmp_path / "trained", "--out", model, "--overwrite")
    assert "--out" not in done.stderr
    assert str(tmp_path / "trained") in done.stderr.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("report", "session"), "session/events.log"),
        (("replay", "session"), "session/events.log"),
        (("enrol", "session"), "session/events.log"),
        (("rules", "explain", DEMO, "--session", "session"), "session/events.log"),
        (("looptest", DEMO, "--yes", "--out", "file"), "file"),
        (("looptest", DEMO, "--yes", "--out", "file/folder"), "file/folder"),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, tuple) else None,
)
def test_a_file_that_cannot_be_used_is_named_and_exits_with_2(tmp_path, monkeypatch, arguments, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    session = tmp_path / "session"
    session.mkdir()
    camera = {"width": 512, "height": 512}
    (session / "session.json").write_text(json.dumps({"format_version": 1, "camera": camera, "rig": {}, "model": {}}))
    done = poseloop(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith(f"{path}: ")
    assert "Errno" not in done.stderr


def test_the_demo_runs_reports_and_replays_to_identical(tmp_path):
    done = poseloop("demo", "--seconds", "4", "--out", tmp_path / "session")
    assert done.exit_code == 0, done.stderr
    assert (tmp_path / "session" / "report.html").stat().st_size > 10_000
    assert "identical" in done.stdout
    assert str(tmp_path / "session") in done.stdout.replace("\n", "")
