import struct
import termios
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triggers import harp_message as harp
from triggers.errors import TriggerFailedError, TriggerNotOpenError, TriggerTimeoutError
from triggers.harp_behavior import OUTPUTS, HarpBehaviorOptions, HarpBehaviorTrigger
from triggers.pulse import Pulse
from triggers.testing import check_trigger

FAR_NS = 2**62
MS = 1_000_000
DO0, DO1, LED0 = 0x400, 0x800, 0x40
WORDS = {0, 34, 35, 37, 45, *range(46, 60)}
BYTES = {6, 7, 10, 69}


class Board:
    """A Harp Behavior board as its published firmware acts: one command a millisecond, pulses counted down in them."""

    def __init__(self):
        self.registers = {0: 1216, 6: 3, 7: 2, 10: 0x60, 34: 0, 35: 0, 45: 0x38, 69: 0}
        self.registers |= dict.fromkeys(range(46, 60), 250)
        self.state = 0
        self.stuck = 0  # Outputs that stay on whatever is said.
        self.refused = set()  # Registers that are refused.
        self.lost = set()  # Registers whose commands are lost on the way.
        self.end_ms = {}  # Mask of an output → when its pulse is over.
        self.now_ms = 0
        self.edges = []
        self.commands = []
        self._buffer = b""
        self._lock = threading.RLock()
        self._started_s = time.monotonic()
        self._passed_ms = 0

    def receive(self, data):
        with self._lock:
            self._buffer += data
            answers = b""
            passed_ms = int((time.monotonic() - self._started_s) * 1000) - self._passed_ms
            self._passed_ms += passed_ms
            self._run(self.now_ms + passed_ms)
            while len(self._buffer) >= 2 and len(self._buffer) >= self._buffer[1] + 2:
                end = self._buffer[1] + 2
                frame, self._buffer = self._buffer[:end], self._buffer[end:]
                self._run(self.now_ms + 1)
                if sum(frame[:-1]) & 0xFF == frame[-1]:
                    answers += self._obey(frame[0], frame[2], frame[4], frame[5:-1])
            return answers

    def finish(self):
        """Play everything to its end and return the edges as (ms since the first, mask, on)."""
        with self._lock:
            self._run(self.now_ms + 100_000)
            return [(at_ms - self.edges[0][0], mask, on) for at_ms, mask, on in self.edges]

    def _run(self, until_ms):
        for mask, end_ms in sorted(self.end_ms.items(), key=lambda end: end[1]):
            if end_ms <= until_ms:
                del self.end_ms[mask]
                self.now_ms = end_ms
                self._switch(mask, False)
        self.now_ms = until_ms

    def _obey(self, kind, register, payload_type, payload):
        if register in self.lost:
            return b""
        value = int.from_bytes(payload, "little")
        known = register in WORDS | BYTES and payload_type == (2 if register in WORDS else 1)
        if not known or register in self.refused or (46 <= register < 60 and kind == 2 and value < 1):
            return self._answer(kind | 8, register, payload_type, payload)
        self.commands.append((kind, register, value))
        if kind == 2:
            self._write(register, value)
        if self.registers[10] & 0x10:
            return b""
        told = self.state | self.stuck if register == 37 else self.registers[register]
        return self._answer(kind, register, payload_type, told.to_bytes(payload_type, "little"))

    def _write(self, register, value):
        self.registers[register] = value
        if register == 34:
            for bit in range(14):
                if value >> bit & 1:
                    self._switch(1 << bit, True)
                    if self.registers[45] >> bit & 1:
                        self.end_ms[1 << bit] = self.now_ms + self.registers[46 + bit]
        elif register == 35:
            for bit in range(14):
                if value >> bit & 1:
                    self._switch(1 << bit, False)

    def _switch(self, mask, on):
        if bool(self.state & mask) != on:
            self.state ^= mask
            self.edges.append((self.now_ms, mask, on))

    def _answer(self, kind, register, payload_type, payload):
        stamp = struct.pack("<IH", 7 + self.now_ms // 1000, self.now_ms % 1000 * 1000 // 32)
        data = bytes((kind, 10 + len(payload), register, 255, payload_type | 0x10)) + stamp + payload
        return data + bytes((sum(data) & 0xFF,))

    def event(self):
        """Return an event as the board sends them unasked while it is active."""
        return self._answer(3, 44, 0x82, bytes(6))


ANSWERS = [
    board_answer
    for register, payload_type, value in (
        (56, 2, 20),
        (34, 2, DO0),
        (34, 2, DO1),
        (37, 2, DO0),
        (37, 2, 0),
        (35, 2, DO0),
    )
    for kind in (1, 2, 3, 9, 10)
    for board_answer in [Board()._answer(kind, register, payload_type, value.to_bytes(2, "little"))]
]


@pytest.fixture
def board(peer):
    board = Board()
    peer.answer = board.receive
    return board


@pytest.fixture
def opened(peer, board, clock):
    trigger = HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port), clock)
    trigger.open()
    board.commands.clear()
    yield trigger
    trigger.close()


