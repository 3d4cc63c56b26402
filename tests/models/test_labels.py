import sys
from dataclasses import fields

import numpy as np
import pytest

from models.errors import LabelsError, ModelNotInstalledError
from models.labels import Labels, read_labels
from models.poses import Poses
from models.skeleton import Skeleton

sio = pytest.importorskip("sleap_io")

NAN = np.nan
PAIR = Skeleton(("head", "tail"), ((0, 1),))


@pytest.fixture
def path(tmp_path):
    """Two videos and two skeletons; frame 3 has a prediction, one that a person corrected, and the correction."""
    skeleton = sio.Skeleton(["head", "tail"], edges=[("head", "tail")], symmetries=[("tail", "head")])
    other = sio.Skeleton(["nose"])
    videos = [sio.Video(name, open_backend=False) for name in ("a.mp4", "b.mp4")]
    tracks = [sio.Track("male"), sio.Track("female")]

    def predicted(points, track=None, score=0.7):
        return sio.PredictedInstance.from_numpy(
            np.array(points, float), skeleton, point_scores=np.array([0.9, 1.2]), score=score, track=track
        )

    corrected = predicted([[50, 50], [60, 60]])
    person = sio.Instance.from_numpy(np.array([[5, 6], [NAN, NAN]]), skeleton, track=tracks[1])
    person.from_predicted = corrected
    frames = [
        sio.LabeledFrame(video=videos[0], frame_idx=7, instances=[]),
        sio.LabeledFrame(
            video=videos[0], frame_idx=3, instances=[predicted([[1, 2], [3, 4]], tracks[0]), corrected, person]
        ),
        sio.LabeledFrame(video=videos[0], frame_idx=2, instances=[sio.Instance.from_numpy(np.array([[9, 9]]), other)]),
        sio.LabeledFrame(video=videos[1], frame_idx=0, instances=[predicted([[11, 12], [13, 14]])]),
    ]
    path = tmp_path / "labels.slp"
    sio.save_slp(sio.Labels(frames, videos=videos, skeletons=[skeleton, other], tracks=tracks), str(path))
    return path


def test_everything_of_a_row(path):
    labels = read_labels(path, kind="shown", video=0, skeleton=0)
    assert labels.skeleton == Skeleton(("head", "tail"), ((0, 1),), ((0, 1),))
    order = np.argsort(labels.xy[:, 0, 0])
    np.testing.assert_array_equal(labels.xy[order], [[[1, 2], [3, 4]], [[5, 6], [NAN, NAN]]])
    np.testing.assert_allclose(labels.node_scores[order], [[0.9, 1.2], [1, 0]], atol=1e-6)
    np.testing.assert_allclose(labels.scores[order], [0.7, 1], atol=1e-6)
    assert labels.predicted[order].tolist() == [True, False]
    assert labels.tracks[order].tolist() == [0, 1]
    assert labels.marked[order].tolist() == [[True, True], [True, False]]
    assert (labels.track_names, labels.video, labels.source) == (("male", "female"), "a.mp4", str(path))
    assert (labels.frame_ids.tolist(), labels.frames.tolist()) == ([3, 3], [3])
    assert (labels.rows(3), labels.rows(4)) == (slice(0, 2), slice(2, 2))


# What the provenance says of the tracking scores, the score of an instance with and of one without a track, and what
# the first one's confidence then is.
CONFIDENCES = {
    "a confidence": ("identity_confidence", 0.75, 0.75),
    "complete confidence": ("identity_confidence", 1.0, 1.0),
    "not saved": ("identity_confidence", 0.0, NAN),
    "not given": ("identity_confidence", None, NAN),
    "not a number": ("identity_confidence", NAN, NAN),
    "more than can be": ("identity_confidence", 1.5, NAN),
    "another meaning": ("similarity", 0.75, NAN),
    "no meaning": (None, 0.75, NAN),
}


