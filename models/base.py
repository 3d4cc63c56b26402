"""The pose-model protocol: warm up, predict, review, close."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from models.poses import Poses
from models.skeleton import Skeleton


class PoseModel(ABC):
    """Turns one image into poses; one kind of model a subclass.

    A kind names its settings in `Options` (a strict, frozen pydantic model) and is built from an instance of it.
    Building one loads and checks everything, so that `predict` has nothing left to find out.
    """

    Options: ClassVar[type[BaseModel]]

    @abstractmethod
    def __init__(self, options: Any) -> None: ...

    @property
    @abstractmethod
    def skeleton(self) -> Skeleton:
        """The animal's plan."""

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Identities that the model tells apart; empty for most."""

    @property
    @abstractmethod
    def max_instances(self) -> int:
        """The most instances that `predict` ever returns."""

    @property
    @abstractmethod
    def source(self) -> Mapping[str, Any]:
        """Where the model comes from, as JSON-able values: kind, absolute path, SHA-256 of every file."""

    @property
    def uses_expected_xy(self) -> bool:
        """True if `predict` makes use of `expected_xy`."""
        return False

    @property
    def faults(self) -> int:
        """How often it gave something that no healthy network gives, so far; 0 where that can't happen."""
        return 0

    @abstractmethod
    def warm_up(self, height: int, width: int, channels: int) -> None:
        """Check the camera's image shape (px, channels 1 or 3), then run until the timing has settled.

        Raises:
            ModelInputError: The model was exported for another image shape.
        """

    @abstractmethod
    def predict(self, image: NDArray[np.uint8], frame_id: int, expected_xy: NDArray[np.float32] | None = None) -> Poses:
        """Return the poses in one image.

        Args:
            image: `(height, width)` or `(height, width, 3)` uint8, C-contiguous.
            frame_id: The frame's identity; only models that look poses up need it.
            expected_xy: `(n, n_nodes, 2)` float32, px, where the tracker expects the nodes of the animals that it
                follows, NaN = not known, or None; models that can save work with it may.

        Raises:
            ModelFailedError: Inference failed.
        """

    def review(self, image: NDArray[np.uint8], frame_id: int) -> None:  # noqa: B027  # most have nothing to do
        """Do what can wait until the frame's command is out; called after `predict` with the same image, or not at all.

        What comes out of it shows in the next `predict`.

        Raises:
            ModelFailedError: Inference failed.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the engine. May be called twice."""
