import os
import re
import struct
import subprocess
import sys
import time

import pytest

from triggers import wire
from triggers.device import Device, DeviceSpec
from triggers.errors import TriggerFailedError, TriggerNotOpenError, TriggerTimeoutError
from triggers.pulse import MIN_TRAIN_HZ, Pulse
from triggers.serial import SerialOptions, SerialTrigger
from triggers.testing import check_trigger

FAR_NS = 2**62
MS = 1_000_000


@pytest.fixture
def opened(peer, clock):
    """An open trigger with a clock set by hand, its peer having answered everything so far."""
    trigger = SerialTrigger(SerialOptions(port=peer.port), clock)
    trigger.open()
    yield trigger
    trigger.close()


def test_contract(peer):
    info = check_trigger(SerialTrigger(SerialOptions(port=peer.port, ack_timeout_ms=5_000)))
    assert (info.driver, info.address, info.acknowledges, info.dead_man_ms) == ("serial", peer.port, True, 60_000)
    assert info.device == {
        "name": "simulated",
        "firmware": "1.2",
        "protocol": 1,
        "n_channels": 8,
        "max_on_us": 10_000_000,
        "max_duty": 1.0,
        "duty_window_ms": 10_000,
        "n_stored_pulses": 8,
    }


@pytest.mark.parametrize(
    ("pulse", "expected"),
    [
        pytest.param(Pulse(3, 200_000), (3, 0xFFFF, 200_000, 0, 0), id="unbroken"),
        pytest.param(Pulse(0, 1, 0.5), (0, 32_768, 1, 0, 0), id="half power"),
        pytest.param(Pulse(0, 1, 0.0), (0, 0, 1, 0, 0), id="sham"),
        pytest.param(Pulse(0, 10**6, 1.0, 20.0, 10_000), (0, 0xFFFF, 10**6, 50_000, 10_000), id="train"),
        pytest.param(Pulse(0, 10**6, 1.0, 30.0, 33_333), (0, 0xFFFF, 10**6, 33_334, 33_333), id="width nearly period"),
        pytest.param(Pulse(0, 10**6, 1.0, MIN_TRAIN_HZ, 10), (0, 0xFFFF, 10**6, 3_600_000_000, 10), id="slowest train"),
    ],
)
def test_a_pulse_on_the_wire(peer, opened, until, clock, pulse, expected):
    clock.now_ns = 2**32 * MS
    receipt = opened.fire(pulse, command_id=0xFFFF_FFFF, expires_ns=clock.now_ns + 17_999_999)
    (train,) = until.true(lambda: peer.of_type(wire.PulseTrain))
    assert train == wire.PulseTrain(0xFFFF_FFFF, *expected, expires_ms=17)
    assert (receipt.command_id, receipt.acked_ns, receipt.delivered) == (0xFFFF_FFFF, None, True)


def test_acknowledgements_come_from_poll(opened, until, clock):
    receipt = opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    assert receipt.sent_ns == clock.now_ns
    clock.now_ns += 3 * MS
    event = until.event(opened, "ack")
    assert (event.command_id, event.host_ns, event.detail) == (7, clock.now_ns, "")
    assert event.device_us > 0
    assert opened.poll() == ()


def test_a_refusal_says_why(peer, opened, until):
    opened.fire(Pulse(8, 1_000), 7, FAR_NS)
    event = until.event(opened, "refused")
    assert (event.command_id, event.detail) == (7, f"serial {peer.port}: the device has no such channel")


def test_an_expired_command_is_refused_by_the_device(peer, opened, until, clock):
    opened.fire(Pulse(0, 1_000), 7, clock.now_ns - 50 * MS)
    assert until.event(opened, "refused").detail == f"serial {peer.port}: the command came too late"


def test_a_missing_acknowledgement_is_one_fault(peer, opened, clock):
    peer.answer = peer.ignore
    opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    clock.now_ns += 100 * MS
    assert opened.poll() == ()
    clock.now_ns += 1
    event, *silence = opened.poll()
    assert (event.kind, event.command_id) == ("fault", 7)
    assert event.detail == f"serial {peer.port}: command 7 was not answered within 100 ms"
    assert opened.poll() == ()
    del silence