@pytest.mark.parametrize(("meaning", "score", "expected"), CONFIDENCES.values(), ids=CONFIDENCES)
def test_identity_confidence(tmp_path, meaning, score, expected):
    skeleton, video, track = sio.Skeleton(["nose"]), sio.Video("a.mp4", open_backend=False), sio.Track("male")

    def at(x, kind, **more):
        return kind.from_numpy(np.array([[x, 0.0]]), skeleton, tracking_score=score, **more)

    instances = [
        at(1.0, sio.PredictedInstance, track=track),
        at(2.0, sio.PredictedInstance),
        at(3.0, sio.Instance, track=track),
    ]
    labels = sio.Labels(
        [sio.LabeledFrame(video=video, frame_idx=0, instances=instances)],
        videos=[video],
        skeletons=[skeleton],
        tracks=[track],
        provenance={} if meaning is None else {"tracking_score": meaning},
    )
    sio.save_slp(labels, str(tmp_path / "labels.slp"))
    found = read_labels(tmp_path / "labels.slp", kind="shown")
    confidence = found.identity_confidence[np.argsort(found.xy[:, 0, 0])]
    np.testing.assert_array_equal(confidence, [expected, NAN, NAN])


KINDS = {
    "a person's": ("user", [[5, 6]], [3]),
    # A model has looked at a frame that has no instance; of a person's labels such a frame says nothing.
    "a model's, corrected ones too": ("predicted", [[1, 2], [50, 50]], [2, 3, 7]),
    "a person's if there are any": ("auto", [[5, 6]], [3]),
    "as SLEAP shows them": ("shown", [[1, 2], [5, 6]], [3]),
}


@pytest.mark.parametrize(("kind", "heads", "frames"), KINDS.values(), ids=KINDS)
def test_kinds_of_instances(path, kind, heads, frames):
    labels = read_labels(path, kind=kind, video=0, skeleton=0)
    assert sorted(labels.xy[:, 0].tolist()) == heads
    assert labels.frames.tolist() == frames


def test_auto_takes_a_models_instances_where_there_are_no_others(path):
    assert read_labels(path, kind="auto", video=1).xy[0, 0].tolist() == [11, 12]


def test_the_only_video_with_instances_is_meant(tmp_path):
    skeletons = [sio.Skeleton(["wing"]), sio.Skeleton(["nose"])]
    videos = [sio.Video(name, open_backend=False) for name in ("a.mp4", "b.mp4")]
    nose = sio.Instance.from_numpy(np.array([[1, 1]]), skeletons[1])
    frames = [
        sio.LabeledFrame(video=videos[0], frame_idx=4, instances=[]),
        sio.LabeledFrame(video=videos[1], frame_idx=5, instances=[nose]),
    ]
    path = tmp_path / "labels.slp"
    sio.save_slp(sio.Labels(frames, videos=videos, skeletons=skeletons), str(path))
    labels = read_labels(path)
    assert (labels.video, labels.skeleton.nodes, labels.frame_ids.tolist()) == ("b.mp4", ("nose",), [5])


def test_another_skeleton(path):
    labels = read_labels(path, video=0, skeleton=1)
    assert (labels.skeleton.nodes, labels.xy.tolist(), labels.frame_ids.tolist()) == (("nose",), [[[9, 9]]], [2])


def test_a_frame_that_a_person_called_empty_counts(tmp_path):
    skeleton = sio.Skeleton(["nose"])
    video = sio.Video("a.mp4", open_backend=False)
    frames = [
        sio.LabeledFrame(video=video, frame_idx=0, instances=[sio.Instance.from_numpy(np.array([[1, 1]]), skeleton)]),
        sio.LabeledFrame(video=video, frame_idx=1, instances=[], is_negative=True),
        sio.LabeledFrame(video=video, frame_idx=2, instances=[]),
    ]
    path = tmp_path / "labels.slp"
    sio.save_slp(sio.Labels(frames, videos=[video], skeletons=[skeleton]), str(path))
    assert read_labels(path).frames.tolist() == [0, 1]


