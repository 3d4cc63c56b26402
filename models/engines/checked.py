"""What is the same for every engine: checks, warm-up, and an end after which nothing runs."""

import math
import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.engines.base import BoundGraph, Engine
from models.errors import ModelFailedError, ModelInputError

WARM_UP_ROUNDS = 5
WARM_UP_LIMIT_S = 5.0
_UINT8 = np.dtype(np.uint8)


class CheckedEngine(Engine):
    """An engine that warms up what it binds, and closes that with itself.

    Args:
        path: Where the graph came from; for messages.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bound: list[CheckedGraph] = []
        self._closed = False

    def bind(self, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> BoundGraph:
        """Tie the graph to output arrays, and run it until its time has settled; see `Engine.bind`."""
        if self._closed:
            raise _closed(self._path)
        bound = self._bind(image_shape, outputs)
        self._bound.append(bound)
        bound.warm_up()
        return bound

    def close(self) -> None:
        """Close what was bound, then release the runtime. May be called twice."""
        if not self._closed:
            self._closed = True
            for bound in self._bound:
                bound.close()
            self._bound.clear()
            self._release()

    @abstractmethod
    def _bind(self, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> "CheckedGraph":
        """Check image and outputs against the graph, then tie them to it."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of what the runtime holds; called once."""


class CheckedGraph(BoundGraph):
    """A bound graph that refuses other images than it was bound for, and any once it is closed.

    Args:
        path: Where the graph came from; for messages.
        image_shape: Shape of every image.
    """

    def __init__(self, path: Path, image_shape: tuple[int, ...]) -> None:
        self._path = path
        self._image_shape = image_shape
        self._closed = False

    def run(self, image: NDArray[np.uint8]) -> None:
        """Fill the output arrays from `image`.

        Raises:
            ModelInputError: The image has another shape or dtype, or is not C-contiguous.
            ModelFailedError: Inference failed, or the engine was closed.
        """
        if self._closed:
            raise _closed(self._path)
        if image.shape != self._image_shape or image.dtype != _UINT8 or not image.flags.c_contiguous:
            order = "" if image.flags.c_contiguous else ", not C-contiguous"
            raise ModelInputError(
                f"{self._path}: expected an image of shape {self._image_shape} uint8, "
                f"got {image.shape} {image.dtype}{order}"
            )
        self._execute(image)

    def warm_up(self) -> None:
        """Run on a black image until several runs in a row brought no new best time, or for `WARM_UP_LIMIT_S`."""
        blank = np.zeros(self._image_shape, np.uint8)
        best_s, rounds = math.inf, 0
        end_s = time.monotonic() + WARM_UP_LIMIT_S
        while rounds < WARM_UP_ROUNDS and time.monotonic() < end_s:
            start_s = time.perf_counter()
            self.run(blank)
            took_s = time.perf_counter() - start_s
            rounds = 0 if took_s < 0.95 * best_s else rounds + 1
            best_s = min(best_s, took_s)

    def close(self) -> None:
        """Refuse to run from now on and let go of the runtime. May be called twice."""
        if not self._closed:
            self._closed = True
            self._release()

    @abstractmethod
    def _execute(self, image: NDArray[np.uint8]) -> None:
        """Fill the outputs from an image that was checked."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of what the runtime holds; called once."""


def _closed(path: Path) -> ModelFailedError:
    return ModelFailedError(f"{path}: expected an open engine, got one that was closed")
