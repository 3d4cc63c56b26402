"""The camera process: `python -m camera_drivers.process FD`, started by `Acquisition.open`.

FD is a socket to the parent. The child says what camera it opened, gets the ring, waits for the start, and fills the
ring until the camera or the parent ends; the end of the socket is the parent's wish, and its death.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict, replace
from typing import Any

from camera_drivers import registry
from camera_drivers.awake import AwakeCamera, Drill
from camera_drivers.base import Camera
from camera_drivers.errors import CameraError, CameraFailedError
from camera_drivers.frame import Frame
from camera_drivers.gate import FrameGate
from camera_drivers.ring import FrameRing, RingHandle

MESSAGE_BYTES = 1 << 17
_N_RING_FDS = 16
_WAIT_S = 0.05
_LAST_S = 0.7


def main() -> int:
    """Serve one camera; return the exit code."""
    # A terminal and a service manager signal the whole group; when to stop is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    link = socket.socket(fileno=int(sys.argv[1]))
    request = json.loads(link.recv(MESSAGE_BYTES))
    name = request["driver"]
    try:
        driver = registry.load(name)
        options = driver.Options.model_validate_json(request["options"])
        with contextlib.closing(driver(options)) as camera:  # type: ignore[call-arg]
            return _serve(name, camera, link, awake=request["wait"] == "spin")
    except CameraError as error:
        _send(link, {"error": type(error).__name__, "text": str(error)})
        return 1


def _serve(name: str, camera: Camera, link: socket.socket, *, awake: bool) -> int:
    info = camera.open()
    _send(link, {"info": asdict(info), "waits_for_consumer": camera.waits_for_consumer})
    message, fds, _, _ = socket.recv_fds(link, MESSAGE_BYTES, _N_RING_FDS)
    if not message:
        return 0
    ring = FrameRing(replace(RingHandle.from_json(message.decode()), fds=tuple(fds)))
    if not link.recv(MESSAGE_BYTES):  # the start
        return 0
    stop = threading.Event()
    threading.Thread(target=_leash, args=(link, stop), daemon=True).start()
    try:
        _fill(name, camera, ring, stop, awake=awake)
    except CameraError as error:
        ring.finish(str(error))
        return 1
    ring.finish()
    return 0


def _leash(link: socket.socket, stop: threading.Event) -> None:
    """Sleep until the parent is gone or wants no more; a driver that does not return gets no second chance."""
    with contextlib.suppress(ConnectionResetError):
        link.recv(MESSAGE_BYTES)
    stop.set()
    time.sleep(_LAST_S)
    os._exit(1)


def _fill(name: str, camera: Camera, ring: FrameRing, stop: threading.Event, *, awake: bool) -> None:
    gate = FrameGate(ring.count)
    grab = AwakeCamera(camera, Drill()).grab if awake and camera.answers_at_once else camera.grab
    n_incomplete = 0
    while not stop.is_set() and not camera.ended:
        ahead = camera.peek()
        if ahead is not None:
            ring.prepare(ahead.image)
        frame = grab(_WAIT_S)
        if frame is not None and gate.admit(frame):
            _put(name, ring, frame, stop)
            # The kernel wakes the loop on the core that this process runs on. A driver that goes straight on to its
            # next frame, as a decoder does, would keep it waiting there for a whole time slice, 0.7 ms.
            os.sched_yield()
        incomplete = camera.drops.get("incomplete", 0)
        if incomplete != n_incomplete:
            ring.count("incomplete", incomplete - n_incomplete)
            n_incomplete = incomplete


def _put(name: str, ring: FrameRing, frame: Frame, stop: threading.Event) -> None:
    try:
        while not ring.put(frame, timeout_s=_WAIT_S):
            if ring.handle().overflow != "wait" or stop.is_set():
                return
    except ValueError as error:
        raise CameraFailedError(f"{name}: frame {frame.frame_id}: {error}") from error


def _send(link: socket.socket, message: dict[str, Any]) -> None:
    link.send(json.dumps(message).encode())


if __name__ == "__main__":
    sys.exit(main())
