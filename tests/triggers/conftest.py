import json
import os
import pty
import select
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import zmq

from triggers import wire
from triggers.base import Trigger, TriggerEvent
from triggers.device import Device, DeviceSpec

T = TypeVar("T")
DEADLINE_S = 20.0


class Until:
    """Waits for real conditions, never for a time to pass."""

    def true(self, probe: Callable[[], T]) -> T:
        """Return the first true value of `probe`."""
        deadline_s = time.monotonic() + DEADLINE_S
        while not (value := probe()):
            assert time.monotonic() < deadline_s, "the condition did not come true"
            time.sleep(0.002)
        return value

    def event(self, trigger: Trigger, kind: str) -> TriggerEvent:
        """Poll until an event of one kind comes; any other fails the test."""
        events: list[TriggerEvent] = []
        self.true(lambda: events.extend(trigger.poll()) or events)
        assert events[0].kind == kind, events
        return events[0]


class Clock:
    """A host clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now_ns = 5_000_000_000

    def __call__(self) -> int:
        return self.now_ns


class Peer:
    """The far end of a pseudo-terminal, served by a thread: by default a working device, or what a test makes of it."""

    def __init__(self) -> None:
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self.master, False)
        self.port = os.ttyname(self._slave)
        self.received: list[wire.Message | wire.OtherVersion] = []
        self.device = Device(DeviceSpec(dead_man_ms=60_000), lambda edge: None, lambda message, now_us: None)
        self.answer: Callable[[bytes], bytes] = self._as_device
        self._parser = wire.Parser()
        self._started_ns = time.monotonic_ns()
        self._turn = threading.Lock()
        self._reading = threading.Event()
        self._reading.set()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _as_device(self, data: bytes) -> bytes:
        return self.device.receive(data, (time.monotonic_ns() - self._started_ns) // 1000)

    def _serve(self) -> None:
        while not self._ending.is_set():
            if not self._reading.wait(0.01) or not select.select([self.master], [], [], 0.01)[0]:
                continue
            with self._turn:
                if self._reading.is_set():
                    data = os.read(self.master, 4096)
                    self.received += self._parser.feed(data)
                    self.send(self.answer(data))

    def of_type(self, cls: type[T]) -> list[T]:
        """Return the messages of one type that have come in."""
        return [message for message in self.received if isinstance(message, cls)]

    def send(self, data: bytes) -> None:
        """Send bytes to the host."""
        if data:
            os.write(self.master, data)

    def ignore(self, data: bytes) -> bytes:
        """An answer: none."""
        del data
        return b""

    def vanish(self, data: bytes) -> bytes:
        """An answer: the device is unplugged."""
        del data
        os.close(self._slave)
        os.close(self.master)
        self._ending.set()
        return b""

    def stop_reading(self) -> None:
        """Leave what the host sends from now on in the buffer."""
        with self._turn:
            self._reading.clear()

    def go_on_reading(self) -> None:
        """Read again."""
        self._reading.set()

    def close(self) -> None:
        """Vanish, as an unplugged device does."""
        self._ending.set()
        self._reading.set()
        if self._thread.is_alive():
            self._thread.join()
            os.close(self.master)
            os.close(self._slave)


class EdgeLog:
    """The log of a simulated device."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> list[dict[str, Any]]:
        """Return every whole record so far."""
        if not self.path.exists():
            return []
        return [json.loads(line) for line in self.path.read_bytes().split(b"\n")[:-1]]

    def edges(self) -> list[dict[str, Any]]:
        """Return the edges so far."""
        return [record for record in self.records() if record["record"] == "edge"]

    def commands(self, kind: str) -> list[dict[str, Any]]:
        """Return the commands of one type that arrived so far."""
        return [record for record in self.records() if record["record"] == "command" and record["type"] == kind]


@pytest.fixture
def until() -> Until:
    return Until()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    """For sockets of the test's own; what they still have to send is dropped."""
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def make_peer() -> Iterator[Callable[[], Peer]]:
    peers: list[Peer] = []

    def make() -> Peer:
        peers.append(Peer())
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


@pytest.fixture
def peer(make_peer: Callable[[], Peer]) -> Peer:
    return make_peer()


@pytest.fixture
def edge_log(tmp_path: Path) -> EdgeLog:
    return EdgeLog(tmp_path / "edges.jsonl")


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start `python ...` processes that are killed when the test is over."""
    processes = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, **options)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
