"""Awake: waits for a frame without sleep, and does what is done with one again and again, so that it is done fast.

A processor that was woken takes several times as long for the first 0.1 ms: what it needs has left its caches, and it
has to guess its branches anew. A pose network, or a copied image, leaves it no better.
"""

import math
import time
from collections.abc import Callable
from typing import Final

import numpy as np

from camera_drivers.base import Camera
from camera_drivers.frame import Frame
from camera_drivers.gate import FrameGate
from camera_drivers.ring import FrameRing

# A sleeper wakes up as much as 0.2 ms late.
AHEAD_NS: Final = 300_000
_SHARE_OF_NEWEST = 1 / 8
_ASKED_BETWEEN_DRILLS = 32
_DRILLS_BETWEEN_OTHERS = 16


class Drill:
    """A frame's way through gate and ring, with a ring of its own for images of one pixel.

    Attributes:
        also: Called every sixteenth time: what else is done with a frame.
    """

    def __init__(self) -> None:
        self.also: Callable[[], None] | None = None
        self._ring = FrameRing.create(1, 1, 1, capacity=3)
        self._reader = self._ring.reader("loop", "every")
        self._gate = FrameGate(self._ring.count)
        self._image = np.zeros((1, 1), np.uint8)
        self._n_frames = 0

    def once(self) -> None:
        """Pass on one frame and take it."""
        self._n_frames += 1
        self._ring.prepare(self._image)
        frame = Frame(self._n_frames, self._n_frames, self._n_frames, None, self._image)
        if self._gate.admit(frame):
            self._ring.put(frame)
        self._reader.take(0.0)
        if self.also is not None and self._n_frames % _DRILLS_BETWEEN_OTHERS == 0:
            self.also()

    def close(self) -> None:
        """Release the ring. May be called twice."""
        self._reader.close()
        self._ring.close()


def ask_until(
    end_ns: float,
    grab: Callable[[float], Frame | None],
    drill: Drill,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> Frame | None:
    """Call `grab(0.0)` again and again until a frame is there or `end_ns` is past, with a drill now and then."""
    n_asked = 0
    while (frame := grab(0.0)) is None and now_ns() < end_ns:
        n_asked += 1
        if n_asked % _ASKED_BETWEEN_DRILLS == 0:
            drill.once()
    return frame


class AwakeCamera:
    """Takes a camera's frames and is awake from shortly before each is due.

    When it is due follows from the frames before. One that comes earlier wakes the sleeper as ever; one that is late by
    more than `AHEAD_NS` is waited for asleep.

    Args:
        camera: A camera that `answers_at_once`.
        drill: What is done in the meantime.
        now_ns: The clock of `Frame.available_ns`.
    """

    def __init__(self, camera: Camera, drill: Drill, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._camera = camera
        self._drill = drill
        self._now_ns = now_ns
        self._last: Frame | None = None
        self._newest: Frame | None = None
        self._period_ns = 0.0
        self._due_ns = -math.inf

    def grab(self, timeout_s: float) -> Frame | None:
        """Return the camera's next frame, or None if none came within `timeout_s`."""
        self._learn()
        end_ns = self._now_ns() + timeout_s * 1e9
        asleep_ns = min(self._due_ns - AHEAD_NS, end_ns) - self._now_ns()
        self._newest = self._camera.grab(asleep_ns / 1e9) if asleep_ns > 0.0 else None
        if self._newest is None and self._now_ns() < self._due_ns + AHEAD_NS:
            self._newest = ask_until(min(self._due_ns + AHEAD_NS, end_ns), self._camera.grab, self._drill, self._now_ns)
        if self._newest is None:
            self._newest = self._camera.grab(max(0.0, (end_ns - self._now_ns()) / 1e9))
        return self._newest

    def _learn(self) -> None:
        """Learn from the last frame when the next one is due: now, when nobody waits for it."""
        newest, last = self._newest, self._last
        if newest is None:
            return
        self._last = newest
        n_frames = 0 if last is None else newest.frame_id - last.frame_id
        if last is None or n_frames <= 0:
            return
        period_ns = (newest.available_ns - last.available_ns) / n_frames
        if not self._period_ns:
            self._period_ns, self._due_ns = period_ns, newest.available_ns + period_ns
            return
        # One that comes late may have woken a sleeper late; one that comes early was there.
        late_ns = newest.available_ns - (self._due_ns + (n_frames - 1) * self._period_ns)
        believed_ns = late_ns * (_SHARE_OF_NEWEST if 0.0 < late_ns < self._period_ns / 2 else 1.0)
        self._period_ns += _SHARE_OF_NEWEST * (period_ns - self._period_ns)
        self._due_ns = newest.available_ns - late_ns + believed_ns + self._period_ns
