import re
import struct
import threading
import time
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers.errors import TriggerFailedError, TriggerNotOpenError, TriggerTimeoutError
from triggers.pulse import MIN_TRAIN_HZ, Pulse
from triggers.pulsepal import PulsePalOptions, PulsePalTrigger
from triggers.testing import check_trigger

FAR_NS = 2**62
MS = 1_000_000
ZERO, FIVE_VOLTS = 32_768, 49_151
SIZES = {1: "B", 2: "H", 3: "H", **dict.fromkeys(range(4, 12), "I"), **dict.fromkeys(range(12, 17), "B"), 17: "H"}
ALL_AT_ONCE = "<32I12H26B"


@dataclass
class Output:
    """One output channel: its parameters as numbered in the protocol, and what it plays."""

    parameters: dict[int, int]
    level: int = ZERO
    written: int = ZERO
    continuous: bool = False
    scheduled: bool = False
    triggered: bool = False
    playing: bool = False
    high: bool = False
    next_tick: int = 0
    end_tick: int = 0


class Device:
    """A Pulse Pal 2 in simulated cycles of 50 µs, monophasic trains only, with the quirks of its published firmware.

    One command is read in a cycle. A trigger takes effect in the cycle after the one that read it; one that meets a
    channel that plays is kept and plays it again. A program that left a command unfinished is waited for.
    """

    def __init__(self, firmware=21):
        self.firmware = firmware
        self.tick = 0
        self.outputs = [Output(dict.fromkeys(range(1, 18), 0) | {17: ZERO, 2: ZERO, 3: ZERO, 12: 1}) for _ in range(4)]
        self.edges: list[tuple[int, int, int]] = []
        self.commands: list[bytes] = []
        self._buffer = b""
        self._answers = b""
        self._lock = threading.RLock()
        self._started_s = time.monotonic()

    def receive(self, data):
        with self._lock:
            self._run(int((time.monotonic() - self._started_s) * 20_000))
            self._buffer += data
            while self._buffer and self._cycle():
                pass
            answers, self._answers = self._answers, b""
            return answers

    def finish(self):
        """Play everything to its end and return the edges as (tick since the first, channel, code)."""
        with self._lock:
            while any(output.playing or output.triggered or output.scheduled for output in self.outputs):
                assert not any(output.continuous for output in self.outputs), "it would never end"
                self._run(self.tick + 1_000_000)
            return [(tick - self.edges[0][0], channel, code) for tick, channel, code in self.edges]

    def _run(self, until):
        while self.tick < until:
            playing = [output for output in self.outputs if output.playing]
            if not playing and not any(output.triggered or output.scheduled for output in self.outputs):
                self.tick = until
                return
            due = [t for output in playing for t in (output.next_tick, output.end_tick) if t > self.tick]
            if playing and len(playing) == sum(not output.triggered for output in self.outputs if output.playing):
                self.tick = max(self.tick, min([*due, until]) - 1)
            self._cycle()

    def _cycle(self):
        """Run one cycle; return False while a command is unfinished, for then the device stands still."""
        n_used = self._read_command()
        if n_used is None:
            return False
        self.tick += 1
        scheduled = [output for output in self.outputs if output.scheduled]
        for output in scheduled:
            output.scheduled, output.triggered = False, True
        command, self._buffer = self._buffer[:n_used], self._buffer[n_used:]
        if n_used > 1:
            self.commands.append(command)
            self._obey(command[1], command[2:])
        for output in self.outputs:
            if not output.playing and output.triggered:
                output.triggered, output.playing, output.high = False, True, False
                output.next_tick, output.end_tick = self.tick, self.tick + output.parameters[10]
            if output.playing:
                self._play(output)
        self._write_outputs()
        return True

    def _play(self, output):
        if self.tick == output.next_tick:
            if output.high:
                output.high, output.next_tick = False, self.tick + output.parameters[7]
                output.level = output.parameters[17]
            else:
                output.high, output.next_tick = True, self.tick + output.parameters[4]
                output.level = output.parameters[2]
        if self.tick == output.end_tick and not output.continuous:
            self._kill(output)

    def _read_command(self):
        """Return how many bytes the next command has, 1 for a byte between commands, None if it is unfinished."""
        if not self._buffer or self._buffer[0] != 213:
            return min(len(self._buffer), 1)
        if len(self._buffer) < 2:
            return None
        code = self._buffer[1]
        n = 2 + {73: struct.calcsize(ALL_AT_ONCE), 74: 3, 77: 1, 79: 3, 82: 2}.get(code, 0)
        if code == 74 and len(self._buffer) >= 3:
            n = 4 + struct.calcsize("<" + SIZES[self._buffer[2]])
        return n if len(self._buffer) >= n else None

    def _obey(self, code, arguments):
        if code == 72:
            self._answers += b"K" + struct.pack("<I", self.firmware)
        elif code == 73:
            self._answers += b"\x01"
        elif code == 74:
            output = self.outputs[arguments[1] - 1]
            output.parameters[arguments[0]] = struct.unpack("<" + SIZES[arguments[0]], arguments[2:])[0]
            if arguments[0] == 17:
                output.level = output.parameters[17]
            self._answers += b"\x01"
        elif code == 77:
            for n, output in enumerate(self.outputs):
                output.scheduled = bool(arguments[0] >> n & 1)
        elif code in {80, 81}:
            for output in self.outputs:
                self._kill(output)
        elif code == 82:
            channel, state = (arguments[0] - 1, arguments[1]) if self.firmware == 20 else (arguments[1], arguments[0])
            output = self.outputs[channel]
            output.continuous = bool(state)
            if state:
                output.scheduled = True
            else:
                self._kill(output)
            self._answers += b"\x01"

    def _kill(self, output):
        output.playing = output.high = False
        output.level = output.parameters[17]

    def _write_outputs(self):
        """Note the edges; what was set and reset in one cycle never reached the converter."""
        for channel, output in enumerate(self.outputs):
            if output.level != output.written:
                output.written = output.level
                self.edges.append((self.tick, channel, output.level))

    def rising(self):
        return [channel for _, channel, code in self.edges if code != ZERO]


