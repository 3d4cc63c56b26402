"""`poseloop looptest` in a process of its own, with a simulated camera that sees a simulated stimulator's light."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from realtime.cli.commands import app
from triggers.lock import DeviceLock

pytestmark = pytest.mark.alone

DEADLINE_S = 60.0
CAMERA = """
width_px = 96
height_px = 96
body_px = 20.0
n_animals = 0
frame_rate_hz = 200.0
exposure_ms = 2.5
light_log_path = "lights/log.jsonl"
light_delay_ms = {delay_ms}
light_channel = {light_channel}
{camera}
"""
REST = """
[rules.near]
any_pair = ["a", "b"]
when = "distance(a.head, b.head) < 9 px"
when_unknown = "release"
[triggers.laser]
driver = "simulated"
log_path = "lights/log.jsonl"
[stimuli.light]
rule = "near"
triggers = ["laser"]
channel = 0
duration_ms = 50.0
[limits.laser.0]
max_duty = 0.9
max_on_s = 60.0
max_dose_s = 600.0
"""


@pytest.fixture
def write_rig(tmp_path: Path, rig_text: Callable[..., str]) -> Callable[..., Path]:
    def write(*, delay_ms: float = 8.0, light_channel: int = 0, camera: str = "") -> Path:
        path = tmp_path / "rig.toml"
        settings = CAMERA.format(delay_ms=delay_ms, light_channel=light_channel, camera=camera)
        path.write_text(rig_text(REST, camera=settings))
        return path

    return write


def edges(folder: Path) -> list[dict[str, Any]]:
    log = folder / "lights" / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return [record for record in map(json.loads, lines) if record["record"] == "edge"]


def looptest(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["looptest", *map(str, arguments)])


def started(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "realtime.cli", "looptest", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)


def test_the_delay_of_the_simulated_light_is_found(tmp_path: Path, write_rig: Callable[..., Path]) -> None:
    delay_ms = 30.0
    rig = write_rig(delay_ms=delay_ms)
    done = looptest(rig, "--yes", "--json", "--pulses", "40", "--longest-ms", "50", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    commands = np.array([pulse["command_ns"] for pulse in found["pulses"]])
    lit = np.array([edge["host_ns"] for edge in edges(tmp_path) if edge["on"]])
    nearest = np.abs(lit[:, np.newaxis] - commands).argmin(axis=0)
    truth_ms = np.median(lit[nearest] - commands) / 1e6 + delay_ms
    assert found["command_to_light_ms"]["p50"]["value"] == pytest.approx(truth_ms, abs=0.5)
    assert found["n_pulses"] == 40
    assert not edges(tmp_path)[-1]["on"]
    assert json.loads((tmp_path / "out" / "looptest.json").read_text()) == found
    assert (tmp_path / "out" / "looptest.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("number", "code", "within_s"),
    [(signal.SIGINT, 130, 0.5), (signal.SIGTERM, 143, 0.5), (signal.SIGKILL, -9, 0.8)],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_signal_leaves_the_output_off(
    tmp_path: Path,
    number: int,
    code: int,
    within_s: float,
    write_rig: Callable[..., Path],
    wait_for: Callable[..., Any],
) -> None:
    """The pulse would last for 900 ms; SIGKILL cannot be answered, and the device's dead man is what is left."""
    process = started(write_rig(), "--yes", "--pulse-ms", "900")
    wait_for(lambda: edges(tmp_path) and edges(tmp_path)[-1]["on"])
    sent_ns = time.monotonic_ns()
    process.send_signal(number)
    _, said = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == code
    wait_for(lambda: not edges(tmp_path)[-1]["on"])
    assert edges(tmp_path)[-1]["host_ns"] - sent_ns < within_s * 1e9
    if number != signal.SIGKILL:
        assert f"looptest: {signal.Signals(number).name}" in said.replace("signal ", "")
    assert "Traceback" not in said


def test_the_output_is_off_when_the_camera_dies(tmp_path: Path, write_rig: Callable[..., Path]) -> None:
    """It dies after 4 s, in the first pulse, unless it takes longer than that to begin."""
    rig = write_rig(camera="n_frames = 800")
    done = looptest(rig, "--yes", "--pulse-ms", "9000", "--pulses", "10")
    assert done.exit_code == 3
    assert "looptest: the camera ended before the test did; expected one that does not end" in done.stderr
    assert [edge["on"] for edge in edges(tmp_path)][-2:] == [True, False]
    assert edges(tmp_path)[-1]["host_ns"] - edges(tmp_path)[-2]["host_ns"] < 4e9


