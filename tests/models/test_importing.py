import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping

import numpy as np
import pytest

import models.importing
from models.engines.options import EngineOptions
from models.engines.registry import open_engine
from models.errors import ModelInputError, ModelNotOpenError
from models.export.pipeline import _Pipeline
from models.export.reference import add_reference, stored_reference, with_maps
from models.exported import ExportedModel, ExportedOptions
from models.importing import import_models
from models.testing import check_model

cv2 = pytest.importorskip("cv2")
h5py = pytest.importorskip("h5py")
sio = pytest.importorskip("sleap_io")
onnx = pytest.importorskip("onnx")

# SLEAP's saved predictions: "train" is frame 1 of the video, "val" frame 0.
SAVED = {"train": 1, "val": 0}
SHARED: Mapping[str, tuple[str, ...]] = {
    "centroid": ("minimal_instance.UNet.centroid",),
    "top_down": ("minimal_instance.UNet.centroid", "minimal_instance.UNet.centered_instance"),
    "bottom_up": ("minimal_instance.UNet.bottomup",),
    "bottom_up_id": ("min_tracks_2node.UNet.bottomup_multiclass",),
}
FILES = ("best_model.h5", "training_config.json")


@pytest.fixture(scope="module")
def folders(data):
    return [data / "sleap_models" / name for name in SHARED["top_down"]]


@pytest.fixture(scope="module", autouse=True)
def _without_reference():
    """Leave out the slow last step, which is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models.importing, "add_reference", models.importing.ModelSpec.load)
        yield


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
        compat: (out / str(compat), import_models(folders, out / str(compat), (384, 384), sleap_compat=compat))
        for compat in (True, False)
    }


def opened(folder):
    return ExportedModel(ExportedOptions(path=folder, threads=1))


def instances(path):
    frame = sio.load_slp(str(path), open_videos=False)[0]
    return np.stack([instance.numpy() for instance in frame.instances]), frame


def maps_of_black(folder, engine):
    """Run a model on a black image; return what leaves its networks, channels last."""
    spec = models.importing.ModelSpec.load(folder)
    graph = with_maps((folder / spec.graph.file).read_bytes())
    values = {value.name: value.type.tensor_type for value in onnx.load_from_string(graph).graph.output}
    maps = {name: [d.dim_value or 1 for d in kind.shape.dim] for name, kind in values.items() if "maps/" in name}
    if spec.crop:  # one crop for every slot
        maps = {name: [spec.max_instances if "crops" in name else 1, *shape[1:]] for name, shape in maps.items()}
    outputs = {name: np.zeros(shape, np.float32) for name, shape in maps.items()}
    opened = open_engine(graph, folder, EngineOptions(engine=engine, threads=1))
    opened.bind((1, *spec.image.shape), outputs).run(np.zeros((1, *spec.image.shape), np.uint8))
    opened.close()
    return [output[:1].transpose(0, 2, 3, 1) for output in outputs.values()]


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", ["top_down", "bottom_up", "bottom_up_id"])
def test_black_images_give_sleaps_own_activations(data, tmp_path, kind, engine):
    pytest.importorskip(engine)
    folders = [data / "sleap_models" / name for name in SHARED[kind]]
    import_models(folders, tmp_path)
    maps = maps_of_black(tmp_path, engine)
    for folder in folders:
        with h5py.File(folder / "dummy_activations.h5") as file:
            heads = {name: file[name][()] for name in file if "Head" in name}
        assert heads
        for name, reference in heads.items():
            errors = [np.abs(found - reference).max() for found in maps if found.shape == reference.shape]
            assert min(errors) < 1e-4, f"{folder.name}: {name}"
            assert np.abs(reference).max() > 1e-3


@pytest.mark.parametrize("split", SAVED)
def test_sleaps_own_predictions_top_down(folders, frames, tmp_path, monkeypatch, split):
    """SLEAP cropped around the middles of the labels' bounding boxes; its points were saved with their −0.5 px."""
    labels, _ = instances(folders[1] / f"labels_gt.{split}.slp")
    saved, frame = instances(folders[1] / f"labels_pr.{split}.slp")
    scores = np.stack([instance.points["score"] for instance in frame.instances])
    centroids = (labels.min(axis=1) + labels.max(axis=1)) / 2
    find = _Pipeline.centroids

    def given(pipeline, heads):
        found, graph = find(pipeline, heads), pipeline.graph
        known = graph.op("Where", graph.op("IsNaN", found["xy"]), graph.float32(0.0), graph.float32(0.0))
        always = graph.op("Equal", graph.squeeze(graph.slice(known, 3, 0, 1), 2), graph.float32(0.0))
        found["xy"] = graph.op("Add", known, graph.float32(centroids[np.newaxis, :, np.newaxis]))
        return found | {"valid": graph.squeeze(always, 2)}

    monkeypatch.setattr(_Pipeline, "centroids", given)
    import_models(folders, tmp_path, (384, 384), sleap_compat=True)
    poses = opened(tmp_path).predict(frames[SAVED[split]], 0)
    np.testing.assert_allclose(poses.xy, saved, atol=0.01)
    np.testing.assert_allclose(poses.node_scores, np.clip(scores, 0, 1), atol=1e-4)


