"""The stimulator: every outcome, every guard, on triggers that behave as they are told."""

from collections.abc import Iterable
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, ValidationError

from realtime.decision import Decision, Edge, State
from realtime.stimulus import Action, Intent, LimitSpec, Order, Receipt, Stimulator, StimulusSpec, impossible_stimuli
from realtime.testing import plain_tracks
from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerTimeoutError
from triggers.pulse import Pulse

MS = 1_000_000
DEADLINE_NS = 20 * MS
TRACKS = plain_tracks([3, 8], confidence=[0.5, 0.75])


class FakeTrigger(Trigger):
    """Notes its calls in a journal that may be shared; fails where it is told to."""

    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, name: str = "laser", journal: list[tuple[Any, ...]] | None = None) -> None:
        self.name = name
        self.journal = [] if journal is None else journal
        self.events: list[TriggerEvent] = []
        self.fire_error: Exception | None = None
        self.stop_error: Exception | None = None
        self.close_error: Exception | None = None
        self.off_error: Exception | None = None
        self.delivered = True

    def open(self) -> TriggerInfo:
        return TriggerInfo("fake", self.name, {}, True, None)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        self.journal.append((self.name, "fire", pulse, command_id, expires_ns))
        if self.fire_error is not None:
            raise self.fire_error
        return FireReceipt(command_id, 7, None, self.delivered)

    def poll(self) -> tuple[TriggerEvent, ...]:
        events, self.events = tuple(self.events), []
        return events

    def stop(self, channel: int) -> None:
        self.journal.append((self.name, "stop", channel))
        if self.stop_error is not None:
            raise self.stop_error

    def all_off(self) -> None:
        self.journal.append((self.name, "all_off"))
        if self.off_error is not None:
            raise self.off_error

    def close(self) -> None:
        self.journal.append((self.name, "close"))
        if self.close_error is not None:
            raise self.close_error

    def did(self) -> list[str]:
        return [call[1] for call in self.journal if call[0] == self.name]


def spec(**changes: Any) -> StimulusSpec:
    return StimulusSpec.model_validate(
        {"rule": "near", "triggers": ["laser"], "channel": 0, "duration_ms": 200.0} | changes
    )


def build(
    triggers: Iterable[FakeTrigger],
    limits: dict[tuple[str, int], LimitSpec] | None = None,
    **stimuli: StimulusSpec,
) -> Stimulator:
    return Stimulator(stimuli, {trigger.name: trigger for trigger in triggers}, limits or {}, DEADLINE_NS, armed=True)


def decision(edge: Edge, rule: str = "near", frame_id: int = 5) -> Decision:
    state = State.ON if edge is Edge.RISING else State.OFF
    return Decision(rule, frame_id, 0, state, edge, (), (), ())


def act(stimulator: Stimulator, *edges: Edge | Decision, at_ms: float = 0.0, age_ms: float = 1.0) -> Action:
    decisions = tuple(edge if isinstance(edge, Decision) else decision(edge) for edge in edges)
    now_ns = round(at_ms * MS)
    available_ns = now_ns - round(age_ms * MS)
    return stimulator.act(decisions, TRACKS, 5, available_ns, available_ns, now_ns)


def outcomes(action: Action) -> list[str]:
    return [intent.outcome for intent in action.intents]


def test_a_rising_edge_sends_the_pulse() -> None:
    laser = FakeTrigger()
    stimulator = build([laser], light=spec(train_hz=20.0, width_ms=10, intensity=0.5))
    action = act(stimulator, Edge.RISING, at_ms=100, age_ms=3)
    pulse = Pulse(0, 200_000, 0.5, 20.0, 10_000)
    assert laser.journal == [("laser", "fire", pulse, 1, 117 * MS)]
    assert action == Action(
        intents=(Intent("light", "near", 5, 100 * MS, 0, 200_000, 0.5, 20.0, 10_000, "sent", "", (("laser", 1),)),),
        receipts=(Receipt("laser", 1, 7, None, True),),
    )


