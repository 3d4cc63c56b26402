"""Fitting: Adam along a cosine until the validation loss stops falling; the best weights win."""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.network import Network
from models.training.config import FitConfig
from models.training.networks import import_keras, to_keras, with_weights_of
from models.training.samples import Samples

_VALIDATION_BATCHES = 8
_PEAK_WEIGHT = 20.0


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch achieved; losses are squared errors of the maps, weighted 1 + 20 times the target, averaged.

    Attributes:
        network: `detector` or `instances`.
        number: From 1.
        of: The most epochs that there will be.
        loss: Over the epoch's augmented training batches.
        validation_loss: Over the same augmented validation batches every time.
        learning_rate: Adam's rate in this epoch.
        elapsed_s: Since fitting began.
        best: Whether this is the lowest validation loss so far.
    """

    network: str
    number: int
    of: int
    loss: float
    validation_loss: float
    learning_rate: float
    elapsed_s: float
    best: bool


def fit(
    name: str,
    network: Network,
    training: Samples,
    validation: Samples,
    epochs: int,
    config: FitConfig,
    progress: Callable[[Epoch], None],
) -> tuple[Network, list[Epoch]]:
    """Fit a network's weights.

    Args:
        name: What `progress` calls the network.
        network: Without weights.
        training: What to learn.
        validation: What decides when to stop and which weights are best.
        epochs: Most epochs.
        config: How fast.
        progress: Called after every epoch.

    Returns:
        The network with the best weights, and every epoch.
    """
    keras = import_keras()
    keras.utils.set_random_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    n_validation = min(len(validation), _VALIDATION_BATCHES * config.batch_size)
    checked = validation.batch(np.linspace(0, len(validation) - 1, n_validation).astype(np.intp), rng)
    model = to_keras(network, *checked[0].shape[1:3])
    model.compile(optimizer=keras.optimizers.Adam(config.learning_rate), loss=_loss)
    done: list[Epoch] = []
    best, lowest, since_best = network, math.inf, 0
    started_s = time.perf_counter()
    # One thread draws the next batch while the network learns this one; one, so that chance has one order.
    with ThreadPoolExecutor(1) as drawer:
        while len(done) < epochs and since_best < config.stop_after:
            rate = config.learning_rate * 0.5 * (1 + math.cos(math.pi * len(done) / epochs))
            model.optimizer.learning_rate = rate
            loss = _one_epoch(model, training, config, rng, drawer)
            validation_loss = float(model.evaluate(*checked, batch_size=config.batch_size, verbose=0))
            improved = validation_loss < lowest
            if improved:
                best, lowest, since_best = with_weights_of(network, model), validation_loss, 0
            else:
                since_best += 1
            elapsed_s = time.perf_counter() - started_s
            done.append(Epoch(name, len(done) + 1, epochs, loss, validation_loss, rate, elapsed_s, improved))
            progress(done[-1])
    return best, done


def _loss(maps: Any, predicted: Any) -> Any:
    # Gaussians cover a hundredth of a map: with the plain error a network spends its first thousand steps on all-zero.
    return (1.0 + _PEAK_WEIGHT * maps) * (maps - predicted) ** 2


def _one_epoch(
    model: Any,
    training: Samples,
    config: FitConfig,
    rng: np.random.Generator,
    drawer: ThreadPoolExecutor,
) -> float:
    def draw() -> tuple[Any, Any]:
        return training.batch(rng.integers(0, len(training), config.batch_size), rng)

    losses = []
    ahead = drawer.submit(draw)
    for step in range(config.steps_per_epoch):
        pixels, maps = ahead.result()
        if step + 1 < config.steps_per_epoch:
            ahead = drawer.submit(draw)
        # Keras reports a running mean, so each step starts from a clean one.
        losses.append(float(model.train_on_batch(pixels, maps)))
        model.reset_metrics()
    return float(np.mean(losses))