@pytest.mark.parametrize("split", SAVED)
def test_sleaps_own_predictions_bottom_up(data, frames, tmp_path, split):
    (folder,) = (data / "sleap_models" / name for name in SHARED["bottom_up"])
    saved, frame = instances(folder / f"labels_pr.{split}.slp")
    import_models([folder], tmp_path, sleap_compat=True)
    poses = opened(tmp_path).predict(frames[SAVED[split]], 0)
    order = [int(np.argmin(np.abs(poses.xy - one).sum(axis=(1, 2)))) for one in saved]
    assert sorted(order) == list(range(len(poses.xy)))
    np.testing.assert_allclose(poses.xy[order], saved, atol=0.01)
    scores = np.stack([instance.points["score"] for instance in frame.instances])
    np.testing.assert_allclose(poses.node_scores[order], np.clip(scores, 0, 1), atol=1e-4)
    # With one edge the mean is the sum.
    totals = np.array([instance.score for instance in frame.instances])
    np.testing.assert_allclose(poses.instance_scores[order], np.clip(totals, 0, 1), atol=1e-4)


@pytest.mark.parametrize("split", SAVED)
def test_exact_geometry_lies_half_a_pixel_from_sleaps(frames, imported, split):
    poses = {compat: opened(folder).predict(frames[SAVED[split]], 0) for compat, (folder, _) in imported.items()}
    shift = poses[False].xy - poses[True].xy
    assert np.abs(np.median(shift.reshape(-1, 2), axis=0) - 0.5).max() < 0.15


@pytest.mark.parametrize("split", SAVED)
def test_the_pair_finds_both_flies(folders, frames, imported, split):
    """The pair was trained on frame 1 alone; the network's error there is what the labels' offset shows."""
    labels, _ = instances(folders[1] / f"labels_gt.{split}.slp")
    _, saved = instances(folders[0] / f"labels_pr.{split}.slp")
    model = opened(imported[False][0])
    poses = model.predict(frames[SAVED[split]], 0)
    order = np.argsort(poses.xy[:, 0, 0])
    np.testing.assert_allclose(poses.xy[order], labels, atol=0.25 if split == "train" else 1.5)
    # SLEAP's centroid scores were saved from another decoding of the video (up to one gray level).
    scores = [instance.score for instance in saved.instances]
    np.testing.assert_allclose(poses.instance_scores[order], scores, atol=0.01)
    assert model.faults == 0


def test_the_contract(frames, imported):
    check_model(opened(imported[False][0]), frames)