def test_a_stimulus_knows_how_sure_it_was_who_the_animals_are() -> None:
    stimulator = build([FakeTrigger()], light=spec())
    pair = Decision("near", 5, 0, State.ON, Edge.RISING, (8, 3), (), ())
    gone = Decision("near", 5, 0, State.ON, Edge.RISING, (9,), (), ())
    intents = [act(stimulator, decision).intents[0] for decision in (pair, gone)]
    assert [(intent.track_ids, intent.identity_confidence) for intent in intents] == [
        ((8, 3), (0.75, 0.5)),
        ((9,), (0,)),
    ]


@pytest.mark.parametrize("edge", [Edge.NONE, Edge.FALLING])
def test_nothing_else_sends(edge: Edge) -> None:
    laser = FakeTrigger()
    assert act(build([laser], light=spec()), edge) == Action()
    assert act(build([laser], light=spec(rule="far")), Edge.RISING) == Action()
    assert laser.journal == []


def test_command_ids_count_up_over_stimuli_and_triggers() -> None:
    journal: list[tuple[Any, ...]] = []
    laser, speaker = FakeTrigger("laser", journal), FakeTrigger("speaker", journal)
    stimulator = build(
        [laser, speaker], light=spec(triggers=["laser", "speaker"]), tone=spec(triggers=["speaker"], channel=1)
    )
    first = act(stimulator, Edge.RISING)
    second = act(stimulator, Edge.RISING, at_ms=1000)
    assert [intent.commands for intent in (*first.intents, *second.intents)] == [
        (("laser", 1), ("speaker", 2)),
        (("speaker", 3),),
        (("laser", 4), ("speaker", 5)),
        (("speaker", 6),),
    ]
    assert [call[3] for call in journal] == [1, 2, 3, 4, 5, 6]
    assert [receipt.command_id for receipt in second.receipts] == [4, 5, 6]


def test_a_late_pose_never_fires() -> None:
    laser = FakeTrigger()
    stimulator = build([laser], light=spec())
    action = act(stimulator, Edge.RISING, at_ms=100, age_ms=20.001)
    assert outcomes(action) == ["late"]
    assert action.intents[0].detail == "20.001 ms after the frame exceeds 20 ms"
    assert action.intents[0].commands == ()
    assert laser.journal == []
    assert outcomes(act(stimulator, Edge.RISING, at_ms=100, age_ms=20)) == ["sent"]
    assert laser.journal[0][3] == 1, "what is not sent uses up no command id"


def test_the_limits_hold_back_before_anything_is_sent() -> None:
    journal: list[tuple[Any, ...]] = []
    laser, speaker = FakeTrigger("laser", journal), FakeTrigger("speaker", journal)
    limits = {("speaker", 0): LimitSpec(max_dose_s=0.3)}
    stimulator = build([laser, speaker], limits, light=spec(triggers=["laser", "speaker"]))
    assert outcomes(act(stimulator, Edge.RISING)) == ["sent"]
    journal.clear()
    action = act(stimulator, Edge.RISING, at_ms=5000)
    assert outcomes(action) == ["limited"]
    assert action.intents[0].detail == "speaker channel 0: dose of 0.4 s in this session exceeds 0.3 s"
    assert journal == []


def test_a_failing_trigger_switches_everything_off_for_good() -> None:
    journal: list[tuple[Any, ...]] = []
    laser, speaker, led = (FakeTrigger(name, journal) for name in ("laser", "speaker", "led"))
    speaker.fire_error = TriggerTimeoutError("speaker: took no bytes for 50 ms")
    stimulator = build(
        [laser, speaker, led], light=spec(triggers=["laser", "speaker", "led"]), glow=spec(triggers=["led"])
    )
    action = act(stimulator, Edge.RISING)
    assert outcomes(action) == ["failed", "disarmed"]
    assert action.intents[0].detail == "speaker: took no bytes for 50 ms"
    assert action.intents[0].commands == (("laser", 1), ("speaker", 2))
    assert [call[:2] for call in journal] == [
        ("laser", "fire"),
        ("speaker", "fire"),
        ("laser", "all_off"),
        ("speaker", "all_off"),
        ("led", "all_off"),
    ]
    assert not stimulator.armed
    assert outcomes(act(stimulator, Edge.RISING, at_ms=1000)) == ["disarmed", "disarmed"]
    assert "fire" not in led.did()


