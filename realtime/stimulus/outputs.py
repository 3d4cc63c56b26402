"""Outputs: the triggers behind every guard; nothing goes out but what is armed, in time, allowed and not outranked."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from realtime.stimulus.action import STOP_ID, Intent, Outcome, Receipt
from realtime.stimulus.arming import ARM_WITHIN_NS, Order
from realtime.stimulus.controls import Arm
from realtime.stimulus.interlock import Interlock, LimitSpec
from realtime.stimulus.spec import StimulusSpec
from triggers.base import FireReceipt, Trigger, TriggerEvent
from triggers.errors import TriggerError
from triggers.pulse import Pulse

_CLOSED = "closed"
_NOT_YET = "not armed yet"
_EXTEND_AHEAD_NS = 5_000_000  # From a decision to the device: a millisecond of USB, three frames on the line, and more.


@dataclass(frozen=True, slots=True)
class Stimulus:
    """A stimulus of the rig, its pulse made once."""

    name: str
    spec: StimulusSpec
    pulse: Pulse


@dataclass(frozen=True, slots=True)
class Moment:
    """The frame that is being acted on.

    Attributes:
        frame_id: The frame.
        available_ns: Its `available_ns`.
        now_ns: Host monotonic clock, ns, by which everything is judged.
    """

    frame_id: int
    available_ns: int
    now_ns: int


@dataclass(frozen=True, slots=True)
class Request:
    """One stimulus that was asked for; the fields are those of `Intent`."""

    stimulus: Stimulus
    frame_id: int
    arm: Arm
    ordinal: int
    track_ids: tuple[int, ...] = ()
    identity_confidence: tuple[float, ...] = ()

    def intent(
        self,
        moment: Moment,
        outcome: Outcome,
        detail: str,
        commands: Sequence[tuple[str, int]] = (),
        extended: Sequence[tuple[str, int]] = (),
    ) -> Intent:
        """Return the record of what came of it."""
        pulse = self.stimulus.pulse
        return Intent(
            self.stimulus.name,
            self.stimulus.spec.rule or "",
            self.frame_id,
            moment.now_ns,
            pulse.channel,
            pulse.duration_us,
            pulse.intensity,
            pulse.train_hz,
            pulse.width_us,
            outcome,
            detail,
            tuple(commands),
            self.arm,
            self.ordinal,
            self.track_ids,
            self.identity_confidence,
            tuple(extended),
        )


@dataclass(frozen=True, slots=True)
class _Last:
    """The last pulse of a channel: what asked for it, its command's id, and that of the last one that extended it."""

    request: Request
    pulse_id: int
    command_id: int


