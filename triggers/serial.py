"""Driver `serial`: a microcontroller that speaks the protocol of `triggers.wire`."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from triggers import wire
from triggers.base import EventKind, FireReceipt, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerNotOpenError, TriggerTimeoutError
from triggers.port_trigger import PortTrigger
from triggers.pulse import Pulse
from triggers.serial_port import SerialPort
from triggers.serial_slots import Slots

_HELLO_EVERY_S = 0.25
_MAX_EXPIRY_NS = 2**30 * 1_000_000  # Half of what a 32-bit count of ms can tell from the past.
_MAX_FIRE_EXPIRY_NS = (wire.FIRE_AHEAD_MS - 1_000) * 1_000_000  # The device's idea of our clock may be a little behind.
_FIRE_ID_MASK = (1 << wire.FIRE_ID_BITS) - 1
_MAX_UNANSWERED_IDS = 1 << wire.FIRE_ID_BITS - 1  # What the device can tell from an id that was there before.
_PULSES = {wire.PulseTrain.TYPE, wire.Fire.TYPE, wire.Extend.TYPE}

_REFUSALS: dict[int, str] = {
    wire.RefusalReason.NO_HELLO: "the device restarted and was not greeted since",
    wire.RefusalReason.EXPIRED: "the command came too late",
    wire.RefusalReason.BUSY: "the channel is still busy with an earlier pulse",
    wire.RefusalReason.BAD_CHANNEL: "the device has no such channel",
    wire.RefusalReason.BAD_VALUE: "the pulse's times contradict one another",
    wire.RefusalReason.MAX_ON: "the pulse is longer than the device's longest on-time",
    wire.RefusalReason.MAX_DUTY: "the pulse would exceed the device's share of on-time",
    wire.RefusalReason.NO_SLOT: "the device has forgotten the pulse that was stored on it",
    wire.RefusalReason.REPLAYED: "the device has had this command, or a later one, before",
    wire.RefusalReason.NOT_RUNNING: "the channel does not run what was to be extended",
}
_FORGOTTEN = {wire.RefusalReason.NO_HELLO, wire.RefusalReason.NO_SLOT, wire.RefusalReason.REPLAYED}
_UNANSWERED = {wire.Program.TYPE: "the command to store a pulse"}
_STOP_SENDS = 3  # Within the time that an answer has: a Stop that the line lost costs a third of it, not the session.
_ENDS_AS_ASKED = {wire.EndReason.FINISHED, wire.EndReason.STOPPED, wire.EndReason.ALL_OFF}


class SerialOptions(BaseModel):
    """Settings of driver `serial`.

    Attributes:
        port: Device file; a name from `/dev/serial/by-id` stays the same when cables are moved.
        baud_rate: Bits a second, as in the firmware.
        heartbeat_ms: A sign of life is sent this often, ms; at most half of the device's dead-man time.
        ack_timeout_ms: An answer later than this is a fault, ms.
        boot_wait_s: How long the device may take to answer after the port was opened, s; an Arduino Uno restarts then.
        max_on_ms: Lowers the device's longest unbroken on-time, ms.
        max_duty: Lowers the share of time that a channel may be on, 0–1.
        dead_man_ms: Lowers the time after which the device switches off by itself, ms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    port: str = Field(min_length=1)
    baud_rate: int = Field(default=115_200, ge=1200)
    heartbeat_ms: int = Field(default=20, ge=1, le=10_000)
    ack_timeout_ms: int = Field(default=100, ge=1, le=10_000)
    boot_wait_s: float = Field(default=3.0, gt=0.0, le=30.0)
    max_on_ms: int | None = Field(default=None, ge=1, le=3_600_000)
    max_duty: float | None = Field(default=None, gt=0.0, le=1.0)
    dead_man_ms: int | None = Field(default=None, ge=1, le=0xFFFF)