def _settle(trigger, until):
    """Wait until everything is answered; return the events."""
    events = []
    until.true(lambda: events.extend(trigger.poll()) or not trigger._awaited)
    return [*events, *trigger.poll()]


def _acked(trigger, until, pulse, command_id=1):
    trigger.fire(pulse, command_id, FAR_NS)
    (event,) = _settle(trigger, until)
    assert (event.kind, event.command_id) == ("ack", command_id)
    return event


def test_contract(peer, board):
    info = check_trigger(HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port, ack_timeout_ms=5_000)))
    assert (info.driver, info.address, info.acknowledges, info.dead_man_ms) == ("harp_behavior", peer.port, True, None)
    assert info.device == {
        "name": "Harp Behavior",
        "firmware": "3.2",
        "n_channels": 4,
        "outputs": ["DO0", "DO1", "DO2", "DO3"],
        "max_duration_ms": 10_000,
        "acknowledgement": "the output was switched, with the board's time",
    }
    assert len(board.edges) == 10


@pytest.mark.parametrize(
    ("pulse", "mask", "duration_ms"),
    [
        pytest.param(Pulse(0, 20_000), DO0, 20, id="DO0"),
        pytest.param(Pulse(3, 1_000), 0x2000, 1, id="DO3, as short as can be"),
        pytest.param(Pulse(1, 10_000_000), DO1, 10_000, id="DO1, as long as allowed"),
    ],
)
def test_a_pulse_on_the_output(board, opened, until, pulse, mask, duration_ms):
    _acked(opened, until, pulse)
    assert board.finish() == [(0, mask, True), (duration_ms, mask, False)]


def test_the_port_has_hardware_flow_control(peer, opened):
    assert termios.tcgetattr(peer._slave)[2] & termios.CRTSCTS


def test_channels_are_the_outputs_that_are_named(peer, board, until):
    options = HarpBehaviorOptions(port=peer.port, outputs=["Led0", "DO1"])
    with HarpBehaviorTrigger(options) as trigger:
        _acked(trigger, until, Pulse(0, 5_000))
        _acked(trigger, until, Pulse(1, 7_000))
        assert {(mask, on) for _, mask, on in board.finish()} == {(m, on) for m in (LED0, DO1) for on in (True, False)}
        assert (board.registers[52], board.registers[57]) == (5, 7)


def test_every_output_has_its_bit_and_its_pulse_register():
    assert {name: (1 << bit, 46 + bit) for bit, name in enumerate(OUTPUTS)} == {
        "DOPort0": (0x1, 46), "DOPort1": (0x2, 47), "DOPort2": (0x4, 48),
        "SupplyPort0": (0x8, 49), "SupplyPort1": (0x10, 50), "SupplyPort2": (0x20, 51),
        "Led0": (0x40, 52), "Led1": (0x80, 53), "Rgb0": (0x100, 54), "Rgb1": (0x200, 55),
        "DO0": (0x400, 56), "DO1": (0x800, 57), "DO2": (0x1000, 58), "DO3": (0x2000, 59),
    }  # fmt: skip


def test_an_output_that_is_named_twice():
    with pytest.raises(ValueError, match="outputs: expected each output once, got DO0, DO0"):
        HarpBehaviorOptions(port="x", outputs=["DO0", "DO0"])


def test_only_what_differs_is_written(board, opened, until, clock):
    _acked(opened, until, Pulse(0, 2_000), 1)
    assert [register for _, register, _ in board.commands] == [56, 34]
    board.finish()
    clock.now_ns += 1_000 * MS
    board.commands.clear()
    opened.fire(Pulse(0, 2_000), 2, FAR_NS)
    until.event(opened, "ack")
    assert (2, 56, 2) not in board.commands


