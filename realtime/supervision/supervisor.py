"""The supervisor process: `python -m realtime.supervision.supervisor`, started by `SupervisorLink`.

It does nothing but wait: for beats of the loop, for the loop's end, for people's orders. When the loop dies without a
goodbye, stands still while armed, or does not answer an order to disarm, it kills the loop's process, so that the
devices are free, and opens each of them anew to switch everything off. That way does not depend on anything in the
loop; a device with a dead-man switch has been off for long by then.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from realtime import folder as session_folder
from realtime.supervision.order_sockets import OrderSockets
from realtime.supervision.protocol import (
    MAX_MESSAGE_BYTES,
    Answer,
    Ask,
    Beat,
    Closing,
    FromLoop,
    Goodbye,
    NotReady,
    Obeyed,
    OrderMessage,
    Ready,
    Spec,
)
from realtime.supervision.switching_off import Outcome, switch_off
from triggers.errors import TriggerError

CONFIRM_NS = 250_000_000
"""So long the loop has to answer an order; a person who wants it off does not wait longer."""
CLOSING_NS = 10_000_000_000
_POLL_MS = 20


@dataclass(slots=True)
class _Pending:
    """An order that was passed on and has not been answered."""

    ask: Ask
    number: int
    since_ns: int


class Supervisor:
    """Decides, from what the loop and people say and from the time, what to answer and when to step in.

    Pure but for its socket to the loop: whoever runs it hands it what came, and does what it returns.

    Args:
        loop: Our end of the socket pair.
        stall_ns: While armed, so long without a beat is a stall.
        session: The session's folder, for the answers.
    """

    def __init__(self, loop: socket.socket, stall_ns: int, session: str) -> None:
        self._loop = loop
        self._stall_ns = stall_ns
        self._session = session
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(FromLoop).decode
        self._disarmed = "the loop has not begun"
        self._deadline_ns: int | None = None  # for the next sign of life, where one is owed
        self._pending: _Pending | None = None
        self._n_orders = 0
        self.ended = False
        """The loop has said goodbye."""

    @property
    def busy(self) -> bool:
        """An order waits for the loop; the next question has to wait too."""
        return self._pending is not None

    def ask(self, ask: Ask, now_ns: int) -> Answer | None:
        """Take a person's question; return the answer, or None if the loop has to be heard first."""
        if ask.order == "state":
            return self._answer(done=True, text=self._disarmed)
        self._n_orders += 1
        self._pending = _Pending(ask, self._n_orders, now_ns)
        with suppress(OSError):  # behind or dead, which is found out soon
            self._loop.send(self._encode(OrderMessage(ask.order, ask.by, now_ns, self._n_orders)))
        return None

    def hear(self, now_ns: int) -> tuple[Answer | None, str]:
        """Read what the loop said; return the answer to the pending order, if it came, and why to step in, if so."""
        answer: Answer | None = None
        while True:
            try:
                data = self._loop.recv(MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return answer, self._overdue(now_ns)
            except ConnectionResetError:
                continue  # told once: it has gone without reading all we said; what it said before is still to be read
            if not data:
                return answer, "" if self.ended else "the loop's process died"
            answer = self._take(self._decode(data), now_ns) or answer

    def _take(self, message: Beat | Obeyed | Closing | Goodbye, now_ns: int) -> Answer | None:
        match message:
            case Beat(disarmed) | Obeyed(_, _, disarmed):
                self._disarmed = disarmed
                self._deadline_ns = None if disarmed else now_ns + self._stall_ns
            case Closing():
                self._disarmed = "the session is ending"
                self._deadline_ns = now_ns + CLOSING_NS
            case Goodbye():
                self.ended = True
        if not isinstance(message, Obeyed) or self._pending is None or message.number != self._pending.number:
            return None
        self._pending = None
        return self._answer(done=not message.refused, text=message.refused or self._disarmed)

    def _overdue(self, now_ns: int) -> str:
        """Return why to step in: nothing was heard for too long."""
        if self.ended:
            return ""
        if self._deadline_ns is not None and now_ns > self._deadline_ns:
            return "the loop stood still"
        pending = self._pending
        if pending is not None and pending.ask.order == "disarm" and now_ns - pending.since_ns > CONFIRM_NS:
            return f"the loop did not answer the order to disarm ({pending.ask.by})"
        return ""

    def give_up(self, now_ns: int) -> Answer | None:
        """Return the answer to an order that nobody can answer any more, or None."""
        pending = self._pending
        if pending is None or not (self.ended or now_ns - pending.since_ns > CONFIRM_NS):
            return None
        self._pending = None
        if self.ended:
            return Answer(pending.ask.order == "disarm", False, "the session has ended", self._session)
        return self._answer(done=False, text="the loop did not answer; is its camera running?")

    def stepped_in(self, why: str) -> Answer | None:
        """Return the answer to the pending order now that everything was switched off, or None if there is none."""
        pending, self._pending = self._pending, None
        if pending is None:
            return None
        return Answer(pending.ask.order == "disarm", False, f"{why}; it was ended and its outputs off", self._session)

    def _answer(self, *, done: bool, text: str) -> Answer:
        return Answer(done, not self._disarmed, text, self._session)


def watch(spec: Spec, loop: socket.socket, sockets: OrderSockets, kill: Callable[[], None]) -> str:
    """Watch until the loop says goodbye, or something is wrong; return what is wrong, once the loop has been killed."""
    supervisor = Supervisor(loop, round(spec.stall_ms * 1e6), spec.session)
    poll = select.poll()
    poll.register(loop, select.POLLIN)
    for fd in sockets.fds:
        poll.register(fd, select.POLLIN)
    while not supervisor.ended:
        poll.poll(_POLL_MS)
        now_ns = time.monotonic_ns()
        # All that it said, before it is judged by the time: this process may have slept as well.
        answer, why = supervisor.hear(now_ns)
        if why:
            kill()
            outcomes = switch_off(spec.triggers)
            sockets.answer(supervisor.stepped_in(why))
            _report(spec, why, outcomes)
            return why
        sockets.answer(answer or supervisor.give_up(now_ns))
        if not supervisor.busy:
            ask = sockets.next()
            if ask is not None:
                sockets.answer(supervisor.ask(ask, now_ns))
    return ""


def _report(spec: Spec, why: str, outcomes: Sequence[Outcome]) -> None:
    """Write what was done where people look: the session's description, and the terminal."""
    found = {"reason": why, "outputs": {outcome.trigger: outcome.text for outcome in outcomes}}
    folder = Path(spec.session)
    with suppress(OSError):  # it died before it had a description
        description = session_folder.read_description(folder)
        description["ended"] = f"the supervisor ended it: {why}"
        description["supervisor"] = found
        session_folder.write_description(folder, description)
    if spec.status_fd is not None:
        with suppress(OSError):
            os.set_blocking(spec.status_fd, True)
            os.write(spec.status_fd, json.dumps({"supervisor": found}).encode() + b"\n")


def _killer(pid_fd: int) -> Callable[[], None]:
    def kill() -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pid_fd, signal.SIGKILL)
        gone = select.poll()
        gone.register(pid_fd, select.POLLIN)
        gone.poll(1000)  # its ports and locks are free only then

    return kill


def _send(loop: socket.socket, message: Ready | NotReady) -> None:
    with suppress(OSError):  # the session could not be started, and has gone already
        loop.send(msgspec.json.encode(message))


def main() -> int:
    """Watch the process that started this one; return 0 after its goodbye, 1 if something was wrong."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # it ends with the loop, and not before
    pid_fd = os.pidfd_open(os.getppid())
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=Spec)
    loop = socket.socket(fileno=spec.socket_fd)
    with ExitStack() as opened:
        try:
            sockets = opened.enter_context(OrderSockets(spec))
        except (TriggerError, OSError) as error:
            _send(loop, NotReady(str(error)))
            return 1
        loop.setblocking(False)
        _send(loop, Ready(sockets.addresses))
        return 1 if watch(spec, loop, sockets, _killer(pid_fd)) else 0


if __name__ == "__main__":
    sys.exit(main())
