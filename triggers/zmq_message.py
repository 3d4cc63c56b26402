"""Messages of driver `zmq`, for the sender and for receivers in Python (described in triggers/README.md).

Every message is one ZeroMQ frame that holds one JSON or MessagePack object.
"""

import time
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

MAX_MESSAGE_BYTES = 4096


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """What every message says.

    Attributes:
        version: Of this format.
        source: Unique to one session of one trigger.
        sequence: Counts the source's messages from 0; a gap means lost ones.
        boot: Names the sender's running kernel; where it is the receiver's too, their monotonic clocks are the same.
        sent_monotonic_ns: Sender's monotonic clock, ns.
        sent_unix_ns: Sender's wall clock, ns since 1970.
        expires_monotonic_ns: When the message must not be acted on any more, ns; None = never.
        expires_unix_ns: The same moment on the wall clock, ns since 1970; None = never.
    """

    version: Literal[1] = 1
    source: str
    sequence: int
    boot: str
    sent_monotonic_ns: int
    sent_unix_ns: int
    expires_monotonic_ns: int | None
    expires_unix_ns: int | None

    def is_expired(self) -> bool:
        """Return whether the message must not be acted on any more.

        Between two computers this is as good as their wall clocks agree.
        """
        if self.expires_monotonic_ns is None or self.expires_unix_ns is None:
            return False
        if self.boot and self.boot == boot_id():
            return time.monotonic_ns() > self.expires_monotonic_ns
        return time.time_ns() > self.expires_unix_ns


class PulseMessage(_Message, tag="pulse", frozen=True, kw_only=True):
    """Put out one pulse or train now.

    Attributes:
        command_id: Unique in the session.
        channel: Output, from 0.
        duration_us: From the first rising edge to the end, µs.
        intensity: 0–1.
        train_hz: Pulses a second; None for one unbroken pulse.
        width_us: Width of each pulse of a train, µs; None for one unbroken pulse.
    """

    command_id: int
    channel: int
    duration_us: int
    intensity: float
    train_hz: float | None
    width_us: int | None


class StopMessage(_Message, tag="stop", frozen=True, kw_only=True):
    """One channel off now.

    Attributes:
        channel: Output, from 0.
    """

    channel: int


class AllOffMessage(_Message, tag="all_off", frozen=True, kw_only=True):
    """Every output off now."""


class HeartbeatMessage(_Message, tag="heartbeat", frozen=True, kw_only=True):
    """The sender is alive."""


Message = PulseMessage | StopMessage | AllOffMessage | HeartbeatMessage

_JSON: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
_MSGPACK: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def decode(data: bytes) -> Message:
    """Return the message in one frame, JSON or MessagePack.

    Raises:
        ValueError: It is longer than 4096 bytes, is neither, or lacks something; the message says what.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"zmq message: expected up to {MAX_MESSAGE_BYTES} bytes, got {len(data)}")
    try:
        return _JSON.decode(data) if data.startswith(b"{") else _MSGPACK.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"zmq message: {error}") from error


@cache
def boot_id() -> str:
    """Return what names this running kernel, or an empty string where nothing does."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="ascii").strip() if path.exists() else ""