def test_the_acknowledgement_has_the_boards_time(board, opened, until, clock):
    receipt = opened.fire(Pulse(0, 20_000), 7, FAR_NS)
    assert (receipt.command_id, receipt.sent_ns, receipt.acked_ns, receipt.delivered) == (7, clock.now_ns, None, True)
    event = until.event(opened, "ack")
    at_ms = board.edges[0][0]
    assert (event.command_id, event.detail) == (7, "")
    assert event.device_us == (7 + at_ms // 1000) * 1_000_000 + at_ms % 1000 * 1000 // 32 * 32


def test_events_of_the_board_are_no_events_of_the_trigger(peer, board, opened, until):
    peer.send(board.event() * 20)
    opened.fire(Pulse(0, 2_000), 7, FAR_NS)
    peer.send(board.event() * 20)
    assert [(event.kind, event.command_id) for event in _settle(opened, until)] == [("ack", 7)]


@pytest.mark.parametrize(
    ("pulse", "late_ns", "why"),
    [
        pytest.param(Pulse(0, 1_000), 1, "the command came too late", id="late"),
        pytest.param(Pulse(4, 1_000), 0, "expected a channel from 0 to 3, got 4", id="channel"),
        pytest.param(
            Pulse(0, 1_500), 0, "expected a pulse of whole milliseconds up to 65535 ms, got 1.5 ms", id="part of a ms"
        ),
        pytest.param(
            Pulse(0, 10_000, 1.0, 100.0, 1_000),
            0,
            "expected one unbroken pulse, got a train, which the board cannot time",
            id="train",
        ),
        pytest.param(
            Pulse(0, 1_000, 0.5), 0, "expected intensity 1, got 0.5; the outputs of the board are on or off", id="half"
        ),
        pytest.param(
            Pulse(0, 10_001_000),
            0,
            "expected a pulse of at most max_duration_ms = 10000 ms, got 10001 ms; the device would play it to its end "
            "even without its host",
            id="long",
        ),
    ],
)
def test_what_the_board_cannot_do_is_not_sent(peer, board, opened, until, clock, pulse, late_ns, why):
    assert not opened.fire(pulse, 7, clock.now_ns - late_ns).delivered
    (event,) = opened.poll()
    assert (event.kind, event.command_id, event.detail) == ("refused", 7, f"harp_behavior {peer.port}: {why}")
    opened.stop(0)
    _settle(opened, until)
    assert {register for _, register, _ in board.commands} <= {35, 37}


def test_a_pulse_longer_than_the_boards_counter(peer, board):
    with HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port, max_duration_ms=100_000)) as trigger:
        trigger.fire(Pulse(0, 65_536_000), 7, FAR_NS)
        assert trigger.poll()[0].detail.endswith("up to 65535 ms, got 65536 ms")


def test_a_busy_channel_refuses(peer, board, opened, until, clock):
    opened.fire(Pulse(0, 100_000), 1, FAR_NS)
    assert not opened.fire(Pulse(0, 1_000), 2, FAR_NS).delivered
    assert {(event.kind, event.command_id) for event in _settle(opened, until)} == {("ack", 1), ("refused", 2)}
    clock.now_ns += 101 * MS
    assert not opened.fire(Pulse(0, 1_000), 3, FAR_NS).delivered  # The board may count a millisecond more.
    opened.poll()
    clock.now_ns += 2 * MS
    board.finish()
    assert opened.fire(Pulse(0, 1_000), 4, FAR_NS).delivered


def test_stop_ends_one_channel_and_frees_it(board, opened, until):
    for channel in (0, 1):
        _acked(opened, until, Pulse(channel, 10_000_000))
    assert opened.stop(1)
    assert [(event.kind, event.channel) for event in _settle(opened, until)] == [("stopped", 1)]
    assert board.state == DO0
    _acked(opened, until, Pulse(1, 10_000_000))
    assert board.state == DO0 | DO1


@pytest.mark.parametrize("switch_off", [lambda t: t.all_off(), lambda t: t.close()])
def test_switching_off_leaves_the_outputs_of_others_alone(board, opened, until, switch_off):
    for channel in range(4):
        _acked(opened, until, Pulse(channel, 10_000_000))
    board.state |= LED0
    switch_off(opened)
    until.true(lambda: board.state == LED0)


# --- what is read back ---


def test_an_output_that_stays_on_is_a_fault(peer, board, opened, until):
    _acked(opened, until, Pulse(0, 10_000_000))
    board.stuck = DO0
    opened.all_off()
    (event,) = _settle(opened, until)
    assert (event.kind, event.detail) == ("fault", f"harp_behavior {peer.port}: DO0 is on, and should not be")


