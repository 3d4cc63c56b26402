"""A video file as a camera."""

import hashlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from camera_drivers.base import Camera, CameraInfo
from camera_drivers.decoding import Decoded, VideoReader
from camera_drivers.errors import CameraFailedError, CameraNotOpenError
from camera_drivers.frame import Frame


class VideoOptions(BaseModel):
    """Settings of the video driver.

    Attributes:
        path: The file, of any kind that FFmpeg reads; colour becomes gray.
        pace: "consumer": each `grab` returns the next frame at once. "realtime": frames come as the file's times say.
        first_frame: Start with this frame; those before are decoded and thrown away, so that the count is exact.
        n_frames: Deliver so many, or None for all that follow.
        frame_rate_hz: With pace "realtime", deliver so many frames a second instead, and say in their times so.
        preload: Decode all frames to memory (1 byte a pixel) before the first one is delivered, so that decoding takes
            no processor from what is measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: Annotated[Path, Field(strict=False)]
    pace: Literal["realtime", "consumer"] = "consumer"
    first_frame: Annotated[int, Field(ge=0)] = 0
    n_frames: Annotated[int, Field(gt=0)] | None = None
    frame_rate_hz: Annotated[float, Field(ge=0.001, le=10_000, allow_inf_nan=False)] | None = None
    preload: bool = False
    repeat: Annotated[int, Field(ge=1, le=1_000_000)] = 1

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.repeat > 1 and not (self.preload and self.frame_rate_hz):
            raise ValueError(f"repeat: expected 1 without preload and frame_rate_hz, got {self.repeat}; set both")
        if self.frame_rate_hz is not None and self.pace != "realtime":
            raise ValueError("frame_rate_hz: expected none with pace consumer, got one; set pace to realtime")
        return self


class VideoCamera(Camera):
    """Delivers the frames of a video file; `frame_id` is the index in the file, from 0."""

    Options: ClassVar[type[BaseModel]] = VideoOptions

    def __init__(self, options: VideoOptions) -> None:
        self._options = options
        self._reader: VideoReader | None = None
        self._frames: Iterator[Decoded] = iter(())
        self._n_left: int | None = None
        self._started_ns = 0
        self._first: Decoded | None = None
        self._waiting: Frame | None = None
        self._ended = False

    def open(self) -> CameraInfo:
        """Open the file, check its length where it states one, and go to `first_frame`."""
        options = self._options
        reader = self._reader = VideoReader(options.path)
        self._ended, self._waiting, self._started_ns = False, None, 0
        n_frames = self._n_left = self._length(reader)
        if not reader.skip_to(options.first_frame):
            raise CameraNotOpenError(
                f"{options.path}: expected a frame {options.first_frame} to start with, "
                f"got a video of {reader.n_read} frames"
            )
        self._frames = _kept(itertools.islice(reader, n_frames), options.repeat) if options.preload else reader
        if n_frames is not None:
            n_frames = self._n_left = n_frames * options.repeat
        path = options.path.resolve()
        source = {
            "driver": "video",
            "options": options.model_dump(mode="json"),
            "path": str(path),
            "size_bytes": path.stat().st_size,
            "sha256": sha256_of(path),
        }
        return CameraInfo(
            height=reader.height,
            width=reader.width,
            channels=1,
            frame_rate_hz=options.frame_rate_hz or reader.frame_rate_hz,
            n_frames=n_frames,
            reproducible=options.repeat == 1,
            source=source,
        )

    def grab(self, timeout_s: float) -> Frame | None:
        """Return the next frame.

        Raises:
            CameraFailedError: The file is damaged; the message names the frame. A few frames before it may have been
                damaged too: a decoder notices some damage late.
        """
        if self._reader is None:
            raise CameraFailedError(
                f"{self._options.path}: expected an open video, got grab before open; call open first"
            )
        if self.ended:
            return None
        frame = self._waiting or self._next()
        self._waiting = None
        if frame is None:
            self._ended = True
            return None
        if not self.waits_for_consumer:
            wait_s = (frame.timestamp_ns - time.monotonic_ns()) / 1e9
            if wait_s > 0.0 and timeout_s > 0.0:  # a sleep of 0 s takes 50 µs
                time.sleep(min(wait_s, timeout_s))
            if wait_s > timeout_s:
                self._waiting = frame
                return None
        now_ns = time.monotonic_ns()
        return Frame(frame.frame_id, frame.timestamp_ns, now_ns, frame.device_timestamp_ns, frame.image)

    def peek(self) -> Frame | None:
        """Return the frame that is decoded and not due yet; None with pace "consumer". Raises as `grab` does."""
        if self._reader is None or self.waits_for_consumer or self.ended:
            return None
        self._waiting = self._waiting or self._next()
        return self._waiting

    @property
    def ended(self) -> bool:
        """True once the last frame has been delivered."""
        return self._ended or (self._n_left == 0 and self._waiting is None)

    @property
    def answers_at_once(self) -> bool:
        """True: a frame is due or not."""
        return True

    @property
    def waits_for_consumer(self) -> bool:
        """True with pace "consumer"."""
        return self._options.pace == "consumer"

    def close(self) -> None:
        """Close the file."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
            self._frames = iter(())

    def _length(self, reader: VideoReader) -> int | None:
        """How many frames will be delivered, or None if the file does not say how many it has."""
        options = self._options
        if reader.n_frames is None:
            return options.n_frames
        n_there = reader.n_frames - options.first_frame
        if n_there < (options.n_frames or 1):
            raise CameraNotOpenError(
                f"{options.path}: expected {options.n_frames or 'some'} frames from frame {options.first_frame} on, "
                f"got a video of {reader.n_frames} frames"
            )
        return options.n_frames or n_there

    def _next(self) -> Frame | None:
        decoded = next(self._frames, None)
        if decoded is None:
            if self._n_left:
                raise CameraFailedError(f"{self._options.path}: expected {self._n_left} more frames, got the end")
            return None
        if self._n_left is not None:
            self._n_left -= 1
        if not self._started_ns:
            self._started_ns, self._first = time.monotonic_ns(), decoded
        image = decoded.image.view()
        image.flags.writeable = False
        timestamp_ns = self._started_ns + self._since_first_ns(decoded)
        return Frame(decoded.index, timestamp_ns, 0, decoded.time_ns, image)

    def _since_first_ns(self, decoded: Decoded) -> int:
        assert self._first is not None  # noqa: S101  # whoever asks has set it
        rate_hz = self._options.frame_rate_hz
        if rate_hz is None:
            return decoded.time_ns - self._first.time_ns
        return round((decoded.index - self._first.index) * 1e9 / rate_hz)


def _kept(frames: Iterator[Decoded], repeat: int) -> Iterator[Decoded]:
    """Decode everything now and deliver it `repeat` times; each is a copy, since a decoder writes all to one place."""
    kept = [replace(frame, image=frame.image.copy()) for frame in frames]
    yielded = itertools.chain.from_iterable(itertools.repeat(kept, repeat))
    return (replace(frame, index=kept[0].index + n) for n, frame in enumerate(yielded))


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
