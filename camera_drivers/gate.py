"""FrameGate: lets a camera's frames through only in order, and counts the others."""

from collections.abc import Callable

from camera_drivers.errors import CameraFailedError
from camera_drivers.frame import Frame
from camera_drivers.ring import Reason

_MOST_REFUSED = 100


class FrameGate:
    """Refuses frames whose id or time stamp repeats or goes backward; counts those missing between two ids.

    Behind the gate `frame_id` and `timestamp_ns` strictly increase, so no time difference is zero or negative. A
    driver whose device counts with few bits unwraps the counter itself.

    Args:
        count: Called with the reason and the number of frames.
    """

    def __init__(self, count: Callable[[Reason, int], None]) -> None:
        self._count = count
        self._last_id: int | None = None
        self._last_ns = 0
        self._n_refused = 0

    def admit(self, frame: Frame) -> bool:
        """Return True if the frame may pass.

        Raises:
            CameraFailedError: 100 frames in a row were refused: the device has started to count anew.
        """
        reason = self._refusal(frame)
        if reason is not None:
            self._count(reason, 1)
            self._n_refused += 1
            if self._n_refused >= _MOST_REFUSED:
                raise CameraFailedError(
                    f"camera: expected frames after frame {self._last_id} at {self._last_ns} ns, got "
                    f"{self._n_refused} in a row that are not, the last one frame {frame.frame_id} at "
                    f"{frame.timestamp_ns} ns; the camera may have restarted, start a new session"
                )
            return False
        if self._last_id is not None and frame.frame_id > self._last_id + 1:
            self._count("device_gap", frame.frame_id - self._last_id - 1)
        self._last_id, self._last_ns, self._n_refused = frame.frame_id, frame.timestamp_ns, 0
        return True

    def _refusal(self, frame: Frame) -> Reason | None:
        if self._last_id is None:
            return None
        if frame.frame_id == self._last_id:
            return "repeated_frame_id"
        if frame.frame_id < self._last_id:
            return "backward_frame_id"
        if frame.timestamp_ns <= self._last_ns:
            return "backward_timestamp"
        return None