def test_an_output_that_stays_on_is_not_reported_as_stopped(board, opened, until):
    _acked(opened, until, Pulse(0, 10_000_000))
    board.stuck = DO0
    opened.stop(0)
    assert [event.kind for event in _settle(opened, until)] == ["fault"]


def test_an_output_that_does_not_go_on_is_a_fault(peer, board, opened, until):
    board._switch = lambda mask, on: None
    opened.fire(Pulse(0, 5_000), 7, FAR_NS)
    events = _settle(opened, until)
    assert [(event.kind, event.command_id) for event in events] == [("ack", 7), ("fault", None)]
    assert events[1].detail == f"harp_behavior {peer.port}: DO0 is off, and should not be"


def test_an_output_that_is_on_though_nothing_was_asked_is_noticed_while_idle(peer, board, opened, until, clock):
    _acked(opened, until, Pulse(1, 10_000_000))
    board.state |= DO0 | LED0  # The LED is not ours.
    clock.now_ns += 249 * MS
    assert _settle(opened, until) == []
    clock.now_ns += 1 * MS
    (event,) = _settle(opened, until)
    assert event.detail == f"harp_behavior {peer.port}: DO0 is on, and should not be"


# --- opening ---


def test_what_another_program_left_is_taken_back(peer, board):
    board.state = DO0 | LED0
    with HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port)):
        assert board.state == LED0
        assert board.registers[45] == 0x38 | 0x3C00
        assert board.registers[69] == 0xF
        assert board.registers[10] == 0x60


def test_outputs_without_pulse_width_modulation_leave_it_alone(peer, board):
    with HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port, outputs=["Led0"])):
        assert 69 not in {register for _, register, _ in board.commands}


def test_an_output_that_does_not_go_off_at_the_start(peer, board):
    board.stuck = DO1
    with pytest.raises(TriggerNotOpenError) as caught:
        HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port)).open()
    assert str(caught.value) == (
        f"harp_behavior {peer.port}: expected DO1 to be off, got on; is a camera, servo or mimicked input set up there?"
    )


def test_a_muted_board_is_told_to_speak(peer, board, until):
    board.registers[10] = 0x71
    with HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port)) as trigger:
        _acked(trigger, until, Pulse(0, 2_000))


@pytest.mark.parametrize(
    ("register", "value", "expected"),
    [
        pytest.param(
            0, 1280, "expected a Harp Behavior board (1216), got the Harp device 1280; is this its port?", id="device"
        ),
        pytest.param(
            6, 1, "expected firmware 2 or 3, got 1.2; its registers may mean something else there", id="old firmware"
        ),
        pytest.param(
            6, 4, "expected firmware 2 or 3, got 4.2; its registers may mean something else there", id="new firmware"
        ),
    ],
)
def test_another_device_is_refused(peer, board, register, value, expected):
    board.registers[register] = value
    with pytest.raises(TriggerNotOpenError) as caught:
        HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port)).open()
    assert str(caught.value) == f"harp_behavior {peer.port}: {expected}"
    assert {kind for kind, _, _ in board.commands} == {harp.READ}


def test_a_board_that_refuses_a_register(peer, board):
    board.refused = {45}
    with pytest.raises(TriggerNotOpenError, match="the board refuses register 45"):
        HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port)).open()


@pytest.mark.parametrize(("answer", "n_bytes"), [(b"", 0), (b"ok\r\n", 4), (b"\x01\x0a\x00\xff", 4)])
def test_no_answer(peer, answer, n_bytes):
    sent = []
    peer.answer = lambda data: b"" if sent else (sent.append(data) or answer)
    trigger = HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port, open_wait_s=0.2))
    with pytest.raises(TriggerNotOpenError) as caught:
        trigger.open()
    assert str(caught.value) == (
        f"harp_behavior {peer.port}: expected an answer within 0.2 s, got {n_bytes} bytes that make no sense; is this "
        "port a Harp device's?"
    )
    with pytest.raises(TriggerFailedError, match="not open; open it first"):
        trigger.fire(Pulse(0, 1_000), 1, FAR_NS)


def test_a_board_that_vanishes_while_it_is_greeted(peer):
    peer.answer = peer.vanish
    with pytest.raises(TriggerNotOpenError, match="the port is gone"):
        HarpBehaviorTrigger(HarpBehaviorOptions(port=peer.port)).open()
    peer._thread.join()


# --- a link that fails ---


def test_a_refused_pulse(peer, board, opened, until):
    board.refused = {34}
    opened.fire(Pulse(0, 2_000), 7, FAR_NS)
    events = _settle(opened, until)
    assert [(event.kind, event.command_id) for event in events] == [("refused", 7)]
    assert events[0].detail == f"harp_behavior {peer.port}: the command for register 34 was refused"
    board.refused = set()
    _acked(opened, until, Pulse(0, 2_000), 8)


