"""A stimulus that lasts while its rule is on, down to the pin of the reference device, in the time of the test."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import pytest

from realtime.decision import Decision, Edge, State
from realtime.stimulus import Action, LimitSpec, Stimulator, StimulusSpec, replayed_triggers
from realtime.testing import plain_tracks
from triggers.device import Device, DeviceSpec
from triggers.device import Edge as PinEdge
from triggers.serial import SerialOptions, SerialTrigger
from triggers.serial_port import SerialPort

Limits = dict[tuple[str, int], LimitSpec]
MS = 1_000_000
FRAME_MS = 10
LIMITS: Limits = {("laser", 0): LimitSpec(max_on_s=100.0, max_duty=1.0)}
NOBODY = plain_tracks()
OLD, NEW = (1, 1), (1, 2)


@dataclass
class Line:
    """A serial line of the test's own: what is written reaches the device `latency_us` later."""

    device: Device
    now_us: int = 0
    latency_us: int = 1_000
    under_way: list[tuple[int, bytes]] = field(default_factory=list)
    answers: bytes = b""

    def write(self, data: bytes) -> None:
        behind_us = self.under_way[-1][0] if self.under_way else 0
        self.under_way.append((max(self.now_us + self.latency_us, behind_us), data))

    def read(self) -> bytes:
        answers, self.answers = self.answers, b""
        return answers

    def wait(self, timeout_s: float) -> None:
        self.pass_to(self.now_us + round(timeout_s * 1e6))

    def drop_output(self) -> None:
        self.under_way.clear()

    def close(self) -> None:
        pass

    def pass_to(self, us: int) -> None:
        while self.under_way and self.under_way[0][0] <= us:
            at_us, data = self.under_way.pop(0)
            self.answers += self.device.advance(at_us) + self.device.receive(data, at_us)
        self.answers += self.device.advance(us)
        self.now_us = us


class Laser(SerialTrigger):
    """The real driver on such a line."""

    def __init__(self, line: Line) -> None:
        self.line = line
        super().__init__(SerialOptions(port="line"), lambda: line.now_us * 1000)

    def _open_port(self) -> SerialPort:
        return cast("SerialPort", self.line)


class Rig:
    """A rule, a stimulator, the driver and the device; `frames` takes for each frame whether the rule is on."""

    def __init__(self, spec: DeviceSpec, stimuli: dict[str, StimulusSpec], limits: Limits = LIMITS) -> None:
        self.edges: list[PinEdge] = []
        self.line = Line(Device(spec, self.edges.append, lambda message, us: None))
        self.laser = Laser(self.line)
        self.info = self.laser.open()
        extending = ["laser"] if self.info.extends else []
        self.stimulator = Stimulator(
            stimuli,
            {"laser": self.laser},
            limits,
            50 * MS,
            armed=True,
            extending=extending,
        )
        self.actions: list[Action] = []
        self.nows_ns: list[int] = []

    def frames(self, on: Sequence[bool], late: Collection[int] = (), frame_ms: int = FRAME_MS) -> None:
        """Let some time pass; what is sent in the frames `late` is 40 ms under way."""
        was = False
        for number, is_on in enumerate(on):
            self.line.latency_us = 1_000
            for _ in range(frame_ms):
                self.line.pass_to(self.line.now_us + 1_000)
                self.stimulator.poll()
            self.line.latency_us = 40_000 if number in late else 1_000
            now_ns = self.line.now_us * 1000
            self.nows_ns.append(now_ns)
            self.actions.append(act(self.stimulator, len(self.actions), is_on, was, now_ns))
            was = is_on
        self.line.pass_to(self.line.now_us + 300_000)

    def outcomes(self) -> list[str]:
        return [intent.outcome for action in self.actions for intent in action.intents]

    def kinds(self) -> set[str]:
        return {event.kind for action in self.actions for _, event in action.events}


def act(stimulator: Stimulator, frame_id: int, is_on: bool, was: bool, now_ns: int) -> Action:
    edge = Edge.NONE if is_on == was else Edge.RISING if is_on else Edge.FALLING
    state = State.ON if is_on else State.OFF
    decisions = tuple(Decision(rule, frame_id, now_ns, state, edge, (), (), ()) for rule in ("near",))
    return stimulator.act(decisions, NOBODY, frame_id, now_ns, now_ns, now_ns)


def light(**changes: object) -> StimulusSpec:
    fields = {"rule": "near", "triggers": ("laser",), "channel": 0, "duration_ms": 60.0, "while_on": True}
    return StimulusSpec.model_validate(fields | changes)


def test_a_device_that_extends_has_no_gaps_and_ends_with_the_last_extension() -> None:
    rig = Rig(DeviceSpec(firmware=NEW), {"light": light()})
    rig.frames([True] * 50 + [False] * 10)
    assert rig.info.extends
    sent = [intent for action in rig.actions for intent in action.intents]
    assert len(sent) > 8
    assert sent[0].commands == (("laser", 1),)
    assert all(len(intent.commands) == 1 and intent.extended == (("laser", 1),) for intent in sent[1:])
    rise, fall = rig.edges
    assert fall.device_us - rise.device_us == (sent[-1].decided_ns - sent[0].decided_ns) // 1000 + 60_000
    assert rig.kinds() == {"ack"}


