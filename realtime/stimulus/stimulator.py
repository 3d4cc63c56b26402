"""The stimulator: turns a rule's edges into commands, or says why it did not."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from realtime.decision import Decision, Edge
from realtime.stimulus.interlock import Interlock, LimitSpec
from triggers.base import Trigger, TriggerEvent
from triggers.errors import TriggerError
from triggers.pulse import Pulse

Outcome = Literal["sent", "late", "limited", "disarmed", "failed", "undelivered", "stopped"]

# Stands for a command id where `Trigger.stop` was called: a stop has none.
STOP_ID = 0


class StimulusSpec(BaseModel):
    """What goes out when a rule's state rises.

    Attributes:
        rule: The rule.
        triggers: Every one of them is sent the pulse.
        channel: Output of each trigger, 0–15.
        duration_ms: From the first rising edge to the end, ms.
        intensity: 0–1, the share of the channel's full power.
        train_hz: Pulses a second, or None for one unbroken pulse.
        width_ms: Width of each pulse of a train, ms; None without `train_hz`.
        stop_on_release: Switch the channel off when the rule's state falls, if this stimulus is still running.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    rule: str
    triggers: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]  # TOML knows lists only
    channel: int
    duration_ms: float = Field(gt=0)
    intensity: float = 1.0
    train_hz: float | None = None
    width_ms: float | None = None
    stop_on_release: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.triggers)) != len(self.triggers):
            raise ValueError(f"expected every trigger once, got {', '.join(self.triggers)}")
        if (self.train_hz is None) != (self.width_ms is None):
            raise ValueError("expected train_hz and width_ms together or neither, got only one of them")
        self.pulse()
        return self

    def pulse(self) -> Pulse:
        """Return what is sent.

        Raises:
            ValueError: A value is out of the range of a pulse.
        """
        width_us = None if self.width_ms is None else round(self.width_ms * 1000)
        return Pulse(self.channel, round(self.duration_ms * 1000), self.intensity, self.train_hz, width_us)


@dataclass(frozen=True, slots=True)
class Intent:
    """A stimulus that a rule asked for, and what came of it.

    Attributes:
        stimulus: Name of the stimulus.
        rule: The rule whose edge asked for it.
        frame_id: The frame of the edge.
        decided_ns: Host monotonic clock, ns, by which deadline and limits were judged.
        channel, duration_us, intensity, train_hz, width_us: As in `Pulse`.
        outcome: `sent`; or not sent: `late` (the pose was older than the deadline), `limited` (the interlock refused),
            `disarmed`, `failed` (a trigger failed; everything is off and disarmed), `undelivered` (at least one
            trigger had nobody to hand the command to); or `stopped` (switched off on release).
        detail: Why, with the numbers; empty where there is nothing to say.
        commands: (trigger, command id) in the order in which they were tried; the id is 0 for a stop. After `failed`
            the last one is the trigger that failed, and those after it were not tried.
    """

    stimulus: str
    rule: str
    frame_id: int
    decided_ns: int
    channel: int
    duration_us: int
    intensity: float
    train_hz: float | None
    width_us: int | None
    outcome: Outcome
    detail: str
    commands: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Receipt:
    """A command as its trigger reported it; the fields are those of `FireReceipt`."""

    trigger: str
    command_id: int
    sent_ns: int
    acked_ns: int | None
    delivered: bool