@pytest.fixture(params=[20, 21])
def any_device(peer, request):
    device = Device(request.param)
    peer.answer = device.receive
    return device


@pytest.fixture
def device(peer):
    device = Device()
    peer.answer = device.receive
    return device


@pytest.fixture
def opened(peer, device, clock):
    trigger = PulsePalTrigger(PulsePalOptions(port=peer.port), clock)
    trigger.open()
    device.commands.clear()
    yield trigger
    trigger.close()


def _acked(trigger, until, pulse, command_id=1):
    receipt = trigger.fire(pulse, command_id, FAR_NS)
    event = until.event(trigger, "ack")
    assert event.command_id == command_id
    return receipt


def test_contract(peer, any_device):
    options = PulsePalOptions(port=peer.port, ack_timeout_ms=5_000)
    info = check_trigger(PulsePalTrigger(options))
    assert (info.driver, info.address, info.acknowledges, info.dead_man_ms) == ("pulsepal", peer.port, True, None)
    assert info.device == {
        "name": "Pulse Pal 2",
        "firmware": str(any_device.firmware),
        "n_channels": 4,
        "tick_us": 50,
        "full_volts": 5.0,
        "max_duration_ms": 10_000,
        "acknowledgement": "the trigger was read",
    }
    pulses = [(tick, code) for tick, channel, code in any_device.finish() if channel == 0]
    assert [off - on for (on, _), (off, _) in zip(pulses[::2], pulses[1::2], strict=True)] == [40] * 5


