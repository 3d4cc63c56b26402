"""Losses: how far each head is from its target; NaN in a target counts nothing."""

from collections.abc import Callable, Iterable
from typing import Any

from models.network import Head
from models.training.backend import import_keras

_PEAK_WEIGHT = 20.0


def losses(heads: Iterable[Head]) -> dict[Head, Callable[[Any, Any], Any]]:
    """Return the loss function of each head, from target and prediction, tensors of any Keras backend.

    `confmaps` and `class_maps`: squared error, weighted 1 + 20 · the cell's largest target. `pafs` and `offsets`:
    squared error. `class_vectors`: cross-entropy.
    """
    by_head: dict[Head, Callable[[Any, Any], Any]] = {
        "confmaps": _map_error,
        "class_maps": _map_error,
        "pafs": _squared_error,
        "offsets": _squared_error,
        "class_vectors": _cross_entropy,
    }
    return {head: by_head[head] for head in heads}


def _squared_error(target: Any, predicted: Any) -> Any:
    ops = import_keras().ops
    known, wanted = _known(target)
    return ops.square(ops.where(known, wanted - predicted, 0.0))


def _map_error(target: Any, predicted: Any) -> Any:
    ops = import_keras().ops
    known, wanted = _known(target)
    # Gaussians cover a hundredth of a map: with the plain error a network spends its first thousand steps on all-zero.
    # All channels of a cell weigh the same; else a node that may be this or that one would be drawn as both.
    weight = 1.0 + _PEAK_WEIGHT * ops.max(wanted, axis=-1, keepdims=True)
    return weight * ops.square(ops.where(known, wanted - predicted, 0.0))


def _cross_entropy(target: Any, predicted: Any) -> Any:
    ops = import_keras().ops
    _, wanted = _known(target)
    return -ops.sum(wanted * ops.log(ops.maximum(predicted, 1e-7)), axis=-1)


def _known(target: Any) -> tuple[Any, Any]:
    """Return where the target is known, and the target with 0 elsewhere: a gradient of 0 · NaN would be NaN."""
    ops = import_keras().ops
    known = ops.logical_not(ops.isnan(target))
    return known, ops.where(known, target, 0.0)
