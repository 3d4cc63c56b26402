"""What every camera driver must do; a driver's own tests call `check_camera`."""

import time

import numpy as np

from camera_drivers.base import Camera, CameraInfo
from camera_drivers.frame import Frame

_GRAB_S = 0.05
_SLACK_S = 0.25
_MOST_LATE = 2  # a busy machine wakes a sleeper late now and then


def check_camera(camera: Camera, n_frames: int = 20, limit_s: float = 10.0) -> CameraInfo:
    """Open a camera, take up to `n_frames` frames, and close it again.

    Args:
        camera: A closed camera.
        n_frames: How many to look at; a shorter film is looked at to its end.
        limit_s: How long that may take.

    Returns:
        What the camera said of itself.

    Raises:
        AssertionError: The camera breaks the contract; the message says where.
    """
    info = camera.open()
    try:
        _check_frames(camera, info, n_frames, limit_s)
    finally:
        camera.close()
        camera.close()
    return info


def _check_frames(camera: Camera, info: CameraInfo, n_frames: int, limit_s: float) -> None:
    _expect(info.channels in {1, 3}, f"expected 1 or 3 channels, got {info.channels}")
    deadline = time.monotonic() + limit_s
    previous: Frame | None = None
    n_seen = n_late = 0
    while n_seen < n_frames and not camera.ended:
        _expect(time.monotonic() < deadline, f"expected {n_frames} frames within {limit_s} s, got {n_seen}")
        before = time.monotonic()
        frame = camera.grab(_GRAB_S)
        took_s = time.monotonic() - before
        n_late += took_s > _GRAB_S + _SLACK_S
        _expect(n_late <= _MOST_LATE, f"expected grab to return within {_GRAB_S} s, got {took_s:.3f} s once more")
        if frame is not None:
            _check_frame(frame, info, previous)
            previous = frame
            n_seen += 1
    if camera.ended:
        _expect(camera.grab(0.0) is None, "expected no frame after the end")
        _expect(camera.ended, "expected the end to stay the end")
    _expect(n_seen > 0, "expected at least one frame, got none")


def _check_frame(frame: Frame, info: CameraInfo, previous: Frame | None) -> None:
    shape = (info.height, info.width) if info.channels == 1 else (info.height, info.width, 3)
    where = f"frame {frame.frame_id}"
    _expect(frame.image.shape == shape, f"{where}: expected an image of {shape}, got {frame.image.shape}")
    _expect(frame.image.dtype == np.uint8, f"{where}: expected uint8, got {frame.image.dtype}")
    _expect(frame.image.flags.c_contiguous, f"{where}: expected a C-contiguous image")
    _expect(not frame.image.flags.writeable, f"{where}: expected a read-only image")
    times = (frame.frame_id, frame.timestamp_ns, frame.available_ns)
    _expect(all(type(value) is int for value in times), f"{where}: expected plain integers, got {times}")
    if previous is not None:
        _expect(frame.frame_id > previous.frame_id, f"{where}: came after frame {previous.frame_id}")
        _expect(frame.timestamp_ns > previous.timestamp_ns, f"{where}: expected a later timestamp_ns than before")
        _expect(frame.available_ns >= previous.available_ns, f"{where}: expected no earlier available_ns than before")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