@pytest.mark.parametrize(
    ("pulse", "edges"),
    [
        pytest.param(Pulse(0, 2_000), [(0, 5.0), (40, 0.0)], id="unbroken"),
        pytest.param(Pulse(3, 50), [(0, 5.0), (1, 0.0)], id="one tick"),
        pytest.param(Pulse(1, 1_020, 0.5), [(0, 2.5), (20, 0.0)], id="half power, rounded down"),
        pytest.param(Pulse(1, 1_025), [(0, 5.0), (21, 0.0)], id="rounded up"),
        pytest.param(Pulse(0, 1_000, 0.0), [], id="sham"),
        pytest.param(
            Pulse(2, 10_000, 1.0, 250.0, 1_000),
            [(0, 5.0), (20, 0.0), (80, 5.0), (100, 0.0), (160, 5.0), (180, 0.0)],
            id="train",
        ),
        pytest.param(
            Pulse(0, 4_500, 1.0, 250.0, 1_000), [(0, 5.0), (20, 0.0), (80, 5.0), (90, 0.0)], id="last one cut short"
        ),
        pytest.param(Pulse(0, 1_000, 1.0, 250.0, 2_000), [(0, 5.0), (20, 0.0)], id="shorter than its first pulse"),
        pytest.param(Pulse(0, 1_000, 1.0, MIN_TRAIN_HZ, 100), [(0, 5.0), (2, 0.0)], id="slowest train"),
        pytest.param(
            Pulse(0, 100_000, 1.0, 30.0, 50), [(0, 5), (1, 0), (667, 5), (668, 0), (1334, 5), (1335, 0)], id="30 Hz"
        ),
    ],
)
def test_a_pulse_on_the_output(device, opened, until, pulse, edges):
    _acked(opened, until, pulse)
    assert device.finish() == [(tick, pulse.channel, int((volts + 10) / 20 * 65_535 + 0.5)) for tick, volts in edges]


@st.composite
def _pulses(draw):
    duration_us = draw(st.integers(50, 2_000_000))
    if draw(st.booleans()):
        return Pulse(0, duration_us)
    period_us = draw(st.integers(100, 1_000_000))
    return Pulse(0, duration_us, 1.0, 1e6 / period_us, draw(st.integers(50, period_us - 50)))


@settings(deadline=None)
@given(st.lists(_pulses(), min_size=1, max_size=4))
def test_any_pulses_come_out_as_asked_to_the_tick(pulses):
    device = Device()
    trigger = PulsePalTrigger(PulsePalOptions(port="none"))
    for command in trigger._initial_commands():
        device.receive(command)
    for pulse in pulses:
        if trigger._why_impossible(pulse) is not None:  # The float of the rate can make a gap of 50 us a little less.
            continue
        device.edges.clear()
        command = trigger._pulse_command(pulse, 1)
        trigger._device_has.update(command.settings)
        device.receive(command.data)
        ticks = [tick for tick, _, _ in device.finish()]
        train = (pulse.duration_us + 25) // 50
        width, period = train, train
        if pulse.train_hz is not None:
            width = (pulse.width_us + 25) // 50
            period = max(int(1e6 / pulse.train_hz / 50 + 0.5), width + 1)
        starts = range(0, train, period)
        expected = [edge for start in starts for edge in (start, min(start + width, train))]
        assert ticks == expected


def test_only_what_differs_is_programmed(device, opened, until):
    _acked(opened, until, Pulse(0, 2_000), 1)
    device.finish()
    opened.stop(0)
    until.true(lambda: opened.poll() == () and not opened._awaited)
    device.commands.clear()
    _acked(opened, until, Pulse(0, 2_000), 2)
    assert device.commands == [b"\xd5\x4d\x01", b"\xd5\x48"]
    device.finish()
    opened.stop(0)
    until.true(lambda: opened.poll() == () and not opened._awaited)
    device.commands.clear()
    _acked(opened, until, Pulse(0, 2_000, 0.5), 3)
    assert [command[1:4] for command in device.commands] == [b"\x4a\x02\x01", b"\x4d\x01", b"\x48"]


def test_acknowledgements_come_from_poll(peer, opened, until, clock):
    receipt = opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    assert (receipt.command_id, receipt.sent_ns, receipt.acked_ns, receipt.delivered) == (7, clock.now_ns, None, True)
    clock.now_ns += 3 * MS
    event = until.event(opened, "ack")
    assert (event.command_id, event.host_ns, event.device_us, event.detail) == (7, clock.now_ns, None, "")


