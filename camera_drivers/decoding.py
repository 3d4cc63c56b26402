"""VideoReader: the frames of a video file, one after another, each exact, every damage an error."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from camera_drivers.errors import CameraFailedError, CameraNotOpenError

# Most videos store luma as 16–235. OpenCV, and so whatever a model was trained on, stretches it to 0–255.
_FULL_RANGE = np.clip(np.rint((np.arange(256) - 16.0) * (255.0 / 219.0)), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Decoded:
    """One decoded frame.

    Attributes:
        index: 0 for the first frame of the file.
        time_ns: The file's own time of the frame, ns from its first frame.
        image: `(height, width)` or `(height, width, 3)` uint8, C-contiguous; overwritten by the next frame.
    """

    index: int
    time_ns: int
    image: NDArray[np.uint8]


class VideoReader:
    """Decodes a video file from its start; an iterator over `Decoded`.

    Gray is the file's luma, stretched to 0–255 where the file does not use the full range: two to three times as fast
    as a conversion, and within one gray level of OpenCV's picture. PyAV's logging stays off: its callback takes the
    interpreter's lock in FFmpeg's decoding threads, which was seen to lock up at the end of a damaged file.

    Args:
        path: The file.
        channels: 1 for gray, 3 for RGB.

    Attributes:
        height: px.
        width: px.
        n_frames: As the container says, or None where it does not.
        frame_rate_hz: As the container says, or None.
        n_read: Frames read or skipped so far.

    Raises:
        CameraNotOpenError: The file is missing, empty, or no video.
    """

    def __init__(self, path: Path, channels: int = 1) -> None:
        self.path = path
        self._channels = channels
        self._container = self._open()
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        context = self._stream.codec_context
        context.options = {"err_detect": "explode"}
        self.height, self.width = context.height, context.width
        self.n_frames = self._stream.frames or None
        self.frame_rate_hz = float(self._stream.average_rate) if self._stream.average_rate else None
        self._image = np.empty((self.height, self.width) if channels == 1 else (self.height, self.width, 3), np.uint8)
        self._frames: Iterator[av.VideoFrame] = self._container.decode(self._stream)
        self.n_read = 0
        self._first_time = Fraction(0)

    def __iter__(self) -> Iterator[Decoded]:
        return self

    def __next__(self) -> Decoded:
        """Decode the next frame.

        Raises:
            CameraFailedError: The file is damaged or ends early; the message names the frame.
        """
        if (following := self._next_frame()) is None:
            raise StopIteration
        index, frame = following
        self._write_image(frame)
        return Decoded(index, round((self._time(index, frame) - self._first_time) * 1_000_000_000), self._image)

    def skip(self) -> bool:
        """Decode the next frame and make no image of it; False at the end. Raises as iterating does."""
        return self._next_frame() is not None

    def skip_to(self, index: int) -> bool:
        """Skip frames until `index` comes next; False if the video ends before. Raises as iterating does."""
        while self.n_read < index:
            if not self.skip():
                return False
        return True

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._container.close()

    def _next_frame(self) -> tuple[int, av.VideoFrame] | None:
        index = self.n_read
        try:
            frame = next(self._frames, None)
        except av.FFmpegError as error:
            raise self._damage(f"expected a readable frame {index}, got damaged data ({error.strerror})") from error
        if frame is None:
            if self.n_frames is not None and index < self.n_frames:
                raise self._damage(f"expected {self.n_frames} frames, got {index}; the file is cut off")
            return None
        if frame.is_corrupt:
            raise self._damage(f"expected a whole frame {index}, got a damaged one")
        if (frame.height, frame.width) != (self.height, self.width):
            raise self._damage(
                f"expected {self.width} × {self.height} px at frame {index}, got {frame.width} × {frame.height}"
            )
        if index == 0:
            self._first_time = self._time(index, frame)
        self.n_read += 1
        return index, frame

    def _open(self) -> av.container.InputContainer:
        if not self.path.is_file():
            raise CameraNotOpenError(
                f"{self.path}: expected a video file, got {'a folder' if self.path.is_dir() else 'no such file'}"
            )
        if self.path.stat().st_size == 0:
            raise CameraNotOpenError(f"{self.path}: expected a video file, got an empty file")
        try:
            container = av.open(str(self.path))
        except (av.FFmpegError, OSError) as error:
            raise CameraNotOpenError(
                f"{self.path}: expected a video file, got something else ({error.strerror})"
            ) from error
        if not container.streams.video:
            container.close()
            raise CameraNotOpenError(f"{self.path}: expected a video file, got one without a video stream")
        return container

    def _write_image(self, frame: av.VideoFrame) -> None:
        luma = _luma(frame) if self._channels == 1 else None
        if self._channels == 3:
            np.copyto(self._image, frame.to_ndarray(format="rgb24"))
        elif luma is None:
            cv2.cvtColor(frame.to_ndarray(format="rgb24"), cv2.COLOR_RGB2GRAY, dst=self._image)
        elif _is_full_range(frame):
            np.copyto(self._image, luma)
        else:
            cv2.LUT(luma, _FULL_RANGE, dst=self._image)

    def _time(self, index: int, frame: av.VideoFrame) -> Fraction:
        if frame.pts is None or frame.time_base is None:
            return index / (self._stream.average_rate or Fraction(25))
        return frame.pts * frame.time_base

    def _damage(self, what: str) -> CameraFailedError:
        return CameraFailedError(f"{self.path}: {what}")


def _luma(frame: av.VideoFrame) -> NDArray[np.uint8] | None:
    """The frame's own 8-bit luma plane without a copy, or None if it has none."""
    luma = frame.format.components[0]
    if not (luma.is_luma and luma.bits == 8 and (frame.format.is_planar or frame.format.name == "gray")):
        return None
    plane = frame.planes[0]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


def _is_full_range(frame: av.VideoFrame) -> bool:
    """Formats without chroma are full range for FFmpeg's own conversions, whatever the file says."""
    name = frame.format.name
    return frame.color_range == ColorRange.JPEG or name.startswith("yuvj") or name == "gray"
