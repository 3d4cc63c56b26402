"""Labels as they are in the file, and who gets which frame."""

from pathlib import Path

import numpy as np
import pytest

from models.errors import LabelsError, TrainingInputError
from models.training.config import DataConfig
from models.training.data import read_dataset

h5py = pytest.importorskip("h5py", reason="needs the extra train")
sleap_io = pytest.importorskip("sleap_io", reason="needs the extra train")

SHARED = Path(__file__).parents[4] / "shared" / "data"


def write_labels(folder, n_frames, predicted=(), n_videos=1, tracks=(), empty=()):
    """Frame k has one animal with its first node at (k, 0); frames in `predicted` are nobody's handwork."""
    skeleton = sleap_io.Skeleton(nodes=["a", "b"], edges=[("a", "b")], symmetries=[{"a", "b"}])
    videos = [sleap_io.Video(filename=f"{k}.mkv", open_backend=False) for k in range(n_videos)]
    ids = [sleap_io.Track(name) for name in tracks]
    frames = []
    for k in range(n_frames):
        points = np.array([[k, 0.0], [np.nan, np.nan]])
        if k in empty:
            points[:] = np.nan
        kind = sleap_io.PredictedInstance if k in predicted else sleap_io.Instance
        instance = kind.from_numpy(points, skeleton=skeleton, track=ids[k % len(ids)] if ids else None)
        frames.append(sleap_io.LabeledFrame(video=videos[k % n_videos], frame_idx=k, instances=[instance]))
    path = folder / "labels.slp"
    labels = sleap_io.Labels(frames, videos=videos, skeletons=[skeleton], tracks=ids)
    labels.save(str(path), embed=False, verbose=False)
    return path


def test_frames_are_divided_by_blocks_of_time_and_none_twice(tmp_path):
    dataset = read_dataset(
        DataConfig(
            labels=write_labels(tmp_path, 100),
            held_out=(80, 99),
            exclude=((0, 9), (85, 86)),
            block_frames=10,
            validate_every=3,
        )
    )
    assert dataset.held_out.frames.tolist() == [*range(80, 85), *range(87, 100)]
    assert dataset.held_out.frame_ids.tolist() == dataset.held_out.frames.tolist()
    assert [f.index for f in dataset.validation] == [*range(20, 30), *range(50, 60)]
    assert [f.index for f in dataset.training] == [*range(10, 20), *range(30, 50), *range(60, 80)]
    assert dataset.skeleton.nodes == ("a", "b")
    assert dataset.skeleton.edges == dataset.skeleton.symmetries == ((0, 1),)
    assert dataset.video == tmp_path / "0.mkv"


def test_every_nth_frame_and_the_coordinate_offset(tmp_path):
    path = write_labels(tmp_path, 40)
    dataset = read_dataset(
        DataConfig(labels=path, every=4, block_frames=1, validate_every=2, coordinate_offset_px=0.5, held_out=(39, 39))
    )
    assert sorted(f.index for f in dataset.training + dataset.validation) == list(range(0, 39, 4))
    for frame in dataset.training:
        np.testing.assert_array_equal(frame.points, np.float32([[[frame.index + 0.5, 0.5], [np.nan, np.nan]]]))
    np.testing.assert_array_equal(dataset.held_out.xy[0, 0], [39.5, 0.5])


def test_predictions_are_learnt_only_on_request(tmp_path):
    path = write_labels(tmp_path, 20, predicted=range(5, 20))
    for use_predictions, n in ((False, 5), (True, 20)):
        dataset = read_dataset(
            DataConfig(labels=path, use_predictions=use_predictions, block_frames=1, validate_every=2)
        )
        assert len(dataset.training) + len(dataset.validation) == n


def test_classes_are_the_named_tracks_in_their_order(tmp_path):
    path = write_labels(tmp_path, 40, tracks=("x", "male", "female"))
    config = DataConfig(labels=path, block_frames=1, validate_every=2)
    for class_names, tracks, ids in (
        (None, ("x", "male", "female"), [0, 1, 2, 0]),
        (("female", "male"), ("female", "male"), [-1, 1, 0, -1]),
    ):
        dataset = read_dataset(config.model_copy(update={"class_names": class_names}))
        assert dataset.tracks == tracks
        frames = sorted(dataset.training + dataset.validation, key=lambda frame: frame.index)
        assert [int(frame.tracks[0]) for frame in frames[:4]] == ids


