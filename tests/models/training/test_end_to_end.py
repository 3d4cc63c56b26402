"""Each type of model from a label file to poses of frames that it never saw, with an accuracy that it must reach.

A target or a decoder that is off by half a cell is beyond the limits; one that swaps x and y, left and right or
identities finds nothing, or the wrong animals.
"""

import json

import numpy as np
import pytest

from models.engines.registry import installed_engines
from models.exported import ExportedModel, ExportedOptions
from models.training.train import train
from models.training.video import stream_frames
from models.verification import verify

pytest.importorskip("tensorflow", reason="needs the extra train")
pytest.importorskip("sleap_io", reason="needs the extra train")

COMMON = """
[data]
labels = "labels.slp"
held_out = [160, 199]
block_frames = 10
[augment]
contrast = 0.1
[fit]
seed = 1
batch_size = 8
learning_rate = 4e-3
warm_up_steps = 20
steps_per_epoch = 50
validation_samples = 16
"""
WHOLE = """
[network]
filters = 16
output_stride = 4
stem_stride = 4
"""
DETECTOR = """
[detector]
anchor = "thorax"
input_scale = 0.5
filters = 16
output_stride = 4
stem_stride = 4
fit = { epochs = 5 }
"""
CROPS = """
[instance]
crop_size_px = 48
filters = 16
output_stride = 4
stem_stride = 4
shift_px = 4
fit = { epochs = 7 }
"""
SECTIONS = {
    "single_instance": WHOLE + "fit = { epochs = 8 }\n",
    "centroid": DETECTOR,
    "top_down": DETECTOR + CROPS,
    "top_down_id": DETECTOR + CROPS + "[export]\nviews = 8\n",
    "bottom_up": WHOLE + "paf_stride = 4\npaf_sigma_px2 = 30.0\nfit = { epochs = 11 }\n",
    # At the others' rate one seed in three never tells the tail from the arm, and draws both on both.
    "bottom_up_id": WHOLE + "class_stride = 8\nfit = { epochs = 14, learning_rate = 2e-3 }\n",
}


@pytest.mark.parametrize("type_", SECTIONS)
def test_a_model_of_every_type_finds_animals_that_it_never_saw(type_, film, tmp_path):
    folder = film(1 if type_ == "single_instance" else 2)
    config = folder / f"{type_}.toml"
    config.write_text(f'type = "{type_}"\n{COMMON}{SECTIONS[type_]}')

    out = train(config, tmp_path / "model")

    evaluation = json.loads((out / "evaluation.json").read_text())
    detection, errors = evaluation["detection"], evaluation["errors"]
    assert detection["frames"] == 40
    assert detection["recall"] >= 0.95, detection
    assert detection["precision"] >= 0.95, detection
    # The detector's cells are 8 px, the others' 4 px.
    half_a_cell_px = 4.0 if type_ == "centroid" else 2.0
    assert errors["p50_px"] < 0.5 * half_a_cell_px, errors
    assert errors["p90_px"] < 1.25 * half_a_cell_px, errors
    assert np.abs(errors["bias_px"]).max() < 0.5, errors
    assert errors["not_reported_fraction"] < 0.05, errors
    if type_.endswith("_id"):
        assert evaluation["identity"]["accuracy_by_name"] >= 0.95, evaluation["identity"]
    for engine in installed_engines():
        if engine.works:
            options = ExportedOptions(path=out, **engine.options.model_dump())
            found = verify(options)
            assert found.parity.within(), (engine, found.parity)
    assert_written(out, type_, folder)


def assert_written(out, type_, folder):
    halves = {"detector.onnx", "crops.onnx"} if type_.startswith("top_down") else set()
    assert {path.name for path in out.iterdir()} == halves | {
        "model.json",
        "model.onnx",
        "reference.npz",
        "train.toml",
        "evaluation.json",
        "training",
    }
    roles = {"centroid": ["detector"], "top_down": ["detector", "instance"], "top_down_id": ["detector", "instance"]}
    history = json.loads((out / "training" / "history.json").read_text())
    assert list(dict.fromkeys(epoch["network"] for epoch in history)) == roles.get(type_, ["network"])
    assert (out / "training" / "loss.svg").read_text().startswith("<svg")
    assert len(list((out / "training").glob("overlay_*.png"))) >= 3
    model = ExportedModel(ExportedOptions(path=out))
    nodes = ("thorax",) if type_ == "centroid" else ("head", "thorax", "tail", "arm")
    assert model.skeleton.nodes == nodes
    assert model.class_names == (("bright", "dim") if type_.endswith("_id") else ())
    assert model.spec.provenance["seed"] == 1
    if model.spec.crop is not None:
        assert model.spec.crop.views == (8 if type_ == "top_down_id" else 1)
    ((_, image),) = stream_frames(folder / "film.mkv", {199})
    poses = model.predict(image, 199)
    assert poses.xy.shape[1:] == (len(nodes), 2)