@pytest.fixture(scope="module")
def variants(data, tmp_path_factory):
    """Folders of the two kinds that are not among the shared ones, made of one that is."""
    root = tmp_path_factory.mktemp("variants")

    def copy(name, change_config, change_file):
        for file in FILES:
            (root / name).mkdir(exist_ok=True)
            shutil.copy(data / "sleap_models" / SHARED["top_down"][1] / file, root / name)
        edit_config(root / name, change_config)
        with h5py.File(root / name / "best_model.h5", "r+") as file:
            model = json.loads(file.attrs["model_config"])
            change_file(model["config"], file["model_weights"])
            file.attrs["model_config"] = json.dumps(model)
        return root / name

    def single(config):
        config["model"]["heads"] |= {
            "single_instance": config["model"]["heads"]["centered_instance"], "centered_instance": None
        }  # fmt: skip

    def with_identities(config):
        maps = config["model"]["heads"]["centered_instance"]
        config["model"]["heads"] |= {
            "multi_class_topdown": {"confmaps": maps, "class_vectors": {"classes": ["female", "male", "other"]}},
            "centered_instance": None,
        }  # fmt: skip

    def add_classifier(config, weights):
        chain = [("GlobalMaxPooling2D", "pool", {}), ("Flatten", "flatten", {}),
                 ("Dense", "ClassVectorsHead_0", {"units": 3, "activation": "softmax"})]  # fmt: skip
        above = next(layer["name"] for layer in config["layers"] if "middle_contract_act0" in layer["name"])
        n_in = weights[above.replace("act0_relu", "conv0")][f"{above.replace('act0_relu', 'conv0')}/bias:0"].size
        for kind, name, settings in chain:
            layer = {"class_name": kind, "name": name, "config": settings, "inbound_nodes": [[[above, 0, 0, {}]]]}
            config["layers"].append(layer)
            above = name
        config["output_layers"].append([above, 0, 0])
        group = weights.create_group(above)
        arrays = {"kernel": np.random.default_rng(0).normal(size=(n_in, 3)), "bias": np.zeros(3)}
        group.attrs["weight_names"] = [f"{above}/{kind}:0".encode() for kind in arrays]
        for kind, array in arrays.items():
            group[f"{above}/{kind}:0"] = array

    return {
        "single_instance": copy("single", single, lambda *_: None),
        "multi_class_topdown": copy("identities", with_identities, add_classifier),
    }


