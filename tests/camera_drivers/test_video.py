"""The video driver: ids, times, range of frames, provenance."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from camera_drivers.errors import CameraFailedError, CameraNotOpenError
from camera_drivers.frame import Frame
from camera_drivers.testing import check_camera
from camera_drivers.video import VideoCamera, VideoOptions

Images = list[NDArray[np.uint8]]
WriteVideo = Callable[..., Path]


@pytest.fixture
def film(write_video: WriteVideo, noise_images: Images) -> Path:
    return write_video("film.mp4", noise_images)


def take_all(camera: VideoCamera) -> list[Frame]:
    frames = []
    deadline = time.monotonic() + 10.0
    while not camera.ended:
        assert time.monotonic() < deadline
        if (frame := camera.grab(0.05)) is not None:
            frames.append(Frame(frame.frame_id, frame.timestamp_ns, frame.available_ns, None, frame.image.copy()))
    return frames


@pytest.mark.parametrize(
    "settings",
    [{}, {"pace": "realtime"}, {"first_frame": 25}, {"n_frames": 3}],
    ids=["consumer", "realtime", "from the middle", "short"],
)
def test_contract(film: Path, settings: dict[str, Any]) -> None:
    info = check_camera(VideoCamera(VideoOptions(path=film, **settings)), n_frames=100)
    assert (info.height, info.width, info.channels, info.reproducible) == (48, 64, 1, True)
    assert info.frame_rate_hz == pytest.approx(100.0, rel=0.15), "the file's own statement"


def test_provenance(film: Path) -> None:
    with VideoCamera(VideoOptions(path=film)) as camera:
        info = camera.open()
    assert info.source["path"] == str(film.resolve())
    assert info.source["size_bytes"] == film.stat().st_size
    assert info.source["sha256"] == hashlib.sha256(film.read_bytes()).hexdigest()
    assert info.source["driver"] == "video"
    assert info.source["options"]["pace"] == "consumer"
    assert info.n_frames == 30


@pytest.mark.parametrize(
    ("settings", "ids"),
    [
        ({}, range(30)),
        ({"first_frame": 12}, range(12, 30)),
        ({"first_frame": 12, "n_frames": 5}, range(12, 17)),
        ({"n_frames": 30, "pace": "realtime"}, range(30)),
        ({"first_frame": 12, "n_frames": 5, "preload": True}, range(12, 17)),
    ],
)
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_frame_ids_are_indices_in_the_file(
    write_video: WriteVideo, noise_images: Images, settings: dict[str, Any], ids: range, suffix: str
) -> None:
    with VideoCamera(VideoOptions(path=write_video(f"film.{suffix}", noise_images), **settings)) as camera:
        frames = take_all(camera)
        assert camera.grab(0.0) is None
    assert [frame.frame_id for frame in frames] == list(ids)
    assert all(np.array_equal(frame.image, noise_images[frame.frame_id]) for frame in frames)
    assert np.diff([frame.timestamp_ns for frame in frames]).tolist() == [10_000_000] * (len(frames) - 1)


def test_realtime_pace_waits_for_the_files_times(film: Path) -> None:
    with VideoCamera(VideoOptions(path=film, pace="realtime", n_frames=10)) as camera:
        assert not camera.waits_for_consumer
        before = time.monotonic()
        frames = take_all(camera)
        assert time.monotonic() - before >= 0.09
    assert all(frame.available_ns >= frame.timestamp_ns for frame in frames)


def test_at_a_live_pace_the_next_frame_is_there_ahead_of_its_time(film: Path) -> None:
    with VideoCamera(VideoOptions(path=film, pace="realtime", n_frames=3, frame_rate_hz=50.0)) as camera:
        for _ in range(3):
            ahead = camera.peek()
            assert ahead is not None
            assert ahead is camera.peek()
            frame = camera.grab(1.0)
            assert frame is not None
            assert frame.image is ahead.image
            assert (frame.frame_id, frame.timestamp_ns) == (ahead.frame_id, ahead.timestamp_ns)
            assert frame.available_ns >= frame.timestamp_ns
        assert (camera.peek(), camera.grab(0.0), camera.ended) == (None, None, True)


def test_frames_that_wait_for_their_consumer_have_no_time_to_be_ahead_of(film: Path) -> None:
    with VideoCamera(VideoOptions(path=film)) as camera:
        assert camera.peek() is None


def test_realtime_pace_at_another_rate(film: Path) -> None:
    options = VideoOptions(path=film, pace="realtime", first_frame=5, n_frames=10, frame_rate_hz=400.0, preload=True)
    with VideoCamera(options) as camera:
        before = time.monotonic()
        frames = take_all(camera)
        assert time.monotonic() - before >= 9 * 0.0025
    assert np.diff([frame.timestamp_ns for frame in frames]).tolist() == [2_500_000] * 9
    assert all(frame.available_ns >= frame.timestamp_ns for frame in frames)
    with VideoCamera(options) as camera:
        assert camera.open().frame_rate_hz == 400.0


def test_frames_again_and_again(film: Path) -> None:
    options = VideoOptions(
        path=film, pace="realtime", first_frame=5, n_frames=3, frame_rate_hz=2000.0, preload=True, repeat=3
    )
    with VideoCamera(options) as camera:
        frames = take_all(camera)
        assert camera.ended
    assert [frame.frame_id for frame in frames] == list(range(5, 14))
    assert np.diff([frame.timestamp_ns for frame in frames]).tolist() == [500_000] * 8
    assert [frame.image.tobytes() for frame in frames[:3]] * 3 == [frame.image.tobytes() for frame in frames]
    with VideoCamera(options) as camera:
        info = camera.open()
    assert (info.n_frames, info.reproducible) == (9, False)


@pytest.mark.parametrize("settings", [{}, {"preload": True}, {"pace": "realtime", "frame_rate_hz": 10.0}])
def test_repeating_needs_memory_and_a_rate(film: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="repeat: expected 1 without preload and frame_rate_hz, got 2"):
        VideoOptions(path=film, repeat=2, **settings)


def test_a_rate_without_a_pace_is_refused(film: Path) -> None:
    with pytest.raises(ValueError, match="frame_rate_hz: expected none with pace consumer, got one"):
        VideoOptions(path=film, frame_rate_hz=100.0)


def test_every_pass_is_the_same(film: Path) -> None:
    passes = []
    for _ in range(2):
        with VideoCamera(VideoOptions(path=film)) as camera:
            passes.append([frame.image.tobytes() for frame in take_all(camera)])
    assert passes[0] == passes[1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first_frame": 30}, "expected some frames from frame 30 on, got a video of 30 frames"),
        ({"first_frame": 20, "n_frames": 11}, "expected 11 frames from frame 20 on, got a video of 30 frames"),
    ],
)
def test_too_few_frames(film: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(CameraNotOpenError) as caught:
        VideoCamera(VideoOptions(path=film, **settings)).open()
    assert str(caught.value) == f"{film}: {message}"


def test_too_few_frames_in_a_file_that_does_not_say_how_many(write_video: WriteVideo, noise_images: Images) -> None:
    film = write_video("film.mkv", noise_images)
    with pytest.raises(CameraNotOpenError, match="expected a frame 31 to start with, got a video of 30 frames"):
        VideoCamera(VideoOptions(path=film, first_frame=31)).open()
    camera = VideoCamera(VideoOptions(path=film, n_frames=31))
    with camera, pytest.raises(CameraFailedError, match="expected 1 more frames, got the end"):
        take_all(camera)


def test_grab_before_open(film: Path) -> None:
    with pytest.raises(CameraFailedError, match="expected an open video, got grab before open; call open first"):
        VideoCamera(VideoOptions(path=film)).grab(0.0)


def test_options_are_strict_but_take_a_path_as_text() -> None:
    assert VideoOptions.model_validate({"path": "a/b.mp4"}).path == Path("a/b.mp4")
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        VideoOptions.model_validate({"path": "a.mp4", "loop": True})
