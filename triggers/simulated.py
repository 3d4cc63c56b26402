"""Driver `simulated`: a stimulator without hardware, behind a real pseudo-terminal in a process of its own.

Run `python -m triggers.simulated --log edges.jsonl` to have one that a rig with driver `serial` can use: it prints its
port and serves until Ctrl-C.
"""

import argparse
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from triggers import wire
from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.device import Device, DeviceSpec, Edge
from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.pulse import Pulse
from triggers.serial import SerialOptions, SerialTrigger

_START_WAIT_S = 10.0
_END_WAIT_S = 0.04


class SimulatedOptions(BaseModel):
    """Settings of driver `simulated`.

    Attributes:
        n_channels: Outputs.
        dead_man_ms: The device switches off by itself this long after the last sign of life, ms.
        max_on_ms: Longest unbroken on-time that the device allows, ms.
        max_duty: Largest share of any ten seconds that a channel may be on, 0–1.
        heartbeat_ms: A sign of life is sent this often, ms.
        ack_timeout_ms: An answer later than this is a fault, ms; generous, since the device shares the computer.
        log_path: Every command that arrived and every edge of an output, one JSON object a line; its folder is made.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    n_channels: int = Field(default=8, ge=1, le=16)
    dead_man_ms: int = Field(default=250, ge=1, le=0xFFFF)
    max_on_ms: int = Field(default=10_000, ge=1, le=3_600_000)
    max_duty: float = Field(default=1.0, gt=0.0, le=1.0)
    heartbeat_ms: int = Field(default=20, ge=1, le=10_000)
    ack_timeout_ms: int = Field(default=500, ge=1, le=10_000)
    log_path: Annotated[Path | None, Field(strict=False)] = None


class SimulatedTrigger(Trigger):
    """The simulated stimulator, started on `open` and ended on `close`, driven as any other on a serial port.

    Args:
        options: Settings.
        now_ns: Host monotonic clock, ns.
    """

    Options: ClassVar[type[BaseModel]] = SimulatedOptions

    def __init__(self, options: SimulatedOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._options = options
        self._now_ns = now_ns
        self._process: subprocess.Popen[bytes] | None = None
        self._serial: SerialTrigger | None = None

    @property
    def pid(self) -> int | None:
        """Process of the device, or None while it is not running."""
        return None if self._process is None else self._process.pid

    def open(self) -> TriggerInfo:
        """Start the device and open its port."""
        if self._process is not None:
            raise TriggerNotOpenError("simulated trigger: already open; close it first")
        self._process = _start(self._options)
        try:
            serial_options = SerialOptions(
                port=_read_port(self._process),
                heartbeat_ms=self._options.heartbeat_ms,
                ack_timeout_ms=self._options.ack_timeout_ms,
            )
            self._serial = SerialTrigger(serial_options, self._now_ns)
            info = self._serial.open()
        except BaseException:
            self.close()
            raise
        return replace(info, driver="simulated")

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Send one pulse command and return at once."""
        return self._opened().fire(pulse, command_id, expires_ns)

    def extend(self, channel: int, extended_id: int, command_id: int, expires_ns: int) -> FireReceipt:
        """Let what runs last longer and return at once."""
        return self._opened().extend(channel, extended_id, command_id, expires_ns)

    def poll(self) -> tuple[TriggerEvent, ...]:
        """Read what the device reported, send the heartbeat if one is due, and return at once."""
        return () if self._serial is None else self._serial.poll()

    @property
    def failure(self) -> str:
        """Why the device can't be used any more; the empty string as far as is known."""
        return "" if self._serial is None else self._serial.failure

    def stop(self, channel: int) -> bool:
        """Switch one channel off now; its answer comes from `poll`."""
        return self._opened().stop(channel)

    def all_off(self) -> None:
        """Switch every output off now."""
        if self._serial is not None:
            self._serial.all_off()

    def close(self) -> None:
        """Switch every output off, release the port, end the device."""
        if self._serial is not None:
            self._serial.close()
            self._serial = None
        if self._process is not None:
            _end(self._process)
            self._process = None

    def _opened(self) -> SerialTrigger:
        if self._serial is None:
            raise TriggerFailedError("simulated trigger: not open; open it first")
        return self._serial


