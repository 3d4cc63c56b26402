"""Framing: records that are there whole or not at all, in files that are only appended to.

    record  = length u32 | CRC-32 of the payload u32 | payload

Integers are little-endian. A record goes out in one write.
"""

import os
import struct
import zlib

RECORD_HEADER = struct.Struct("<II")


def framed(payload: bytes | memoryview) -> bytes:
    """Return a payload as a record."""
    return RECORD_HEADER.pack(len(payload), zlib.crc32(payload)) + payload


def append_whole(file: int, data: bytes, end: int) -> str:
    """Append to a file, or cut it back to what it was.

    Args:
        file: File descriptor, opened to append.
        data: What to write.
        end: Size of the file before, bytes.

    Returns:
        Why it could not be written whole; empty if it was.
    """
    try:
        n_written = os.write(file, data)
        why = f"only {n_written} of {len(data)} bytes fitted" if n_written < len(data) else ""
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        os.ftruncate(file, end)
    return why
