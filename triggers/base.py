"""The trigger protocol: open, fire, poll, all_off, close."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel

from triggers.errors import TriggerFailedError
from triggers.pulse import Pulse

EventKind = Literal["ack", "refused", "over", "stopped", "fault", "reopened"]


@dataclass(frozen=True, slots=True)
class TriggerInfo:
    """What an open trigger is.

    Attributes:
        driver: Name of the driver.
        address: Port or address.
        device: What the device says of itself; empty where it cannot be asked.
        acknowledges: True if every command is answered.
        dead_man_ms: The device switches off by itself this long after the last sign of life, ms; None if it never does.
        acknowledges_stop: True if `poll` reports that a channel was stopped, with a `stopped`.
        extends: True if what runs can be made to last longer, with `extend`.
    """

    driver: str
    address: str
    device: Mapping[str, Any]
    acknowledges: bool
    dead_man_ms: int | None
    acknowledges_stop: bool = False
    extends: bool = False


@dataclass(frozen=True, slots=True)
class FireReceipt:
    """What is known of a command once it has been sent.

    Attributes:
        command_id: As given to `fire`.
        sent_ns: Host monotonic clock, ns, when the last byte was handed over.
        acked_ns: Host monotonic clock, ns, when the device answered, or None if that is reported later or never.
        delivered: False if the command could not be handed over at all (no peer, full buffer); it will not be sent
            again.
    """

    command_id: int
    sent_ns: int
    acked_ns: int | None = None
    delivered: bool = True


@dataclass(frozen=True, slots=True)
class TriggerEvent:
    """Something that a device reported since the last `poll`.

    Attributes:
        kind: `ack` (a command was carried out), `refused` (the device would not), `over` (what an `extend` was to
            extend has ended, or never began), `stopped` (every `stop` of a channel so far was carried out), `fault`
            (the trigger can no longer be relied on), `reopened` (after a failure the same device is there again, with
            everything off).
        command_id: The command in question, or None.
        host_ns: Host monotonic clock, ns, when it was read.
        device_us: The device's own clock, µs, or None.
        detail: For a person.
        channel: The output that was stopped, or None.
    """

    kind: EventKind
    command_id: int | None
    host_ns: int
    device_us: int | None = None
    detail: str = ""
    channel: int | None = None


class Trigger(ABC):
    """A stimulus output, one driver a subclass; usable as a context manager. Closing it always ends safe.

    No call blocks longer than 50 ms; `open` may wait for its device to start, and `close` a little for it to end. A
    driver names its settings in `Options` (a strict, frozen pydantic model) and is built from an instance of it.
    """

    Options: ClassVar[type[BaseModel]]

    @abstractmethod
    def __init__(self, options: Any) -> None: ...

    @abstractmethod
    def open(self) -> TriggerInfo:
        """Open the port, identify the device, switch every output off.

        Raises:
            TriggerNotInstalledError: The package that the driver needs is missing.
            TriggerNotOpenError: No such port, it is in use, nothing answers, or another device or version does.
        """

    @abstractmethod
    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Send one pulse command and return at once.

        Args:
            pulse: What to put out.
            command_id: 32-bit unsigned, unique in the session; comes back in the acknowledgement.
            expires_ns: Host monotonic clock, ns; a receiver that gets the command later must not act on it.

        Raises:
            TriggerFailedError: The port is gone.
            TriggerTimeoutError: The port would not take the bytes.
        """

    def extend(self, channel: int, extended_id: int, command_id: int, expires_ns: int) -> FireReceipt:  # noqa: ARG002
        """Let what runs on a channel last its own duration from now on, without an edge for that; return at once.

        Only where `TriggerInfo.extends` says so. A device refuses it where it would exceed one of its limits, counted
        from the first edge on: then what runs ends when it was to end. `poll` reports `over` if it has ended already.

        Args:
            channel: Output.
            extended_id: Command id of the `fire` whose pulse or train is to be extended.
            command_id: As in `fire`, and greater than those before it.
            expires_ns: As in `fire`.

        Raises:
            TriggerFailedError: The port is gone, or the device cannot do this.
            TriggerTimeoutError: The port would not take the bytes.
        """
        raise TriggerFailedError(f"{type(self).__name__}: cannot extend what runs on channel {channel}")

    @abstractmethod
    def poll(self) -> tuple[TriggerEvent, ...]:
        """Read what the device reported, send the heartbeat if one is due, and return at once.

        Failures come back as events of kind `fault`; this never raises.
        """

    @property
    def failure(self) -> str:
        """Why it can't be used any more until it is opened again; the empty string as far as it knows of nothing."""
        return ""

    @abstractmethod
    def stop(self, channel: int) -> bool:
        """Switch one channel off now. Raises as `fire` does.

        Returns:
            Whether `poll` will report `stopped` once the device has acknowledged it, as `acknowledges_stop` says. Until
            then the channel may still be on.
        """

    @abstractmethod
    def all_off(self) -> None:
        """Switch every output off now. Does everything it can and never raises."""

    @abstractmethod
    def close(self) -> None:
        """Switch every output off and release the port. May be called twice."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