def test_labels_off_their_path_are_not_learnt(tmp_path):
    path = write_labels(tmp_path, 40, tracks=("fly",))
    document = sleap_io.load_slp(str(path), open_videos=False)
    document.labeled_frames[20].instances[0].points["xy"][0] = (20, 30)
    document.save(str(path), embed=False, verbose=False)
    dataset = read_dataset(DataConfig(labels=path, clean_px=8, block_frames=1, validate_every=2))
    unlearnt = [f.index for f in dataset.training + dataset.validation if not f.learn.all()]
    assert unlearnt == [20]


def test_the_pull_of_a_grid_is_undone_for_what_is_learnt_but_not_for_what_is_held_out(tmp_path, monkeypatch):
    path = write_labels(tmp_path, 40, predicted=range(40))
    monkeypatch.setattr("models.training.grid_pull.undo_grid_pull", lambda points, stride_px: points + stride_px)
    dataset = read_dataset(
        DataConfig(
            labels=path, use_predictions=True, grid_pull_px=4, held_out=(39, 39), block_frames=1, validate_every=2
        )
    )
    assert all(frame.points[0, 0].tolist() == [frame.index + 4, 4] for frame in dataset.training)
    np.testing.assert_array_equal(dataset.held_out.xy[0, 0], [39, 0])


@pytest.mark.parametrize(
    ("n_frames", "written", "options", "message"),
    [
        (
            3,
            {},
            {},
            "expected labelled frames for training and validation, got 3 usable frames, fewer than 6 blocks of 50; "
            "label more frames or make data.block_frames smaller",
        ),
        (
            3,
            {"predicted": range(3)},
            {},
            "expected labelled frames, got none; to learn from predictions set data.use_predictions = true",
        ),
        (3, {"empty": range(3)}, {"use_predictions": True}, "expected labelled frames, got none"),
        (9, {}, {"held_out": (20, 30)}, "data.held_out: expected labelled frames from 20 to 30, got none"),
        (
            9,
            {},
            {"class_names": ("male", "female")},
            "data.class_names: expected tracks of the labels (no tracks), got 'male'",
        ),
        (
            9,
            {"tracks": ("male", "x")},
            {"class_names": ("male", "female")},
            "data.class_names: expected tracks of the labels (male, x), got 'female'",
        ),
        (
            9,
            {"tracks": ("x",)},
            {"clean_px": {"c": 3}},
            "data.clean_px: expected nodes of the labels (a, b), got 'c'",
        ),
        (
            9,
            {},
            {"clean_px": 3},
            "data.clean_px: expected instances with tracks, whose neighbours in time can be found, got none; track "
            "the labels or leave data.clean_px out",
        ),
    ],
    ids=[
        "few frames",
        "only predictions",
        "no points",
        "nothing held out",
        "classes without tracks",
        "class without track",
        "unknown node",
        "no paths",
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(tmp_path, n_frames, written, options, message):
    path = write_labels(tmp_path, n_frames, **written)
    with pytest.raises(TrainingInputError) as caught:
        read_dataset(DataConfig(labels=path, **options))
    assert str(caught.value) == f"{path}: {message}"


def test_labels_of_two_videos_are_refused(tmp_path):
    path = write_labels(tmp_path, 4, n_videos=2)
    with pytest.raises(LabelsError, match="expected labels with one video, got 2"):
        read_dataset(DataConfig(labels=path))


@pytest.mark.parametrize("content", [None, b"no HDF5"], ids=["missing", "damaged"])
def test_a_label_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "labels.slp"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LabelsError) as caught:
        read_dataset(DataConfig(labels=path))
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared data beside the checkout")
def test_predicted_points_come_as_they_are_stored():
    path = SHARED / "flies_1024" / "session_a.predictions.slp"
    dataset = read_dataset(DataConfig(labels=path, use_predictions=True, held_out=(2400, 2999)))
    assert (len(dataset.training), len(dataset.validation), len(dataset.held_out.frames)) == (2150, 250, 600)
    with h5py.File(path) as file:
        stored = file["pred_points"][:]
        frames, instances = file["frames"][:], file["instances"][:]
    starts = {int(f["frame_idx"]): int(instances[f["instance_id_start"]]["point_id_start"]) for f in frames}
    for index in dataset.held_out.frames:
        rows = stored[starts[int(index)] : starts[int(index)] + 13]
        expected = np.where(rows["visible"], (rows["x"], rows["y"]), np.nan).T
        np.testing.assert_array_equal(dataset.held_out.xy[dataset.held_out.rows(int(index))][0], expected)
