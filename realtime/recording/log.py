"""The event log: an append-only file of checksummed records.

    file    = magic (8 bytes) | version u32 | record …
    record  = length u32 | CRC-32 of the payload u32 | payload (MessagePack of one `Record`)

Integers are little-endian. A record goes out in one write, so that whatever kills the writer leaves whole records and
at most one torn one at the end.
"""

import mmap
import os
import struct
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from realtime.recording.errors import LogReadError, LogWriteError
from realtime.recording.framing import RECORD_HEADER, append_whole, framed
from realtime.recording.records import Record

MAGIC = b"POSELOOP"
VERSION = 1
MAX_PAYLOAD_BYTES = 1 << 20

_FILE_HEADER = MAGIC + struct.pack("<I", VERSION)


class LogWriter:
    """Appends payloads to a new event log, which always ends with a whole record.

    Attributes:
        n_records: Records written.
        n_bytes: Size of the file, bytes.
    """

    def __init__(self, path: Path) -> None:
        """Create the file.

        Raises:
            LogWriteError: The file exists already, or cannot be created.
        """
        self.n_records = 0
        self.n_bytes = 0
        self._path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LogWriteError(f"{path}: could not create the event log: {error.strerror}") from error
        try:
            self._write(_FILE_HEADER, "the file header")
        except LogWriteError:
            self.close()
            raise

    def append(self, payload: bytes | memoryview) -> None:
        """Write one record.

        Args:
            payload: One encoded `Record`, 1 byte to 1 MiB.

        Raises:
            LogWriteError: The record could not be written whole (disk full, file too large); the file has been cut
                back to the last whole record.
            ValueError: The payload is empty or longer than 1 MiB.
        """
        if not 1 <= len(payload) <= MAX_PAYLOAD_BYTES:
            raise ValueError(f"event log: expected a payload of 1 to {MAX_PAYLOAD_BYTES} bytes, got {len(payload)}")
        self._write(framed(payload), f"record {self.n_records}")
        self.n_records += 1

    def sync(self) -> None:
        """Wait until what was written is on the disk.

        Raises:
            LogWriteError: The disk failed.
        """
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise LogWriteError(f"{self._path}: could not write the event log to the disk: {error.strerror}") from error

    def close(self) -> None:
        """Close the file. May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, data: bytes, what: str) -> None:
        if why := append_whole(self._file, data, self.n_bytes):
            raise LogWriteError(f"{self._path}: could not write {what} at byte {self.n_bytes}: {why}")
        self.n_bytes += len(data)


@dataclass(frozen=True, slots=True)
class LogReport:
    """How a log ends.

    Attributes:
        n_records: Whole records.
        n_bytes: Bytes up to the end of the last whole record: where a torn tail begins, if there is one.
        torn_bytes: Size of the torn tail that a killed writer left, bytes; 0 for none.
    """

    n_records: int
    n_bytes: int
    torn_bytes: int


def read_log(path: Path) -> Generator[Record, None, LogReport]:
    """Yield the records of a log in the order in which they were written; a torn tail ends them quietly.

    Returns:
        How the log ends, as the generator's value (`report = yield from read_log(path)`); `read_all` gives both.

    Raises:
        OSError: The file cannot be opened.
        LogReadError: It is not an event log of this version, or a record is damaged or not understood, and whole ones
            follow it. Everything before has been yielded.
    """
    decoder = msgspec.msgpack.Decoder(Record)
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < len(_FILE_HEADER) and _FILE_HEADER.startswith(file.read()):
            return LogReport(0, 0, size)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _check_file_header(path, data[: len(_FILE_HEADER)])
            offset, n_records = len(_FILE_HEADER), 0
            while (payload := _payload_at(data, offset)) is not None:
                try:
                    record = decoder.decode(payload)
                except msgspec.DecodeError as error:
                    raise LogReadError(
                        f"{path}: record {n_records} at byte {offset} is not understood: {error}", offset, n_records
                    ) from error
                yield record
                offset += RECORD_HEADER.size + len(payload)
                n_records += 1
            if (following := _next_record(data, offset)) is not None:
                raise LogReadError(
                    f"{path}: record {n_records} at byte {offset} is damaged; the {n_records} records before it are "
                    f"whole, and another whole one follows at byte {following}",
                    offset,
                    n_records,
                )
            return LogReport(n_records, offset, size - offset)


def read_all(path: Path) -> tuple[list[Record], LogReport]:
    """Return every record of a log and how it ends. Raises as `read_log` does."""
    reading = read_log(path)
    records: list[Record] = []
    while True:
        try:
            records.append(next(reading))
        except StopIteration as end:
            return records, end.value


def _check_file_header(path: Path, header: bytes) -> None:
    if not header.startswith(MAGIC):
        raise LogReadError(
            f"{path}: not an event log: expected a file that begins with {MAGIC!r}, got {header[:8]!r}", 0, 0
        )
    (version,) = struct.unpack_from("<I", header, len(MAGIC))
    if version != VERSION:
        raise LogReadError(f"{path}: expected an event log of version {VERSION}, got version {version}", len(MAGIC), 0)


def _payload_at(data: mmap.mmap, offset: int) -> bytes | None:
    """Return the payload of the record that begins at `offset`, or None if there is no whole one."""
    begin = offset + RECORD_HEADER.size
    if begin > len(data):
        return None
    length, checksum = RECORD_HEADER.unpack_from(data, offset)
    if not 1 <= length <= min(MAX_PAYLOAD_BYTES, len(data) - begin):
        return None
    payload = data[begin : begin + length]
    return payload if zlib.crc32(payload) == checksum else None


def _next_record(data: mmap.mmap, offset: int) -> int | None:
    """Return where the next whole record begins, or None: that is what tells damage from a torn tail."""
    return next((at for at in range(offset + 1, len(data)) if _payload_at(data, at) is not None), None)
