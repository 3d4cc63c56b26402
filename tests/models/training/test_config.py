"""Configuration files: what is wrong is named, all at once; a profile fills what is not said."""

import pytest

from models.errors import TrainingInputError
from models.exported import ZOO
from models.training.config import TRAININGS, FitConfig
from models.training.loading import load_config
from models.training.networks import MapHead, parameter_count, unet
from models.training.profiles import PROFILES

GOOD = """
type = "top_down"
[data]
labels = "a.slp"
held_out = [10, 19]
[instance]
crop_size_px = 96
"""

WRONG = {
    "no type": (
        GOOD.replace('type = "top_down"', ""),
        ["$.type: expected one of single_instance, centroid, top_down, top_down_id, bottom_up, bottom_up_id, got none"],
    ),
    "unknown type": (
        GOOD.replace("top_down", "topdown"),
        [
            "$.type: expected one of single_instance, centroid, top_down, top_down_id, bottom_up, bottom_up_id, "
            "got 'topdown'"
        ],
    ),
    "unknown profile": (
        'profile = "large"\n' + GOOD,
        ["$.profile: expected 'fast', 'baseline' or 'nano', got 'large'"],
    ),
    "unknown key": (
        GOOD + "[augment]\nblur = 3\n",
        [
            "$.augment.blur: expected no such key; known are rotation_deg, scale, mirror, symmetries, contrast, "
            "brightness, gamma, noise, blur_px"
        ],
    ),
    "section of another type": (
        GOOD + "[network]\n",
        [
            "$.network: expected no such key; known are profile, start_from, data, augment, fit, type, detector, "
            "instance, export"
        ],
    ),
    "several mistakes": (
        'type = "top_down"\n[data]\nlabels = "a.slp"\n[instance]\nfilters = 0\n[export]\nmax_instances = 0\n',
        [
            "$.instance.filters: expected greater than or equal to 1, got 0",
            "$.instance.crop_size_px: expected a value, got none",
            "$.export.max_instances: expected greater than or equal to 1, got 0",
        ],
    ),
    "views": (
        GOOD + "[export]\nviews = 17\n",
        ["$.export.views: expected less than or equal to 16, got 17"],
    ),
    "views of what has no crops": (
        GOOD.replace("top_down", "centroid").replace("[instance]\ncrop_size_px = 96", "[export]\nviews = 2"),
        ["$.export.views: expected no such key; known are height_px, width_px, min_score, max_instances"],
    ),
    "wrong type of value": (
        GOOD + '[detector.fit]\nepochs = "many"\n',
        ["$.detector.fit.epochs: expected a valid integer, got 'many'"],
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
    "scaled crop": (
        GOOD.replace("96", "96\ninput_scale = 0.25"),
        ["$.instance: expected crop_size_px · input_scale to be a multiple of max_stride 16, got 24"],
    ),
    "window": (
        GOOD + "[detector]\nwindow_px = 100\n",
        ["$.detector: expected window_px to be a multiple of max_stride 16, got 100"],
    ),
    "field finer than the maps": (
        'type = "bottom_up"\n[data]\nlabels = "a.slp"\n[network]\npaf_stride = 2\n',
        ["$.network: expected output_stride <= paf_stride <= max_stride, got 4, 2, 16"],
    ),
    "symmetry of one": (
        GOOD + '[augment]\nsymmetries = [["wingL"]]\n',
        ["$.augment.symmetries[0][1]: expected a value, got none"],
    ),
    "cleaning": (
        GOOD.replace("held_out", "clean_px = { head = 0 }\nheld_out"),
        ["$.data.clean_px: expected px above 0, or a table of nodes with px above 0, got {'head': 0}"],
    ),
}


def write(folder, text):
    path = folder / "train.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "messages"), WRONG.values(), ids=WRONG)
def test_mistakes_are_named_with_file_and_key(tmp_path, text, messages):
    path = write(tmp_path, text)
    with pytest.raises(TrainingInputError) as caught:
        load_config(path)
    assert str(caught.value).splitlines() == [f"{path}: {message}" for message in messages]


def test_relative_paths_are_relative_to_the_file(tmp_path):
    config = load_config(write(tmp_path, GOOD))
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


@pytest.mark.parametrize("tolerance", ["8.5", "8", "{ head = 8, wing = 25.5 }"])
def test_a_tolerance_is_one_number_or_one_a_node(tmp_path, tolerance):
    config = load_config(write(tmp_path, GOOD.replace("held_out", f"clean_px = {tolerance}\nheld_out")))
    assert config.data.clean_px in (8.5, 8, {"head": 8, "wing": 25.5})


def test_a_network_changes_single_keys_of_the_fit(tmp_path):
    text = GOOD + "[fit]\nseed = 4\nbatch_size = 8\n[detector.fit]\nbatch_size = 2\nprecision = 'bf16'\n"
    config = load_config(write(tmp_path, text))
    assert config.fit.changed_by(config.detector.fit) == FitConfig(seed=4, batch_size=2, precision="bf16")
    assert config.fit.changed_by(config.instance.fit) == FitConfig(seed=4, batch_size=8)


@pytest.mark.parametrize("type_", TRAININGS)
@pytest.mark.parametrize("profile", PROFILES)
def test_every_type_has_every_profile(tmp_path, profile, type_):
    load_config(write(tmp_path, f'type = "{type_}"\nprofile = "{profile}"\n[data]\nlabels = "a.slp"\n'))


def test_what_the_file_says_stands_over_the_profile(tmp_path):
    text = 'type = "top_down"\nprofile = "nano"\n[data]\nlabels = "a.slp"\n[instance]\ncrop_size_px = 64\n'
    config = load_config(write(tmp_path, text))
    assert (config.instance.crop_size_px, config.instance.filters, config.instance.stem_stride) == (64, 24, 4)
    assert (config.detector.input_scale, config.detector.stem_stride) == (0.25, 4)


@pytest.mark.parametrize(
    ("type_", "n_maps", "n_parameters"),
    [("centroid", 1, 1_953_000), ("top_down", 13, 4_311_000)],
)
def test_baseline_has_the_sizes_of_sleaps_baselines(tmp_path, type_, n_maps, n_parameters):
    """SLEAP 1.4.1's baseline.centroid and baseline_medium_rf.topdown, published in thousands."""
    config = load_config(write(tmp_path, f'type = "{type_}"\nprofile = "baseline"\n[data]\nlabels = "a.slp"\n'))
    section = config.detector if type_ == "centroid" else config.instance
    network = unet(
        [MapHead("confmaps", n_maps, section.output_stride)],
        filters=section.filters,
        filters_rate=section.filters_rate,
        max_stride=section.max_stride,
    )
    assert abs(parameter_count(network) - n_parameters) <= 500


@pytest.mark.parametrize("path", sorted(ZOO.glob("*/*.toml")), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_shipped_configurations_load(path):
    load_config(path)
