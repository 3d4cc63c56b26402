"""Optical flow in the live loop: where the picture round each animal went, in a small reduced picture of each.

A whole frame of 1024×1024 px takes OpenCV tens of milliseconds. Here a square round each animal, `REGION` body lengths
wide, is reduced to `SIDE_PX` px, and only its nodes are followed from the last frame to this one.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from realtime.tracking.state import TrackState

Method = Literal["lucas_kanade", "farneback"]

REGION = 2.5
"""Side of the square round an animal, body lengths: what moves farther than 3/4 of a body length a frame is lost."""

SIDE_PX = 80
"""Side of the reduced picture."""

_WINDOW_PX = 15
_LEVELS = 2
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 10, 0.03)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one track looked like in the last frame.

    Attributes:
        track_id: The track.
        box: Left, top, right, bottom of the square, px of the frame; right and bottom are outside.
        picture: The reduced picture of it, gray.
        points: `(n_nodes, 2)` float32 in it, NaN = not seen.
    """

    track_id: int
    box: tuple[int, int, int, int]
    picture: NDArray[np.uint8]
    points: NDArray[np.float32]


class Flow:
    """Follows what the tracks of one frame showed into the next."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._seen: list[_Seen] = []

    def reset(self) -> None:
        """Forget the last frame."""
        self._seen = []

    def expect(self, state: TrackState, image: NDArray[np.uint8]) -> None:
        """Write into the state where the nodes of the tracks that the last frame showed are now.

        Args:
            state: Its `flow_xy` is written, NaN where a node was lost.
            image: `(height, width)` or `(height, width, 3)` of this frame.
        """
        state.flow_xy[:] = np.nan
        rows = {int(track_id): row for row, track_id in enumerate(state.ids[: state.counts[0]])}
        for seen in self._seen:
            row = rows.get(seen.track_id)
            if row is not None:
                points = self._follow(seen, _reduced(image, seen.box))
                state.flow_xy[row] = _in_frame(points, seen)

    def remember(self, state: TrackState, image: NDArray[np.uint8], timestamp_ns: int) -> None:
        """Keep what the tracks that are seen in this frame look like."""
        self._seen = []
        for row in np.flatnonzero(state.last_seen_ns[: state.counts[0]] == timestamp_ns).tolist():
            pose = state.pose[row]
            box = _box(pose, float(state.body_px[row]), image.shape)
            if box is not None:
                picture = _reduced(image, box)
                points = _in_picture(pose, box, picture.shape)
                self._seen.append(_Seen(int(state.ids[row]), box, picture, points))

    def _follow(self, seen: _Seen, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return `(n_nodes, 2)` where the points of the last picture are in this one, NaN = lost."""
        found = np.full_like(seen.points, np.nan)
        known = np.flatnonzero(np.isfinite(seen.points[:, 0]))
        if not known.size:
            return found
        points = seen.points[known]
        if self._method == "lucas_kanade":
            moved, status, _ = cv2.calcOpticalFlowPyrLK(
                seen.picture, picture, points, None, winSize=(_WINDOW_PX, _WINDOW_PX), maxLevel=_LEVELS, criteria=_STEPS
            )
            good = status.ravel() == 1
            found[known[good]] = moved.reshape(-1, 2)[good]
            return found
        shift = cv2.calcOpticalFlowFarneback(seen.picture, picture, None, 0.5, _LEVELS, _WINDOW_PX, 2, 5, 1.1, 0)
        height, width = picture.shape
        columns = np.clip(np.rint(points[:, 0]), 0, width - 1).astype(np.intp)
        lines = np.clip(np.rint(points[:, 1]), 0, height - 1).astype(np.intp)
        found[known] = points + shift[lines, columns]
        return found


def _box(pose: NDArray[np.float64], body_px: float, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Return the square round an animal as far as it lies in the image; None if hardly anything does."""
    x, y = np.nanmean(pose, axis=0).tolist()
    half = 0.5 * REGION * body_px
    left, top = max(int(x - half), 0), max(int(y - half), 0)
    right, bottom = min(int(x + half) + 1, shape[1]), min(int(y + half) + 1, shape[0])
    return (left, top, right, bottom) if right - left > _WINDOW_PX and bottom - top > _WINDOW_PX else None


def _reduced(image: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Return a part of the image, at most `SIDE_PX` wide and high, gray."""
    left, top, right, bottom = box
    part = image[top:bottom, left:right]
    shrink = SIDE_PX / max(part.shape[:2])
    if shrink < 1.0:
        size = (max(round(part.shape[1] * shrink), 2), max(round(part.shape[0] * shrink), 2))
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
    if part.ndim == 3:
        part = np.asarray(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.ascontiguousarray(part)


def _scale(box: tuple[int, int, int, int], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return how many px of the picture one px of the frame is, (x, y)."""
    return np.array([shape[1] / (box[2] - box[0]), shape[0] / (box[3] - box[1])])


def _in_picture(
    pose: NDArray[np.float64], box: tuple[int, int, int, int], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    # The middle of a pixel is a whole number, in the frame as in the picture.
    points: NDArray[np.float32] = ((pose - box[:2] + 0.5) * _scale(box, shape) - 0.5).astype(np.float32)
    return points


def _in_frame(points: NDArray[np.float32], seen: _Seen) -> NDArray[np.float64]:
    frame: NDArray[np.float64] = (points + 0.5) / _scale(seen.box, seen.picture.shape) - 0.5 + seen.box[:2]
    return frame