def test_no_light_is_a_fault_that_was_found(tmp_path: Path, write_rig: Callable[..., Path]) -> None:
    done = looptest(write_rig(light_channel=1), "--yes", "--longest-ms", "20", "--pulses", "10")
    assert done.exit_code == 1
    assert "looptest: no part of the picture brightens with the pulses" in done.stderr
    assert len([edge for edge in edges(tmp_path) if edge["on"]]) == 12


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 2), (signal.SIGINT, 130)])
def test_nothing_is_fired_without_a_yes(
    tmp_path: Path, answer: bytes | int, code: int, write_rig: Callable[..., Path]
) -> None:
    ours, theirs = pty.openpty()
    process = started(write_rig(), stdin=theirs)
    assert process.stderr is not None
    told = ""
    while "[y/N]: " not in told:
        told += process.stderr.read(1)
    assert "looptest will fire 212 pulses of 16 ms on laser channel 0 at intensity 1" in told
    if isinstance(answer, bytes):
        os.write(ours, answer)
    else:
        process.send_signal(answer)
    _, said = process.communicate(timeout=DEADLINE_S)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code, said
    assert not edges(tmp_path)


def test_a_yes_on_the_terminal_fires(
    tmp_path: Path, write_rig: Callable[..., Path], wait_for: Callable[..., Any]
) -> None:
    ours, theirs = pty.openpty()
    process = started(write_rig(), "--pulse-ms", "100", stdin=theirs)
    os.write(ours, b"y\n")
    wait_for(lambda: edges(tmp_path))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=DEADLINE_S)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 143
    assert not edges(tmp_path)[-1]["on"]


def test_the_device_can_be_timed_instead(tmp_path: Path, write_rig: Callable[..., Path]) -> None:
    done = looptest(write_rig(), "--echo", "--yes", "--json", "--pulses", "10", "--longest-ms", "100")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["n_seen"], found["n_missed"]) == (10, 0)
    assert 0.0 < found["command_to_echo_ms"]["p50"] < 100.0
    assert not edges(tmp_path)[-1]["on"]


@pytest.mark.parametrize(
    ("camera", "arguments", "code", "message"),
    [
        ("", (), 2, "looptest: expected --yes, since there is no terminal to ask on whether this may be fired"),
        ("", ("--yes", "--channel", "9"), 2, "--trigger and --channel: expected the output to test"),
        (
            "",
            ("--yes", "--trigger", "laser", "--channel", "9", "--intensity", "1"),
            3,
            "expected a channel from 0 to 7",
        ),
        ("", ("--yes", "--region", "90,90,20,20"), 2, "--region: expected a part of the image of 96 × 96 px"),
        ("", ("--yes", "--pulse-ms", "2"), 2, "--pulse-ms: expected at least three frame intervals, 15 ms"),
        ("", ("--yes", "--session", "no/such"), 2, "not a session folder"),
        ("seeed = 1", ("--yes",), 2, "$.camera.seeed: unknown key; did you mean 'seed'?"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_fired(
    tmp_path: Path, camera: str, arguments: tuple[str, ...], code: int, message: str, write_rig: Callable[..., Path]
) -> None:
    done = looptest(write_rig(camera=camera), *arguments)
    assert done.exit_code == code
    assert message in done.stderr
    assert not edges(tmp_path)


def test_a_device_that_a_session_drives_is_left_alone(tmp_path: Path, write_rig: Callable[..., Path]) -> None:
    rig, address = write_rig(), f"ipc://{tmp_path}/lamp"
    zmq = f'driver = "zmq"\naddress = "{address}"\npattern = "pub"'
    rig.write_text(rig.read_text().replace('driver = "simulated"\nlog_path = "lights/log.jsonl"', zmq))
    with DeviceLock(address):
        done = looptest(rig, "--yes", "--echo")
    assert done.exit_code == 3
    assert f"{address}: expected a device that nobody drives, got one that is driven by process" in done.stderr


def test_a_camera_that_waits_for_the_program_cannot_see_a_light(write_rig: Callable[..., Path]) -> None:
    rig = write_rig()
    text = rig.read_text()
    start, end = text.index("light_log_path"), text.index("[model]")
    rig.write_text(text[:start] + 'pace = "consumer"\n' + text[end:])
    done = looptest(rig, "--yes")
    assert done.exit_code == 3
    assert "expected a camera that runs by the clock, got sim, whose frames wait for the program" in done.stderr


def test_help_says_what_is_included() -> None:
    told = " ".join(looptest("--help").stdout.replace("│", " ").split())
    assert "Included is what lies between the command's last byte and the light" in told
    assert "Not included are the model and the loop" in told
