"""The work file: what was found so far, on the disk, so that a killed job goes on where it was.

    file    = magic (8 bytes) | version u32 | record …
    record  = length u32 | CRC-32 of the payload u32 | payload (MessagePack)

The first record says which job it is, each further one holds the poses of a few frames. Integers are little-endian. A
record goes out in one write; one torn by a kill is cut off when the file is opened again. The framing is that of
the event log, but a log is never appended to again, and its records are another type.
"""

import fcntl
import os
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from realtime.offline.errors import OfflineInputError, OtherJobError, WorkFileError
from realtime.recording.framing import RECORD_HEADER, append_whole, framed
from realtime.recording.records import PosesRecord

MAGIC = b"POSEWORK"
VERSION = 1
SYNC_EVERY_S = 2.0

_FILE_HEADER = MAGIC + struct.pack("<I", VERSION)

Job = Mapping[str, str | int | None]
"""What decides over the poses, in a person's words: `video`, `model`, `frames`, … → value."""


class FoundFrame(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What the model found in one frame.

    Attributes:
        index: 0 for the first frame of the video.
        time_ns: The video's own time, ns from its first frame.
        poses: All that was found.
    """

    index: int
    time_ns: int
    poses: PosesRecord


class FoundBatch(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A few frames in a row, and what the model had to say about them.

    Attributes:
        frames: At least one, in ascending order.
        n_overflows: In how many of them there were more animals than the model has room for.
        n_faults: How many points came out that no healthy network gives.
    """

    frames: tuple[FoundFrame, ...]
    n_overflows: int = 0
    n_faults: int = 0


class WorkFile:
    """The work file of one job, made anew or continued; only one process at a time may have it open.

    Args:
        path: Where it lies.
        job: What it must have been made for. It is written into a new file and compared with that of an old one.
        restart: Begin anew where the file belongs to another job, instead of raising.

    Attributes:
        path: Where it lies.
        next_index: Index of the frame after the last one in it, or None if there is none.

    Raises:
        OtherJobError: The file is there and belongs to another job.
        OfflineInputError: Something else lies there.
        WorkFileError: The file cannot be opened or written, or another process has it open.
    """

    def __init__(self, path: Path, job: Job, *, restart: bool = False) -> None:
        self.path = path
        self.next_index: int | None = None
        self._n_bytes = 0
        self._decoder = msgspec.msgpack.Decoder(FoundBatch)
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise WorkFileError(f"{path}: cannot open the work file: {error.strerror}") from error
        try:
            self._lock()
            self._continue(job, restart=restart)
        except BaseException:
            self.close()
            raise
        self._synced_s = time.monotonic()

    def append(self, batch: FoundBatch) -> None:
        """Add the next frames; at most `SYNC_EVERY_S` of work is not on the disk yet.

        Raises:
            WorkFileError: The disk is full or failed; the file ends with the batch before.
        """
        self._write(framed(msgspec.msgpack.encode(batch)))
        self.next_index = batch.frames[-1].index + 1
        if time.monotonic() - self._synced_s >= SYNC_EVERY_S:
            self.sync()

    def batches(self) -> Iterator[FoundBatch]:
        """Yield everything that is in the file, one batch in memory at a time."""
        payloads = _payloads(self.path)
        next(payloads)
        return (self._decoder.decode(payload) for _, payload in payloads)

    def sync(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            WorkFileError: The disk failed.
        """
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise WorkFileError(f"{self.path}: cannot write to the disk: {error.strerror}") from error
        self._synced_s = time.monotonic()

    def close(self) -> None:
        """Close the file and leave it where it is. May be called twice."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def remove(self) -> None:
        """Close the file and delete it: its job is done."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WorkFileError(
                f"{self.path}: another process is writing this work file; wait for it, or choose another output"
            ) from error

    def _continue(self, job: Job, *, restart: bool) -> None:
        """Check whose file it is and cut off what is torn."""
        begins = os.pread(self._file, len(_FILE_HEADER), 0)
        if not begins.startswith(MAGIC) and not MAGIC.startswith(begins):
            raise OfflineInputError(
                f"{self.path}: expected the work file of an unfinished `poseloop track`, got another kind of file; "
                f"move it away, or choose another output"
            )
        differences = self._differences(begins, job)
        if differences and not restart:
            raise OtherJobError(
                f"{self.path}: the unfinished work there belongs to another job:\n"
                + "\n".join(f"  {line}" for line in differences)
                + "\nrepeat that job's command to go on with it, or add --overwrite to throw it away and start anew"
            )
        if differences is None or differences:
            self._begin(job)
            return
        last: bytes | None = None
        for number, (end, payload) in enumerate(_payloads(self.path)):
            self._n_bytes, last = end, payload if number > 0 else None
        os.ftruncate(self._file, self._n_bytes)
        if last is not None:
            self.next_index = self._decoder.decode(last).frames[-1].index + 1

    def _differences(self, begins: bytes, job: Job) -> list[str] | None:
        """Return what differs between the file's job and this one, a line each; None if the file has no job yet."""
        if len(begins) == len(_FILE_HEADER) and begins != _FILE_HEADER:
            return ["it was written by another version of poseloop"]
        _, payload = next(_payloads(self.path), (0, None))
        if payload is None:
            return None
        there: Job = msgspec.msgpack.decode(payload)
        return [
            f"{name}: there {there.get(name)}, here {job.get(name)}"
            for name in {**there, **job}
            if there.get(name) != job.get(name)
        ]

    def _begin(self, job: Job) -> None:
        os.ftruncate(self._file, 0)
        self._n_bytes = 0
        self._write(_FILE_HEADER + framed(msgspec.msgpack.encode(job)))

    def _write(self, data: bytes) -> None:
        if why := append_whole(self._file, data, self._n_bytes):
            raise WorkFileError(f"{self.path}: cannot write: {why}; what was found before is kept")
        self._n_bytes += len(data)


def _payloads(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield where each whole record ends, and its payload; the first one that is not whole ends them."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(_FILE_HEADER)) != _FILE_HEADER:
            return
        while len(header := file.read(RECORD_HEADER.size)) == RECORD_HEADER.size:
            length, checksum = RECORD_HEADER.unpack(header)
            if not 1 <= length <= size - file.tell():  # a length of 0: zeros, as a power cut may leave them
                return
            payload = file.read(length)
            if zlib.crc32(payload) != checksum:
                return
            yield file.tell(), payload
