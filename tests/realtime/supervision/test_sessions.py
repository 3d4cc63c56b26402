"""Whole sessions in real processes: nothing goes out unarmed; whatever dies or hangs, the receiver is told "off"."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from realtime.recording.log import read_log
from realtime.recording.records import FrameRecord
from triggers.zmq_message import AllOffMessage, HeartbeatMessage, Message, PulseMessage, decode

pytestmark = pytest.mark.alone

CAMERA = 'n_frames = 1000000\npace = "realtime"'
CLOCK = """
[loop]
deadline_ms = 5000.0
[triggers.bus]
{trigger}
[stimuli.clock]
random_interval_s = [0.1, 0.1]
seed = 1
triggers = ["bus"]
channel = 0
duration_ms = 10.0
[limits.bus.0]
max_dose_s = 3600.0
[safety]
stall_ms = 400
[recording]
video = "none"
"""


class Receiver:
    """The other program: takes what comes, and remembers it."""

    def __init__(self, socket_: zmq.Socket[bytes]) -> None:
        self._socket = socket_
        self.messages: list[Message] = []

    def read(self) -> list[Message]:
        while self._socket.poll(0):
            message = decode(self._socket.recv())
            if not isinstance(message, HeartbeatMessage):
                self.messages.append(message)
        return self.messages

    def pulses(self) -> int:
        return sum(isinstance(message, PulseMessage) for message in self.read())

    def is_off(self) -> bool:
        """The last word was: everything off."""
        return bool(self.read()) and isinstance(self.messages[-1], AllOffMessage)


@pytest.fixture
def receiver(tmp_path: Path, free_address: str, rig_text: Callable[..., str]) -> Iterator[Receiver]:
    bus = f'driver = "zmq"\naddress = "{free_address}"'
    (tmp_path / "rig.toml").write_text(rig_text(CLOCK.format(trigger=bus), camera=CAMERA))
    with zmq.Context() as context, context.socket(zmq.PULL) as pull:
        pull.bind(free_address)
        yield Receiver(pull)


class Session:
    """`poseloop run` in a process of its own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder / "session"
        command = ["run", str(folder / "rig.toml"), "--json", "--out", str(self.folder), *options]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "realtime.cli", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def order(self, order: str) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "realtime.cli", order, str(self.folder), "--json"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return json.loads(done.stdout)[0] if done.stdout else done.stderr

    def end(self) -> dict[str, Any]:
        out, err = self.process.communicate(timeout=60)
        assert out.strip(), err
        answer: dict[str, Any] = json.loads(out.splitlines()[-1])
        return answer

    def description(self) -> dict[str, Any]:
        description: dict[str, Any] = json.loads((self.folder / "session.json").read_text())
        return description

    def frames(self) -> list[FrameRecord]:
        log = self.folder / "events.log"
        return [record for record in read_log(log) if isinstance(record, FrameRecord)] if log.exists() else []


@pytest.fixture
def armed(wait_for: Callable[..., Any]) -> Callable[[Session], dict[str, Any]]:
    """Arm a session, as soon as there is something to arm; return the answer."""

    def arm(session: Session) -> Any:
        answer = session.order("arm")
        return answer if isinstance(answer, dict) and answer["done"] else None

    return lambda session: wait_for(lambda: arm(session))


@pytest.fixture
def loop_of(child_of: Callable[[int, str], int]) -> Callable[[Session], int]:
    """The process id of a session's loop."""
    return lambda session: child_of(session.process.pid, "realtime.live")


@pytest.fixture
def supervisor_of(child_of: Callable[[int, str], int], loop_of: Callable[[Session], int]) -> Callable[[Session], int]:
    """The process id of a session's supervisor."""
    return lambda session: child_of(loop_of(session), "realtime.supervision")


@pytest.fixture
def start(tmp_path: Path, receiver: Receiver) -> Iterator[Callable[..., Session]]:
    del receiver
    sessions: list[Session] = []

    def begin(*options: str) -> Session:
        sessions.append(Session(tmp_path, *options))
        return sessions[-1]

    yield begin
    for session in sessions:
        if session.process.poll() is None:
            os.kill(session.process.pid, signal.SIGTERM)
            session.process.communicate(timeout=60)


def test_nothing_goes_out_unarmed_and_a_replay_obeys_the_same_orders(
    start: Callable[..., Session],
    receiver: Receiver,
    wait_for: Callable[..., Any],
    armed: Callable[[Session], dict[str, Any]],
) -> None:
    session = start()
    wait_for(lambda: len(session.frames()) > 30)
    assert receiver.pulses() == 0
    assert armed(session)["armed"]
    wait_for(lambda: receiver.pulses() >= 3)
    answer = session.order("disarm")
    assert (answer["done"], answer["armed"]) == (True, False)
    n_pulses = receiver.pulses()
    n_frames = len(session.frames())
    wait_for(lambda: len(session.frames()) > n_frames + 30)
    assert (receiver.pulses(), receiver.is_off()) == (n_pulses, True)
    os.kill(session.process.pid, signal.SIGTERM)
    assert session.end()["exit_code"] == 143, "what a person ordered is no fault"
    orders = [(order.kind, order.refused) for frame in session.frames() for order in frame.orders]
    assert orders == [("arm", ""), ("disarm", "")]
    outcomes = [intent.outcome for frame in session.frames() for intent in frame.intents]
    assert set(outcomes) == {"disarmed", "sent"}
    assert outcomes.count("sent") == n_pulses
    replay = [sys.executable, "-m", "realtime.cli", "replay", str(session.folder), "--from-poses", "--json"]
    done = subprocess.run(replay, capture_output=True, text=True, check=False, timeout=120)
    assert json.loads(done.stdout)["identical"]


