"""A replay with recorded trigger behaviour gives the recorded actions, whatever the triggers did."""

from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from realtime.decision import Decision, Edge, State
from realtime.stimulus import Action, LimitSpec, ReplayedTrigger, Stimulator, StimulusSpec, replayed_triggers
from realtime.testing import plain_tracks
from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError
from triggers.pulse import Pulse

MS = 1_000_000
PULSE = Pulse(0, 1000)
NOBODY = plain_tracks()


def test_recorded_commands_answer_as_they_did_and_new_ones_perfectly() -> None:
    trigger = ReplayedTrigger([], {1: FireReceipt(1, 50, 60, False)}, {2: "port gone"})
    assert trigger.fire(PULSE, 1, 0) == FireReceipt(1, 50, 60, False)
    with pytest.raises(TriggerFailedError, match=r"^port gone$"):
        trigger.fire(PULSE, 2, 0)
    assert trigger.fire(PULSE, 3, 0) == FireReceipt(3, sent_ns=0, acked_ns=None, delivered=True)


def test_each_poll_is_one_frame() -> None:
    ack = TriggerEvent("ack", 1, 10)
    trigger = ReplayedTrigger([(), (ack, ack)], {}, {})
    assert [trigger.poll() for _ in range(4)] == [(), (ack, ack), (), ()]


def test_a_stop_fails_when_it_failed() -> None:
    trigger = ReplayedTrigger([], {}, {}, {2: "port gone"})
    trigger.stop(0)
    with pytest.raises(TriggerFailedError, match=r"^port gone$"):
        trigger.stop(0)
    trigger.stop(0)


class ScriptedTrigger(Trigger):
    """Behaves as a drawn script says, one word a call; stops that are not lost are acknowledged some polls later."""

    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, script: list[str]) -> None:
        self._script = iter(script)
        self._time_ns = 0
        self._stopping: list[int] = []

    def _next(self) -> str:
        self._time_ns += 1
        return next(self._script, "fine")

    def open(self) -> TriggerInfo:
        return TriggerInfo("scripted", "", {}, True, None)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        word = self._next()
        if word == "fail":
            raise TriggerFailedError(f"broke at command {command_id}")
        return FireReceipt(command_id, self._time_ns, None, word != "lose")

    def poll(self) -> tuple[TriggerEvent, ...]:
        word = self._next()
        if word == "fail":
            return (TriggerEvent("ack", None, self._time_ns), TriggerEvent("fault", None, self._time_ns, 3, "gone"))
        if word == "lose":
            return (TriggerEvent("ack", 1, self._time_ns),)
        stopped, self._stopping = self._stopping, []
        return tuple([TriggerEvent("stopped", None, self._time_ns, channel=channel) for channel in stopped])

    def stop(self, channel: int) -> bool:
        word = self._next()
        if word == "fail":
            raise TriggerFailedError("broke at a stop")
        if word == "fine":
            self._stopping.append(channel)
        return True

    def all_off(self) -> None:
        pass

    def close(self) -> None:
        pass


BOUND = {"duration_ms": 30.0, "channel": 0}
STIMULI = {
    # Everything that a rig can say, at once and on the same channels.
    "burst": StimulusSpec(
        rule="far", triggers=("laser",), while_on=True, stop_on_release=True, priority=2, delay_ms=35.0, **BOUND
    ),
    "steady": StimulusSpec(
        rule="near", triggers=("led",), while_on=True, seed=3, blocks={"size": 4, "real": 2}, priority=1, **BOUND
    ),
    "matched": StimulusSpec(triggers=("led",), random_interval_s=[0.1, 0.3], seed=5, probability=0.5, **BOUND),
    "master": StimulusSpec(
        triggers=("laser",),
        yoked={"session": "a", "events": [["start", 90 * MS, 5 * MS], ["stop", 130 * MS, 5 * MS]]},
        **BOUND,
    ),
    "light": StimulusSpec(
        rule="near", triggers=("laser", "led"), channel=0, duration_ms=80, train_hz=50, width_ms=5, stop_on_release=True
    ),
    "tone": StimulusSpec(rule="far", triggers=("led",), channel=0, duration_ms=50, stop_on_release=True),
}
LIMITS = {("laser", 0): LimitSpec(max_duty=0.3, duty_window_s=0.2), ("led", 0): LimitSpec(max_dose_s=0.4)}
WORDS = st.lists(st.sampled_from(["fine"] * 12 + ["lose", "lose", "fail"]), max_size=60)
FRAMES = st.lists(
    st.tuples(st.sampled_from(list(Edge)), st.sampled_from(list(Edge)), st.integers(1, 60), st.integers(0, 25)),
    max_size=25,
)


def run(triggers: dict[str, Trigger], frames: list[tuple[Edge, Edge, int, int]]) -> list[Action]:
    stimulator = Stimulator(STIMULI, triggers, LIMITS, 20 * MS, armed=True)
    actions = []
    now_ns = 0
    for frame_id, (near, far, gap_ms, age_ms) in enumerate(frames):
        now_ns += gap_ms * MS
        stimulator.poll()
        decisions = tuple(
            Decision(rule, frame_id, now_ns, State.OFF if edge is Edge.FALLING else State.ON, edge, (4,), (), ())
            for rule, edge in (("near", near), ("far", far))
        )
        actions.append(stimulator.act(decisions, NOBODY, frame_id, now_ns, now_ns - age_ms * MS, now_ns))
    return actions


@settings(max_examples=200, deadline=None)
@given(FRAMES, WORDS, WORDS)
def test_replay_gives_the_recorded_actions(
    frames: list[tuple[Edge, Edge, int, int]], laser: list[str], led: list[str]
) -> None:
    recorded = run({"laser": ScriptedTrigger(laser), "led": ScriptedTrigger(led)}, frames)
    assert run(dict(replayed_triggers(["laser", "led"], recorded, ["laser", "led"])), frames) == recorded


@pytest.mark.parametrize(("acknowledging", "outcome"), [(["laser"], "limited"), ([], "sent")])
def test_a_stop_counts_as_it_did_when_it_was_recorded(acknowledging: list[str], outcome: str) -> None:
    """From before stops were acknowledged there are records, too."""
    spec = StimulusSpec(rule="near", triggers=("laser",), channel=0, duration_ms=100.0, stop_on_release=True)
    limits = {("laser", 0): LimitSpec(max_dose_s=0.15)}
    stimulator = Stimulator({"light": spec}, replayed_triggers(["laser"], [], acknowledging), limits, MS, armed=True)
    outcomes = []
    for frame_id, edge in enumerate((Edge.RISING, Edge.FALLING, Edge.RISING)):
        now_ns = frame_id * 10 * MS
        decision = Decision("near", frame_id, now_ns, State.ON, edge, (), (), ())
        action = stimulator.act((decision,), NOBODY, frame_id, now_ns, now_ns, now_ns)
        outcomes += [intent.outcome for intent in action.intents]
    assert outcomes == ["sent", "stopped", outcome]
