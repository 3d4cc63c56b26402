"""Configuration files: what is wrong is named, all at once."""

from pathlib import Path

import pytest

from models.errors import TrainingInputError
from models.training.config import load_config

GOOD = """
[data]
labels = "a.slp"
held_out = [10, 19]
[instance]
anchor = "thorax"
crop_size_px = 96
"""

WRONG = {
    "unknown key": (
        GOOD + "[fit]\nepoch = 3\n",
        ["$.fit.epoch: expected no such key; known are seed, steps_per_epoch, batch_size, learning_rate, stop_after"],
    ),
    "unknown section": (
        GOOD + "[fitting]\n",
        ["$.fitting: expected no such key; known are data, detector, instance, augment, fit, export"],
    ),
    "missing keys": (
        '[data]\nlabels = "a.slp"\n[instance]\ncrop_size_px = 96\n[export]\nmax_instances = 0\n',
        [
            "$.instance.anchor: expected a value, got none",
            "$.export.max_instances: expected greater than or equal to 1, got 0",
        ],
    ),
    "wrong type": (
        GOOD + '[detector]\nepochs = "many"\n',
        ["$.detector.epochs: expected a valid integer, got 'many'"],
    ),
    "wrong range": (
        GOOD.replace("[10, 19]", "[10, 1.5]"),
        ["$.data.held_out[1]: expected a valid integer, got 1.5"],
    ),
    "backward range": (
        GOOD.replace("[10, 19]", "[19, 10]"),
        ["$.data.held_out: expected [first, last] with 0 <= first <= last, got [19, 10]"],
    ),
    "strides": (
        GOOD + "[detector]\nstem_stride = 4\noutput_stride = 2\n",
        ["$.detector: expected stem_stride <= output_stride <= max_stride and stem_stride < max_stride, got 4, 2, 16"],
    ),
    "crop": (
        GOOD.replace("96", "100"),
        ["$.instance: expected crop_size_px to be a multiple of max_stride 16, got 100"],
    ),
    "mirror": (
        GOOD + '[augment]\nsymmetries = [["wingL"]]\n',
        ["$.augment.symmetries[0][1]: expected a value, got none"],
    ),
}


@pytest.mark.parametrize(("text", "messages"), WRONG.values(), ids=WRONG)
def test_mistakes_are_named_with_file_and_key(tmp_path, text, messages):
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(TrainingInputError) as caught:
        load_config(path)
    assert str(caught.value).splitlines() == [f"{path}: {message}" for message in messages]


def test_relative_paths_are_relative_to_the_file(tmp_path):
    path = tmp_path / "train.toml"
    path.write_text(GOOD)
    config = load_config(path)
    assert config.data.labels == tmp_path / "a.slp"
    assert config.data.video is None
    assert config.data.held_out == (10, 19)


@pytest.mark.parametrize("content", [b"[data", b"\xff\xfe", None], ids=["not TOML", "not text", "no file"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "train.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TrainingInputError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}: expected a TOML file that can be read, got: ")


@pytest.mark.parametrize("name", ["fly_pair", "sim_pair"])
def test_the_shipped_configurations_load(name):
    load_config(Path(__file__).parents[3] / "models" / "zoo" / name / "train.toml")
