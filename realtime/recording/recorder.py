"""Recorder: the loop's handle on the process that writes a session to disk."""

import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from camera_drivers.ring import RingHandle
from realtime.recording.errors import RecorderNotStartedError
from realtime.recording.log import MAX_PAYLOAD_BYTES
from realtime.recording.protocol import Failed, Finished, Message, Ready, RecorderSpec
from realtime.recording.records import Record

_START_TIMEOUT_S = 10.0
_ASK_INTERVAL_S = 0.1  # a system call in every frame would cost 10 µs
# Asked for; the system gives up to twice net.core.wmem_max, by default enough for two seconds of records at 100 Hz.
_SOCKET_BUFFER_BYTES = 4 << 20


class RecordingOptions(BaseModel):
    """What is recorded beside the events.

    Attributes:
        video: `lossless` comes back byte for byte, `lossy` is 10 to 100 times smaller, `none` keeps only the times of
            the frames.
        crf: Quality of a lossy video: libx264's constant rate factor, lower is better. 16 left 0.7 gray levels of
            error (rms) in a clean recording of flies, 2.7 in one with sensor noise of 3.
        encoder_threads: One core encodes a noisy 1024×1024 image in about 6 ms; more cores are taken from the loop.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    video: Literal["none", "lossy", "lossless"] = "lossy"
    crf: int = Field(default=16, ge=1, le=51)
    encoder_threads: int = Field(default=1, ge=1, le=16)


@dataclass(frozen=True, slots=True)
class RecorderReport:
    """What became of a recording.

    Attributes:
        n_events: Records in the event log; those handed over, if the process did not live to count.
        n_events_lost: Records that are not in the log: the process was too slow, dead, or could not write.
        n_frames: Camera frames in the frame log.
        n_frames_lost: Camera frames that were overwritten before the process came to them, or could not be written.
        n_video_frames: Camera frames in the video.
        video_pixel_format: What the encoder really used; empty without a video.
        n_bytes: Size of all files.
        duration_s: From `open` to the end of `close`.
        errors: Everything that failed, in order; empty for a good recording.
    """

    n_events: int
    n_events_lost: int
    n_frames: int
    n_frames_lost: int
    n_video_frames: int
    video_pixel_format: str
    n_bytes: int
    duration_s: float
    errors: tuple[str, ...]


class Recorder:
    """Starts the recorder process, hands it records without ever waiting, and ends it.

    Attributes:
        n_events_lost: Records that `append` could not hand over.
    """

    def __init__(self, folder: Path, options: RecordingOptions, ring: RingHandle | None) -> None:
        """Prepare a recording.

        Args:
            folder: The session's folder; it exists and holds no recording yet.
            options: What to record.
            ring: Where the camera's frames come from, or None to record events only.
        """
        self.n_events_lost = 0
        self._folder = folder
        self._options = options
        self._ring = ring
        self._n_sent = 0
        self._errors: list[str] = []
        self._finished: Finished | None = None
        self._report: RecorderReport | None = None
        self._alive = False
        self._opened_s = time.monotonic()
        self._ask_due_s = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Message)
        self._buffer = bytearray(4096)

    def open(self) -> None:
        """Start the process and wait until its files are open.

        Raises:
            RecorderNotStartedError: It could not open its files, or did not answer; the message says why.
        """
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._opened_s = time.monotonic()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        self._socket.setblocking(False)
        spec = RecorderSpec(
            folder=str(self._folder),
            socket_fd=theirs.fileno(),
            ring=self._ring.to_json() if self._ring else None,
            video=self._options.video,
            crf=self._options.crf,
            encoder_threads=self._options.encoder_threads,
        )
        self._process = subprocess.Popen(
            [sys.executable, "-m", "realtime.recording.process", msgspec.json.encode(spec).decode()],
            pass_fds=(theirs.fileno(), *(self._ring.fds if self._ring else ())),
            stdin=subprocess.DEVNULL,
            process_group=0,  # a Ctrl-C at the terminal is the loop's to answer
        )
        theirs.close()
        self._alive = True
        answer = self._receive(_START_TIMEOUT_S)
        if not isinstance(answer, Ready):
            self._end_process()
            why = "; ".join(self._errors) or f"no answer within {_START_TIMEOUT_S:g} s"
            raise RecorderNotStartedError(f"recorder: did not start: {why}")

    def append(self, record: Record) -> bool:
        """Hand one record over and return at once, whatever happens.

        Returns:
            False if the record is lost, which is counted: the process is too far behind or dead, or the record cannot
            be encoded.
        """
        try:
            self._encoder.encode_into(record, self._buffer)
            if len(self._buffer) > MAX_PAYLOAD_BYTES:
                raise ValueError(f"expected at most {MAX_PAYLOAD_BYTES} bytes, got {len(self._buffer)}")
            self._socket.send(self._buffer)
        except OSError:  # behind, or dead: `failed` finds out which
            self.n_events_lost += 1
            return False
        except (TypeError, ValueError, OverflowError) as error:
            self.n_events_lost += 1
            self._fail(f"recorder: a record could not be encoded: {error}")
            return False
        self._n_sent += 1
        return True

    @property
    def failed(self) -> str | None:
        """Why the recording is not whole any more, or None; never waits, and asks the process ten times a second."""
        now_s = time.monotonic()
        if now_s >= self._ask_due_s:
            self._ask_due_s = now_s + _ASK_INTERVAL_S
            while self._alive and self._receive(0.0) is not None:
                pass
        return self._errors[0] if self._errors else None

    def close(self, timeout_s: float = 10.0) -> RecorderReport:
        """End the recording and say what became of it. May be called twice.

        Args:
            timeout_s: How long the process may take to write what it has; then it is killed.
        """
        if self._report is not None:
            return self._report
        self._shut_down(timeout_s)
        end = self._finished or Finished(self._n_sent, 0, 0, 0, 0, "", 0)
        self._report = RecorderReport(
            n_events=end.n_events,
            n_events_lost=self.n_events_lost + end.n_events_lost,
            n_frames=end.n_frames,
            n_frames_lost=end.n_frames_lost,
            n_video_frames=end.n_video_frames,
            video_pixel_format=end.video_pixel_format,
            n_bytes=end.n_bytes,
            duration_s=time.monotonic() - self._opened_s,
            errors=tuple(self._errors),
        )
        return self._report

    def _shut_down(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        if self._alive:
            self._socket.shutdown(socket.SHUT_WR)
        while self._alive and self._finished is None:
            if self._receive(deadline - time.monotonic()) is None and self._alive:
                self._fail(f"recorder: did not finish within {timeout_s:g} s and was killed")
                break
        self._end_process()

    def _receive(self, timeout_s: float) -> Message | None:
        """Take note of the next message; None if there is none yet or the process is gone."""
        if timeout_s > 0.0:
            ready = select.poll()  # not `select`, which cannot take descriptors above 1023
            ready.register(self._socket, select.POLLIN)
            ready.poll(timeout_s * 1e3)
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return None
        except ConnectionResetError:  # it died with records of ours unread; what it said before that is still here
            data = self._socket.recv(65536)
        if not data:
            self._alive = False
            self._fail(f"recorder: the process ended by itself ({self._exit_status()})")
            return None
        message: Message = self._decoder.decode(data)
        if isinstance(message, Failed):
            self._fail(message.reason)
        elif isinstance(message, Finished):
            self._finished = message
        return message

    def _fail(self, reason: str) -> None:
        if reason not in self._errors:
            self._errors.append(reason)

    def _end_process(self) -> None:
        """Reap the process, by force if it is not about to end."""
        self._alive = False
        if self._process is None:
            return
        self._socket.close()
        try:
            status = self._process.wait(timeout=2.0 if self._finished else 0.0)
        except subprocess.TimeoutExpired:  # stuck, or slow to leave after its last message
            self._process.kill()
            self._process.wait()
            return
        if status != 0 and not self._errors:
            self._fail(f"recorder: the process ended by itself ({self._exit_status()})")

    def _exit_status(self) -> str:
        if self._process is None:
            return "never started"
        try:
            status = self._process.wait(timeout=0.05)
        except subprocess.TimeoutExpired:
            return "still exiting"
        return f"signal {-status}" if status < 0 else f"exit status {status}"
