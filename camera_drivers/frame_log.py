"""The frame log: one record of fixed size for every camera frame of a session, readable after any crash."""

import errno
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camera_drivers.errors import CameraNotOpenError
from camera_drivers.frame import Frame

_MAGIC = b"PLFRAME1"
_NO_DEVICE_TIME = -(1 << 63)
_NOT_IN_VIDEO = -1
_PAYLOAD = np.dtype(
    [
        ("frame_id", "<i8"),
        ("timestamp_ns", "<i8"),
        ("available_ns", "<i8"),
        ("device_timestamp_ns", "<i8"),
        ("video_index", "<i8"),
    ]
)
_RECORD = np.dtype([("payload", _PAYLOAD), ("crc32", "<u4")])


@dataclass(frozen=True, slots=True)
class LoggedFrame:
    """What the log says of one frame.

    Attributes:
        frame_id: See `Frame`, as are the times.
        timestamp_ns: ns.
        available_ns: ns.
        device_timestamp_ns: ns, or None.
        video_index: The frame's index in the session's video, or None if it is not there.
    """

    frame_id: int
    timestamp_ns: int
    available_ns: int
    device_timestamp_ns: int | None
    video_index: int | None


class FrameLog:
    """The records of a frame log, in the order of the camera.

    Attributes:
        frame_ids: `(n_frames,)` int64.
        torn_bytes: Bytes at the end of the file that are no whole record: the writer was killed or the disk was full.
    """

    def __init__(self, records: NDArray[Any], torn_bytes: int) -> None:
        self._records = records
        self.frame_ids: NDArray[np.int64] = records["frame_id"]
        self.torn_bytes = torn_bytes

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> LoggedFrame:
        frame_id, timestamp_ns, available_ns, device_ns, video_index = self._records[index].item()
        return LoggedFrame(
            frame_id,
            timestamp_ns,
            available_ns,
            None if device_ns == _NO_DEVICE_TIME else device_ns,
            None if video_index == _NOT_IN_VIDEO else video_index,
        )


class FrameLogWriter:
    """Appends to a new frame log, one unbuffered write a frame.

    Raises:
        OSError: The file exists already or cannot be created.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb", buffering=0)
        self._write(_MAGIC)

    def append(self, frame: Frame, video_index: int | None = None) -> None:
        """Log one frame.

        Args:
            frame: The frame.
            video_index: Its index in the session's video, or None if it does not go there.

        Raises:
            OSError: The disk is full or gone. What was logged before stays readable.
        """
        device_ns = _NO_DEVICE_TIME if frame.device_timestamp_ns is None else frame.device_timestamp_ns
        index = _NOT_IN_VIDEO if video_index is None else video_index
        numbers = (frame.frame_id, frame.timestamp_ns, frame.available_ns, device_ns, index)
        payload = b"".join([number.to_bytes(8, "little", signed=True) for number in numbers])
        self._write(payload + zlib.crc32(payload).to_bytes(4, "little"))

    def close(self) -> None:
        """End the file. May be called twice."""
        self._file.close()

    def _write(self, record: bytes) -> None:
        if self._file.write(record) != len(record):
            raise OSError(errno.ENOSPC, "no space left for the frame log", str(self._path))


def read_frame_log(path: Path) -> FrameLog:
    """Read a frame log; a torn tail is left out and reported.

    Raises:
        CameraNotOpenError: There is no such file, it is no frame log, or it is damaged before its end.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CameraNotOpenError(f"{path}: cannot read the frame log: {error.strerror}") from error
    if data[: len(_MAGIC)] != _MAGIC:
        raise CameraNotOpenError(f"{path}: expected a frame log, got a file that begins with {data[: len(_MAGIC)]!r}")
    n_records, torn_bytes = divmod(len(data) - len(_MAGIC), _RECORD.itemsize)
    records = np.frombuffer(data, _RECORD, n_records, len(_MAGIC))
    damaged = [k for k, record in enumerate(records) if zlib.crc32(record["payload"].tobytes()) != record["crc32"]]
    if damaged and damaged != list(range(damaged[0], n_records)):
        raise CameraNotOpenError(f"{path}: expected whole records, got a damaged record {damaged[0]} of {n_records}")
    whole = records["payload"][: n_records - len(damaged)]
    return FrameLog(whole, torn_bytes + len(damaged) * _RECORD.itemsize)