def test_a_pulse_that_is_not_answered_though_later_commands_are(peer, board, opened, until):
    board.lost = {34}
    opened.fire(Pulse(0, 20_000), 7, FAR_NS)
    events = _settle(opened, until)
    where = f"harp_behavior {peer.port}"
    assert [(event.kind, event.command_id, event.detail) for event in events] == [
        ("fault", 7, f"{where}: the command for register 34 was not answered"),
        ("fault", None, f"{where}: DO0 is off, and should not be"),
    ]
    until.true(lambda: (2, 35, 0x3C00) in board.commands)


@pytest.mark.parametrize(("what", "verb"), [("refused", "was refused"), ("lost", "was not answered")])
def test_a_pulse_whose_duration_was_not_taken_is_switched_off(peer, board, opened, until, what, verb):
    setattr(board, what, {56})
    opened.fire(Pulse(0, 2_000), 7, FAR_NS)
    events = _settle(opened, until)
    assert ("fault", f"harp_behavior {peer.port}: the command for register 56 {verb}") in [
        (event.kind, event.detail) for event in events
    ]
    until.true(lambda: board.state == 0)
    setattr(board, what, set())
    board.commands.clear()
    _acked(opened, until, Pulse(0, 2_000), 8)
    assert (2, 56, 2) in board.commands  # It is written again: what the board has is not known.


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=80), st.sampled_from(ANSWERS)), max_size=8))
def test_whatever_comes_in_nothing_is_raised_and_a_pulse_is_acknowledged_at_most_once(pieces):
    trigger = HarpBehaviorTrigger(HarpBehaviorOptions(port="none"))
    trigger._awaited.extend(trigger._pulse_command(Pulse(0, 20_000), 7).answers)
    for piece in pieces:
        trigger._take(piece, 0)
    answers = [event.kind for event in trigger._events if event.command_id == 7]
    assert answers in ([], ["ack"], ["refused"], ["fault"])


def test_damaged_answers_are_skipped(peer, board, opened, until):
    peer.answer = lambda data: b"\x02\x0c\x99" + board.receive(data) + b"\xff\x01"
    assert _acked(opened, until, Pulse(0, 2_000)).command_id == 1


def test_a_missing_acknowledgement_is_one_fault_and_a_late_one_is_reported(peer, board, opened, until, clock):
    kept = []
    peer.answer = lambda data: kept.append(board.receive(data)) or b""
    opened.fire(Pulse(0, 2_000), 7, FAR_NS)
    clock.now_ns += 100 * MS
    assert opened.poll() == ()
    clock.now_ns += 1
    assert [event.detail for event in opened.poll() if event.command_id == 7] == [
        f"harp_behavior {peer.port}: command 7 was not answered within 100 ms"
    ]
    assert opened.poll() == ()
    until.true(lambda: kept)
    peer.send(b"".join(kept))
    assert until.event(opened, "ack").detail == "after the time-out"


def test_a_silent_board_is_one_fault(peer, board, opened, until, clock):
    peer.answer = peer.ignore
    clock.now_ns += 250 * MS
    assert opened.poll() == ()
    clock.now_ns += 101 * MS
    assert [event.detail for event in opened.poll()] == [
        f"harp_behavior {peer.port}: the device did not answer within 100 ms"
    ]
    clock.now_ns += 1_000 * MS
    assert opened.poll() == ()


def test_a_vanished_port(peer, opened):
    peer.close()
    gone = f"harp_behavior {peer.port}: the port is gone (Input/output error); plug the device in and start again"
    with pytest.raises(TriggerFailedError) as caught:
        opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    assert str(caught.value) == gone
    assert [(event.kind, event.detail) for event in opened.poll()] == [("fault", gone)]


def _stop_until_refused(trigger):
    for _ in range(10_000):
        trigger.stop(3)


def test_a_board_that_stops_reading_is_told_no_more_and_is_off_when_it_goes_on(peer, board, opened, until):
    _acked(opened, until, Pulse(0, 10_000_000))
    peer.stop_reading()
    with pytest.raises(TriggerTimeoutError, match="bytes were sent and not answered"):
        _stop_until_refused(opened)
    opened.all_off()
    peer.go_on_reading()
    assert [(event.kind, event.channel) for event in _settle(opened, until)] == [("stopped", 3)], "one for all"
    assert board.state == 0
