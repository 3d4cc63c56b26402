"""Driver `harp_behavior`: digital outputs of a Harp Behavior board, pulses timed by the board in milliseconds.

The board answers each command with the time on its own clock at which it was carried out, and tells the state of its
outputs when asked. It has no dead-man switch: if the host dies, a pulse that was started ends when it was to end.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, Field, model_validator

from triggers import harp_message as harp
from triggers.answering import AnsweringOptions, AnsweringTrigger, Awaited, Command
from triggers.errors import TriggerNotOpenError
from triggers.pulse import Pulse
from triggers.serial_port import SerialPort

BEHAVIOR = 1216  # What the board answers to "who am I".
FIRMWARES = (2, 3)

WHO_AM_I, FIRMWARE_MAJOR, FIRMWARE_MINOR, OPERATION = 0, 6, 7, 10
OUTPUT_SET, OUTPUT_CLEAR, OUTPUT_STATE, PULSE_ENABLE, PULSE_MS = 34, 35, 37, 45, 46
PWM_STOP = 69
MUTE_REPLIES = 0x10  # In `OPERATION`.

Output = Literal[
    "DOPort0", "DOPort1", "DOPort2", "SupplyPort0", "SupplyPort1", "SupplyPort2", "Led0", "Led1", "Rgb0", "Rgb1",
    "DO0", "DO1", "DO2", "DO3",
]  # fmt: skip
OUTPUTS: tuple[str, ...] = get_args(Output)  # In the order of their bits and of their pulse registers.

_MAX_PULSE_MS = 0xFFFF
_ASK_EVERY_S = 0.25
_UNANSWERED = "was not answered"
_READ_BACK_US = 5_000  # A shorter pulse may be over before its output is read back: a command takes up to 1 ms.
_FIRST_PWM = OUTPUTS.index("DO0")


class HarpBehaviorOptions(AnsweringOptions):
    """Settings of driver `harp_behavior`, beside those of `AnsweringOptions`.

    Attributes:
        outputs: The board's name of the output of channel 0, 1, ….
    """

    outputs: Annotated[tuple[Output, ...], Field(strict=False, min_length=1)] = ("DO0", "DO1", "DO2", "DO3")

    @model_validator(mode="after")
    def _outputs_differ(self) -> Self:
        if len(set(self.outputs)) != len(self.outputs):
            raise ValueError(f"outputs: expected each output once, got {', '.join(self.outputs)}")
        return self


@dataclass(frozen=True, slots=True)
class _Expected:
    """What an answer must say."""

    kind: int
    register: int
    value: int | None = None  # None = any.
    on: int = 0  # Outputs that must be on in it, as a mask.
    off: int = 0  # Outputs that must be off in it, as a mask.


class _FlowControlledPort(SerialPort):
    """A port that waits while the board is at work: it takes one command a millisecond and has room for two."""

    def __init__(self, path: str, baud_rate: int, driver: str) -> None:
        super().__init__(path, baud_rate, driver)
        self._tty.rtscts = True


class HarpBehaviorTrigger(AnsweringTrigger):
    """A Harp Behavior board.

    Args:
        options: Settings.
        now_ns: Host monotonic clock, ns.
    """

    Options: ClassVar[type[BaseModel]] = HarpBehaviorOptions
    NAME = "harp_behavior"
    BAUD_RATE = 1_000_000
    BUSY_MARGIN_NS = 2_000_000

    def __init__(self, options: HarpBehaviorOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._bits = tuple(OUTPUTS.index(name) for name in options.outputs)
        self._mask = sum(1 << bit for bit in self._bits)
        self._options = options
        super().__init__(options, now_ns)

    def _begin(self) -> None:
        super()._begin()
        self._parser = harp.Parser()

    def _open_port(self) -> SerialPort:
        return _FlowControlledPort(self._options.port, self.BAUD_RATE, self.NAME)

    # --- opening ---

    def _identify(self, port: SerialPort) -> Mapping[str, Any]:
        who = self._ask(port, harp.read(WHO_AM_I, harp.U16))
        if who != BEHAVIOR:
            raise TriggerNotOpenError(
                f"{self._where()}: expected a Harp Behavior board ({BEHAVIOR}), got the Harp device {who}; is this "
                "its port?"
            )
        major = self._ask(port, harp.read(FIRMWARE_MAJOR, harp.U8))
        minor = self._ask(port, harp.read(FIRMWARE_MINOR, harp.U8))
        if major not in FIRMWARES:
            raise TriggerNotOpenError(
                f"{self._where()}: expected firmware {' or '.join(map(str, FIRMWARES))}, got {major}.{minor}; its "
                "registers may mean something else there"
            )
        self._set_up(port)
        return {
            "name": "Harp Behavior",
            "firmware": f"{major}.{minor}",
            "n_channels": len(self._bits),
            "outputs": list(self._options.outputs),
            "max_duration_ms": self._options.max_duration_ms,
            "acknowledgement": "the output was switched, with the board's time",
        }

    def _set_up(self, port: SerialPort) -> None:
        """Switch our outputs off and let them end pulses by themselves; leave those of others alone."""
        self._ask(port, harp.write(OUTPUT_CLEAR, harp.U16, self._mask))
        pwm = self._mask >> _FIRST_PWM
        if pwm:
            self._ask(port, harp.write(PWM_STOP, harp.U8, pwm))
        enabled = self._ask(port, harp.read(PULSE_ENABLE, harp.U16))
        self._ask(port, harp.write(PULSE_ENABLE, harp.U16, enabled | self._mask))
        state = self._ask(port, harp.read(OUTPUT_STATE, harp.U16))
        if state & self._mask:
            raise TriggerNotOpenError(
                f"{self._where()}: expected {self._names(state & self._mask)} to be off, got on; is a camera, servo or "
                "mimicked input set up there?"
            )

    def _ask(self, port: SerialPort, question: bytes) -> int:
        """Ask until the board answers, and return the value; a muted board is told to speak."""
        kind, register = question[0], question[2]
        deadline_s = time.monotonic() + self._options.open_wait_s
        ask_again_s = 0.0
        n_bytes = 0
        while (now_s := time.monotonic()) < deadline_s:
            if now_s >= ask_again_s:
                if ask_again_s:  # Not answered: it may be muted.
                    port.write(harp.write(OPERATION, harp.U8, 0x60))
                port.write(question)
                ask_again_s = now_s + _ASK_EVERY_S
            port.wait(min(0.02, deadline_s - now_s))
            data = port.read()
            n_bytes += len(data)
            for message in self._parser.feed(data):
                if (message.kind, message.register) != (kind, register):
                    continue
                if message.is_error or message.value is None:
                    raise TriggerNotOpenError(f"{self._where()}: the board refuses register {register}")
                return message.value
        raise TriggerNotOpenError(
            f"{self._where()}: expected an answer within {self._options.open_wait_s:g} s, got {n_bytes} bytes that "
            "make no sense; is this port a Harp device's?"
        )

    # --- commands ---

    def _why_impossible(self, pulse: Pulse) -> str | None:
        if pulse.channel >= len(self._bits):
            return f"expected a channel from 0 to {len(self._bits) - 1}, got {pulse.channel}"
        if pulse.train_hz is not None:
            return "expected one unbroken pulse, got a train, which the board cannot time"
        if pulse.intensity != 1.0:
            return f"expected intensity 1, got {pulse.intensity:g}; the outputs of the board are on or off"
        if pulse.duration_us % 1000 or pulse.duration_us > _MAX_PULSE_MS * 1000:
            return (
                f"expected a pulse of whole milliseconds up to {_MAX_PULSE_MS} ms, got {pulse.duration_us / 1000:g} ms"
            )
        return None

    def _pulse_command(self, pulse: Pulse, command_id: int) -> Command:
        """Set the duration if it differs from what the board has, switch on, and read back if there is time."""
        bit = self._bits[pulse.channel]
        mask = 1 << bit
        duration_ms = pulse.duration_us // 1000
        data, answers, settings = b"", [], {}
        if self._device_has.get(PULSE_MS + bit) != duration_ms:
            settings[PULSE_MS + bit] = duration_ms
            data += harp.write(PULSE_MS + bit, harp.U16, duration_ms)
            answers.append(Awaited(_Expected(harp.WRITE, PULSE_MS + bit, duration_ms)))
        data += harp.write(OUTPUT_SET, harp.U16, mask)
        answers.append(Awaited(_Expected(harp.WRITE, OUTPUT_SET, mask), command_id, pulse))
        if pulse.duration_us >= _READ_BACK_US:
            data += harp.read(OUTPUT_STATE, harp.U16)
            answers.append(Awaited(_Expected(harp.READ, OUTPUT_STATE, on=mask)))
        return Command(data, tuple(answers), settings)

    def _stop_command(self, channel: int) -> Command:
        if channel >= len(self._bits):
            return self._alive_command()
        return self._clear(1 << self._bits[channel], (channel,), stops=channel)

    def _off_command(self) -> Command:
        return self._clear(self._mask, tuple(range(len(self._bits))))

    def _clear(self, mask: int, channels: tuple[int, ...], stops: int | None = None) -> Command:
        """Switch outputs off and read back whether they are."""
        return Command(
            harp.write(OUTPUT_CLEAR, harp.U16, mask) + harp.read(OUTPUT_STATE, harp.U16),
            (
                Awaited(_Expected(harp.WRITE, OUTPUT_CLEAR, mask), frees=channels),
                Awaited(_Expected(harp.READ, OUTPUT_STATE, off=mask), stops=stops),
            ),
        )

    def _alive_command(self) -> Command:
        """Ask for the state of the outputs, which shows one that is on though nothing was asked of it."""
        now_ns = self._now_ns()
        off = sum(1 << bit for channel, bit in enumerate(self._bits) if not self._is_busy(channel, now_ns))
        return Command(harp.read(OUTPUT_STATE, harp.U16), (Awaited(_Expected(harp.READ, OUTPUT_STATE, off=off)),))

    # --- what comes back ---

    def _take(self, data: bytes, now_ns: int) -> None:
        for message in self._parser.feed(data):
            if message.kind != harp.EVENT:
                self._on_answer(message, now_ns)

    def _on_answer(self, message: harp.Message, now_ns: int) -> None:
        """Find the question of an answer; the questions before it will not be answered any more."""
        position = next(
            (
                position
                for position, awaited in enumerate(self._awaited)
                if (awaited.key.kind, awaited.key.register) == (message.kind, message.register)
            ),
            None,
        )
        if position is None:
            return
        for _ in range(position):
            self._on_wrong(self._awaited.popleft(), _UNANSWERED, now_ns)
        awaited = self._awaited.popleft()
        expected: _Expected = awaited.key
        if message.is_error or (expected.value is not None and message.value != expected.value):
            what = "was refused" if message.is_error else f"was answered with {message.value}"
            self._on_wrong(awaited, what, now_ns)
            return
        state = message.value or 0
        if expected.off & state:
            awaited.stops = None  # It did not stop.
        self._answer(awaited, now_ns, message.device_us)
        for mask, is_on in ((expected.off & state, "on"), (expected.on & ~state, "off")):
            if mask:
                detail = f"{self._where()}: {self._names(mask)} is {is_on}, and should not be"
                self._report("fault", None, now_ns, detail)

    def _on_wrong(self, awaited: Awaited, what: str, now_ns: int) -> None:
        """Report a command that was not carried out as sent, and switch everything off: a pulse may end wrongly."""
        register = awaited.key.register
        self._device_has.pop(register, None)
        detail = f"{self._where()}: the command for register {register} {what}"
        kind: Literal["refused", "fault"] = "fault" if awaited.command_id is None or what == _UNANSWERED else "refused"
        self._report(kind, awaited.command_id, now_ns, detail)
        self._n_unanswered_bytes -= awaited.n_bytes
        if not awaited.frees:
            self.all_off()

    def _names(self, mask: int) -> str:
        return " and ".join(name for bit, name in enumerate(OUTPUTS) if mask >> bit & 1)
