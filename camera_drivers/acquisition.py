"""Acquisition: any camera, run in a process of its own, its frames read from a shared ring."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from camera_drivers import errors
from camera_drivers.awake import Drill, ask_until
from camera_drivers.base import Camera, CameraInfo
from camera_drivers.errors import CameraError, CameraFailedError, CameraNotOpenError, CameraTimeoutError
from camera_drivers.frame import Frame
from camera_drivers.process import MESSAGE_BYTES
from camera_drivers.ring import FrameRing, Overflow, Policy, Reason, RingReader

Wait = Literal["sleep", "spin"]

_OPEN_LIMIT_S = 60.0  # slow vendors take 10 s, the SHA-256 of a long video longer
_CLOSE_LIMIT_S = 0.8


@dataclass(slots=True)
class _Child:
    process: subprocess.Popen[bytes]
    link: socket.socket


class Acquisition(Camera):
    """Runs a driver in its own process and reads its frames as the ring's consumer "loop".

    Nothing that the driver does, a slow transfer, a decoder, a crash, can hold up the process that reads.

    Args:
        driver: A name of `camera_drivers.registry`.
        options: An instance of the driver's `Options`.
        policy: "latest": `grab` returns the freshest frame, those passed over are counted; "every": none is skipped.
        overflow: What the camera's process does when the ring is full.
        capacity: The ring's length, frames.
        wait: How `grab` waits for a frame: asleep, or by asking again and again, which keeps its processor awake and
            busy. Then the camera's process is awake as well when a frame is due, if the driver `answers_at_once`.
    """

    def __init__(
        self,
        driver: str,
        options: BaseModel,
        *,
        policy: Policy,
        overflow: Overflow,
        capacity: int,
        wait: Wait = "sleep",
    ) -> None:
        self._driver = driver
        self._options = options
        self._policy = policy
        self._overflow = overflow
        self._capacity = capacity
        self._wait = wait
        self._drill: Drill | None = None
        self._child: _Child | None = None
        self._ring: FrameRing | None = None
        self._reader: RingReader | None = None
        self._stamps_on_take = False
        self._started = False
        self._last_drops: dict[Reason, int] = {}

    def open(self) -> CameraInfo:
        """Start the process, open the camera there and make the ring; frames do not flow yet.

        Raises:
            CameraError: As the driver says; the class and the text are its own.
            CameraTimeoutError: The driver did not open within 60 s.
        """
        if self._child is not None:
            raise CameraNotOpenError(f"{self._driver}: expected a closed camera, got open twice; call close first")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "camera_drivers.process", str(theirs.fileno())]
            process = subprocess.Popen(command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL)
        self._child = _Child(process, ours)
        try:
            return self._set_up(self._child)
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Let the frames flow; whoever wants all of them attaches to `ring` before."""
        child = self._child
        if child is None:
            raise CameraFailedError(f"{self._driver}: expected an open camera, got none; call open first")
        if not self._started:
            self._started = True
            self._send(child, b"start")

    def grab(self, timeout_s: float) -> Frame | None:
        """Return the next frame, by the policy; the first call starts the frames.

        Raises:
            CameraFailedError: The camera failed, or its process died; the message says how.
        """
        self.start()
        reader = self._the_reader()
        frame = reader.take(0.0 if self._drill else timeout_s)
        if frame is None and self._drill and not reader.ended:
            frame = ask_until(time.monotonic_ns() + timeout_s * 1e9, reader.take, self._drill)
        if frame is None:
            self._check(reader)
            return None
        if self._stamps_on_take:
            # A file's frame lies in the ring until the loop wants it. That is not latency: read one at a time, it
            # would have become available now.
            now_ns = time.monotonic_ns()
            return Frame(frame.frame_id, frame.timestamp_ns, now_ns, frame.device_timestamp_ns, frame.image)
        return frame

    def drill(self, also: Callable[[], None]) -> None:
        """Until `close`, call this now and then while `grab` waits awake, so that its code is at hand."""
        if self._drill is not None:
            self._drill.also = also

    @property
    def ring(self) -> FrameRing:
        """The ring, for other consumers to attach to."""
        if self._ring is None:
            raise CameraFailedError(f"{self._driver}: expected an open camera, got none; call open first")
        return self._ring

    @property
    def ended(self) -> bool:
        """True once the last frame has been taken; never after a failure, which the next `grab` raises."""
        return self._reader is not None and self._reader.ended and not self._reader.error

    @property
    def waits_for_consumer(self) -> bool:
        """As the driver says, once it is open."""
        return self._stamps_on_take

    @property
    def drops(self) -> dict[Reason, int]:  # type: ignore[override]
        """Frames lost so far by reason, those that the recorder lost included."""
        return self._last_drops if self._ring is None else self._ring.drops

    def close(self) -> None:
        """End the process within 1 s, if need be by force; the recorder gets the end of the stream."""
        child, self._child = self._child, None
        if child is not None:
            child.link.close()
            try:
                child.process.wait(_CLOSE_LIMIT_S)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._drill is not None:
            self._drill.close()
            self._drill = None
        if self._ring is not None:
            self._ring.finish()
            self._last_drops = self._ring.drops
            self._ring.close()
            self._ring = None
        self._started = False

    def _set_up(self, child: _Child) -> CameraInfo:
        request = {"driver": self._driver, "options": self._options.model_dump_json(), "wait": self._wait}
        self._send(child, json.dumps(request).encode())
        answer = self._receive(child)
        if "error" in answer:
            kind: type[CameraError] = getattr(errors, answer["error"], CameraError)
            raise kind(answer["text"])
        info = CameraInfo(**answer["info"])
        self._stamps_on_take = answer["waits_for_consumer"]
        if self._stamps_on_take and (self._policy, self._overflow) != ("every", "wait"):
            raise CameraNotOpenError(
                f"{self._driver}: this camera waits for the program, so that no frame may be skipped: expected "
                f'loop.frames = "every", got "{self._policy}" with overflow "{self._overflow}"'
            )
        self._ring = FrameRing.create(info.height, info.width, info.channels, self._capacity, self._overflow)
        self._reader = self._ring.reader("loop", self._policy)
        if self._wait == "spin":
            self._drill = Drill()
        handle = self._ring.handle()
        socket.send_fds(child.link, [handle.to_json().encode()], handle.fds)
        return info

    def _send(self, child: _Child, message: bytes) -> None:
        try:
            child.link.send(message)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise CameraFailedError(self._how_it_died(child)) from error

    def _receive(self, child: _Child) -> dict[str, Any]:
        child.link.settimeout(_OPEN_LIMIT_S)
        try:
            message = child.link.recv(MESSAGE_BYTES)
        except TimeoutError as error:
            raise CameraTimeoutError(
                f"{self._driver}: expected the camera to open within {_OPEN_LIMIT_S:g} s; is it in use elsewhere?"
            ) from error
        if not message:
            raise CameraFailedError(self._how_it_died(child))
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _check(self, reader: RingReader) -> None:
        if reader.ended:
            if reader.error:
                raise CameraFailedError(reader.error)
            return
        if self._child is not None and self._child.process.poll() is not None:
            # On its behalf, so that the recorder learns it too; what it put into the ring before is still read.
            self.ring.finish(self._how_it_died(self._child))

    def _how_it_died(self, child: _Child) -> str:
        try:
            code = child.process.wait(_CLOSE_LIMIT_S)
        except subprocess.TimeoutExpired:
            return f"{self._driver}: the camera process closed its connection"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return f"{self._driver}: the camera process {how}; see its output for the reason"

    def _the_reader(self) -> RingReader:
        if self._reader is None:
            raise CameraFailedError(f"{self._driver}: expected an open camera, got none; call open first")
        return self._reader
