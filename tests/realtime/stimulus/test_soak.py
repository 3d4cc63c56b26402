"""The stimulator, the serial driver and the device together, on a line that loses, spoils and delays: hours in seconds.

Everything is real but the clock and the line: `Stimulator`, `SerialTrigger`, the protocol, and the device's reference,
to which the firmware is compared elsewhere. What is checked is read off the pins and held against the record.

POSELOOP_SOAK_FRAMES=1000000 runs a million frames.
"""

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

import triggers.port_trigger
from realtime.decision import Decision, Edge, State
from realtime.stimulus import Intent, LimitSpec, Stimulator, StimulusSpec
from realtime.stimulus.action import STOP_ID
from realtime.testing import plain_tracks
from triggers.base import TriggerEvent
from triggers.device import Device, DeviceSpec
from triggers.device import Edge as PinEdge
from triggers.errors import TriggerFailedError, TriggerTimeoutError
from triggers.serial import SerialOptions, SerialTrigger

N_FRAMES = int(os.environ.get("POSELOOP_SOAK_FRAMES", "20000"))
MOST_FRAMES = 3_000  # of a session without a fault
MS = 1_000_000
DEADLINE_MS = 20.0
WATCHDOG_MS = 120  # a device that hangs holds its pins for so long
CLOCK_MS = 3.0  # what the device may be wrong by on the host's clock, which it knows from the heartbeats alone
LIMITS = LimitSpec(max_on_s=0.3, max_duty=0.4, duty_window_s=1.0, max_dose_s=20.0, max_per_minute=200)
MAX_ON_S = {0: 0.08, 1: 0.3, 2: 0.3}
SPEC = DeviceSpec(max_on_us=500_000, max_duty_permille=900)
STIMULI = {
    "flash": StimulusSpec(rule="near", triggers=("laser",), channel=0, duration_ms=60.0),
    "train": StimulusSpec(
        rule="near", triggers=("laser",), channel=1, duration_ms=250.0, train_hz=40.0, width_ms=10.0, priority=2
    ),
    "second": StimulusSpec(rule="far", triggers=("laser",), channel=0, duration_ms=50.0),
    "other": StimulusSpec(rule="far", triggers=("laser",), channel=1, duration_ms=120.0, stop_on_release=True),
    "coin": StimulusSpec(rule="far", triggers=("laser",), channel=2, duration_ms=30.0, probability=0.5, seed=5),
}
NOBODY = plain_tracks()