@dataclass(frozen=True, slots=True)
class Action:
    """What was done about one frame.

    Attributes:
        intents: One for each stimulus that was asked for or stopped.
        receipts: One for each command that was sent.
        events: (trigger, event) that were polled since the frame before.
    """

    intents: tuple[Intent, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    events: tuple[tuple[str, TriggerEvent], ...] = ()


_NOTHING = Action()
_CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class _Stimulus:
    name: str
    spec: StimulusSpec
    pulse: Pulse


@dataclass(frozen=True, slots=True)
class _Moment:
    """The frame that is being acted on."""

    frame_id: int
    available_ns: int
    now_ns: int


class Stimulator:
    """Sends what the rules ask for, within deadline and limits, and nothing once it is disarmed.

    It never re-arms: after a fault a person has to look. What it decides depends on its arguments and on what the
    triggers reported only, so that a replay with the recorded reports decides the same.

    Args:
        stimuli: By name.
        triggers: By name, open.
        limits: By trigger and channel; a channel without limits has the default ones.
        deadline_ns: A frame that has been available for longer does not fire any more.

    Raises:
        ValueError: A stimulus exceeds its limits all by itself; the message lists every one.
    """

    def __init__(
        self,
        stimuli: Mapping[str, StimulusSpec],
        triggers: Mapping[str, Trigger],
        limits: Mapping[tuple[str, int], LimitSpec],
        deadline_ns: int,
    ) -> None:
        impossible = impossible_stimuli(stimuli, limits)
        if impossible:
            raise ValueError("\n".join(f"stimuli.{name}: {why}" for name, why in impossible.items()))
        self._by_rule: dict[str, list[_Stimulus]] = {}
        for name, spec in stimuli.items():
            self._by_rule.setdefault(spec.rule, []).append(_Stimulus(name, spec, spec.pulse()))
        self._triggers = dict(triggers)
        self._interlock = Interlock(limits)
        self._deadline_ns = deadline_ns
        self._next_id = 1
        self._events: tuple[tuple[str, TriggerEvent], ...] = ()
        self._disarm_reason = ""
        self._last_on: dict[tuple[str, int], str] = {}  # whose pulse was the last on a channel

    @property
    def armed(self) -> bool:
        """True as long as stimuli are sent."""
        return not self._disarm_reason

    @property
    def fault(self) -> str:
        """Why it was disarmed before it was closed; the empty string if it was not."""
        return "" if self._disarm_reason == _CLOSED else self._disarm_reason

    def poll(self) -> tuple[tuple[str, TriggerEvent], ...]:
        """Collect what the triggers reported and keep it for the next `act`; a fault disarms."""
        polled: list[tuple[str, TriggerEvent]] = []
        for name, trigger in self._triggers.items():
            for event in trigger.poll():
                polled.append((name, event))
                if event.kind == "fault":
                    self.disarm(f"{name}: {event.detail}")
        if polled:
            self._events += tuple(polled)
        return tuple(polled)

    def act(
        self,
        decisions: tuple[Decision, ...],
        frame_id: int,
        available_ns: int,
        now_ns: int,
    ) -> Action:
        """Send, refuse or stop what the edges among `decisions` ask for.

        Deadline and limits are judged in the time of the host, in which the animal is stimulated, not in the frame's.

        Args:
            decisions: What the rules said of the frame.
            frame_id: The frame.
            available_ns: The frame's `available_ns`.
            now_ns: Host monotonic clock, ns.

        Returns:
            What was done, with the events that `poll` collected since the last call.
        """
        intents: list[Intent] = []
        receipts: list[Receipt] = []
        for decision in decisions:
            if decision.edge:
                moment = _Moment(frame_id, available_ns, now_ns)
                for stimulus in self._by_rule.get(decision.rule, ()):
                    if decision.edge is Edge.RISING:
                        intents.append(self._start(stimulus, moment, receipts))
                    elif stimulus.spec.stop_on_release:
                        intents.extend(self._release(stimulus, moment))
        if not (intents or self._events):
            return _NOTHING
        events, self._events = self._events, ()
        return Action(tuple(intents), tuple(receipts), events)

    def disarm(self, reason: str) -> None:
        """Switch every output off; nothing is sent any more. The first reason is kept."""
        # Before the outputs, so that nothing fires again even if switching them off should fail.
        self._disarm_reason = self._disarm_reason or reason
        self.all_off()

    def all_off(self) -> None:
        """Switch every output of every trigger off, of each one even if another one raises."""
        with ExitStack() as stack:
            for trigger in reversed(self._triggers.values()):
                stack.callback(trigger.all_off)

    def close(self) -> None:
        """Switch everything off for good and close every trigger, each one even if another one raises."""
        with ExitStack() as stack:
            for trigger in reversed(self._triggers.values()):
                stack.callback(trigger.close)
            self.disarm(_CLOSED)

    def _start(self, stimulus: _Stimulus, moment: _Moment, receipts: list[Receipt]) -> Intent:
        outcome, detail = self._refusal(stimulus, moment)
        if outcome is not None:
            return _intent(stimulus, moment, outcome, detail, ())
        return self._fire(stimulus, moment, receipts)

    def _refusal(self, stimulus: _Stimulus, moment: _Moment) -> tuple[Outcome | None, str]:
        """Return why nothing may be sent; one trigger at its limit is enough, so that they never act apart."""
        if self._disarm_reason:
            return "disarmed", self._disarm_reason
        age_ns = moment.now_ns - moment.available_ns
        if age_ns > self._deadline_ns:
            return "late", f"{age_ns / 1e6:.3f} ms after the frame exceeds {self._deadline_ns / 1e6:g} ms"
        for name in stimulus.spec.triggers:
            reason = self._interlock.allow(name, stimulus.pulse, moment.now_ns)
            if reason:
                return "limited", f"{name} channel {stimulus.pulse.channel}: {reason}"
        return None, ""

    def _fire(self, stimulus: _Stimulus, moment: _Moment, receipts: list[Receipt]) -> Intent:
        pulse = stimulus.pulse
        commands: list[tuple[str, int]] = []
        undelivered: list[str] = []
        for name in stimulus.spec.triggers:
            command_id, self._next_id = self._next_id, self._next_id + 1
            commands.append((name, command_id))
            try:
                receipt = self._triggers[name].fire(pulse, command_id, moment.available_ns + self._deadline_ns)
            except TriggerError as error:
                self.disarm(f"{name}: {error}")
                return _intent(stimulus, moment, "failed", str(error), tuple(commands))
            receipts.append(Receipt(name, command_id, receipt.sent_ns, receipt.acked_ns, receipt.delivered))
            if receipt.delivered:
                self._interlock.commit(name, pulse, moment.now_ns)
                self._last_on[name, pulse.channel] = stimulus.name
            else:
                undelivered.append(name)
        if undelivered:
            detail = f"not delivered by {', '.join(undelivered)}"
            return _intent(stimulus, moment, "undelivered", detail, tuple(commands))
        return _intent(stimulus, moment, "sent", "", tuple(commands))

    def _release(self, stimulus: _Stimulus, moment: _Moment) -> tuple[Intent, ...]:
        channel = stimulus.pulse.channel
        commands: list[tuple[str, int]] = []
        for name in stimulus.spec.triggers:
            ours = self._last_on.get((name, channel)) == stimulus.name
            if self._disarm_reason or not (ours and self._interlock.running(name, channel, moment.now_ns)):
                continue
            commands.append((name, STOP_ID))
            try:
                self._triggers[name].stop(channel)
            except TriggerError as error:
                self.disarm(f"{name}: {error}")
                return (_intent(stimulus, moment, "failed", str(error), tuple(commands)),)
            self._interlock.stopped(name, channel, moment.now_ns)
        return (_intent(stimulus, moment, "stopped", "", tuple(commands)),) if commands else ()


def impossible_stimuli(
    stimuli: Mapping[str, StimulusSpec], limits: Mapping[tuple[str, int], LimitSpec]
) -> dict[str, str]:
    """Return the stimuli that their limits would never let through, with the reason."""
    found: dict[str, str] = {}
    for name, spec in stimuli.items():
        for trigger in spec.triggers:
            reason = Interlock(limits).allow(trigger, spec.pulse(), 0)
            if reason:
                found[name] = (
                    f"can never be sent on {trigger} channel {spec.channel}: {reason}; "
                    f"shorten it or set limits.{trigger}.{spec.channel}"
                )
    return found


def _intent(
    stimulus: _Stimulus, moment: _Moment, outcome: Outcome, detail: str, commands: tuple[tuple[str, int], ...]
) -> Intent:
    pulse = stimulus.pulse
    return Intent(
        stimulus.name,
        stimulus.spec.rule,
        moment.frame_id,
        moment.now_ns,
        pulse.channel,
        pulse.duration_us,
        pulse.intensity,
        pulse.train_hz,
        pulse.width_us,
        outcome,
        detail,
        commands,
    )
