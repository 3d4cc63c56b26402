"""What is learnt, how fast, and which weights are kept."""

import math

import numpy as np
import pytest

from models.training.config import FitConfig
from models.training.fit import fit
from models.training.networks import unet
from models.training.samples import Samples


class Numbers(Samples):
    """Samples whose pixels are all their index, modulo 2, and whose maps are `target`."""

    def __init__(self, target=0.5):
        self._target = target

    def __len__(self):
        return 50

    def _draw(self, index, rng):
        raise NotImplementedError

    def batch(self, indices, rng):
        pixels = np.broadcast_to((np.asarray(indices) % 2)[:, None, None, None], (len(indices), 8, 8, 1))
        return pixels.astype(np.float32), np.full((len(indices), 4, 4, 1), self._target, np.float32)


NETWORK = unet(1, filters=2, filters_rate=1.0, max_stride=4, output_stride=2)


def run(training, validation, **config):
    pytest.importorskip("tensorflow", reason="needs the extra train")
    told = []
    network, epochs = fit(
        "net", NETWORK, training, validation, 4, FitConfig(steps_per_epoch=2, batch_size=4, **config), told.append
    )
    assert told == epochs
    return network, epochs


def test_the_rate_falls_along_a_cosine_and_every_epoch_is_told():
    _, epochs = run(Numbers(), Numbers(), learning_rate=1e-2, stop_after=9)
    assert [e.number for e in epochs] == [1, 2, 3, 4]
    assert [e.learning_rate for e in epochs] == pytest.approx(
        [1e-2 * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    )
    assert epochs[0].best
    assert [e.best for e in epochs] == [
        e.validation_loss < min((d.validation_loss for d in epochs[:k]), default=math.inf) for k, e in enumerate(epochs)
    ]


def test_it_stops_when_validation_gets_worse_and_keeps_the_best_weights():
    """Learning to draw 5 where 0 would be right makes every epoch worse than the first."""
    network, epochs = run(Numbers(target=5.0), Numbers(target=0.0), learning_rate=1e-2, stop_after=2)
    assert [e.best for e in epochs] == [True, False, False]
    assert set(network.weights) == {
        f"{layer.name}/{kind}" for layer in NETWORK.layers if layer.op == "conv" for kind in ("kernel", "bias")
    }


def test_the_same_seed_gives_the_same_weights():
    (one, _), (two, _) = run(Numbers(), Numbers(), seed=4), run(Numbers(), Numbers(), seed=4)
    for name, weights in one.weights.items():
        np.testing.assert_allclose(two.weights[name], weights, atol=1e-5)