@dataclass
class World:
    """One clock, one device, and the line to it, which is the `SerialPort` of the driver."""

    chance: random.Random
    now_ns: int = 10**15
    faulty: bool = False
    path: str = "/dev/soak"
    pins: list[tuple[int, PinEdge]] = field(default_factory=list)
    _to_device: list[tuple[int, bytes]] = field(default_factory=list)
    _to_host: list[tuple[int, bytes]] = field(default_factory=list)
    is_gone: bool = False
    is_full: bool = False
    hangs_until_ns: int | None = None

    def __post_init__(self) -> None:
        self.power_on()

    def power_on(self) -> None:
        """Start the device; what it had on goes off."""
        for channel in range(3):
            if self.is_high(channel):
                self.pins.append((self.now_ns, PinEdge(0, channel, on=False, intensity=0, command_id=0)))
        self._booted_ns = self.now_ns
        self._rate = 1.0 + self.chance.uniform(-0.003, 0.003)
        self._device = Device(SPEC, self._on_edge, lambda message, now_us: None)
        self._answer(self._device.boot())

    def is_high(self, channel: int) -> bool:
        return next((edge.on for _, edge in reversed(self.pins) if edge.channel == channel), False)

    def step(self, to_ns: int) -> None:
        """Let time pass: bytes arrive, pulses go on."""
        while True:
            arrivals = [at for at, _ in self._to_device] + self._dues_ns()
            next_ns = min((at for at in arrivals if at <= to_ns), default=None)
            if next_ns is None:
                break
            self.now_ns = max(self.now_ns, next_ns)
            if self.hangs_until_ns is None:
                arrived = [data for at, data in self._to_device if at <= self.now_ns]
                self._to_device = [item for item in self._to_device if item[0] > self.now_ns]
                if arrived:
                    self._answer(self._device.receive(b"".join(arrived), self._device_us()))
                self._answer(self._device.advance(self._device_us()))
            elif self.now_ns >= self.hangs_until_ns:  # its watchdog restarts it; it has heard nothing
                self.hangs_until_ns = None
                self._to_device.clear()
                self.power_on()
            else:
                self._to_device = [item for item in self._to_device if item[0] > self.now_ns]
        self.now_ns = max(self.now_ns, to_ns)

    # --- the SerialPort that the driver sees ---

    def write(self, data: bytes) -> None:
        if self.is_gone:
            raise TriggerFailedError("the port is gone")
        if self.is_full:
            raise TriggerTimeoutError("the buffer is full")
        self._to_device.append((self.now_ns + self._delay_ns(), self._spoilt(data)))
        self._to_device.sort(key=lambda item: item[0])

    def read(self) -> bytes:
        if self.is_gone:
            raise TriggerFailedError("the port is gone")
        self.step(self.now_ns)
        data = b"".join(data for at, data in self._to_host if at <= self.now_ns)
        self._to_host = [item for item in self._to_host if item[0] > self.now_ns]
        return data

    def wait(self, timeout_s: float) -> None:
        self.step(self.now_ns + round(timeout_s * 1e9))

    def drop_output(self) -> None:
        self._to_device.clear()
        self.is_full = False

    def close(self) -> None:
        pass

    # --- inside ---

    def _device_us(self) -> int:
        return int((self.now_ns - self._booted_ns) * self._rate) // 1000

    def _dues_ns(self) -> list[int]:
        due_us = self._device.next_due_us
        if self.hangs_until_ns is not None:
            return [self.hangs_until_ns]
        return [] if due_us is None else [self._booted_ns + int((due_us + 1) * 1000 / self._rate)]

    def _on_edge(self, edge: PinEdge) -> None:
        self.pins.append((self.now_ns, edge))

    def _answer(self, data: bytes) -> None:
        if data:
            self._to_host.append((self.now_ns + self._delay_ns(), self._spoilt(data)))
            self._to_host.sort(key=lambda item: item[0])

    def _delay_ns(self) -> int:
        slow = self.faulty and self.chance.random() < 2e-4
        return round((self.chance.uniform(30, 60) if slow else self.chance.uniform(0.5, 2.0)) * MS)

    def _spoilt(self, data: bytes) -> bytes:
        if not self.faulty or self.chance.random() > 3e-4:
            return data
        at = self.chance.randrange(len(data))
        return self.chance.choice(
            [b"", data[:at], data[at:], data[:at] + bytes((data[at] ^ 1 << self.chance.randrange(8),)) + data[at + 1 :]]
        )


@dataclass
class Record:
    """What a session's log would hold, and what is known besides."""

    intents: list[Intent] = field(default_factory=list)
    events: list[tuple[int, TriggerEvent]] = field(default_factory=list)
    receipts: set[int] = field(default_factory=set)
    available_ns: dict[int, int] = field(default_factory=dict)
    rising: set[tuple[str, int]] = field(default_factory=set)
    disarmed_ns: int | None = None


def random_decision(chance: random.Random, rule: str, frame_id: int, last: State) -> Decision:
    """A rule that is off, on or unknown; an edge goes with a change to or from ON alone."""
    turn = chance.random()
    state = last
    if turn < 0.04:
        state = chance.choice([State.OFF, State.ON, State.UNKNOWN])
    edge = Edge.NONE
    if state is State.ON and last is not State.ON:
        edge = Edge.RISING
    elif last is State.ON and state is not State.ON:
        edge = Edge.FALLING
    return Decision(rule, frame_id, frame_id * MS, state, edge, (1, 2), (), ())