def test_a_device_that_does_not_is_stopped_before_each_repetition_as_ever() -> None:
    rig = Rig(DeviceSpec(firmware=OLD), {"light": light()})
    rig.frames([True] * 50 + [False] * 10)
    assert not rig.info.extends
    sent = [intent for action in rig.actions for intent in action.intents]
    assert all(intent.extended == () for intent in sent)
    assert all(intent.commands[0] == ("laser", 0) for intent in sent[1:])
    assert sum(edge.on for edge in rig.edges) == len(sent)


def test_a_train_goes_on_in_its_rhythm() -> None:
    rig = Rig(DeviceSpec(firmware=NEW), {"light": light(train_hz=40.0, width_ms=10.0)})
    rig.frames([True] * 50 + [False] * 10)
    rises = [edge.device_us for edge in rig.edges if edge.on]
    assert set(np.diff(rises)) == {25_000}
    decided_ns = [intent.decided_ns for action in rig.actions for intent in action.intents]
    assert len(rises) == len(range(0, (decided_ns[-1] - decided_ns[0]) // 1000 + 60_000, 25_000))


def test_what_ends_on_release_is_stopped() -> None:
    rig = Rig(DeviceSpec(firmware=NEW), {"light": light(stop_on_release=True)})
    rig.frames([True] * 20 + [False] * 10)
    rise, fall = rig.edges
    assert fall.device_us - rise.device_us == 200_000
    assert rig.outcomes()[-1] == "stopped"


def test_a_rule_that_rises_again_has_a_pulse_of_its_own() -> None:
    rig = Rig(DeviceSpec(firmware=NEW), {"light": light()})
    rig.frames([True] * 10 + [False] * 2 + [True] * 10)
    assert sum(edge.on for edge in rig.edges) == 2
    assert {pulse_id for action in rig.actions for i in action.intents for _, pulse_id in i.extended} == {1, 4}


def test_at_a_high_frame_rate_it_is_extended_in_time_too() -> None:
    rig = Rig(DeviceSpec(firmware=NEW), {"light": light()})
    rig.frames([True] * 100, frame_ms=2)
    assert [edge.on for edge in rig.edges] == [True, False]


def test_each_extension_counts_as_a_command() -> None:
    limits = {("laser", 0): LimitSpec(max_on_s=100.0, max_duty=1.0, max_per_minute=4)}
    rig = Rig(DeviceSpec(firmware=NEW), {"light": light()}, limits)
    rig.frames([True] * 60)
    assert rig.outcomes() == ["sent"] * 4 + ["limited"]


def test_an_extension_that_comes_too_late_is_made_good_with_the_next_frame() -> None:
    rig = Rig(DeviceSpec(firmware=NEW), {"light": light(duration_ms=200.0)})
    rig.frames([True] * 60, late={18})
    assert "over" in rig.kinds()
    assert "refused" not in rig.kinds()
    assert rig.actions[18].intents[0].extended
    first, again = (edge.device_us for edge in rig.edges if edge.on)
    assert again - (first + 200_000) <= 3 * FRAME_MS * 1_000
    extended = [pulse for action in rig.actions[19:] for intent in action.intents for pulse in intent.extended]
    assert set(extended) == {("laser", 3)}


def test_the_cap_of_the_device_ends_it_until_the_rule_rises_again() -> None:
    rig = Rig(DeviceSpec(firmware=NEW, max_on_us=200_000), {"light": light()})
    rig.frames([True] * 60 + [False] * 2 + [True] * 3)
    widths = [fall.device_us - rise.device_us for rise, fall in zip(rig.edges[::2], rig.edges[1::2], strict=True)]
    assert len(widths) == 2
    assert 140_000 < widths[0] <= 200_000
    assert "refused" in rig.kinds()
    assert "fault" not in rig.kinds()


def test_the_limits_of_the_host_count_over_all_of_it() -> None:
    limits = {("laser", 0): LimitSpec(max_on_s=0.2, max_duty=1.0)}
    rig = Rig(DeviceSpec(firmware=NEW), {"light": light()}, limits)
    rig.frames([True] * 60)
    rise, fall = rig.edges
    assert 140_000 < fall.device_us - rise.device_us <= 200_000
    assert rig.outcomes()[-1] == "limited"


@pytest.mark.parametrize("firmware", [OLD, NEW])
@pytest.mark.parametrize("late", [set(), {4, 20}])
def test_replay_gives_the_recorded_actions(firmware: tuple[int, int], late: set[int]) -> None:
    stimuli = {"light": light()}
    rig = Rig(DeviceSpec(firmware=firmware, max_on_us=200_000), stimuli)
    on = [True] * 30 + [False] * 3 + [True] * 10
    rig.frames(on, late)
    assert ("over" in rig.kinds()) == (firmware == NEW and late != set())
    extending = ["laser"] if rig.info.extends else []
    triggers = replayed_triggers(["laser"], rig.actions, ["laser"])
    again = Stimulator(stimuli, triggers, LIMITS, 50 * MS, armed=True, extending=extending)
    was = False
    for frame_id, (is_on, now_ns) in enumerate(zip(on, rig.nows_ns, strict=True)):
        again.poll()
        assert act(again, frame_id, is_on, was, now_ns) == rig.actions[frame_id]
        was = is_on
