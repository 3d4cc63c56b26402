"""A simulated light: follows the log of a stimulator's edges, and lights a spot in the simulated camera's picture."""

import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from camera_drivers.errors import CameraFailedError

FULL_INTENSITY = 0xFFFF


@dataclass(slots=True)
class _Lit:
    """One stretch of light; `end_ns` is None while it lasts."""

    start_ns: int
    end_ns: int | None
    strength: float


class LightLog:
    """What a light did, read from the log of the output that drives it, line by line as it grows.

    Every line is a JSON object. Those with `"record": "edge"` count: `channel`, `on`, `intensity` (0–65535) and
    `host_ns`, the host's monotonic clock when the output changed. What was in the file before is not looked at.

    Args:
        path: The log; it need not be there yet.
        channel: The output that drives the light.
        delay_ns: How long after its output the light goes on and off, ns.
    """

    def __init__(self, path: Path, channel: int, delay_ns: int) -> None:
        self._path = path
        self._channel = channel
        self._delay_ns = delay_ns
        self._file: BinaryIO | None = None
        self._n_before = path.stat().st_size if path.exists() else 0
        self._rest = b""
        self._lit: deque[_Lit] = deque()

    def share(self, start_ns: int, end_ns: int) -> float:
        """Return how much of a full light a pixel gets that is exposed from `start_ns` to `end_ns`, 0–1.

        The exposures that are asked for come in order of time.

        Raises:
            CameraFailedError: The log cannot be read, or has a line that is no edge of a stimulator.
        """
        self._read()
        while self._lit and self._lit[0].end_ns is not None and self._lit[0].end_ns <= start_ns:
            self._lit.popleft()
        lit_ns = 0.0
        for lit in self._lit:
            until_ns = end_ns if lit.end_ns is None else min(lit.end_ns, end_ns)
            lit_ns += max(0, until_ns - max(lit.start_ns, start_ns)) * lit.strength
        return lit_ns / (end_ns - start_ns)

    def close(self) -> None:
        """Leave the log. May be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _read(self) -> None:
        try:
            if self._file is None:
                self._file = self._path.open("rb", buffering=0)
                self._file.seek(self._n_before)
            data = self._file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise CameraFailedError(f"sim: {self._path}: cannot read the light's log: {error.strerror}") from error
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            record = json.loads(line)
            if record["record"] != "edge" or record["channel"] != self._channel:
                return
            time_ns = int(record["host_ns"]) + self._delay_ns
            strength = int(record["intensity"]) / FULL_INTENSITY if record["on"] else 0.0
        except (ValueError, KeyError, TypeError) as error:
            raise CameraFailedError(
                f"sim: {self._path}: expected the log of a simulated stimulator, one JSON object a line with record, "
                f"host_ns, channel, on and intensity, got {line[:80]!r}"
            ) from error
        if self._lit and self._lit[-1].end_ns is None:
            self._lit[-1].end_ns = time_ns
        if strength > 0.0:
            self._lit.append(_Lit(time_ns, None, strength))


class Spot:
    """A disc of light in the upper left corner, outside the arena, where no animal goes.

    Args:
        width_px: The image's width, px.
        height_px: The image's height, px.
        level: Gray levels that a full light adds.
    """

    def __init__(self, width_px: int, height_px: int, level: float) -> None:
        self.radius_px = max(2, round(0.03 * min(width_px, height_px)))
        size = 2 * self.radius_px + 1
        disc = np.zeros((size, size), np.float32)
        cv2.circle(disc, (self.radius_px, self.radius_px), self.radius_px, level, thickness=-1)
        self._disc = disc
        self._rows = self._columns = slice(self.radius_px, self.radius_px + size)

    def add(self, image: NDArray[np.uint8], share: float) -> None:
        """Add the light to `(height, width)` uint8 in place; white stays white.

        Args:
            image: The picture without it.
            share: Of a full light, 0–1.
        """
        part = image[self._rows, self._columns]
        part[:] = np.clip(np.rint(part + share * self._disc), 0, 255).astype(np.uint8)
