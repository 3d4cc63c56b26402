"""Bytes of our serial protocol: messages into frames and back (described byte by byte in triggers/README.md).

A frame is `00 | COBS(version, type, id, payload, CRC-16) | 00`, numbers little-endian. COBS (Cheshire & Baker, 1999)
keeps the byte 00 out of a frame, so a receiver that has lost its place is back in step at the next 00: no length to
trust, nothing to search for, and a torn frame never swallows the one that follows. The CRC is CRC-16/CCITT-FALSE
(polynomial 0x1021, start 0xFFFF). Every type has a fixed size. One frame is shorter than its header would be, because
its time on the line is a stimulus's latency: `Fire`.
"""

import binascii
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

PROTOCOL_VERSION = 1
DELIMITER = b"\x00"
CRC_START = 0xFFFF
MAX_BLOCK_BYTES = 64  # Longest COBS block that a receiver keeps; fits an Arduino Uno's buffer.
FULL_INTENSITY = 0xFFFF
NAME_BYTES = 16
U32 = 0xFFFF_FFFF
N_SLOTS = 8  # Pulses that a device stores.
STORES_SINCE = (1, 1)  # The first firmware that does.
EXTENDS_SINCE = (1, 2)  # The first firmware that knows `Extend`.
FIRE_ID_BITS = 12
FIRE_MARK = 0x80  # Versions are smaller, so that the first byte tells a `Fire` from a header.
FIRE_BODY = struct.Struct("<BBH")
FIRE_AHEAD_MS = 0x3FFF  # The 16 bits of an expiry mean up to this long ahead of the host's clock; all else is past.

_FIRE_FRAME = struct.Struct("<BBBBHHB")  # Delimiter, COBS code, body, CRC, delimiter.
_HEADER = struct.Struct("<BBI")
_CRC = struct.Struct("<H")


class RefusalReason(IntEnum):
    """Why a device would not carry out a command."""

    NO_HELLO = 1
    EXPIRED = 2
    BUSY = 3
    BAD_CHANNEL = 4
    BAD_VALUE = 5
    MAX_ON = 6
    MAX_DUTY = 7
    NO_SLOT = 8
    REPLAYED = 9
    NOT_RUNNING = 10


class EndReason(IntEnum):
    """Why a pulse or train ended."""

    FINISHED = 0
    STOPPED = 1
    ALL_OFF = 2
    DEAD_MAN = 3


@dataclass(frozen=True, slots=True)
class Hello:
    """Host: begin a session. The device switches everything off, forgets lowered limits, answers `Identity`.

    Attributes:
        id: Counter of the host's own frames.
        host_ms: Host monotonic clock, ms, modulo 2³².
    """

    TYPE: ClassVar[int] = 0x01
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<I")
    id: int
    host_ms: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Host: lower the device's caps; a value above the present one changes nothing. Answered by `Identity`.

    Attributes:
        id: Counter of the host's own frames.
        max_on_us: Longest unbroken on-time, µs.
        max_duty_permille: Largest share of time that a channel is on, ‰.
        dead_man_ms: Everything off this long after the last valid frame, ms.
    """

    TYPE: ClassVar[int] = 0x02
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<IHH")
    id: int
    max_on_us: int
    max_duty_permille: int
    dead_man_ms: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Host: still alive, and what its clock says. Answered by `Ack`.

    Attributes:
        id: Counter of the host's own frames.
        host_ms: Host monotonic clock, ms, modulo 2³².
    """

    TYPE: ClassVar[int] = 0x03
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<I")
    id: int
    host_ms: int