@pytest.mark.parametrize(
    ("pulse", "late_ns", "why"),
    [
        pytest.param(Pulse(0, 1_000), 1, "the command came too late", id="late"),
        pytest.param(Pulse(4, 1_000), 0, "expected a channel from 0 to 3, got 4", id="channel"),
        pytest.param(Pulse(0, 49), 0, "expected a pulse of at least 50 us, got 49 us", id="short"),
        pytest.param(
            Pulse(0, 10**6, 1.0, 1_000.0, 49),
            0,
            "expected pulses and gaps of at least 50 us, got 49 us on and 951 us off",
            id="short in a train",
        ),
        pytest.param(
            Pulse(0, 10**6, 1.0, 1_000.0, 960),
            0,
            "expected pulses and gaps of at least 50 us, got 960 us on and 40 us off",
            id="short gap",
        ),
        pytest.param(
            Pulse(0, 10_000_001),
            0,
            "expected a pulse of at most max_duration_ms = 10000 ms, got 10000 ms; the device would play it to its end "
            "even without its host",
            id="long",
        ),
    ],
)
def test_what_the_device_cannot_do_is_not_sent(peer, device, opened, until, clock, pulse, late_ns, why):
    receipt = opened.fire(pulse, 7, clock.now_ns - late_ns)
    assert not receipt.delivered
    event = until.event(opened, "refused")
    assert (event.command_id, event.detail) == (7, f"pulsepal {peer.port}: {why}")
    opened.stop(0)
    until.true(lambda: opened.poll() == () and not opened._awaited)
    assert [command[1] for command in device.commands] == [82]


def test_the_device_itself_would_keep_a_second_trigger_and_play_twice():
    device = Device()
    for parameter, value in ((2, FIVE_VOLTS), (4, 10), (10, 10)):
        device.receive(struct.pack("<4B" + SIZES[parameter], 213, 74, parameter, 1, value))
    device.receive(b"\xd5\x4d\x01\xd5\x48\xd5\x4d\x01")
    assert device.finish() == [(0, 0, FIVE_VOLTS), (10, 0, ZERO), (11, 0, FIVE_VOLTS), (21, 0, ZERO)]


def test_the_device_itself_would_play_on_if_a_stop_came_in_the_cycle_after_the_trigger():
    device = Device()
    for parameter, value in ((2, FIVE_VOLTS), (4, 10), (10, 10)):
        device.receive(struct.pack("<4B" + SIZES[parameter], 213, 74, parameter, 1, value))
    device.receive(b"\xd5\x4d\x01\xd5\x50")
    assert device.finish() == [(0, 0, FIVE_VOLTS), (10, 0, ZERO)]


def test_a_busy_channel_refuses(peer, device, opened, until, clock):
    opened.fire(Pulse(0, 100_000), 1, FAR_NS)
    assert not opened.fire(Pulse(0, 1_000), 2, FAR_NS).delivered  # Not acknowledged yet.
    events = []
    until.true(lambda: events.extend(opened.poll()) or len(events) == 2)
    assert {(event.kind, event.command_id) for event in events} == {("ack", 1), ("refused", 2)}
    clock.now_ns += 100 * MS
    assert not opened.fire(Pulse(0, 1_000), 3, FAR_NS).delivered  # The clocks may disagree a little.
    assert opened.poll()[0].detail == f"pulsepal {peer.port}: the channel is still busy with an earlier pulse"
    assert opened.fire(Pulse(1, 1_000), 4, FAR_NS).delivered
    until.event(opened, "ack")
    clock.now_ns += 1 * MS
    device.finish()
    assert opened.fire(Pulse(0, 1_000), 5, FAR_NS).delivered
    until.event(opened, "ack")
    device.finish()
    assert device.rising() == [0, 1, 0]


def test_stop_ends_one_channel_and_frees_it(peer, any_device, until, clock):
    with PulsePalTrigger(PulsePalOptions(port=peer.port), clock) as trigger:
        for channel in (0, 1):
            _acked(trigger, until, Pulse(channel, 10_000_000))
        assert trigger.stop(1)
        assert until.event(trigger, "stopped").channel == 1
        assert [output.level for output in any_device.outputs] == [FIVE_VOLTS, ZERO, ZERO, ZERO]
        _acked(trigger, until, Pulse(1, 10_000_000))
        assert any_device.outputs[1].level == FIVE_VOLTS


def test_a_stop_right_behind_a_trigger_stops_it(device, opened, until):
    opened.fire(Pulse(0, 10_000_000), 1, FAR_NS)
    opened.stop(0)
    until.true(lambda: not opened._awaited or not opened.poll())
    until.true(lambda: opened.poll() == () and not opened._awaited)
    device.receive(b"")
    assert device.outputs[0].level == ZERO
    assert not device.outputs[0].playing


