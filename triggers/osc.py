"""Driver `osc`: Open Sound Control messages over UDP to another program, for marking what was sent elsewhere.

Nothing is acknowledged and no output is known of: what the other program does with a message, and whether it got it,
cannot be known. Only a port of this computer at which nobody listens is noticed.
"""

import ipaddress
import socket
import time
from collections.abc import Callable
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, field_validator

from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.osc_message import Argument, check_address, encode
from triggers.pulse import Pulse

_NOBODY = "nobody listens there"


class OscOptions(BaseModel):
    """Settings of driver `osc`.

    Attributes:
        host: Name or address of the computer to which the messages go.
        port: UDP port there.
        allow_network: Must be true for another computer: anybody on the way can read and forge OSC messages.
        prefix: Stands before the address of every message.
        heartbeat_ms: A sign of life is sent this often, ms.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=9000, ge=1, le=65_535)
    allow_network: bool = False
    prefix: str = "/poseloop"
    heartbeat_ms: int = Field(default=500, ge=1, le=60_000)

    @field_validator("prefix")
    @classmethod
    def _prefix_is_an_address(cls, prefix: str) -> str:
        check_address(prefix)
        return prefix.rstrip("/")


class OscTrigger(Trigger):
    """Sends one datagram for each command.

    Args:
        options: Settings.
        now_ns: Host monotonic clock, ns.

    Attributes:
        n_undelivered: Messages that could not be sent, or that nobody listened for, heartbeats included.
    """

    Options: ClassVar[type[BaseModel]] = OscOptions

    def __init__(self, options: OscOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._options = options
        self._now_ns = now_ns
        self._socket: socket.socket | None = None
        self._begin()

    def _begin(self) -> None:
        self._beat_ns = self._now_ns()
        self._lost: str | None = None
        self._events: list[TriggerEvent] = []
        self.n_undelivered = 0

    def open(self) -> TriggerInfo:
        """Open the socket and tell the receiver to switch everything off."""
        if self._socket is not None:
            raise TriggerNotOpenError(f"{self._where()}: already open here; close it first")
        self._begin()
        self._socket = self._connect()
        self.all_off()
        if self._lost is not None:
            self._socket.close()
            self._socket = None
            raise TriggerNotOpenError(f"{self._where()}: {self._lost}; start the receiver first")
        device = {"prefix": self._options.prefix}
        return TriggerInfo("osc", self._address(), device, acknowledges=False, dead_man_ms=None)

    def _connect(self) -> socket.socket:
        """Return a socket that sends to the receiver, takes messages from nobody else, and never waits."""
        options = self._options
        try:
            family, kind, protocol, _, peer = socket.getaddrinfo(options.host, options.port, type=socket.SOCK_DGRAM)[0]
        except OSError as error:
            raise TriggerNotOpenError(f"{self._where()}: no such host: {error.strerror or error}") from error
        if not options.allow_network and not ipaddress.ip_address(peer[0]).is_loopback:
            raise TriggerNotOpenError(
                f"{self._where()}: expected an address of this computer such as 127.0.0.1, or allow_network = true; "
                "anybody on the way can read and forge OSC messages"
            )
        sock = socket.socket(family, kind, protocol)
        sock.setblocking(False)
        try:
            sock.connect(peer)
        except OSError as error:
            sock.close()
            raise TriggerNotOpenError(f"{self._where()}: cannot send there: {error.strerror or error}") from error
        return sock

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Send `PREFIX/pulse`; the receipt says whether it could be sent. One that has expired is not sent."""
        self._check_open()
        now_ns = self._now_ns()
        if now_ns > expires_ns:
            detail = f"{self._where()}: the command came too late"
            self._events.append(TriggerEvent("refused", command_id, now_ns, detail=detail))
            return FireReceipt(command_id, now_ns, delivered=False)
        delivered = self._send(
            "pulse",
            (command_id & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000,  # OSC has no unsigned int.
            pulse.channel,
            pulse.duration_us / 1000,
            float(pulse.intensity),
            float(pulse.train_hz or 0.0),
            (pulse.width_us or 0) / 1000,
        )
        return FireReceipt(command_id, self._now_ns(), delivered=delivered)

    def poll(self) -> tuple[TriggerEvent, ...]:
        """Send the heartbeat if one is due; report once that nobody listens any more."""
        if self._socket is not None and self._now_ns() - self._beat_ns >= self._options.heartbeat_ms * 1_000_000:
            self._beat_ns = self._now_ns()
            self._send("heartbeat")
        events = tuple(self._events)
        self._events.clear()
        return events

    def stop(self, channel: int) -> bool:
        """Send `PREFIX/stop`."""
        self._check_open()
        self._send("stop", channel)
        return False

    def all_off(self) -> None:
        """Send `PREFIX/all_off`."""
        if self._socket is not None:
            self._send("all_off")

    def close(self) -> None:
        """Send `PREFIX/all_off` and release the socket."""
        self.all_off()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _check_open(self) -> None:
        if self._socket is None:
            raise TriggerFailedError(f"{self._where()}: not open; open it first")

    def _send(self, name: str, *arguments: Argument) -> bool:
        """Send one message; return False if it is known to be lost."""
        assert self._socket is not None  # noqa: S101  # Its callers have looked.
        why = _send_datagram(self._socket, encode(f"{self._options.prefix}/{name}", *arguments))
        if why is not None:
            self.n_undelivered += 1
            if self._lost is None:
                detail = f"{self._where()}: {why}; is the receiver still running?"
                self._events.append(TriggerEvent("fault", None, self._now_ns(), detail=detail))
        self._lost = why
        return why is None

    def _address(self) -> str:
        return f"{self._options.host}:{self._options.port}"

    def _where(self) -> str:
        return f"osc {self._address()}"


def _send_datagram(sock: socket.socket, data: bytes) -> str | None:
    """Send without waiting; return why it is lost, or None.

    On this computer the refusal of a port at which nobody listens is there at once; from another one it comes later, if
    at all, and is then found by a later message.
    """
    for _ in range(2):
        try:
            sock.send(data)
        except ConnectionRefusedError:
            continue  # About an earlier message; this one was not sent.
        except BlockingIOError:
            return "the socket's buffer is full"
        except OSError as error:
            return f"cannot be sent: {error.strerror or error}"
        return _NOBODY if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) else None
    return _NOBODY
