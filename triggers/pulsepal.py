"""Driver `pulsepal`: a Sanworks Pulse Pal 2 on USB, four voltage outputs timed by the device in steps of 50 µs.

The Pulse Pal confirms each parameter but not the trigger. A handshake is sent right behind each trigger, and the device
works through its commands in order: its answer proves that the trigger was read, not that a voltage came out. There is
no dead-man switch: if the host dies, a train that was started plays to its end.
"""

import math
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from triggers.answering import AnsweringOptions, AnsweringTrigger, Awaited, Command
from triggers.errors import TriggerNotOpenError
from triggers.pulse import Pulse
from triggers.serial_port import SerialPort

N_CHANNELS = 4
TICK_US = 50
FIRMWARES = (20, 21)  # Both of Pulse Pal 2; op code 82 takes its arguments in another order in each.

OP = 213  # Stands before every op code.
HANDSHAKE = 72
PROGRAM_ONE = 74
SOFT_TRIGGER = 77
ABORT = 80
DISCONNECT = 81
CONTINUOUS = 82
CONFIRMED = b"\x01"
HELLO = b"K"

BIPHASIC, PHASE1_VOLTS, PHASE2_VOLTS, PHASE1_TICKS, INTERPHASE_TICKS, PHASE2_TICKS, GAP_TICKS = range(1, 8)
BURST_TICKS, BURST_GAP_TICKS, TRAIN_TICKS, DELAY_TICKS, LINK_INPUT1, LINK_INPUT2 = range(8, 14)
CUSTOM_TRAIN, CUSTOM_TARGET, CUSTOM_LOOP, RESTING_VOLTS = range(14, 18)

_VOLTS = frozenset({PHASE1_VOLTS, PHASE2_VOLTS, RESTING_VOLTS})
_TICKS = frozenset(range(PHASE1_TICKS, DELAY_TICKS + 1))
_ZERO_VOLTS = 32_768
_QUIET_S = 0.03

# Another program may have left a command unfinished, the longest of 178 bytes; the device waits for the rest for ever.
# As arguments these bytes put nothing out: a trigger mask without channels, voltages of 0.04 V. Else it skips them.
_RESYNC = b"\x80" * 178

_INITIAL = {
    PHASE1_VOLTS: _ZERO_VOLTS,
    PHASE2_VOLTS: _ZERO_VOLTS,
    RESTING_VOLTS: _ZERO_VOLTS,
    BIPHASIC: 0,
    PHASE1_TICKS: 1,
    INTERPHASE_TICKS: 1,
    PHASE2_TICKS: 1,
    GAP_TICKS: 1,
    BURST_TICKS: 0,
    BURST_GAP_TICKS: 0,
    TRAIN_TICKS: 1,
    DELAY_TICKS: 0,
    LINK_INPUT1: 0,
    LINK_INPUT2: 0,
    CUSTOM_TRAIN: 0,
    CUSTOM_TARGET: 0,
    CUSTOM_LOOP: 0,
}


class PulsePalOptions(AnsweringOptions):
    """Settings of driver `pulsepal`, beside those of `AnsweringOptions`.

    Attributes:
        full_volts: Voltage of a pulse of intensity 1, V; between pulses the output is at 0 V.
    """

    full_volts: float = Field(default=5.0, gt=0.0, le=10.0)


