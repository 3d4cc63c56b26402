"""What a stimulator does, as a pure state machine: frames and a µs clock in, answers and pin edges out.

The simulated trigger runs it, and it is the reference for the firmware: whole-number arithmetic, no allocation that
grows, nothing that an Arduino Uno could not do.
"""

from collections.abc import Callable
from dataclasses import dataclass

from triggers import wire
from triggers.wire import EndReason, RefusalReason

_LEAK_MS = 128  # The estimate of the host's clock gives way by 1 ms in 128 ms: a ceramic resonator is 0.5 % off.


@dataclass(frozen=True, slots=True)
class DeviceSpec:
    """What is compiled into a device: its name and the caps that a host may lower and never raise.

    Attributes:
        name: Up to 16 ASCII characters.
        firmware: Version, (major, minor).
        n_channels: Outputs, 1–16.
        max_on_us: Longest unbroken on-time, µs.
        max_duty_permille: Largest share of time that a channel is on, ‰.
        duty_window_ms: Over which that share is reckoned, ms.
        dead_man_ms: Everything off this long after the last valid frame, ms.
    """

    name: str = "simulated"
    firmware: tuple[int, int] = (1, 2)
    n_channels: int = 8
    max_on_us: int = 10_000_000
    max_duty_permille: int = 1000
    duty_window_ms: int = 10_000
    dead_man_ms: int = 250


@dataclass(frozen=True, slots=True)
class Edge:
    """One change of one output.

    Attributes:
        device_us: Device clock, µs.
        channel: Output.
        on: True for a rising edge.
        intensity: 0–65535 while on, 0 when off.
        command_id: The command that caused it.
    """

    device_us: int
    channel: int
    on: bool
    intensity: int
    command_id: int


@dataclass(slots=True)
class _Train:
    """A pulse or train under way; an unbroken pulse is a train of one whose width and period are all that it lasts."""

    command_id: int
    channel: int
    intensity: int
    duration_us: int
    end_us: int
    period_us: int
    width_us: int
    on: bool
    rise_us: int
    next_us: int  # When something is to happen next.

    @property
    def is_unbroken(self) -> bool:
        return self.width_us == self.period_us

    def extend(self, now_us: int) -> None:
        """End as late as if it were as long as it was asked for and began now; all edges before that stay."""
        self.end_us = now_us + self.duration_us
        if self.is_unbroken:
            self.width_us = self.period_us = self.end_us - self.rise_us
        self.next_us = min(self.rise_us + (self.width_us if self.on else self.period_us), self.end_us)