def test_all_off_ends_and_frees_every_channel(device, opened, until):
    for channel in range(4):
        _acked(opened, until, Pulse(channel, 10_000_000))
    opened.all_off()
    until.true(lambda: opened.poll() == () and not opened._awaited)
    assert [output.level for output in device.outputs] == [ZERO] * 4
    _acked(opened, until, Pulse(2, 1_000))


def test_a_pulse_behind_a_switching_off_keeps_its_channel_busy(peer, device, opened, until):
    answers = []
    peer.answer = lambda data: answers.append(device.receive(data)) or b""
    opened.all_off()
    until.true(lambda: answers)
    assert opened.fire(Pulse(0, 1_000), 1, FAR_NS).delivered
    peer.send(answers[0])
    until.true(lambda: opened.poll() == () and len(opened._awaited) == 4)
    assert not opened.fire(Pulse(0, 1_000), 2, FAR_NS).delivered


def test_closing_switches_off_and_says_goodbye(device, opened, until):
    _acked(opened, until, Pulse(0, 10_000_000))
    opened.close()
    until.true(lambda: device.commands[-1] == b"\xd5\x51")
    assert device.outputs[0].level == ZERO


# --- opening ---


def test_what_another_program_left_is_taken_back(peer, any_device):
    for n, output in enumerate(any_device.outputs):
        output.parameters.update(dict.fromkeys(range(1, 17), 1))
        output.parameters[17] = 60_000
        output.continuous = output.playing = n % 2 == 0
    with PulsePalTrigger(PulsePalOptions(port=peer.port)):
        for output in any_device.outputs:
            assert not output.continuous
            assert output.level == ZERO
            assert {code: output.parameters[code] for code in (1, 2, 3, 8, 9, 11, 12, 13, 14, 15, 16, 17)} == {
                1: 0, 2: ZERO, 3: ZERO, 8: 0, 9: 0, 11: 0, 12: 0, 13: 0, 14: 0, 15: 0, 16: 0, 17: ZERO,
            }  # fmt: skip


@pytest.mark.parametrize(
    "unfinished",
    [
        pytest.param(b"\xd5", id="before its op code"),
        pytest.param(b"\xd5\x4d", id="a trigger without its mask"),
        pytest.param(b"\xd5\x4a\x0a\x01", id="a parameter"),
        pytest.param(b"\xd5\x49", id="all parameters at once"),
        pytest.param(b"\xd5\x49" + bytes(177), id="all parameters but a byte"),
    ],
)
def test_a_command_that_another_program_left_unfinished_puts_nothing_out(peer, device, unfinished):
    for output in device.outputs:
        output.parameters.update({2: FIVE_VOLTS, 4: 100, 10: 100})
    device.receive(unfinished)
    with PulsePalTrigger(PulsePalOptions(port=peer.port)) as trigger:
        assert trigger.poll() == ()
        assert device.rising() == []


def test_answers_to_an_earlier_program_are_dropped(peer, device, until):
    stale = b"\x01K\x15\x00\x00\x00K\x15\x00\x00\x00"

    def answer(data):
        peer.answer = device.receive
        return stale + device.receive(data)

    peer.answer = answer
    with PulsePalTrigger(PulsePalOptions(port=peer.port)) as trigger:
        _acked(trigger, until, Pulse(0, 1_000))


@pytest.mark.parametrize("firmware", [1, 19, 22, 30])
def test_another_firmware_is_refused(peer, firmware):
    device = Device(firmware)
    peer.answer = device.receive
    with pytest.raises(TriggerNotOpenError) as caught:
        PulsePalTrigger(PulsePalOptions(port=peer.port)).open()
    assert str(caught.value) == (
        f"pulsepal {peer.port}: expected firmware 20 or 21 (Pulse Pal 2), got {firmware}; its commands may mean "
        "something else there"
    )
    assert {command[1] for command in device.commands} == {72, 80}


