"""What is learnt, how fast, which weights are kept, and that an interruption loses nothing."""

import math

import numpy as np
import pytest

from models.errors import TrainingInputError
from models.training.config import FitConfig, UNetConfig
from models.training.fit import Epoch, fit, learning_rate
from models.training.samples import Samples
from models.training.tasks import Task

pytest.importorskip("tensorflow", reason="needs the extra train")

TASK = Task("network", UNetConfig(filters=2, filters_rate=1.0, max_stride=4, output_stride=2), 1)


class Numbers(Samples):
    """Samples whose pixels are random and whose maps are `target`."""

    def __init__(self, target=0.5):
        self._target = target

    def __len__(self):
        return 50

    def _draw(self, index, rng):
        return rng.random((8, 8), np.float32), {"confmaps": np.full((4, 4, 1), self._target, np.float32)}


def config(**changes):
    base = {"epochs": 4, "steps_per_epoch": 3, "batch_size": 4, "warm_up_steps": 0, "learning_rate": 1e-2}
    return FitConfig(**{**base, **changes})


def run(folder, training=None, validation=None, stop=lambda: False, weights=None, **changes):
    told = []
    file = folder / "network.checkpoint.npz"
    network, epochs = fit(
        TASK, training or Numbers(), validation or Numbers(), config(**changes), file, told.append, stop, weights or {}
    )
    return network, epochs, told


def test_every_step_and_every_epoch_is_told(tmp_path):
    _, epochs, told = run(tmp_path)
    assert [now.step for now in told] == list(range(1, 13))
    assert {now.of for now in told} == {12}
    assert told[-1].remaining_s == 0
    assert [e.number for e in epochs] == [1, 2, 3, 4]
    assert [e.best for e in epochs] == [
        e.validation_loss < min((d.validation_loss for d in epochs[:k]), default=math.inf) for k, e in enumerate(epochs)
    ]
    assert epochs[-1].validation_loss < epochs[0].validation_loss


def test_it_stops_when_validation_gets_worse_and_keeps_the_best_weights(tmp_path):
    """Learning to draw 5 where 0 would be right makes every epoch worse than the first."""
    network, epochs, _ = run(tmp_path, Numbers(target=5.0), Numbers(target=0.0), stop_after=2)
    assert [e.best for e in epochs] == [True, False, False]
    assert set(network.weights) == {
        f"{layer.name}/{kind}" for layer in network.layers if layer.op == "conv" for kind in ("kernel", "bias")
    }


def test_the_same_seed_gives_the_same_weights(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one, two = (run(tmp_path / name, seed=4)[0] for name in ("one", "two"))
    for name, weights in one.weights.items():
        np.testing.assert_allclose(two.weights[name], weights, atol=1e-5)


def test_a_fit_goes_on_from_the_weights_that_it_is_given(tmp_path):
    for name in ("one", "two", "new"):
        (tmp_path / name).mkdir()
    one, epochs, _ = run(tmp_path / "one")
    two, further, _ = run(tmp_path / "two", weights=one.weights, learning_rate=1e-6)
    assert further[0].validation_loss == pytest.approx(min(e.validation_loss for e in epochs), rel=1e-3)
    for name, weights in one.weights.items():
        np.testing.assert_allclose(two.weights[name], weights, atol=1e-3)


def test_no_epochs_keep_the_weights_that_it_is_given(tmp_path):
    weights = run(tmp_path)[0].weights
    (tmp_path / "kept").mkdir()
    kept, epochs, _ = run(tmp_path / "kept", weights=weights, epochs=0)
    assert not epochs
    assert kept.weights == weights


def test_no_epochs_and_layers_without_weights_are_refused(tmp_path):
    weights = {k: v for k, v in run(tmp_path)[0].weights.items() if not k.startswith("confmaps")}
    with pytest.raises(TrainingInputError) as caught:
        run(tmp_path, weights=weights, epochs=0)
    assert str(caught.value) == (
        "network: epochs = 0: expected a model to start from that has all of its layers, got none for confmaps; "
        "let it learn, or see start_from"
    )


@pytest.mark.parametrize("steps", [2, 3, 7, 12], ids=["in an epoch", "after one", "later", "after the last step"])
def test_an_interrupted_fit_goes_on_as_if_nothing_had_happened(tmp_path, steps):
    (tmp_path / "whole").mkdir()
    network, epochs, _ = run(tmp_path / "whole")
    asked = []
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop=lambda: asked.append(1) or len(asked) >= steps)
    resumed, resumed_epochs, told_after = run(tmp_path)
    n_steps = len({now.step for now in told_after})
    assert n_steps < 12
    assert told_after[-1].step == 12 if told_after else steps == 12
    assert [e.number for e in resumed_epochs] == [e.number for e in epochs]
    assert [e.loss for e in resumed_epochs] == pytest.approx([e.loss for e in epochs], rel=1e-3)
    assert [e.validation_loss for e in resumed_epochs] == pytest.approx([e.validation_loss for e in epochs], rel=1e-3)
    for name, weights in network.weights.items():
        np.testing.assert_allclose(resumed.weights[name], weights, atol=1e-3)


