"""What a graph takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import ModelNotOpenError

INPUT = "image"
_UINT8 = np.dtype(np.uint8)


@dataclass(frozen=True, slots=True)
class TensorType:
    """Dtype and shape of an input or output; None in the shape = any size."""

    dtype: np.dtype[Any]
    shape: tuple[int | None, ...]

    def takes(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> bool:
        """Return whether an array of this shape and dtype fits."""
        sizes_fit = all(mine in (None, other) for mine, other in zip(self.shape, shape, strict=False))
        return dtype == self.dtype and len(shape) == len(self.shape) and sizes_fit

    def __str__(self) -> str:
        sizes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"({sizes}{',' if len(self.shape) == 1 else ''}) {self.dtype}"


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a graph."""

    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]

    def check(self, path: Path, image_shape: tuple[int, ...], outputs: Mapping[str, NDArray[Any]]) -> None:
        """Compare what a caller wants to bind with what the graph is.

        Args:
            path: Where the graph came from; for messages.
            image_shape: Shape of the uint8 input `image`.
            outputs: Output name → array to fill.

        Raises:
            ModelNotOpenError: They do not fit.
        """
        if list(self.inputs) != [INPUT]:
            raise ModelNotOpenError(f"{path}: expected one input, {INPUT}, got {', '.join(self.inputs) or 'none'}")
        if not self.inputs[INPUT].takes(image_shape, _UINT8):
            wanted = TensorType(_UINT8, image_shape)
            raise ModelNotOpenError(f"{path}: input {INPUT}: expected {wanted}, got {self.inputs[INPUT]}")
        for name, array in outputs.items():
            if name not in self.outputs:
                raise ModelNotOpenError(f"{path}: expected an output {name}, got {', '.join(self.outputs)}")
            if not self.outputs[name].takes(array.shape, array.dtype):
                wanted = TensorType(array.dtype, array.shape)
                raise ModelNotOpenError(f"{path}: output {name}: expected {wanted}, got {self.outputs[name]}")
            if not (array.flags.c_contiguous and array.flags.writeable):
                raise ModelNotOpenError(f"{path}: output {name}: expected a writable, C-contiguous array to fill")