def edit_config(folder, change):
    config = json.loads((folder / "training_config.json").read_text())
    change(config)
    (folder / "training_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("sleap_compat", [False, True])
@pytest.mark.parametrize(
    "kind", ["single_instance", "centroid", "top_down", "top_down_id", "bottom_up", "bottom_up_id"]
)
def test_every_type_runs(data, variants, frames, tmp_path, kind, sleap_compat):
    made = {"single_instance": ["single_instance"], "top_down_id": ["multi_class_topdown"]}.get(kind, [])
    shared = SHARED.get(kind, SHARED["centroid"] if kind == "top_down_id" else ())
    folders = [variants[name] for name in made] + [data / "sleap_models" / name for name in shared]
    spec = import_models(folders, tmp_path, (384, 384), sleap_compat=sleap_compat, max_instances=3).spec
    assert (spec.type, spec.image.shape) == (kind, (384, 384))
    assert spec.geometry == ("sleap_compat" if sleap_compat else "exact")
    nodes = {"centroid": ("centroid",), "bottom_up_id": ("head", "thorax")}.get(kind, ("A", "B"))
    assert spec.skeleton.nodes == nodes
    names = {"top_down_id": ("female", "male", "other"), "bottom_up_id": ("female", "male")}.get(kind, ())
    assert spec.class_names == names
    poses = opened(tmp_path).predict(frames[0], 0)
    assert poses.xy.shape[1:] == (len(nodes), 2)
    if kind != "bottom_up_id":  # trained on other flies, at another scale
        assert len(poses.xy) == (1 if kind == "single_instance" else 2)
    if kind == "top_down_id":
        np.testing.assert_allclose(poses.class_probs.sum(axis=1), 1, atol=1e-5)


def test_settings_reach_the_model(data, tmp_path):
    folder = data / "sleap_models" / SHARED["bottom_up"][0]
    spec = import_models([folder], tmp_path, max_instances=3, max_peaks=7, peak_threshold=0.3, min_edge_score=0.5).spec
    assert (spec.max_instances, spec.peak_threshold, spec.geometry) == (3, 0.3, "exact")
    assert (spec.peaks.max_peaks, spec.peaks.min_edge_score) == (7, 0.5)
    assert import_models([folder], tmp_path, max_instances=3).spec.peaks.max_peaks == 5


def test_a_reference_is_stored(variants, tmp_path, monkeypatch):
    monkeypatch.setattr(models.importing, "add_reference", add_reference)
    spec = import_models([variants["single_instance"]], tmp_path, (48, 64)).spec
    assert stored_reference(tmp_path, spec).images.shape[1:] == (48, 64)


def test_the_report_says_what_was_found_and_what_differs(imported):
    exact, compat = imported[False][1].report, imported[True][1].report
    assert exact[0] == (
        "minimal_instance.UNet.centroid: centroid, SLEAP (version not given), 29 layers, 127,235 parameters, "
        "heads confmaps, offsets"
    )
    assert exact[3] == (
        "minimal_instance.UNet.centered_instance: input scale 1, crop 96 px, anchor (middle of the animal), nodes A, B"
    )
    assert exact[-1] == (
        "different from SLEAP: points lie about +0.5 px in x and in y from SLEAP's, where the image shows them; "
        "crops are whole pixels, not interpolated; equal neighbours count as one peak, not as none"
    )
    assert compat[-1] == "as SLEAP 1.4.1: points lie −0.5 px in x and in y from where the image shows them"


def test_the_report_of_a_bottom_up_model(data, tmp_path):
    report = import_models([data / "sleap_models" / SHARED["bottom_up_id"][0]], tmp_path).report
    assert report[1] == (
        "min_tracks_2node.UNet.bottomup_multiclass: input scale 0.5, whole image, nodes head, thorax, "
        "identities female, male"
    )
    assert report[2:] == (
        "approximate: labels were scaled by 0.5 without regard to the half pixel between centres, so that points lie "
        "about +0.5 px in x and in y from the labels",
        "different from SLEAP: equal neighbours count as one peak, not as none; at most 4 peaks a node; "
        "no two animals get one identity",
    )


def test_provenance_names_every_file(folders, imported):
    provenance = imported[False][1].spec.provenance["models"][1]
    assert provenance["kind"] == "centered_instance"
    for name, digest in provenance["files"].items():
        assert hashlib.sha256((folders[1] / name).read_bytes()).hexdigest() == digest


def test_without_a_size_the_training_size_is_taken(folders, tmp_path):
    assert import_models(folders[::-1], tmp_path).spec.image.shape == (384, 384)


def test_an_image_of_another_size_is_reported(folders, tmp_path):
    def resized(folder):
        copy = tmp_path / folder.name
        shutil.copytree(folder, copy)
        target = {"target_height": 384, "target_width": 384}
        edit_config(copy, lambda config: config["data"]["preprocessing"].update(target))
        return copy

    imported = import_models([resized(folder) for folder in folders], tmp_path / "out", (300, 401, 3))
    assert imported.spec.image.shape == (300, 401, 3)
    assert imported.report[-3] == (
        "approximate: minimal_instance.UNet.centroid was trained on images brought to (384, 384), but the graph takes "
        "(300, 401) as they are: animals appear at another scale"
    )


@pytest.mark.parametrize("sleap_compat", [True, False])
def test_crops_of_a_scaled_model_are_counted_in_pixels_of_the_frame(folders, frames, tmp_path, sleap_compat):
    copy = tmp_path / "instance"
    shutil.copytree(folders[1], copy)
    edit_config(copy, lambda config: config["data"]["preprocessing"].update(input_scaling=0.5))
    spec = import_models([folders[0], copy], tmp_path / "out", sleap_compat=sleap_compat).spec
    assert (spec.crop.size_px, spec.crop.input_scale) == (192, 0.5)
    opened(tmp_path / "out").predict(frames[0], 0)


ALL = (
    "single_instance or centroid or centroid + centered_instance or centroid + multi_class_topdown or multi_instance "
    "or multi_class_bottomup"
)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([1], "{1}: a centered_instance model sees crops and cannot find the animals: give the folder of the centroid "
         "model that belongs to it too"),
        ([0, 0], f"{{0}}, {{0}}: expected {ALL}, got centroid + centroid"),
        ([0, 2], f"{{0}}, {{2}}: expected {ALL}, got centroid + multi_instance"),
        ([0, 1, 1], f"{{0}}, {{1}}, {{1}}: expected {ALL}, got centroid + centered_instance + centered_instance"),
        ([], f"no folders: expected {ALL}, got none"),
    ],
    ids=["crops alone", "two centroids", "no pair", "three", "none"],
)  # fmt: skip
def test_folders_that_do_not_belong_together(folders, data, tmp_path, chosen, message):
    known = [*folders, data / "sleap_models" / SHARED["bottom_up"][0]]
    with pytest.raises(ModelNotOpenError) as error:
        import_models([known[k] for k in chosen], tmp_path)
    assert str(error.value) == message.format(*known)


