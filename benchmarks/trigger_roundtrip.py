"""What a command costs the host, and how long it takes until the other end has answered.

- `serial`: the driver of the same name and the simulated stimulator, in a process of its own behind a real
  pseudo-terminal (`--port` takes a real one instead). There is no wire in between: at 115,200 baud a stored pulse's 9
  bytes would spend 0.8 ms on it, and a USB port may hold an answer back for a millisecond and more. `the driver's part`
  is `call → sent` without the write itself, which is the operating system's and wakes the stimulator's process, as no
  real port would. `write alone` is such a write without a driver: with that process waiting for it, and with nobody.
- `zmq`: the driver of the same name and a receiver in a process of its own, over TCP on this computer. This driver's
  receivers do not answer: what is measured is when the message is decoded there.

The stamps, all on CLOCK_MONOTONIC: "call" right before `fire`; "sent" by the driver when its last byte is handed to the
operating system (`zmq`: to ZeroMQ's own thread, which hands it on); "acknowledged" when `poll`, called without a pause,
has read the answer; "received" when the receiver has decoded the message, which may be before `fire` has returned. With
`cold` caches a buffer of 32 MB is written over between two commands, so that nothing is left in them, as after a large
network; with `warm` ones the host polls for 2 ms without a pause, as a loop does that spins for its frames.
"""

import argparse
import multiprocessing
import os
import pty
import subprocess
import sys
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from multiprocessing.connection import Connection
from time import monotonic_ns
from typing import Any

import numpy as np
import zmq

from benchmarks.circumstances import circumstances, ratios, with_reference
from benchmarks.json_file import add_json_option, write_json
from benchmarks.percentiles import percentiles_ms, table
from models.engines.options import EngineOptions
from triggers import wire
from triggers.base import FireReceipt, Trigger
from triggers.errors import TriggerError
from triggers.pulse import Pulse
from triggers.serial import SerialOptions, SerialTrigger
from triggers.serial_port import SerialPort
from triggers.zmq import ZmqOptions, ZmqTrigger
from triggers.zmq_listen import received
from triggers.zmq_message import PulseMessage
from triggers.zmq_socket import Endpoint, PeerSocket

DRIVERS = ("serial", "zmq")
CACHES = ("cold", "warm")
PULSE = Pulse(channel=0, duration_us=100)
GOAL_FIRE_P99_MS = 0.05
_CACHE_BYTES = 32 << 20
_PAUSE_NS = 2_000_000
_ANSWER_WAIT_NS = 1_000_000_000
_START_WAIT_S = 20.0

Answered = Callable[[int], int | None]
"""Takes a command's id and waits for what the other end has to say to it; returns when that was, ns, or None."""


class RoundtripError(Exception):
    """The other end does not start, or does something else than answer."""


def measure(driver: str, caches: str, n: int, warm_up: int, port: str | None = None) -> dict[str, Any]:
    """Send commands one by one and wait for what becomes of each.

    Args:
        driver: One of `DRIVERS`.
        caches: One of `CACHES`.
        n: Commands that count.
        warm_up: Commands before them that do not.
        port: Of a real stimulator for `serial`, or None for the simulated one.

    Returns:
        `rows` in ms, and `n_unanswered`: commands of which nothing was heard for 1 s.

    Raises:
        RoundtripError: The other end does not start or does not do what it is told.
        TriggerError: The driver cannot be opened, or fails.
    """
    pause = _overwriting() if caches == "cold" else _polling
    with _serial(port) if driver == "serial" else _zmq() as (trigger, answered):
        sent, done = _times_ns(trigger, answered, pause, warm_up + n)
    counted = done[warm_up:]
    rows = {"call → sent": sent[warm_up:]}
    if isinstance(trigger, _TimedSerial):
        parts = [all_ns - write_ns for all_ns, write_ns in zip(sent, trigger.write_ns, strict=True)]
        rows["the driver's part"] = parts[warm_up:]
    end = "call → acknowledged" if driver == "serial" else "call → received"
    rows[end] = [time for time in counted if time is not None]
    if driver == "serial" and port is None:
        for name, far_end in _FAR_ENDS.items():
            rows[name] = _write_times_ns(far_end, pause, warm_up + n)[warm_up:]
    return {
        "rows": {f"{driver}, {caches}: {name}": percentiles_ms(times) for name, times in rows.items()},
        "n_unanswered": sum(time is None for time in counted),
    }


Pause = Callable[[Callable[[], object]], None]
"""What happens between two commands; takes the trigger's `poll`, or another thing that reads what has come in."""