class PulsePalTrigger(AnsweringTrigger):
    """A Pulse Pal 2; channel 0 here is the device's output 1.

    Args:
        options: Settings.
        now_ns: Host monotonic clock, ns.
    """

    Options: ClassVar[type[BaseModel]] = PulsePalOptions
    NAME = "pulsepal"
    BAUD_RATE = 115_200  # USB alone sets the speed.
    GOODBYE = bytes((OP, DISCONNECT))

    def __init__(self, options: PulsePalOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(options, now_ns)
        self._options = options

    def _begin(self) -> None:
        super()._begin()
        self._firmware = FIRMWARES[-1]
        self._unread = b""

    # --- opening ---

    def _identify(self, port: SerialPort) -> Mapping[str, Any]:
        self._firmware = self._ask_firmware(port)
        for data in self._initial_commands():
            self._confirm(port, data)
        self._device_has.update(_initial_settings())
        return {
            "name": "Pulse Pal 2",
            "firmware": str(self._firmware),
            "n_channels": N_CHANNELS,
            "tick_us": TICK_US,
            "full_volts": self._options.full_volts,
            "max_duration_ms": self._options.max_duration_ms,
            "acknowledgement": "the trigger was read",
        }

    def _ask_firmware(self, port: SerialPort) -> int:
        """Stop everything, say hello, and return the firmware's number."""
        port.read()  # What an earlier program left unread.
        port.write(_RESYNC + bytes((OP, ABORT, OP, HANDSHAKE)))
        data = b""
        deadline_s = time.monotonic() + self._options.open_wait_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            port.wait(min(0.02, left_s))
            data += port.read()
            at = data.find(HELLO)
            if at >= 0 and len(data) >= at + 5:
                (firmware,) = struct.unpack_from("<I", data, at + 1)
                break
        else:
            raise TriggerNotOpenError(
                f"{self._where()}: expected an answer within {self._options.open_wait_s:g} s, got {len(data)} bytes "
                "that make no sense; is this port a Pulse Pal's?"
            )
        if firmware not in FIRMWARES:
            raise TriggerNotOpenError(
                f"{self._where()}: expected firmware {' or '.join(map(str, FIRMWARES))} (Pulse Pal 2), got {firmware}; "
                "its commands may mean something else there"
            )
        self._drop_rest(port)
        return int(firmware)

    def _drop_rest(self, port: SerialPort) -> None:
        """Read until it is quiet: the answer may have been to an earlier program, and ours still be under way."""
        deadline_s = time.monotonic() + self._options.open_wait_s
        while time.monotonic() < deadline_s:
            port.wait(_QUIET_S)
            if not port.read():
                return
        raise TriggerNotOpenError(f"{self._where()}: expected one answer, got bytes without end; is it a Pulse Pal?")

    def _initial_commands(self) -> list[bytes]:
        """Return what takes back all that another program or the joystick may have set, voltages first.

        Every parameter goes by itself: the order in the command for all at once differs between firmwares.
        """
        commands = [_program(parameter, channel, value) for (parameter, channel), value in _initial_settings().items()]
        return commands + [self._loop_off(channel) for channel in range(N_CHANNELS)]

    def _confirm(self, port: SerialPort, data: bytes) -> None:
        """Send one command and wait until it is confirmed."""
        port.write(data)
        deadline_s = time.monotonic() + self._options.open_wait_s
        answer = b""
        while not answer and time.monotonic() < deadline_s:
            port.wait(0.02)
            answer = port.read()
        if answer != CONFIRMED:
            raise TriggerNotOpenError(
                f"{self._where()}: expected op code {data[1]} to be confirmed with byte 1, got "
                f"{answer.hex(' ') or 'no answer'}; is another program using the device?"
            )

    # --- commands ---

    def _why_impossible(self, pulse: Pulse) -> str | None:
        if pulse.channel >= N_CHANNELS:
            return f"expected a channel from 0 to {N_CHANNELS - 1}, got {pulse.channel}"
        if pulse.duration_us < TICK_US:
            return f"expected a pulse of at least {TICK_US} us, got {pulse.duration_us} us"
        if pulse.train_hz is not None and pulse.width_us is not None:
            on_us, off_us = pulse.width_us, 1e6 / pulse.train_hz - pulse.width_us
            if min(on_us, off_us) < TICK_US:
                return f"expected pulses and gaps of at least {TICK_US} us, got {on_us} us on and {off_us:g} us off"
        return None

    def _pulse_command(self, pulse: Pulse, command_id: int) -> Command:
        """Program what differs from what the device has, then trigger, then ask for a sign that this was read.

        The question also keeps the trigger and a stop apart: the device starts a triggered channel one cycle later,
        even if the very next command told it to stop.
        """
        wanted = {
            (parameter, pulse.channel): value
            for parameter, value in _parameters(pulse, self._options.full_volts).items()
        }
        changes = {key: value for key, value in wanted.items() if self._device_has.get(key) != value}
        data = b"".join(_program(parameter, channel, value) for (parameter, channel), value in changes.items())
        data += bytes((OP, SOFT_TRIGGER, 1 << pulse.channel, OP, HANDSHAKE))
        confirmations = (Awaited(CONFIRMED) for _ in changes)
        return Command(data, (*confirmations, Awaited(self._hello(), command_id, pulse)), changes)

    def _stop_command(self, channel: int) -> Command:
        """Switch continuous mode, which is off already, off again: the one command that stops a single channel."""
        if channel >= N_CHANNELS:
            return self._alive_command()
        return Command(self._loop_off(channel), (Awaited(CONFIRMED, frees=(channel,), stops=channel),))

    def _off_command(self) -> Command:
        answer = Awaited(self._hello(), frees=tuple(range(N_CHANNELS)))
        return Command(bytes((OP, ABORT, OP, HANDSHAKE)), (answer,))

    def _alive_command(self) -> Command:
        return Command(bytes((OP, HANDSHAKE)), (Awaited(self._hello()),))

    def _loop_off(self, channel: int) -> bytes:
        arguments = (channel + 1, 0) if self._firmware == 20 else (0, channel)
        return bytes((OP, CONTINUOUS, *arguments))

    def _hello(self) -> bytes:
        return HELLO + struct.pack("<I", self._firmware)

    # --- what comes back ---

    def _take(self, data: bytes, now_ns: int) -> None:
        """Compare what came in with the answers awaited, in order; nothing else is ever sent by the device."""
        self._unread += data
        while self._unread and self._failure is None:
            expected = self._awaited[0].key if self._awaited else b""
            n_compared = min(len(expected), len(self._unread))
            if not expected or self._unread[:n_compared] != expected[:n_compared]:
                self._fail(
                    f"{self._where()}: expected the answer {expected.hex(' ') or 'none'}, got "
                    f"{self._unread[:8].hex(' ')}; did the device restart, or does another program use it?"
                )
            elif n_compared < len(expected):
                return
            else:
                self._unread = self._unread[n_compared:]
                self._answer(self._awaited.popleft(), now_ns)


def _initial_settings() -> dict[tuple[int, int], int]:
    """Return by parameter and channel what every channel has at first."""
    return {(parameter, channel): value for parameter, value in _INITIAL.items() for channel in range(N_CHANNELS)}


def _program(parameter: int, channel: int, value: int) -> bytes:
    size = "H" if parameter in _VOLTS else "I" if parameter in _TICKS else "B"
    return struct.pack("<4B" + size, OP, PROGRAM_ONE, parameter, channel + 1, value)


def _parameters(pulse: Pulse, full_volts: float) -> dict[int, int]:
    """Return what one pulse or train needs; the rest stays as it was set when the device was opened.

    Times are rounded to the nearest tick. One unbroken pulse is a train that ends with its first pulse.
    """
    train = _ticks(pulse.duration_us)
    parameters = {PHASE1_VOLTS: _volts_code(pulse.intensity * full_volts), TRAIN_TICKS: train}
    if pulse.train_hz is None or pulse.width_us is None:
        return parameters | {PHASE1_TICKS: train}
    width = _ticks(pulse.width_us)
    period_us = min(
        1e6 / pulse.train_hz, 2.0 * pulse.duration_us + 2.0 * pulse.width_us
    )  # No second pulse: any will do.
    return parameters | {PHASE1_TICKS: width, GAP_TICKS: max(_ticks(period_us) - width, 1)}


def _ticks(time_us: float) -> int:
    return max(math.floor(time_us / TICK_US + 0.5), 1)


def _volts_code(volts: float) -> int:
    """Return 0 to 65535 for -10 V to 10 V, to the nearest step of 0.3 mV."""
    return math.floor((volts + 10.0) / 20.0 * 0xFFFF + 0.5)