def test_a_fault_switches_everything_off_and_nothing_fires_any_more() -> None:
    laser, speaker = FakeTrigger("laser"), FakeTrigger("speaker")
    stimulator = build([laser, speaker], light=spec())
    fault = TriggerEvent("fault", None, 99, None, "no answer for 100 ms")
    later = TriggerEvent("fault", None, 100, None, "port gone")
    speaker.events = [fault, later]
    assert stimulator.armed
    assert stimulator.poll() == (("speaker", fault), ("speaker", later))
    assert not stimulator.armed
    assert stimulator.fault == stimulator.fault == "speaker: no answer for 100 ms"
    assert "all_off" in laser.did()
    assert "all_off" in speaker.did()
    action = act(stimulator, Edge.RISING)
    assert outcomes(action) == ["disarmed"]
    assert action.intents[0].detail == "speaker: no answer for 100 ms"
    assert action.events == (("speaker", fault), ("speaker", later))
    assert "fire" not in laser.did()


def test_events_are_handed_over_once_with_the_next_frame() -> None:
    laser = FakeTrigger()
    stimulator = build([laser], light=spec())
    first, second = TriggerEvent("ack", 1, 10), TriggerEvent("refused", 2, 20)
    laser.events = [first]
    stimulator.poll()
    laser.events = [second]
    stimulator.poll()
    assert act(stimulator, Edge.NONE).events == (("laser", first), ("laser", second))
    assert act(stimulator, Edge.NONE) == Action()
    assert stimulator.armed, "a refusal is an answer, not a fault"


def test_an_undelivered_command_does_not_count_as_light() -> None:
    journal: list[tuple[Any, ...]] = []
    laser, speaker = FakeTrigger("laser", journal), FakeTrigger("speaker", journal)
    laser.delivered = False
    limits = {(name, 0): LimitSpec(max_dose_s=0.3) for name in ("laser", "speaker")}
    stimulator = build([laser, speaker], limits, light=spec(triggers=["laser", "speaker"]), red=spec(rule="far"))
    action = act(stimulator, Edge.RISING)
    assert outcomes(action) == ["undelivered"]
    assert action.intents[0].detail == "not delivered by laser"
    assert action.intents[0].commands == (("laser", 1), ("speaker", 2))
    assert [receipt.delivered for receipt in action.receipts] == [False, True]
    assert stimulator.armed
    laser.delivered = True
    assert outcomes(act(stimulator, decision(Edge.RISING, "far"), at_ms=5000)) == ["sent"]
    assert outcomes(act(stimulator, Edge.RISING, at_ms=9000)) == ["limited"]


def test_release_stops_the_stimulus_and_gives_the_rest_back() -> None:
    laser = FakeTrigger()
    limits = {("laser", 0): LimitSpec(max_dose_s=0.25)}
    stimulator = build([laser], limits, light=spec(stop_on_release=True))
    act(stimulator, Edge.RISING)
    action = act(stimulator, Edge.FALLING, at_ms=50, age_ms=500)
    assert outcomes(action) == ["stopped"], "a stop is never too late"
    assert action.intents[0].commands == (("laser", 0),)
    assert laser.did() == ["fire", "stop"]
    assert outcomes(act(stimulator, Edge.RISING, at_ms=5000)) == ["sent"]


def test_release_stops_only_what_this_stimulus_started() -> None:
    laser = FakeTrigger()
    stimulator = build([laser], light=spec(stop_on_release=True), other=spec(rule="far", duration_ms=400))
    assert act(stimulator, Edge.FALLING) == Action(), "nothing was started"
    act(stimulator, Edge.RISING, at_ms=10)
    assert act(stimulator, Edge.FALLING, at_ms=210) == Action(), "it came to its end by itself"
    act(stimulator, Edge.RISING, at_ms=5000)
    act(stimulator, decision(Edge.RISING, "far"), at_ms=5100)
    assert act(stimulator, Edge.FALLING, at_ms=5150) == Action(), "the other stimulus has the channel now"
    act(stimulator, Edge.RISING, at_ms=9000, age_ms=30)
    assert act(stimulator, Edge.FALLING, at_ms=9050) == Action(), "it was late and never sent"
    assert laser.did() == ["fire", "fire", "stop", "fire"], "the stop is the other stimulus' own: it takes the channel"


