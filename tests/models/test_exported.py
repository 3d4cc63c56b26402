import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import models.exported
from models.errors import ModelInputError, ModelNotOpenError
from models.export.top_down import export_top_down
from models.exported import ExportedModel, ExportedOptions, model_folder
from models.network import Layer, Network
from models.skeleton import Skeleton
from models.testing import check_model

SHAPE = (90, 100)
HERE = [(30.0, 20.0), (70.0, 60.0)]


@pytest.fixture
def folder(tmp_path, copy_network):
    out = tmp_path / "model"
    export_top_down(
        copy_network(), copy_network(), out, skeleton=Skeleton(("spot",)), image_shape=SHAPE, crop_size_px=24
    )  # fmt: skip
    return out


@pytest.fixture
def with_offsets(tmp_path, copy_network):
    """A model with offset maps that throw points about twice as far as `offset`, or to infinity."""

    def make(offset, *, n_nodes=1, detector_offset=None):
        def network(n_maps, offset):
            if offset is None:
                return copy_network(n_maps)
            base = copy_network(n_maps)
            head = Layer("offsets", "conv", ("input",), 2 * n_maps, 1)
            weights = dict(base.weights) | {
                "offsets/kernel": np.array(offset, np.float32).reshape(1, 1, 1, -1),
                "offsets/bias": np.array(offset, np.float32),
            }
            return Network((*base.layers, head), ("maps", "offsets"), weights)

        out = tmp_path / "offsets"
        export_top_down(
            network(1, detector_offset),
            network(n_nodes, offset),
            out,
            skeleton=Skeleton(tuple("abcdef"[:n_nodes])),
            image_shape=SHAPE,
            crop_size_px=24,
        )
        return ExportedModel(ExportedOptions(path=out))

    return make


def test_the_contract(folder, spots):
    images = [spots(SHAPE, points, 1.5) for points in ([], HERE[:1], HERE, [(50.0, 10.0), *HERE])]
    check_model(ExportedModel(ExportedOptions(path=folder, threads=1)), images)


def test_animals_are_found_where_they_are(folder, spots):
    model = ExportedModel(ExportedOptions(path=folder))
    model.warm_up(*SHAPE, 1)
    poses = model.predict(spots(SHAPE, HERE, 1.5), 0)
    order = np.argsort(poses.xy[:, 0, 0])
    np.testing.assert_allclose(poses.xy[order, 0], HERE, atol=0.01)
    np.testing.assert_allclose(poses.node_scores, 250 / 255, atol=1e-3)
    np.testing.assert_allclose(poses.instance_scores, 250 / 255, atol=1e-3)
    assert model.predict(np.zeros(SHAPE, np.uint8), 1).xy.shape == (0, 1, 2)
    assert model.faults == 0


def test_where_it_comes_from(folder):
    source = ExportedModel(ExportedOptions(path=folder)).source
    assert (source["kind"], source["path"], source["provider"]) == ("exported", str(folder), "cpu")
    assert set(source["files"]) == {"detector.onnx", "instances.onnx", "model.json"}


@pytest.mark.parametrize("size", [(90, 101, 1), (100, 90, 1), (90, 100, 3)])
def test_another_camera_is_refused(folder, size):
    height, width, channels = size
    with pytest.raises(ModelInputError) as error:
        ExportedModel(ExportedOptions(path=folder)).warm_up(*size)
    assert str(error.value) == (
        f"{folder}: expected images of 100×90 px with 1 channel(s), got {width}×{height} px with {channels}; "
        "set the camera to that size or export the model again for this one"
    )


@pytest.mark.parametrize("image", [np.zeros((90, 101), np.uint8), np.zeros(SHAPE, np.float32)])
def test_another_image_is_refused(folder, image):
    model = ExportedModel(ExportedOptions(path=folder))
    with pytest.raises(ModelInputError, match=r"expected an image of shape \(90, 100\) uint8, got"):
        model.predict(image, 0)


def test_a_changed_graph_is_refused(folder):
    graph = folder / "instances.onnx"
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(ModelNotOpenError) as error:
        ExportedModel(ExportedOptions(path=folder))
    expected = json.loads((folder / "model.json").read_text())["graphs"]["instances"]["sha256"]
    assert str(error.value).startswith(f"{graph}: expected SHA-256 {expected} as model.json says, got ")
    assert str(error.value).endswith("the file was changed or damaged: export the model again")


def test_a_missing_graph_is_named(folder):
    (folder / "detector.onnx").unlink()
    with pytest.raises(ModelNotOpenError) as error:
        ExportedModel(ExportedOptions(path=folder))
    assert str(error.value) == f"{folder / 'detector.onnx'}: No such file or directory; model.json names it as detector"


@pytest.mark.parametrize("offset", [(3e38, 0), (0, -3e38), (1e30, 0), (100, 0), (0, -25)])
def test_impossible_points_are_not_seen_and_counted(with_offsets, spots, offset):
    model = with_offsets((*offset, 0, 0), n_nodes=2)
    poses = model.predict(spots(SHAPE, HERE[:1], 1.5), 0)
    assert np.isnan(poses.xy[0, 0]).all()
    assert poses.node_scores[0, 0] == 0
    np.testing.assert_allclose(poses.xy[0, 1], HERE[0], atol=0.01)
    assert poses.node_scores[0, 1] > 0.9
    assert model.faults == 1


def test_an_instance_without_any_possible_point_is_dropped(with_offsets, spots):
    model = with_offsets((100.0, 0.0))
    poses = model.predict(spots(SHAPE, HERE, 1.5), 0)
    assert (poses.xy.shape, poses.node_scores.shape, poses.instance_scores.shape) == ((0, 1, 2), (0, 1), (0,))
    assert model.faults == 2


def test_an_impossible_centroid_is_dropped_and_counted(with_offsets, spots):
    model = with_offsets(None, detector_offset=(-20.0, 0.0))
    poses = model.predict(spots(SHAPE, HERE, 1.5, top=200), 0)
    assert model.faults == 1
    # The other centroid lies 40 px beside its animal: in that crop there is nothing to see.
    assert len(poses.xy) == 0


def test_a_threshold_hides_nodes_without_a_fault(tmp_path, copy_network, spots):
    export_top_down(
        copy_network(),
        copy_network(),
        tmp_path,
        skeleton=Skeleton(("spot",)),
        image_shape=SHAPE,
        crop_size_px=24,
        peak_threshold=0.6,
    )
    model = ExportedModel(ExportedOptions(path=tmp_path))
    assert len(model.predict(spots(SHAPE, HERE, 1.5, top=150), 0).xy) == 0
    assert len(model.predict(spots(SHAPE, HERE, 1.5, top=160), 0).xy) == 2
    assert model.faults == 0


def test_models_of_the_zoo_go_by_name(folder, tmp_path, monkeypatch):
    zoo = tmp_path / "zoo"
    shutil.copytree(folder, zoo / "spots")
    monkeypatch.setattr(models.exported, "ZOO", zoo)
    assert model_folder(Path("zoo:spots")) == zoo / "spots"
    # A rig file's own folder comes before a relative path.
    assert model_folder(Path("/some/rigs/zoo:spots")) == zoo / "spots"
    with pytest.raises(ModelNotOpenError) as error:
        model_folder(Path("zoo:spot"))
    assert str(error.value) == "zoo:spot: expected one of spots"
    assert model_folder(Path("folder")) == Path.cwd() / "folder"
