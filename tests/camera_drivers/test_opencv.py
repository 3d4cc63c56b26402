"""The OpenCV driver with a pretended `cv2`: no camera is at hand here."""

import sys
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import cv2 as real_cv2
import numpy as np
import pytest

from camera_drivers.errors import CameraFailedError, CameraNotInstalledError, CameraNotOpenError
from camera_drivers.opencv import OpenCVCamera, OpenCVOptions
from camera_drivers.testing import check_camera


class Capture:
    """A device of 64 × 48 px at 200 Hz whose picture k is filled with k."""

    def __init__(self, device: int | str, *, is_there: bool = True, n_frames: int | None = None) -> None:
        self.device = device
        self.settings: dict[int, float] = {real_cv2.CAP_PROP_FPS: 200.0}
        self.released = threading.Event()
        self._is_there = is_there
        self._n_frames = n_frames
        self._k = 0

    def isOpened(self) -> bool:
        return self._is_there

    def set(self, setting: int, value: float) -> bool:
        self.settings[setting] = value
        return True

    def get(self, setting: int) -> float:
        return self.settings[setting]

    def read(self) -> tuple[bool, Any]:
        time.sleep(0.005)
        if self._n_frames is not None and self._k >= self._n_frames:
            return False, None
        image = np.empty((48, 64, 3), np.uint8)
        image[:] = (10, 20, self._k % 200)
        self._k += 1
        return True, image

    def release(self) -> None:
        self.released.set()


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    state: dict[str, Any] = {"made": [], "kind": {}}

    def open_capture(device: int | str) -> Capture:
        state["made"].append(Capture(device, **state["kind"]))
        return state["made"][-1]

    names = ("CAP_PROP_FRAME_WIDTH", "CAP_PROP_FRAME_HEIGHT", "CAP_PROP_FPS", "COLOR_BGR2RGB", "COLOR_BGR2GRAY")
    fake = SimpleNamespace(
        VideoCapture=open_capture, cvtColor=real_cv2.cvtColor, **{name: getattr(real_cv2, name) for name in names}
    )
    monkeypatch.setitem(sys.modules, "cv2", fake)
    yield state
    assert all(capture.released.is_set() for capture in state["made"])


@pytest.mark.parametrize("colour", [False, True])
def test_contract(captures: dict[str, Any], colour: bool) -> None:
    info = check_camera(OpenCVCamera(OpenCVOptions(device=3, colour=colour)))
    assert (info.height, info.width, info.channels) == (48, 64, 3 if colour else 1)
    assert (info.frame_rate_hz, info.n_frames, info.reproducible) == (200.0, None, False)
    assert captures["made"][0].device == 3


def test_colour_is_rgb(captures: dict[str, Any]) -> None:
    with OpenCVCamera(OpenCVOptions(colour=True)) as camera:
        frame = camera.grab(1.0)
    assert frame is not None
    assert frame.image[0, 0].tolist() == [frame.frame_id + 1, 20, 10]
    assert frame.device_timestamp_ns is None


def test_a_slow_consumer_sees_a_gap(captures: dict[str, Any]) -> None:
    with OpenCVCamera(OpenCVOptions()) as camera:
        first = camera.grab(1.0)
        time.sleep(0.05)
        second = camera.grab(1.0)
    assert first is not None
    assert second is not None
    assert second.frame_id > first.frame_id + 1


def test_what_is_asked_of_the_device(captures: dict[str, Any]) -> None:
    with OpenCVCamera(OpenCVOptions(device="rtsp://cage/1", width_px=640, height_px=480, frame_rate_hz=30.0)) as camera:
        assert camera.grab(1.0) is not None
    (capture,) = captures["made"]
    assert capture.device == "rtsp://cage/1"
    assert capture.settings == {
        real_cv2.CAP_PROP_FRAME_WIDTH: 640,
        real_cv2.CAP_PROP_FRAME_HEIGHT: 480,
        real_cv2.CAP_PROP_FPS: 30.0,
    }


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"is_there": False}, "opencv: no camera 0, or it is in use"),
        ({"n_frames": 0}, "opencv: camera 0 opened, but it delivers no frame"),
    ],
)
def test_what_does_not_open(captures: dict[str, Any], kind: dict[str, Any], message: str) -> None:
    captures["kind"] = kind
    with pytest.raises(CameraNotOpenError) as caught:
        OpenCVCamera(OpenCVOptions()).open()
    assert str(caught.value) == message


def test_unplugged(captures: dict[str, Any]) -> None:
    captures["kind"] = {"n_frames": 4}
    camera = OpenCVCamera(OpenCVOptions())
    camera.open()
    ids: list[int] = []
    with pytest.raises(CameraFailedError) as caught:
        ids.extend(frame.frame_id for frame in iter(lambda: camera.grab(1.0), None))
    assert ids[-1] == 2
    assert str(caught.value) == "opencv: camera 0 delivered no frame 3; is it unplugged?"
    camera.close()


def test_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(CameraNotInstalledError) as caught:
        OpenCVCamera(OpenCVOptions()).open()
    assert str(caught.value) == "opencv: expected the package cv2; pip install opencv-python-headless"