def test_release_after_disarming_has_nothing_to_stop() -> None:
    laser = FakeTrigger()
    stimulator = build([laser], light=spec(stop_on_release=True))
    act(stimulator, Edge.RISING)
    stimulator.obey(Order("disarm", "a test", 0))
    assert act(stimulator, Edge.FALLING, at_ms=50).intents == ()
    assert laser.did() == ["fire", "all_off"]


def test_release_without_stop_on_release_lets_the_pulse_end_by_itself() -> None:
    laser = FakeTrigger()
    stimulator = build([laser], light=spec())
    act(stimulator, Edge.RISING)
    assert act(stimulator, Edge.FALLING, at_ms=50) == Action()


def test_a_failing_stop_switches_everything_off() -> None:
    laser = FakeTrigger()
    laser.stop_error = TriggerFailedError("laser: port gone")
    stimulator = build([laser], light=spec(stop_on_release=True))
    act(stimulator, Edge.RISING)
    action = act(stimulator, Edge.FALLING, at_ms=50)
    assert outcomes(action) == ["failed"]
    assert (action.intents[0].detail, action.intents[0].commands) == ("laser: port gone", (("laser", 0),))
    assert laser.did() == ["fire", "stop", "all_off"]
    assert not stimulator.armed


def test_all_off_reaches_every_trigger() -> None:
    laser, speaker = FakeTrigger("laser"), FakeTrigger("speaker")
    laser.off_error = RuntimeError("a driver that breaks its promise")
    stimulator = build([laser, speaker], light=spec())
    with pytest.raises(RuntimeError, match="breaks its promise"):
        stimulator.all_off()
    assert speaker.did() == ["all_off"]
    with pytest.raises(RuntimeError, match="breaks its promise"):
        stimulator.obey(Order("disarm", "a test", 0, is_fault=True))
    assert stimulator.fault == "a test"


def test_close_closes_every_trigger_with_everything_off_before() -> None:
    journal: list[tuple[Any, ...]] = []
    laser, speaker = FakeTrigger("laser", journal), FakeTrigger("speaker", journal)
    laser.close_error = TriggerFailedError("laser: port gone")
    stimulator = build([laser, speaker], light=spec())
    with pytest.raises(TriggerFailedError, match="port gone"):
        stimulator.close()
    assert journal == [("laser", "all_off"), ("speaker", "all_off"), ("laser", "close"), ("speaker", "close")]
    assert stimulator.fault == ""
    assert outcomes(act(stimulator, Edge.RISING)) == ["disarmed"]


def test_stimuli_that_their_limits_never_let_through_are_refused_at_once() -> None:
    stimuli = {"long": spec(duration_ms=1500), "short": spec(), "other": spec(channel=1, duration_ms=60.0)}
    limits = {("laser", 1): LimitSpec(max_duty=0.5, duty_window_s=0.1)}
    with pytest.raises(ValueError, match=r"stimuli\.long") as caught:
        build([FakeTrigger()], limits, **stimuli)
    assert str(caught.value) == (
        "stimuli.long: can never be sent on laser channel 0: on for 1.5 s exceeds 1 s; "
        "shorten it or set limits.laser.0\n"
        "stimuli.other: can never be sent on laser channel 1: duty 0.6 over 0.1 s exceeds 0.5; "
        "shorten it or set limits.laser.1"
    )
    assert list(impossible_stimuli(stimuli, limits)) == ["long", "other"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channel": 16}, "pulse: expected a channel from 0 to 15, got 16"),
        ({"intensity": 1.5}, "pulse: expected an intensity from 0 to 1, got 1.5"),
        ({"train_hz": 20.0}, "expected train_hz and width_ms together or neither, got only one of them"),
        ({"triggers": ["laser", "laser"]}, "expected every trigger once, got laser, laser"),
        ({"triggers": []}, "at least 1 item"),
        ({"triggers": "laser"}, "valid tuple"),
        ({"duration_ms": 0}, "greater than 0"),
        ({"duration_ms": float("inf")}, "finite number"),
        ({"duraton_ms": 5}, "Extra inputs are not permitted"),
    ],
)
def test_a_stimulus_that_makes_no_sense_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        spec(**changes)
    assert message in str(caught.value)
