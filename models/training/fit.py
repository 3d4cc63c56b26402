"""Fitting: Adam until the validation loss stops falling; the best weights win, and an interruption costs seconds.

Batch k is drawn with a generator seeded by the seed and k, so a training that goes on from a checkpoint draws what it
would have drawn.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingInputError
from models.network import Network
from models.training.backend import import_keras, to_keras, with_weights_of
from models.training.checkpoint import Checkpoint
from models.training.config import FitConfig, Role
from models.training.losses import losses
from models.training.samples import Batch, Samples
from models.training.tasks import Task

Weights = Mapping[str, NDArray[np.float32]]

_CHECKPOINT_EVERY_S = 45.0
_BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch achieved; see `models.training.losses` for what a loss is.

    Attributes:
        network: The network's role.
        number: From 1.
        of: The most epochs that there will be.
        loss: Mean over the epoch's augmented training batches, heads weighted and summed.
        validation_loss: Over the same augmented validation samples every time.
        learning_rate: Adam's rate at the end of this epoch.
        elapsed_s: Time spent on this network so far, over all runs.
        best: Whether this is the lowest validation loss so far.
    """

    network: Role
    number: int
    of: int
    loss: float
    validation_loss: float
    learning_rate: float
    elapsed_s: float
    best: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training is, after every step.

    Attributes:
        network: The network's role.
        step: Steps done.
        of: The most steps that there will be.
        loss: Of the present epoch so far.
        epochs: Epochs done.
        remaining_s: Until the last step at the speed so far.
    """

    network: Role
    step: int
    of: int
    loss: float
    epochs: tuple[Epoch, ...]
    remaining_s: float


@dataclass(slots=True)
class _State:
    step: int = 0
    loss_sum: float = 0.0
    elapsed_s: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)


def fit(
    task: Task,
    training: Samples,
    validation: Samples,
    config: FitConfig,
    checkpoint: Path,
    report: Callable[[Progress], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
    weights: Weights = MappingProxyType({}),
) -> tuple[Network, list[Epoch]]:
    """Fit a network's weights.

    Args:
        task: The network.
        training: What to learn.
        validation: What decides when to stop and which weights are best.
        config: How fast.
        checkpoint: Where the state is kept; if the file is there, the training goes on from it.
        report: Called after every step.
        stop: Asked after every step whether to stop.
        weights: What the network starts from, as `Network.weights`; what is not in it starts at random.

    Returns:
        The network with the best weights, and every epoch.

    Raises:
        KeyboardInterrupt: `stop` said so; the checkpoint holds everything.
        TrainingInputError: The checkpoint is damaged or of another network, or nothing is to be learnt although the
            network does not start from trained weights.
    """
    fitting = _Fitting(task, training, validation, config, checkpoint, weights)
    while not fitting.done:
        fitting.one_epoch(report, stop)
    return fitting.best, fitting.state.epochs


class _Fitting:
    def __init__(
        self,
        task: Task,
        training: Samples,
        validation: Samples,
        config: FitConfig,
        checkpoint: Path,
        weights: Weights,
    ) -> None:
        keras = import_keras()
        keras.utils.set_random_seed(config.seed)
        self.state = _State()
        self._task = task
        self._config = config
        self._training = training
        self._checkpoint = checkpoint
        self._network = replace(task.network(), weights=weights)
        if not config.epochs and (unknown := _without_weights(self._network)):
            raise TrainingInputError(
                f"{task.role}: epochs = 0: expected a model to start from that has all of its layers, got none for "
                f"{', '.join(unknown)}; let it learn, or see start_from"
            )
        self._validation = validation
        _, height, width, _ = self._validation_batch(0)[0].shape
        self._model = to_keras(self._network, height, width, config.precision)
        self._model.compile(
            optimizer=keras.optimizers.Adam(config.learning_rate),
            loss=losses(task.loss_weights()),
            loss_weights=dict(task.loss_weights()),
            # XLA takes long to compile for a processor and makes slower convolutions there; JAX has nothing else.
            jit_compile="auto" if keras.backend.backend() != "tensorflow" else False,
        )
        self._model.optimizer.build(self._model.trainable_variables)
        self.best = self._network
        self._resumed_s = self._saved_s = time.perf_counter()
        if checkpoint.exists():
            self._restore(Checkpoint.load(checkpoint))

    @property
    def done(self) -> bool:
        """Whether all epochs are over, or none of the last ones was better."""
        epochs = self.state.epochs
        return len(epochs) >= self._config.epochs or _since_best(epochs) >= self._config.stop_after

    def one_epoch(self, report: Callable[[Progress], None], stop: Callable[[], bool]) -> None:
        """Learn to the end of the epoch, measure the validation loss and save."""
        config, state = self._config, self.state
        end = (len(state.epochs) + 1) * config.steps_per_epoch
        with _drawn(self._training_batch, range(state.step, end)) as batches:
            for pixels, targets in batches:
                self._model.optimizer.learning_rate = learning_rate(config, state.step, state.epochs)
                logs = self._model.train_on_batch(pixels, targets, return_dict=True)
                # Keras reports a running mean, so each step starts from a clean one.
                self._model.reset_metrics()
                state.loss_sum += float(logs["loss"])
                state.step += 1
                report(self._progress())
                if stop():
                    self._interrupt()
                if time.perf_counter() - self._saved_s > _CHECKPOINT_EVERY_S:
                    self._save()
        loss = state.loss_sum / config.steps_per_epoch
        if not math.isfinite(loss):
            raise TrainingInputError(
                f"{self._task.role}: expected a loss that falls, got {loss} in epoch {len(state.epochs) + 1}; make "
                "fit.learning_rate smaller"
            )
        self._close_epoch(loss, self._validation_loss(stop))
        self._save()

    def _validation_loss(self, stop: Callable[[], bool]) -> float:
        total = n = 0.0
        n_batches = math.ceil(self._n_validation / self._config.batch_size)
        with _drawn(self._validation_batch, range(n_batches)) as batches:
            for pixels, targets in batches:
                logs = self._model.test_on_batch(pixels, targets, return_dict=True)
                self._model.reset_metrics()
                total += float(logs["loss"]) * len(pixels)
                n += len(pixels)
                if stop():
                    self._interrupt()
        return total / n

    def _close_epoch(self, loss: float, validation_loss: float) -> None:
        config, state = self._config, self.state
        better = all(validation_loss < epoch.validation_loss for epoch in state.epochs)
        if better:
            self.best = with_weights_of(self._network, self._model)
        state.epochs.append(
            Epoch(
                network=self._task.role,
                number=len(state.epochs) + 1,
                of=config.epochs,
                loss=loss,
                validation_loss=validation_loss,
                learning_rate=learning_rate(config, state.step - 1, state.epochs),
                elapsed_s=round(self._elapsed_s(), 3),
                best=better,
            )
        )
        state.loss_sum = 0.0

    def _training_batch(self, step: int) -> Batch:
        rng = np.random.default_rng((self._config.seed, 0, step))
        return self._training.batch(rng.integers(0, len(self._training), self._config.batch_size), rng)

    def _validation_batch(self, number: int) -> Batch:
        """Return the same samples for the same number every time; together they are spread over all of them."""
        spread = np.linspace(0, len(self._validation) - 1, self._n_validation).astype(np.intp)
        size = self._config.batch_size
        rng = np.random.default_rng((self._config.seed, 1, number))
        return self._validation.batch(spread[number * size : (number + 1) * size], rng)

    @property
    def _n_validation(self) -> int:
        return min(len(self._validation), self._config.validation_samples)

    def _interrupt(self) -> None:
        self._save()
        raise KeyboardInterrupt

    def _progress(self) -> Progress:
        config, state = self._config, self.state
        steps = config.epochs * config.steps_per_epoch
        in_epoch = state.step - len(state.epochs) * config.steps_per_epoch
        remaining_s = self._elapsed_s() / state.step * (steps - state.step)
        return Progress(self._task.role, state.step, steps, state.loss_sum / in_epoch, tuple(state.epochs), remaining_s)

    def _elapsed_s(self) -> float:
        return self.state.elapsed_s + time.perf_counter() - self._resumed_s

    def _save(self) -> None:
        arrays: dict[str, NDArray[Any]] = {f"best/{name}": value for name, value in self.best.weights.items()}
        for kind, variables in self._variables().items():
            arrays |= {f"{kind}/{i}": variable.numpy() for i, variable in enumerate(variables)}
        state = {**asdict(self.state), "elapsed_s": self._elapsed_s()}
        Checkpoint(arrays, state).save(self._checkpoint)
        self._saved_s = time.perf_counter()

    def _restore(self, saved: Checkpoint) -> None:
        try:
            for kind, variables in self._variables().items():
                for i, variable in enumerate(variables):
                    variable.assign(saved.arrays[f"{kind}/{i}"])
            epochs = [Epoch(**epoch) for epoch in saved.state["epochs"]]
            self.state = _State(**{**saved.state, "epochs": epochs})
        except (KeyError, TypeError, ValueError) as error:
            raise TrainingInputError(
                f"{self._checkpoint}: expected a checkpoint of this network, got one that does not fit it ({error}); "
                "start again with --overwrite"
            ) from error
        weights = {name[5:]: value for name, value in saved.arrays.items() if name.startswith("best/")}
        self.best = Network(self._network.layers, self._network.outputs, weights)

    def _variables(self) -> dict[str, list[Any]]:
        return {"weights": self._model.weights, "optimizer": self._model.optimizer.variables}


@contextmanager
def _drawn(draw: Callable[[int], Batch], numbers: range) -> Iterator[Iterator[Batch]]:
    """Give the batches of these numbers; threads draw the next ones while the network learns."""

    def given() -> Iterator[Batch]:
        ahead: deque[Future[Batch]] = deque()
        for number in numbers:
            ahead.append(drawers.submit(draw, number))
            if len(ahead) > _BATCHES_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()

    drawers = ThreadPoolExecutor(_BATCHES_AHEAD)
    try:
        yield given()
    finally:
        drawers.shutdown(cancel_futures=True)


def learning_rate(config: FitConfig, step: int, epochs: list[Epoch]) -> float:
    """Return Adam's rate for a step, from 0, after `epochs`."""
    warm = min(1.0, (step + 1) / config.warm_up_steps) if config.warm_up_steps else 1.0
    if config.schedule == "cosine":
        share = step / (config.epochs * config.steps_per_epoch)
        return config.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * share))
    drops = since = 0
    for epoch in epochs:
        since = 0 if epoch.best else since + 1
        if since == config.drop_after:
            drops, since = drops + 1, 0
    return float(config.learning_rate * warm * config.drop_factor**drops)


def _without_weights(network: Network) -> list[str]:
    """Return the layers that need weights and have none."""
    weighted = [layer.name for layer in network.layers if layer.op in ("conv", "dense")]
    return [name for name in weighted if f"{name}/kernel" not in network.weights]


def _since_best(epochs: list[Epoch]) -> int:
    since = 0
    for epoch in epochs:
        since = 0 if epoch.best else since + 1
    return since
