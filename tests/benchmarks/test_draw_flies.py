"""Drawn flies: always the same, and to the shipped model of flies they are flies."""

import shutil
import sys

import numpy as np

from benchmarks import draw_flies
from benchmarks.draw_flies import draw_pair
from models.export.reference import stored_reference
from models.exported import ZOO, ExportedModel, ExportedOptions
from models.spec import ModelSpec


def test_a_picture_is_the_same_for_the_same_seed_and_bright_on_dark():
    image = draw_pair(3)
    assert (image.shape, image.dtype) == ((1024, 1024), np.uint8)
    np.testing.assert_array_equal(image, draw_pair(3))
    assert (image != draw_pair(4)).any()
    assert np.median(image) < 20
    assert image.max() > 200


def test_the_shipped_model_sees_two_whole_flies_in_most_pictures():
    model = ExportedModel(ExportedOptions(path=ZOO / "fly_pair", threads=1))
    found = [model.predict(draw_pair(seed), seed).xy for seed in range(6)]
    model.close()
    assert all(len(xy) == 2 for xy in found)
    assert np.mean([np.isfinite(xy).all() for xy in found]) > 0.5


def test_the_shipped_reference_holds_whole_flies():
    folder = ZOO / "fly_pair"
    reference = stored_reference(folder, ModelSpec.load(folder))
    assert reference.outputs["valid"].sum(axis=1).tolist() == [2, 2, 2, 0]
    assert np.isfinite(reference.outputs["xy"][:3]).all()


def test_a_model_gets_its_reference_anew(tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(ZOO / "fly_pair", tmp_path / "fly_pair")
    (folder / "reference.npz").unlink()
    monkeypatch.setattr(draw_flies, "N_CANDIDATES", 2)
    monkeypatch.setattr(sys, "argv", ["draw_flies", str(folder)])
    draw_flies.main()
    reference = stored_reference(folder, ModelSpec.load(folder))
    assert any(np.array_equal(reference.images[0], draw_pair(seed)) for seed in range(2))
    assert capsys.readouterr().out.startswith(f"{folder}: file='reference.npz'")
