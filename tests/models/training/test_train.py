"""From a label file to a model folder in some seconds: simulated animals, and an accuracy that must be met."""

import json

import pytest

from models.errors import TrainingInputError
from models.exported import ExportedModel, ExportedOptions
from models.training.train import train

sleap_io = pytest.importorskip("sleap_io", reason="needs the extra train")
make = pytest.importorskip("benchmarks.make_sim_labels", reason="needs the checkout on the path")

CONFIG = """
[data]
labels = "sim.slp"
held_out = [100, 119]
block_frames = 10

[detector]
input_scale = 0.5
filters = 8
max_stride = 16
output_stride = 4
stem_stride = 4
sigma_cells = 1.5
epochs = 4

[instance]
anchor = "thorax"
crop_size_px = 96
filters = 16
max_stride = 16
output_stride = 4
stem_stride = 4
epochs = 8

[augment]
rotation_deg = 180
mirror = true

[fit]
seed = 3
batch_size = 16
learning_rate = 3e-3
steps_per_epoch = 40
"""


@pytest.fixture
def folder(tmp_path):
    truth = make.write_video(tmp_path / "sim.mkv", make.labelled_frames(120, 0))
    make.write_labels(tmp_path / "sim.slp", "sim.mkv", truth)
    (tmp_path / "train.toml").write_text(CONFIG)
    return tmp_path


def test_a_trained_model_finds_animals_that_it_never_saw(folder):
    pytest.importorskip("tensorflow", reason="needs the extra train")
    epochs = []
    out = train(folder / "train.toml", folder / "model", epochs.append)

    assert [(e.network, e.number, e.of) for e in epochs] == [
        *(("detector", k, 4) for k in range(1, 5)),
        *(("instances", k, 8) for k in range(1, 9)),
    ]
    written = {path.name for path in out.iterdir()}
    assert written == {
        "model.json",
        "detector.onnx",
        "instances.onnx",
        "train.toml",
        "training.json",
        "evaluation.json",
        "detector.npz",
        "instances.npz",
    }
    assert [e["validation_loss"] for e in json.loads((out / "training.json").read_text())] == [
        e.validation_loss for e in epochs
    ]
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert evaluation["frames"] == 20
    assert evaluation["animals_missed"] + evaluation["extra_instances"] <= 4
    for node in ("head", "thorax", "abdomen"):
        # A target or a decoder that is off by half a cell is off by 2 px.
        assert evaluation["nodes"][node]["median_px"] < 2.0, evaluation
    model = ExportedModel(ExportedOptions(path=out))
    assert model.skeleton.nodes == ("head", "thorax", "abdomen", "wingL", "wingR")
    assert model.skeleton.symmetries == ((3, 4),)
    assert model.spec.provenance["seed"] == 3


def test_a_mirror_must_know_left_from_right(folder):
    labels = sleap_io.load_slp(str(folder / "sim.slp"), open_videos=False)
    labels.skeletons[0].symmetries = []
    labels.save(str(folder / "sim.slp"), embed=False, verbose=False)
    path = folder / "train.toml"
    with pytest.raises(TrainingInputError) as caught:
        train(path, folder / "model")
    assert str(caught.value) == (
        f"{path}: $.augment.mirror: expected left-right pairs in the labels or in $.augment.symmetries, got none"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            'anchor = "thorax"',
            'anchor = "tail"',
            "$.instance.anchor: expected a node of the labels (head, thorax, abdomen, wingL, wingR), got 'tail'",
        ),
        (
            "mirror = true",
            'symmetries = [["wingL", "wing"]]',
            "$.augment.symmetries[0][1]: expected a node of the labels (head, thorax, abdomen, wingL, wingR), "
            "got 'wing'",
        ),
    ],
)
def test_nodes_that_the_labels_do_not_have_are_named(folder, old, new, message):
    path = folder / "train.toml"
    path.write_text(CONFIG.replace(old, new))
    with pytest.raises(TrainingInputError) as caught:
        train(path, folder / "model")
    assert str(caught.value) == f"{path}: {message}"