@dataclass(frozen=True, slots=True)
class PulseTrain:
    """Host: put out one pulse or train now. Answered by `Ack` or `Refused`, later by `Done`.

    Attributes:
        id: The command's id, unique in the session.
        channel: Output, from 0.
        intensity: 0–65535, the share of the channel's full power.
        duration_us: From the first rising edge to the end, µs.
        period_us: From one rising edge to the next, µs; 0 for one unbroken pulse.
        width_us: Width of each pulse of a train, µs, below `period_us`; 0 for one unbroken pulse.
        expires_ms: Host monotonic clock, ms, modulo 2³², after which the command must be refused.
    """

    TYPE: ClassVar[int] = 0x10
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<BHIIII")
    id: int
    channel: int
    intensity: int
    duration_us: int
    period_us: int
    width_us: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Host: one channel off now. Answered by `Ack`.

    Attributes:
        id: Counter of the host's own frames.
        channel: Output, from 0.
    """

    TYPE: ClassVar[int] = 0x11
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<B")
    id: int
    channel: int


@dataclass(frozen=True, slots=True)
class AllOff:
    """Host: every output off now. Answered by `Ack`.

    Attributes:
        id: Counter of the host's own frames.
    """

    TYPE: ClassVar[int] = 0x12
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<")
    id: int


@dataclass(frozen=True, slots=True)
class Program:
    """Host: store a pulse or train, in place of what the slot held, for a later `Fire`. Answered by `Ack` or `Refused`.

    Attributes:
        id: Counter of the host's own frames.
        slot: 0–7.
        channel: As in `PulseTrain`, and so are the others.
        intensity: 0–65535.
        duration_us: µs.
        period_us: µs.
        width_us: µs.
    """

    TYPE: ClassVar[int] = 0x13
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<BBHIII")
    id: int
    slot: int
    channel: int
    intensity: int
    duration_us: int
    period_us: int
    width_us: int


@dataclass(frozen=True, slots=True)
class Fire:
    """Host: put out the pulse that a slot holds, now. Answered by `Ack` or `Refused`, later by `Done`.

    The only message without a header: its frame is 9 bytes long. `TYPE` is what the answer calls it, and the answers
    have the whole id.

    Attributes:
        id: The command's id modulo 2¹².
        slot: 0–7.
        expires_ms: Host monotonic clock, ms, modulo 2¹⁶, after which the command must be refused; at most
            `FIRE_AHEAD_MS` ahead of it.
    """

    TYPE: ClassVar[int] = 0x14
    id: int
    slot: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Extend:
    """Host: what runs on a channel is to last its own duration from now on, without an edge for that.

    Answered by `Ack` or `Refused`; the `Done` that comes later is that of the pulse extended.

    Attributes:
        id: The command's id, unique in the session, greater than those before it.
        channel: Output, from 0.
        extends: Id of the `PulseTrain` or `Fire` that is to run there; refused if it does not.
        expires_ms: Host monotonic clock, ms, modulo 2³², after which the command must be refused.
    """

    TYPE: ClassVar[int] = 0x15
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<BII")
    id: int
    channel: int
    extends: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class Boot:
    """Device: just started, every output low, waiting for `Hello`.

    Attributes:
        id: Always 0.
    """

    TYPE: ClassVar[int] = 0x80
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<")
    id: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Device: what it is and the limits in force.

    Attributes:
        id: That of the `Hello` or `Limits` answered.
        firmware_major: Firmware version.
        firmware_minor: Firmware version.
        n_channels: Outputs.
        max_on_us: Longest unbroken on-time, µs.
        max_duty_permille: Largest share of time that a channel is on, ‰.
        duty_window_ms: Over which that share is reckoned, ms.
        dead_man_ms: Everything off this long after the last valid frame, ms.
        name: Up to 16 ASCII characters.
    """

    TYPE: ClassVar[int] = 0x81
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct(f"<BBBIHHH{NAME_BYTES}s")
    id: int
    firmware_major: int
    firmware_minor: int
    n_channels: int
    max_on_us: int
    max_duty_permille: int
    duty_window_ms: int
    dead_man_ms: int
    name: str


