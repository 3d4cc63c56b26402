"""Following: the images of labelled frames, and which row of the live tracker's answer each pose became."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camera_drivers.decoding import VideoReader
from models.poses import Poses
from realtime.tracks import Tracks

DEFAULT_FPS = 25.0
Image = NDArray[np.uint8]


def rows_of(poses: Poses, tracks: Tracks) -> NDArray[np.int64]:
    """Return `(n_instances,)` the row of `tracks` that shows each pose, −1 = none.

    The tracker hands the points of a pose on bit for bit, so that they tell which it was.
    """
    seen = np.flatnonzero(np.isfinite(tracks.xy).any(axis=(1, 2))).tolist()
    row_of = {tracks.xy[row].tobytes(): row for row in seen}
    return np.array([row_of.get(xy.tobytes(), -1) for xy in poses.xy], dtype=np.int64)


def images_of(video: Path | None, frames: NDArray[np.int64]) -> Iterator[Image | None]:
    """Yield the image of every frame, valid until the next; None for each without a video."""
    if video is None:
        yield from [None] * len(frames)
        return
    reader = VideoReader(video)
    try:
        for frame_id in frames.tolist():
            reader.skip_to(frame_id)
            if (decoded := next(reader, None)) is None:
                raise ValueError(f"{video}: expected a frame {frame_id}, as in the labels, got {reader.n_read} frames")
            yield decoded.image
    finally:
        reader.close()


def frame_rate_hz(video: Path | None) -> float:
    """Return a video's frames a second; `DEFAULT_FPS` without a video, or where it does not say."""
    if video is None:
        return DEFAULT_FPS
    reader = VideoReader(video)
    reader.close()
    return reader.frame_rate_hz or DEFAULT_FPS