def test_a_long_epoch_is_saved_within(tmp_path, monkeypatch):
    monkeypatch.setattr("models.training.fit._CHECKPOINT_EVERY_S", 0.0)
    saved = []

    def note(now):
        saved.append((now.step, (tmp_path / "network.checkpoint.npz").exists()))

    fit(TASK, Numbers(), Numbers(), config(epochs=1), tmp_path / "network.checkpoint.npz", note)
    assert saved == [(1, False), (2, True), (3, True)]


def test_what_is_done_is_not_done_again(tmp_path):
    network, epochs, _ = run(tmp_path)
    again, epochs_again, told = run(tmp_path)
    assert not told
    assert epochs_again == epochs
    for name, weights in network.weights.items():
        np.testing.assert_array_equal(again.weights[name], weights)


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    run(tmp_path, epochs=1)
    file = tmp_path / "network.checkpoint.npz"
    other = Task("network", UNetConfig(filters=3, filters_rate=1.0, max_stride=4, output_stride=2), 1)
    with pytest.raises(TrainingInputError) as caught:
        fit(other, Numbers(), Numbers(), config(), file)
    assert str(caught.value).startswith(
        f"{file}: expected a checkpoint of this network, got one that does not fit it ("
    )


def test_a_loss_that_explodes_is_said_to(tmp_path):
    with pytest.raises(TrainingInputError) as caught:
        run(tmp_path, Numbers(target=1e38))
    assert str(caught.value).startswith("network: expected a loss that falls, got ")
    assert str(caught.value).endswith(" in epoch 1; make fit.learning_rate smaller")


def epochs_with(*better):
    return [Epoch("network", k, 9, 1.0, 1.0, 1.0, 1.0, best) for k, best in enumerate(better, 1)]


@pytest.mark.parametrize(
    ("changes", "step", "epochs", "expected"),
    [
        ({}, 0, [], 1.0),
        ({}, 6, [], 0.5),
        ({}, 9, [], 0.5 * (1 + math.cos(math.pi * 0.75))),
        ({"warm_up_steps": 4}, 0, [], 0.25),
        ({"schedule": "plateau"}, 9, epochs_with(True, True), 1.0),
        ({"schedule": "plateau", "drop_after": 2}, 9, epochs_with(True, False), 1.0),
        ({"schedule": "plateau", "drop_after": 2}, 9, epochs_with(True, False, False), 0.5),
        ({"schedule": "plateau", "drop_after": 2}, 9, epochs_with(True, False, False, False, False), 0.25),
        ({"schedule": "plateau", "drop_after": 2}, 9, epochs_with(True, False, False, True, False), 0.5),
    ],
)
def test_the_rate_warms_up_and_falls(changes, step, epochs, expected):
    assert learning_rate(config(learning_rate=1.0, **changes), step, epochs) == pytest.approx(expected)
