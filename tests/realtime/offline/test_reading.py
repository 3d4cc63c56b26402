import threading
import time

import numpy as np
import pytest

from camera_drivers.decoding import VideoReader
from realtime.offline.reading import ReadAhead


def read(path, channels=1, **which):
    """Return every frame's index, time and image, and the batches' sizes; and what ended it."""
    frames, sizes = [], []
    deadline_s = time.monotonic() + 30
    with ReadAhead(VideoReader(path, channels), channels, **({"first": 0, "last": None, "batch": 8} | which)) as ahead:
        while not ahead.ended and time.monotonic() < deadline_s:
            batch = ahead.take(0.05)
            if batch is not None:
                sizes.append(len(batch.images))
                frames += [(batch.first_index + k, ns, batch.images[k].copy()) for k, ns in enumerate(batch.times_ns)]
        assert ahead.ended
    return frames, sizes, ahead.error


@pytest.fixture
def images_of(dots_video):
    return [decoded.image.copy() for decoded in VideoReader(dots_video)]


RANGES = {
    "everything": ({}, range(30), [8, 8, 8, 6]),
    "batches that fit": ({"batch": 10}, range(30), [10, 10, 10]),
    "one by one": ({"batch": 1, "first": 27}, range(27, 30), [1, 1, 1]),
    "a range": ({"first": 5, "last": 14, "batch": 4}, range(5, 15), [4, 4, 2]),
    "a range that ends with a batch": ({"first": 5, "last": 12, "batch": 4}, range(5, 13), [4, 4]),
    "one frame": ({"first": 7, "last": 7}, range(7, 8), [1]),
    "behind the end": ({"first": 30}, range(0), []),
}


@pytest.mark.parametrize(("which", "expected", "sizes"), RANGES.values(), ids=RANGES)
def test_frames_are_exact_and_in_order(dots_video, images_of, which, expected, sizes):
    frames, got_sizes, error = read(dots_video, **which)
    assert [index for index, _, _ in frames] == list(expected)
    assert [ns for _, ns, _ in frames] == [10_000_000 * index for index in expected]
    for index, _, image in frames:
        np.testing.assert_array_equal(image, images_of[index])
    assert got_sizes == sizes
    assert error is None


def test_colour(dots_video):
    frames, _, _ = read(dots_video, channels=3)
    assert frames[0][2].shape == (48, 64, 3)


def test_damage_comes_after_every_frame_before_it(dots_video, tmp_path):
    cut = tmp_path / "cut.mkv"
    content = dots_video.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    frames, _, error = read(cut)
    if error is None:  # Matroska does not say how many frames there should be: the file is just shorter
        assert 0 < len(frames) < 30
    else:
        assert f"frame {len(frames)}" in str(error)


def test_leaving_early_ends_the_thread(dots_video):
    with ReadAhead(VideoReader(dots_video), 1, first=0, last=None, batch=2) as ahead:
        pass
    assert not any(thread.name == "decoding" for thread in threading.enumerate())
    assert not ahead.ended


def test_a_thread_that_dies_is_not_the_end_of_the_video(dots_video, monkeypatch):
    def die(self):
        raise MemoryError

    monkeypatch.setattr(VideoReader, "__next__", die)
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    with ReadAhead(VideoReader(dots_video), 1, first=0, last=None, batch=2) as ahead:
        ahead._thread.join(30)
        with pytest.raises(RuntimeError, match="decoding died at frame 0"):
            ahead.take(0.05)
