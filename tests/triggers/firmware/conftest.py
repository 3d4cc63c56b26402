import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from triggers import wire

SOURCE = Path(__file__).parents[3] / "triggers" / "firmware"
N_CHANNELS = 4
TOLERANCE_US = 20.0
FULL = bool(os.environ.get("POSELOOP_FIRMWARE_FULL"))  # The long runs that are told in triggers/firmware/README.md.

_SIMAVR = Path("/usr/include/simavr/sim_avr.h")
_AVR_FLAGS = [
    "-x",
    "c++",
    "-std=gnu++11",
    "-Os",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-fno-exceptions",
    "-DF_CPU=16000000UL",
]


@dataclass(frozen=True)
class Pin:
    """A change of an output, in simulated microseconds since power-on."""

    us: float
    channel: int
    on: bool


@dataclass
class Chip:
    """The firmware on simavr. Times are simulated microseconds since power-on."""

    command: list[str]
    now_us: float = 0.0
    pins: list[Pin] = field(default_factory=list)
    answers: list[wire.Message] = field(default_factory=list)
    answer_us: list[float] = field(default_factory=list)
    longest_pass_us: float = 0.0

    def __post_init__(self) -> None:
        self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._parser = wire.Parser()

    def bytes(self, data: bytes, at_us: float | None = None) -> None:
        """Put bytes on the line, the first no sooner than `at_us`."""
        for start in range(0, len(data), 4096):
            self._say(f"bytes {self.now_us if at_us is None else at_us:.3f} {data[start : start + 4096].hex()}")

    def send(self, *messages: wire.HostMessage, at_us: float | None = None) -> None:
        self.bytes(b"".join(map(wire.encode, messages)), at_us)

    def until(self, us: float) -> list[wire.Message]:
        """Simulate to a time; return the frames that came from the device meanwhile."""
        self._say(f"until {us:.3f}")
        self._process.stdin.flush()
        n_before = len(self.answers)
        for line in self._process.stdout:
            kind, *values = line.split()
            if kind == "tx":
                for message in self._parser.feed(bytes((int(values[1]),))):
                    self.answers.append(message)
                    self.answer_us.append(float(values[0]))
            elif kind == "pin":
                self.pins.append(Pin(float(values[0]), int(values[1]), values[2] == "1"))
            elif kind == "loop":
                self.longest_pass_us = float(values[0])
            elif kind == "now":
                self.now_us = float(values[0])
                return self.answers[n_before:]
            else:
                raise AssertionError(line)
        raise AssertionError("the simulator ended")

    def run(self, us: float) -> list[wire.Message]:
        return self.until(self.now_us + us)

    def ask(self, message: wire.HostMessage, wait_us: float = 12_000) -> list[wire.Message]:
        """Send a frame and return what came back."""
        self.send(message)
        return self.run(wait_us)

    def greet(self) -> wire.Identity:
        """Wait for the start and say hello."""
        assert self.until(20_000) == [wire.Boot(0)]
        (identity,) = self.ask(wire.Hello(1, self.host_ms()))
        assert isinstance(identity, wire.Identity)
        return identity

    def host_ms(self) -> int:
        return int(self.now_us // 1000)

    def peek(self, address: int) -> int:
        self._say(f"peek {address:x}")
        self._process.stdin.flush()
        return int(self._process.stdout.readline().split()[1])

    def on(self) -> set[int]:
        """The channels that are high."""
        level = {pin.channel: pin.on for pin in self.pins}
        return {channel for channel, on in level.items() if on}

    def assert_caps_kept(self, max_on_us: int, min_off_us: int, duty: float, window_us: int) -> None:
        """Check from the pin edges alone: no pulse too long, no gap too short, in no window more than its budget."""
        rises_us = [pin.us for pin in self.pins if pin.on]
        falls_us = [pin.us for pin in self.pins if not pin.on]
        assert max(fall - rise for rise, fall in zip(rises_us, falls_us, strict=False)) <= max_on_us + TOLERANCE_US
        assert min(rise - fall for rise, fall in zip(rises_us[1:], falls_us, strict=False)) >= min_off_us - TOLERANCE_US
        for first, begin_us in enumerate(rises_us):
            on_us = 0.0
            for rise_us, fall_us in zip(rises_us[first:], falls_us[first:], strict=False):
                on_us += fall_us - rise_us
                assert on_us <= duty * (fall_us - begin_us + window_us) + window_us / 1000

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def _say(self, line: str) -> None:
        self._process.stdin.write(line + "\n")


@pytest.fixture(scope="session")
def avr_gcc() -> str:
    if shutil.which("avr-g++") is None or not Path("/usr/lib/avr/include/avr/io.h").exists():
        pytest.skip("avr-gcc or avr-libc is not installed (Debian: gcc-avr, avr-libc)")
    return "avr-g++"


@pytest.fixture(scope="session")
def build(avr_gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build the firmware: `build(mcu="atmega328p", NAME=value, ...)`, the names defined beside those of config.h."""
    folder = tmp_path_factory.mktemp("firmware")
    built: dict[tuple[str, ...], Path] = {}

    def build(mcu: str = "atmega328p", **defines: object) -> Path:
        flags = (f"-mmcu={mcu}", *(f"-D{name}={value}" for name, value in sorted(defines.items())))
        if flags not in built:
            elf = folder / f"{len(built)}.elf"
            subprocess.run([avr_gcc, *_AVR_FLAGS, *flags, str(SOURCE / "firmware.ino"), "-o", str(elf)], check=True)
            built[flags] = elf
        return built[flags]

    return build


@pytest.fixture(scope="session")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not _SIMAVR.exists():
        pytest.skip("libsimavr is not installed (Debian: libsimavr-dev, libelf-dev)")
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    program = tmp_path_factory.mktemp("harness") / "harness"
    source = Path(__file__).parent / "harness.c"
    libraries = ["-lsimavr", "-lelf", "-lutil"]
    # simavr's own headers include one another without the folder's name.
    include = f"-I{_SIMAVR.parent}"
    subprocess.run(["gcc", "-O2", "-Wall", include, str(source), "-o", str(program), *libraries], check=True)
    return program


@pytest.fixture
def chip(build: Callable[..., Path], harness: Path) -> Iterator[Callable[..., Chip]]:
    """Power on the firmware: `chip(mcu=..., baud=..., NAME=value)`."""
    chips = []

    def power_on(mcu: str = "atmega328p", baud: int = 115_200, **defines: object) -> Chip:
        elf = build(mcu, BAUD_RATE=f"{baud}UL", **defines)
        chips.append(Chip([str(harness), str(elf), mcu, str(baud)]))
        return chips[-1]

    yield power_on
    for each in chips:
        each.end()


@pytest.fixture
def full() -> bool:
    """Whether the long runs were asked for."""
    return FULL
