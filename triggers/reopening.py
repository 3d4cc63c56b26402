"""ReopeningTrigger: takes a device on a port up again after it failed, in a thread beside the loop."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel

from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerError, TriggerFailedError, TriggerNotOpenError
from triggers.pulse import Pulse
from triggers.serial_port import unit_of

_AGAIN_S = 0.5
_CLOSE_WAIT_S = 0.5


class ReopeningTrigger(Trigger):
    """A trigger that, once it failed for good, is made and opened anew until the same device answers.

    Opening waits for a device, so a thread does it, and no call here ever waits for that thread: until the device is
    open, the thread alone has it. Meanwhile `fire` and `stop` raise the failure, `failure` says so, and there is
    nothing to switch off, since opening a device does that. Then `poll` reports `reopened`. Whoever disarmed because of
    the failure stays disarmed until a person arms.

    Args:
        make: Returns the trigger, not open; also called in the thread.
        again_s: Pause before each attempt, s.
    """

    Options: ClassVar[type[BaseModel]] = BaseModel

    def __init__(self, make: Callable[[], Trigger], again_s: float = _AGAIN_S) -> None:
        self._make = make
        self._again_s = again_s
        self._trigger = make()
        self._search: _Search | None = None
        self._identity: _Identity | None = None

    def open(self) -> TriggerInfo:
        """Open the trigger, and remember which device that is."""
        if self._search is not None:
            raise TriggerNotOpenError(f"{self._search.failure}; already open; close it first")
        info = self._trigger.open()
        self._identity = _identity(info)
        return info

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Send one pulse command and return at once."""
        return self._present().fire(pulse, command_id, expires_ns)

    def extend(self, channel: int, extended_id: int, command_id: int, expires_ns: int) -> FireReceipt:
        """Let what runs last longer, where the trigger can; return at once."""
        return self._present().extend(channel, extended_id, command_id, expires_ns)

    def poll(self) -> tuple[TriggerEvent, ...]:
        """Do what the trigger does; after a failure see whether it is back."""
        if self._search is not None:
            return self._take_up(self._search)
        events = self._trigger.poll()
        if self._trigger.failure and self._identity is not None:
            self._trigger.all_off()  # As far as it can be reached still.
            self._search = _Search(self._trigger, self._make, self._identity, self._again_s)
        return events

    @property
    def failure(self) -> str:
        """Why it can't be used now, and what came of looking for it; the empty string as far as it knows of nothing."""
        return self._trigger.failure if self._search is None else self._search.failure

    def stop(self, channel: int) -> bool:
        """Switch one channel off now."""
        return self._present().stop(channel)

    def all_off(self) -> None:
        """Switch every output off now, unless the device is away."""
        if self._search is None:
            self._trigger.all_off()

    def close(self) -> None:
        """Switch every output off and release the port; what is being opened just then is closed by its thread."""
        if self._search is not None:
            found = self._search.end()
            self._trigger = self._make() if found is None else found
            self._search = None
        self._identity = None
        self._trigger.close()

    def _present(self) -> Trigger:
        if self._search is not None:
            raise TriggerFailedError(self._search.failure)
        return self._trigger

    def _take_up(self, search: "_Search") -> tuple[TriggerEvent, ...]:
        found = search.found
        if found is None:
            return ()
        self._trigger, self._search = found, None
        return (TriggerEvent("reopened", None, search.found_ns, detail="the same device answers again"), *found.poll())


@dataclass(frozen=True, slots=True)
class _Identity:
    """What makes a device the same one: what it says of itself, and its USB serial number (empty if it has none)."""

    driver: str
    device: Mapping[str, Any]
    dead_man_ms: int | None
    unit: str


def _identity(info: TriggerInfo) -> _Identity:
    return _Identity(info.driver, info.device, info.dead_man_ms, unit_of(info.address))


class _Search(threading.Thread):
    """Closes the trigger that failed, and opens a new one until it is the same device.

    Attributes:
        found: It, open, for whoever asks next; or None.
        found_ns: Host monotonic clock, ns, when it was open.
    """

    def __init__(self, lost: Trigger, make: Callable[[], Trigger], wanted: _Identity, again_s: float) -> None:
        super().__init__(name="poseloop-reopening", daemon=True)  # what it opened is off, whenever the process ends
        self._lost = lost
        self._make = make
        self._wanted = wanted
        self._again_s = again_s
        self._why_lost = lost.failure
        self._why_not = "not tried yet"
        self._ended = threading.Event()
        self._turn = threading.Lock()
        self.found: Trigger | None = None
        self.found_ns = 0
        self.start()

    @property
    def failure(self) -> str:
        """Why the device was lost, and why it is not back."""
        return f"{self._why_lost}; looked for, and not back: {self._why_not}"

    def run(self) -> None:
        """Try until it is found or nobody wants it any more."""
        self._lost.close()
        while self.found is None and not self._ended.wait(self._again_s):
            self._try()

    def end(self) -> Trigger | None:
        """Look no further; return what was found."""
        with self._turn:
            self._ended.set()
        self.join(_CLOSE_WAIT_S)
        return self.found

    def _try(self) -> None:
        trigger = self._make()
        try:
            got = _identity(trigger.open())
        except (TriggerError, OSError, ValueError) as error:
            self._why_not = str(error)
            return
        with self._turn:
            if got == self._wanted and not self._ended.is_set():
                self.found_ns, self.found = time.monotonic_ns(), trigger
                return
        self._why_not = f"expected the same device, {self._wanted}, got {got}"
        trigger.close()