WRONG = {
    "several videos": ({}, "expected labels with one video, got 2; choose one by its number"),
    "several skeletons": ({"video": 0}, "expected labels with one skeleton, got 2; choose one by its number"),
    "no such video": ({"video": 2}, "expected video 2, got a file with 2 video(s)"),
    "no such skeleton": ({"video": 0, "skeleton": 2}, "expected skeleton 2, got a file with 2 skeleton(s)"),
    "none of a person's": (
        {"video": 1, "kind": "user"},
        "expected user instances, got none among 1 of other kinds",
    ),
    "none of this skeleton": (
        {"video": 1, "skeleton": 1, "kind": "shown"},
        "expected instances, got none among 1 of other kinds",
    ),
}


@pytest.mark.parametrize(("arguments", "expected"), WRONG.values(), ids=WRONG)
def test_labels_that_are_not_there(path, arguments, expected):
    with pytest.raises(LabelsError) as error:
        read_labels(path, **arguments)
    assert str(error.value) == f"{path}: {expected}"


def test_a_file_without_instances(tmp_path):
    path = tmp_path / "empty.slp"
    video = sio.Video("a.mp4", open_backend=False)
    sio.save_slp(sio.Labels([], videos=[video], skeletons=[sio.Skeleton(["nose"])]), str(path))
    with pytest.raises(LabelsError) as error:
        read_labels(path)
    assert str(error.value) == f"{path}: expected instances, got none at all"
    assert read_labels(path, may_be_empty=True).xy.shape == (0, 1, 2)


def test_files_that_are_not_label_files(tmp_path):
    with pytest.raises(LabelsError) as error:
        read_labels(tmp_path / "none.slp")
    assert str(error.value) == f"{tmp_path / 'none.slp'}: expected a SLEAP label file (.slp), got no such file"
    with pytest.raises(LabelsError) as error:
        read_labels(tmp_path)
    assert str(error.value) == f"{tmp_path}: expected a SLEAP label file (.slp), got a folder"
    text = tmp_path / "text.slp"
    text.write_text("head,tail\n1,2\n")
    with pytest.raises(
        LabelsError, match=r"text\.slp: expected a SLEAP label file \(\.slp\), got one that cannot be read: Unable"
    ):
        read_labels(text)


