"""Driver `zmq`: pulses as messages to another program, for stimuli that are not on a wire of ours."""

import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import zmq
from pydantic import BaseModel, ConfigDict, Field, model_validator

from triggers.base import FireReceipt, Trigger, TriggerEvent, TriggerInfo
from triggers.errors import TriggerFailedError, TriggerNotOpenError
from triggers.pulse import Pulse
from triggers.zmq_message import AllOffMessage, HeartbeatMessage, Message, PulseMessage, StopMessage, boot_id
from triggers.zmq_socket import Endpoint, PeerSocket

_ENCODERS: dict[str, Callable[[Message], bytes]] = {"json": msgspec.json.encode, "msgpack": msgspec.msgpack.encode}
_KINDS = {"push": zmq.PUSH, "pub": zmq.PUB}


class ZmqOptions(BaseModel):
    """Settings of driver `zmq`.

    Attributes:
        address: As ZeroMQ writes it; beyond this computer only with keys.
        pattern: `push` hands each command to one receiver and knows when there is none; `pub` sends to whoever
            listens and knows nothing.
        bind: True to own the address, False to connect to it. By default `push` connects, so that only one receiver
            can own the address and no second one takes every other command, and `pub` binds.
        encoding: Of the messages.
        topic: Put before each message as a frame of its own; only with `pub`.
        heartbeat_ms: A sign of life is sent this often, ms.
        connect_wait_s: How long `push` waits for its receiver when it opens, s.
        secret_key_file: Our own CURVE key pair.
        peer_key_file: The receiver's public CURVE key.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    address: str = "tcp://127.0.0.1:5571"
    pattern: Literal["push", "pub"] = "push"
    bind: bool | None = None
    encoding: Literal["json", "msgpack"] = "json"
    topic: str = ""
    heartbeat_ms: int = Field(default=50, ge=1, le=10_000)
    connect_wait_s: float = Field(default=2.0, ge=0.0, le=30.0)
    secret_key_file: Annotated[Path | None, Field(strict=False)] = None
    peer_key_file: Annotated[Path | None, Field(strict=False)] = None

    @model_validator(mode="after")
    def _topic_needs_pub(self) -> Self:
        if self.topic and self.pattern != "pub":
            raise ValueError(f'topic: expected none with pattern "push", got "{self.topic}"')
        return self


class ZmqTrigger(Trigger):
    """Sends commands to another program. What that program does with them cannot be known: it does not answer.

    Args:
        options: Settings.
        now_ns: Host monotonic clock, ns.

    Attributes:
        n_undelivered: Messages that nobody took, heartbeats included.
    """

    Options: ClassVar[type[BaseModel]] = ZmqOptions

    def __init__(self, options: ZmqOptions, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._options = options
        self._now_ns = now_ns
        self._peer: PeerSocket | None = None
        self._encode = _ENCODERS[options.encoding]
        self._prefix = (options.topic.encode(),) if options.topic else ()
        self._begin()

    def _begin(self) -> None:
        self._source = uuid.uuid4().hex
        self._sequence = 0
        self._beat_ns = 0
        self._taken = True
        self._events: list[TriggerEvent] = []
        self.n_undelivered = 0

    def open(self) -> TriggerInfo:
        """Open the socket and, with `push`, wait for the receiver; tell it to switch everything off."""
        options = self._options
        if self._peer is not None:
            raise TriggerNotOpenError(f"zmq {options.address}: already open here; close it first")
        self._begin()
        bind = options.pattern == "pub" if options.bind is None else options.bind
        endpoint = Endpoint(options.address, bind, options.secret_key_file, options.peer_key_file)
        peer = PeerSocket(_KINDS[options.pattern], endpoint)
        if options.pattern == "push" and not _wait_for_receiver(peer.socket, options.connect_wait_s):
            peer.close()
            raise TriggerNotOpenError(
                f"zmq {options.address}: expected a receiver within {options.connect_wait_s:g} s, got none; start it "
                'first, or use pattern "pub" if it may be missing'
            )
        self._peer = peer
        self.all_off()
        device = {"pattern": options.pattern, "encoding": options.encoding, "source": self._source}
        return TriggerInfo("zmq", options.address, device, acknowledges=False, dead_man_ms=None)

    def fire(self, pulse: Pulse, command_id: int, expires_ns: int) -> FireReceipt:
        """Send one pulse command; the receipt says whether anybody took it."""
        delivered = self._send(
            PulseMessage(
                **self._header(expires_ns),
                command_id=command_id,
                channel=pulse.channel,
                duration_us=pulse.duration_us,
                intensity=pulse.intensity,
                train_hz=pulse.train_hz,
                width_us=pulse.width_us,
            )
        )
        return FireReceipt(command_id, self._now_ns(), delivered=delivered)

    def poll(self) -> tuple[TriggerEvent, ...]:
        """Send the heartbeat if one is due; report once that nobody takes the messages any more."""
        if self._peer is not None and self._now_ns() - self._beat_ns >= self._options.heartbeat_ms * 1_000_000:
            self._beat_ns = self._now_ns()
            self._send(HeartbeatMessage(**self._header()))
        events = tuple(self._events)
        self._events.clear()
        return events

    def stop(self, channel: int) -> bool:
        """Ask for one channel to be switched off now."""
        self._send(StopMessage(**self._header(), channel=channel))
        return False

    def all_off(self) -> None:
        """Ask for every output to be switched off now."""
        if self._peer is not None:
            self._send(AllOffMessage(**self._header()))

    def close(self) -> None:
        """Ask for every output to be switched off and release the socket."""
        self.all_off()
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    def _send(self, message: Message) -> bool:
        """Hand a message over if somebody takes it now; return whether."""
        if self._peer is None:
            raise TriggerFailedError(f"zmq {self._options.address}: not open; open it first")
        try:
            self._peer.socket.send_multipart((*self._prefix, self._encode(message)), zmq.DONTWAIT)
        except zmq.Again:
            self.n_undelivered += 1
            if self._taken:
                detail = f"zmq {self._options.address}: nobody takes the messages; is the receiver still running?"
                self._events.append(TriggerEvent("fault", None, self._now_ns(), detail=detail))
            self._taken = False
            return False
        self._taken = True
        return True

    def _header(self, expires_ns: int | None = None) -> dict[str, Any]:
        """Return what every message says, with the next sequence number."""
        now_ns, unix_ns = self._now_ns(), time.time_ns()
        self._sequence += 1
        return {
            "source": self._source,
            "sequence": self._sequence - 1,
            "boot": boot_id(),
            "sent_monotonic_ns": now_ns,
            "sent_unix_ns": unix_ns,
            "expires_monotonic_ns": expires_ns,
            "expires_unix_ns": None if expires_ns is None else unix_ns + expires_ns - now_ns,
        }


def _wait_for_receiver(socket: zmq.Socket[bytes], timeout_s: float) -> bool:
    """Return whether a receiver connected in time."""
    deadline_s = time.monotonic() + timeout_s
    while not socket.poll(20, zmq.POLLOUT):
        if time.monotonic() > deadline_s:
            return False
    return True
