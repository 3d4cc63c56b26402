"""What every rule in Python must do; the tests of its own package call `check_rule`."""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from pydantic import BaseModel

from realtime.rules.base import Animal, PythonRule
from realtime.rules.spec import RuleContext

_FRAME_NS = 10_000_000
_perf_counter = time.perf_counter  # left to us while rules must not read a clock
_CLOCKS = tuple(name for name in dir(time) if name.removesuffix("_ns") in {"time", "monotonic", "perf_counter"})


def check_rule(
    kind: type[PythonRule],
    options: BaseModel,
    context: RuleContext,
    make_frames: Callable[[], Sequence[Sequence[Animal]]] | None = None,
    max_ms: float = 5.0,
) -> None:
    """Ask a rule about the same animals several times over, and compare what it answers.

    Args:
        kind: Its class.
        options: Its settings.
        context: A rig that it may run on.
        make_frames: Makes the animals of each frame, 10 ms apart; by default animals that walk at random, of which
            nodes and whole animals are not seen now and then. To be given where those would never make the rule true.
        max_ms: What an answer may typically (median) take, ms.

    Raises:
        AssertionError: The rule breaks the contract; the message says where.
    """
    _expect(issubclass(kind, PythonRule), f"expected a subclass of PythonRule, got {kind!r}")
    _expect(kind.n_animals >= 1, f"n_animals: expected 1 or more, got {kind.n_animals!r}")
    _expect(isinstance(options, kind.Options), f"Options: expected {type(options).__name__}, got {kind.Options!r}")
    frames = random_animals(kind.n_animals, context.node_names) if make_frames is None else make_frames()
    rule = kind(options, context)
    took_s: list[float] = []
    first = _answers(rule, frames, took_s)
    reasons = rule.reasons()
    _expect(not isinstance(reasons, str), f"reasons: expected a sequence of texts, got one text {reasons!r}")
    _expect(all(isinstance(reason, str) for reason in reasons), f"reasons: expected texts, got {reasons!r}")
    typical_ms = statistics.median(took_s) * 1e3
    _expect(typical_ms <= max_ms, f"evaluate: expected an answer within {max_ms:g} ms, took {typical_ms:.3f} ms")
    with _no_clocks(kind):
        again = _answers(kind(options, context), frames)
    _same(first, again, "another instance on the same frames")
    rule.reset()
    _same(first, _answers(rule, frames), "the same frames after reset")
    _same([None] * 10, _answers(kind(options, context), [_unseen(frames[0])] * 10), "animals that are not seen")


def random_animals(
    n_animals: int, nodes: tuple[str, ...], n_frames: int = 300, seed: int = 0
) -> list[tuple[Animal, ...]]:
    """Return animals of about 40 px that walk about one another at random; a tenth of the nodes is not seen."""
    random = np.random.default_rng(seed)
    plans = random.normal(0, 20, (n_animals, len(nodes), 2))
    places = np.cumsum(random.normal(0, 5, (n_frames, n_animals, 1, 2)), axis=0) * 0.5 + 200.0
    xy = plans + places
    xy[random.random((n_frames, n_animals, len(nodes))) < 0.1] = np.nan
    xy[random.random((n_frames, n_animals)) < 0.05] = np.nan
    return [tuple(_animal(nodes, animal) for animal in frame) for frame in xy]


def _animal(nodes: tuple[str, ...], xy: Any) -> Animal:
    scores = np.where(np.isnan(xy[:, 0]), 0.0, 1.0)
    xy.flags.writeable = scores.flags.writeable = False
    return Animal(nodes, xy, scores)


def _unseen(animals: Sequence[Animal]) -> list[Animal]:
    return [_animal(animal.nodes, np.full_like(animal.xy, np.nan)) for animal in animals]


def _answers(rule: PythonRule, frames: Sequence[Sequence[Animal]], took_s: list[float] | None = None) -> list[object]:
    answers: list[object] = []
    for index, animals in enumerate(frames):
        began_s = _perf_counter()
        answer: object = rule.evaluate(animals, index * _FRAME_NS)
        if took_s is not None:
            took_s.append(_perf_counter() - began_s)
        is_one = answer is None or isinstance(answer, bool | np.bool_)
        _expect(is_one, f"evaluate: expected True, False or None, got {answer!r} in frame {index}")
        answers.append(None if answer is None else bool(answer))
    return answers


@contextmanager
def _no_clocks(kind: type[PythonRule]) -> Iterator[None]:
    """Refuse every reading of a clock of `time`, under the names too by which the rule's own module imported them."""

    def refuse(*_: object) -> float:
        raise AssertionError("evaluate: expected no reading of a clock; the time is the frame's timestamp_ns")

    module = sys.modules[kind.__module__]
    clocks = [getattr(time, name) for name in _CLOCKS]
    imported = [name for name, value in vars(module).items() if any(value is clock for clock in clocks)]
    with ExitStack() as patched:
        for place, names in ((time, _CLOCKS), (module, imported)):
            for name in names:
                patched.enter_context(patch.object(place, name, refuse))
        yield


def _same(expected: Sequence[object], got: Sequence[object], what: str) -> None:
    for index, (one, other) in enumerate(zip(expected, got, strict=True)):
        _expect(one == other, f"evaluate: {what}: expected {one} in frame {index}, got {other}")


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)