def test_files_cut_short(path, tmp_path):
    whole = path.read_bytes()
    damaged = tmp_path / "damaged.slp"
    for n_bytes in range(0, len(whole), len(whole) // 20):
        damaged.write_bytes(whole[:n_bytes])
        with pytest.raises(LabelsError, match=r"damaged\.slp: expected a SLEAP label file \(\.slp\)"):
            read_labels(damaged)


def test_without_sleap_io(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "sleap_io", None)
    with pytest.raises(ModelNotInstalledError) as error:
        read_labels(path)
    assert str(error.value) == (
        f"{path}: expected the package sleap-io, got none; install it with: pip install 'poseloop[sleap]'"
    )


def test_rows_from_memory_are_sorted_and_completed():
    labels = Labels.from_arrays(
        PAIR,
        [5, 2, 5],
        [[[1, 1], [2, NAN]], [[3, 3], [4, 4]], [[5, 5], [6, 6]]],
        tracks=[0, -1, 1],
        track_names=("a", "b"),
        identity_confidence=[0.5, NAN, 0.75],
        frames=[2, 3, 5],
    )
    assert (labels.frame_ids.tolist(), labels.tracks.tolist()) == ([2, 5, 5], [-1, 0, 1])
    np.testing.assert_array_equal(labels.xy[1], [[1, 1], [NAN, NAN]])
    assert labels.node_scores.tolist() == [[1, 1], [1, 0], [1, 1]]
    np.testing.assert_array_equal(labels.identity_confidence, [NAN, 0.5, 0.75])
    assert labels.frames.tolist() == [2, 3, 5]
    assert labels.predicted.all()
    assert Labels.from_arrays(PAIR, [], np.empty((0, 2, 2))).frames.tolist() == []


BAD_ARRAYS = {
    "points of another skeleton": ({"xy": np.zeros((2, 3, 2))}, "xy: expected shape (2, 2, 2), got (2, 3, 2)"),
    "scores of other rows": ({"scores": [1.0]}, "scores: expected shape (2,), got (1,)"),
    "confidences of other rows": ({"identity_confidence": [1.0]}, "identity_confidence: expected shape (2,), got (1,)"),
    "node scores of other rows": ({"node_scores": [[1.0, 1.0]]}, "node_scores: expected shape (2, 2), got (1, 2)"),
    "a track without a name": ({"tracks": [0, 1], "track_names": ["a"]}, "tracks: expected −1 to 0, got 0 to 1"),
}


@pytest.mark.parametrize(("changes", "expected"), BAD_ARRAYS.values(), ids=BAD_ARRAYS)
def test_arrays_that_do_not_fit(changes, expected):
    with pytest.raises(LabelsError) as error:
        Labels.from_arrays(PAIR, **{"frame_ids": [0, 1], "xy": np.zeros((2, 2, 2)), "source": "mine", **changes})
    assert str(error.value) == f"mine: {expected}"


def test_some_frames_keep_every_column_of_their_rows():
    xy = np.arange(24, dtype=float).reshape(6, 2, 2)
    labels = Labels.from_arrays(PAIR, [0, 1, 1, 2, 4, 4], xy, scores=range(6), frames=[0, 1, 2, 3, 4])
    some = labels.of_frames(np.array([1, 3, 4]))
    assert some.frames.tolist() == [1, 3, 4]
    assert some.scores.tolist() == [1, 2, 4, 5]
    columns = [field.name for field in fields(labels) if isinstance(getattr(labels, field.name), np.ndarray)]
    for name in set(columns) - {"frames"}:
        np.testing.assert_array_equal(getattr(some, name), getattr(labels, name)[[1, 2, 4, 5]])


def test_poses_of_a_model():
    def poses(*heads, classes=None):
        n = len(heads)
        return Poses(
            np.array([[[x, x], [NAN, NAN]] for x in heads], np.float32).reshape(n, 2, 2),
            np.full((n, 2), 0.8, np.float32),
            np.full(n, 0.9, np.float32),
            classes,
        )

    class_probs = np.array([[0.2, 0.8], [0.7, 0.3]], np.float32)
    labels = Labels.from_poses(PAIR, {4: poses(1, 2, classes=class_probs), 1: poses()}, ["male", "female"])
    assert (labels.frame_ids.tolist(), labels.frames.tolist(), labels.tracks.tolist()) == ([4, 4], [1, 4], [1, 0])
    assert labels.xy[:, 0].tolist() == [[1, 1], [2, 2]]
    assert labels.node_scores[:, 1].tolist() == [0, 0]
    assert Labels.from_poses(PAIR, {1: poses(3)}).tracks.tolist() == [-1]
    assert len(Labels.from_poses(PAIR, {}).xy) == 0


def test_real_predictions(data):
    labels = read_labels(data / "flies_1024" / "session_a.predictions.slp")
    assert labels.xy.shape == (6000, 13, 2)
    assert np.bincount(labels.tracks).tolist() == [3000, 3000]
    assert labels.video == "20190128_113421.120s.mp4"
    np.testing.assert_array_equal(labels.frames, np.arange(3000))


def test_the_oldest_format_is_moved_to_whole_pixels(data):
    """Before version 1.1 a pixel's centre was at 0.5."""
    legacy, midpoint = (
        read_labels(data / "formats" / "test_grid" / f"test_grid_labels.{name}.h5") for name in ("legacy", "midpoint")
    )
    np.testing.assert_array_equal(legacy.xy, midpoint.xy - 0.5)
