"""Frames of a video a second time."""

import re

import numpy as np
import pytest

from camera_drivers.errors import CameraNotOpenError
from realtime.offline.errors import OfflineInputError
from realtime.offline.images import ImagesAgain


@pytest.fixture
def images(video_of):
    """20 frames; in frame k there is a dot at (3 k, 10)."""
    again = ImagesAgain(video_of([[[3 * k, 10]] for k in range(20)]), 1)
    yield again
    again.close()


def test_each_is_the_frame_that_was_asked_for(images):
    for index in (0, 1, 7, 8, 19):
        row, column = np.unravel_index(images.image_of(index).argmax(), (48, 64))
        assert (row, column) == (10, 3 * index)


def test_colours(video_of):
    images = ImagesAgain(video_of([[[3, 10]]]), 3)
    assert images.image_of(0).shape == (48, 64, 3)
    images.close()


@pytest.mark.parametrize("index", [20, 25])
def test_a_video_that_became_shorter(images, index):
    message = (
        f"expected frame {index}, in which animals were looked for, got a video of 20 frames; it has changed since"
    )
    with pytest.raises(OfflineInputError, match=re.escape(message)):
        images.image_of(index)


def test_a_video_that_is_gone(tmp_path):
    with pytest.raises(CameraNotOpenError, match="no such file"):
        ImagesAgain(tmp_path / "none.mp4", 1)
