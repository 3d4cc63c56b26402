"""Arming: nothing goes out before it, a fault ends it, an order to arm is a person's and is not outlived by a fault."""

from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ValidationError

from realtime.decision import Decision, Edge, State
from realtime.stimulus import Action, Order, ReplayedOrders, SafetyOptions, Stimulator, StimulusSpec, replayed_triggers
from realtime.testing import plain_tracks
from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.pulse import Pulse

MS = 1_000_000
NOBODY = plain_tracks()
LIGHT = StimulusSpec.model_validate({"rule": "near", "triggers": ["laser"], "channel": 0, "duration_ms": 5.0})
FAULT = TriggerEvent("fault", None, 0, None, "laser: cable out")


class Laser(Trigger):
    """Notes its calls; fails where it is told to."""

    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, options: Any = None) -> None:
        del options
        self.calls: list[str] = []
        self.events: list[TriggerEvent] = []
        self.broken = ""

    @property
    def failure(self) -> str:
        return self.broken

    def open(self) -> TriggerInfo:
        return TriggerInfo("fake", "laser", {}, True, None)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        del pulse, expires_ns
        self.calls.append("fire")
        return FireReceipt(command_id, 7)

    def poll(self) -> tuple[TriggerEvent, ...]:
        events, self.events = tuple(self.events), []
        return events

    def stop(self, channel: int) -> None:
        self.calls.append(f"stop {channel}")

    def all_off(self) -> None:
        self.calls.append("all_off")

    def close(self) -> None:
        self.calls.append("close")


class Queue:
    """Orders that a test puts in, and the answers that came."""

    def __init__(self) -> None:
        self.waiting: list[Order] = []
        self.answers: list[tuple[Order, str]] = []
        self.calls: list[str] = []

    def take(self, disarmed: str) -> Sequence[Order]:
        del disarmed
        taken, self.waiting = self.waiting, []
        return taken

    def answer(self, order: Order, disarmed: str) -> None:
        self.answers.append((order, disarmed))

    def close(self, *, off: bool) -> None:
        self.calls.append("off" if off else "closing")


class Lab:
    """A stimulator with one laser, frames every 10 ms whose rule always rises, and what a log would hold."""

    def __init__(self, *, armed: bool = False) -> None:
        self.laser, self.orders = Laser(), Queue()
        self.armed = armed
        self.stimulator = Stimulator(
            {"light": LIGHT}, {"laser": self.laser}, {}, 20 * MS, armed=armed, orders=self.orders
        )
        self.now_ns = 0
        self.frame_id = 0
        self.log: list[tuple[int, Action]] = []

    def order(self, kind: Any, by: str = "anna", **changes: Any) -> None:
        self.orders.waiting.append(Order(kind, by, self.now_ns, **changes))

    def poll(self) -> None:
        """Take one turn of the loop without a frame."""
        self.now_ns += 1 * MS
        self.stimulator.poll()

    def frame(self, after_ms: int = 10) -> str:
        """Take one frame; return what came of its stimulus."""
        self.now_ns += after_ms * MS
        self.stimulator.poll()
        action = act(self.stimulator, self.frame_id, self.now_ns)
        self.frame_id += 1
        self.log.append((self.now_ns, action))
        return action.intents[0].outcome

    def ordered(self) -> list[tuple[str, str]]:
        return [(order.kind, order.refused) for _, action in self.log for order in action.orders]


def act(stimulator: Stimulator, frame_id: int, now_ns: int) -> Action:
    rises = Decision("near", frame_id, now_ns, State.ON, Edge.RISING, (), (1.0,), ("mm",))
    return stimulator.act((rises,), NOBODY, frame_id, now_ns, now_ns, now_ns)


def test_nothing_goes_out_before_somebody_arms() -> None:
    lab = Lab()
    assert lab.frame() == "disarmed"
    assert lab.log[0][1].intents[0].detail == "not armed yet"
    assert (lab.stimulator.armed, lab.stimulator.fault, lab.laser.calls) == (False, "", [])


def test_a_rig_may_arm_at_the_start() -> None:
    lab = Lab(armed=True)
    assert lab.frame() == "sent"
    assert lab.stimulator.armed


def test_an_order_arms_with_the_next_frame_and_is_answered_then() -> None:
    lab = Lab()
    lab.order("arm")
    lab.poll()
    assert (lab.stimulator.armed, lab.orders.answers) == (False, [])
    assert lab.frame() == "sent"
    assert lab.ordered() == [("arm", "")]
    [(order, disarmed)] = lab.orders.answers
    assert (order.by, order.refused, disarmed) == ("anna", "", "")


def test_an_order_disarms_at_once_without_a_frame() -> None:
    lab = Lab(armed=True)
    lab.frame()
    lab.order("disarm")
    lab.poll()
    assert lab.laser.calls == ["fire", "all_off"]
    assert [disarmed for _, disarmed in lab.orders.answers] == ["anna"]
    assert lab.frame() == "disarmed"
    assert lab.stimulator.fault == "", "what a person wished is no fault"


