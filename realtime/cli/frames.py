"""Which frames of a video a command is for."""

from collections.abc import Iterator

import numpy as np

from camera_drivers.decoding import Decoded, VideoReader


def frame_range(text: str) -> tuple[int, int | None]:
    """Read `--frames`: the first frame and the last one, None where the video ends.

    Raises:
        ValueError: It is not FIRST-LAST.
    """
    first, dash, last = text.strip().partition("-")
    if not (dash and first.isdecimal() | (first == "") and last.isdecimal() | (last == "")):
        raise ValueError(f"--frames: expected FIRST-LAST, as in 100-199, 100- or -199, got {text!r}")
    begin, end = int(first or 0), int(last) if last else None
    if end is not None and end < begin:
        raise ValueError(f"--frames: expected the first frame before the last, got {text!r}")
    return begin, end


def spread_frames(reader: VideoReader, n_frames: int, first: int = 0, last: int | None = None) -> Iterator[Decoded]:
    """Yield `n_frames` frames from `first` to `last`, evenly spread; None = the end, if the video says where that is.

    Raises:
        CameraFailedError: The file is damaged or ends early.
    """
    if last is None:
        last = (reader.n_frames or first + n_frames) - 1
    for index in np.unique(np.linspace(first, max(first, last), n_frames).astype(int)).tolist():
        reader.skip_to(index)
        if (frame := next(reader, None)) is None:
            return
        yield frame
