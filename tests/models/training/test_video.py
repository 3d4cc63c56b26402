"""Images as a camera would have delivered them, and videos that are not what the labels say."""

from fractions import Fraction

import av
import numpy as np
import pytest

from models.errors import TrainingInputError
from models.training.video import stream_frames


def write_video(path, planes, codec="ffv1", pix_fmt="gray", **options):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25), options=options)
        stream.height, stream.width = planes[0].shape
        stream.pix_fmt = pix_fmt
        for plane in planes:
            frame = av.VideoFrame(plane.shape[1], plane.shape[0], pix_fmt)
            for k, target in enumerate(frame.planes):
                content = np.full((target.height, target.line_size), 128, np.uint8)
                if k == 0:
                    content[:, : plane.shape[1]] = plane
                target.update(content)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_limited_range_is_stretched_and_full_range_is_kept(tmp_path):
    luma = np.arange(256, dtype=np.uint8).reshape(16, 16)
    stretched = np.clip(np.rint((luma.astype(float) - 16) / 219 * 255), 0, 255)
    for pix_fmt, expected in (("gray", luma), ("yuv420p", stretched), ("yuvj420p", luma)):
        path = tmp_path / f"{pix_fmt}.mkv"
        write_video(path, [luma], codec="ffv1" if pix_fmt != "yuvj420p" else "mjpeg", pix_fmt=pix_fmt)
        ((index, image),) = stream_frames(path, {0})
        assert (index, image.dtype, image.flags["C_CONTIGUOUS"]) == (0, np.uint8, True)
        np.testing.assert_allclose(image, expected, atol=0 if pix_fmt != "yuvj420p" else 12)


def test_only_wanted_frames_come_and_a_short_video_is_refused(tmp_path):
    path = tmp_path / "v.mkv"
    write_video(path, [np.full((20, 30), k, np.uint8) for k in range(5)])
    assert [(k, int(image[0, 0])) for k, image in stream_frames(path, {1, 4})] == [(1, 1), (4, 4)]
    with pytest.raises(TrainingInputError) as caught:
        list(stream_frames(path, {1, 7}))
    assert str(caught.value) == (f"{path}: expected at least 8 frames as the labels say, got 5; is it their video?")
    with pytest.raises(TrainingInputError, match=r"nowhere\.mkv: expected a video that can be read, got: "):
        list(stream_frames(tmp_path / "nowhere.mkv", {0}))


def test_a_video_damaged_in_the_middle_is_refused_at_the_frame(tmp_path):
    path = tmp_path / "v.mkv"
    rng = np.random.default_rng(0)
    write_video(path, [rng.integers(0, 256, (64, 64), np.uint8) for _ in range(20)])
    content = bytearray(path.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 3000)
    content[middle] = bytes(255 - byte for byte in content[middle])
    path.write_bytes(content)
    read = []
    with pytest.raises(TrainingInputError) as caught:
        read += (index for index, _ in stream_frames(path, set(range(20))))
    assert str(caught.value).startswith(f"{path}: expected ")
