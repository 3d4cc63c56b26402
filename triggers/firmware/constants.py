"""Writes `protocol.h`, the numbers that firmware and host share, from `triggers.wire`.

`python -m triggers.firmware.constants > triggers/firmware/protocol.h`
"""

import re
import struct
import sys
from collections.abc import Iterator
from typing import get_args

from triggers import wire

_HEADER_BYTES = len(wire.encode(wire.AllOff(0))) - 5  # Less two delimiters, one COBS code and the CRC.


def header() -> str:
    """Return the text of `protocol.h`."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield "/* The protocol's numbers, shared with the host; written by `python -m triggers.firmware.constants`. */"
    yield "#ifndef PROTOCOL_H"
    yield "#define PROTOCOL_H"
    yield ""
    yield f"#define WIRE_PROTOCOL_VERSION {wire.PROTOCOL_VERSION}"
    yield f"#define WIRE_CRC_START 0x{wire.CRC_START:04X}"
    yield f"#define WIRE_MAX_BLOCK_BYTES {wire.MAX_BLOCK_BYTES}"
    yield f"#define WIRE_FULL_INTENSITY 0x{wire.FULL_INTENSITY:04X}"
    yield f"#define WIRE_NAME_BYTES {wire.NAME_BYTES}"
    yield f"#define WIRE_HEADER_BYTES {_HEADER_BYTES} /* Version, type, id. */"
    yield f"#define WIRE_N_SLOTS {wire.N_SLOTS}"
    yield ""
    yield "/* Types, the bytes of their payloads, and where in it each field begins. */"
    for cls in get_args(wire.Message):
        yield from _fire_lines() if cls is wire.Fire else _message_lines(cls)
    yield ""
    for refusal in wire.RefusalReason:
        yield f"#define WIRE_REASON_{refusal.name} {refusal.value}"
    for end in wire.EndReason:
        yield f"#define WIRE_END_{end.name} {end.value}"
    yield ""
    yield "#endif"


def _message_lines(cls: type[wire.MessageWithHeader]) -> Iterator[str]:
    name = "WIRE_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()
    codes = re.findall(r"\d*[A-Za-z]", cls.PAYLOAD.format)
    fields = [field for field in cls.__slots__ if field != "id"]
    yield f"#define {name} 0x{cls.TYPE:02X}"
    yield f"#define {name}_BYTES {cls.PAYLOAD.size}"
    for index, field in enumerate(fields):
        yield f"#define {name}_AT_{field.upper()} {struct.calcsize('<' + ''.join(codes[:index]))}"


def _fire_lines() -> Iterator[str]:
    yield f"#define WIRE_FIRE 0x{wire.Fire.TYPE:02X} /* It has no header: 1 slot(3) id(4), id(8), expires_ms. */"
    yield f"#define WIRE_FIRE_BODY_BYTES {wire.FIRE_BODY.size}"
    yield f"#define WIRE_FIRE_MARK 0x{wire.FIRE_MARK:02X}"
    yield "#define WIRE_FIRE_AT_EXPIRES_MS 2"
    yield f"#define WIRE_FIRE_ID_BITS {wire.FIRE_ID_BITS}"
    yield f"#define WIRE_FIRE_AHEAD_MS 0x{wire.FIRE_AHEAD_MS:04X}"


if __name__ == "__main__":
    sys.stdout.write(header())
