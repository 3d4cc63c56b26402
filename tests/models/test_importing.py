import hashlib
import json
import shutil

import numpy as np
import onnxruntime
import pytest

from models.errors import ModelNotOpenError
from models.exported import ExportedModel, ExportedOptions
from models.importing import import_sleap
from models.testing import check_model

cv2 = pytest.importorskip("cv2")
sio = pytest.importorskip("sleap_io")
pytest.importorskip("onnx")

# SLEAP's saved predictions: "train" is frame 1 of the video, "val" frame 0.
SAVED = {"train": 1, "val": 0}


@pytest.fixture(scope="module")
def folders(data):
    return [data / "sleap_models" / f"minimal_instance.UNet.{kind}" for kind in ("centroid", "centered_instance")]


@pytest.fixture(scope="module")
def frames(data):
    """The first frames as SLEAP saw them: the first channel of what OpenCV decodes."""
    capture = cv2.VideoCapture(str(data / "flies_384" / "centered_pair_low_quality.mp4"))
    frames = [np.ascontiguousarray(capture.read()[1][:, :, 0]) for _ in range(2)]
    capture.release()
    return frames


@pytest.fixture(scope="module")
def imported(folders, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported")
    return {
        compat: (out / str(compat), import_sleap(folders, out / str(compat), (384, 384), sleap_compat=compat))
        for compat in (True, False)
    }


def instances(path):
    frame = sio.load_slp(str(path), open_videos=False)[0]
    return np.stack([instance.numpy() for instance in frame.instances]), frame


@pytest.mark.parametrize("split", SAVED)
def test_sleaps_own_predictions_are_reproduced(folders, frames, imported, split):
    """SLEAP cropped around the middles of the labels' bounding boxes; its points were saved with their −0.5 px."""

    labels, _ = instances(folders[1] / f"labels_gt.{split}.slp")
    saved, frame = instances(folders[1] / f"labels_pr.{split}.slp")
    scores = np.stack([instance.points["score"] for instance in frame.instances])
    centroids = ((labels.min(axis=1) + labels.max(axis=1)) / 2).astype(np.float32)
    session = onnxruntime.InferenceSession(imported[True][0] / "instances.onnx")
    peaks, values = session.run(None, {"image": frames[SAVED[split]], "centroids": centroids})
    np.testing.assert_allclose(peaks, saved, atol=0.01)
    np.testing.assert_allclose(values, scores, atol=1e-4)


@pytest.mark.parametrize("split", SAVED)
def test_exact_geometry_lies_half_a_pixel_from_sleaps(frames, imported, split):
    poses = {}
    for compat, (folder, _) in imported.items():
        model = ExportedModel(ExportedOptions(path=folder, threads=1))
        poses[compat] = model.predict(frames[SAVED[split]], 0)
    shift = poses[False].xy - poses[True].xy
    assert np.abs(np.median(shift.reshape(-1, 2), axis=0) - 0.5).max() < 0.15


@pytest.mark.parametrize("split", SAVED)
def test_the_pair_finds_both_flies(folders, frames, imported, split):
    """The pair was trained on frame 1 alone; the network's error there is what the labels' offset shows."""
    labels, _ = instances(folders[1] / f"labels_gt.{split}.slp")
    _, saved = instances(folders[0] / f"labels_pr.{split}.slp")
    model = ExportedModel(ExportedOptions(path=imported[False][0], threads=1))
    poses = model.predict(frames[SAVED[split]], 0)
    order = np.argsort(poses.xy[:, 0, 0])
    np.testing.assert_allclose(poses.xy[order], labels, atol=0.25 if split == "train" else 1.5)
    # SLEAP's centroid scores were saved from another decoding of the video (up to one gray level).
    scores = [instance.score for instance in saved.instances]
    np.testing.assert_allclose(poses.instance_scores[order], scores, atol=0.01)
    assert model.faults == 0


def test_the_contract(frames, imported):
    check_model(ExportedModel(ExportedOptions(path=imported[False][0], threads=1)), frames)


def test_the_report_says_what_was_found_and_what_differs(imported):
    exact, compat = imported[False][1].report, imported[True][1].report
    assert exact[0] == (
        "minimal_instance.UNet.centroid: centroid, SLEAP (version not given), 29 layers, 127,235 parameters, "
        "outputs CentroidConfmapsHead_0, OffsetRefinementHead_0"
    )
    assert exact[3] == (
        "minimal_instance.UNet.centered_instance: input scale 1, anchor (middle of the bounding box), crop 96 px, "
        "nodes A, B"
    )
    assert exact[-1].startswith("different from SLEAP: points lie about +0.5 px")
    assert compat[-1].startswith("as SLEAP 1.4.1: points lie −0.5 px")


def test_provenance_names_every_file(folders, imported):

    provenance = imported[False][1].spec.provenance["models"]["instances"]
    assert provenance["kind"] == "centered_instance"
    for name, digest in provenance["files"].items():
        assert hashlib.sha256((folders[1] / name).read_bytes()).hexdigest() == digest


def test_without_a_size_the_training_size_is_taken(folders, tmp_path):
    assert import_sleap(folders[::-1], tmp_path).spec.image.shape == (384, 384)


def test_an_image_of_another_size_is_reported(folders, tmp_path):
    def resized(folder):
        copy = tmp_path / folder.name
        shutil.copytree(folder, copy)
        config = json.loads((copy / "training_config.json").read_text())
        config["data"]["preprocessing"] |= {"target_height": 384, "target_width": 384}
        (copy / "training_config.json").write_text(json.dumps(config))
        return copy

    report = import_sleap([resized(folder) for folder in folders], tmp_path / "out", (300, 401, 3)).report
    assert report[-3] == (
        "approximate: minimal_instance.UNet.centroid was trained on images brought to (384, 384), but the graph takes "
        "(300, 401) as they are: animals appear at another scale"
    )


def test_crops_of_a_scaled_model_are_counted_in_pixels_of_the_frame(folders, tmp_path):
    copy = tmp_path / "instance"
    shutil.copytree(folders[1], copy)
    config = json.loads((copy / "training_config.json").read_text())
    config["data"]["preprocessing"]["input_scaling"] = 0.5
    (copy / "training_config.json").write_text(json.dumps(config))
    for compat in (True, False):
        spec = import_sleap([folders[0], copy], tmp_path / "out", sleap_compat=compat).spec
        assert (spec.instance.crop_size_px, spec.instance.input_scale) == (192, 0.5)
        model = ExportedModel(ExportedOptions(path=tmp_path / "out", threads=1))
        model.warm_up(384, 384, 1)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([0], "{0}: expected one centroid and one centered_instance model, got centroid"),
        ([0, 0], "{0}, {0}: expected one centroid and one centered_instance model, got centroid and centroid"),
        ([], "no folders: expected one centroid and one centered_instance model, got none"),
    ],
    ids=["one", "two centroids", "none"],
)
def test_no_pair_is_refused(folders, tmp_path, chosen, message):
    with pytest.raises(ModelNotOpenError) as error:
        import_sleap([folders[k] for k in chosen], tmp_path)
    assert str(error.value) == message.format(*folders)


def test_other_types_are_refused_for_now(data, tmp_path):
    folder = data / "sleap_models" / "minimal_instance.UNet.bottomup"
    with pytest.raises(ModelNotOpenError) as error:
        import_sleap([folder], tmp_path)
    assert str(error.value) == (
        f"{folder}: models of type multi_instance can be read but not exported yet: that arrives later; "
        "give a centroid and a centered_instance model"
    )
