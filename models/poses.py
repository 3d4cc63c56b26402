"""Poses: every animal that a model found in one image."""

import msgspec
import numpy as np
from numpy.typing import NDArray


class Poses(msgspec.Struct, frozen=True):
    """The instances of one image, in no particular order.

    Attributes:
        xy: `(n_instances, n_nodes, 2)` float32, px of the full frame, x right, y down; the centre of the top-left
            pixel is (0, 0). NaN = not seen.
        node_scores: `(n_instances, n_nodes)` float32, 0–1; 0 where `xy` is NaN.
        instance_scores: `(n_instances,)` float32.
        class_probs: `(n_instances, n_classes)` float32, rows sum to 1, or None where the model tells no identities.
    """

    xy: NDArray[np.float32]
    node_scores: NDArray[np.float32]
    instance_scores: NDArray[np.float32]
    class_probs: NDArray[np.float32] | None = None
