"""The recorder process: `python -m realtime.recording.process SPEC`, started by `Recorder.open`.

It ends when the loop closes its end of the socket or dies, and only then, so that Ctrl-C does not cut a recording.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import msgspec

from camera_drivers.errors import CameraError
from camera_drivers.frame import Frame
from camera_drivers.frame_log import FrameLogWriter
from camera_drivers.ring import FrameRing, RingHandle
from realtime.recording.errors import LogWriteError, RecordingError, VideoWriteError
from realtime.recording.log import MAX_PAYLOAD_BYTES, LogWriter
from realtime.recording.protocol import (
    EVENTS_FILE,
    FRAMES_FILE,
    VIDEO_FILE,
    Failed,
    Finished,
    Message,
    Ready,
    RecorderSpec,
)
from realtime.recording.video import VideoWriter

_SYNC_INTERVAL_S = 1.0
_NICENESS = 10  # encoding can wait a little, and has a ring's length of time to; the loop cannot
_FRAME_WAIT_S = 0.01  # how long records may lie in the socket while there is no frame to wake us
_MOST_EVENTS_AT_ONCE = 1000
_MIN_FREE_BYTES = 64 << 20  # eight minutes of events at 100 Hz

Fail = Callable[[str], None]


class EventRecorder:
    """Writes what comes through the socket into the event log.

    Attributes:
        ended: The loop has closed its end, or is dead, and every record that it sent has been read.
        n_lost: Records that could not be written.
    """

    def __init__(self, sock: socket.socket, path: Path, fail: Fail) -> None:
        self.ended = False
        self.n_lost = 0
        self.log = LogWriter(path)
        self._socket = sock
        self._fail = fail
        self._buffer = memoryview(bytearray(MAX_PAYLOAD_BYTES))
        self._writing = True
        self._arrival = select.poll()
        self._arrival.register(sock, select.POLLIN)

    def drain(self) -> None:
        """Write the records that have arrived."""
        for _ in range(_MOST_EVENTS_AT_ONCE):
            try:
                n_bytes = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                return
            except ConnectionResetError:
                continue  # the loop died before it read all we said; what it sent is still to be read
            if n_bytes == 0:
                self.ended = True
                return
            self._write(self._buffer[:n_bytes])

    def wait(self, timeout_s: float) -> None:
        """Wait until there is something to drain."""
        self._arrival.poll(timeout_s * 1e3)

    def _write(self, payload: memoryview) -> None:
        if self._writing:
            try:
                self.log.append(payload)
                return
            except LogWriteError as error:
                self._writing = False
                self._fail(str(error))
        self.n_lost += 1


class FrameRecorder:
    """Writes the camera's frames into the frame log and the video.

    When it falls behind by half the ring, frames still come into the frame log, but not into the video.

    Attributes:
        n_frames: Frames in the frame log.
        n_lost: Frames that could not be written into the frame log.
        n_video_frames: Frames in the video.
        pixel_format: What the encoder really uses.
    """

    def __init__(self, spec: RecorderSpec, handle: RingHandle, fail: Fail) -> None:
        folder = Path(spec.folder)
        self.n_frames = 0
        self.n_lost = 0
        self.n_video_frames = 0
        self.pixel_format = ""
        self._path = folder / FRAMES_FILE
        self._ring = FrameRing.attach(handle)
        self._reader = self._ring.reader("recorder", policy="every")
        self._log: FrameLogWriter | None = FrameLogWriter(self._path)
        self._video: VideoWriter | None = None
        self._fail = fail
        # A writer that waits for us loses nothing when we are late.
        self._most_waiting = handle.capacity if handle.overflow == "wait" else handle.capacity // 2
        if spec.video != "none":
            self._video = VideoWriter(
                folder / VIDEO_FILE,
                height=handle.height,
                width=handle.width,
                channels=handle.channels,
                mode=spec.video,
                crf=spec.crf,
                threads=spec.encoder_threads,
            )

    @property
    def ended(self) -> bool:
        """True once the camera has ended and every frame of it has been recorded."""
        return self._reader.ended

    @property
    def n_overwritten(self) -> int:
        """Frames that the camera overwrote before they were recorded."""
        return self._ring.drops.get("overwritten_for_recorder", 0)

    def record_one(self, timeout_s: float) -> int | None:
        """Record the next frame and return when it became available, ns, or None if none came within `timeout_s`."""
        frame = self._reader.take(timeout_s)
        if frame is None:
            return None
        self._write_log(frame, self._encode(frame))
        return frame.available_ns

    def sync(self) -> None:
        """Wait until the frame log is on the disk; the video may take the system's time.

        Raises:
            OSError: The disk failed.
        """
        with self._path.open("rb") as file:
            os.fdatasync(file.fileno())

    def stop_video(self, reason: str) -> None:
        """End the video here; the frame log goes on."""
        if self._video is not None:
            self._fail(reason)
            self._end_video()

    def close(self) -> None:
        """End both files and take no further part in the ring."""
        self._end_video()
        if self._log is not None:
            self._log.close()
        self._reader.close()
        self._ring.close()

    def _encode(self, frame: Frame) -> int | None:
        """Return the frame's index in the video, or None if it is not there."""
        if self._video is None or self._reader.n_waiting > self._most_waiting:
            return None
        try:
            self._video.append(frame.image, frame.timestamp_ns)
        except VideoWriteError as error:
            self.stop_video(str(error))
            return None
        return self._video.n_frames - 1

    def _write_log(self, frame: Frame, video_index: int | None) -> None:
        if self._log is not None:
            try:
                self._log.append(frame, video_index)
                self.n_frames += 1
                return
            except OSError as error:
                self._log.close()
                self._log = None
                self._fail(f"{self._path}: could not write frame {self.n_frames}: {error.strerror}")
        self.n_lost += 1

    def _end_video(self) -> None:
        video, self._video = self._video, None
        if video is not None:
            self.n_video_frames, self.pixel_format = video.n_frames, video.pixel_format
            try:
                video.close()
            except VideoWriteError as error:
                self._fail(str(error))


