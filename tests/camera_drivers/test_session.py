"""A recorded session as a camera: the same ids, times and pictures, or a clear word why not."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from camera_drivers.base import Camera, CameraInfo
from camera_drivers.errors import CameraFailedError, CameraNotOpenError
from camera_drivers.frame import Frame
from camera_drivers.frame_log import FrameLogWriter
from camera_drivers.session import SessionCamera, SessionOptions, TakenFrame
from camera_drivers.sim import SimCamera, SimOptions
from camera_drivers.testing import check_camera
from camera_drivers.video import VideoCamera, VideoOptions

Images = list[NDArray[np.uint8]]
WriteVideo = Callable[..., Path]


def take_all(camera: Camera) -> list[Frame]:
    frames = []
    while not camera.ended:
        frame = camera.grab(0.0)
        assert frame is not None
        frames.append(
            Frame(frame.frame_id, frame.timestamp_ns, frame.available_ns, frame.device_timestamp_ns, frame.image.copy())
        )
    return frames


def record(folder: Path, info: CameraInfo, frames: Sequence[Frame], video_indices: Sequence[int | None] = ()) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "session.json").write_text(json.dumps({"format_version": 1, "camera": asdict(info)}))
    log = FrameLogWriter(folder / "frames.log")
    for k, frame in enumerate(frames):
        log.append(frame, video_indices[k] if video_indices else None)
    log.close()


def same(one: Frame, other: Frame) -> bool:
    times = ("frame_id", "timestamp_ns", "available_ns", "device_timestamp_ns")
    return all(getattr(one, name) == getattr(other, name) for name in times) and np.array_equal(one.image, other.image)


@pytest.fixture
def sim_session(tmp_path: Path) -> tuple[Path, list[Frame]]:
    options = SimOptions(width_px=160, height_px=120, body_px=20.0, pace="consumer", n_frames=30, dropped_fraction=0.2)
    camera = SimCamera(options)
    info = camera.open()
    frames = take_all(camera)
    camera.close()
    record(tmp_path / "session", info, frames)
    return tmp_path / "session", frames


@pytest.fixture
def video_session(tmp_path: Path, write_video: WriteVideo, noise_images: Images) -> tuple[Path, list[Frame], Path]:
    film = write_video("film.mp4", noise_images)
    camera = VideoCamera(VideoOptions(path=film, first_frame=4))
    info = camera.open()
    frames = take_all(camera)
    camera.close()
    record(tmp_path / "session", info, frames)
    return tmp_path / "session", frames, film


def test_contract(sim_session: tuple[Path, list[Frame]]) -> None:
    info = check_camera(SessionCamera(SessionOptions(path=sim_session[0])))
    assert (info.height, info.width, info.channels, info.n_frames) == (120, 160, 1, len(sim_session[1]))


def test_simulation_is_drawn_again(sim_session: tuple[Path, list[Frame]]) -> None:
    folder, recorded = sim_session
    with SessionCamera(SessionOptions(path=folder)) as camera:
        replayed = take_all(camera)
    assert len(replayed) == len(recorded) > 0
    assert all(same(one, other) for one, other in zip(recorded, replayed, strict=True))


def test_video_is_decoded_again(video_session: tuple[Path, list[Frame], Path]) -> None:
    folder, recorded, _ = video_session
    wanted = [recorded[k] for k in (0, 1, 7, 8, 20, 25)]
    frame_ids = tuple(frame.frame_id for frame in wanted)
    with SessionCamera(SessionOptions(path=folder, frame_ids=frame_ids)) as camera:
        replayed = take_all(camera)
    assert frame_ids == (4, 5, 11, 12, 24, 29)
    assert all(same(one, other) for one, other in zip(wanted, replayed, strict=True))


def test_recorded_video_is_read(
    video_session: tuple[Path, list[Frame], Path], write_video: WriteVideo, noise_images: Images
) -> None:
    """The recorder left out every third frame of the camera, so index and id differ."""
    folder, recorded, film = video_session
    kept = [frame for k, frame in enumerate(recorded) if k % 3]
    index_of = {frame.frame_id: index for index, frame in enumerate(kept)}
    (folder / "frames.log").unlink()
    info = VideoCamera(VideoOptions(path=film)).open()
    record(folder, info, recorded, [index_of.get(frame.frame_id) for frame in recorded])
    write_video("frames.mkv", [frame.image for frame in kept]).rename(folder / "frames.mkv")
    wanted = kept[2:9:2]
    frame_ids = tuple(frame.frame_id for frame in wanted)
    with SessionCamera(SessionOptions(path=folder, frame_ids=frame_ids, images="video")) as camera:
        replayed = take_all(camera)
    assert all(same(one, other) for one, other in zip(wanted, replayed, strict=True))
    with pytest.raises(CameraNotOpenError) as caught:
        SessionCamera(SessionOptions(path=folder, images="video")).open()
    assert str(caught.value) == f"{folder}: expected every frame in frames.mkv, got frame 4 that is not there"


def test_a_recorded_video_that_ends_early(
    video_session: tuple[Path, list[Frame], Path], write_video: WriteVideo, noise_images: Images
) -> None:
    folder, recorded, film = video_session
    (folder / "frames.log").unlink()
    record(folder, VideoCamera(VideoOptions(path=film)).open(), recorded, range(len(recorded)))
    write_video("frames.mkv", noise_images[:10]).rename(folder / "frames.mkv")
    camera = SessionCamera(SessionOptions(path=folder, images="video"))
    with camera, pytest.raises(CameraFailedError) as caught:
        take_all(camera)
    assert str(caught.value) == f"{folder / 'frames.mkv'}: expected a frame 10, got a video of 10 frames"


def test_no_images(video_session: tuple[Path, list[Frame], Path]) -> None:
    folder, recorded, film = video_session
    film.unlink()
    with SessionCamera(SessionOptions(path=folder, images="none")) as camera:
        replayed = take_all(camera)
    assert [frame.timestamp_ns for frame in replayed] == [frame.timestamp_ns for frame in recorded]
    assert not any(frame.image.any() for frame in replayed)


def test_the_loops_own_times_and_frames_that_the_recorder_lost(sim_session: tuple[Path, list[Frame]]) -> None:
    folder, recorded = sim_session
    taken = [TakenFrame(recorded[1].frame_id, 5, 7, None), TakenFrame(999, 50, 70, 60)]
    with SessionCamera(SessionOptions(path=folder, taken=tuple(taken))) as camera:
        frames = take_all(camera)
    told = [(one.frame_id, one.timestamp_ns, one.available_ns, one.device_timestamp_ns) for one in frames]
    assert told == taken
    np.testing.assert_array_equal(frames[0].image, recorded[1].image)
    with pytest.raises(
        CameraNotOpenError, match=r"expected every frame in frames\.mkv, got frame \d+ that is not there"
    ):
        SessionCamera(SessionOptions(path=folder, taken=tuple(taken), images="video")).open()


def test_frames_that_are_not_in_the_log(sim_session: tuple[Path, list[Frame]]) -> None:
    folder, recorded = sim_session
    with pytest.raises(CameraNotOpenError) as caught:
        SessionCamera(SessionOptions(path=folder, frame_ids=(recorded[0].frame_id, 999))).open()
    assert str(caught.value) == (
        f"{folder / 'frames.log'}: expected frame 999, got a log of {len(recorded)} frames without it"
    )


def test_a_source_video_that_is_missing_or_has_changed(video_session: tuple[Path, list[Frame], Path]) -> None:
    folder, _, film = video_session
    data = bytearray(film.read_bytes())
    data[-1] ^= 1
    film.write_bytes(data)
    with pytest.raises(CameraNotOpenError, match=r"which has changed since: expected .* bytes with SHA-256"):
        SessionCamera(SessionOptions(path=folder)).open()
    film.unlink()
    with pytest.raises(CameraNotOpenError) as caught:
        SessionCamera(SessionOptions(path=folder)).open()
    assert str(caught.value) == f"{folder}: the recorded frames came from {film}, which is missing; put it back"


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, "{folder}: expected a session folder, cannot read its session.json: No such file or directory"),
        ("{", "{folder}/session.json: expected the camera of a session under $.camera, got none"),
        ("{}", "{folder}/session.json: expected the camera of a session under $.camera, got none"),
        (
            '{"camera": {"height": 3}}',
            "{folder}/session.json: expected the camera of a session under $.camera, got none",
        ),
    ],
    ids=["missing", "not JSON", "no camera", "half a camera"],
)
def test_what_is_no_session(tmp_path: Path, description: str | None, message: str) -> None:
    if description is not None:
        (tmp_path / "session.json").write_text(description)
    with pytest.raises(CameraNotOpenError) as caught:
        SessionCamera(SessionOptions(path=tmp_path)).open()
    assert str(caught.value) == message.format(folder=tmp_path)


def test_a_camera_that_cannot_be_had_again(tmp_path: Path) -> None:
    record(tmp_path, CameraInfo(4, 4, 1, None, None, False, {"driver": "opencv"}), [])
    with pytest.raises(CameraNotOpenError) as caught:
        SessionCamera(SessionOptions(path=tmp_path)).open()
    assert str(caught.value) == (
        f"{tmp_path}: expected a camera whose frames can be produced again (sim, video), got 'opencv'; "
        'use images = "video" or "none"'
    )


def test_grab_before_open(tmp_path: Path) -> None:
    with pytest.raises(CameraFailedError, match="expected an open session, got grab before open"):
        SessionCamera(SessionOptions(path=tmp_path)).grab(0.0)
