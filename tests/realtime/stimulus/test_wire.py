"""Whatever the rules say, the wire stays within its limits: integrated here, cell by cell, from the commands alone."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import BaseModel

from realtime.decision import Decision, Edge, State
from realtime.stimulus import Action, LimitSpec, Stimulator, StimulusSpec
from realtime.testing import plain_tracks
from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.pulse import Pulse

MS = 1_000_000
DEADLINE_MS = 20
WINDOW_MS = 400
FREE = {"max_on_s": 0.15, "max_duty": 0.9, "duty_window_s": WINDOW_MS / 1000, "max_dose_s": 100.0}
LIMITS = st.sampled_from([{}, {"max_duty": 0.5}, {"max_dose_s": 0.7}, {"max_per_minute": 7}]).map(
    lambda tight: LimitSpec.model_validate(FREE | tight)
)
CHANNELS = (0, 1)
NOBODY = plain_tracks()


@dataclass
class Command:
    """Something that reached the device."""

    now_ms: int
    channel: int
    pulse: Pulse | None
    command_id: int
    rise_ms: int = 0  # When the pulse began that this one is, or extends.


class Wire(Trigger):
    """Keeps every command with the time at which it came; delivers nothing where it is told to lose it.

    One that acknowledges stops does so with the next poll; one that it loses is neither carried out nor acknowledged.
    """

    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, *, acknowledges_stop: bool) -> None:
        self.acknowledges_stop = acknowledges_stop
        self.now_ms = 0
        self.loses = False
        self.off_since_ms: int | None = None
        self.commands: list[Command] = []
        self.events: list[TriggerEvent] = []

    def open(self) -> TriggerInfo:
        return TriggerInfo("wire", "", {}, True, None)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        if not self.loses:
            self.commands.append(Command(self.now_ms, pulse.channel, pulse, command_id, self.now_ms))
        return FireReceipt(command_id, self.now_ms * MS, None, not self.loses)

    def extend(self, channel: int, extended_id: int, command_id: int, expires_ns: int) -> FireReceipt:
        if not self.loses:
            last = next(command for command in reversed(self.commands) if command.channel == channel)
            assert last.pulse is not None, "it was stopped"
            assert self.now_ms < last.now_ms + last.pulse.duration_us // 1000, "it runs still"
            assert last.rise_ms == next(c.now_ms for c in self.commands if c.command_id == extended_id), (
                "it is that one"
            )
            self.commands.append(Command(self.now_ms, channel, last.pulse, command_id, last.rise_ms))
        return FireReceipt(command_id, self.now_ms * MS, None, not self.loses)

    def poll(self) -> tuple[TriggerEvent, ...]:
        events, self.events = tuple(self.events), []
        return events

    def stop(self, channel: int) -> bool:
        if not (self.acknowledges_stop and self.loses):
            self.commands.append(Command(self.now_ms, channel, None, 0))
            if self.acknowledges_stop:
                self.events.append(TriggerEvent("stopped", None, self.now_ms * MS, channel=channel))
        return self.acknowledges_stop

    def all_off(self) -> None:
        self.off_since_ms = self.now_ms if self.off_since_ms is None else self.off_since_ms
        self.commands += [Command(self.now_ms, channel, None, 0) for channel in CHANNELS]

    def close(self) -> None:
        pass

    def levels(self, channel: int, n_ms: int) -> NDArray[np.bool_]:
        """Return whether the output was high in each millisecond."""
        level = np.zeros(n_ms, bool)
        for command in self.commands:
            if command.channel != channel:
                continue
            level[command.now_ms :] = False
            if command.pulse is not None:
                n = command.pulse.duration_us // 1000
                period = n if command.pulse.train_hz is None else round(1000 / command.pulse.train_hz)
                width = n if command.pulse.width_us is None else command.pulse.width_us // 1000
                since = command.now_ms - command.rise_ms + np.arange(n)
                is_unbroken = command.pulse.train_hz is None
                level[command.now_ms : command.now_ms + n] = is_unbroken | (since % period < width)
        return level

    def stretches(self, channel: int) -> list[int]:
        """Return how long each unbroken output was asked for, gaps of a train included, ms."""
        found: list[list[int]] = []
        for command in self.commands:
            if command.channel != channel:
                continue
            if found and command.now_ms <= found[-1][1]:
                found[-1][1] = command.now_ms
            else:
                found.append([command.now_ms, command.now_ms])
            if command.pulse is not None:
                found[-1][1] = command.now_ms + command.pulse.duration_us // 1000
        return [stop - start for start, stop in found]


def source() -> st.SearchStrategy[dict[str, Any]]:
    times = st.lists(st.integers(0, 3000), min_size=1, max_size=20, unique=True).map(sorted)
    rule = st.fixed_dictionaries(
        {"rule": st.sampled_from(["near", "far"])},
        optional={
            "while_on": st.booleans(),
            "stop_on_release": st.booleans(),
            "delay_ms": st.sampled_from([0.0, 35.0]),
        },
    )
    return st.one_of(
        rule,
        times.map(lambda ms: {"schedule_s": [time / 1000 for time in ms]}),
        st.just({"random_interval_s": [0.1, 0.3], "seed": 1}),
        times.map(
            lambda ms: {
                "yoked": {
                    "session": "a",
                    "events": [["start" if i % 3 else "stop", time * MS, 0] for i, time in enumerate(ms)],
                }
            }
        ),
    )


def control() -> st.SearchStrategy[dict[str, Any]]:
    return st.sampled_from(
        [{}, {}, {"sham": True}, {"seed": 2, "probability": 0.5}, {"seed": 2, "blocks": {"size": 4, "real": 2}}]
    )


PULSES = st.sampled_from(
    [
        {"duration_ms": 10.0},
        {"duration_ms": 60.0},
        {"duration_ms": 150.0},
        {"duration_ms": 90.0},
        {"duration_ms": 120.0, "train_hz": 25.0, "width_ms": 10.0},
        {"duration_ms": 100.0, "train_hz": 50.0, "width_ms": 15.0},
    ]
)
STIMULUS = st.tuples(source(), control(), PULSES, st.sampled_from(CHANNELS), st.integers(0, 2)).map(
    lambda drawn: StimulusSpec.model_validate(
        {"triggers": ["wire"], "channel": drawn[3], "priority": drawn[4]}
        | drawn[1]
        | drawn[0]
        | drawn[2]
        | ({"seed": 2} if "random_interval_s" in drawn[0] or "seed" in drawn[1] else {})
    )
)
Frame = tuple[int, int, State, State, str]


def random_frames(seed: int, n_frames: int) -> list[Frame]:
    """Return (ms since the frame before, age at the decision in ms, state of near, state of far, what goes wrong)."""
    random = np.random.default_rng(seed)
    near = far = State.OFF
    frames: list[Frame] = []
    for _ in range(n_frames):
        near = State(random.integers(3)) if random.random() < 0.2 else near
        far = State(random.integers(3)) if random.random() < 0.2 else far
        gap_ms = int(random.choice([random.integers(1, 30), 400], p=[0.98, 0.02]))
        age_ms = int(random.choice([1, 5, 20, 21, 40], p=[0.5, 0.35, 0.05, 0.05, 0.05]))
        word = str(random.choice(["fine", "lose", "fault"], p=[0.947, 0.05, 0.003]))
        frames.append((gap_ms, age_ms, near, far, word))
    return frames


FRAMES = st.builds(random_frames, st.integers(0, 2**32 - 1), st.integers(1, 250))


@dataclass
class Run:
    """What a stimulator did over random frames."""

    wire: Wire
    actions: list[Action]
    available_ms: list[int]
    fault_ms: int | None


def run(
    stimuli: dict[str, StimulusSpec],
    frames: list[Frame],
    limit: LimitSpec,
    *,
    acknowledges_stop: bool = False,
    extends: bool = False,
) -> Run:
    wire = Wire(acknowledges_stop=acknowledges_stop)
    limits = {("wire", channel): limit for channel in CHANNELS}
    extending = ["wire"] if extends else []
    stimulator = Stimulator(stimuli, {"wire": wire}, limits, DEADLINE_MS * MS, armed=True, extending=extending)
    done = Run(wire, [], [], None)
    was = {"near": State.OFF, "far": State.OFF}
    available_ms = 0
    for frame_id, (gap_ms, age_ms, near, far, word) in enumerate(frames):
        available_ms = max(available_ms, wire.now_ms - age_ms) + gap_ms
        wire.now_ms = available_ms + age_ms
        wire.loses = word == "lose"
        if word == "fault":
            wire.events.append(TriggerEvent("fault", None, 0, None, "gone"))
            done.fault_ms = wire.now_ms if done.fault_ms is None else done.fault_ms
        stimulator.poll()
        decisions = []
        for rule, state in (("near", near), ("far", far)):
            rose, fell = state is State.ON is not was[rule], was[rule] is State.ON is not state
            edge = Edge.RISING if rose else Edge.FALLING if fell else Edge.NONE
            decisions.append(Decision(rule, frame_id, available_ms * MS, state, edge, (), (), ()))
            was[rule] = state
        done.available_ms.append(available_ms)
        done.actions.append(
            stimulator.act(tuple(decisions), NOBODY, frame_id, available_ms * MS, available_ms * MS, wire.now_ms * MS)
        )
    return done


def most_in_a_window(level: NDArray[np.bool_]) -> int:
    total = np.concatenate([[0], np.cumsum(level)])
    return int(np.max(total[WINDOW_MS:] - total[:-WINDOW_MS]))


@settings(max_examples=300, deadline=None)
@given(st.lists(STIMULUS, min_size=1, max_size=5), FRAMES, LIMITS, st.booleans(), st.booleans())
def test_the_wire_stays_within_its_limits(
    stimuli: list[StimulusSpec], frames: list[Frame], limit: LimitSpec, acknowledges_stop: bool, extends: bool
) -> None:
    named = {f"s{number}": spec for number, spec in enumerate(stimuli)}
    done = run(named, frames, limit, acknowledges_stop=acknowledges_stop, extends=extends)
    n_ms = done.wire.now_ms + 1000
    for channel in CHANNELS:
        level = done.wire.levels(channel, n_ms)
        assert level.sum() <= limit.max_dose_s * 1000
        assert most_in_a_window(level) <= limit.max_duty * WINDOW_MS
        assert max(done.wire.stretches(channel), default=0) <= limit.max_on_s * 1000
        starts = [
            command.now_ms for command in done.wire.commands if command.pulse is not None and command.channel == channel
        ]
        for start in starts:
            assert sum(start <= other < start + 60_000 for other in starts) <= (limit.max_per_minute or len(starts))
        if done.wire.off_since_ms is not None:
            assert not level[done.wire.off_since_ms :].any(), "nothing goes out once it is disarmed"


@settings(max_examples=300, deadline=None)
@given(st.lists(STIMULUS, min_size=1, max_size=5), FRAMES, LIMITS, st.booleans())
def test_every_command_has_its_record_and_every_record_is_true(
    stimuli: list[StimulusSpec], frames: list[Frame], limit: LimitSpec, extends: bool
) -> None:
    named = {f"s{number}": spec for number, spec in enumerate(stimuli)}
    done = run(named, frames, limit, extends=extends)
    recorded: list[int] = []
    arms: dict[tuple[str, int], str] = {}
    for action, available_ms in zip(done.actions, done.available_ms, strict=True):
        for intent in action.intents:
            decided_ms = intent.decided_ns // MS
            commands = [command_id for _, command_id in intent.commands if command_id]
            assert arms.setdefault((intent.stimulus, intent.ordinal), intent.arm) == intent.arm
            if intent.outcome in {"sent", "undelivered"}:
                assert intent.arm == "real"
                assert len(commands) == 1
                assert decided_ms - available_ms <= DEADLINE_MS
                assert done.fault_ms is None or decided_ms < done.fault_ms
            else:
                assert commands == []
            if intent.outcome == "sent":
                recorded += commands
            if named[intent.stimulus].sham:
                assert intent.arm == "sham"
    assert recorded == [command.command_id for command in done.wire.commands if command.pulse is not None]


@settings(max_examples=200, deadline=None)
@given(st.lists(STIMULUS, min_size=1, max_size=4), FRAMES, LIMITS)
def test_the_same_frames_give_the_same_actions(
    stimuli: list[StimulusSpec], frames: list[Frame], limit: LimitSpec
) -> None:
    named = {f"s{number}": spec for number, spec in enumerate(stimuli)}
    assert run(named, frames, limit).actions == run(named, frames, limit).actions
