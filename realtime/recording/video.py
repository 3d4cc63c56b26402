"""The video of a session: H.264 in Matroska, readable up to the last tenth of a second whatever kills the writer."""

from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from realtime.recording.errors import VideoWriteError

# Matroska counts milliseconds, whatever the encoder is told.
_TICK_NS = 1_000_000
_TIME_BASE = Fraction(1, 1000)
_KEYFRAME_TICKS = 1000
# Clusters of 100 ms, each handed to the system when it is full: what is lost with the process is at most one of them.
_CONTAINER_OPTIONS = {"flush_packets": "1", "cluster_time_limit": "100"}


class VideoWriter:
    """Encodes images one by one, in the order of their times.

    Gray images are encoded as luma in full range, so that the decoded Y plane is the image: exactly when lossless,
    nearly when lossy. Colour images are encoded as RGB planes for the same reason, and because that took half the time
    of a conversion to YUV.

    Lossless is libx264 at quantiser 0: 6 ms for a noisy 1024×1024 image on one core of 2.5 GHz, where FFV1 took 11 ms.

    Attributes:
        n_frames: Images handed to the encoder.
        pixel_format: What the encoder really uses.
    """

    def __init__(
        self,
        path: Path,
        *,
        height: int,
        width: int,
        channels: int,
        mode: Literal["lossy", "lossless"],
        crf: int,
        threads: int,
    ) -> None:
        """Create the file.

        Args:
            path: Where; the suffix is `.mkv`.
            height: Of the images, px.
            width: Of the images, px.
            channels: 1 (gray) or 3 (RGB).
            mode: Lossless comes back byte for byte.
            crf: libx264's constant rate factor, 1–51, lower is better; not used when lossless.
            threads: Threads of the encoder.

        Raises:
            VideoWriteError: The file cannot be created, or the encoder is missing.
        """
        self.n_frames = 0
        self._path = path
        self._format = "gray" if channels == 1 else "rgb24"
        self._first_ns = 0
        self._tick = -1
        self._next_keyframe_tick = 0
        self._closed = False
        quality = {"qp": "0"} if mode == "lossless" else {"crf": str(crf)}
        try:
            self._container = av.open(str(path), "w", format="matroska", options=_CONTAINER_OPTIONS)
            self._stream = self._container.add_stream(
                "libx264" if channels == 1 else "libx264rgb",
                # Keyframes come by time, not by count: the frame rate is the camera's affair.
                options={"preset": "ultrafast", "tune": "zerolatency", "g": "100000", "forced-idr": "1", **quality},
            )
            context = self._stream.codec_context
            context.width, context.height, context.pix_fmt = width, height, self._format
            context.color_range = ColorRange.JPEG
            context.time_base = _TIME_BASE
            context.framerate = Fraction(0)  # so that readers find it from the times; PyAV would write 24
            context.thread_count = threads
            self._container.start_encoding()
        except av.FFmpegError as error:
            raise VideoWriteError(f"{path}: could not create the video: {error.strerror}") from error
        except ValueError as error:  # no such encoder
            raise VideoWriteError(f"{path}: could not create the video: {error}") from error
        self.pixel_format = context.pix_fmt or ""

    def append(self, image: NDArray[np.uint8], timestamp_ns: int) -> None:
        """Encode one image.

        Args:
            image: `(height, width)` or `(height, width, 3)` uint8; it is copied.
            timestamp_ns: Its time, ns; in the file it counts from the first image, in ms. One that is not later than
                the image before is put 1 ms after it.

        Raises:
            VideoWriteError: The encoder failed or the disk is full.
        """
        if self.n_frames == 0:
            self._first_ns = timestamp_ns
        self._tick = max(self._tick + 1, (timestamp_ns - self._first_ns) // _TICK_NS)
        frame = av.VideoFrame.from_ndarray(image, format=self._format)
        frame.pts, frame.time_base = self._tick, _TIME_BASE
        if self._tick >= self._next_keyframe_tick:
            frame.pict_type = PictureType.I
            self._next_keyframe_tick = self._tick + _KEYFRAME_TICKS
        self._encode(frame)
        self.n_frames += 1

    def close(self) -> None:
        """Write what the encoder still holds and end the file. May be called twice.

        Raises:
            VideoWriteError: The end could not be written; the file is closed and readable up to there.
        """
        if self._closed:
            return
        self._closed = True
        try:
            if self.n_frames:
                self._encode(None)
        finally:
            try:
                self._container.close()
            except av.FFmpegError as error:
                raise VideoWriteError(f"{self._path}: could not end the video: {error.strerror}") from error

    def _encode(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except av.FFmpegError as error:
            raise VideoWriteError(f"{self._path}: could not write frame {self.n_frames}: {error.strerror}") from error