def test_an_acknowledgement_after_the_time_out_is_still_reported(peer, opened, until, clock):
    peer.answer = peer.ignore
    opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    clock.now_ns += 101 * MS
    assert opened.poll()[0].kind == "fault"
    peer.send(wire.encode(wire.Ack(7, wire.PulseTrain.TYPE, 1, 5)))
    event = until.event(opened, "ack")
    assert (event.command_id, event.detail) == (7, "after the time-out")


@pytest.mark.parametrize("switch_off", [lambda trigger: trigger.stop(0), lambda trigger: trigger.all_off()])
def test_an_unanswered_switching_off_is_a_fault(peer, opened, clock, switch_off):
    peer.answer = peer.ignore
    switch_off(opened)
    clock.now_ns += 101 * MS
    event = opened.poll()[0]
    assert (event.kind, event.command_id) == ("fault", None)
    assert event.detail == f"serial {peer.port}: the command to switch off was not answered within 100 ms"


class Line:
    """A port that is with the device at once, but for the Stops, or the answers to them, that it loses (from 1)."""

    def __init__(self, clock, lost=(), lost_answers=()):
        self.clock, self.lost, self.lost_answers = clock, lost, lost_answers
        self.started_ns = clock.now_ns
        self.stops_ms, self.edges = [], []
        self._device = Device(DeviceSpec(dead_man_ms=60_000), self._on_edge, lambda message, now_us: None)
        self._answers = b""

    def now_ms(self):
        return (self.clock.now_ns - self.started_ns) // MS

    def _on_edge(self, edge):
        self.edges.append((edge.device_us // 1000, edge.on))

    def write(self, data):
        (message,) = wire.Parser().feed(data)
        if isinstance(message, wire.Stop):
            self.stops_ms.append(self.now_ms())
            if len(self.stops_ms) in self.lost:
                return
        answers = self._device.receive(data, self.now_ms() * 1000)
        if not (isinstance(message, wire.Stop) and len(self.stops_ms) in self.lost_answers):
            self._answers += answers

    def read(self):
        self._answers += self._device.advance(self.now_ms() * 1000)
        answers, self._answers = self._answers, b""
        return answers

    def wait(self, timeout_s):
        pass

    def close(self):
        pass


STOPS = {  # Lost Stops, lost answers, what the host does; Stops sent at, events at, edges of the output, ms.
    "answered": ((), (), ["stop"], [0], [(1, "stopped")], [(0, True), (0, False)]),
    "the first is lost": ((1,), (), ["stop"], [0, 34], [(35, "stopped")], [(0, True), (34, False)]),
    "two are lost": ((1, 2), (), ["stop"], [0, 34, 67], [(68, "stopped")], [(0, True), (67, False)]),
    "all are lost": ((1, 2, 3), (), ["stop"], [0, 34, 67], [(101, "fault")], [(0, True), (200, False)]),
    "the answer is lost": ((), (1,), ["stop"], [0, 34], [(35, "stopped")], [(0, True), (0, False)]),
    "all answers are lost": ((), (1, 2, 3), ["stop"], [0, 34, 67], [(101, "fault")], [(0, True), (0, False)]),
    "lost, and a pulse follows": (
        (1,), (), ["stop", "fire"], [0], [(1, "refused"), (101, "fault")], [(0, True), (200, False)],
    ),
    "a pulse follows that must not be cut": (
        (), (1,), ["stop", "fire"], [0], [(1, "ack"), (101, "fault")],
        [(0, True), (0, False), (0, True), (200, False)],
    ),
    "the answer to the last alone counts": (
        (2,), (), ["stop", "stop"], [0, 0, 34], [(35, "stopped")], [(0, True), (0, False)],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("lost", "lost_answers", "does", "stops_ms", "expected", "edges"), STOPS.values(), ids=STOPS)
def test_a_stop_is_sent_until_it_is_answered(clock, monkeypatch, lost, lost_answers, does, stops_ms, expected, edges):
    line = Line(clock, lost, lost_answers)
    monkeypatch.setattr(SerialTrigger, "_open_port", lambda trigger: line)
    trigger = SerialTrigger(SerialOptions(port="a line"), clock)
    assert trigger.open().acknowledges_stop
    trigger.fire(Pulse(1, 200_000), 1, FAR_NS)
    assert [event.kind for event in trigger.poll()] == ["ack"]
    for command_id, do in enumerate(does, start=2):
        if do == "stop":
            assert trigger.stop(1)
        else:
            trigger.fire(Pulse(1, 200_000), command_id, FAR_NS)
    events = []
    for ms in range(1, 300):
        clock.now_ns += 1 * MS
        for event in trigger.poll():
            assert event.channel == (1 if event.kind == "stopped" else None)
            assert event.host_ns == clock.now_ns
            events.append((ms, event.kind))
    assert (line.stops_ms, events, line.edges) == (stops_ms, expected, edges)


def test_the_answer_to_a_stop_is_reported_after_the_time_out_too(clock, monkeypatch):
    line = Line(clock, lost=(1, 2, 3))
    monkeypatch.setattr(SerialTrigger, "_open_port", lambda trigger: line)
    trigger = SerialTrigger(SerialOptions(port="a line"), clock)
    trigger.open()
    trigger.stop(0)
    stop_id = trigger._stops[0].message.id
    clock.now_ns += 101 * MS
    assert [event.kind for event in trigger.poll()] == ["fault"]
    line._answers = wire.encode(wire.Ack(stop_id, wire.Stop.TYPE, 0, 5))
    assert [(event.kind, event.channel, event.detail) for event in trigger.poll()] == [
        ("stopped", 0, "after the time-out")
    ]


def test_heartbeats_are_sent_when_due(peer, opened, until, clock):
    until.true(lambda: len(peer.of_type(wire.Heartbeat)) == 1)  # `open` sends one.
    for _ in range(5):
        opened.poll()
    clock.now_ns += 19 * MS
    opened.poll()
    opened.stop(0)
    until.true(lambda: peer.of_type(wire.Stop))
    assert len(peer.of_type(wire.Heartbeat)) == 1
    clock.now_ns += 1 * MS
    opened.poll()
    until.true(lambda: len(peer.of_type(wire.Heartbeat)) == 2)
    assert peer.of_type(wire.Heartbeat)[1].host_ms == clock.now_ns // MS


def test_a_silent_device_is_one_fault_until_it_speaks_again(peer, opened, until, clock):
    until.true(lambda: len(peer.of_type(wire.Heartbeat)) == 1)
    opened.stop(0)
    until.true(lambda: opened._pending == {} or opened.poll())  # Everything so far is answered.
    peer.answer = peer.ignore
    faults = []
    for _ in range(20):
        clock.now_ns += 20 * MS
        faults += opened.poll()
    assert [fault.detail for fault in faults] == [
        f"serial {peer.port}: the device did not answer the heartbeat within 100 ms"
    ]
    peer.answer = peer._as_device
    clock.now_ns += 20 * MS
    opened.poll()
    until.true(lambda: opened.poll() or not opened._silent)
    peer.answer = peer.ignore
    clock.now_ns += 20 * MS
    opened.poll()
    clock.now_ns += 101 * MS
    assert [event.kind for event in opened.poll()] == ["fault"]


def test_a_restarted_device_is_one_fault_and_nothing_can_be_fired(peer, opened, until):
    peer.send(wire.encode(wire.Boot(0)))
    event = until.event(opened, "fault")
    assert event.detail == (
        f"serial {peer.port}: the device restarted by itself, its outputs are off; look for a loose cable or a weak "
        "supply, then start again"
    )
    assert opened.poll() == ()
    with pytest.raises(TriggerFailedError, match="restarted by itself"):
        opened.fire(Pulse(0, 1_000), 8, FAR_NS)
    assert peer.of_type(wire.PulseTrain) == []
    opened.all_off()
    until.true(lambda: peer.of_type(wire.AllOff))


def test_a_pulse_cut_by_the_dead_man_is_a_fault(peer, opened, until):
    peer.send(wire.encode(wire.Done(7, wire.EndReason.DEAD_MAN, 99)))
    event = until.event(opened, "fault")
    assert (event.command_id, event.device_us) == (7, 99)
    assert event.detail == (
        f"serial {peer.port}: the device heard nothing for its dead-man time and switched everything off"
    )


@pytest.mark.parametrize("reason", [wire.EndReason.FINISHED, wire.EndReason.STOPPED, wire.EndReason.ALL_OFF])
def test_a_pulse_that_ended_as_asked_is_no_event(peer, opened, until, reason):
    peer.send(wire.encode(wire.Done(7, reason, 99)) + wire.encode(wire.Ack(8, wire.PulseTrain.TYPE, 0, 100)))
    assert until.event(opened, "ack").command_id == 8


def test_the_devices_clock_has_no_overflow(peer, opened, until):
    until.true(lambda: opened.poll() == () and opened._unanswered_ns is None)  # No answer is still under way.
    times_us = []
    for n_steps in range(6):
        device_us = n_steps * 2_000_000_000 & wire.U32
        peer.send(wire.encode(wire.Ack(7, wire.PulseTrain.TYPE, 1, device_us)))
        times_us.append(until.event(opened, "ack").device_us)
    assert [time_us - times_us[0] for time_us in times_us] == [n_steps * 2_000_000_000 for n_steps in range(6)]


def test_garbage_from_the_device_is_ignored(peer, opened, until):
    peer.send(bytes(range(256)) * 4)
    opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    assert until.event(opened, "ack").command_id == 7


# --- stored pulses ---

PULSE = Pulse(0, 1_000)


def _fire(trigger: SerialTrigger, until, command_id: int, pulse: Pulse = PULSE, wait_ns: int = 1_000 * MS) -> None:
    """Fire a pulse, wait for its acknowledgement and for that of what is stored, and leave the channel free."""
    trigger.fire(pulse, command_id, trigger._now_ns() + wait_ns)
    assert until.event(trigger, "ack").command_id == command_id
    trigger.stop(pulse.channel)
    until.true(lambda: trigger.poll() == () and trigger._pending == {})


def _commands(peer) -> list[str]:
    return [type(m).__name__ for m in peer.received if isinstance(m, wire.PulseTrain | wire.Fire | wire.Program)]


def test_the_second_time_a_pulse_is_fired_from_its_slot(peer, opened, until, clock):
    train = Pulse(2, 3_000, 0.5, 1_000.0, 300)
    _fire(opened, until, 7, train)
    _fire(opened, until, 8, train)
    _fire(opened, until, 0x1009, train)
    assert _commands(peer) == ["PulseTrain", "Program", "Fire", "PulseTrain"]  # Too many ids at once for 12 bits.
    (stored,) = peer.of_type(wire.Program)
    assert stored == wire.Program(stored.id, 0, 2, 32_768, 3_000, 1_000, 300)
    assert peer.of_type(wire.Fire) == [wire.Fire(8, 0, clock.now_ns // MS + 1_000 & 0xFFFF)]
    _fire(opened, until, 0x100A, train)
    assert peer.of_type(wire.Fire)[1].id == 0x00A


@pytest.mark.parametrize(
    ("command_id", "wait_ns"),
    [
        pytest.param(6, 10**9, id="an id that is not newer"),
        pytest.param(7 + 0x800, 10**9, id="an id that 12 bits do not tell from an old one"),
        pytest.param(8, 16 * 10**9, id="an expiry that 16 bits do not tell from the past"),
    ],
)
def test_what_a_fire_cannot_say_goes_out_whole(peer, opened, until, command_id, wait_ns):
    _fire(opened, until, 7)
    _fire(opened, until, command_id, wait_ns=wait_ns)
    assert _commands(peer) == ["PulseTrain", "Program", "PulseTrain"]


def test_before_a_pulse_is_known_to_be_stored_it_goes_out_whole(peer, opened, until):
    for command_id in (7, 8):
        opened.fire(PULSE, command_id, FAR_NS)
    until.true(lambda: len(peer.of_type(wire.PulseTrain)) == 2)
    assert peer.of_type(wire.Fire) == []


def test_a_refused_pulse_is_not_stored(peer, opened, until):
    opened.fire(Pulse(8, 1_000), 7, FAR_NS)
    assert until.event(opened, "refused").command_id == 7
    assert opened._to_store == {}
    _fire(opened, until, 8)
    assert [program.channel for program in peer.of_type(wire.Program)] == [0]


def test_slots_are_used_again_by_least_recent_use(peer, opened, until):
    pulses = [Pulse(0, 1_000 + n) for n in range(wire.N_SLOTS + 1)]
    numbers = iter(range(1, 100))
    for pulse in (*pulses[:-1], pulses[0], pulses[-1], pulses[0], pulses[1]):
        _fire(opened, until, next(numbers), pulse)
    assert [program.slot for program in peer.of_type(wire.Program)] == [*range(8), 1, 2]
    assert [fire.slot for fire in peer.of_type(wire.Fire)] == [0, 0]


@pytest.mark.parametrize("silence_ms", [29_999, 30_000])
def test_what_the_device_may_have_forgotten_goes_out_whole(peer, opened, until, clock, silence_ms):
    _fire(opened, until, 7)
    clock.now_ns += silence_ms * MS  # Its dead-man time is 60 s.
    opened.fire(PULSE, 8, clock.now_ns + 1_000 * MS)
    until.true(lambda: len(_commands(peer)) == 3)
    assert _commands(peer)[2] == ("Fire" if silence_ms == 29_999 else "PulseTrain")


def test_a_device_that_forgot_refuses_and_is_told_again(peer, opened, until, clock):
    _fire(opened, until, 7)
    peer.device._slots.clear()
    opened.fire(PULSE, 8, clock.now_ns + 1_000 * MS)
    event = until.event(opened, "refused")
    assert (event.command_id, event.detail) == (
        8,
        f"serial {peer.port}: the device has forgotten the pulse that was stored on it",
    )
    _fire(opened, until, 9)
    _fire(opened, until, 10)
    assert _commands(peer) == ["PulseTrain", "Program", "Fire", "PulseTrain", "Program", "Fire"]


def test_a_missing_answer_to_storing_is_one_fault(peer, opened, until, clock):
    def without_program(data: bytes) -> bytes:
        messages = wire.Parser().feed(data)
        return b"" if any(isinstance(m, wire.Program) for m in messages) else peer._as_device(data)

    peer.answer = without_program
    opened.fire(PULSE, 7, FAR_NS)
    assert until.event(opened, "ack").command_id == 7
    assert next(iter(opened._pending))[0] == wire.Program.TYPE
    clock.now_ns += 101 * MS
    event = opened.poll()[0]
    assert (event.kind, event.command_id) == ("fault", None)
    assert event.detail == f"serial {peer.port}: the command to store a pulse was not answered within 100 ms"
    assert opened._slots.find(PULSE) is None


def test_an_unanswered_fire_is_a_fault_with_its_whole_id(peer, opened, until, clock):
    _fire(opened, until, 0x1_2345)
    peer.answer = peer.ignore
    opened.fire(PULSE, 0x1_2346, clock.now_ns + 1_000 * MS)
    assert until.true(lambda: peer.of_type(wire.Fire))[0].id == 0x346
    clock.now_ns += 101 * MS
    assert opened.poll()[0].command_id == 0x1_2346


def test_what_runs_is_extended(peer, opened, until, clock):
    opened.fire(Pulse(2, 300_000), 7, FAR_NS)
    assert until.event(opened, "ack").command_id == 7
    receipt = opened.extend(2, 7, 8, clock.now_ns + 17_999_999)
    (message,) = until.true(lambda: peer.of_type(wire.Extend))
    assert message == wire.Extend(8, 2, 7, (clock.now_ns + 17_999_999) // MS)
    assert (receipt.command_id, receipt.sent_ns, receipt.acked_ns) == (8, clock.now_ns, None)
    assert until.event(opened, "ack").command_id == 8


def test_what_is_over_is_told_apart_from_what_is_refused(peer, opened, until):
    peer.device = Device(DeviceSpec(max_on_us=1_000_000, dead_man_ms=60_000), lambda edge: None, lambda m, us: None)
    opened.extend(2, 7, 8, FAR_NS)
    assert until.event(opened, "refused").detail.endswith("the device restarted and was not greeted since")
    peer.device.receive(wire.encode(wire.Hello(1, 0)), 0)
    opened.extend(2, 7, 9, FAR_NS)
    event = until.event(opened, "over")
    assert (event.command_id, event.detail) == (
        9,
        f"serial {peer.port}: the channel does not run what was to be extended",
    )
    opened.fire(Pulse(2, 900_000), 10, FAR_NS)
    assert until.event(opened, "ack").command_id == 10
    time.sleep(0.15)
    opened.extend(2, 10, 11, FAR_NS)
    event = until.event(opened, "refused")
    assert (event.command_id, event.detail) == (
        11,
        f"serial {peer.port}: the pulse is longer than the device's longest on-time",
    )


def test_an_unanswered_extend_is_a_fault(peer, opened, until, clock):
    peer.answer = peer.ignore
    opened.extend(2, 7, 8, FAR_NS)
    clock.now_ns += 101 * MS
    event = until.event(opened, "fault")
    assert (event.command_id, event.detail) == (8, f"serial {peer.port}: command 8 was not answered within 100 ms")


def test_a_stored_pulse_is_fired_behind_an_extend_by_a_greater_id_only(peer, opened, until):
    _fire(opened, until, 7)
    opened.extend(0, 7, 20, FAR_NS)
    assert until.event(opened, "over").command_id == 20
    opened.fire(PULSE, 20, opened._now_ns() + MS)
    until.true(lambda: len(_commands(peer)) == 3)
    assert _commands(peer)[2] == "PulseTrain"


def test_a_device_of_an_older_firmware_is_not_asked_to_extend(peer, until, clock):
    spec = DeviceSpec(firmware=(1, 1), dead_man_ms=60_000)
    peer.device = Device(spec, lambda edge: None, lambda message, now_us: None)
    with SerialTrigger(SerialOptions(port=peer.port), clock) as trigger:
        with pytest.raises(TriggerFailedError, match="cannot extend what runs on channel 2"):
            trigger.extend(2, 7, 8, FAR_NS)
        trigger.stop(0)
        until.true(lambda: peer.of_type(wire.Stop))
    assert peer.of_type(wire.Extend) == []


@pytest.mark.parametrize("firmware", [(1, 0), (0, 9)])
def test_a_device_that_stores_nothing_gets_whole_pulses_only(peer, until, clock, firmware):
    peer.device = Device(
        DeviceSpec(firmware=firmware, dead_man_ms=60_000), lambda edge: None, lambda message, now_us: None
    )
    with SerialTrigger(SerialOptions(port=peer.port), clock) as trigger:
        for command_id in (1, 2, 3):
            _fire(trigger, until, command_id)
    assert _commands(peer) == ["PulseTrain"] * 3


# --- opening ---


def test_no_such_port(tmp_path):
    trigger = SerialTrigger(SerialOptions(port=str(tmp_path / "ttyACM9")))
    with pytest.raises(TriggerNotOpenError) as caught:
        trigger.open()
    assert str(caught.value).startswith(f"serial {tmp_path}/ttyACM9: no such port; ports on this machine: ")
    trigger.close()


def test_a_file_that_is_no_port(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TriggerNotOpenError, match="cannot be opened: Could not configure port"):
        SerialTrigger(SerialOptions(port=str(tmp_path / "file"))).open()


def test_a_second_program_cannot_open_the_device_and_learns_who_has_it(peer, opened):
    script = (
        "import sys\n"
        "from triggers.serial import SerialOptions, SerialTrigger\n"
        "SerialTrigger(SerialOptions(port=sys.argv[1])).open()\n"
    )
    second = subprocess.run([sys.executable, "-c", script, peer.port], capture_output=True, text=True, check=False)
    expected = rf"TriggerNotOpenError: serial {peer.port}: in use by process {os.getpid()} \(.*\); end it first"
    assert re.search(expected, second.stderr), second.stderr


def test_a_closed_port_can_be_opened_again(peer):
    trigger = SerialTrigger(SerialOptions(port=peer.port))
    for _ in range(2):
        trigger.open()
        with pytest.raises(TriggerNotOpenError, match="already open here"):
            trigger.open()
        trigger.close()


def test_another_protocol_version_is_refused(peer):
    peer.answer = lambda data: wire.frame(struct.pack("<BBI", 9, wire.Identity.TYPE, 1) + bytes(30))
    with pytest.raises(TriggerNotOpenError) as caught:
        SerialTrigger(SerialOptions(port=peer.port)).open()
    assert str(caught.value) == (
        f"serial {peer.port}: expected protocol version 1, got version 9; "
        "put the firmware of this release on the device"
    )


def test_another_device_is_refused(peer):
    peer.answer = lambda data: b"ok\r\n"
    trigger = SerialTrigger(SerialOptions(port=peer.port, boot_wait_s=0.4))
    with pytest.raises(TriggerNotOpenError) as caught:
        trigger.open()
    assert re.fullmatch(
        rf"serial {peer.port}: expected an answer within 0\.4 s, got \d+ bytes that make no sense; is our firmware on "
        r"the device, and is its baud rate 115200\?",
        str(caught.value),
    )
    with pytest.raises(TriggerFailedError, match="not open; open it first"):
        trigger.fire(Pulse(0, 1), 1, FAR_NS)


def test_a_device_that_vanishes_while_it_is_greeted(peer):
    peer.answer = peer.vanish
    with pytest.raises(TriggerNotOpenError, match="the port is gone"):
        SerialTrigger(SerialOptions(port=peer.port)).open()
    peer._thread.join()


def test_it_waits_for_a_board_that_restarts_when_the_port_is_opened(peer):
    started_s = time.monotonic()
    device = peer.answer

    def boot_late(data: bytes) -> bytes:
        if time.monotonic() - started_s < 0.4:
            return b"\x00\xffbootloader\x00"
        peer.answer = device
        return wire.encode(wire.Boot(0))

    peer.answer = boot_late
    trigger = SerialTrigger(SerialOptions(port=peer.port))
    trigger.open()
    trigger.close()
    assert len(peer.of_type(wire.Hello)) >= 3


def test_limits_are_lowered(peer):
    options = SerialOptions(port=peer.port, max_on_ms=50, max_duty=0.2, dead_man_ms=80)
    with SerialTrigger(options):
        (limits,) = peer.of_type(wire.Limits)
        assert (limits.max_on_us, limits.max_duty_permille, limits.dead_man_ms) == (50_000, 200, 80)
    info = SerialTrigger(options).open()
    assert (info.device["max_on_us"], info.device["max_duty"], info.dead_man_ms) == (50_000, 0.2, 80)


def test_a_heartbeat_too_slow_for_the_device_is_refused(peer):
    with pytest.raises(TriggerNotOpenError) as caught:
        SerialTrigger(SerialOptions(port=peer.port, dead_man_ms=39)).open()
    assert str(caught.value) == (
        f"serial {peer.port}: expected heartbeat_ms of at most half the device's dead-man time of 39 ms, got 20 ms; it "
        "would switch off between two heartbeats"
    )


# --- a link that fails ---


def _fill(trigger: SerialTrigger) -> int:
    """Fire until the port takes no more; return how often that was."""
    for n_fired in range(100_000):
        try:
            trigger.fire(Pulse(0, 1_000), n_fired, FAR_NS)
        except TriggerTimeoutError:
            return n_fired
    raise AssertionError("the port took everything")


def test_a_peer_that_does_not_read_blocks_nothing(peer, opened, until, clock):
    peer.stop_reading()
    assert _fill(opened) > 10
    durations_s = []
    for _ in range(100):
        started_s = time.perf_counter()
        with pytest.raises(TriggerTimeoutError, match=r"the buffer is full, it took \d+ of 30 bytes"):
            opened.fire(Pulse(0, 1_000), 1, FAR_NS)
        clock.now_ns += 20 * MS
        opened.poll()
        durations_s.append(time.perf_counter() - started_s)
    assert sorted(durations_s)[-5] < 0.05  # A few may meet a busy computer.


def test_switching_off_overtakes_what_waits_in_the_buffer(peer, opened, until):
    peer.stop_reading()
    peer.answer = peer.ignore
    n_fired = _fill(opened)
    opened.all_off()
    peer.go_on_reading()
    until.true(lambda: peer.of_type(wire.AllOff))
    assert len(peer.of_type(wire.PulseTrain)) < n_fired


def test_closing_with_a_peer_that_does_not_read_is_quick_and_leaves_all_off(peer, opened, until):
    peer.stop_reading()
    peer.answer = peer.ignore
    _fill(opened)
    started_s = time.perf_counter()
    opened.close()
    assert time.perf_counter() - started_s < 1.0
    peer.go_on_reading()
    until.true(lambda: peer.of_type(wire.AllOff))


def test_a_vanished_port(peer, opened):
    peer.close()
    with pytest.raises(TriggerFailedError) as caught:
        opened.fire(Pulse(0, 1_000), 7, FAR_NS)
    gone = f"serial {peer.port}: the port is gone (Input/output error); plug the device in and start again"
    assert str(caught.value) == gone
    assert [(event.kind, event.detail) for event in opened.poll()] == [("fault", gone)]
    assert opened.poll() == ()
    for call in (lambda: opened.fire(Pulse(0, 1_000), 8, FAR_NS), lambda: opened.stop(0)):
        with pytest.raises(TriggerFailedError, match="the port is gone"):
            call()
    opened.all_off()
    assert opened.poll() == ()
    opened.close()
    opened.close()
