"""A webcam or a network stream through OpenCV; written from its documentation, not tried on hardware.

Good for a first look. OpenCV tells neither when a frame was exposed nor whether one was lost: use a scientific camera
for anything that is timed.
"""

import importlib
import threading
import time
from types import ModuleType
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from camera_drivers.base import Camera, CameraInfo
from camera_drivers.errors import CameraFailedError, CameraNotInstalledError, CameraNotOpenError
from camera_drivers.frame import Frame

Pixels = Annotated[int, Field(gt=0)]


class OpenCVOptions(BaseModel):
    """Settings of the OpenCV driver.

    Attributes:
        device: Number of a webcam, or a URL.
        width_px: Asked of the device; it may choose another.
        height_px: As `width_px`.
        frame_rate_hz: As `width_px`.
        colour: RGB instead of gray.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    device: int | str = 0
    width_px: Pixels | None = None
    height_px: Pixels | None = None
    frame_rate_hz: Annotated[float, Field(ge=0.001, le=10_000.0)] | None = None
    colour: bool = False


class OpenCVCamera(Camera):
    """Delivers the newest frame; a thread reads the device, because OpenCV's `read` has no time-out."""

    Options: ClassVar[type[BaseModel]] = OpenCVOptions

    def __init__(self, options: OpenCVOptions) -> None:
        self._options = options
        self._capture: Any = None
        self._thread: threading.Thread | None = None
        self._news = threading.Condition()
        self._newest: Frame | None = None
        self._failure = ""
        self._stop = False

    def open(self) -> CameraInfo:
        """Open the device and read one frame, to know what it really delivers."""
        options = self._options
        try:
            cv2 = importlib.import_module("cv2")
        except ImportError as error:
            raise CameraNotInstalledError(
                "opencv: expected the package cv2; pip install opencv-python-headless"
            ) from error
        capture = self._capture = cv2.VideoCapture(options.device)
        if not capture.isOpened():
            self.close()
            raise CameraNotOpenError(f"opencv: no camera {options.device!r}, or it is in use")
        wanted = {
            cv2.CAP_PROP_FRAME_WIDTH: options.width_px,
            cv2.CAP_PROP_FRAME_HEIGHT: options.height_px,
            cv2.CAP_PROP_FPS: options.frame_rate_hz,
        }
        for setting, value in wanted.items():
            if value is not None:
                capture.set(setting, value)
        ok, image = capture.read()
        if not ok:
            self.close()
            raise CameraNotOpenError(f"opencv: camera {options.device!r} opened, but it delivers no frame")
        height, width = image.shape[:2]
        self._newest, self._failure, self._stop = None, "", False
        self._thread = threading.Thread(target=self._read, args=(cv2, capture), daemon=True)
        self._thread.start()
        return CameraInfo(
            height=height,
            width=width,
            channels=3 if options.colour else 1,
            frame_rate_hz=capture.get(cv2.CAP_PROP_FPS) or None,
            n_frames=None,
            reproducible=False,
            source={"driver": "opencv", "options": options.model_dump(mode="json")},
        )

    def grab(self, timeout_s: float) -> Frame | None:
        """Return the newest frame; ids count what was read, so a gap means frames that were not taken in time."""
        if self._thread is None:
            raise CameraFailedError("opencv: expected an open camera, got grab before open; call open first")
        with self._news:
            self._news.wait_for(lambda: self._newest or self._failure, timeout_s)
            frame, self._newest = self._newest, None
        if frame is None and self._failure:
            raise CameraFailedError(self._failure)
        return frame

    @property
    def ended(self) -> bool:
        """Always False: when a device stops, it has failed."""
        return False

    def close(self) -> None:
        """Release the device."""
        self._stop = True
        if self._thread is not None:
            self._thread.join(0.5)
            self._thread = None
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _read(self, cv2: ModuleType, capture: Any) -> None:
        frame_id = 0
        while not self._stop:
            ok, raw = capture.read()
            now_ns = time.monotonic_ns()
            if not ok:
                with self._news:
                    self._failure = (
                        f"opencv: camera {self._options.device!r} delivered no frame {frame_id}; is it unplugged?"
                    )
                    self._news.notify()
                return
            frame = Frame(frame_id, now_ns, now_ns, None, self._convert(cv2, raw))
            with self._news:
                self._newest = frame
                self._news.notify()
            frame_id += 1

    def _convert(self, cv2: ModuleType, raw: NDArray[np.uint8]) -> NDArray[np.uint8]:
        code = cv2.COLOR_BGR2RGB if self._options.colour else cv2.COLOR_BGR2GRAY
        image: NDArray[np.uint8] = np.ascontiguousarray(cv2.cvtColor(raw, code))
        image.flags.writeable = False
        return image
