"""The camera protocol: open, grab, close."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, Self

from pydantic import BaseModel

from camera_drivers.frame import Frame


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """What an open camera delivers.

    Attributes:
        height: Image height, px.
        width: Image width, px.
        channels: 1 (gray) or 3 (RGB).
        frame_rate_hz: Nominal rate, or None where the driver cannot know.
        n_frames: Frames in all, or None for a camera that does not end.
        reproducible: True if the same frames can be produced again from `source` (a file, a seed).
        source: Where the frames come from, as JSON-able values: driver, options, and for a file its absolute path,
            size and SHA-256.
    """

    height: int
    width: int
    channels: int
    frame_rate_hz: float | None
    n_frames: int | None
    reproducible: bool
    source: Mapping[str, Any] = field(default_factory=dict)


class Camera(ABC):
    """A source of frames, one driver a subclass; usable as a context manager.

    A driver names its settings in `Options` (a strict, frozen pydantic model) and is built from an instance of it.
    """

    Options: ClassVar[type[BaseModel]]

    @abstractmethod
    def open(self) -> CameraInfo:
        """Start delivering frames.

        Raises:
            CameraNotInstalledError: The package that the driver needs is missing.
            CameraNotOpenError: There is no such device or file, or it is in use.
        """

    @abstractmethod
    def grab(self, timeout_s: float) -> Frame | None:
        """Return the next frame, or None if none came within `timeout_s` or the camera has ended.

        Raises:
            CameraFailedError: The camera failed; the message names the frame where that is known.
        """

    def peek(self) -> Frame | None:
        """Return the frame that the next successful `grab` will give, ahead of its time; its `available_ns` is 0.

        For cameras that have it before it is due, such as a file at a live pace; others, as by default, say None. Its
        image is valid until that `grab`.
        """
        return None

    @property
    @abstractmethod
    def ended(self) -> bool:
        """True once every frame has been delivered; always False for a camera that does not end."""

    @property
    def waits_for_consumer(self) -> bool:
        """True if frames come as fast as they are taken, as from a file, so that none should ever be skipped."""
        return False

    @property
    def answers_at_once(self) -> bool:
        """True if `grab(0.0)` can be asked again and again; False by default.

        It then neither waits nor needs another thread of Python, which would get no turn while it is asked.
        """
        return False

    @property
    def drops(self) -> Mapping[str, int]:
        """Frames that were lost so far, counted by reason."""
        return {}

    @abstractmethod
    def close(self) -> None:
        """Stop and release the device. May be called twice."""

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