class Device:
    """A stimulator: pulse trains, caps, refusal of expired commands, and a dead-man switch.

    Call `receive` when bytes have come in and `advance` when `next_due_us` has come; both return the bytes to send
    back. Times never go backwards.

    Args:
        spec: Name and caps.
        on_edge: Called with every change of an output, in order.
        on_command: Called with every valid frame of a host and the device's time, µs, before it is acted on; a `Fire`
            comes as the `PulseTrain` that it stands for, if its slot holds one.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        on_edge: Callable[[Edge], None],
        on_command: Callable[[wire.HostMessage, int], None],
    ) -> None:
        self._spec = spec
        self._on_edge = on_edge
        self._on_command = on_command
        self._parser = wire.Parser()
        self._trains: dict[int, _Train] = {}
        self._out = bytearray()
        self._greeted = False
        self._alive_us = 0
        self._clock = _HostClock()
        self._slots: dict[int, wire.Program] = {}
        self._newest_id = 0
        self._max_on_us = spec.max_on_us
        self._max_duty_permille = spec.max_duty_permille
        self._dead_man_ms = spec.dead_man_ms
        self._budgets = [_DutyBudget(spec.duty_window_ms) for _ in range(spec.n_channels)]

    def boot(self) -> bytes:
        """Return what a device sends once it has started."""
        return wire.encode(wire.Boot(0))

    @property
    def outputs(self) -> int:
        """Bit n is set while channel n runs a pulse or train."""
        return sum(1 << channel for channel in self._trains)

    @property
    def next_due_us(self) -> int | None:
        """When `advance` is to be called next, µs, or None while every output is idle."""
        if not self._trains:
            return None
        return min(self._dead_us, *(train.next_us for train in self._trains.values()))

    def advance(self, now_us: int) -> bytes:
        """Carry out everything that is due by `now_us`, in order."""
        while (due_us := self.next_due_us) is not None and due_us <= now_us:
            if due_us == self._dead_us:
                self._end_all(due_us, EndReason.DEAD_MAN)
                break
            self._step(min(self._trains.values(), key=lambda train: train.next_us))
        return self._take_out()

    def receive(self, data: bytes, now_us: int) -> bytes:
        """Take bytes that came in and act on the frames that they complete."""
        messages = self._parser.feed(data)
        if messages:
            if now_us >= self._dead_us:
                self._slots.clear()  # What waited so long that 16 bits of expiry may not tell finds nothing to fire.
            self._alive_us = now_us
        answers = self.advance(now_us)
        for message in messages:
            self._handle(message, now_us)
        return answers + self._take_out()

    @property
    def _dead_us(self) -> int:
        return self._alive_us + self._dead_man_ms * 1000

    def _take_out(self) -> bytes:
        out = bytes(self._out)
        self._out.clear()
        return out

    def _send(self, message: wire.DeviceMessage) -> None:
        self._out += wire.encode(message)

    # --- commands ---

    def _handle(self, message: wire.Message | wire.OtherVersion, now_us: int) -> None:
        match message:
            case wire.OtherVersion():
                self._send(self._identity(0))  # Its header tells the host which version is spoken here.
                return
            case wire.Boot() | wire.Identity() | wire.Ack() | wire.Refused() | wire.Done():
                return  # An echo.
        if isinstance(message, wire.Fire):
            self._fire(message, now_us)
            return
        self._on_command(message, now_us)
        match message:
            case wire.Hello():
                self._begin(message, now_us)
                self._send(self._identity(message.id))
            case wire.Limits():
                self._lower(message, now_us)
                self._send(self._identity(message.id))
            case wire.PulseTrain():
                self._newest_id = message.id
                self._start_if_allowed(message, message.TYPE, now_us)
            case wire.Program():
                self._store_if_allowed(message, now_us)
            case wire.Extend():
                self._extend_if_allowed(message, now_us)
            case wire.Stop():
                if message.channel >= self._spec.n_channels:
                    self._refuse(message.id, message.TYPE, RefusalReason.BAD_CHANNEL, now_us)
                    return
                self._end(message.channel, now_us, EndReason.STOPPED)
                self._acknowledge(message.id, message.TYPE, now_us)
            case wire.AllOff():
                self._end_all(now_us, EndReason.ALL_OFF)
                self._acknowledge(message.id, message.TYPE, now_us)
            case wire.Heartbeat():
                self._clock.observe(message.host_ms, now_us // 1000)
                self._acknowledge(message.id, message.TYPE, now_us)

    def _identity(self, identifier: int) -> wire.Identity:
        spec = self._spec
        return wire.Identity(
            identifier,
            *spec.firmware,
            n_channels=spec.n_channels,
            max_on_us=self._max_on_us,
            max_duty_permille=self._max_duty_permille,
            duty_window_ms=spec.duty_window_ms,
            dead_man_ms=self._dead_man_ms,
            name=spec.name,
        )

    def _acknowledge(self, identifier: int, answered: int, now_us: int) -> None:
        self._send(wire.Ack(identifier, answered, self.outputs, now_us & wire.U32))

    def _refuse(self, identifier: int, answered: int, reason: RefusalReason, now_us: int) -> None:
        self._send(wire.Refused(identifier, answered, reason, now_us & wire.U32))

    def _begin(self, hello: wire.Hello, now_us: int) -> None:
        self._end_all(now_us, EndReason.ALL_OFF)
        self._greeted = True
        self._slots.clear()
        self._newest_id = 0
        self._clock.start(hello.host_ms, now_us // 1000)
        self._max_on_us = self._spec.max_on_us
        self._dead_man_ms = self._spec.dead_man_ms
        self._set_duty(self._spec.max_duty_permille, now_us)

    def _lower(self, limits: wire.Limits, now_us: int) -> None:
        self._slots.clear()  # They hold only what the limits in force allow.
        self._max_on_us = min(self._max_on_us, limits.max_on_us)
        self._dead_man_ms = min(self._dead_man_ms, limits.dead_man_ms)
        self._set_duty(min(self._max_duty_permille, limits.max_duty_permille), now_us)

    def _set_duty(self, permille: int, now_us: int) -> None:
        self._max_duty_permille = permille
        for budget in self._budgets:
            budget.set_duty(permille, now_us)

    def _fire(self, fire: wire.Fire, now_us: int) -> None:
        """Act on the `PulseTrain` that a `Fire` stands for, if it is known and newer than every command before it."""
        step = wire.signed_difference(fire.id, self._newest_id, wire.FIRE_ID_BITS)
        identifier = (self._newest_id + step) & wire.U32
        if step > 0:
            self._newest_id = identifier  # Also if it is refused: it won't be carried out later.
        stored = self._slots.get(fire.slot)
        if stored is None:
            self._on_command(fire, now_us)
            reason = RefusalReason.NO_SLOT if self._greeted else RefusalReason.NO_HELLO
            self._refuse(identifier, fire.TYPE, reason, now_us)
            return
        pulse = wire.PulseTrain(
            identifier,
            channel=stored.channel,
            intensity=stored.intensity,
            duration_us=stored.duration_us,
            period_us=stored.period_us,
            width_us=stored.width_us,
            expires_ms=self._clock.whole(fire.expires_ms, now_us // 1000),
        )
        self._on_command(pulse, now_us)
        if step <= 0:
            self._refuse(identifier, fire.TYPE, RefusalReason.REPLAYED, now_us)
            return
        self._start_if_allowed(pulse, fire.TYPE, now_us)

    def _start_if_allowed(self, pulse: wire.PulseTrain, answered: int, now_us: int) -> None:
        reason = self._why_not(pulse, now_us)
        if reason is not None:
            self._refuse(pulse.id, answered, reason, now_us)
            return
        self._start(pulse, now_us)
        self._acknowledge(pulse.id, answered, now_us)

    def _extend_if_allowed(self, extend: wire.Extend, now_us: int) -> None:
        is_new = wire.signed_difference(extend.id, self._newest_id) > 0
        if is_new:
            self._newest_id = extend.id  # Also if it is refused.
        reason = self._why_not_extend(extend, now_us) if is_new or not self._greeted else RefusalReason.REPLAYED
        if reason is not None:
            self._refuse(extend.id, extend.TYPE, reason, now_us)
            return
        self._trains[extend.channel].extend(now_us)
        self._acknowledge(extend.id, extend.TYPE, now_us)

    def _why_not_extend(self, extend: wire.Extend, now_us: int) -> RefusalReason | None:
        """Return why what runs must not last longer, or None if it may."""
        if not self._greeted:
            return RefusalReason.NO_HELLO
        if extend.channel >= self._spec.n_channels:
            return RefusalReason.BAD_CHANNEL
        if self._clock.is_past(extend.expires_ms, now_us // 1000):
            return RefusalReason.EXPIRED
        train = self._trains.get(extend.channel)
        if train is None or train.command_id != extend.extends:
            return RefusalReason.NOT_RUNNING
        return self._cap_against_extending(train, now_us)

    def _cap_against_extending(self, train: _Train, now_us: int) -> RefusalReason | None:
        """Return the cap that stands against a longer train: what it has been on already counts as well."""
        phase_us = now_us - train.rise_us
        left_us = phase_us + train.duration_us  # From its last rising edge to its new end.
        if left_us > wire.U32:
            return RefusalReason.BAD_VALUE
        width_us = left_us if train.is_unbroken else min(train.width_us, left_us)
        if width_us > self._max_on_us:
            return RefusalReason.MAX_ON
        budget = self._budgets[train.channel]
        credit = budget.credit(now_us)
        on_us = max(0, width_us - phase_us)  # What is to come of the pulse under way; ...
        if not budget.allows(1, on_us, on_us, credit):
            return RefusalReason.MAX_DUTY
        if train.is_unbroken or left_us <= train.period_us:
            return None
        rest_us = left_us - train.period_us  # ... behind it comes a train as long as this.
        credit = budget.credit_after(credit, on_us, train.period_us - phase_us - on_us)
        if not budget.allows(-(-rest_us // train.period_us), train.period_us, min(width_us, rest_us), credit):
            return RefusalReason.MAX_DUTY
        return None

    def _store_if_allowed(self, program: wire.Program, now_us: int) -> None:
        reason = self._why_not_store(program)
        if reason is not None:
            self._refuse(program.id, program.TYPE, reason, now_us)
            return
        self._slots[program.slot] = program
        self._acknowledge(program.id, program.TYPE, now_us)

    def _why_not_store(self, program: wire.Program) -> RefusalReason | None:
        """Return why a pulse is not stored, or None if it may be."""
        if not self._greeted:
            return RefusalReason.NO_HELLO
        if program.slot >= wire.N_SLOTS:
            return RefusalReason.NO_SLOT
        if program.channel >= self._spec.n_channels:
            return RefusalReason.BAD_CHANNEL
        if _is_malformed(program):
            return RefusalReason.BAD_VALUE
        return self._exceeded_cap(program, None)

    def _why_not(self, pulse: wire.PulseTrain, now_us: int) -> RefusalReason | None:
        """Return why a pulse must not start, or None if it may."""
        if not self._greeted:
            return RefusalReason.NO_HELLO
        if pulse.channel >= self._spec.n_channels:
            return RefusalReason.BAD_CHANNEL
        if _is_malformed(pulse):
            return RefusalReason.BAD_VALUE
        if self._clock.is_past(pulse.expires_ms, now_us // 1000):
            return RefusalReason.EXPIRED
        if pulse.channel in self._trains:
            return RefusalReason.BUSY
        return self._exceeded_cap(pulse, now_us)

    def _exceeded_cap(self, pulse: wire.PulseTrain | wire.Program, now_us: int | None) -> RefusalReason | None:
        """Return the cap that stands against a pulse at `now_us`, or without it the one that always will."""
        period_us, width_us = _shape(pulse)
        width_us = min(width_us, pulse.duration_us)
        if width_us > self._max_on_us:
            return RefusalReason.MAX_ON
        n_pulses = -(-pulse.duration_us // period_us)
        budget = self._budgets[pulse.channel]
        credit = budget.full if now_us is None else budget.credit(now_us)
        if not budget.allows(n_pulses, period_us, width_us, credit):
            return RefusalReason.MAX_DUTY
        return None

    # --- outputs ---

    def _start(self, pulse: wire.PulseTrain, now_us: int) -> None:
        period_us, width_us = _shape(pulse)
        train = self._trains[pulse.channel] = _Train(
            command_id=pulse.id,
            channel=pulse.channel,
            intensity=pulse.intensity,
            duration_us=pulse.duration_us,
            end_us=now_us + pulse.duration_us,
            period_us=period_us,
            width_us=width_us,
            on=False,
            rise_us=now_us,
            next_us=now_us,
        )
        self._rise(train, now_us)

    def _step(self, train: _Train) -> None:
        """Carry out what is next for one channel: an edge, or the end."""
        now_us = train.next_us
        if now_us >= train.end_us:
            self._end(train.channel, now_us, EndReason.FINISHED)
        elif train.on:
            self._fall(train, now_us)
            train.next_us = min(train.rise_us + train.period_us, train.end_us)
        else:
            self._rise(train, now_us)

    def _rise(self, train: _Train, now_us: int) -> None:
        train.on = True
        train.rise_us = now_us
        train.next_us = min(now_us + train.width_us, train.end_us)
        self._budgets[train.channel].switch(True, now_us)
        self._on_edge(Edge(now_us, train.channel, True, train.intensity, train.command_id))

    def _fall(self, train: _Train, now_us: int) -> None:
        train.on = False
        self._budgets[train.channel].switch(False, now_us)
        self._on_edge(Edge(now_us, train.channel, False, 0, train.command_id))

    def _end(self, channel: int, now_us: int, reason: EndReason) -> None:
        train = self._trains.pop(channel, None)
        if train is None:
            return
        if train.on:
            self._fall(train, now_us)
        self._send(wire.Done(train.command_id, reason, now_us & wire.U32))

    def _end_all(self, now_us: int, reason: EndReason) -> None:
        for channel in sorted(self._trains):
            self._end(channel, now_us, reason)


def _is_malformed(pulse: wire.PulseTrain | wire.Program) -> bool:
    """Return whether the times contradict one another."""
    if pulse.duration_us == 0:
        return True
    if pulse.period_us == 0:
        return pulse.width_us != 0
    return not 0 < pulse.width_us < pulse.period_us


def _shape(pulse: wire.PulseTrain | wire.Program) -> tuple[int, int]:
    """Return period and width, µs."""
    return (pulse.period_us, pulse.width_us) if pulse.period_us else (pulse.duration_us, pulse.duration_us)


class _HostClock:
    """Where the host's clock stands, so that a command that waited in a buffer is known to be old.

    The smallest difference between the two clocks belongs to the frame that travelled fastest; what arrives with a
    larger one was under way for longer. The estimate gives way slowly, so that a host clock that runs slower than the
    device's is followed.
    """

    def __init__(self) -> None:
        self._offset_ms = 0
        self._leaked_ms = 0

    def start(self, host_ms: int, device_ms: int) -> None:
        """Begin with one frame of the host."""
        self._offset_ms = (device_ms - host_ms) & wire.U32
        self._leaked_ms = host_ms

    def observe(self, host_ms: int, device_ms: int) -> None:
        """Learn from another frame of the host."""
        leak = max(0, wire.signed_difference(host_ms, self._leaked_ms)) // _LEAK_MS
        self._leaked_ms = (self._leaked_ms + leak * _LEAK_MS) & wire.U32
        self._offset_ms = (self._offset_ms + leak) & wire.U32
        if wire.signed_difference(device_ms - host_ms, self._offset_ms) < 0:
            self._offset_ms = (device_ms - host_ms) & wire.U32

    def whole(self, low_ms: int, device_ms: int) -> int:
        """Return the time whose low 16 bits are given: up to `FIRE_AHEAD_MS` ahead of the host's clock, else past."""
        host_ms = device_ms - self._offset_ms
        ahead_ms = (low_ms - host_ms) & 0xFFFF
        return (host_ms + (ahead_ms if ahead_ms <= wire.FIRE_AHEAD_MS else ahead_ms - 0x1_0000)) & wire.U32

    def is_past(self, host_ms: int, device_ms: int) -> bool:
        """Return whether the host's clock has passed `host_ms`."""
        return wire.signed_difference(device_ms - self._offset_ms, host_ms) > 0


