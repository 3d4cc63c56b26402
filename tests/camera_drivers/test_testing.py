"""`check_camera` finds what it promises to find."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from camera_drivers.base import Camera, CameraInfo
from camera_drivers.frame import Frame
from camera_drivers.testing import check_camera

SHAPE = (4, 6)


def image(shape: tuple[int, ...] = SHAPE, dtype: Any = np.uint8, *, writeable: bool = False) -> Any:
    array = np.zeros(shape, dtype)
    array.flags.writeable = writeable
    return array


class Made(Camera):
    """Delivers what a function says."""

    def __init__(self, make: Callable[[int], Frame | None], channels: int = 1) -> None:
        self._make = make
        self._channels = channels
        self._k = 0

    def open(self) -> CameraInfo:
        return CameraInfo(*SHAPE, self._channels, None, None, False)

    def grab(self, timeout_s: float) -> Frame | None:
        self._k += 1
        return self._make(self._k - 1)

    @property
    def ended(self) -> bool:
        return self._k >= 30

    def close(self) -> None:
        pass


def slow(k: int) -> Frame:
    time.sleep(0.4)
    return Frame(k, k, k, None, image())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda k: Frame(k, k, k, None, image((4, 7))), r"frame 0: expected an image of \(4, 6\), got \(4, 7\)"),
        (lambda k: Frame(k, k, k, None, image(dtype=np.float32)), "frame 0: expected uint8, got float32"),
        (lambda k: Frame(k, k, k, None, image(writeable=True)), "frame 0: expected a read-only image"),
        (lambda k: Frame(k, k, k, None, image((6, 4)).T), "frame 0: expected a C-contiguous image"),
        (lambda k: Frame(k // 2, k, k, None, image()), "frame 0: came after frame 0"),
        (lambda k: Frame(k, 5, k, None, image()), "frame 1: expected a later timestamp_ns than before"),
        (lambda k: Frame(k, k, -k, None, image()), "frame 1: expected no earlier available_ns than before"),
        (lambda k: Frame(k, np.int64(k), k, None, image()), "frame 0: expected plain integers"),
        (lambda k: None, "expected at least one frame, got none"),
        (slow, r"expected grab to return within 0\.05 s, got 0\.4"),
    ],
)
def test_what_is_found(make: Callable[[int], Frame | None], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_camera(Made(make))


def test_a_sound_camera_passes() -> None:
    check_camera(Made(lambda k: Frame(k, k, k, None, image())))
