"""Decoding: the image that was encoded, the times that were written, and an error for every damage."""

import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from camera_drivers.decoding import VideoReader
from camera_drivers.errors import CameraFailedError, CameraNotOpenError

Images = list[NDArray[np.uint8]]
WriteVideo = Callable[..., Path]
RECORDINGS = Path(__file__).parents[2] / ".." / "shared" / "data"
FLIES_1024 = RECORDINGS / "flies_1024" / "session_a.mp4"


def read_all(path: Path, channels: int = 1) -> Images:
    reader = VideoReader(path, channels)
    images = [decoded.image.copy() for decoded in reader]
    reader.close()
    reader.close()
    return images


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
@pytest.mark.parametrize("pixel_format", ["gray", "yuv420p"])
def test_full_range_luma_is_the_image(
    write_video: WriteVideo, noise_images: Images, name: str, pixel_format: str
) -> None:
    path = write_video(name, noise_images, pixel_format=pixel_format)
    assert np.array_equal(read_all(path), noise_images)


def test_colour_is_the_image(write_video: WriteVideo) -> None:
    images = list(np.random.default_rng(0).integers(0, 256, (5, 48, 64, 3), np.uint8))
    path = write_video("film.mkv", images, codec="libx264rgb", pixel_format="rgb24")
    assert np.array_equal(read_all(path, channels=3), images)
    gray = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images]
    assert np.array_equal(read_all(path, channels=1), gray)


def test_limited_range_is_stretched(write_video: WriteVideo) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (48, 1))
    (image,) = read_all(write_video("film.mp4", [ramp], pixel_format="yuv420p", full_range=False))
    assert (image[:, :17] == 0).all()
    assert (image[:, 235:] == 255).all()
    assert image[0, 126] == round((126 - 16) * 255 / 219)


def test_times_are_exact(write_video: WriteVideo, noise_images: Images) -> None:
    times_ms = [0, 7, 20, 33, 90, 91, 250]
    reader = VideoReader(write_video("film.mkv", noise_images[:7], times_ms=times_ms))
    decoded = [(frame.index, frame.time_ns) for frame in reader]
    assert decoded == [(k, ms * 1_000_000) for k, ms in enumerate(times_ms)]
    reader.close()


def test_skip_counts(write_video: WriteVideo, noise_images: Images) -> None:
    reader = VideoReader(write_video("film.mp4", noise_images))
    assert (reader.n_frames, reader.height, reader.width) == (30, 48, 64)
    assert all(reader.skip() for _ in range(29))
    assert reader.n_read == 29
    assert np.array_equal(next(reader).image, noise_images[29])
    assert not reader.skip()
    assert next(reader, None) is None
    reader.close()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.mp4", None, "expected a video file, got no such file"),
        ("empty.mp4", b"", "expected a video file, got an empty file"),
        ("noise.mp4", bytes(range(256)) * 20, "expected a video file, got something else (Invalid data found"),
        ("text.mp4", b"not a video at all\n" * 50, "expected a video file, got something else (Invalid data found"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CameraNotOpenError) as caught:
        VideoReader(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_a_folder_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(CameraNotOpenError, match="expected a video file, got a folder"):
        VideoReader(tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_file_that_is_cut_off_names_the_frame(
    tmp_path: Path, write_video: WriteVideo, noise_images: Images, share: float
) -> None:
    data = write_video("film.mp4", noise_images, container={"movflags": "faststart"}).read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: int(len(data) * share)])
    reader = VideoReader(path)
    with pytest.raises(CameraFailedError) as caught:
        for _ in reader:
            pass
    assert str(caught.value) == f"{path}: expected 30 frames, got {reader.n_read}; the file is cut off"
    assert abs(reader.n_read - 30 * share) < 3
    reader.close()


@pytest.mark.parametrize("seed", range(12))
def test_damaged_bytes_are_an_error_near_the_damage(
    tmp_path: Path, write_video: WriteVideo, noise_images: Images, seed: int
) -> None:
    """H.264 has no checksum, so one flipped bit can pass; a damaged disk sector cannot."""
    whole = write_video("film.mp4", noise_images, crf="20", pixel_format="yuv420p")
    expected = read_all(whole)
    data = bytearray(whole.read_bytes())
    dice = random.Random(seed)
    place = dice.randrange(len(data) // 10, len(data) * 8 // 10)
    data[place : place + 512] = dice.randbytes(512)
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    reader = VideoReader(damaged)
    right = []
    with pytest.raises(CameraFailedError) as caught:
        right.extend(np.array_equal(frame.image, expected[frame.index]) for frame in reader)
    assert re.search(f"{damaged}: expected .*frame {reader.n_read}, got", str(caught.value))
    assert sum(not same for same in right) <= 4, "a decoder notices some damage a few frames late"
    reader.close()


def test_real_recording_is_within_one_gray_level_of_opencv() -> None:
    if not FLIES_1024.exists():
        pytest.skip("needs the recording flies_1024")
    reader = VideoReader(FLIES_1024)
    capture = cv2.VideoCapture(str(FLIES_1024))
    for frame in itertools.islice(reader, 5):
        ok, theirs = capture.read()
        assert ok
        gray: NDArray[Any] = cv2.cvtColor(theirs, cv2.COLOR_BGR2GRAY)
        assert np.abs(frame.image.astype(int) - gray).max() <= 1
    reader.close()


def test_skip_to_stops_before_a_frame_or_at_the_end(write_video: WriteVideo, noise_images: Images) -> None:
    reader = VideoReader(write_video("film.mkv", noise_images, pixel_format="gray"))
    n_frames = len(noise_images)
    assert reader.skip_to(0)
    assert reader.n_read == 0
    assert reader.skip_to(3)
    assert np.array_equal(next(reader).image, noise_images[3])
    assert reader.skip_to(2)
    assert reader.n_read == 4
    assert reader.skip_to(n_frames)
    assert not reader.skip_to(n_frames + 1)
    assert reader.n_read == n_frames
    reader.close()
