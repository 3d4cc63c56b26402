"""A trigger whose device is on a serial port: what every such driver does to open, poll and close it."""

import time
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar

from triggers.base import EventKind, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerNotOpenError, TriggerTimeoutError
from triggers.serial_port import SerialPort

_CLOSE_WAIT_S = 0.03


class PortTrigger(Trigger):
    """A trigger on a serial port. A driver says how its device is greeted, and what its bytes mean.

    A failure (the port is gone, the device restarted) is for good: it is reported once, and `fire` raises it from then
    on until the trigger is opened again.

    Args:
        path: Device file.
        baud_rate: Bits a second.
        now_ns: Host monotonic clock, ns.
    """

    NAME: ClassVar[str]
    GOODBYE: ClassVar[bytes] = b""  # Sent last; not answered.

    def __init__(self, path: str, baud_rate: int, now_ns: Callable[[], int]) -> None:
        self._path = path
        self._baud_rate = baud_rate
        self._now_ns = now_ns
        self._port: SerialPort | None = None
        self._begin()

    def _begin(self) -> None:
        """Forget everything about an earlier session."""
        self._failure: str | None = None
        self._events: list[TriggerEvent] = []

    # --- what a driver says ---

    @abstractmethod
    def _greet(self, port: SerialPort) -> TriggerInfo:
        """Find out what the device is, switch everything off, and return what it is; may wait for it to start."""

    @abstractmethod
    def _take(self, data: bytes, now_ns: int) -> None:
        """Act on what came in."""

    @abstractmethod
    def _attend(self, now_ns: int) -> None:
        """Report answers that are overdue and send the sign of life that is due."""

    @abstractmethod
    def _is_off_unanswered(self) -> bool:
        """Return whether the answer to an `all_off` is still to come."""

    def _open_port(self) -> SerialPort:
        return SerialPort(self._path, self._baud_rate, self.NAME)

    # --- what they share ---

    def open(self) -> TriggerInfo:
        """Open and lock the port, find out what the device is, switch everything off; waits for the device to start."""
        if self._port is not None:
            raise TriggerNotOpenError(f"{self._where()}: already open here; close it first")
        self._begin()
        port = self._open_port()
        try:
            info = self._greet(port)
        except (TriggerFailedError, TriggerTimeoutError) as error:
            port.close()
            raise TriggerNotOpenError(str(error)) from error
        except BaseException:
            port.close()
            raise
        self._port = port
        return info

    def poll(self) -> tuple[TriggerEvent, ...]:
        """Read what the device said, send the sign of life if one is due, and return at once."""
        if self._port is not None and self._failure is None:
            self._read(self._port)
            if self._failure is None:
                self._attend(self._now_ns())
        events = tuple(self._events)
        self._events.clear()
        return events

    @property
    def failure(self) -> str:
        """Why it can't be used any more until it is opened again; the empty string as far as it knows of nothing."""
        return self._failure or ""

    def close(self) -> None:
        """Switch every output off, wait a moment for the answer, release the port."""
        if self._port is None:
            return
        self.all_off()
        deadline_s = time.monotonic() + _CLOSE_WAIT_S
        while self._failure is None and self._is_off_unanswered() and time.monotonic() < deadline_s:
            self._port.wait(0.005)
            self._read(self._port)
        if self._failure is None and self.GOODBYE:
            with suppress(TriggerFailedError, TriggerTimeoutError):  # Everything is off already.
                self._port.write(self.GOODBYE)
        self._port.close()
        self._port = None

    def _usable_port(self) -> SerialPort:
        if self._port is None:
            raise TriggerFailedError(f"{self._where()}: not open; open it first")
        if self._failure is not None:
            raise TriggerFailedError(self._failure)
        return self._port

    def _read(self, port: SerialPort) -> None:
        try:
            data = port.read()
        except TriggerFailedError as error:
            self._fail(str(error))
            return
        if data:
            self._take(data, self._now_ns())

    def _report(
        self,
        kind: EventKind,
        command_id: int | None,
        now_ns: int,
        detail: str,
        device_us: int | None = None,
        channel: int | None = None,
    ) -> None:
        self._events.append(TriggerEvent(kind, command_id, now_ns, device_us, detail, channel))

    def _fail(self, why: str) -> None:
        """From here on nothing can be fired; reported once."""
        if self._failure is None:
            self._failure = why
            self._report("fault", None, self._now_ns(), why)

    def _where(self) -> str:
        return f"{self.NAME} {self._path}"
