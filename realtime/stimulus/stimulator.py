"""The stimulator: when which stimulus is asked for, by the rules, by the clock or by a timetable."""

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Literal

from realtime.decision import Decision, Edge, State
from realtime.stimulus.action import Action, Intent, Receipt
from realtime.stimulus.arming import NoOrders, Order, Orders
from realtime.stimulus.controls import Arms
from realtime.stimulus.interlock import Interlock, LimitSpec
from realtime.stimulus.outputs import Moment, Outputs, Request, Stimulus
from realtime.stimulus.spec import StimulusSpec
from realtime.stimulus.timetable import Timetable, timetable
from realtime.tracks import Tracks
from triggers.base import Trigger, TriggerEvent

_NOTHING = Action()


class _Asked:
    """Numbers the requests for one stimulus, and gives each its arm."""

    def __init__(self, stimulus: Stimulus) -> None:
        self.stimulus = stimulus
        self._arms = Arms(stimulus.name, stimulus.spec)
        self._n = 0

    def request(self, frame_id: int, decision: Decision | None = None, tracks: Tracks | None = None) -> Request:
        ordinal, self._n = self._n, self._n + 1
        animals = _animals(decision, tracks)
        return Request(self.stimulus, frame_id, self._arms.of(ordinal), ordinal, *animals)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A stimulus whose delay is not over."""

    request: Request
    due_ns: int


@dataclass(slots=True)
class _Entry:
    """A stimulus that is repeated as long as its rule is on.

    Attributes:
        request: The latest repetition.
        ends_ns: When that ends, or, before the first one, when it was asked for; host clock, ns.
        told: Why it could not be sent lately, so that a reason is recorded once and not frame by frame.
        extensions: (trigger, command id) of the latest repetition where it extended a pulse.
    """

    request: Request
    ends_ns: int
    told: str = ""
    extensions: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class _Step:
    """Something to be done in this frame."""

    kind: Literal["start", "repeat", "stop", "cancel"]
    stimulus: Stimulus
    request: Request | None = None
    overdue_ns: int = 0


class Stimulator:
    """Asks for stimuli as the rig says, in order of priority; the outputs send them or say why not.

    What it decides depends on its arguments and on what the triggers reported only, so that a replay with the recorded
    reports decides the same.

    Args:
        stimuli: By name.
        triggers: By name, open.
        limits: By trigger and channel; a channel without limits has the default ones.
        deadline_ns: A frame that has been available for longer, or that came longer after something was due, does not
            fire any more.
        armed: Whether stimuli go out before anybody orders it.
        orders: Where orders to arm and disarm come from; None for nowhere.
        extending: The triggers that can let a pulse that runs last longer (`TriggerInfo.extends`): what is repeated
            extends it there.

    Raises:
        ValueError: A stimulus exceeds its limits all by itself; the message lists every one.
    """

    def __init__(
        self,
        stimuli: Mapping[str, StimulusSpec],
        triggers: Mapping[str, Trigger],
        limits: Mapping[tuple[str, int], LimitSpec],
        deadline_ns: int,
        *,
        armed: bool,
        orders: Orders | None = None,
        extending: Collection[str] = (),
    ) -> None:
        impossible = impossible_stimuli(stimuli, limits)
        if impossible:
            raise ValueError("\n".join(f"stimuli.{name}: {why}" for name, why in impossible.items()))
        self._by_rule: dict[str, list[_Asked]] = {}
        self._timed: list[tuple[_Asked, Timetable]] = []
        for name, spec in stimuli.items():
            asked, table = _Asked(Stimulus(name, spec, spec.pulse())), timetable(name, spec)
            if table is not None:
                self._timed.append((asked, table))
            elif spec.rule is not None:
                self._by_rule.setdefault(spec.rule, []).append(asked)
        self._outputs = Outputs(triggers, limits, deadline_ns, armed, extending)
        self._orders: Orders = NoOrders() if orders is None else orders
        self._to_arm: tuple[Order, ...] = ()
        self._obeyed: tuple[Order, ...] = ()
        self._waiting: list[_Waiting] = []
        self._entries: dict[str, _Entry] = {}
        self._events: tuple[tuple[str, TriggerEvent], ...] = ()
        self._first_timestamp_ns: int | None = None
        self._last_now_ns: int | None = None

    @property
    def armed(self) -> bool:
        """True as long as stimuli are sent."""
        return not self._outputs.disarmed

    @property
    def fault(self) -> str:
        """What went wrong so that it was disarmed and has not been armed since; the empty string if nothing did."""
        return self._outputs.fault

    @property
    def unreported(self) -> tuple[Order, ...]:
        """The orders that no frame followed, so that they stand in no `Action`."""
        return self._obeyed

    def poll(self) -> tuple[tuple[str, TriggerEvent], ...]:
        """Collect what the triggers reported, and return it, and what was ordered; both are kept for the next `act`.

        A fault and an order to disarm act at once.
        """
        polled = self._outputs.poll()
        if polled:
            self._events += polled
            self._not_extended(polled)
        for order in self._orders.take(self._outputs.disarmed):
            self.obey(order)
        return polled

    def _not_extended(self, polled: tuple[tuple[str, TriggerEvent], ...]) -> None:
        """Repeat what was over with the next frame, and no more what a device refused, until the rule rises again."""
        for trigger, event in polled:
            for name, entry in tuple(self._entries.items()):
                if (trigger, event.command_id) not in entry.extensions:
                    continue
                if event.kind == "refused":
                    del self._entries[name]
                elif event.kind == "over":
                    entry.ends_ns = event.host_ns

    def obey(self, order: Order) -> None:
        """Disarm at once, or arm with the next frame, unless something speaks against it by then.

        What speaks against it is a fault or an order to disarm at any time between the two frames. So it does not
        depend on which of them came first, and a replay, which has them frame by frame, decides the same.
        """
        if order.kind == "arm":
            self._to_arm += (order,)
            return
        self._outputs.disarm(order.by, is_fault=order.is_fault)
        self._note(order)

    def _note(self, order: Order) -> None:
        self._obeyed += (order,)
        self._orders.answer(order, self._outputs.disarmed)

    def _arm(self, now_ns: int) -> None:
        """Arm if that was ordered."""
        against = [event.detail for _, event in self._events if event.kind == "fault"]
        against += [order.by for order in self._obeyed if order.kind == "disarm"]
        for order in self._to_arm:
            refused = order.refused or "; ".join(against) or self._outputs.arm(order, now_ns)
            self._note(replace(order, refused=refused))
        self._to_arm = ()

    def act(
        self,
        decisions: tuple[Decision, ...],
        tracks: Tracks,
        frame_id: int,
        timestamp_ns: int,
        available_ns: int,
        now_ns: int,
    ) -> Action:
        """Send, refuse or stop what the decisions and the time ask for.

        Deadline, delays and limits are judged in the time of the host, in which the animal is stimulated; timetables in
        the frames' time, which is the same in every replay.

        Args:
            decisions: What the rules said of the frame.
            tracks: The frame's tracks.
            frame_id: The frame.
            timestamp_ns: The frame's `timestamp_ns`, not before that of the frame before.
            available_ns: The frame's `available_ns`.
            now_ns: Host monotonic clock, ns.

        Returns:
            What was done, with the events and orders that `poll` collected since the last call.
        """
        if self._to_arm:
            self._arm(now_ns)
        if self._first_timestamp_ns is None:
            self._first_timestamp_ns = timestamp_ns
        moment = Moment(frame_id, available_ns, now_ns)
        steps = self._from_rules(decisions, tracks, moment) if self._by_rule else []
        if self._waiting:
            steps += self._from_delays(moment)
        if self._entries:
            steps += self._from_entries(decisions, tracks, moment)
        if self._timed:
            steps += self._from_timetables(frame_id, timestamp_ns - self._first_timestamp_ns)
        self._last_now_ns = now_ns
        if not (steps or self._events or self._obeyed):
            return _NOTHING
        receipts: list[Receipt] = []
        intents = self._carry_out(steps, moment, receipts)
        events, self._events = self._events, ()
        obeyed, self._obeyed = self._obeyed, ()
        return Action(tuple(intents), tuple(receipts), events, obeyed)

    def all_off(self) -> None:
        """Switch every output of every trigger off, of each one even if another one raises."""
        self._outputs.all_off()

    def close(self) -> None:
        """Switch everything off for good and close every trigger, each one even if another one raises."""
        with ExitStack() as stack:
            stack.callback(self._orders.close, off=True)
            stack.callback(self._outputs.close)
            self._orders.close(off=False)

    def _from_rules(self, decisions: tuple[Decision, ...], tracks: Tracks, moment: Moment) -> list[_Step]:
        steps: list[_Step] = []
        for decision in decisions:
            if decision.edge:
                for asked in self._by_rule.get(decision.rule, ()):
                    if decision.edge is Edge.RISING:
                        steps += self._rising(asked, asked.request(moment.frame_id, decision, tracks), moment)
                    else:
                        steps += self._falling(asked.stimulus)
        return steps

    def _rising(self, asked: _Asked, request: Request, moment: Moment) -> list[_Step]:
        spec = asked.stimulus.spec
        if spec.delay_ms and not self._outputs.is_late(moment):
            self._waiting.append(_Waiting(request, moment.available_ns + round(spec.delay_ms * 1e6)))
        elif spec.while_on and not spec.delay_ms:
            self._entries[asked.stimulus.name] = _Entry(request, moment.now_ns)
        else:
            return [_Step("start", asked.stimulus, request)]
        return []

    def _falling(self, stimulus: Stimulus) -> list[_Step]:
        spec = stimulus.spec
        steps: list[_Step] = []
        self._entries.pop(stimulus.name, None)
        if spec.stop_on_release or spec.while_on:
            cancelled = [waiting.request for waiting in self._waiting if waiting.request.stimulus is stimulus]
            self._waiting = [waiting for waiting in self._waiting if waiting.request.stimulus is not stimulus]
            steps += [_Step("cancel", stimulus, request) for request in cancelled]
        if spec.stop_on_release:
            steps.append(_Step("stop", stimulus))
        return steps

    def _from_delays(self, moment: Moment) -> list[_Step]:
        """Return what has waited long enough; once disarmed, everything that waits, to be recorded."""
        steps: list[_Step] = []
        still: list[_Waiting] = []
        for waiting in self._waiting:
            stimulus = waiting.request.stimulus
            if not self._outputs.disarmed and moment.now_ns < waiting.due_ns:
                still.append(waiting)
            elif stimulus.spec.while_on:
                self._entries[stimulus.name] = _Entry(waiting.request, moment.now_ns)
            else:
                overdue_ns = moment.available_ns - waiting.due_ns
                steps.append(_Step("start", stimulus, waiting.request, overdue_ns))
        self._waiting = still
        return steps

    def _from_entries(self, decisions: tuple[Decision, ...], tracks: Tracks, moment: Moment) -> list[_Step]:
        # The frame after the next must find it running still, should the next one be as late as this one was.
        lead_ns = 0 if self._last_now_ns is None else 2 * (moment.now_ns - self._last_now_ns)
        on = {decision.rule: decision for decision in decisions if decision.state is State.ON}
        steps: list[_Step] = []
        for entry in self._entries.values():
            last = entry.request
            decision = on.get(last.stimulus.spec.rule or "")
            ahead_ns = lead_ns + self._outputs.ahead_ns(last.stimulus)
            if decision is not None and entry.ends_ns - moment.now_ns <= ahead_ns:
                animals = _animals(decision, tracks)
                entry.request = Request(last.stimulus, moment.frame_id, last.arm, last.ordinal, *animals)
                steps.append(_Step("repeat", last.stimulus, entry.request))
        return steps

    def _from_timetables(self, frame_id: int, elapsed_ns: int) -> list[_Step]:
        steps: list[_Step] = []
        for asked, table in self._timed:
            for event in table.due(elapsed_ns):
                if event.kind == "start":
                    overdue_ns = elapsed_ns - event.time_ns
                    steps.append(_Step("start", asked.stimulus, asked.request(frame_id), overdue_ns))
                else:
                    steps.append(_Step("stop", asked.stimulus))
        return steps

    def _carry_out(self, steps: list[_Step], moment: Moment, receipts: list[Receipt]) -> list[Intent]:
        """Do everything in order of priority; what belongs to one stimulus stays in the order in which it came."""
        intents: list[Intent] = []
        for step in sorted(steps, key=lambda step: -step.stimulus.spec.priority):
            if step.request is None:
                intents += self._outputs.stop(step.stimulus, moment)
            elif step.kind == "cancel":
                intents.append(step.request.intent(moment, "cancelled", "the rule fell before the delay was over"))
            else:
                intent = self._outputs.start(step.request, moment, step.overdue_ns, receipts)
                if step.kind == "start" or self._repeated(step.stimulus, intent):
                    intents.append(intent)
        return intents

    def _repeated(self, stimulus: Stimulus, intent: Intent) -> bool:
        """Note what came of a repetition; return whether it is to be recorded."""
        entry = self._entries[stimulus.name]
        if intent.outcome in {"late", "outranked"}:  # it is tried again with the next frame
            told, entry.told = entry.told, intent.outcome
            return told != intent.outcome
        if intent.outcome in {"sent", "sham", "undelivered"}:
            entry.ends_ns, entry.told = intent.decided_ns + intent.duration_us * 1000, ""
            where = dict(intent.extended)
            entry.extensions = frozenset(command for command in intent.commands if command[0] in where)
        else:  # until the rule rises again: a limit that is met would otherwise let light through bit by bit
            del self._entries[stimulus.name]
        return True


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


def _animals(decision: Decision | None, tracks: Tracks | None) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return the animals that a rule named, and how sure it is who they are; 0 for one without a track."""
    if decision is None or tracks is None:
        return (), ()
    confidence = dict(zip(tracks.track_ids.tolist(), tracks.identity_confidence.tolist(), strict=True))
    return decision.track_ids, tuple([confidence.get(track_id, 0.0) for track_id in decision.track_ids])