EXPECTED = (
    "expected best_model.h5 and training_config.json (SLEAP) or model.onnx and export_metadata.json (an export of "
    "sleap-nn)"
)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, f": no such folder; {EXPECTED}"),
        ([], f": {EXPECTED}, got an empty folder"),
        (["notes.txt", "a.mp4"], f": {EXPECTED}, got a.mp4, notes.txt"),
        (["best.ckpt"], ": a training folder of sleap-nn: export it first with: sleap-nn export {0}"),
        (["best_model.h5"],
         "/training_config.json: No such file or directory; expected a model folder that SLEAP wrote"),
        (["export_metadata.json"], "/model.onnx: no such file"),
        (["model.json", "model.onnx"], ": this is a model folder of poseloop already: use it as it is"),
    ],
    ids=["none", "empty", "other files", "not exported", "no configuration", "no graph", "ours"],
)  # fmt: skip
def test_a_folder_that_is_something_else(tmp_path, files, message):
    folder = tmp_path / "model"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).touch()
    with pytest.raises(ModelNotOpenError) as error:
        import_models([folder], tmp_path / "out")
    assert str(error.value) == f"{folder}" + message.format(folder)


def test_a_cyclic_skeleton_cannot_be_assembled(data, tmp_path):
    """Two edges between two nodes: A → B and B → A."""
    folder = tmp_path / "cyclic"
    folder.mkdir()
    for file in FILES:
        shutil.copy(data / "sleap_models" / SHARED["bottom_up"][0] / file, folder)
    edges = {"edges": [["A", "B"], ["B", "A"]]}
    edit_config(folder, lambda config: config["model"]["heads"]["multi_instance"]["pafs"].update(edges))
    with h5py.File(folder / "best_model.h5", "r+") as file:
        model = json.loads(file.attrs["model_config"])
        (head,) = (layer for layer in model["config"]["layers"] if layer["name"] == "PartAffinityFieldsHead_0")
        head["config"]["filters"] = 4
        file.attrs["model_config"] = json.dumps(model)
        group = file["model_weights/PartAffinityFieldsHead_0/PartAffinityFieldsHead_0"]
        for kind in ("kernel:0", "bias:0"):
            doubled = np.concatenate([group[kind][()]] * 2, axis=-1)
            del group[kind]
            group[kind] = doubled
    with pytest.raises(ModelNotOpenError) as error:
        import_models([folder], tmp_path / "out")
    assert str(error.value) == (
        f"{folder}: skeleton: expected a tree, got a circle of edges through A, B; train the model with a skeleton "
        "that lacks one of these edges"
    )
    assert not (tmp_path / "out").exists()


def test_a_model_that_does_not_know_its_size(data, tmp_path):
    folder = tmp_path / "unknown"
    folder.mkdir()
    for file in FILES:
        shutil.copy(data / "sleap_models" / SHARED["bottom_up"][0] / file, folder)
    with h5py.File(folder / "best_model.h5", "r+") as file:
        model = json.loads(file.attrs["model_config"])
        model["config"]["layers"][0]["config"]["batch_input_shape"] = [None, None, None, 1]
        file.attrs["model_config"] = json.dumps(model)
    with pytest.raises(ModelNotOpenError) as error:
        import_models([folder], tmp_path / "out")
    assert str(error.value) == (
        f"{folder}: the model does not say at what image size it was trained: give the camera's size (--size)"
    )


def test_sleaps_formulas_are_not_sleap_nns(tmp_path, monkeypatch, folders):
    (model,) = models.importing.read_models(folders[0])
    renamed = dataclasses.replace(model, program="sleap-nn 0.3.5")
    monkeypatch.setattr(models.importing, "read_models", lambda _: (renamed,))
    with pytest.raises(ModelInputError) as error:
        import_models([folders[0]], tmp_path, sleap_compat=True)
    assert str(error.value) == (f"{folders[0]}: sleap_compat reproduces SLEAP ≤ 1.4, but this is an export of sleap-nn")