def _overwriting() -> Pause:
    other_work = np.zeros(_CACHE_BYTES // 8)

    def pause(poll: Callable[[], object]) -> None:
        np.add(other_work, 1.0, out=other_work)
        poll()

    return pause


def _polling(poll: Callable[[], object]) -> None:
    end_ns = monotonic_ns() + _PAUSE_NS
    while monotonic_ns() < end_ns:
        poll()


def _times_ns(trigger: Trigger, answered: Answered, pause: Pause, n: int) -> tuple[list[int], list[int | None]]:
    """Return for each command the time from the call to when it was sent and to when it was answered, None = never."""
    sent: list[int] = []
    done: list[int | None] = []
    for command_id in range(1, n + 1):
        pause(trigger.poll)
        called_ns = monotonic_ns()
        receipt = trigger.fire(PULSE, command_id, called_ns + _ANSWER_WAIT_NS)
        sent.append(receipt.sent_ns - called_ns)
        answered_ns = answered(command_id) if receipt.delivered else None
        done.append(None if answered_ns is None else answered_ns - called_ns)
    return sent, done


# --- serial ---


class _TimedPort(SerialPort):
    """Notes how long the last write took."""

    write_ns = 0

    def write(self, data: bytes) -> None:
        begin_ns = monotonic_ns()
        super().write(data)
        self.write_ns = monotonic_ns() - begin_ns


class _TimedSerial(SerialTrigger):
    """Notes how long the write of each command took."""

    def __init__(self, options: SerialOptions) -> None:
        super().__init__(options)
        self.write_ns: list[int] = []

    def _open_port(self) -> SerialPort:
        self._timed = _TimedPort(self._options.port, self._options.baud_rate, self.NAME)
        return self._timed

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        receipt = super().fire(pulse, command_id, expires_ns)
        self.write_ns.append(self._timed.write_ns)
        return receipt


@contextmanager
def _serial(port: str | None) -> Iterator[tuple[Trigger, Answered]]:
    if port is not None:
        trigger = _TimedSerial(SerialOptions(port=port))
        with trigger:
            yield trigger, lambda command_id: _acknowledged_ns(trigger, command_id)
        return
    with _simulated_stimulator() as simulated, _serial(simulated) as ends:
        yield ends


@contextmanager
def _simulated_stimulator() -> Iterator[str]:
    """Start one and give its port."""
    command = [sys.executable, "-m", "triggers.simulated", "--end-with-stdin"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None  # noqa: S101  # Opened as a pipe above.
        assert process.stdout is not None  # noqa: S101
        try:
            port = process.stdout.readline().strip()
            if not port:
                raise RoundtripError("serial: the simulated stimulator ended at its start; its message is above")
            yield port
        finally:
            process.stdin.close()


def _acknowledged_ns(trigger: Trigger, command_id: int) -> int | None:
    end_ns = monotonic_ns() + _ANSWER_WAIT_NS
    while monotonic_ns() < end_ns:
        for event in trigger.poll():
            if event.kind != "ack":
                raise RoundtripError(f"serial: expected command {command_id} to be carried out, got {event.detail}")
            if event.command_id == command_id:
                return event.host_ns
    return None


@contextmanager
def _waiting() -> Iterator[tuple[SerialPort, Callable[[], object]]]:
    """A port whose far end waits in another process; the stimulator, which nobody greeted, refuses the command."""
    with _simulated_stimulator() as path, closing(_port(path)) as port:
        yield port, lambda: port.wait(_ANSWER_WAIT_NS / 1e9)


@contextmanager
def _read_later() -> Iterator[tuple[SerialPort, Callable[[], object]]]:
    """A port for whose bytes nobody waits; they are fetched afterwards."""
    far_end, near_end = pty.openpty()
    try:
        tty.setraw(near_end)
        with closing(_port(os.ttyname(near_end))) as port:
            yield port, lambda: os.read(far_end, 4096)
    finally:
        os.close(near_end)
        os.close(far_end)


_FAR_ENDS = {"write alone, its reader waiting": _waiting, "write alone, nobody waiting": _read_later}


def _port(path: str) -> SerialPort:
    return SerialPort(path, SerialOptions(port=path).baud_rate, "serial")


def _write_times_ns(
    far_end: Callable[[], AbstractContextManager[tuple[SerialPort, Callable[[], object]]]], pause: Pause, n: int
) -> list[int]:
    """Return how long the port takes for the frame that fires a stored pulse."""
    data = wire.encode(wire.Fire(id=1, slot=0, expires_ms=1))
    times = []
    with far_end() as (port, fetch):
        for _ in range(n):
            pause(port.read)
            begin_ns = monotonic_ns()
            port.write(data)
            times.append(monotonic_ns() - begin_ns)
            fetch()
    return times


# --- zmq ---


@contextmanager
def _zmq() -> Iterator[tuple[Trigger, Answered]]:
    """Start a receiver and connect to it."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_receive, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        with closing(ours):
            if not ours.poll(_START_WAIT_S):
                raise RoundtripError(f"zmq: expected the receiver to start within {_START_WAIT_S:g} s")
            trigger = ZmqTrigger(ZmqOptions(address=ours.recv()))
            with trigger:
                yield trigger, lambda command_id: _received_ns(ours, command_id)
    finally:
        process.terminate()
        process.join()


def _receive(host: Connection) -> None:
    """In the receiver's process: tell the address, then the id of every pulse and when it was there."""
    peer = PeerSocket(zmq.PULL, Endpoint("tcp://127.0.0.1:*", bind=True, secret_key_file=None, peer_key_file=None))
    port = peer.socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
    host.send(f"tcp://127.0.0.1:{port}")
    for message in received(peer.socket):
        now_ns = monotonic_ns()
        if isinstance(message, PulseMessage):
            host.send((message.command_id, now_ns))


def _received_ns(receiver: Connection, command_id: int) -> int | None:
    while receiver.poll(_ANSWER_WAIT_NS / 1e9):
        received_id, received_ns = receiver.recv()
        if received_id == command_id:
            return int(received_ns)
    return None


# --- the command ---


def measure_all(drivers: Sequence[str], n: int, warm_up: int, n_reference: int, port: str | None) -> dict[str, Any]:
    """Measure each driver with each caches; return the result, JSON-able."""
    where = circumstances()
    found, reference = with_reference(
        lambda: {
            f"{driver}, {caches}": measure(driver, caches, n, warm_up, port) for driver in drivers for caches in CACHES
        },
        n_reference,
        EngineOptions(),
    )
    rows = {name: row for each in found.values() for name, row in each["rows"].items()}
    result = {
        "benchmark": "trigger_roundtrip",
        "unit": "ms",
        "settings": {
            "serial": "a real port" if port else "simulated stimulator behind a pseudo-terminal",
            "zmq": "tcp on this computer, push, JSON",
        },
        "stamps": "call of fire → last byte handed over; → answer read by poll, or message decoded by its receiver",
        "not_included": ["wire", "USB", "actuator"] if port is None else ["actuator"],
        "n_warm_up": warm_up,
        "latency_ms": rows,
        "n_unanswered": {name: each["n_unanswered"] for name, each in found.items()},
        **where,
    }
    if reference is not None:
        result |= {"reference": reference, "ratio": ratios(rows, reference)}
    return result


def as_text(result: dict[str, Any]) -> str:
    """Return a result as a table with its circumstances."""
    lines = [table(result["latency_ms"])]
    for name, row in result["latency_ms"].items():
        if name.endswith(("→ sent", "the driver's part")):
            met = "met" if row["p99"] < GOAL_FIRE_P99_MS else "missed"
            lines.append(f"{name}: p99 {row['p99'] * 1000:.1f} µs, goal of {GOAL_FIRE_P99_MS * 1000:g} µs {met}")
    machine = result["machine"]
    lines.append(f"unanswered {result['n_unanswered']}")
    lines.append(
        f"{machine['cpu']}, {machine['cores']} cores, load {result['load_average'][0]:.1f}; warm-up "
        f"{result['n_warm_up']} commands a row, left out; not included: {', '.join(result['not_included'])}"
    )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.trigger_roundtrip",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--drivers", nargs="+", choices=DRIVERS, default=DRIVERS, metavar="NAME", help="serial, zmq")
    parser.add_argument(
        "-n", type=int, default=2000, help="commands a driver, and as many with warm caches (default: %(default)s)"
    )
    parser.add_argument("--warm-up", type=int, default=100, help="commands before them (default: %(default)s)")
    parser.add_argument("--port", help="a real stimulator; channel 0 puts out a pulse of 0.1 ms for every command")
    parser.add_argument("--reference", type=int, default=0, metavar="N", help="runs of the reference, twice (0 = none)")
    add_json_option(parser)
    given = parser.parse_args(arguments)
    if given.n < 1 or given.warm_up < 0 or given.reference < 0:
        parser.error("expected -n of at least 1, --warm-up and --reference of at least 0")
    try:
        result = measure_all(given.drivers, given.n, given.warm_up, given.reference, given.port)
    except (RoundtripError, TriggerError) as error:
        print(f"trigger_roundtrip: {error}", file=sys.stderr)
        return 2
    print(as_text(result))
    write_json(result, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