def fault(chance: random.Random, world: World) -> None:
    """Do one of the things that happen in a lab."""
    kind = chance.choice(["reset", "hang", "gone", "full", "stall"])
    if kind == "reset":
        world.hangs_until_ns = None
        world.power_on()
    elif kind == "hang":
        world.hangs_until_ns = world.now_ns + WATCHDOG_MS * MS
    elif kind == "gone":
        world.is_gone = True
    elif kind == "full":
        world.is_full = True
    else:  # the whole program is stopped for a while
        world.step(world.now_ns + chance.randint(50, 1_500) * MS)


def session(world: World, chance: random.Random) -> tuple[Record, int]:
    """Run until some while after a fault; return the record and the number of frames."""
    world.faulty = world.is_gone = world.is_full = False
    trigger = SerialTrigger(SerialOptions(port=world.path), now_ns=lambda: world.now_ns)
    trigger.open()
    world.faulty = True
    limits = {("laser", k): LIMITS.model_copy(update={"max_on_s": longest_s}) for k, longest_s in MAX_ON_S.items()}
    stimulator = Stimulator(STIMULI, {"laser": trigger}, limits, round(DEADLINE_MS * MS), armed=True)
    record = Record()
    last = dict.fromkeys(("near", "far"), State.OFF)
    first_ns, n_after = world.now_ns, 0
    for frame_id in range(MOST_FRAMES):
        world.step(world.now_ns + round(chance.uniform(1.0, 9.0) * MS))
        if chance.random() < 1e-3:
            fault(chance, world)
        available_ns = world.now_ns
        slow = chance.random()
        world.step(world.now_ns + round((chance.uniform(15, 60) if slow < 0.01 else chance.uniform(0.1, 3.0)) * MS))
        if slow > 0.995:  # a frame that was held up on its way
            available_ns -= chance.randint(10, 500) * MS
        record.events += [(world.now_ns, event) for _, event in stimulator.poll()]
        decisions = tuple(random_decision(chance, rule, frame_id, state) for rule, state in last.items())
        last = {decision.rule: decision.state for decision in decisions}
        record.available_ns[frame_id] = available_ns
        record.rising |= {
            (decision.rule, frame_id)
            for decision in decisions
            if decision.edge is Edge.RISING and decision.state is State.ON
        }
        action = stimulator.act(decisions, NOBODY, frame_id, available_ns - first_ns, available_ns, world.now_ns)
        record.intents += action.intents
        record.receipts |= {receipt.command_id for receipt in action.receipts}
        if not stimulator.armed:
            record.disarmed_ns = record.disarmed_ns or world.now_ns
            n_after += 1
            if n_after > 60:
                break
    for _ in range(40):  # what is still on its way
        world.step(world.now_ns + 5 * MS)
        record.events += [(world.now_ns, event) for _, event in stimulator.poll()]
    stimulator.close()
    world.step(world.now_ns + 2_000 * MS)
    return record, frame_id + 1


def check_record(record: Record) -> None:
    """Every stimulus has its intent, arm, command, and the answer or that there was none."""
    sent = [intent for intent in record.intents if intent.outcome == "sent"]
    for intent in record.intents:
        age_ns = intent.decided_ns - record.available_ns[intent.frame_id]
        if intent.outcome == "sent":
            assert intent.arm == "real"
            assert age_ns <= DEADLINE_MS * MS
            assert (intent.rule, intent.frame_id) in record.rising
            assert record.disarmed_ns is None or intent.decided_ns <= record.disarmed_ns
            fired = {number for _, number in intent.commands if number != STOP_ID}
            assert fired
            assert fired <= record.receipts
        elif intent.outcome in {"late", "limited", "disarmed", "outranked"}:
            assert not intent.commands
            assert intent.detail
        elif intent.outcome == "sham":
            assert (intent.arm, intent.commands) == ("sham", ())
    answered = {event.command_id for _, event in record.events}
    faults_ns = [at_ns for at_ns, event in record.events if event.kind == "fault"]
    for intent in sent:
        for number in {number for _, number in intent.commands if number != STOP_ID}:
            assert number in answered or any(at_ns >= intent.decided_ns for at_ns in faults_ns), intent


