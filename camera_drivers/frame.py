"""Frame: one image with its identity and its times."""

import msgspec
import numpy as np
from numpy.typing import NDArray


class Frame(msgspec.Struct, frozen=True):
    """One camera frame.

    Attributes:
        frame_id: The device's own counter if it has one, otherwise ours; a gap means lost frames.
        timestamp_ns: When the scene looked like this, ns on the session's clock. Speeds, dwell times and
            refractory times are computed from it. For a live camera it equals `available_ns`; a file's frames
            carry the recording's own times, however fast the file is read.
        available_ns: Host monotonic clock, ns, when the frame became available to this program. Latencies and
            deadlines are computed from it.
        device_timestamp_ns: The camera's own clock, ns, or None; never compared with host time directly.
        image: `(height, width)` or `(height, width, 3)` uint8, C-contiguous, read-only. Valid until the next
            `grab`: copy it to keep it.
    """

    frame_id: int
    timestamp_ns: int
    available_ns: int
    device_timestamp_ns: int | None
    image: NDArray[np.uint8]