@pytest.mark.parametrize(
    ("answer", "n_bytes"),
    [
        pytest.param(b"", 0, id="silent"),
        pytest.param(b"ok\r\n", 4, id="another device"),
        pytest.param(b"K\x15\x00\x00", 4, id="a partial answer"),
    ],
)
def test_another_device_is_refused(peer, answer, n_bytes):
    sent = []
    peer.answer = lambda data: b"" if sent else (sent.append(data) or answer)
    trigger = PulsePalTrigger(PulsePalOptions(port=peer.port, open_wait_s=0.2))
    with pytest.raises(TriggerNotOpenError) as caught:
        trigger.open()
    assert str(caught.value) == (
        f"pulsepal {peer.port}: expected an answer within 0.2 s, got {n_bytes} bytes that make no sense; is this port "
        "a Pulse Pal's?"
    )
    with pytest.raises(TriggerFailedError, match="not open; open it first"):
        trigger.fire(Pulse(0, 1_000), 1, FAR_NS)


def test_a_device_that_does_not_stop_sending(peer):
    ending = threading.Event()

    def chatter():
        while not ending.wait(0.005):
            peer.send(b"x")

    thread = threading.Thread(target=chatter)
    peer.answer = lambda data: thread.start() or b"K\x15\0\0\0"
    trigger = PulsePalTrigger(PulsePalOptions(port=peer.port, open_wait_s=0.2))
    with pytest.raises(TriggerNotOpenError, match="expected one answer, got bytes without end; is it a Pulse Pal"):
        trigger.open()
    ending.set()
    thread.join()


@pytest.mark.parametrize(
    ("confirmation", "got"), [pytest.param(b"", "no answer", id="none"), pytest.param(b"\x02", "02", id="wrong")]
)
def test_a_parameter_that_is_not_confirmed(peer, device, confirmation, got):
    peer.answer = lambda data: device.receive(data) if b"\xd5\x48" in data else confirmation
    with pytest.raises(TriggerNotOpenError) as caught:
        PulsePalTrigger(PulsePalOptions(port=peer.port, open_wait_s=0.2)).open()
    assert str(caught.value) == (
        f"pulsepal {peer.port}: expected op code 74 to be confirmed with byte 1, got {got}; is another program using "
        "the device?"
    )


def test_a_device_that_vanishes_while_it_is_greeted(peer):
    peer.answer = peer.vanish
    with pytest.raises(TriggerNotOpenError, match="the port is gone"):
        PulsePalTrigger(PulsePalOptions(port=peer.port)).open()
    peer._thread.join()


def test_a_closed_port_can_be_opened_again(peer, device, until):
    trigger = PulsePalTrigger(PulsePalOptions(port=peer.port))
    for _ in range(2):
        trigger.open()
        with pytest.raises(TriggerNotOpenError, match="already open here"):
            trigger.open()
        _acked(trigger, until, Pulse(0, 1_000))
        trigger.close()
        device.finish()
    assert device.rising() == [0, 0]


# --- a link that fails ---


def test_an_answer_in_pieces_is_put_together(peer, device, opened, until):
    peer.answer = peer.ignore
    opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    for piece in (b"\x01\x01", b"\x01K", b"\x15\x00", b"\x00"):
        peer.send(piece)
        opened._port.wait(1.0)
        assert opened.poll() == ()
    peer.send(b"\x00")
    assert until.event(opened, "ack").command_id == 7


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        pytest.param(b"\x00", "01", id="a parameter not confirmed"),
        pytest.param(b"\x01\x01\x01K\x14", "4b 15 00 00 00", id="another firmware"),
    ],
)
def test_a_wrong_answer_is_one_fault_and_nothing_can_be_fired(peer, device, opened, until, wrong, expected):
    peer.answer = peer.ignore
    opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    peer.send(wrong)
    event = until.event(opened, "fault")
    assert re.fullmatch(
        rf"pulsepal {peer.port}: expected the answer {expected}, got [0-9a-f ]+; did the device restart, or does "
        r"another program use it\?",
        event.detail,
    )
    assert opened.poll() == ()
    with pytest.raises(TriggerFailedError, match="expected the answer"):
        opened.fire(Pulse(0, 1_000), 8, FAR_NS)
    received = []
    peer.answer = lambda data: received.append(data) or b""
    opened.all_off()
    until.true(lambda: b"\xd5\x50" in b"".join(received))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=12), max_size=8))
