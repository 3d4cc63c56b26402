"""SupervisorLink: the loop's end of its connection to the supervisor process."""

import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from realtime.rig import Choice
from realtime.stimulus import Order, SafetyOptions
from realtime.supervision.protocol import (
    MAX_MESSAGE_BYTES,
    Beat,
    Closing,
    FromSupervisor,
    Goodbye,
    NotReady,
    Obeyed,
    OrderMessage,
    Ready,
    Spec,
    TriggerSpec,
)

BEAT_NS = 50_000_000
_READ_NS = 5_000_000  # a system call in every turn of a spinning loop would be a waste
_START_WAIT_S = 20.0  # a machine under load may take seconds to start an interpreter
_END_WAIT_S = 5.0
_DIED = "the supervisor process ended by itself"


class SupervisorError(RuntimeError):
    """The supervisor could not be started."""


class SupervisorLink:
    """Starts the supervisor, tells it that the loop lives, and brings a person's orders; an `Orders`.

    Args:
        safety: From the rig.
        triggers: From the rig, by name; those that it would open anew. Empty for a dry run.
        session: The session's folder.
        status_fd: Pipe to the command line, which is told there if the supervisor had to act, or None.
        now_ns: Host monotonic clock, ns.

    Attributes:
        addresses: Where orders are taken; empty until `open`.
    """

    def __init__(
        self,
        safety: SafetyOptions,
        triggers: Mapping[str, Choice],
        session: Path,
        status_fd: int | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.addresses: tuple[str, ...] = ()
        self._now_ns = now_ns
        self._beat_ns = self._read_ns = 0
        self._told: str | None = None
        self._encode = msgspec.json.Encoder().encode
        self._decode = msgspec.json.Decoder(FromSupervisor).decode
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fds = (theirs.fileno(),) if status_fd is None else (theirs.fileno(), status_fd)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "realtime.supervision.supervisor"],
                stdin=subprocess.PIPE,
                pass_fds=fds,
                start_new_session=True,  # Ctrl-C is for the loop
            )
            spec = Spec(
                session=str(session.absolute()),
                stall_ms=safety.stall_ms,
                triggers={name: _spec(choice) for name, choice in triggers.items()},
                address=safety.address,
                secret_key_file=safety.secret_key_file,
                peer_key_file=safety.peer_key_file,
                socket_fd=theirs.fileno(),
                status_fd=status_fd,
            )
            if self._process.stdin is not None:
                with self._process.stdin as pipe:
                    pipe.write(self._encode(spec))
        self._alive = True

    def open(self) -> None:
        """Wait until the supervisor watches.

        Raises:
            SupervisorError: It does not; the message says why.
        """
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        data = self._socket.recv(MAX_MESSAGE_BYTES) if poll.poll(_START_WAIT_S * 1e3) else None
        message = self._decode(data) if data else None
        if isinstance(message, Ready):
            self.addresses = message.addresses
            self._socket.setblocking(False)
            return
        if isinstance(message, NotReady):
            raise SupervisorError(f"supervisor: {message.reason}")
        what = f"none within {_START_WAIT_S:g} s" if data is None else "its end"
        raise SupervisorError(f"supervisor: expected a process that watches the loop, got {what}")

    def take(self, disarmed: str) -> Sequence[Order]:
        """Return the orders that came, and send the beat when it is due or things have changed."""
        now_ns = self._now_ns()
        if now_ns - self._beat_ns >= BEAT_NS or disarmed != self._told:
            self._beat_ns, self._told = now_ns, disarmed
            self._send(Beat(disarmed))
        if now_ns - self._read_ns < _READ_NS or not self._alive:
            return ()
        self._read_ns = now_ns
        return self._orders(now_ns)

    def _orders(self, now_ns: int) -> list[Order]:
        orders: list[Order] = []
        while True:
            try:
                data = self._socket.recv(MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return orders
            except OSError:
                data = b""
            if not data:
                self._alive = False
                return [*orders, Order("disarm", _DIED, now_ns, is_fault=True)]
            message = self._decode(data)
            if isinstance(message, OrderMessage):
                orders.append(Order(message.kind, message.by, message.host_ns, number=message.number))

    def answer(self, order: Order, disarmed: str) -> None:
        """Tell the supervisor what came of an order."""
        self._told = disarmed
        self._send(Obeyed(order.number, order.refused, disarmed))

    def close(self, *, off: bool) -> None:
        """Say that the outputs are being closed, or that they are closed; then the supervisor ends."""
        self._send(Goodbye() if off else Closing())
        if off:
            self.end()

    def end(self) -> None:
        """Release everything; without a goodbye before it the supervisor steps in. May be called twice."""
        self._alive = False
        self._socket.close()
        try:
            self._process.wait(_END_WAIT_S)
        except subprocess.TimeoutExpired:  # it ends by itself, as soon as what it waits for answers
            return

    def _send(self, message: Beat | Obeyed | Closing | Goodbye) -> None:
        try:
            self._socket.send(self._encode(message))
        except OSError:  # it is behind, which it finds out itself, or dead, which `take` finds out
            return


def _spec(choice: Choice) -> TriggerSpec:
    return TriggerSpec(choice.name, choice.options.model_dump(mode="json", exclude_none=True))