def _start(options: SimulatedOptions) -> subprocess.Popen[bytes]:
    arguments = [
        *("--channels", str(options.n_channels)),
        *("--dead-man-ms", str(options.dead_man_ms)),
        *("--max-on-ms", str(options.max_on_ms)),
        *("--max-duty", str(options.max_duty)),
    ]
    if options.log_path is not None:
        arguments += ["--log", str(options.log_path)]
    return subprocess.Popen(
        [sys.executable, "-m", "triggers.simulated", "--end-with-stdin", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _read_port(process: subprocess.Popen[bytes]) -> str:
    """Return the port that the device printed."""
    assert process.stdout is not None  # noqa: S101  # Opened as a pipe above.
    if not select.select([process.stdout], [], [], _START_WAIT_S)[0]:
        raise TriggerNotOpenError(f"simulated trigger: expected the device to start within {_START_WAIT_S:g} s")
    line = process.stdout.readline()
    if not line:
        raise TriggerNotOpenError(
            f"simulated trigger: the device ended at its start with exit status {process.wait()}; its message is above"
        )
    return line.decode().strip()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the device: its standard input closes, and what does not end by itself is killed."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_END_WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# --- the device's process ---


class _Log:
    """Commands and edges as JSON lines, each written at once, with the device's and the host's clock."""

    def __init__(self, path: Path | None) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self._file = None if path is None else path.open("ab", buffering=0)

    def edge(self, edge: Edge) -> None:
        self._write("edge", asdict(edge))

    def command(self, message: wire.HostMessage, device_us: int) -> None:
        self._write("command", {"device_us": device_us, "type": type(message).__name__, **asdict(message)})

    def _write(self, record: str, fields: dict[str, Any]) -> None:
        if self._file is not None:
            line = json.dumps({"record": record, "host_ns": time.monotonic_ns(), **fields})
            self._file.write(line.encode() + b"\n")


def _serve(device: Device, master: int, *, end_with_stdin: bool) -> None:
    """Run the device until standard input ends and its outputs are off; without `end_with_stdin` for ever."""
    started_ns = time.monotonic_ns()
    stdin = sys.stdin.fileno()
    watched = {master, stdin} if end_with_stdin else {master}
    ending = False
    while not ending or device.outputs:
        due_us = device.next_due_us
        now_us = (time.monotonic_ns() - started_ns) // 1000
        readable = select.select(watched, [], [], None if due_us is None else max(0, due_us - now_us) / 1e6)[0]
        now_us = (time.monotonic_ns() - started_ns) // 1000
        answers = device.receive(os.read(master, 4096), now_us) if master in readable else device.advance(now_us)
        if answers:
            with suppress(BlockingIOError):  # As on a wire: what nobody reads is lost.
                os.write(master, answers)
        if stdin in readable and not os.read(stdin, 4096):
            watched.discard(stdin)
            ending = True


def _parse(arguments: Sequence[str]) -> tuple[SimulatedOptions, bool]:
    """Return the device's settings and whether it ends with its standard input."""
    parser = argparse.ArgumentParser(prog="python -m triggers.simulated", description="A stimulator without hardware.")
    default = SimulatedOptions()
    parser.add_argument("--channels", type=int, default=default.n_channels, help="outputs (default: %(default)s)")
    parser.add_argument("--dead-man-ms", type=int, default=default.dead_man_ms, help="default: %(default)s")
    parser.add_argument("--max-on-ms", type=int, default=default.max_on_ms, help="default: %(default)s")
    parser.add_argument("--max-duty", type=float, default=default.max_duty, help="default: %(default)s")
    parser.add_argument("--log", type=Path, help="append every command and every edge of an output, as JSON lines")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input does; ignore Ctrl-C")
    given = parser.parse_args(arguments)
    try:
        options = SimulatedOptions(
            n_channels=given.channels,
            dead_man_ms=given.dead_man_ms,
            max_on_ms=given.max_on_ms,
            max_duty=given.max_duty,
            log_path=given.log,
        )
    except ValidationError as error:
        parser.error(str(error))
    return options, given.end_with_stdin


def main(arguments: Sequence[str]) -> int:
    """Serve one simulated device; return the exit status."""
    options, end_with_stdin = _parse(arguments)
    if end_with_stdin:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # The host handles it, and needs its outputs for that.
    try:
        log = _Log(options.log_path)
    except OSError as error:
        sys.stderr.write(f"simulated trigger: the log cannot be written: {error}\n")
        return 2
    spec = DeviceSpec(
        n_channels=options.n_channels,
        max_on_us=options.max_on_ms * 1000,
        max_duty_permille=int(options.max_duty * 1000),
        dead_man_ms=options.dead_man_ms,
    )
    device = Device(spec, log.edge, log.command)
    master, slave = pty.openpty()  # Holding the other end too keeps the port alive between two hosts.
    tty.setraw(slave)
    os.set_blocking(master, False)
    os.write(master, device.boot())
    sys.stdout.write(os.ttyname(slave) + "\n")
    sys.stdout.flush()
    with suppress(KeyboardInterrupt):
        _serve(device, master, end_with_stdin=end_with_stdin)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
