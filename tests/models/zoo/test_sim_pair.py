"""The shipped sim_pair on films of the simulated camera, among them frames with the animals close together."""

from pathlib import Path

import numpy as np
import pytest

from camera_drivers.sim import NODE_NAMES, SimOptions, SimScene
from models.exported import ExportedModel, ExportedOptions

FILMS = {
    "default": SimOptions(),
    "another seed": SimOptions(seed=7),
    "noisy": SimOptions(seed=11, noise_sd=8.0),
    "one animal": SimOptions(seed=3, n_animals=1),
    "invisible at times": SimOptions(seed=5, invisible_fraction=0.3),
}


@pytest.fixture(scope="module")
def model():
    model = ExportedModel(ExportedOptions(path=Path("zoo:sim_pair")))
    yield model
    model.close()


@pytest.mark.parametrize("options", FILMS.values(), ids=FILMS)
def test_every_visible_animal_is_found_within_a_pixel_and_none_is_invented(model, options):
    assert model.skeleton.nodes == NODE_NAMES
    scene = SimScene(options)
    errors = []
    for frame_id in range(0, 400, 16):
        truth = scene.poses(frame_id)
        truth = truth[np.isfinite(truth).all(axis=(1, 2))]
        found = model.predict(scene.image(frame_id), frame_id).xy
        assert len(found) == len(truth), frame_id
        distances = np.linalg.norm(truth[:, None] - found[None], axis=-1)
        if len(truth):
            nearest = distances.mean(axis=2).argmin(axis=1)
            assert len(set(nearest.tolist())) == len(truth), frame_id
            errors.append(distances[np.arange(len(truth)), nearest])
    worst, median = np.max(np.concatenate(errors)), np.median(np.concatenate(errors), axis=0)
    assert (median < 1.0).all(), median
    assert worst < 6.0
