"""Which part of the picture the light falls on: given by a person, or the part that brightens with every pulse."""

import itertools
import math
from dataclasses import dataclass, field
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime.looptest.blinks import NoLightError

WHITE = 255
_MAX_BLOCKS = 128  # along the longer side
N_LOCATING = 12  # pulses that tell where the light is
_N_DARK = 4
_LEAST_RISE = 3.0  # gray levels
_LEAST_RISE_SD = 3.0  # of one rise; the fifth of twelve reaches half of it by chance twice in a million
_N_FORGIVEN = 4


class Look(NamedTuple):
    """What one frame shows: the mean gray level, and the share of pixels that are white, 0–1."""

    brightness: float
    white: float


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the image: `x_px`, `y_px` is its upper left pixel."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int

    def look(self, image: NDArray[np.uint8]) -> Look:
        """Return how bright it is inside, over all channels."""
        part = image[self.y_px : self.y_px + self.height_px, self.x_px : self.x_px + self.width_px]
        return Look(float(part.mean()), np.count_nonzero(part == WHITE) / part.size)

    def __str__(self) -> str:
        return f"{self.x_px},{self.y_px},{self.width_px},{self.height_px}"


def parse_region(text: str, height: int, width: int) -> Region:
    """Read `X,Y,WIDTH,HEIGHT` in px.

    Args:
        text: What a person wrote.
        height: Of the image, px.
        width: Of the image, px.

    Raises:
        ValueError: It is something else, or leaves the image.
    """
    try:
        x, y, region_width, region_height = (int(part) for part in text.split(","))
    except ValueError as error:
        raise ValueError(f"--region: expected X,Y,WIDTH,HEIGHT in px, such as 10,20,40,40, got {text!r}") from error
    if min(x, y) < 0 or not (1 <= region_width <= width - x and 1 <= region_height <= height - y):
        raise ValueError(f"--region: expected a part of the image of {width} × {height} px, got {text!r}")
    return Region(x, y, region_width, region_height)


@dataclass(slots=True)
class Finder:
    """Looks for the pixels that brighten with every pulse.

    For the n-th frame after a command it keeps, block by block, the five smallest rises over the dark frames before
    that command, and looks at the fifth: of twelve pulses four may be missed, or late by more than a frame. What moves,
    flickers or walks by is not brighter at the same moment after the other eight; the light is, in some n, provided
    that a pulse lasts for three frames.

    Args:
        n_frames: Frames after a command that are looked at.
    """

    n_frames: int
    _shape: tuple[int, int] = (0, 0)
    _block_px: int = 1
    _dark: list[NDArray[np.float32]] = field(default_factory=list)
    _base: NDArray[np.float32] | None = None
    _n_after: int = 0
    _rises: list[NDArray[np.float32]] = field(default_factory=list)
    _noise: list[float] = field(default_factory=list)

    def command(self) -> None:
        """Note that the frames that come from here on may show the next pulse."""
        dark = self._dark[-_N_DARK:]
        self._base = np.mean(dark, axis=0, dtype=np.float32) if dark else None
        # Of dark frames, not of rises: a light may fill the picture, and most frames may show it.
        self._noise += [_noise(one, other) for one, other in itertools.pairwise(dark)]
        self._dark.clear()
        self._n_after = 0

    def look(self, image: NDArray[np.uint8]) -> Look:
        """Take one frame; it shows nothing yet, as there is no region."""
        blocks = self._reduced(image)
        if self._base is not None and self._n_after < self.n_frames:
            rise = blocks - self._base
            if self._n_after == len(self._rises):
                self._rises.append(np.full((_N_FORGIVEN + 1, *rise.shape), np.inf, np.float32))
            _keep_smallest(self._rises[self._n_after], rise)
            self._n_after += 1
        else:
            self._dark = [*self._dark[1 - _N_DARK :], blocks]
        return Look(0.0, 0.0)

    def found(self) -> Region:
        """Return the rectangle round the part that brightens most, and what is connected to it.

        Raises:
            NoLightError: Nothing brightens with the pulses.
        """
        kept = [smallest[-1] for smallest in self._rises if np.isfinite(smallest[-1, 0, 0])]
        rise = np.max(kept, axis=0) if kept else np.zeros((1, 1), np.float32)
        noise = float(np.median(self._noise)) if self._noise else 0.0
        least = max(_LEAST_RISE, _LEAST_RISE_SD * noise)
        peak = float(rise.max())
        if peak < least:
            raise NoLightError(
                f"looptest: no part of the picture brightens with the pulses: expected a rise of {least:.3g} gray "
                f"levels, got {peak:.3g}; look whether the output is connected and the light in the picture, try a "
                f"longer pulse (--pulse-ms) or a longer wait (--longest-ms), or give the place with --region"
            )
        _, labels = cv2.connectedComponents((rise > 0.5 * peak).astype(np.uint8))
        rows, columns = np.nonzero(labels == labels[np.unravel_index(int(rise.argmax()), rise.shape)])
        block = self._block_px
        height, width = self._shape
        x, y = int(columns.min()) * block, int(rows.min()) * block
        right, bottom = min((int(columns.max()) + 1) * block, width), min((int(rows.max()) + 1) * block, height)
        return Region(x, y, right - x, bottom - y)

    def _reduced(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = self._shape = image.shape[:2]
        block = self._block_px = math.ceil(max(height, width) / _MAX_BLOCKS)
        gray = image if image.ndim == 2 else image.max(axis=2)  # a coloured light shows in one channel
        padded = np.pad(gray, ((0, -height % block), (0, -width % block)), mode="edge") if block > 1 else gray
        size = padded.shape[1] // block, padded.shape[0] // block
        return np.asarray(cv2.resize(padded, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _noise(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the standard deviation of a block, from all differences between two frames of the same scene."""
    return float(np.median(np.abs(one - other))) / (0.6745 * math.sqrt(2.0))


def _keep_smallest(smallest: NDArray[np.float32], new: NDArray[np.float32]) -> None:
    """Put `new` into its place among `smallest`, `(n, height, width)`, ascending along the first axis."""
    for row in smallest:
        larger = np.maximum(row, new)
        np.minimum(row, new, out=row)
        new = larger
