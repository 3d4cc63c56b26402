"""Images: frames of a video a second time, by their index, for a tracker that looks at them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camera_drivers.decoding import VideoReader
from realtime.offline.errors import OfflineInputError


class ImagesAgain:
    """Decodes the frames that it is asked for, in ascending order; what lies between is passed over.

    Args:
        path: The video.
        channels: 1 for gray, 3 for RGB.

    Raises:
        CameraNotOpenError: The file is missing, or no video any more.
    """

    def __init__(self, path: Path, channels: int) -> None:
        self._reader = VideoReader(path, channels)

    def image_of(self, index: int) -> NDArray[np.uint8]:
        """Return frame `index`, later in the video than the one before; valid until the next.

        Raises:
            CameraFailedError: The video is damaged there.
            OfflineInputError: The video ends before.
        """
        self._reader.skip_to(index)
        decoded = next(self._reader, None)
        if decoded is None:
            raise OfflineInputError(
                f"{self._reader.path}: expected frame {index}, in which animals were looked for, got a video of "
                f"{self._reader.n_read} frames; it has changed since: add --overwrite to begin anew"
            )
        return decoded.image

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._reader.close()
