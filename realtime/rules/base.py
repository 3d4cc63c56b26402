"""The protocol of a rule that is written in Python: what it is given, and what it answers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from realtime.rules.spec import RuleContext


@dataclass(frozen=True, slots=True)
class Animal:
    """One animal in one frame; a copy, which may be kept. `animal["head"]` is the place of a node.

    Attributes:
        nodes: The skeleton's nodes.
        xy: `(n_nodes, 2)` float64, px of the full frame; NaN = not seen. Read-only.
        node_scores: `(n_nodes,)` float64, 0–1; 0 where `xy` is NaN. Read-only.
    """

    nodes: tuple[str, ...]
    xy: NDArray[np.float64]
    node_scores: NDArray[np.float64]

    def __getitem__(self, node: str) -> NDArray[np.float64]:
        """Return the place of a node, `(2,)` px; NaN = not seen.

        Raises:
            KeyError: The skeleton has no such node; the message lists those that it has.
        """
        if node not in self.nodes:
            raise KeyError(f"expected a node ({', '.join(self.nodes)}), got '{node}'")
        point: NDArray[np.float64] = self.xy[self.nodes.index(node)]
        return point


class PythonRule(ABC):
    """A condition on some animals, decided frame by frame from their poses and the frames' time alone.

    Each set of animals that is asked about has an instance of its own, from their first frame together on until one of
    their tracks ends; so what an instance remembers is about its animals. Given the same frames it has to answer the
    same: it reads no clock, no file and no random numbers that it did not seed, or no replay could be trusted.

    Args:
        options: An instance of `Options`.
        context: The rig: its nodes, its `px_per_mm`, the nodes of a heading and its zones.
    """

    Options: ClassVar[type[BaseModel]]
    """The settings, a strict and frozen pydantic model."""
    n_animals: ClassVar[int]
    """How many animals it is about."""

    def __init__(self, options: BaseModel, context: RuleContext) -> None:
        self.options = options
        self.context = context

    @abstractmethod
    def evaluate(self, animals: Sequence[Animal], timestamp_ns: int) -> bool | None:
        """Return whether the condition is true in the next frame, and None where that is unknown.

        It is asked in every frame in which all its animals have a track, seen or not, and in which it is sure enough
        who they are, if the rig asks for that. What it needs and does not see makes the answer None, not False.

        Args:
            animals: `n_animals`: those of `any_pair`, then those of `roles`.
            timestamp_ns: When the scene looked like this, ns; not before that of the frame before.
        """

    @abstractmethod
    def reset(self) -> None:
        """Forget every frame, as before the first one: it turned out that a track had shown another animal."""

    def reasons(self) -> Sequence[str]:
        """Return in words what kept the last answer from being True, the decisive first; by default nothing."""
        return ()
