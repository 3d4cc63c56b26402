"""Protocols frame by frame: delays, repetitions, timetables, yoked stimuli, shams and priorities, on a real trigger."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from realtime.decision import Decision, Edge, State
from realtime.stimulus import Action, LimitSpec, Order, Stimulator, StimulusSpec
from realtime.testing import plain_tracks
from triggers.base import FireReceipt
from triggers.pulse import Pulse
from triggers.recording import RecordingOptions, RecordingTrigger

MS = 1_000_000
FRAME_MS = 10
DEADLINE_MS = 20
TRACKS = plain_tracks([1, 2], confidence=[0.5, 0.75])
FREE = {("laser", channel): LimitSpec(max_on_s=60, max_duty=1.0, max_dose_s=1000) for channel in (0, 1)}


class Untouched(RecordingTrigger):
    """Fails the test when anything is sent."""

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        raise AssertionError("a sham was sent")

    def stop(self, channel: int) -> None:
        raise AssertionError("a sham was stopped on the device")


class Lab:
    """A stimulator on a frame clock; a rule is on in the frames that are said, and the loop takes 1 ms a frame."""

    def __init__(
        self,
        trigger: type[RecordingTrigger] = RecordingTrigger,
        limits: dict[tuple[str, int], LimitSpec] | None = None,
        **stimuli: dict[str, Any],
    ) -> None:
        self.now_ns = 0
        self.laser = trigger(RecordingOptions(), lambda: self.now_ns)
        self.laser.open()
        common = {"triggers": ["laser"], "channel": 0, "duration_ms": 200.0}
        specs = {name: StimulusSpec.model_validate(common | spec) for name, spec in stimuli.items()}
        self.stimulator = Stimulator(specs, {"laser": self.laser}, FREE | (limits or {}), DEADLINE_MS * MS, armed=True)
        self._was_on: set[str] = set()
        self.frame_id = -1
        self.actions: list[Action] = []

    def frame(self, *on: str, at_ms: float | None = None, age_ms: float = 1.0) -> Action:
        """Act on the next frame, in which the named rules are on; `at_ms` is its time, by default the next of 10 ms."""
        self.frame_id += 1
        available_ns = self.frame_id * FRAME_MS * MS if at_ms is None else round(at_ms * MS)
        self.now_ns = available_ns + round(age_ms * MS)
        decisions = []
        for rule in sorted({*on, *self._was_on}):
            edge = (Edge.FALLING if rule not in on else Edge.RISING) if (rule in on) != (rule in self._was_on) else 0
            state = State.ON if rule in on else State.OFF
            decisions.append(Decision(rule, self.frame_id, available_ns, state, Edge(edge), (2, 1), (), ()))
        self._was_on = set(on)
        action = self.stimulator.act(tuple(decisions), TRACKS, self.frame_id, available_ns, available_ns, self.now_ns)
        self.actions.append(action)
        return action

    def frames(self, n: int, *on: str) -> None:
        for _ in range(n):
            self.frame(*on)

    def told(self) -> list[tuple[float, str, str]]:
        """Return every intent so far as (time of the decision in ms, stimulus, outcome)."""
        return [(intent.decided_ns / MS, intent.stimulus, intent.outcome) for intent in self.intents()]

    def intents(self) -> list[Any]:
        return [intent for action in self.actions for intent in action.intents]

    def sent_ms(self) -> list[float]:
        return [fired.fired_ns / MS for fired in self.laser.fired]


# Delay


def test_a_delayed_stimulus_goes_out_with_the_first_frame_after_its_delay() -> None:
    lab = Lab(light={"rule": "near", "delay_ms": 35.0})
    lab.frames(2)
    lab.frames(1, "near")
    lab.frames(10)
    # The edge's frame was available at 20 ms; 55 ms is over in the frame that is decided at 61 ms.
    assert lab.sent_ms() == [61]
    (intent,) = lab.intents()
    assert (intent.outcome, intent.frame_id, intent.decided_ns) == ("sent", 2, 61 * MS)
    assert (intent.track_ids, intent.identity_confidence) == ((2, 1), (0.75, 0.5))
    assert lab.laser.fired[0].expires_ns == (60 + DEADLINE_MS) * MS


def test_a_delay_is_never_cut_short_and_counts_from_when_the_frame_was_available() -> None:
    lab = Lab(light={"rule": "near", "delay_ms": 21.0})
    lab.frame("near", age_ms=15)
    lab.frame(at_ms=10)
    lab.frame(at_ms=19.9)
    assert lab.sent_ms() == []
    lab.frame(at_ms=20)
    assert lab.sent_ms() == [21]


def test_every_edge_has_its_delay() -> None:
    lab = Lab(light={"rule": "near", "delay_ms": 50.0, "duration_ms": 5.0})
    for frame in range(12):
        lab.frame(*(["near"] if frame in {1, 3} else []))
    assert lab.sent_ms() == [61, 81]
    assert [intent.ordinal for intent in lab.intents()] == [0, 1]


@pytest.mark.parametrize(("resumes_ms", "outcome"), [(65, "sent"), (70, "sent"), (70.5, "late")])
def test_a_delayed_stimulus_expires_when_the_loop_stalls(resumes_ms: float, outcome: str) -> None:
    lab = Lab(light={"rule": "near", "delay_ms": 50.0})
    lab.frame("near")
    lab.frame(at_ms=resumes_ms)
    assert lab.told() == [(resumes_ms + 1, "light", outcome)]
    if outcome == "late":
        assert lab.intents()[0].detail == "the first frame came 20.500 ms after it was due, which exceeds 20 ms"
        assert lab.sent_ms() == []


def test_an_edge_that_is_late_starts_no_delay() -> None:
    for more in ({}, {"while_on": True}):
        lab = Lab(light={"rule": "near", "delay_ms": 50.0, **more})
        lab.frame("near", age_ms=20.5)
        lab.frames(20, "near")
        assert [outcome for _, _, outcome in lab.told()] == ["late"]
        assert lab.sent_ms() == []


def test_a_delayed_stimulus_needs_a_fresh_frame_too() -> None:
    lab = Lab(light={"rule": "near", "delay_ms": 5.0})
    lab.frame("near")
    lab.frame(age_ms=21)
    assert [outcome for _, _, outcome in lab.told()] == ["late"]
    assert lab.sent_ms() == []


@pytest.mark.parametrize("more", [{"stop_on_release": True}, {"while_on": True}])
def test_what_waits_is_cancelled_when_the_rule_falls(more: dict[str, bool]) -> None:
    lab = Lab(light={"rule": "near", "delay_ms": 50.0, **more})
    lab.frames(1, "near")
    lab.frames(20)
    assert lab.told() == [(11, "light", "cancelled")]
    assert lab.intents()[0].detail == "the rule fell before the delay was over"
    assert lab.sent_ms() == []


def test_what_waits_is_recorded_as_soon_as_it_is_disarmed() -> None:
    lab = Lab(light={"rule": "near", "delay_ms": 500.0}, glow={"rule": "near", "delay_ms": 700.0, "while_on": True})
    lab.frames(1, "near")
    lab.stimulator.obey(Order("disarm", "a person said so", 0))
    lab.frames(2, "near")
    assert lab.told() == [(11, "light", "disarmed"), (11, "glow", "disarmed")]
    assert {intent.detail for intent in lab.intents()} == {"a person said so"}
    assert lab.sent_ms() == []


def test_limits_are_judged_when_it_goes_out() -> None:
    tight = {("laser", 0): LimitSpec(max_dose_s=0.2)}
    lab = Lab(limits=tight, light={"rule": "near", "delay_ms": 50.0}, glow={"rule": "far"})
    lab.frame("near")
    lab.frame("far")
    lab.frames(8)
    assert lab.told() == [(11, "glow", "sent"), (51, "light", "limited")]


# While on


def test_a_stimulus_is_repeated_before_it_ends_as_long_as_the_rule_is_on() -> None:
    lab = Lab(light={"rule": "near", "while_on": True, "duration_ms": 50.0})
    lab.frames(20, "near")
    lab.frames(20)
    # Again with the last frame but one before its end, so that one late frame leaves no gap.
    assert lab.sent_ms() == [1, 31, 61, 91, 121, 151, 181]
    assert {intent.ordinal for intent in lab.intents()} == {0}
    # A device refuses a busy channel, so each repetition stops the pulse before it; the last one ends by itself.
    assert lab.laser.stopped == [0] * 6


def test_no_gap_opens_where_frames_come_unevenly() -> None:
    lab = Lab(light={"rule": "near", "while_on": True, "duration_ms": 60.0})
    times = np.cumsum([10, 12, 18, 9, 16, 20, 11, 13, 19, 10, 20, 14] * 5)
    for time_ms in times.tolist():
        lab.frame("near", at_ms=time_ms)
    sent = lab.sent_ms()
    assert max(later - sooner for sooner, later in pairwise(sent)) <= 60
    assert sent[-1] + 60 >= times[-1]


def test_once_per_entry_sends_once() -> None:
    lab = Lab(light={"rule": "near", "duration_ms": 50.0})
    lab.frames(20, "near")
    assert lab.sent_ms() == [1]


def test_with_stop_on_release_it_ends_with_the_rule() -> None:
    lab = Lab(light={"rule": "near", "while_on": True, "stop_on_release": True, "duration_ms": 50.0})
    lab.frames(5, "near")
    lab.frames(5)
    assert lab.told() == [(1, "light", "sent"), (31, "light", "sent"), (51, "light", "stopped")]
    assert lab.laser.stopped == [0, 0], "before the repetition, and at the end"


def test_it_is_over_at_its_limit_until_the_rule_rises_again() -> None:
    lab = Lab(
        limits={("laser", 0): LimitSpec(max_on_s=0.1, max_duty=1.0)},
        light={"rule": "near", "while_on": True, "duration_ms": 50.0},
    )
    lab.frames(40, "near")
    assert lab.told() == [(1, "light", "sent"), (31, "light", "sent"), (61, "light", "limited")]
    lab.frames(1)
    lab.frames(1, "near")
    assert lab.told()[3:] == [(411, "light", "sent")]
    assert [intent.ordinal for intent in lab.intents()] == [0, 0, 0, 1]


def test_late_frames_are_passed_over_and_told_once() -> None:
    lab = Lab(light={"rule": "near", "while_on": True, "duration_ms": 50.0})
    for at_ms, age_ms in ((0, 21), (10, 21), (40, 1), (50, 21), (80, 1)):
        lab.frame("near", at_ms=at_ms, age_ms=age_ms)
    assert lab.told() == [(21, "light", "late"), (41, "light", "sent"), (71, "light", "late"), (81, "light", "sent")]


def test_a_delay_comes_once_and_the_repetitions_after_it() -> None:
    lab = Lab(light={"rule": "near", "while_on": True, "delay_ms": 30.0, "duration_ms": 50.0})
    lab.frames(10, "near")
    assert lab.sent_ms() == [31, 61, 91]


def test_every_entry_has_its_delay() -> None:
    lab = Lab(light={"rule": "near", "while_on": True, "delay_ms": 30.0, "duration_ms": 20.0})
    lab.frames(5, "near")
    lab.frames(5)
    lab.frames(5, "near")
    assert lab.sent_ms() == [31, 41, 131, 141]


def test_a_rule_that_is_on_no_more_repeats_nothing_though_it_told_no_edge() -> None:
    lab = Lab(light={"rule": "near", "while_on": True, "duration_ms": 20.0})
    lab.frame("near")
    for frame, state in enumerate([State.UNKNOWN, State.OFF, State.UNKNOWN], start=2):
        now_ns = frame * 20 * MS
        decision = Decision("near", frame, now_ns, state, Edge.NONE, (), (), ())
        assert lab.stimulator.act((decision,), TRACKS, frame, now_ns, now_ns, now_ns) == Action()
    assert lab.sent_ms() == [1]


def test_nothing_is_repeated_once_disarmed() -> None:
    lab = Lab(light={"rule": "near", "while_on": True, "duration_ms": 50.0})
    lab.frames(2, "near")
    lab.stimulator.obey(Order("disarm", "a test", 0))
    lab.frames(20, "near")
    assert lab.told() == [(1, "light", "sent"), (31, "light", "disarmed")]


# Timetables


def test_a_schedule_goes_out_at_its_times_whatever_the_animals_do() -> None:
    lab = Lab(light={"schedule_s": [0.02, 0.055, 0.3]})
    lab.frames(40, "near")
    assert lab.sent_ms() == [21, 61, 301]
    assert [(intent.rule, intent.frame_id, intent.track_ids) for intent in lab.intents()] == [
        ("", 2, ()),
        ("", 6, ()),
        ("", 30, ()),
    ]


def test_a_schedule_counts_from_the_first_frame() -> None:
    lab = Lab(light={"schedule_s": [0, 0.02]})
    for time_ms in (5000, 5010, 5020):
        lab.frame(at_ms=time_ms)
    assert lab.sent_ms() == [5001, 5021]


def test_what_was_due_while_no_frame_came_is_late() -> None:
    lab = Lab(light={"schedule_s": [0.01, 0.03, 0.05, 0.06]})
    lab.frame()
    lab.frame(at_ms=70)
    assert lab.told() == [(71, "light", "late")] * 2 + [(71, "light", "sent")] * 2
    assert lab.intents()[0].detail == "the first frame came 60.000 ms after it was due, which exceeds 20 ms"


def test_random_onsets_do_not_depend_on_what_else_happens() -> None:
    matched = {"random_interval_s": [0.1, 0.3], "seed": 8, "duration_ms": 20.0}
    alone, together = Lab(light=matched), Lab(light=matched, tone={"rule": "near", "channel": 1, "duration_ms": 9.0})
    for frame in range(300):
        alone.frame()
        together.frame(*(["near"] if frame % 7 < 3 else []))
    onsets = [time for time, stimulus, _ in together.told() if stimulus == "light"]
    assert onsets == alone.sent_ms()
    assert 10 < len(onsets) < 30


# Yoked


def replayed(events: list[tuple[str, int, int]]) -> dict[str, Any]:
    return {"yoked": {"session": "master", "events": events}}


def test_a_yoked_stimulus_starts_and_stops_with_its_master() -> None:
    half = 5 * MS
    lab = Lab(light=replayed([("start", 20 * MS, half), ("stop", 60 * MS, half), ("start", 90 * MS, half)]))
    lab.frames(30)
    assert lab.told() == [(21, "light", "sent"), (61, "light", "stopped"), (91, "light", "sent")]
    assert lab.laser.stopped == [0]


@pytest.mark.parametrize("shift_ms", [-4.9, -2.0, 0.0, 3.3, 4.9])
def test_a_yoked_stimulus_comes_in_the_frame_that_is_nearest_to_its_masters(shift_ms: float) -> None:
    lab = Lab(light=replayed([("start", 20 * MS, 5 * MS), ("start", 250 * MS, 5 * MS)]))
    lab.frame(at_ms=1000)
    for frame in range(1, 40):
        lab.frame(at_ms=1000 + frame * FRAME_MS + shift_ms)
    assert [intent.frame_id for intent in lab.intents()] == [2, 25]


def test_a_stop_in_the_frame_of_its_start_comes_after_it() -> None:
    lab = Lab(light=replayed([("start", 20 * MS, 0), ("stop", 25 * MS, 0)]))
    lab.frame()
    lab.frame(at_ms=30)
    assert [outcome for _, _, outcome in lab.told()] == ["sent", "stopped"]


# Shams


@pytest.mark.parametrize("more", [{}, {"delay_ms": 30.0}, {"while_on": True}, {"stop_on_release": True}])
def test_a_sham_is_recorded_and_sends_nothing(more: dict[str, Any]) -> None:
    lab = Lab(Untouched, light={"rule": "near", "sham": True, **more})
    lab.frames(10, "near")
    lab.frames(10)
    outcomes = [outcome for _, _, outcome in lab.told()]
    assert outcomes[0] == "sham"
    assert set(outcomes) <= {"sham", "stopped"}
    assert all(intent.commands == () and intent.arm == "sham" for intent in lab.intents())
    assert all(action.receipts == () for action in lab.actions)


def test_a_sham_that_has_ended_is_not_stopped() -> None:
    lab = Lab(Untouched, light={"rule": "near", "sham": True, "stop_on_release": True, "duration_ms": 50.0})
    lab.frames(5, "near")
    lab.frames(5)
    assert lab.told() == [(1, "light", "sham")], "it would have ended by itself in the frame of the release"


@pytest.mark.parametrize(
    ("limit", "outcomes"),
    [
        (LimitSpec(max_on_s=60, max_duty=1.0), ["sent"] * 5 + ["stopped"] + ["sent"] * 5 + ["stopped"]),
        (LimitSpec(max_on_s=0.1), ["sent", "sent", "limited"] * 2),
        (LimitSpec(max_dose_s=0.26), ["sent"] * 5 + ["stopped", "sent", "sent", "sent", "limited"]),
        (LimitSpec(max_per_minute=3), ["sent", "sent", "sent", "limited", "limited"]),
    ],
)
def test_a_sham_session_is_recorded_like_a_real_one(limit: LimitSpec, outcomes: list[str]) -> None:
    protocol = {"rule": "near", "while_on": True, "stop_on_release": True, "delay_ms": 20.0, "duration_ms": 50.0}
    real = Lab(limits={("laser", 0): limit}, light=protocol)
    sham = Lab(Untouched, limits={("laser", 0): limit}, light=protocol | {"sham": True})
    for lab in (real, sham):
        for _ in range(2):
            lab.frames(15, "near")
            lab.frames(5)
    assert [outcome for _, _, outcome in real.told()] == outcomes
    assert [(time, outcome.replace("sham", "sent")) for time, _, outcome in sham.told()] == [
        (time, outcome) for time, _, outcome in real.told()
    ]


def test_a_sham_passes_the_same_checks() -> None:
    lab = Lab(Untouched, limits={("laser", 0): LimitSpec(max_on_s=0.25)}, light={"rule": "near", "sham": True})
    lab.frame("near", age_ms=21)
    lab.frame()
    lab.stimulator.obey(Order("disarm", "a test", 0))
    lab.frame("near")
    assert [(intent.outcome, intent.arm) for intent in lab.intents()] == [("late", "sham"), ("disarmed", "sham")]


DOSE = {("laser", 0): LimitSpec(max_dose_s=0.4)}


def shams_and_real_ones(*rules: str) -> list[str]:
    """Let the rules rise one after the other, far apart; light is a sham, glow is real, and two of each are allowed."""
    lab = Lab(limits=DOSE, light={"rule": "sham", "sham": True}, glow={"rule": "real"})
    for second, rule in enumerate(rules, start=1):
        lab.frame(rule, at_ms=1000.0 * second)
        lab.frame(at_ms=1000.0 * second + 500)
    return [outcome for _, _, outcome in lab.told()]


def test_a_sham_uses_nothing_of_what_real_ones_may_have() -> None:
    assert shams_and_real_ones("sham", "sham", "real", "real", "real") == ["sham", "sham", "sent", "sent", "limited"]


def test_a_sham_is_refused_where_a_real_one_would_be() -> None:
    assert shams_and_real_ones("real", "real", "sham") == ["sent", "sent", "limited"]


def test_shams_have_limits_of_their_own() -> None:
    assert shams_and_real_ones("sham", "sham", "sham", "real") == ["sham", "sham", "limited", "sent"]


def test_arms_are_counted_over_everything_that_is_asked_for() -> None:
    plan = {"rule": "near", "seed": 1, "blocks": {"size": 6, "real": 3}, "duration_ms": 5.0}
    lab = Lab(light=plan)
    for trial in range(24):
        lab.frame("near", age_ms=21 if trial in {3, 4} else 1)
        lab.frame()
    assert "".join(intent.arm[0] for intent in lab.intents()) == "sssrrrsrsrsrsrrrssrssrsr", "as in test_controls"
    assert [intent.ordinal for intent in lab.intents()] == list(range(24))
    assert len(lab.laser.fired) == 12 - 2


def test_a_stop_ends_the_real_one_that_still_runs_and_the_sham_after_it() -> None:
    plan = {"seed": 0, "blocks": {"size": 2, "real": 1}, "duration_ms": 900.0}
    lab = Lab(light=replayed([("start", 0, 0), ("start", 100 * MS, 0), ("stop", 200 * MS, 0)]) | plan)
    lab.frames(30)
    assert [(intent.outcome, intent.arm, intent.ordinal, intent.commands) for intent in lab.intents()] == [
        ("sent", "real", 0, (("laser", 1),)),
        ("sham", "sham", 1, ()),
        ("stopped", "real", 0, (("laser", 0),)),
        ("stopped", "sham", 1, ()),
    ]


# Priorities


def test_a_running_stimulus_of_higher_priority_is_not_replaced() -> None:
    lab = Lab(alarm={"rule": "far", "priority": 2, "duration_ms": 50.0}, light={"rule": "near", "duration_ms": 20.0})
    lab.frame("far")
    lab.frame("far", "near")
    lab.frames(5, "far")
    lab.frame("far", "near")
    assert lab.told() == [(1, "alarm", "sent"), (11, "light", "outranked"), (71, "light", "sent")]
    assert lab.intents()[1].detail == "laser channel 0: alarm of priority 2 runs"


def test_a_stimulus_of_the_same_or_a_higher_priority_replaces() -> None:
    lab = Lab(alarm={"rule": "far", "priority": 1}, light={"rule": "near", "priority": 1}, low={"rule": "low"})
    lab.frame("low")
    lab.frame("low", "near")
    lab.frame("low", "near", "far")
    assert [(stimulus, outcome) for _, stimulus, outcome in lab.told()] == [
        ("low", "sent"),
        ("light", "sent"),
        ("alarm", "sent"),
    ]


def test_in_one_frame_the_highest_priority_goes_first() -> None:
    lab = Lab(light={"rule": "a"}, alarm={"rule": "b", "priority": 1}, tone={"rule": "a", "channel": 1})
    lab.frame("a", "b")
    assert lab.told() == [(1, "alarm", "sent"), (1, "light", "outranked"), (1, "tone", "sent")]


def test_an_outranked_repetition_goes_on_afterwards() -> None:
    lab = Lab(
        light={"rule": "near", "while_on": True, "duration_ms": 50.0},
        alarm={"rule": "far", "priority": 1, "duration_ms": 60.0},
    )
    lab.frame("near")
    lab.frame("near", "far")
    lab.frames(7, "near")
    assert lab.told() == [
        (1, "light", "sent"),
        (11, "alarm", "sent"),
        (31, "light", "outranked"),
        (71, "light", "sent"),
    ]


def test_a_sham_keeps_nobody_from_the_channel() -> None:
    lab = Lab(alarm={"rule": "far", "priority": 1, "sham": True}, light={"rule": "near"})
    lab.frame("far")
    lab.frame("far", "near")
    assert lab.told() == [(1, "alarm", "sham"), (11, "light", "sent")]