def test_arm_at_the_start(start: Callable[..., Session], receiver: Receiver, wait_for: Callable[..., Any]) -> None:
    session = start("--arm")
    wait_for(lambda: receiver.pulses() >= 1)
    assert session.description()["armed_at_start"]


@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGKILL, "the loop's process died"), (signal.SIGSTOP, "the loop stood still")],
    ids=["killed", "stopped"],
)
def test_a_loop_that_dies_or_hangs_is_switched_off_without_it(
    start: Callable[..., Session],
    receiver: Receiver,
    number: int,
    why: str,
    wait_for: Callable[..., Any],
    loop_of: Callable[[Session], int],
) -> None:
    session = start("--arm")
    wait_for(lambda: receiver.pulses() >= 1)
    os.kill(loop_of(session), number)
    wait_for(receiver.is_off, seconds=20.0)
    answer = session.end()
    assert answer["exit_code"] == 128 + signal.SIGKILL
    assert answer["error"]["text"] == (
        f"the loop's process was killed by SIGKILL; {session.folder} is readable; {why}; outputs: bus off"
    )
    assert session.description()["ended"] == f"the supervisor ended it: {why}"
    assert session.frames()
    assert receiver.is_off(), "and it stays so"


def test_a_disarmed_loop_that_stands_still_goes_on_later(
    start: Callable[..., Session],
    wait_for: Callable[..., Any],
    armed: Callable[[Session], dict[str, Any]],
    loop_of: Callable[[Session], int],
    supervisor_of: Callable[[Session], int],
) -> None:
    session = start()
    armed(session)
    session.order("disarm")
    loop, supervisor = loop_of(session), supervisor_of(session)
    os.kill(loop, signal.SIGSTOP)
    since_s = time.monotonic()
    wait_for(lambda: time.monotonic() - since_s > 1.0)
    assert Path(f"/proc/{supervisor}").exists()
    os.kill(loop, signal.SIGCONT)
    assert session.order("arm")["done"]


def test_an_order_to_disarm_does_not_need_the_loop(
    start: Callable[..., Session], receiver: Receiver, wait_for: Callable[..., Any], loop_of: Callable[[Session], int]
) -> None:
    session = start("--arm")
    wait_for(lambda: receiver.pulses() >= 1)
    os.kill(loop_of(session), signal.SIGSTOP)
    answer = session.order("disarm")
    if isinstance(answer, dict):  # unless the supervisor was faster
        assert (answer["done"], answer["armed"]) == (True, False)
        assert answer["text"].endswith("it was ended and its outputs off")
    wait_for(receiver.is_off, seconds=20.0)


def test_without_its_supervisor_a_session_disarms_and_says_so(
    start: Callable[..., Session],
    receiver: Receiver,
    wait_for: Callable[..., Any],
    supervisor_of: Callable[[Session], int],
) -> None:
    session = start("--arm")
    wait_for(lambda: receiver.pulses() >= 1)
    os.kill(supervisor_of(session), signal.SIGKILL)
    wait_for(lambda: any(order.is_fault for frame in session.frames() for order in frame.orders))
    wait_for(receiver.is_off)
    os.kill(session.process.pid, signal.SIGTERM)
    answer = session.end()
    assert (answer["fault"], answer["exit_code"]) == ("the supervisor process ended by itself", 3)


class Stimulator:
    """A stimulator without hardware, in a process of its own, plugged in at `port`."""

    def __init__(self, folder: Path, port: Path) -> None:
        self._log = folder / "device.jsonl"
        self._log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "triggers.simulated", "--end-with-stdin", "--log", str(self._log)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        plug = folder / "plug"
        plug.symlink_to(self.process.stdout.readline().strip())
        plug.replace(port)

    def pulses(self) -> int:
        """How often an output went on."""
        edges = [json.loads(line) for line in self._log.read_text().splitlines()] if self._log.exists() else []
        return sum(edge["record"] == "edge" and edge["on"] for edge in edges)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_a_device_that_is_plugged_in_again_waits_for_somebody_to_arm(
    start: Callable[..., Session],
    tmp_path: Path,
    rig_text: Callable[..., str],
    wait_for: Callable[..., Any],
    armed: Callable[[Session], dict[str, Any]],
) -> None:
    port = tmp_path / "laser"
    device = Stimulator(tmp_path, port)
    trigger = f'driver = "serial"\nport = "{port}"\nack_timeout_ms = 2000'
    (tmp_path / "rig.toml").write_text(rig_text(CLOCK.format(trigger=trigger), camera=CAMERA))
    session = start("--arm")
    wait_for(lambda: device.pulses() >= 1)
    device.end()
    reported: list[str] = []
    wait_for(lambda: reported.extend(e.kind for f in session.frames() for e in f.trigger_events) or "fault" in reported)
    assert not session.order("arm")["done"], "there is nothing to arm"
    again = Stimulator(tmp_path, port)
    wait_for(
        lambda: reported.extend(e.kind for f in session.frames() for e in f.trigger_events) or "reopened" in reported
    )
    n_frames = len(session.frames())
    wait_for(lambda: len(session.frames()) > n_frames + 20)
    assert again.pulses() == 0
    assert armed(session)["armed"]
    wait_for(lambda: again.pulses() >= 1)
    os.kill(session.process.pid, signal.SIGTERM)
    answer = session.end()
    again.end()
    assert (answer["exit_code"], answer["fault"]) == (143, ""), "the fault is over, and in the record"
    replay = [sys.executable, "-m", "realtime.cli", "replay", str(session.folder), "--from-poses", "--json"]
    done = subprocess.run(replay, capture_output=True, text=True, check=False, timeout=120)
    assert json.loads(done.stdout)["identical"]
