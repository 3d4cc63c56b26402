"""A trigger for replays: sends nothing, and reports what was reported when the session was recorded."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from realtime.stimulus.action import STOP_ID, Action
from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError
from triggers.pulse import Pulse


class ReplayedTriggerOptions(BaseModel):
    """A replayed trigger has no settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class ReplayedTrigger(Trigger):
    """Answers as the recorded trigger did, and like a perfect device where nothing was recorded.

    Args:
        events_by_frame: What each `poll` returns, one poll a frame; nothing after the last one.
        receipts: By command id.
        failures: Text of the error that `fire` raised, by command id.
        stop_failures: Text of the error that `stop` raised, by the number of the call, the first being 1.
        acknowledges_stop: Whether the events tell of stops that were carried out.
    """

    Options: ClassVar[type[BaseModel]] = ReplayedTriggerOptions

    def __init__(
        self,
        events_by_frame: Sequence[tuple[TriggerEvent, ...]],
        receipts: Mapping[int, FireReceipt],
        failures: Mapping[int, str],
        stop_failures: Mapping[int, str] | None = None,
        *,
        acknowledges_stop: bool = False,
    ) -> None:
        self._events = iter(events_by_frame)
        self._receipts = dict(receipts)
        self._failures = dict(failures)
        self._stop_failures = dict(stop_failures or {})
        self._stops = 0
        self._acknowledges_stop = acknowledges_stop

    def open(self) -> TriggerInfo:
        """Open nothing."""
        return TriggerInfo("replayed", "", {}, True, None, self._acknowledges_stop)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:  # noqa: ARG002 - nothing is sent
        """Return the recorded receipt or raise the recorded failure; a command that is new here has `sent_ns` 0."""
        return self._answer(command_id)

    def _answer(self, command_id: int) -> FireReceipt:
        if command_id in self._failures:
            raise TriggerFailedError(self._failures[command_id])
        return self._receipts.get(command_id) or FireReceipt(command_id, sent_ns=0)

    def extend(self, channel: int, extended_id: int, command_id: int, expires_ns: int) -> FireReceipt:  # noqa: ARG002
        """Answer as `fire` does."""
        return self._answer(command_id)

    def poll(self) -> tuple[TriggerEvent, ...]:
        """Return what was reported for the next frame."""
        return next(self._events, ())

    def stop(self, channel: int) -> bool:  # noqa: ARG002 - nothing is sent
        """Raise the failure recorded for this call, if there is one."""
        self._stops += 1
        if self._stops in self._stop_failures:
            raise TriggerFailedError(self._stop_failures[self._stops])
        return self._acknowledges_stop

    def all_off(self) -> None:
        """Do nothing: there are no outputs."""

    def close(self) -> None:
        """Do nothing: there is no port."""


def replayed_triggers(
    names: Iterable[str], actions: Sequence[Action], acknowledging_stops: Collection[str] = ()
) -> dict[str, ReplayedTrigger]:
    """Return a replayed trigger for each name from the recorded actions, one a frame.

    Args:
        names: The triggers.
        actions: What was recorded.
        acknowledging_stops: Those of them that said so when the session was recorded (`TriggerInfo`).
    """
    return {name: _replayed(name, actions, name in acknowledging_stops) for name in names}


def _replayed(name: str, actions: Sequence[Action], acknowledges_stop: bool) -> ReplayedTrigger:
    events = [tuple(event for trigger, event in action.events if trigger == name) for action in actions]
    receipts = {
        receipt.command_id: FireReceipt(receipt.command_id, receipt.sent_ns, receipt.acked_ns, receipt.delivered)
        for action in actions
        for receipt in action.receipts
        if receipt.trigger == name
    }
    failures: dict[int, str] = {}
    stop_failures: dict[int, str] = {}
    stops = 0
    for intent in (intent for action in actions for intent in action.intents):
        for place, (trigger, command_id) in enumerate(intent.commands, start=1):
            if trigger != name:
                continue
            stops += command_id == STOP_ID
            if intent.outcome == "failed" and place == len(intent.commands):
                if command_id == STOP_ID:
                    stop_failures[stops] = intent.detail
                else:
                    failures[command_id] = intent.detail
    return ReplayedTrigger(events, receipts, failures, stop_failures, acknowledges_stop=acknowledges_stop)
