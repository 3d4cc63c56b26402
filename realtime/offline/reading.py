"""Reading ahead: a thread decodes the next batches of frames while the model works on this one.

A thread is enough to keep another core busy: FFmpeg, the look-up table and the copy release the interpreter, and so do
the engines.
"""

import queue
import threading
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from camera_drivers.decoding import VideoReader
from camera_drivers.errors import CameraError

BATCHES_AHEAD = 2
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Batch:
    """A few frames in a row.

    Attributes:
        first_index: Index of the first of them in the video.
        times_ns: The video's own time of each, ns from its first frame.
        images: `(n, height, width)` or `(n, height, width, 3)` uint8; valid until the next batch is taken.
    """

    first_index: int
    times_ns: tuple[int, ...]
    images: NDArray[np.uint8]


class ReadAhead:
    """Delivers some frames of a video in batches; a context manager.

    Attributes:
        end: One more than the index of the last frame to deliver, or None where the video does not say.
        error: What ended the video early (damage, a file cut off), or None. Everything before it is delivered.
    """

    def __init__(self, reader: VideoReader, channels: int, *, first: int, last: int | None, batch: int) -> None:
        """Start nothing yet.

        Args:
            reader: The open video, nothing read yet; closed at the end.
            channels: What it was opened for: 1 or 3.
            first: Index of the first frame to deliver. Those before are decoded and passed over, so that it is exact.
            last: Index of the last one, or None for all that follow.
            batch: Frames in a batch; the last batch may have fewer.
        """
        self.end = reader.n_frames if last is None else last + 1
        self.error: CameraError | None = None
        self._reader = reader
        self._first = first
        self._last = last
        self._free: queue.SimpleQueue[NDArray[np.uint8]] = queue.SimpleQueue()
        shape = (batch, reader.height, reader.width) if channels == 1 else (batch, reader.height, reader.width, 3)
        for _ in range(BATCHES_AHEAD + 1):
            self._free.put(np.empty(shape, np.uint8))
        self._ready: queue.SimpleQueue[tuple[Batch, NDArray[np.uint8]] | None] = queue.SimpleQueue()
        self._taken: NDArray[np.uint8] | None = None
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decoding", daemon=True)

    @property
    def n_passed(self) -> int:
        """Frames decoded so far, those that are only passed over included."""
        return self._reader.n_read

    @property
    def ended(self) -> bool:
        """True once every frame has been delivered, or all before the damage."""
        return self._ended

    def take(self, timeout_s: float) -> Batch | None:
        """Return the next batch, or None if none came within `timeout_s` or there are no more.

        Raises:
            RuntimeError: The decoding thread died.
        """
        if self._taken is not None:
            self._free.put(self._taken)
            self._taken = None
        try:
            item = self._ready.get(timeout=timeout_s)
        except queue.Empty:
            if not self._thread.is_alive() and self._ready.empty():
                raise RuntimeError(f"{self._reader.path}: decoding died at frame {self.n_passed}") from None
            return None
        if item is None:
            self._ended = True
            return None
        batch, self._taken = item
        return batch

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()

    def _run(self) -> None:
        try:
            self._read()
        except CameraError as error:
            self.error = error
        self._ready.put(None)

    def _read(self) -> None:
        while self._reader.n_read < self._first and not self._stop.is_set():
            if not self._reader.skip():
                return
        while not self._stop.is_set() and (images := self._buffer()) is not None and self._fill(images):
            pass

    def _buffer(self) -> NDArray[np.uint8] | None:
        while not self._stop.is_set():
            try:
                return self._free.get(timeout=POLL_S)
            except queue.Empty:
                continue
        return None

    def _fill(self, images: NDArray[np.uint8]) -> bool:
        """Decode one batch into `images` and deliver it; False after the last one."""
        first = self._reader.n_read
        times_ns: list[int] = []
        try:
            while len(times_ns) < len(images) and not self._is_last() and (decoded := next(self._reader, None)):
                images[len(times_ns)] = decoded.image
                times_ns.append(decoded.time_ns)
        finally:
            if times_ns:
                self._ready.put((Batch(first, tuple(times_ns), images[: len(times_ns)]), images))
        return len(times_ns) == len(images)

    def _is_last(self) -> bool:
        return self._last is not None and self._reader.n_read > self._last
