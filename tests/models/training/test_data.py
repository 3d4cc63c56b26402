"""Labels and images as they are in the files, and who gets which frame."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from models.errors import TrainingInputError
from models.training.config import DataConfig
from models.training.data import read_labels, stream_frames

h5py = pytest.importorskip("h5py", reason="needs the extra train")
sleap_io = pytest.importorskip("sleap_io", reason="needs the extra train")

SHARED = Path(__file__).parents[4] / "shared" / "data"


def write_labels(folder, n_frames, predicted=(), n_videos=1):
    """Frame k has one animal with its first node at (k, 0); frames in `predicted` are nobody's handwork."""
    skeleton = sleap_io.Skeleton(nodes=["a", "b"], edges=[("a", "b")], symmetries=[{"a", "b"}])
    videos = [sleap_io.Video(filename=f"{k}.mkv", open_backend=False) for k in range(n_videos)]
    frames = []
    for k in range(n_frames):
        points = np.array([[k, 0.0], [np.nan, np.nan]])
        if k in predicted:
            instance = sleap_io.PredictedInstance.from_numpy(points, skeleton=skeleton)
        else:
            instance = sleap_io.Instance.from_numpy(points, skeleton=skeleton)
        frames.append(sleap_io.LabeledFrame(video=videos[k % n_videos], frame_idx=k, instances=[instance]))
    path = folder / "labels.slp"
    sleap_io.Labels(frames, videos=videos, skeletons=[skeleton]).save(str(path), embed=False, verbose=False)
    return path


def write_video(path, planes, codec="ffv1", pix_fmt="gray", color_range=None):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width = planes[0].shape
        stream.pix_fmt = pix_fmt
        if color_range is not None:
            stream.codec_context.color_range = color_range
        for plane in planes:
            frame = av.VideoFrame(plane.shape[1], plane.shape[0], pix_fmt)
            for k, target in enumerate(frame.planes):
                content = np.full((target.height, target.line_size), 128, np.uint8)
                if k == 0:
                    content[:, : plane.shape[1]] = plane
                target.update(content)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_frames_are_divided_by_blocks_of_time_and_none_twice(tmp_path):
    labels = read_labels(
        DataConfig(
            labels=write_labels(tmp_path, 100),
            held_out=(80, 99),
            exclude=((0, 9), (85, 86)),
            block_frames=10,
            validate_every=3,
        )
    )
    index = {use: [f.index for f in getattr(labels, use)] for use in ("training", "validation", "held_out")}
    assert index["held_out"] == [*range(80, 85), *range(87, 100)]
    assert index["validation"] == [*range(20, 30), *range(50, 60)]
    assert index["training"] == [*range(10, 20), *range(30, 50), *range(60, 80)]
    assert labels.skeleton.nodes == ("a", "b")
    assert labels.skeleton.edges == labels.skeleton.symmetries == ((0, 1),)
    assert labels.video == tmp_path / "0.mkv"


def test_every_nth_frame_and_the_coordinate_offset(tmp_path):
    config = DataConfig(
        labels=write_labels(tmp_path, 40), every=4, block_frames=1, validate_every=2, coordinate_offset_px=0.5
    )
    labels = read_labels(config)
    assert sorted(f.index for f in labels.training + labels.validation) == list(range(0, 40, 4))
    for frame in labels.training:
        np.testing.assert_array_equal(frame.points, np.float32([[[frame.index + 0.5, 0.5], [np.nan, np.nan]]]))


def test_predictions_are_learnt_only_on_request(tmp_path):
    path = write_labels(tmp_path, 20, predicted=range(5, 20))
    for use_predictions, n in ((False, 5), (True, 20)):
        config = DataConfig(labels=path, use_predictions=use_predictions, block_frames=1, validate_every=2)
        labels = read_labels(config)
        assert len(labels.training) + len(labels.validation) == n


@pytest.mark.parametrize(
    ("n_frames", "options", "message"),
    [
        (
            3,
            {},
            "expected labelled frames for training and validation, got 3 usable frames, fewer than 6 blocks of 50; "
            "label more frames or make data.block_frames smaller",
        ),
        (
            3,
            {"predicted": range(3)},
            "expected labelled frames, got none; to learn from predictions set data.use_predictions = true",
        ),
        (4, {"n_videos": 2}, "expected one video, got 2"),
    ],
    ids=["few frames", "only predictions", "two videos"],
)
def test_labels_that_cannot_be_learnt_are_refused(tmp_path, n_frames, options, message):
    path = write_labels(tmp_path, n_frames, **options)
    with pytest.raises(TrainingInputError) as caught:
        read_labels(DataConfig(labels=path))
    assert str(caught.value) == f"{path}: {message}"


@pytest.mark.parametrize("content", [None, b"no HDF5"], ids=["missing", "damaged"])
def test_a_label_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "labels.slp"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingInputError) as caught:
        read_labels(DataConfig(labels=path))
    assert str(caught.value).startswith(f"{path}: expected a SLEAP label file (.slp), got: ")


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


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data beside the checkout")
def test_predicted_points_come_as_they_are_stored():
    path = SHARED / "flies_1024" / "session_a.predictions.slp"
    labels = read_labels(DataConfig(labels=path, use_predictions=True, held_out=(2400, 2999)))
    assert (len(labels.training), len(labels.validation), len(labels.held_out)) == (2150, 250, 600)
    with h5py.File(path) as file:
        stored = file["pred_points"][:]
        frames, instances = file["frames"][:], file["instances"][:]
    starts = {int(f["frame_idx"]): int(instances[f["instance_id_start"]]["point_id_start"]) for f in frames}
    for frame in labels.held_out:
        rows = stored[starts[frame.index] : starts[frame.index] + 13]
        expected = np.where(rows["visible"], (rows["x"], rows["y"]), np.nan).T
        np.testing.assert_array_equal(frame.points[0], expected.astype(np.float32))