class Outputs:
    """Sends what is asked for, within deadline, limits and priority, and nothing once it is disarmed.

    It never arms by itself: after a fault a person has to look. A sham goes through the same checks, sends nothing, and
    neither counts for the limits of the real ones nor keeps another stimulus from its channel. Shams have an account of
    their own with the same limits, so that one that is repeated ends where a real one would.

    Args:
        triggers: By name, open.
        limits: By trigger and channel; a channel without limits has the default ones.
        deadline_ns: A frame that has been available for longer, or that came longer after something was due, does not
            fire any more.
        armed: Whether stimuli go out before anybody orders it.
        extending: The triggers that can let a pulse that runs last longer (`TriggerInfo.extends`).
    """

    def __init__(
        self,
        triggers: Mapping[str, Trigger],
        limits: Mapping[tuple[str, int], LimitSpec],
        deadline_ns: int,
        armed: bool,
        extending: Collection[str] = (),
    ) -> None:
        self._triggers = dict(triggers)
        self._extending = frozenset(extending)
        self._interlock = Interlock(limits)
        self._sham_interlock = Interlock(limits)
        self._deadline_ns = deadline_ns
        self._next_id = 1
        self._disarm_reason = "" if armed else _NOT_YET
        self._fault = ""
        self._last_on: dict[tuple[str, int], _Last] = {}  # by trigger and channel
        self._shams: dict[str, tuple[Request, int]] = {}  # stimulus → its last sham, and when that would end, ns

    @property
    def disarmed(self) -> str:
        """Why nothing is sent; the empty string while armed."""
        return self._disarm_reason

    @property
    def fault(self) -> str:
        """What went wrong so that it was disarmed and has not been armed since; the empty string if nothing did."""
        return self._fault

    def arm(self, order: Order, now_ns: int) -> str:
        """Let stimuli out from now on; return why not, or the empty string."""
        if self._disarm_reason == _CLOSED:
            return "the outputs are closed"
        if now_ns - order.host_ns > ARM_WITHIN_NS:
            return f"no frame came within {ARM_WITHIN_NS / 1e6:g} ms of the order"
        broken = [trigger.failure for trigger in self._triggers.values() if trigger.failure]
        if broken:
            return f"{'; '.join(broken)}; put it right, and if it does not come back, end the session and start again"
        self._disarm_reason = self._fault = ""
        return ""

    def poll(self) -> tuple[tuple[str, TriggerEvent], ...]:
        """Return what the triggers reported, (trigger, event); a fault disarms, and a stop counts from here on."""
        polled: list[tuple[str, TriggerEvent]] = []
        for name, trigger in self._triggers.items():
            for event in trigger.poll():
                polled.append((name, event))
                if event.kind == "fault":
                    self.disarm(f"{name}: {event.detail}")
                elif event.kind == "stopped" and event.channel is not None:
                    self._interlock.stop_acknowledged(name, event.channel, event.host_ns)
                elif event.kind == "over":
                    self._is_over(name, event)
        return tuple(polled)

    def _is_over(self, trigger: str, event: TriggerEvent) -> None:
        """Account for a pulse that was to be extended and has ended: it is off by now."""
        for (name, channel), last in self._last_on.items():
            if (name, last.command_id) == (trigger, event.command_id):
                self._interlock.stopped(trigger, channel, event.host_ns)

    def ahead_ns(self, stimulus: Stimulus) -> int:
        """Return how long before a pulse ends it must be extended, so that the device hears of it in time."""
        return 0 if self._extending.isdisjoint(stimulus.spec.triggers) else _EXTEND_AHEAD_NS

    def is_late(self, moment: Moment) -> bool:
        """Return whether the frame has been available for longer than the deadline."""
        return moment.now_ns - moment.available_ns > self._deadline_ns

    def start(self, request: Request, moment: Moment, overdue_ns: int, receipts: list[Receipt]) -> Intent:
        """Send a stimulus, or say why not.

        Args:
            request: What is asked for.
            moment: The frame with which it would go out.
            overdue_ns: How long after it was due this frame came, ns.
            receipts: Takes one for each command that is sent.
        """
        outcome, detail = self._refusal(request, moment, overdue_ns)
        if outcome is not None:
            return request.intent(moment, outcome, detail)
        if request.arm == "sham":
            return self._pretend(request, moment)
        return self._fire(request, moment, receipts)

    def stop(self, stimulus: Stimulus, moment: Moment) -> tuple[Intent, ...]:
        """Switch a stimulus off where it is still running; the record of that, or nothing if it is not."""
        if self._disarm_reason:
            return ()
        return (*self._stop_real(stimulus, moment), *self._stop_sham(stimulus, moment))

    def disarm(self, reason: str, *, is_fault: bool = True) -> None:
        """Switch every output off; nothing is sent until it is armed again. The first reason is kept, and a fault."""
        # Before the outputs, so that nothing fires again even if switching them off should fail.
        if reason == _CLOSED or self._disarm_reason in {"", _NOT_YET}:
            self._disarm_reason = reason
        if is_fault:
            self._fault = self._fault or reason
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
            self.disarm(_CLOSED, is_fault=False)

    def _refusal(self, request: Request, moment: Moment, overdue_ns: int) -> tuple[Outcome | None, str]:
        """Return why nothing may be sent; one trigger at its limit is enough, so that they never act apart."""
        if self._disarm_reason:
            return "disarmed", self._disarm_reason
        deadline = f"exceeds {self._deadline_ns / 1e6:g} ms"
        if self.is_late(moment):
            return "late", f"{(moment.now_ns - moment.available_ns) / 1e6:.3f} ms after the frame {deadline}"
        if overdue_ns > self._deadline_ns:
            return "late", f"the first frame came {overdue_ns / 1e6:.3f} ms after it was due, which {deadline}"
        stimulus = request.stimulus
        for name in stimulus.spec.triggers:
            other = self._running(name, stimulus.pulse.channel, moment)
            if other is not None and other.spec.priority > stimulus.spec.priority:
                running = f"{other.name} of priority {other.spec.priority} runs"
                return "outranked", f"{name} channel {stimulus.pulse.channel}: {running}"
        for name in stimulus.spec.triggers:
            reason = self._interlock.allow(name, stimulus.pulse, moment.now_ns)
            if request.arm == "sham":
                reason = reason or self._sham_interlock.allow(name, stimulus.pulse, moment.now_ns)
            if reason:
                return "limited", f"{name} channel {stimulus.pulse.channel}: {reason}"
        return None, ""

    def _running(self, trigger: str, channel: int, moment: Moment) -> Stimulus | None:
        last = self._last_on.get((trigger, channel))
        if last is None or not self._interlock.running(trigger, channel, moment.now_ns):
            return None
        return last.request.stimulus

    def _extendable(self, trigger: str, request: Request, moment: Moment) -> int | None:
        """Return the id of the pulse that a repetition can extend, or None if a pulse is to be sent for it."""
        channel = request.stimulus.pulse.channel
        last = self._last_on.get((trigger, channel))
        if trigger not in self._extending or last is None:
            return None
        before = last.request
        is_repeated = before.stimulus is request.stimulus and before.ordinal == request.ordinal
        is_in_time = self._interlock.running(trigger, channel, moment.now_ns + _EXTEND_AHEAD_NS)
        return last.pulse_id if is_repeated and is_in_time else None

    def _pretend(self, request: Request, moment: Moment) -> Intent:
        pulse = request.stimulus.pulse
        for name in request.stimulus.spec.triggers:
            self._sham_interlock.commit(name, pulse, moment.now_ns)
        self._shams[request.stimulus.name] = request, moment.now_ns + pulse.duration_us * 1000
        return request.intent(moment, "sham", "")

    def _fire(self, request: Request, moment: Moment, receipts: list[Receipt]) -> Intent:
        commands: list[tuple[str, int]] = []
        extended: list[tuple[str, int]] = []
        undelivered: list[str] = []
        for name in request.stimulus.spec.triggers:
            try:
                receipt = self._send(name, request, moment, commands, extended)
            except TriggerError as error:
                self.disarm(f"{name}: {error}")
                return request.intent(moment, "failed", str(error), commands, extended)
            receipts.append(Receipt(name, receipt.command_id, receipt.sent_ns, receipt.acked_ns, receipt.delivered))
            if not receipt.delivered:
                undelivered.append(name)
        if undelivered:
            detail = f"not delivered by {', '.join(undelivered)}"
            return request.intent(moment, "undelivered", detail, commands, extended)
        return request.intent(moment, "sent", "", commands, extended)

    def _send(
        self,
        name: str,
        request: Request,
        moment: Moment,
        commands: list[tuple[str, int]],
        extended: list[tuple[str, int]],
    ) -> FireReceipt:
        """Send a pulse to one trigger, or extend the one that runs there; note every command before it is tried."""
        pulse, trigger = request.stimulus.pulse, self._triggers[name]
        expires_ns = moment.available_ns + self._deadline_ns
        command_id, self._next_id = self._next_id, self._next_id + 1
        pulse_id = self._extendable(name, request, moment)
        if pulse_id is not None:
            commands.append((name, command_id))
            extended.append((name, pulse_id))
            receipt = trigger.extend(pulse.channel, pulse_id, command_id, expires_ns)
            if receipt.delivered:
                self._interlock.extended(name, pulse, moment.now_ns)
                self._last_on[name, pulse.channel] = _Last(request, pulse_id, command_id)
            return receipt
        if self._interlock.running(name, pulse.channel, moment.now_ns):  # a device refuses a busy channel
            commands.append((name, STOP_ID))
            self._switch_off(name, pulse.channel, moment)
        commands.append((name, command_id))
        receipt = trigger.fire(pulse, command_id, expires_ns)
        if receipt.delivered:
            self._interlock.commit(name, pulse, moment.now_ns)
            self._last_on[name, pulse.channel] = _Last(request, command_id, command_id)
        return receipt

    def _stop_real(self, stimulus: Stimulus, moment: Moment) -> tuple[Intent, ...]:
        channel = stimulus.pulse.channel
        commands: list[tuple[str, int]] = []
        stopped: Request | None = None
        for name in stimulus.spec.triggers:
            if self._running(name, channel, moment) is not stimulus:
                continue
            stopped = self._last_on[name, channel].request
            commands.append((name, STOP_ID))
            try:
                self._switch_off(name, channel, moment)
            except TriggerError as error:
                self.disarm(f"{name}: {error}")
                return (_at(stopped, moment).intent(moment, "failed", str(error), commands),)
        return () if stopped is None else (_at(stopped, moment).intent(moment, "stopped", "", commands),)

    def _switch_off(self, trigger: str, channel: int, moment: Moment) -> None:
        if self._triggers[trigger].stop(channel):  # it is acknowledged later
            self._interlock.stop_asked(trigger, channel, moment.now_ns)
        else:
            self._interlock.stopped(trigger, channel, moment.now_ns)

    def _stop_sham(self, stimulus: Stimulus, moment: Moment) -> tuple[Intent, ...]:
        request, ends_ns = self._shams.pop(stimulus.name, (None, 0))
        if request is None or ends_ns <= moment.now_ns:
            return ()
        for name in stimulus.spec.triggers:
            self._sham_interlock.stopped(name, stimulus.pulse.channel, moment.now_ns)
        return (_at(request, moment).intent(moment, "stopped", ""),)


def _at(request: Request, moment: Moment) -> Request:
    return replace(request, frame_id=moment.frame_id)
