"""Driver `recording`: puts nothing out and remembers what it was asked for (dry runs, tests)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.pulse import Pulse


class RecordingOptions(BaseModel):
    """Driver `recording` has no settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


@dataclass(frozen=True, slots=True)
class Fired:
    """One command as it was given to `fire`.

    Attributes:
        pulse: What would have been put out.
        command_id: Its id.
        expires_ns: Host monotonic clock, ns.
        fired_ns: Host monotonic clock, ns, when `fire` was called.
    """

    pulse: Pulse
    command_id: int
    expires_ns: int
    fired_ns: int


class RecordingTrigger(Trigger):
    """Remembers every command and acknowledges it at once, in the receipt.

    Args:
        options: None.
        now_ns: Host monotonic clock, ns.

    Attributes:
        fired: Every pulse since it was opened, in order.
        stopped: The channel of every `stop` since then; None for an `all_off`.
    """

    Options: ClassVar[type[BaseModel]] = RecordingOptions

    def __init__(self, options: RecordingOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        del options
        self._now_ns = now_ns
        self._is_open = False
        self.fired: list[Fired] = []
        self.stopped: list[int | None] = []

    def open(self) -> TriggerInfo:
        """Forget what was remembered."""
        if self._is_open:
            raise TriggerNotOpenError("recording trigger: already open; close it first")
        self._is_open = True
        self.fired.clear()
        self.stopped.clear()
        return TriggerInfo(driver="recording", address="", device={}, acknowledges=True, dead_man_ms=None)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Remember one pulse command."""
        self._check_open()
        now_ns = self._now_ns()
        self.fired.append(Fired(pulse, command_id, expires_ns, now_ns))
        return FireReceipt(command_id, sent_ns=now_ns, acked_ns=now_ns)

    def poll(self) -> tuple[TriggerEvent, ...]:
        """Return nothing: receipts carry the acknowledgements."""
        return ()

    def stop(self, channel: int) -> bool:
        """Remember that a channel was stopped."""
        self._check_open()
        self.stopped.append(channel)
        return False

    def all_off(self) -> None:
        """Remember that everything was switched off."""
        if self._is_open:
            self.stopped.append(None)

    def close(self) -> None:
        """Switch everything off and keep what was remembered."""
        self.all_off()
        self._is_open = False

    def _check_open(self) -> None:
        if not self._is_open:
            raise TriggerFailedError("recording trigger: not open; open it first")