class RecorderProcess:
    """Records until the loop's end of the socket is closed."""

    def __init__(self, spec: RecorderSpec, sock: socket.socket) -> None:
        """Open every file.

        Raises:
            RecordingError, CameraError, OSError: One of them could not be opened.
        """
        self._folder = Path(spec.folder)
        self._socket = sock
        if self._free_bytes() < _MIN_FREE_BYTES:
            raise RecordingError(self._disk_full("cannot record"))
        self._events = EventRecorder(sock, self._folder / EVENTS_FILE, self._fail)
        self._frames = FrameRecorder(spec, RingHandle.from_json(spec.ring), self._fail) if spec.ring else None
        self._syncer = ThreadPoolExecutor(max_workers=1)
        self._sync: Future[None] | None = None
        self._sync_due_s = time.monotonic() + _SYNC_INTERVAL_S

    def run(self) -> None:
        """Record events and frames, events first, until there are no more events; then the frames up to here."""
        while not self._events.ended:
            self._events.drain()
            if time.monotonic() >= self._sync_due_s:
                self._once_a_second()
            if self._frames is None or self._frames.ended:
                self._events.wait(_SYNC_INTERVAL_S)
            else:
                self._frames.record_one(_FRAME_WAIT_S)
        end_ns = time.monotonic_ns()
        while self._frames is not None and not self._frames.ended:
            available_ns = self._frames.record_one(0.0)
            if available_ns is None or available_ns > end_ns:
                break

    def finish(self) -> Finished:
        """Close every file and say what is in them."""
        self._syncer.shutdown()
        frames = self._frames
        if frames is not None:
            frames.close()
        self._sync_files()
        self._events.log.close()
        files = (EVENTS_FILE, FRAMES_FILE, VIDEO_FILE)
        return Finished(
            n_events=self._events.log.n_records,
            n_events_lost=self._events.n_lost,
            n_frames=frames.n_frames if frames else 0,
            n_frames_lost=frames.n_lost + frames.n_overwritten if frames else 0,
            n_video_frames=frames.n_video_frames if frames else 0,
            video_pixel_format=frames.pixel_format if frames else "",
            n_bytes=sum(path.stat().st_size for name in files if (path := self._folder / name).exists()),
        )

    def _once_a_second(self) -> None:
        self._sync_due_s = time.monotonic() + _SYNC_INTERVAL_S
        # On a thread: a busy disk can take longer than the socket holds records.
        if self._sync is None or self._sync.done():
            self._sync = self._syncer.submit(self._sync_files)
        if self._frames is not None and self._free_bytes() < _MIN_FREE_BYTES:
            self._frames.stop_video(self._disk_full("the video stops here, so that the event log can go on"))

    def _sync_files(self) -> None:
        try:
            self._events.log.sync()
            if self._frames is not None:
                self._frames.sync()
        except OSError as error:
            self._fail(str(error))

    def _free_bytes(self) -> int:
        return shutil.disk_usage(self._folder).free

    def _disk_full(self, consequence: str) -> str:
        return (
            f"{self._folder}: {consequence}: expected at least {_MIN_FREE_BYTES >> 20} MiB of free disk space, "
            f"got {self._free_bytes() >> 20} MiB"
        )

    def _fail(self, reason: str) -> None:
        tell(self._socket, Failed(reason))


def tell(sock: socket.socket, message: Message) -> None:
    """Send a message to the loop; if that is dead, nobody misses it."""
    with contextlib.suppress(OSError):
        sock.send(msgspec.msgpack.encode(message))


def main() -> int:
    """Record as the spec in the first argument says."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    spec = msgspec.json.decode(sys.argv[1], type=RecorderSpec)
    sock = socket.socket(fileno=spec.socket_fd)
    sock.setblocking(False)
    os.nice(_NICENESS)
    try:
        recorder = RecorderProcess(spec, sock)
    except (RecordingError, CameraError, OSError) as error:
        tell(sock, Failed(str(error)))
        return 1
    tell(sock, Ready())
    try:
        recorder.run()
    finally:
        tell(sock, recorder.finish())
    return 0


if __name__ == "__main__":
    sys.exit(main())
