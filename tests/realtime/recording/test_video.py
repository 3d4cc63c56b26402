"""The video: pixels and times that come back, in sizes that cameras have and do not have."""

import contextlib
import resource
import subprocess
import sys

import av
import numpy as np
import pytest

from camera_drivers.decoding import VideoReader
from realtime.recording.errors import VideoWriteError
from realtime.recording.video import VideoWriter

SHAPES = [(64, 64), (101, 77), (2, 2), (1, 1), (48, 641), (64, 64, 3), (37, 55, 3)]


def images_like(shape, n_images=12):
    """Noise over a moving gradient, black and white included."""
    random = np.random.default_rng(0)
    ramp = np.linspace(-20, 275, shape[1]).reshape(1, -1, *[1] * (len(shape) - 2))
    return [
        np.clip(np.roll(ramp, k, axis=1) + random.normal(0, 5, shape), 0, 255).astype(np.uint8) for k in range(n_images)
    ]


def write(path, images, mode, times_ns=None):
    height, width, *channels = images[0].shape
    video = VideoWriter(path, height=height, width=width, channels=len(channels) * 3 or 1, mode=mode, crf=20, threads=1)
    for image, time_ns in zip(images, times_ns or range(0, len(images) * 10_000_000, 10_000_000), strict=True):
        video.append(image, time_ns)
    video.close()
    return video


def read(path):
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def pixels(frame, shape):
    """Return what a reader of the Y plane (or of the colours) sees, without any conversion of range."""
    if len(shape) == 3:
        return frame.to_ndarray(format="rgb24")
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: shape[0], : shape[1]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_lossless_comes_back_byte_for_byte(tmp_path, shape):
    images = images_like(shape)
    write(tmp_path / "v.mkv", images, "lossless")
    frames = read(tmp_path / "v.mkv")
    assert [pixels(frame, shape).tobytes() for frame in frames] == [image.tobytes() for image in images]


@pytest.mark.parametrize("shape", [(64, 64), (37, 55, 3)], ids=str)
def test_the_video_driver_reads_the_same_pixels_and_times(tmp_path, shape):
    images = images_like(shape)
    write(tmp_path / "v.mkv", images, "lossless")
    with contextlib.closing(VideoReader(tmp_path / "v.mkv", channels=3 if len(shape) == 3 else 1)) as reader:
        decoded = [(frame.index, frame.time_ns, frame.image.tobytes()) for frame in reader]
    assert decoded == [(k, k * 10_000_000, image.tobytes()) for k, image in enumerate(images)]


@pytest.mark.parametrize("shape", [(64, 64), (101, 77), (37, 55, 3)], ids=str)
def test_lossy_comes_back_nearly_and_in_full_range(tmp_path, shape):
    images = images_like(shape)
    write(tmp_path / "v.mkv", images, "lossy")
    frames = read(tmp_path / "v.mkv")
    assert len(frames) == len(images)
    for frame, image in zip(frames, images, strict=True):
        error = pixels(frame, shape).astype(float) - image
        # A wrong range would be off by up to 18, and by 7 in the mean.
        assert np.abs(error).mean() < 4
        assert abs(error.mean()) < 1


@pytest.mark.parametrize("mode", ["lossy", "lossless"])
@pytest.mark.parametrize(
    ("shape", "pixel_format"), [((64, 64), "gray"), ((64, 64, 3), "rgb24")], ids=["gray", "colour"]
)
def test_the_file_says_what_it_is(tmp_path, mode, shape, pixel_format):
    video = write(tmp_path / "v.mkv", images_like(shape, 50), mode)
    assert video.pixel_format == pixel_format
    assert video.n_frames == 50
    frame = read(tmp_path / "v.mkv")[0]
    assert frame.color_range == 2  # full
    assert (frame.height, frame.width) == shape[:2]
    with av.open(str(tmp_path / "v.mkv")) as container:
        assert container.format.name == "matroska,webm"
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.streams.video[0].average_rate == 100


@pytest.mark.parametrize(
    ("times_ms", "expected_ms"),
    [
        ([0, 10, 20], [0, 10, 20]),
        ([5000, 5007.9, 5040], [0, 7, 40]),
        ([0, 0.2, 0.4, 0.6, 5], [0, 1, 2, 3, 5]),
        ([100, 100, 90, 120], [0, 1, 2, 20]),
    ],
    ids=["regular", "any origin, gaps kept", "above 1000 frames a second", "not increasing"],
)
def test_frames_keep_their_times_to_the_millisecond(tmp_path, times_ms, expected_ms):
    images = images_like((16, 16), len(times_ms))
    write(tmp_path / "v.mkv", images, "lossy", [round(10**15 + ms * 1e6) for ms in times_ms])
    frames = read(tmp_path / "v.mkv")
    assert [round(frame.pts * frame.time_base * 1000) for frame in frames] == expected_ms


@pytest.mark.parametrize("interval_ms", [4, 10, 300, 2500])
def test_there_is_a_keyframe_at_least_every_second(tmp_path, interval_ms):
    times_ns = list(range(0, 6_000_000_000, interval_ms * 1_000_000))
    write(tmp_path / "v.mkv", images_like((16, 16), len(times_ns)), "lossy", times_ns)
    frames = read(tmp_path / "v.mkv")
    keys_ns = [time_ns for frame, time_ns in zip(frames, times_ns, strict=True) if frame.key_frame]
    assert keys_ns[0] == 0
    assert max(np.diff([*keys_ns, times_ns[-1]])) < 1_000_000_000 + interval_ms * 1_000_000
    assert len(keys_ns) <= 7


def test_a_video_without_frames_can_be_closed_twice(tmp_path):
    video = VideoWriter(tmp_path / "v.mkv", height=16, width=16, channels=1, mode="lossy", crf=20, threads=1)
    video.close()
    video.close()
    assert video.n_frames == 0


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(VideoWriteError) as caught:
        VideoWriter(tmp_path / "no" / "v.mkv", height=16, width=16, channels=1, mode="lossy", crf=20, threads=1)
    assert str(caught.value) == f"{tmp_path}/no/v.mkv: could not create the video: No such file or directory"


def test_a_video_that_may_grow_no_further_says_so_and_is_readable(tmp_path):
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from realtime.recording.errors import VideoWriteError\n"
        "from realtime.recording.video import VideoWriter\n"
        "random = np.random.default_rng(0)\n"
        "video = VideoWriter(\n"
        "    Path(sys.argv[1]), height=64, width=64, channels=1, mode='lossless', crf=20, threads=1\n"
        ")\n"
        "try:\n"
        "    for k in range(1000):\n"
        "        video.append(random.integers(0, 256, (64, 64), dtype=np.uint8), k * 10_000_000)\n"
        "except VideoWriteError as error:\n"
        "    print(error)\n"
        "try:\n"
        "    video.close()\n"
        "except VideoWriteError as error:\n"
        "    print(error)\n"
    )
    path = tmp_path / "v.mkv"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000)),
        capture_output=True,
        text=True,
        check=True,
    )
    first, *_ = done.stdout.splitlines()
    assert first.startswith(f"{path}: could not write frame ")
    assert first.endswith(": File too large")
    n_frames = 0
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            n_frames += frame is not None
            if n_frames == 50:
                break
    assert n_frames == 50