@dataclass(slots=True)
class _Stop:
    """The latest Stop of a channel, as long as it is not answered."""

    message: wire.Stop
    n_sends: int = 1


class SerialTrigger(PortTrigger):
    """A stimulator on a serial port.

    A pulse that is new goes out whole; once it is acknowledged it is stored on the device, if that can store pulses,
    and from then on a frame of nine bytes fires it.

    Args:
        options: Settings.
        now_ns: Host monotonic clock, ns.
    """

    Options: ClassVar[type[BaseModel]] = SerialOptions
    NAME = "serial"

    def __init__(self, options: SerialOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._options = options
        super().__init__(options.port, options.baud_rate, now_ns)

    def _begin(self) -> None:
        super()._begin()
        self._parser = wire.Parser()
        self._last_id = 0
        self._pending: dict[tuple[int, int], int] = {}  # (type, id) of commands not yet answered → sent_ns, in order.
        self._beat_ns = 0
        self._unanswered_ns: int | None = None  # When the oldest heartbeat since the last answer was sent.
        self._silent = False
        self._device_us: int | None = None
        self._stops: dict[int, _Stop] = {}  # By channel.
        self._slots = Slots(0)
        self._extends = False
        self._to_store: dict[int, Pulse] = {}  # Command's id → what it put out, until it is answered.
        self._fired_id = -1
        self._answered_id: int | None = None  # The newest id that the device is known to know.
        self._written_ns = 0
        self._forgets_after_ns = 0

    # --- opening ---

    def _greet(self, port: SerialPort) -> TriggerInfo:
        identity = self._identify(port)
        firmware = identity.firmware_major, identity.firmware_minor
        n_slots = wire.N_SLOTS if firmware >= wire.STORES_SINCE else 0
        self._slots = Slots(n_slots)
        self._extends = firmware >= wire.EXTENDS_SINCE
        self._forgets_after_ns = identity.dead_man_ms * 500_000  # Half of it, to be sure.
        self._beat(port, self._now_ns())
        return TriggerInfo(
            driver=self.NAME,
            address=self._options.port,
            device={
                "name": identity.name,
                "firmware": f"{identity.firmware_major}.{identity.firmware_minor}",
                "protocol": wire.PROTOCOL_VERSION,
                "n_channels": identity.n_channels,
                "max_on_us": identity.max_on_us,
                "max_duty": identity.max_duty_permille / 1000,
                "duty_window_ms": identity.duty_window_ms,
                "n_stored_pulses": n_slots,
            },
            acknowledges=True,
            dead_man_ms=identity.dead_man_ms,
            acknowledges_stop=True,
            extends=self._extends,
        )

    def _identify(self, port: SerialPort) -> wire.Identity:
        """Say hello and lower the limits; return what the device says of itself."""
        options = self._options
        identity = self._ask(port, lambda: wire.Hello(self._next_id(), self._host_ms()))
        if (options.max_on_ms, options.max_duty, options.dead_man_ms) != (None, None, None):
            limits = wire.Limits(
                self._next_id(),
                max_on_us=wire.U32 if options.max_on_ms is None else options.max_on_ms * 1000,
                max_duty_permille=1000 if options.max_duty is None else int(options.max_duty * 1000),
                dead_man_ms=0xFFFF if options.dead_man_ms is None else options.dead_man_ms,
            )
            identity = self._ask(port, lambda: limits)
        if 2 * options.heartbeat_ms > identity.dead_man_ms:
            raise TriggerNotOpenError(
                f"{self._where()}: expected heartbeat_ms of at most half the device's dead-man time of "
                f"{identity.dead_man_ms} ms, got {options.heartbeat_ms} ms; it would switch off between two heartbeats"
            )
        return identity

    def _ask(self, port: SerialPort, question: Callable[[], wire.Hello | wire.Limits]) -> wire.Identity:
        """Ask until the device says what it is; while it starts it hears nothing."""
        n_bytes = 0
        asked: set[int] = set()
        ask_again_s = 0.0
        deadline_s = time.monotonic() + self._options.boot_wait_s
        while (now_s := time.monotonic()) < deadline_s:
            if now_s >= ask_again_s:
                message = question()
                asked.add(message.id)
                port.write(wire.encode(message))
                ask_again_s = now_s + _HELLO_EVERY_S
            port.wait(min(0.02, deadline_s - now_s))
            data = port.read()
            n_bytes += len(data)
            for answer in self._parser.feed(data):
                if isinstance(answer, wire.OtherVersion):
                    raise TriggerNotOpenError(
                        f"{self._where()}: expected protocol version {wire.PROTOCOL_VERSION}, got version "
                        f"{answer.version}; put the firmware of this release on the device"
                    )
                if isinstance(answer, wire.Boot):
                    ask_again_s = 0.0
                elif isinstance(answer, wire.Identity) and answer.id in asked:
                    return answer
        raise TriggerNotOpenError(
            f"{self._where()}: expected an answer within {self._options.boot_wait_s:g} s, got {n_bytes} bytes that "
            f"make no sense; is our firmware on the device, and is its baud rate {self._options.baud_rate}?"
        )

    # --- commands ---

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Send one pulse command and return at once; its answer comes from `poll`."""
        port = self._usable_port()
        now_ns = self._now_ns()
        slot = self._slot_for(pulse, command_id, expires_ns, now_ns)
        if slot is None:
            kind = wire.PulseTrain.TYPE
            data = wire.encode(
                wire.PulseTrain(command_id, **_fields(pulse), expires_ms=_expires_ms(expires_ns, now_ns))
            )
        else:
            kind = wire.Fire.TYPE
            data = wire.fire_frame(command_id & _FIRE_ID_MASK, slot, expires_ns // 1_000_000 & 0xFFFF)
        sent_ns = self._write(port, data)
        self._pending[kind, command_id] = sent_ns
        self._fired_id = command_id
        if slot is None:
            self._to_store[command_id] = pulse
        else:
            self._slots.use(slot)
        if pulse.channel in self._stops:
            self._stops[pulse.channel].n_sends = _STOP_SENDS  # Sent again, it would end this pulse.
        return FireReceipt(command_id, sent_ns)

    def extend(self, channel: int, extended_id: int, command_id: int, expires_ns: int) -> FireReceipt:
        """Send the command that lets what runs last longer and return at once; its answer comes from `poll`."""
        port = self._usable_port()
        if not self._extends:
            return super().extend(channel, extended_id, command_id, expires_ns)
        message = wire.Extend(command_id, channel, extended_id, _expires_ms(expires_ns, self._now_ns()))
        self._command(port, message)
        self._fired_id = command_id
        return FireReceipt(command_id, self._written_ns)

    def _slot_for(self, pulse: Pulse, command_id: int, expires_ns: int, now_ns: int) -> int | None:
        """Return the slot to fire from, or None unless the device has the pulse and a `Fire` can say it all."""
        if now_ns - self._written_ns >= self._forgets_after_ns:
            self._slots.forget()
        if self._answered_id is None or not self._fired_id < command_id < self._answered_id + _MAX_UNANSWERED_IDS:
            return None
        return self._slots.find(pulse) if abs(expires_ns - now_ns) < _MAX_FIRE_EXPIRY_NS else None

    def _store(self, port: SerialPort, pulse: Pulse) -> None:
        """Have the device store a pulse, unless it can't or does already."""
        frame_id = self._next_id()
        slot = self._slots.ask(pulse, frame_id)
        if slot is None:
            return
        try:
            self._command(port, wire.Program(frame_id, slot, **_fields(pulse)))
        except (TriggerFailedError, TriggerTimeoutError):  # One is reported already; the other costs but some speed.
            self._slots.not_stored(frame_id)

    def stop(self, channel: int) -> bool:
        """Switch one channel off now; `poll` sends it again if it is not answered; no answer at all is a fault."""
        message = wire.Stop(self._next_id(), channel)
        self._command(self._usable_port(), message)
        self._stops[channel] = _Stop(message)
        return True

    def all_off(self) -> None:
        """Switch every output off now, ahead of anything that still waits in the port's buffer."""
        if self._port is None:
            return
        message = wire.AllOff(self._next_id())
        # `poll` reports a failure; the device's dead-man switch does the rest.
        with suppress(TriggerFailedError, TriggerTimeoutError):
            try:
                self._command(self._port, message)
            except TriggerTimeoutError:
                self._port.drop_output()
                self._command(self._port, message)

    def _is_off_unanswered(self) -> bool:
        return any(kind == wire.AllOff.TYPE for kind, _ in self._pending)

    def _command(self, port: SerialPort, message: wire.Program | wire.Extend | wire.Stop | wire.AllOff) -> None:
        """Send a command that is to be answered."""
        self._pending[message.TYPE, message.id] = self._write(port, wire.encode(message))

    def _write(self, port: SerialPort, data: bytes) -> int:
        """Send a frame; return when it was sent, ns."""
        try:
            port.write(data)
        except TriggerFailedError as error:
            self._fail(str(error))
            raise
        self._written_ns = self._now_ns()
        return self._written_ns

    # --- what comes back ---

    def _attend(self, now_ns: int) -> None:
        self._check_overdue(now_ns)
        if self._port is not None and self._stops:
            self._repeat_stops(self._port, now_ns)
        if self._port is not None and now_ns - self._beat_ns >= self._options.heartbeat_ms * 1_000_000:
            self._beat(self._port, now_ns)

    def _take(self, data: bytes, now_ns: int) -> None:
        for message in self._parser.feed(data):
            self._unanswered_ns = None
            self._silent = False
            match message:
                case wire.Ack():
                    self._on_ack(message, now_ns)
                case wire.Refused():
                    self._on_refused(message, now_ns)
                case wire.Done() if message.reason not in _ENDS_AS_ASKED:
                    detail = f"{self._where()}: {_end_text(message.reason)}"
                    self._report("fault", message.id, now_ns, detail, self._unwrap(message.device_us))
                case wire.Boot():
                    self._fail(
                        f"{self._where()}: the device restarted by itself, its outputs are off; "
                        "look for a loose cable or a weak supply, then start again"
                    )
                case _:
                    pass

    def _on_ack(self, ack: wire.Ack, now_ns: int) -> None:
        in_time = self._pending.pop((ack.answered, ack.id), None) is not None
        if ack.answered in _PULSES:
            self._answered_id = ack.id
            pulse = self._to_store.pop(ack.id, None)
            if pulse is not None and self._port is not None:
                self._store(self._port, pulse)
            self._report("ack", ack.id, now_ns, "" if in_time else "after the time-out", self._unwrap(ack.device_us))
            return
        device_us = self._unwrap(ack.device_us)
        if ack.answered == wire.Program.TYPE:
            self._slots.stored(ack.id)
        elif ack.answered == wire.Stop.TYPE:
            for channel in [channel for channel, stop in self._stops.items() if stop.message.id == ack.id]:
                del self._stops[channel]
                self._report("stopped", None, now_ns, "" if in_time else "after the time-out", device_us, channel)

    def _on_refused(self, refused: wire.Refused, now_ns: int) -> None:
        self._pending.pop((refused.answered, refused.id), None)
        if refused.answered == wire.Program.TYPE:
            self._slots.not_stored(refused.id)
            return  # No stimulus depends on it.
        if refused.reason in _FORGOTTEN:
            self._slots.forget()
        command_id = refused.id if refused.answered in _PULSES else None
        if command_id is not None:
            self._to_store.pop(command_id, None)
        detail = f"{self._where()}: {_REFUSALS.get(refused.reason, f'refused, reason {refused.reason}')}"
        kind: EventKind = "over" if refused.reason == wire.RefusalReason.NOT_RUNNING else "refused"
        self._report(kind, command_id, now_ns, detail, self._unwrap(refused.device_us))

    def _check_overdue(self, now_ns: int) -> None:
        """Report every command, and a run of heartbeats once, that should have been answered by now."""
        limit_ns = self._options.ack_timeout_ms * 1_000_000
        late = f"within {self._options.ack_timeout_ms} ms"
        while self._pending:
            (kind, identifier), sent_ns = next(iter(self._pending.items()))
            if now_ns - sent_ns <= limit_ns:
                break
            del self._pending[kind, identifier]
            is_pulse = kind in _PULSES
            what = f"command {identifier}" if is_pulse else _UNANSWERED.get(kind, "the command to switch off")
            if is_pulse:
                self._to_store.pop(identifier, None)
            elif kind == wire.Program.TYPE:
                self._slots.not_stored(identifier)
            detail = f"{self._where()}: {what} was not answered {late}"
            self._report("fault", identifier if is_pulse else None, now_ns, detail)
        if self._unanswered_ns is not None and now_ns - self._unanswered_ns > limit_ns and not self._silent:
            self._silent = True
            self._slots.forget()
            detail = f"{self._where()}: the device did not answer the heartbeat {late}"
            self._report("fault", None, now_ns, detail)

    def _repeat_stops(self, port: SerialPort, now_ns: int) -> None:
        """Send every Stop again that should have been answered by now and may still be in time."""
        every_ns = self._options.ack_timeout_ms * 1_000_000 // _STOP_SENDS
        for stop in self._stops.values():
            sent_ns = self._pending.get((stop.message.TYPE, stop.message.id))
            if sent_ns is None or stop.n_sends == _STOP_SENDS or now_ns - sent_ns <= stop.n_sends * every_ns:
                continue
            stop.n_sends += 1
            with suppress(TriggerFailedError, TriggerTimeoutError):  # One is reported already, the other as overdue.
                self._write(port, wire.encode(stop.message))

    def _beat(self, port: SerialPort, now_ns: int) -> None:
        self._beat_ns = now_ns
        if self._unanswered_ns is None:
            self._unanswered_ns = now_ns
        with suppress(TriggerFailedError, TriggerTimeoutError):  # One is reported already, the other as silence.
            self._write(port, wire.encode(wire.Heartbeat(self._next_id(), self._host_ms())))

    def _unwrap(self, device_us: int) -> int:
        """Return the device's clock without its overflow every 71 minutes, µs."""
        last_us = device_us if self._device_us is None else self._device_us
        self._device_us = last_us + wire.signed_difference(device_us, last_us)
        return self._device_us

    def _next_id(self) -> int:
        self._last_id = (self._last_id + 1) & wire.U32
        return self._last_id

    def _host_ms(self) -> int:
        return self._now_ns() // 1_000_000 & wire.U32


def _expires_ms(expires_ns: int, now_ns: int) -> int:
    return min(expires_ns, now_ns + _MAX_EXPIRY_NS) // 1_000_000 & wire.U32


def _fields(pulse: Pulse) -> dict[str, int]:
    """Return what a frame says of a pulse, in whole µs."""
    fields = {
        "channel": pulse.channel,
        "intensity": round(pulse.intensity * wire.FULL_INTENSITY),
        "duration_us": pulse.duration_us,
        "period_us": 0,
        "width_us": 0,
    }
    if pulse.train_hz is not None and pulse.width_us is not None:
        fields["period_us"] = max(round(1e6 / pulse.train_hz), pulse.width_us + 1)
        fields["width_us"] = pulse.width_us
    return fields


def _end_text(reason: int) -> str:
    if reason == wire.EndReason.DEAD_MAN:
        return "the device heard nothing for its dead-man time and switched everything off"
    return f"the device cut the pulse, reason {reason}"
