"""Driver `lsl`: a stream of markers for the Lab Streaming Layer, to be recorded beside other streams.

For marking what was sent elsewhere. A marker is one string with a JSON object, stamped with the layer's clock when it
is sent. Whether it was recorded cannot be known, only whether anybody has subscribed.
"""

import json
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerNotInstalledError, TriggerNotOpenError
from triggers.pulse import Pulse

_ANY_RATE_HZ = 0.0


class LslOptions(BaseModel):
    """Settings of driver `lsl`.

    Attributes:
        name: Of the stream; its type is `Markers`.
        allow_network: Must be true. The layer announces its streams to the whole network and sends them to everybody
            who asks, and has no setting to keep them on this computer.
        subscriber_wait_s: How long `open` waits for somebody to subscribe, s, before it fails; 0 to go on without.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str = Field(default="poseloop", min_length=1)
    allow_network: bool = False
    subscriber_wait_s: float = Field(default=0.0, ge=0.0, le=60.0)


class LslTrigger(Trigger):
    """Sends one marker for each command.

    Args:
        options: Settings.
        now_ns: Host monotonic clock, ns.

    Attributes:
        n_undelivered: Markers for which there was no subscriber.
    """

    Options: ClassVar[type[BaseModel]] = LslOptions

    def __init__(self, options: LslOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._options = options
        self._now_ns = now_ns
        self._outlet: Any = None
        self._begin()

    def _begin(self) -> None:
        self._had_subscriber = False
        self._events: list[TriggerEvent] = []
        self.n_undelivered = 0

    def open(self) -> TriggerInfo:
        """Announce the stream and, with `subscriber_wait_s`, wait for somebody to subscribe."""
        options = self._options
        if self._outlet is not None:
            raise TriggerNotOpenError(f"{self._where()}: already open here; close it first")
        if not options.allow_network:
            raise TriggerNotOpenError(
                f"{self._where()}: expected allow_network = true; the Lab Streaming Layer sends its streams to "
                "everybody on the network who asks, and cannot be kept on this computer"
            )
        pylsl = _load()
        self._begin()
        source = uuid.uuid4().hex
        outlet = pylsl.StreamOutlet(pylsl.StreamInfo(options.name, "Markers", 1, _ANY_RATE_HZ, "string", source))
        if options.subscriber_wait_s and not outlet.wait_for_consumers(options.subscriber_wait_s):
            raise TriggerNotOpenError(
                f"{self._where()}: expected a subscriber within {options.subscriber_wait_s:g} s, got none; start the "
                "recording there, or set subscriber_wait_s = 0"
            )
        self._outlet = outlet
        self.all_off()
        device = {"source_id": source, "liblsl": pylsl.library_version()}
        return TriggerInfo("lsl", options.name, device, acknowledges=False, dead_man_ms=None)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Send a marker of type `pulse`, unless it has expired; the receipt says whether anybody had subscribed."""
        self._check_open()
        now_ns = self._now_ns()
        if now_ns > expires_ns:
            detail = f"{self._where()}: the command came too late"
            self._events.append(TriggerEvent("refused", command_id, now_ns, detail=detail))
            return FireReceipt(command_id, now_ns, delivered=False)
        delivered = self._send({"type": "pulse", "command_id": command_id, **asdict(pulse)})
        return FireReceipt(command_id, self._now_ns(), delivered=delivered)

    def poll(self) -> tuple[TriggerEvent, ...]:
        """Report once that the subscribers are gone."""
        if self._outlet is not None:
            self._check_subscribers()
        events = tuple(self._events)
        self._events.clear()
        return events

    def stop(self, channel: int) -> bool:
        """Send a marker of type `stop`."""
        self._check_open()
        self._send({"type": "stop", "channel": channel})
        return False

    def all_off(self) -> None:
        """Send a marker of type `all_off`."""
        if self._outlet is not None:
            self._send({"type": "all_off"})

    def close(self) -> None:
        """Send a marker of type `all_off` and end the stream."""
        self.all_off()
        self._outlet = None

    def _check_open(self) -> None:
        if self._outlet is None:
            raise TriggerFailedError(f"{self._where()}: not open; open it first")

    def _send(self, marker: dict[str, Any]) -> bool:
        """Send one marker; return whether anybody had subscribed."""
        has_subscriber = self._check_subscribers()
        self._outlet.push_sample([json.dumps(marker)])
        if not has_subscriber:
            self.n_undelivered += 1
        return has_subscriber

    def _check_subscribers(self) -> bool:
        """Return whether there is a subscriber; note it once if there was one and is no more."""
        has_subscriber = bool(self._outlet.have_consumers())
        if self._had_subscriber and not has_subscriber:
            detail = f"{self._where()}: nobody subscribes to the stream any more; is it still recorded?"
            self._events.append(TriggerEvent("fault", None, self._now_ns(), detail=detail))
        self._had_subscriber = has_subscriber
        return has_subscriber

    def _where(self) -> str:
        return f"lsl {self._options.name}"


def _load() -> Any:
    """Return the package, which needs a library of C++ that its wheels carry on most systems."""
    try:
        import pylsl  # noqa: PLC0415  # An optional extra, and loading it starts threads.
    except (ImportError, OSError, RuntimeError) as error:
        raise TriggerNotInstalledError(
            f"driver lsl needs the package pylsl with its library liblsl (pip install 'poseloop[lsl]'): {error}"
        ) from error
    return pylsl