def test_whatever_comes_in_nothing_is_raised_and_only_the_right_answer_is_an_acknowledgement(pieces):
    trigger = PulsePalTrigger(PulsePalOptions(port="none"))
    right = b"\x01\x01\x01K\x15\x00\x00\x00"
    trigger._awaited.extend(trigger._pulse_command(Pulse(0, 1_000), 7).answers)
    for piece in pieces:
        trigger._take(piece, 0)
    came = b"".join(pieces)
    kinds = [event.kind for event in trigger._events]
    assert kinds == (["ack"] * came.startswith(right) + ["fault"] * (not right.startswith(came) and came != right))


def test_bytes_that_nobody_asked_for_are_a_fault(peer, opened, until):
    peer.send(b"\x01")
    assert "expected the answer none, got 01" in until.event(opened, "fault").detail


def test_a_missing_acknowledgement_is_one_fault_and_a_late_one_is_reported(peer, opened, until, clock):
    peer.answer = peer.ignore
    opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    clock.now_ns += 100 * MS
    assert opened.poll() == ()
    clock.now_ns += 1
    faults = opened.poll()
    assert [fault.detail for fault in faults if fault.command_id == 7] == [
        f"pulsepal {peer.port}: command 7 was not answered within 100 ms"
    ]
    assert opened.poll() == ()
    peer.send(b"\x01\x01\x01K\x15\x00\x00\x00")
    assert until.event(opened, "ack").detail == "after the time-out"


@pytest.mark.parametrize("switch_off", [lambda trigger: trigger.stop(0), lambda trigger: trigger.all_off()])
def test_an_unanswered_switching_off_is_a_fault(peer, opened, clock, switch_off):
    peer.answer = peer.ignore
    switch_off(opened)
    clock.now_ns += 101 * MS
    (event,) = opened.poll()
    assert (event.kind, event.command_id) == ("fault", None)
    assert event.detail == f"pulsepal {peer.port}: the command to switch off was not answered within 100 ms"


def test_an_idle_device_is_asked_whether_it_is_alive(peer, device, opened, until, clock):
    clock.now_ns += 249 * MS
    opened.poll()
    clock.now_ns += 1 * MS
    opened.poll()
    until.true(lambda: opened.poll() == () and not opened._awaited)
    assert device.commands == [b"\xd5\x48"]
    peer.answer = peer.ignore
    clock.now_ns += 250 * MS
    assert opened.poll() == ()
    clock.now_ns += 101 * MS
    assert [event.detail for event in opened.poll()] == [
        f"pulsepal {peer.port}: the device did not answer within 100 ms"
    ]
    clock.now_ns += 1_000 * MS
    assert opened.poll() == ()


def test_a_vanished_port(peer, opened):
    peer.close()
    gone = f"pulsepal {peer.port}: the port is gone (Input/output error); plug the device in and start again"
    with pytest.raises(TriggerFailedError) as caught:
        opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    assert str(caught.value) == gone
    assert [(event.kind, event.detail) for event in opened.poll()] == [("fault", gone)]


def _stop_until_refused(trigger):
    for _ in range(10_000):
        trigger.stop(3)


def test_a_device_that_stops_reading_is_sent_whole_commands_only_and_then_nothing(peer, device, opened, until, clock):
    _acked(opened, until, Pulse(0, 10_000_000))
    peer.stop_reading()
    with pytest.raises(TriggerTimeoutError) as caught:
        _stop_until_refused(opened)
    assert str(caught.value) == (
        f"pulsepal {peer.port}: 512 bytes were sent and not answered; the device no longer does what it is told"
    )
    with pytest.raises(TriggerTimeoutError, match="no longer does what it is told"):
        opened.fire(Pulse(1, 7_000), 2, FAR_NS)
    for _ in range(10_000):
        opened.all_off()
    clock.now_ns += 101 * MS
    assert {event.kind for event in opened.poll()} == {"fault"}
    peer.go_on_reading()
    until.true(lambda: not opened.poll() and not opened._awaited)
    assert device.outputs[0].level == ZERO
    assert device.rising() == [0]
    device.edges.clear()
    _acked(opened, until, Pulse(1, 7_000))
    assert device.finish() == [
        (0, 1, FIVE_VOLTS),
        (140, 1, ZERO),
    ]  # What could not be sent before is not taken for known.