class _DutyBudget:
    """Keeps a channel's on-time in any T ms below `duty * (T + window)`.

    A bucket of on-time that fills at the rate `duty` and empties while the channel is on. Credit is kept in µs of
    on-time times 1000, so that ‰ stay whole numbers.
    """

    def __init__(self, window_ms: int) -> None:
        self._window_us = window_ms * 1000
        self._permille = 1000
        self._credit = self._window_us * 1000
        self._on = False
        self._reckoned_us = 0

    def set_duty(self, permille: int, now_us: int) -> None:
        """Change the largest share of time that the channel may be on, ‰."""
        self._reckon(now_us)
        self._permille = permille
        self._credit = min(self._credit, self.full)

    @property
    def full(self) -> int:
        """The most credit that there can be."""
        return self._window_us * self._permille

    def credit(self, now_us: int) -> int:
        """Return the credit that there is."""
        self._reckon(now_us)
        return self._credit

    def credit_after(self, credit: int, on_us: int, off_us: int) -> int:
        """Return what becomes of `credit` while the channel is on and then off."""
        return min(credit + (on_us + off_us) * self._permille - on_us * 1000, self.full)

    def allows(self, n_pulses: int, period_us: int, width_us: int, credit: int) -> bool:
        """Return whether neither the first nor the last pulse of a train would overdraw `credit`; none between can."""
        first = credit + self._permille * width_us
        last = first + self._permille * (n_pulses - 1) * period_us
        return width_us * 1000 <= first and n_pulses * width_us * 1000 <= last

    def switch(self, on: bool, now_us: int) -> None:
        """Note that the channel goes on or off."""
        self._reckon(now_us)
        self._on = on

    def _reckon(self, now_us: int) -> None:
        rate = self._permille - (1000 if self._on else 0)
        self._credit = min(self._credit + (now_us - self._reckoned_us) * rate, self.full)
        self._reckoned_us = now_us
