"""Profiles: sizes of the networks for each type of model, as sections of `train.toml`.

`fast`: the networks of SLEAP's paper that run at camera speed on a GPU. `baseline`: the sizes of SLEAP's shipped
baselines. `nano`: for two processor cores. Only sizes are theirs; the Gaussians are narrower.
"""

from collections.abc import Mapping
from typing import Any

from models.training.config import Profile

Sections = Mapping[str, Mapping[str, Any]]

_FAST = {"filters": 16, "filters_rate": 1.5, "max_stride": 16, "output_stride": 2, "sigma_cells": 1.25}
_FAST_DETECTOR = {**_FAST, "input_scale": 0.5, "sigma_cells": 2.0}
_FAST_CROP = {**_FAST, "crop_size_px": 160}

_BASELINE_DETECTOR = {
    "filters": 16,
    "filters_rate": 2.0,
    "max_stride": 16,
    "output_stride": 2,
    "sigma_cells": 2.0,
    "input_scale": 0.5,
}
_BASELINE_CROP = {"filters": 24, "filters_rate": 2.0, "max_stride": 16, "output_stride": 4, "crop_size_px": 160}
_BASELINE_SINGLE = {"filters": 16, "filters_rate": 2.0, "max_stride": 16, "output_stride": 2, "sigma_cells": 1.25}
_BASELINE_BOTTOM_UP = {"filters": 16, "filters_rate": 2.0, "max_stride": 32, "output_stride": 4}

# A convolution that is its own stride replaces the finest levels, where most of the multiplications would be.
_NANO = {"filters": 16, "filters_rate": 1.5, "max_stride": 32, "output_stride": 4, "stem_stride": 4}
_NANO_DETECTOR = {**_NANO, "max_stride": 16, "sigma_cells": 0.75, "input_scale": 0.25}
_NANO_CROP = {**_NANO, "filters": 24, "crop_size_px": 160}
_NANO_WHOLE = {**_NANO, "input_scale": 0.5}

PROFILES: Mapping[Profile | str, Mapping[str, Sections]] = {
    "fast": {
        "single_instance": {"network": _FAST},
        "centroid": {"detector": _FAST_DETECTOR},
        "top_down": {"detector": _FAST_DETECTOR, "instance": _FAST_CROP},
        "top_down_id": {"detector": _FAST_DETECTOR, "instance": {**_FAST_CROP, "class_layers": 3, "class_units": 256}},
        "bottom_up": {"network": {**_FAST, "paf_stride": 8}},
        "bottom_up_id": {"network": {**_FAST, "class_stride": 8}},
    },
    "baseline": {
        "single_instance": {"network": _BASELINE_SINGLE},
        "centroid": {"detector": _BASELINE_DETECTOR},
        "top_down": {"detector": _BASELINE_DETECTOR, "instance": _BASELINE_CROP},
        "top_down_id": {"detector": _BASELINE_DETECTOR, "instance": _BASELINE_CROP},
        "bottom_up": {"network": {**_BASELINE_BOTTOM_UP, "paf_stride": 8, "paf_sigma_px2": 75.0}},
        "bottom_up_id": {"network": {**_BASELINE_BOTTOM_UP, "class_stride": 8}},
    },
    "nano": {
        "single_instance": {"network": _NANO_WHOLE},
        "centroid": {"detector": _NANO_DETECTOR},
        "top_down": {"detector": _NANO_DETECTOR, "instance": _NANO_CROP},
        "top_down_id": {"detector": _NANO_DETECTOR, "instance": _NANO_CROP},
        "bottom_up": {"network": {**_NANO_WHOLE, "paf_stride": 8, "paf_sigma_px2": 40.0}},
        "bottom_up_id": {"network": {**_NANO_WHOLE, "class_stride": 8}},
    },
}
