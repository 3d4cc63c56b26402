"""What drivers of foreign devices on a serial port share, where each command has an answer and the host keeps the time.

Such a device has no dead-man switch, does not know when a command expires, and does not always refuse a pulse on a busy
channel. What it leaves out is refused here, before anything is sent.
"""

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from triggers.base import FireReceipt, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerTimeoutError
from triggers.port_trigger import PortTrigger
from triggers.pulse import Pulse
from triggers.serial_port import SerialPort

_MAX_UNANSWERED_BYTES = 512  # A port's buffer takes 4096 and more.
_MAX_UNANSWERED_BYTES_OFF = 1024
_CLOCK_ERROR = 1 / 1000  # Between two crystals at their worst, and more.


class AnsweringOptions(BaseModel):
    """Settings of every such driver.

    Attributes:
        port: Device file; a name from `/dev/serial/by-id` stays the same when cables are moved.
        ack_timeout_ms: An answer later than this is a fault, ms.
        alive_ms: An idle device is asked this often whether it still answers, ms.
        open_wait_s: How long the device may take for its first answer, s.
        max_duration_ms: A longer pulse or train is refused, ms. The device plays what it was given to its end even if
            the host dies meanwhile, so this is how long an output can then stay on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    port: str = Field(min_length=1)
    ack_timeout_ms: int = Field(default=100, ge=1, le=10_000)
    alive_ms: int = Field(default=250, ge=1, le=60_000)
    open_wait_s: float = Field(default=2.0, gt=0.0, le=30.0)
    max_duration_ms: int = Field(default=10_000, ge=1, le=3_600_000)


@dataclass(slots=True)
class Awaited:
    """One answer that is still to come.

    Attributes:
        key: What the driver knows it by.
        command_id: Of the pulse that it acknowledges, or None.
        pulse: That pulse, or None.
        frees: Channels that are off once it is here.
        stops: The channel whose `stop` it acknowledges, or None.
        n_bytes: How many bytes the device has read once it is here that it had not read before.
        sent_ns: Host monotonic clock, ns.
        is_overdue: True once it was reported as missing.
    """

    key: Any
    command_id: int | None = None
    pulse: Pulse | None = None
    frees: tuple[int, ...] = ()
    stops: int | None = None
    n_bytes: int = 0
    sent_ns: int = 0
    is_overdue: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """Bytes for the device.

    Attributes:
        data: The bytes.
        answers: What the device will answer to them, in order.
        settings: What the device has once it has read them.
    """

    data: bytes
    answers: tuple[Awaited, ...]
    settings: Mapping[Any, int] = field(default_factory=dict)


class AnsweringTrigger(PortTrigger):
    """A device that answers each command in order. A driver says what its commands and answers look like.

    Args:
        options: Settings.
        now_ns: Host monotonic clock, ns.
    """

    BAUD_RATE: ClassVar[int]
    BUSY_MARGIN_NS: ClassVar[int] = 200_000  # A pulse may last this much longer than asked.

    def __init__(self, options: AnsweringOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._settings = options
        super().__init__(options.port, self.BAUD_RATE, now_ns)

    def _begin(self) -> None:
        super()._begin()
        self._n_unanswered_bytes = 0
        self._awaited: deque[Awaited] = deque()
        self._busy_until_ns: dict[int, int | None] = {}  # By channel; None = not known before its answer is here.
        self._device_has: dict[Any, int] = {}  # Its settings as far as they are known, so that none is sent twice.
        self._asked_ns = 0

    # --- what a driver says ---

    @abstractmethod
    def _identify(self, port: SerialPort) -> Mapping[str, Any]:
        """Find out what the device is, switch everything off, and return what it said; may wait `open_wait_s`."""

    @abstractmethod
    def _why_impossible(self, pulse: Pulse) -> str | None:
        """Return why the device cannot put out this pulse, or None."""

    @abstractmethod
    def _pulse_command(self, pulse: Pulse, command_id: int) -> Command:
        """Return what starts a pulse; one of its answers names `command_id` and the pulse."""

    @abstractmethod
    def _stop_command(self, channel: int) -> Command:
        """Return what switches one channel off."""

    @abstractmethod
    def _off_command(self) -> Command:
        """Return what switches every channel off."""

    @abstractmethod
    def _alive_command(self) -> Command:
        """Return what the device answers and nothing else."""

    # --- opening ---

    def _greet(self, port: SerialPort) -> TriggerInfo:
        device = self._identify(port)
        self._asked_ns = self._now_ns()
        return TriggerInfo(
            self.NAME, self._settings.port, device, acknowledges=True, dead_man_ms=None, acknowledges_stop=True
        )

    # --- commands ---

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Send one pulse command and return at once; its answer comes from `poll`.

        What the device could not do as asked is not sent: the receipt says so, and `poll` reports why.
        """
        self._usable_port()
        now_ns = self._now_ns()
        why = self._why_refused(pulse, now_ns, expires_ns)
        if why is not None:
            self._report("refused", command_id, now_ns, f"{self._where()}: {why}")
            return FireReceipt(command_id, now_ns, delivered=False)
        sent_ns = self._send(self._pulse_command(pulse, command_id))
        self._busy_until_ns[pulse.channel] = None
        return FireReceipt(command_id, sent_ns)

    def stop(self, channel: int) -> bool:
        """Switch one channel off now; its answer comes from `poll`, and a missing one is a fault."""
        self._usable_port()
        command = self._stop_command(channel)
        self._send(command)
        return any(answer.stops == channel for answer in command.answers)

    def all_off(self) -> None:
        """Switch every output off now, behind the few commands that the device may not have read yet."""
        if self._port is None:
            return
        with suppress(TriggerFailedError, TriggerTimeoutError):  # `poll` reports the one; with the other, many wait.
            self._send(self._off_command(), _MAX_UNANSWERED_BYTES_OFF)

    def _is_off_unanswered(self) -> bool:
        return bool(self._awaited)  # What waits before it is answered first.

    def _why_refused(self, pulse: Pulse, now_ns: int, expires_ns: int) -> str | None:
        if now_ns > expires_ns:
            return "the command came too late"
        if pulse.duration_us > self._settings.max_duration_ms * 1000:
            return (
                f"expected a pulse of at most max_duration_ms = {self._settings.max_duration_ms} ms, got "
                f"{pulse.duration_us / 1000:g} ms; the device would play it to its end even without its host"
            )
        why = self._why_impossible(pulse)
        if why is None and self._is_busy(pulse.channel, now_ns):
            return "the channel is still busy with an earlier pulse"
        return why

    def _is_busy(self, channel: int, now_ns: int) -> bool:
        if channel not in self._busy_until_ns:
            return False
        until_ns = self._busy_until_ns[channel]
        return until_ns is None or now_ns < until_ns

    def _send(self, command: Command, max_unanswered_bytes: int = _MAX_UNANSWERED_BYTES) -> int:
        """Send a command and expect its answers; return when it was sent, ns.

        So little waits unanswered that the port's buffer always has room for a whole command. A part of one would leave
        the device waiting for the rest, and take the next command for it.
        """
        assert self._port is not None  # noqa: S101  # Its callers have looked.
        if self._n_unanswered_bytes + len(command.data) > max_unanswered_bytes:
            raise TriggerTimeoutError(
                f"{self._where()}: {self._n_unanswered_bytes} bytes were sent and not answered; the device no longer "
                "does what it is told"
            )
        try:
            self._port.write(command.data)
        except (TriggerFailedError, TriggerTimeoutError) as error:
            self._fail(str(error))
            raise
        self._n_unanswered_bytes += len(command.data)
        self._device_has.update(command.settings)
        sent_ns = self._now_ns()
        if self._failure is None:
            command.answers[-1].n_bytes = len(command.data)
            for answer in command.answers:
                answer.sent_ns = sent_ns
            self._awaited.extend(command.answers)
        return sent_ns

    # --- what comes back ---

    def _attend(self, now_ns: int) -> None:
        self._check_overdue(now_ns)
        self._ask_whether_alive(now_ns)

    def _answer(self, awaited: Awaited, now_ns: int, device_us: int | None = None) -> None:
        """Take note of an answer that is here and no longer among those awaited."""
        self._n_unanswered_bytes -= awaited.n_bytes
        started_later = {later.pulse.channel for later in self._awaited if later.pulse is not None}
        for channel in set(awaited.frees) - started_later:
            self._busy_until_ns.pop(channel, None)
        if awaited.pulse is not None:
            # It started before its answer came, so it is over by then.
            duration_ns = awaited.pulse.duration_us * 1000
            over_ns = now_ns + duration_ns + int(duration_ns * _CLOCK_ERROR) + self.BUSY_MARGIN_NS
            self._busy_until_ns[awaited.pulse.channel] = over_ns
        detail = "after the time-out" if awaited.is_overdue else ""
        if awaited.command_id is not None:
            self._report("ack", awaited.command_id, now_ns, detail, device_us)
        if awaited.stops is not None and all(later.stops != awaited.stops for later in self._awaited):
            self._report("stopped", None, now_ns, detail, device_us, awaited.stops)

    def _check_overdue(self, now_ns: int) -> None:
        for awaited in self._awaited:
            if now_ns - awaited.sent_ns <= self._settings.ack_timeout_ms * 1_000_000:
                break
            if not awaited.is_overdue:
                awaited.is_overdue = True
                self._report("fault", awaited.command_id, now_ns, self._overdue_text(awaited))

    def _overdue_text(self, awaited: Awaited) -> str:
        what = "the device"
        if awaited.command_id is not None:
            what = f"command {awaited.command_id}"
        elif awaited.frees:
            what = "the command to switch off"
        verb = "did not answer" if what == "the device" else "was not answered"
        return f"{self._where()}: {what} {verb} within {self._settings.ack_timeout_ms} ms"

    def _ask_whether_alive(self, now_ns: int) -> None:
        if self._awaited or now_ns - self._asked_ns < self._settings.alive_ms * 1_000_000:
            return
        self._asked_ns = now_ns
        with suppress(TriggerFailedError, TriggerTimeoutError):  # `_send` has reported it.
            self._send(self._alive_command())
