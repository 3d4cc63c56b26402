"""Images: the labelled frames of a video, as the networks learn them."""

from collections.abc import Collection, Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingInputError

# Limited-range luma 16–235 onto 0–255, as every RGB conversion does it: cameras deliver full range.
_FULL_RANGE = np.clip(np.rint((np.arange(256) - 16.0) * 255 / 219), 0, 255).astype(np.uint8)


def stream_frames(video: Path, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode frames of a video as gray images, in the video's order.

    Args:
        video: Any video that FFmpeg reads.
        wanted: Numbers of the frames.

    Yields:
        Frame number and `(height, width)` uint8: the luma plane with its range stretched to 0–255.

    Raises:
        TrainingInputError: The video cannot be read, is damaged or ends before a wanted frame.
    """
    missing = set(wanted)
    n_decoded = 0
    try:
        with av.open(str(video)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                n_decoded = index + 1
                if index in missing:
                    missing.remove(index)
                    yield index, _gray(frame)
                if not missing:
                    return
    except (OSError, av.FFmpegError) as error:
        expected = f"frame {n_decoded} to be readable" if n_decoded else "a video that can be read"
        raise TrainingInputError(f"{video}: expected {expected}, got: {error}") from error
    raise TrainingInputError(
        f"{video}: expected at least {max(missing) + 1} frames as the labels say, got {n_decoded}; is it their video?"
    )


def _gray(frame: av.VideoFrame) -> NDArray[np.uint8]:
    if not frame.format.name.startswith(("gray", "yuv", "nv12")):
        frame = frame.reformat(format="gray")
    plane = frame.planes[0]
    luma: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[
        :, : plane.width
    ]
    full = frame.format.name.startswith(("gray", "yuvj")) or frame.color_range == av.video.reformatter.ColorRange.JPEG
    stretched: NDArray[np.uint8] = luma.copy() if full else _FULL_RANGE[luma]
    return stretched