def test_a_fault_disarms_and_only_a_person_arms_again() -> None:
    lab = Lab(armed=True)
    lab.laser.events.append(FAULT)
    assert [lab.frame() for _ in range(100)] == ["disarmed"] * 100
    assert lab.stimulator.fault == "laser: laser: cable out"
    lab.order("arm")
    assert lab.frame() == "sent"
    assert lab.stimulator.fault == ""


SAME_MOMENT = {
    "the fault first": ["fault", "arm"],
    "the order first": ["arm", "fault"],
    "disarmed first": ["disarm", "arm"],
    "disarmed last": ["arm", "disarm"],
}


@pytest.mark.parametrize("what", SAME_MOMENT.values(), ids=SAME_MOMENT)
def test_what_speaks_against_arming_wins_in_whichever_order_it_came(what: list[str]) -> None:
    lab = Lab()
    for step in what:
        if step == "fault":
            lab.laser.events.append(FAULT)
        else:
            lab.order(step)
        lab.poll()
    assert lab.frame() == "disarmed"
    refused = [order.refused for _, action in lab.log for order in action.orders if order.kind == "arm"]
    assert refused == ["laser: cable out" if "fault" in what else "anna"]
    lab.order("arm")
    assert lab.frame() == "sent", "the next order is another one"


def test_an_order_to_arm_is_void_if_no_frame_followed_it_in_time() -> None:
    lab = Lab()
    lab.order("arm")
    assert lab.frame(after_ms=200) == "sent"
    lab = Lab()
    lab.order("arm")
    assert lab.frame(after_ms=201) == "disarmed"
    assert lab.ordered() == [("arm", "no frame came within 200 ms of the order")]


def test_a_device_that_has_failed_for_good_cannot_be_armed() -> None:
    lab = Lab()
    lab.laser.broken = "serial /dev/ttyACM0: the device restarted"
    lab.order("arm")
    assert lab.frame() == "disarmed"
    refused = (
        "serial /dev/ttyACM0: the device restarted; put it right, and if it does not come back, end the session and "
        "start again"
    )
    assert lab.ordered() == [("arm", refused)]


def test_closed_outputs_cannot_be_armed() -> None:
    lab = Lab(armed=True)
    lab.stimulator.close()
    lab.order("arm")
    assert lab.frame() == "disarmed"
    assert lab.ordered() == [("arm", "the outputs are closed")]


def test_orders_hear_of_the_end_before_the_outputs_are_closed_and_after() -> None:
    lab = Lab(armed=True)
    lab.laser.calls = lab.orders.calls
    lab.stimulator.close()
    assert lab.orders.calls == ["closing", "all_off", "close", "off"]


def test_a_rule_that_is_on_when_somebody_arms_has_to_rise_again() -> None:
    lab = Lab()
    lab.frame()
    lab.order("arm")
    lab.poll()
    on = Decision("near", 1, lab.now_ns, State.ON, Edge.NONE, (), (1.0,), ("mm",))
    action = lab.stimulator.act((on,), NOBODY, 1, lab.now_ns, lab.now_ns, lab.now_ns)
    assert (lab.stimulator.armed, action.intents) == (True, ())


def test_orders_that_no_frame_followed_can_be_told() -> None:
    lab = Lab(armed=True)
    lab.order("disarm")
    lab.poll()
    assert [order.by for order in lab.stimulator.unreported] == ["anna"]


def test_a_replay_obeys_the_same_orders_with_the_same_frames() -> None:
    lab = Lab()
    story = {2: ["arm"], 5: ["disarm"], 7: ["arm", "fault"], 9: ["arm"], 12: ["fault"], 15: ["broken", "arm"]}
    for index in range(20):
        for step in story.get(index, []):
            if step == "fault":
                lab.laser.events.append(FAULT)
            elif step == "broken":
                lab.laser.broken = "gone"
            else:
                lab.order(step)
            lab.poll()
        lab.frame()
    actions = [action for _, action in lab.log]
    assert {intent.outcome for action in actions for intent in action.intents} == {"sent", "disarmed"}
    triggers = replayed_triggers(["laser"], actions)
    orders = ReplayedOrders(action.orders for action in actions)
    again = Stimulator({"light": LIGHT}, triggers, {}, 20 * MS, armed=False, orders=orders)
    for index, (now_ns, action) in enumerate(lab.log):
        again.poll()
        assert act(again, index, now_ns) == action, f"frame {index}"


OUT_OF_RANGE = {
    "a stall of nothing": {"stall_ms": 99.0},
    "no bad frame": {"bad_frames": 0},
    "an unknown key": {"armed": True},
    "a number for a truth": {"armed_at_start": 1},
}


@pytest.mark.parametrize("options", OUT_OF_RANGE.values(), ids=OUT_OF_RANGE)
def test_settings_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SafetyOptions.model_validate(options)
