"""The lock on a device: two real processes, of which one is killed; who has it; what counts as one device."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from triggers.errors import TriggerNotOpenError
from triggers.lock import DeviceLock, device_of
from triggers.open_ephys import OpenEphysOptions
from triggers.osc import OscOptions
from triggers.pulsepal import PulsePalTrigger
from triggers.recording import RecordingOptions
from triggers.serial import SerialOptions
from triggers.simulated import SimulatedOptions
from triggers.zmq import ZmqOptions

HOLD = """
import sys
from pathlib import Path
from triggers.lock import DeviceLock
lock = DeviceLock(sys.argv[1], Path(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def hold(start: Start, tmp_path: Path) -> Callable[[str], "subprocess.Popen[bytes]"]:
    """Start a process that holds the lock of a device."""

    def hold(device: str) -> "subprocess.Popen[bytes]":
        process = start("-c", HOLD, device, str(tmp_path), stdin=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        return process

    return hold


def test_a_second_process_is_refused_and_told_who_has_it(
    hold: Callable[[str], "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    process = hold("/dev/laser")
    with pytest.raises(TriggerNotOpenError) as caught:
        DeviceLock("/dev/laser", tmp_path)
    text = str(caught.value)
    assert text.startswith(
        f"/dev/laser: expected a device that nobody drives, got one that is driven by process {process.pid} ("
    )
    assert "-c" in text
    assert text.endswith("; end that program first, or name another device")
    DeviceLock("/dev/lamp", tmp_path).close()


def test_a_killed_holder_leaves_nothing_locked(
    hold: Callable[[str], "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    process = hold("/dev/laser")
    process.kill()
    process.wait()
    with DeviceLock("/dev/laser", tmp_path) as lock:
        assert lock.path.read_text().startswith(f"process {os.getpid()} (")


def test_a_child_of_the_holder_that_lives_on_does_not_keep_it(tmp_path: Path) -> None:
    lock = DeviceLock("/dev/laser", tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False) as child:
        lock.close()
        DeviceLock("/dev/laser", tmp_path).close()
        assert child.poll() is None


def test_the_holder_itself_does_not_get_it_twice(tmp_path: Path) -> None:
    with DeviceLock("/dev/laser", tmp_path), pytest.raises(TriggerNotOpenError, match=f"process {os.getpid()} "):
        DeviceLock("/dev/laser", tmp_path)
    DeviceLock("/dev/laser", tmp_path).close()


def test_every_user_can_take_a_lock_that_another_one_had(tmp_path: Path) -> None:
    folder = tmp_path / "locks"
    before = os.umask(0o077)
    try:
        with DeviceLock("/dev/laser", folder) as lock:
            assert folder.stat().st_mode & 0o7777 == 0o1777
            assert lock.path.stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_a_link_in_place_of_the_folder_or_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "real")
    with pytest.raises(TriggerNotOpenError, match="expected a folder of locks, got a link"):
        DeviceLock("/dev/laser", tmp_path / "linked")
    path = DeviceLock("/dev/laser", tmp_path / "real").path
    path.unlink()
    victim = tmp_path / "victim"
    victim.write_text("mine")
    path.symlink_to(victim)
    with pytest.raises(TriggerNotOpenError, match="cannot open the lock of a device"):
        DeviceLock("/dev/laser", tmp_path / "real")
    assert victim.read_text() == "mine"


def test_two_names_of_one_port_are_one_device(tmp_path: Path) -> None:
    port = tmp_path / "ttyACM0"
    port.touch()
    by_id = tmp_path / "usb-Arduino"
    by_id.symlink_to(port)
    named = [device_of(SerialOptions(port=str(path))) for path in (port, by_id)]
    assert named == [str(port.resolve())] * 2


@pytest.mark.parametrize(
    ("options", "device"),
    [
        (PulsePalTrigger.Options(port="/dev/null"), "/dev/null"),
        (ZmqOptions(address="tcp://127.0.0.1:5571"), "tcp://127.0.0.1:5571"),
        (ZmqOptions(address="tcp://localhost:5571"), "tcp://127.0.0.1:5571"),
        (OscOptions(), "127.0.0.1:9000"),
        (OpenEphysOptions(host="localhost"), "127.0.0.1:5556"),
        (SimulatedOptions(), None),
        (RecordingOptions(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_locked(options: object, device: str | None) -> None:
    assert device_of(options) == device  # type: ignore[arg-type]
