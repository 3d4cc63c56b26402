"""The engine protocol: an exported graph tied to the arrays that it reads and writes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


class BoundGraph(ABC):
    """A graph with the arrays that it writes; nothing is allocated on our side while it runs."""

    @abstractmethod
    def run(self, image: NDArray[np.uint8]) -> None:
        """Fill the output arrays from `image`, whose shape is that of binding.

        When this returns the outputs are on the host and complete.

        Args:
            image: uint8, C-contiguous; may be read-only.

        Raises:
            ModelInputError: The image has another shape or dtype.
            ModelFailedError: Inference failed, or the engine was closed.
        """


class Engine(ABC):
    """One inference runtime with one loaded graph.

    Every graph has one input `image`, uint8 `(batch, height, width)` or `(batch, height, width, 3)`, and the outputs
    that `models/README.md` lists for its type, each with a leading batch.
    """

    @property
    @abstractmethod
    def description(self) -> str:
        """Runtime, version, device and precision, for the session's record: `onnxruntime 1.20.1, cpu, fp32`."""

    @abstractmethod
    def bind(self, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> BoundGraph:
        """Tie the graph to output arrays, and run it until its time has settled.

        Args:
            image_shape: `(batch, height, width)` or `(batch, height, width, 3)` of every image to come.
            outputs: Name → C-contiguous array to fill, with the graph's dtype and shape for this batch. Outputs that
                are not named are not read back.

        Raises:
            ModelNotOpenError: The graph has no such input or output, or other shapes or dtypes.
            ModelFailedError: The engine was closed.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the runtime. May be called twice."""
