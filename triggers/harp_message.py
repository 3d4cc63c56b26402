"""Messages of the Harp protocol, 8 bits, as bytes (https://harp-tech.org/protocol/BinaryProtocol-8bit.html).

type u8 | length u8 of what follows | register u8 | port u8 | payload type u8 | payload | sum of all before u8
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

READ, WRITE, EVENT = 1, 2, 3
ERROR = 0x08  # Set in the type of an answer that refuses.
U8: Literal[1] = 1
U16: Literal[2] = 2
_TIMESTAMP = 0x10  # Set in the payload type if seconds u32 and a count of 32 µs u16 stand before the payload.
_SELF = 0xFF  # The port of the device itself.
_TYPES = frozenset({READ, WRITE, EVENT, READ | ERROR, WRITE | ERROR, EVENT | ERROR})
_MIN_LENGTH = 4
_MAX_LENGTH = 64  # The longest register of a device has 25 bytes; a longer message is noise.


@dataclass(frozen=True, slots=True)
class Message:
    """One message from a device.

    Attributes:
        kind: `READ`, `WRITE` or `EVENT`.
        register: Address of the register.
        is_error: True if the device refused.
        value: Unsigned number of one byte or word; None for anything else.
        device_us: When the register was read or written, on the device's clock, µs; None if it does not say.
    """

    kind: int
    register: int
    is_error: bool
    value: int | None
    device_us: int | None


def read(register: int, size: Literal[1, 2]) -> bytes:
    """Return the question for a register of `U8` or `U16`."""
    return _frame(READ, register, size, b"")


def write(register: int, size: Literal[1, 2], value: int) -> bytes:
    """Return the command that writes a register of `U8` or `U16`."""
    return _frame(WRITE, register, size, value.to_bytes(size, "little"))


def _frame(kind: int, register: int, payload_type: int, payload: bytes) -> bytes:
    data = bytes((kind, _MIN_LENGTH + len(payload), register, _SELF, payload_type)) + payload
    return data + bytes((sum(data) & 0xFF,))


class Parser:
    """Finds messages in bytes as they come; what is damaged is skipped."""

    def __init__(self) -> None:
        self._unread = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Take in bytes, and return every message that is whole by now."""
        self._unread += data
        while len(self._unread) >= 2:
            end = self._unread[1] + 2
            if self._unread[0] not in _TYPES or not _MIN_LENGTH <= self._unread[1] <= _MAX_LENGTH:
                self._unread = self._unread[1:]
            elif len(self._unread) < end:
                return
            elif sum(self._unread[: end - 1]) & 0xFF != self._unread[end - 1]:
                self._unread = self._unread[1:]
            else:
                frame, self._unread = self._unread[:end], self._unread[end:]
                yield _decode(frame)


def _decode(frame: bytes) -> Message:
    payload_type, payload = frame[4], frame[5:-1]
    device_us = None
    if payload_type & _TIMESTAMP and len(payload) >= 6:
        seconds, ticks = struct.unpack_from("<IH", payload)
        device_us = seconds * 1_000_000 + ticks * 32
        payload_type, payload = payload_type & ~_TIMESTAMP, payload[6:]
    is_number = payload_type == len(payload) and payload_type in {U8, U16}
    value = int.from_bytes(payload, "little") if is_number else None
    return Message(frame[0] & ~ERROR, frame[2], bool(frame[0] & ERROR), value, device_us)