@dataclass(frozen=True, slots=True)
class Ack:
    """Device: carried out.

    Attributes:
        id: That of the frame answered.
        answered: Its type.
        outputs: Bit n is set while channel n runs a pulse or train.
        device_us: Device clock, µs, modulo 2³², when it was carried out.
    """

    TYPE: ClassVar[int] = 0x82
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<BHI")
    id: int
    answered: int
    outputs: int
    device_us: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Device: not carried out.

    Attributes:
        id: That of the frame answered.
        answered: Its type.
        reason: A `RefusalReason`, or a number that a later firmware knows.
        device_us: Device clock, µs, modulo 2³².
    """

    TYPE: ClassVar[int] = 0x83
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<BBI")
    id: int
    answered: int
    reason: int
    device_us: int


@dataclass(frozen=True, slots=True)
class Done:
    """Device: a pulse or train ended.

    Attributes:
        id: That of its `PulseTrain` or `Fire`, whole.
        reason: An `EndReason`, or a number that a later firmware knows.
        device_us: Device clock, µs, modulo 2³², when it ended.
    """

    TYPE: ClassVar[int] = 0x84
    PAYLOAD: ClassVar[struct.Struct] = struct.Struct("<BI")
    id: int
    reason: int
    device_us: int


HostMessage = Hello | Limits | Heartbeat | PulseTrain | Stop | AllOff | Program | Fire | Extend
DeviceMessage = Boot | Identity | Ack | Refused | Done
MessageWithHeader = Hello | Limits | Heartbeat | PulseTrain | Stop | AllOff | Program | Extend | DeviceMessage
Message = HostMessage | DeviceMessage


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """An intact frame of another protocol version.

    Attributes:
        version: That version.
    """

    version: int


_CLASSES: dict[int, type[MessageWithHeader]] = {
    cls.TYPE: cls
    for cls in (Hello, Limits, Heartbeat, PulseTrain, Stop, AllOff, Program, Extend, Boot, Identity, Ack, Refused, Done)
}


def encode(message: Message) -> bytes:
    """Return the message as one frame, delimiters included.

    Raises:
        struct.error: A number does not fit its field.
        ValueError: A device name is not ASCII or is longer than 16 characters, or a `Fire` has an id or slot that does
            not fit its bits.
    """
    if isinstance(message, Fire):
        if not (0 <= message.slot < N_SLOTS and 0 <= message.id < 1 << FIRE_ID_BITS):
            raise ValueError(f"fire: expected a slot below {N_SLOTS} and an id of {FIRE_ID_BITS} bits, got {message}")
        return fire_frame(message.id, message.slot, message.expires_ms)
    identifier, *payload = [getattr(message, name) for name in message.__slots__]  # `astuple` takes thrice as long.
    if isinstance(message, Identity):
        payload[-1] = _name_bytes(message.name)
    body = _HEADER.pack(PROTOCOL_VERSION, message.TYPE, identifier) + message.PAYLOAD.pack(*payload)
    return frame(body)


def fire_frame(identifier: int, slot: int, expires_ms: int) -> bytes:
    """Return the frame of a `Fire` whose fields are these: a stimulus waits for it, so no message is made for it first.

    Its body is `1 slot(3) id(4)`, `id(8)`, expiry: the high bits of the id come first. The arguments must fit.
    """
    first, second = FIRE_MARK | slot << 4 | identifier >> 8, identifier & 0xFF
    body = FIRE_BODY.pack(first, second, expires_ms)
    crc = binascii.crc_hqx(body, CRC_START)
    whole = _FIRE_FRAME.pack(0, _FIRE_FRAME.size - 2, first, second, expires_ms, crc, 0)
    # A 00 between the delimiters, which COBS has to take out, is in few of them.
    return whole if whole.find(DELIMITER, 1) == _FIRE_FRAME.size - 1 else frame(body)


def frame(body: bytes) -> bytes:
    """Return `body` (version, type, id, payload, or that of a `Fire`) with its CRC as one frame, with delimiters."""
    checked = body + _CRC.pack(binascii.crc_hqx(body, CRC_START))
    return DELIMITER + _cobs(checked) + DELIMITER


def signed_difference(later: int, earlier: int, n_bits: int = 32) -> int:
    """Return `later - earlier` of two counters modulo 2ⁿ, as the signed number nearest to zero."""
    half = 1 << n_bits - 1
    return ((later - earlier + half) & 2 * half - 1) - half


class Parser:
    """Finds the messages in a stream of bytes, however it is split, and drops everything else.

    Attributes:
        n_rejected: Blocks between two delimiters that were not a valid frame.
    """

    def __init__(self) -> None:
        self.n_rejected = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[Message | OtherVersion]:
        """Take the next bytes of the stream; return the messages that they complete, in order."""
        *blocks, rest = (self._rest + data).split(DELIMITER)
        self._rest = rest[: MAX_BLOCK_BYTES + 1]  # One too many is enough to know that the block is no frame.
        messages = []
        for block in blocks:
            if not block:
                continue
            message = _decode(block)
            if message is None:
                self.n_rejected += 1
            else:
                messages.append(message)
        return messages


def _decode(block: bytes) -> Message | OtherVersion | None:
    """Return the message in one COBS block, or None if it is not intact."""
    body = _intact_body(block)
    if body is None:
        return None
    if body[0] & FIRE_MARK:
        return _fire_from(body)
    if len(body) < _HEADER.size:
        return None
    version, kind, identifier = _HEADER.unpack_from(body)
    if version != PROTOCOL_VERSION:
        return OtherVersion(version)
    cls = _CLASSES.get(kind)
    if cls is None or len(body) != _HEADER.size + cls.PAYLOAD.size:
        return None
    payload = cls.PAYLOAD.unpack_from(body, _HEADER.size)
    if cls is Identity:
        payload = (*payload[:-1], payload[-1].rstrip(b"\x00").decode("ascii", errors="replace"))
    return cls(identifier, *payload)


def _intact_body(block: bytes) -> bytes | None:
    """Return what a COBS block holds before its CRC, or None if that is wrong."""
    checked = _un_cobs(block) if len(block) <= MAX_BLOCK_BYTES else None
    if checked is None or len(checked) < FIRE_BODY.size + _CRC.size:
        return None
    body = checked[: -_CRC.size]
    return body if binascii.crc_hqx(body, CRC_START) == _CRC.unpack_from(checked, len(body))[0] else None


def _fire_from(body: bytes) -> Fire | None:
    if len(body) != FIRE_BODY.size:
        return None
    first, second, expires_ms = FIRE_BODY.unpack(body)
    return Fire((first & 0x0F) << 8 | second, first >> 4 & N_SLOTS - 1, expires_ms)


def _cobs(data: bytes) -> bytes:
    """Replace every 00 by the distance to the next one; for less than 254 bytes."""
    return b"".join(bytes((len(part) + 1,)) + part for part in data.split(DELIMITER))


def _un_cobs(block: bytes) -> bytes | None:
    """Undo `_cobs`; None if the distances do not end where the block does."""
    parts = []
    start = 0
    while start < len(block):
        end = start + block[start]
        parts.append(block[start + 1 : end])
        start = end
    return DELIMITER.join(parts) if start == len(block) else None


def _name_bytes(name: str) -> bytes:
    encoded = name.encode("ascii")
    if len(encoded) > NAME_BYTES or "\x00" in name:
        raise ValueError(f"identity: expected a name of up to {NAME_BYTES} ASCII characters, got {name!r}")
    return encoded
