import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.pulse import Pulse
from triggers.serial import SerialOptions, SerialTrigger
from triggers.simulated import SimulatedOptions, SimulatedTrigger
from triggers.testing import check_trigger

pytestmark = pytest.mark.alone

SECOND_NS = 1_000_000_000
# A host that holds channel 0 high, says when, and goes on with its heartbeats until something happens to it.
HOST = """
import sys, time
from pathlib import Path
from triggers.pulse import Pulse
from triggers.simulated import SimulatedOptions, SimulatedTrigger
trigger = SimulatedTrigger(SimulatedOptions(log_path=sys.argv[1], dead_man_ms=150))
trigger.open()
trigger.fire(Pulse(0, 9_000_000), 1, time.monotonic_ns() + 10**9)
trigger.fire(Pulse(1, 60_000_000, 1.0, 20.0, 10_000), 2, time.monotonic_ns() + 10**9)
print(trigger.pid, flush=True)
while True:
    trigger.poll()
    time.sleep(0.005)
"""


def _in(seconds: float) -> int:
    return time.monotonic_ns() + round(seconds * SECOND_NS)


def _is_running(pid: int) -> bool:
    """A zombie, which nobody may be there to reap, does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_contract(edge_log):
    options = SimulatedOptions(log_path=edge_log.path)
    info = check_trigger(SimulatedTrigger(options))
    assert (info.driver, info.dead_man_ms, info.device["n_channels"]) == ("simulated", 250, 8)
    assert [command["id"] for command in edge_log.commands("PulseTrain")] == [1, 2, 3, 4, 5, 6]
    edges = edge_log.edges()
    assert [edge["on"] for edge in edges] == [True, False] * 6
    *widths_us, extended_us = (
        fall["device_us"] - rise["device_us"] for rise, fall in zip(edges[::2], edges[1::2], strict=True)
    )
    assert widths_us == [2_000] * 5
    *in_time, _ = edge_log.commands("Extend")
    assert extended_us == in_time[-1]["device_us"] - edges[-2]["device_us"] + 100_000


def test_a_train_is_exact_on_the_devices_clock(edge_log, until):
    with SimulatedTrigger(SimulatedOptions(log_path=edge_log.path)) as trigger:
        trigger.fire(Pulse(2, 95_000, 0.5, 50.0, 5_000), 7, _in(10))
        ack = until.event(trigger, "ack")
        until.true(lambda: trigger.poll() or len(edge_log.edges()) == 10)
    edges = edge_log.edges()
    expected_us = [ack.device_us + start + width for start in range(0, 95_000, 20_000) for width in (0, 5_000)]
    assert [edge["device_us"] for edge in edges] == expected_us
    assert {(edge["channel"], edge["command_id"]) for edge in edges} == {(2, 7)}
    assert [edge["intensity"] for edge in edges] == [32_768, 0] * 5


def test_settings_reach_the_device():
    options = SimulatedOptions(n_channels=3, dead_man_ms=400, max_on_ms=20, max_duty=0.25)
    trigger = SimulatedTrigger(options)
    info = trigger.open()
    trigger.close()
    assert info.dead_man_ms == 400
    assert (info.device["n_channels"], info.device["max_on_us"], info.device["max_duty"]) == (3, 20_000, 0.25)


def test_closing_switches_off_before_the_device_ends(edge_log):
    trigger = SimulatedTrigger(SimulatedOptions(log_path=edge_log.path))
    trigger.open()
    trigger.fire(Pulse(0, 9_000_000), 1, _in(10))
    pid = trigger.pid
    trigger.close()
    assert not _is_running(pid)
    assert edge_log.commands("AllOff")
    assert [edge["on"] for edge in edge_log.edges()] == [True, False]
    trigger.close()


def test_the_device_dies_in_the_middle_of_a_train(edge_log, until):
    trigger = SimulatedTrigger(SimulatedOptions(log_path=edge_log.path))
    trigger.open()
    trigger.fire(Pulse(0, 9_000_000, 1.0, 20.0, 10_000), 1, _in(10))
    until.true(lambda: bool(trigger.poll() or True) and len(edge_log.edges()) >= 4)
    os.kill(trigger.pid, signal.SIGKILL)
    event = until.event(trigger, "fault")
    assert "the port is gone" in event.detail
    assert trigger.failure == event.detail
    assert trigger.poll() == ()
    with pytest.raises(TriggerFailedError, match="the port is gone"):
        trigger.fire(Pulse(0, 1_000), 2, _in(10))
    trigger.all_off()
    started_s = time.perf_counter()
    trigger.close()
    assert time.perf_counter() - started_s < 1.0
    with pytest.raises(TriggerFailedError, match="not open"):
        trigger.fire(Pulse(0, 1_000), 3, _in(10))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=lambda how: how.name)
def test_when_the_host_dies_the_device_switches_off(edge_log, until, start, how):
    host = start("-c", HOST, str(edge_log.path))
    device_pid = int(host.stdout.readline())
    until.true(lambda: len(edge_log.edges()) >= 5)
    killed_ns = time.monotonic_ns()
    host.send_signal(how)
    until.true(lambda: [edge["on"] for edge in _last_edges(edge_log).values()] == [False, False])
    last_beat_us = edge_log.commands("Heartbeat")[-1]["device_us"]
    # On the device's clock exactly the dead-man time, on the host's whenever this computer has time for the device.
    off = _last_edges(edge_log)[0]  # Channel 0 was to stay on.
    assert off["device_us"] == last_beat_us + 150_000
    assert off["host_ns"] - killed_ns < 1.5 * SECOND_NS
    if how == signal.SIGKILL:
        until.true(lambda: not _is_running(device_pid))


def _last_edges(edge_log) -> dict[int, dict]:
    """Return the last edge of each channel."""
    return {edge["channel"]: edge for edge in edge_log.edges()}


def test_ctrl_c_in_the_terminal_leaves_the_device_to_its_host(edge_log, until):
    with SimulatedTrigger(SimulatedOptions(log_path=edge_log.path)) as trigger:
        os.kill(trigger.pid, signal.SIGINT)
        trigger.fire(Pulse(0, 1_000), 1, _in(10))
        assert until.event(trigger, "ack").command_id == 1


def test_it_is_opened_once(edge_log):
    with SimulatedTrigger(SimulatedOptions()) as trigger, pytest.raises(TriggerNotOpenError, match="already open"):
        trigger.open()


def test_the_folder_of_the_log_is_made(tmp_path):
    with SimulatedTrigger(SimulatedOptions(log_path=tmp_path / "new" / "folder" / "edges.jsonl")):
        assert (tmp_path / "new" / "folder" / "edges.jsonl").exists()


def test_a_log_that_cannot_be_written(tmp_path, capfd):
    with pytest.raises(TriggerNotOpenError) as caught:
        SimulatedTrigger(SimulatedOptions(log_path=tmp_path)).open()
    assert str(caught.value) == (
        "simulated trigger: the device ended at its start with exit status 2; its message is above"
    )
    assert "simulated trigger: the log cannot be written: [Errno 21]" in capfd.readouterr().err


def test_by_hand_it_serves_driver_serial_until_ctrl_c(edge_log, start, until):
    device = start("-m", "triggers.simulated", "--log", str(edge_log.path), stdin=subprocess.DEVNULL)
    port = device.stdout.readline().decode().strip()
    for _ in range(2):  # One host after the other.
        with SerialTrigger(SerialOptions(port=port, ack_timeout_ms=5_000)) as trigger:
            trigger.fire(Pulse(0, 1_000), 1, _in(10))
            assert until.event(trigger, "ack").command_id == 1
    device.send_signal(signal.SIGINT)
    assert device.wait(10) == 0
    assert len(edge_log.commands("Hello")) == 2


def test_a_wrong_setting_by_hand(start):
    device = start("-m", "triggers.simulated", "--channels", "17", stderr=subprocess.PIPE)
    assert "Input should be less than or equal to 16" in device.stderr.read().decode()
    assert device.wait(10) == 2


def test_log_lines_are_json_with_both_clocks(edge_log):
    before_ns = time.monotonic_ns()
    with SimulatedTrigger(SimulatedOptions(log_path=edge_log.path)):
        pass
    first = json.loads(edge_log.path.read_text().splitlines()[0])
    assert first["record"] == "command"
    assert first["type"] == "Hello"
    assert before_ns < first["host_ns"] < time.monotonic_ns()
    assert first["device_us"] >= 0
