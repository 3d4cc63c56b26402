"""Driver `serial` against the compiled firmware in real time, through a pseudo-terminal, whatever befalls the host."""

import os
import signal
import subprocess
import threading
import time
from contextlib import closing

import pytest

from triggers import wire
from triggers.pulse import Pulse
from triggers.serial import SerialOptions, SerialTrigger
from triggers.testing import check_trigger

pytestmark = pytest.mark.alone

DEAD_MAN_S = 0.25
SLACK_S = 1.0  # A busy computer slows the simulator down; the exact times are those of test_firmware.py.

HOST = """
import sys, time
from triggers.pulse import Pulse
from triggers.serial import SerialOptions, SerialTrigger
trigger = SerialTrigger(SerialOptions(port=sys.argv[1], ack_timeout_ms=5000))
trigger.open()
trigger.fire(Pulse(0, 5_000_000), 1, time.monotonic_ns() + 10**10)
while True:
    for event in trigger.poll():
        print(event.kind, flush=True)
    if len(sys.argv) > 2:
        sys.stdin.readline()
        trigger.close()
        sys.stdin.readline()
    time.sleep(0.005)
"""


class Board:
    """The firmware in real time behind a pseudo-terminal, and its pins with the host's clock."""

    def __init__(self, command):
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = self._process.stdout.readline().split()[1]
        self.pins = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            kind, _us, channel, level, host_ns = line.split()
            assert kind == "pin"
            self.pins.append((int(host_ns), int(channel), level == "1"))

    def end(self):
        self._process.stdin.close()
        try:
            self._process.wait(5)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            self._process.stdout.close()


@pytest.fixture
def board(build, harness):
    board = Board([str(harness), str(build()), "atmega328p", "115200", "--pty"])
    yield board
    board.end()


@pytest.fixture
def host(board, start, until):
    """A program that holds pin 0 high with a pulse of 5 s, and has been told so."""
    process = start("-c", HOST, board.port, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert process.stdout.readline() == b"ack\n"
    until.true(lambda: board.pins)
    return process


def test_contract(board):
    info = check_trigger(SerialTrigger(SerialOptions(port=board.port, ack_timeout_ms=5_000)))
    assert (info.device["name"], info.device["n_channels"], info.dead_man_ms) == ("poseloop", 4, 250)


def test_a_pulse_is_stored_after_its_first_time_and_fired_from_its_slot_then(board, until):
    trigger = SerialTrigger(SerialOptions(port=board.port, ack_timeout_ms=5_000))
    assert trigger.open().device["n_stored_pulses"] == 8
    written = []
    write = trigger._port.write
    trigger._port.write = lambda data: (written.extend(wire.Parser().feed(data)), write(data))
    pulses = [Pulse(0, 2_000), Pulse(1, 3_000, 1.0, 1_000.0, 400)]
    with closing(trigger):
        for command_id in range(1, 9):
            pulse = pulses[command_id % 2]
            n_pins = len(board.pins)
            trigger.fire(pulse, command_id, time.monotonic_ns() + 10**10)
            assert until.event(trigger, "ack").command_id == command_id
            n_edges = 2 if pulse.train_hz is None else 6
            until.true(lambda n=n_pins + n_edges: trigger.poll() or len(board.pins) >= n)
            until.true(lambda: trigger.poll() == () and trigger._pending == {})
    sent = [type(message).__name__ for message in written if isinstance(message, wire.PulseTrain | wire.Fire)]
    assert sent == ["PulseTrain"] * 2 + ["Fire"] * 6
    assert [(channel, level) for _, channel, level in board.pins] == 4 * (
        3 * [(1, True), (1, False)] + [(0, True), (0, False)]
    )


def test_a_stop_that_the_line_loses_is_sent_again(board, until):
    trigger = SerialTrigger(SerialOptions(port=board.port, ack_timeout_ms=5_000))
    trigger.open()
    lost = []
    write = trigger._port.write

    def lossy(data):
        (message,) = wire.Parser().feed(data)
        if isinstance(message, wire.Stop) and not lost:
            lost.append(message)
        else:
            write(data)

    trigger._port.write = lossy
    with closing(trigger):
        trigger.fire(Pulse(0, 5_000_000), 1, time.monotonic_ns() + 10**10)
        assert until.event(trigger, "ack").command_id == 1
        until.true(lambda: trigger.poll() == () and board.pins)
        stopped_ns = time.monotonic_ns()
        assert trigger.stop(0)
        event = until.event(trigger, "stopped")
        until.true(lambda: len(board.pins) == 2)
        assert (lost[0].channel, event.channel, board.pins[-1][2]) == (0, 0, False)
        assert board.pins[-1][0] - stopped_ns > 5_000_000_000 / 3, "on until the Stop was sent again"
        assert event.host_ns > board.pins[-1][0], "and not reported as off before it was"


def test_a_pulse_right_behind_a_stop_is_carried_out(board, until):
    """So is a stimulus repeated, and so does one outrank another: a busy channel would be refused."""
    trigger = SerialTrigger(SerialOptions(port=board.port, ack_timeout_ms=5_000))
    trigger.open()
    told = []

    def is_answered(command_id):
        told.extend((event.kind, event.command_id) for event in trigger.poll())
        return told[-1:] == [("ack", command_id)]

    with closing(trigger):
        for command_id in (1, 2, 3):
            if command_id > 1:
                trigger.stop(0)
            trigger.fire(Pulse(0, 400_000), command_id, time.monotonic_ns() + 10**10)
            until.true(lambda number=command_id: is_answered(number))
        until.true(lambda: trigger.poll() == () and len(board.pins) == 6)
    assert told == [("ack", 1), ("stopped", None), ("ack", 2), ("stopped", None), ("ack", 3)]
    assert [level for _, _, level in board.pins] == [True, False] * 3


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGSTOP", "SIGKILL"])
def test_the_pin_is_low_in_time_when_the_host_gets_a_signal(board, host, until, name):
    assert board.pins[-1][2]
    sent_ns = time.monotonic_ns()
    os.kill(host.pid, getattr(signal, name))
    until.true(lambda: not board.pins[-1][2])
    assert 0 < (board.pins[-1][0] - sent_ns) / 1e9 < DEAD_MAN_S + SLACK_S
    assert len(board.pins) == 2


def test_the_pin_is_low_when_the_port_is_closed_in_order(board, start, until):
    process = start("-c", HOST, board.port, "close", stdin=subprocess.PIPE)
    until.true(lambda: board.pins)
    process.stdin.write(b"\n")
    process.stdin.flush()
    until.true(lambda: len(board.pins) == 2)
    assert [level for _, _, level in board.pins] == [True, False]


def test_the_pin_is_low_in_time_when_the_port_is_closed_without_a_word(board, until):
    trigger = SerialTrigger(SerialOptions(port=board.port, ack_timeout_ms=5_000))
    trigger.open()
    trigger.fire(Pulse(0, 5_000_000), 1, time.monotonic_ns() + 10**10)
    until.true(lambda: trigger.poll() or board.pins)
    until.true(lambda: board.pins)
    trigger._port.close()
    shut_ns = time.monotonic_ns()
    until.true(lambda: not board.pins[-1][2])
    assert (board.pins[-1][0] - shut_ns) / 1e9 < DEAD_MAN_S + SLACK_S
