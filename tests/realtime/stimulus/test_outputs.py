"""The outputs' account of a stop: what was told to stop has stopped once its device says so."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel

from realtime.stimulus.action import Receipt
from realtime.stimulus.interlock import LimitSpec
from realtime.stimulus.outputs import Moment, Outputs, Request, Stimulus
from realtime.stimulus.spec import StimulusSpec
from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.pulse import Pulse

MS = 1_000_000
LIMITS = {("laser", 0): LimitSpec(max_dose_s=0.3, max_duty=1.0)}


class Laser(Trigger):
    """Reports what a test puts into `events`; says of stops whether it will report them."""

    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, acknowledges_stop: bool) -> None:
        self.acknowledges_stop = acknowledges_stop
        self.events: list[TriggerEvent] = []
        self.calls: list[str] = []

    def open(self) -> TriggerInfo:
        return TriggerInfo("fake", "", {}, True, None, self.acknowledges_stop)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        del pulse, expires_ns
        self.calls.append("fire")
        return FireReceipt(command_id, 0)

    def poll(self) -> tuple[TriggerEvent, ...]:
        events, self.events = tuple(self.events), []
        return events

    def stop(self, channel: int) -> bool:
        self.calls.append(f"stop {channel}")
        return self.acknowledges_stop

    def all_off(self) -> None:
        self.calls.append("all_off")

    def close(self) -> None:
        pass


@dataclass
class Bench:
    """Outputs with one laser, by a clock in ms; a stimulus is named by its duration and priority."""

    laser: Laser
    receipts: list[Receipt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.outputs = Outputs({"laser": self.laser}, LIMITS, 10**9, armed=True)

    def do(self, at_ms: int, what: str, *arguments: Any) -> str:
        moment = Moment(0, at_ms * MS, at_ms * MS)
        if what == "start":
            return self.outputs.start(Request(stimulus(*arguments), 0, "real", 0), moment, 0, self.receipts).outcome
        if what == "stop":
            return ", ".join(intent.outcome for intent in self.outputs.stop(stimulus(*arguments), moment))
        self.laser.events.append(TriggerEvent(*arguments))
        self.outputs.poll()
        return self.outputs.disarmed


_STIMULI: dict[tuple[int, int], Stimulus] = {}


def stimulus(duration_ms: int, priority: int = 0) -> Stimulus:
    if (duration_ms, priority) not in _STIMULI:
        spec = StimulusSpec(
            rule="near", triggers=("laser",), channel=0, duration_ms=float(duration_ms), priority=priority
        )
        _STIMULI[duration_ms, priority] = Stimulus(f"{duration_ms} ms", spec, spec.pulse())
    return _STIMULI[duration_ms, priority]


def stopped(at_ms: int, channel: int = 0) -> tuple[Any, ...]:
    return ("stopped", None, at_ms * MS, None, "", channel)


FAULT = ("fault", None, 0, None, "not answered")
STARTED = (0, "start", 200)
STOPPED = (50, "stop", 200)
CASES = {  # Acknowledges stops; what happens; what comes of the last.
    "no word of it will come: it counts at once": (False, [STARTED, STOPPED, (60, "start", 250)], "sent"),
    "no word of it will come, and one more": (False, [STARTED, STOPPED, (60, "start", 251)], "limited"),
    "acknowledged": (True, [STARTED, STOPPED, (61, "event", *stopped(60)), (70, "start", 240)], "sent"),
    "acknowledged, and one more": (
        True, [STARTED, STOPPED, (61, "event", *stopped(60)), (70, "start", 241)], "limited"),
    "no word yet": (True, [STARTED, STOPPED, (60, "start", 100)], "sent"),
    "no word yet, and one more": (True, [STARTED, STOPPED, (60, "start", 101)], "limited"),
    "word of another channel": (
        True, [STARTED, STOPPED, (61, "event", *stopped(60, channel=1)), (70, "start", 101)], "limited"),
    "no word ever: disarmed": (True, [STARTED, STOPPED, (151, "event", *FAULT)], "laser: not answered"),
    "disarmed, nothing goes out": (True, [STARTED, STOPPED, (151, "event", *FAULT), (152, "start", 1)], "disarmed"),
    "a second stop has nothing to stop": (True, [STARTED, STOPPED, (51, "stop", 200)], ""),
    "the channel is free for what is less important": (
        True, [(0, "start", 200, 5), (50, "stop", 200, 5), (50, "start", 100, 1)], "sent"),
    "what runs is not": (True, [(0, "start", 200, 5), (50, "start", 100, 1)], "outranked"),
}  # fmt: skip


@pytest.mark.parametrize(("acknowledges_stop", "steps", "expected"), CASES.values(), ids=CASES)
def test_what_comes_of_a_stop(acknowledges_stop: bool, steps: list[tuple[Any, ...]], expected: str) -> None:
    bench = Bench(Laser(acknowledges_stop))
    outcomes = [bench.do(*step) for step in steps]
    assert (outcomes[0], outcomes[-1]) == ("sent", expected)
