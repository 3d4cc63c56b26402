import hashlib

import numpy as np
import pytest

from models.errors import ModelNotOpenError
from models.poses import Poses
from models.recorded import PoseTable, RecordedModel, RecordedOptions
from models.skeleton import Skeleton
from models.testing import check_model

sio = pytest.importorskip("sleap_io")

BLANK = np.zeros((8, 8), np.uint8)


@pytest.fixture
def labels(tmp_path):
    """Two videos; frame 3 of the first has a prediction of a track, one without, and one that a person corrected."""
    skeleton = sio.Skeleton(["head", "tail"], edges=[("head", "tail")])
    videos = [sio.Video(f"{name}.mp4", open_backend=False) for name in "ab"]
    tracks = [sio.Track("male"), sio.Track("female")]

    def predicted(points, track=None):
        return sio.PredictedInstance.from_numpy(
            np.array(points, float), skeleton, point_scores=np.array([0.9, 1.2]), score=0.7, track=track
        )

    wrong = predicted([[50, 50], [60, 60]])
    person = sio.Instance.from_numpy(np.array([[5, 6], [np.nan, np.nan]]), skeleton, track=tracks[1])
    person.from_predicted = wrong
    empty = predicted(np.full((2, 2), np.nan))
    frames = [
        sio.LabeledFrame(
            video=videos[0],
            frame_idx=3,
            instances=[predicted([[1, 2], [3, 4]], tracks[0]), wrong, person, predicted([[7, 8], [9, 9]]), empty],
        ),
        sio.LabeledFrame(video=videos[1], frame_idx=0, instances=[predicted([[11, 12], [13, 14]])]),
    ]
    path = tmp_path / "labels.slp"
    sio.save_slp(sio.Labels(frames, videos=videos, skeletons=[skeleton], tracks=tracks), str(path))
    return path


def test_the_contract(labels):
    check_model(RecordedModel(RecordedOptions(path=labels, track_classes=True)), [BLANK] * 5)


def test_instances_of_a_frame(labels):
    model = RecordedModel(RecordedOptions(path=labels, offset_px=0.5))
    poses = model.predict(BLANK, 3)
    order = np.argsort(poses.xy[:, 0, 0])
    nan = np.nan
    expected = [[[1.5, 2.5], [3.5, 4.5]], [[5.5, 6.5], [nan, nan]], [[7.5, 8.5], [9.5, 9.5]]]
    np.testing.assert_array_equal(poses.xy[order], np.array(expected, np.float32))
    np.testing.assert_allclose(poses.node_scores[order], [[0.9, 1.0], [1.0, 0.0], [0.9, 1.0]], atol=1e-6)
    np.testing.assert_allclose(poses.instance_scores[order], [0.7, 1.0, 0.7], atol=1e-6)
    assert poses.class_probs is None
    assert (model.class_names, model.max_instances) == ((), 3)
    assert model.skeleton == Skeleton(("head", "tail"), ((0, 1),))


def test_a_frame_without_poses_has_no_animals(labels):
    poses = RecordedModel(RecordedOptions(path=labels, track_classes=True)).predict(BLANK, 4)
    assert (poses.xy.shape, poses.node_scores.shape, poses.instance_scores.shape) == ((0, 2, 2), (0, 2), (0,))
    assert poses.class_probs.shape == (0, 2)


def test_tracks_as_identities(labels):
    model = RecordedModel(RecordedOptions(path=labels, track_classes=True))
    poses = model.predict(BLANK, 3)
    assert model.class_names == ("male", "female")
    order = np.argsort(poses.xy[:, 0, 0])
    assert poses.class_probs[order].tolist() == [[1, 0], [0, 1], [0.5, 0.5]]


def test_another_video(labels):
    model = RecordedModel(RecordedOptions(path=labels, video=1))
    assert model.predict(BLANK, 0).xy[0, 0].tolist() == [11, 12]
    assert len(model.predict(BLANK, 3).xy) == 0
    with pytest.raises(ModelNotOpenError) as error:
        RecordedModel(RecordedOptions(path=labels, video=2))
    assert str(error.value) == f"{labels}: expected video 2, got a file with 2 video(s)"


def test_where_it_comes_from(labels):
    digest = hashlib.sha256(labels.read_bytes()).hexdigest()
    source = RecordedModel(RecordedOptions(path=labels)).source
    assert source == {"kind": "recorded", "path": str(labels), "files": {"labels.slp": digest}}


def test_files_that_cannot_be_read(tmp_path, labels):
    with pytest.raises(ModelNotOpenError) as error:
        RecordedModel(RecordedOptions(path=tmp_path / "none.slp"))
    assert str(error.value) == f"{tmp_path / 'none.slp'}: expected a SLEAP label file (.slp), got no such file"
    damaged = tmp_path / "damaged.slp"
    damaged.write_bytes(labels.read_bytes()[:2000])
    with pytest.raises(ModelNotOpenError, match="expected a SLEAP label file"):
        RecordedModel(RecordedOptions(path=damaged))


def test_poses_from_memory():
    poses = Poses(np.ones((1, 1, 2), np.float32), np.ones((1, 1), np.float32), np.ones(1, np.float32))
    model = RecordedModel.from_table(PoseTable({7: poses}), Skeleton(("a",)), source={"session": "2024"})
    assert model.predict(BLANK, 7) is poses
    assert len(model.predict(BLANK, 8).xy) == 0
    assert model.source == {"kind": "recorded", "session": "2024"}
    check_model(model, [BLANK] * 8)


def test_real_predictions(data):
    path = data / "flies_1024" / "session_a.predictions.slp"
    model = RecordedModel(RecordedOptions(path=path, track_classes=True))
    assert (model.max_instances, len(model.skeleton.nodes), len(model.class_names)) == (2, 13, 2)
    assert [len(model.predict(BLANK, frame_id).xy) for frame_id in (0, 1500, 2999, 3000)] == [2, 2, 2, 0]