def check_pins(pins: list[tuple[int, PinEdge]], record: Record) -> Counter[str]:
    """What came out is what was decided, in time, and within the limits; read off the pins alone."""
    counts: Counter[str] = Counter()
    commands = {
        number: intent for intent in record.intents if intent.arm == "real" for _, number in intent.commands if number
    }
    started: set[int] = set()
    for at_ns, edge in pins:
        if edge.on and edge.command_id not in started:
            started.add(edge.command_id)
            intent = commands[edge.command_id]
            assert intent.outcome in {"sent", "failed"}
            assert edge.channel == intent.channel
            late_ms = (at_ns - record.available_ns[intent.frame_id]) / MS
            assert late_ms <= DEADLINE_MS + CLOCK_MS
            counts["pulses"] += 1
    for channel in range(3):
        spans = high_spans([(at_ns, edge.on) for at_ns, edge in pins if edge.channel == channel])
        hung_ns = {at_ns for at_ns, edge in pins if edge.channel == channel and edge.command_id == 0}
        for start, stop in spans:
            assert stop - start <= MAX_ON_S[channel] * 1e9 * 1.01 + MS + (stop in hung_ns) * WATCHDOG_MS * MS
        window_ns = LIMITS.duty_window_s * 1e9
        for begin, _ in spans:
            high = sum(max(0, min(stop, begin + window_ns) - max(start, begin)) for start, stop in spans)
            assert high <= LIMITS.max_duty * window_ns * 1.01 + slack_ms(begin + window_ns, record) * MS
        assert sum(stop - start for start, stop in spans) <= LIMITS.max_dose_s * 1e9 * 1.01
    return counts


def slack_ms(end_ns: float, record: Record) -> float:
    """Return by how much a window may hold more than the host has reckoned, ms.

    The host reckons from when it sends. A pulse may begin later, by no more than what its expiry allows, and so fall
    into a window with one more. What was switched off goes on if that command is lost, until the missing answer is
    noticed and everything is switched off; that may be lost as well, and then the pulse ends as it was asked for.
    """
    way_ms = DEADLINE_MS + CLOCK_MS
    is_sure = record.disarmed_ns is None or end_ns < record.disarmed_ns - 150 * MS
    return way_ms if is_sure else way_ms + STIMULI["other"].duration_ms


def high_spans(levels: list[tuple[int, bool]]) -> list[tuple[int, int]]:
    spans, since = [], None
    for at_ns, on in levels:
        if on and since is None:
            since = at_ns
        elif not on and since is not None:
            spans.append((since, at_ns))
            since = None
    assert since is None, "everything is off in the end"
    return spans


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[[random.Random], World]:
    """A world whose line is what the driver opens."""

    def make(chance: random.Random) -> World:
        world = World(chance)
        monkeypatch.setattr(triggers.port_trigger, "SerialPort", lambda path, baud_rate, driver: world)
        return world

    return make


def test_nothing_goes_out_that_should_not(world: Callable[[random.Random], World]) -> None:
    chance = random.Random(2)
    here = world(chance)
    n_frames = 0
    counts: Counter[str] = Counter()
    while n_frames < N_FRAMES:
        before = len(here.pins)
        record, n = session(here, chance)
        n_frames += n
        check_record(record)
        counts += check_pins(here.pins[before:], record)
        counts.update(intent.outcome for intent in record.intents)
        counts["faults"] += record.disarmed_ns is not None
        del here.pins[:]
    print(n_frames, "frames:", dict(counts))  # noqa: T201
    # Everything that the checks speak of has happened.
    assert {"pulses", "sent", "late", "limited", "disarmed", "outranked", "sham", "stopped", "faults"} <= counts.keys()
