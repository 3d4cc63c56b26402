"""ONNX operators in plain NumPy, for the reference evaluator: those that its own does slowly or not for large arrays.

They follow the operators' definitions (onnx.ai/onnx/operators), for two spatial axes, as far as our graphs use them.
Imported only where the package `onnx` is there.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

Array = NDArray[np.float32]
Pair = tuple[int, int]


class Conv(OpRun):  # type: ignore[misc]  # onnx has no types
    """Convolution: one matrix product for every cell of the kernel, which needs no copy of the image for each."""

    op_domain = ""

    def _run(self, x: Array, kernel: Array, bias: Array | None = None, **attributes: Any) -> tuple[Array]:
        groups, strides = attributes.get("group") or 1, tuple(attributes.get("strides") or (1, 1))
        n, n_in = x.shape[:2]
        n_out, sides = kernel.shape[0], kernel.shape[2:]
        weights = kernel.reshape(groups, n_out // groups, n_in // groups, *sides)
        steps = tuple(attributes.pop("dilations", None) or (1, 1))
        pads = _pads(attributes)
        height, width = _output_size(x, _extent(sides, steps), strides, pads)
        out = np.zeros((n, groups, n_out // groups, height * width), np.float32)
        for i, j, window in _windows(x, sides, strides, pads, fill=0.0, steps=steps):
            out += weights[..., i, j] @ window.reshape(n, groups, n_in // groups, height * width)
        maps = out.reshape(n, n_out, height, width)
        return (maps if bias is None else maps + bias[:, np.newaxis, np.newaxis],)


class ConvTranspose(OpRun):  # type: ignore[misc]
    """Transposed convolution: every input cell adds its kernel to the output, which is then cropped by the pads."""

    op_domain = ""

    def _run(self, x: Array, kernel: Array, bias: Array | None = None, **attributes: Any) -> tuple[Array]:
        down, across = attributes.get("strides") or (1, 1)
        n, n_in, height, width = x.shape
        n_out, *sides = kernel.shape[1:]
        full = np.zeros((n, n_out, (height - 1) * down + sides[0], (width - 1) * across + sides[1]), np.float32)
        cells = x.reshape(n, n_in, height * width)
        for i, j in np.ndindex(*sides):
            rows = slice(i, i + (height - 1) * down + 1, down)
            columns = slice(j, j + (width - 1) * across + 1, across)
            full[:, :, rows, columns] += (kernel[:, :, i, j].T @ cells).reshape(n, n_out, height, width)
        top, left, bottom, right = _pads(attributes)
        maps = full[:, :, top : full.shape[2] - bottom, left : full.shape[3] - right]
        return (maps if bias is None else maps + bias[:, np.newaxis, np.newaxis],)


class MaxPool(OpRun):  # type: ignore[misc]
    """The highest value under every window."""

    op_domain = ""

    def _run(self, x: Array, **attributes: Any) -> tuple[Array]:
        sides, strides = tuple(attributes["kernel_shape"]), tuple(attributes.get("strides") or (1, 1))
        windows = _windows(x, sides, strides, _pads(attributes), fill=-np.inf)
        _, _, highest = next(windows)
        highest = highest.copy()
        for _, _, window in windows:
            np.maximum(highest, window, out=highest)
        return (highest,)


class GatherElements(OpRun):  # type: ignore[misc]
    """One element for every index, along one axis."""

    op_domain = ""

    def _run(self, data: Array, indices: NDArray[np.int64], axis: int | None = None) -> tuple[Array]:
        return (np.take_along_axis(data, indices, axis or 0),)


class QuantizeLinear(OpRun):  # type: ignore[misc]
    """The nearest step, even where two are as near, of those that the type of `zero` has."""

    op_domain = ""

    def _run(self, x: Array, scale: Array, zero: NDArray[Any], **_: Any) -> tuple[NDArray[Any]]:
        limits = np.iinfo(zero.dtype)
        steps = np.rint(x / scale) + zero.astype(np.float32)
        return (np.clip(steps, limits.min, limits.max).astype(zero.dtype),)


class DequantizeLinear(OpRun):  # type: ignore[misc]
    """Steps back to values; with one scale and zero, or with one of each along an axis."""

    op_domain = ""

    def _run(
        self, steps: NDArray[Any], scale: Array, zero: NDArray[Any], axis: int | None = None, **_: Any
    ) -> tuple[Array]:
        shape = [1] * steps.ndim
        if scale.ndim:
            shape[1 if axis is None else axis] = -1
        counted = steps.astype(np.int64) - zero.astype(np.int64).reshape(shape if zero.ndim else ())
        return ((counted * scale.astype(np.float64).reshape(shape)).astype(np.float32),)


OPERATORS = (Conv, ConvTranspose, MaxPool, GatherElements, QuantizeLinear, DequantizeLinear)


def _pads(attributes: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return the rows and columns added at the top, left, bottom and right."""
    unusual = {name: value for name, value in attributes.items() if name in {"auto_pad", "ceil_mode", "dilations"}}
    if any(value not in (None, 0, "NOTSET", [1, 1]) for value in unusual.values()):
        raise NotImplementedError(f"the reference evaluator: expected explicit pads and no dilations, got {unusual}")
    top, left, bottom, right = attributes.get("pads") or (0, 0, 0, 0)
    return top, left, bottom, right


def _extent(sides: Pair, steps: Pair) -> Pair:
    """Return the cells that a kernel spans whose taps are `steps` apart."""
    return (sides[0] - 1) * steps[0] + 1, (sides[1] - 1) * steps[1] + 1


def _output_size(x: Array, sides: Pair, strides: Pair, pads: tuple[int, int, int, int]) -> Pair:
    height, width = x.shape[2] + pads[0] + pads[2], x.shape[3] + pads[1] + pads[3]
    return (height - sides[0]) // strides[0] + 1, (width - sides[1]) // strides[1] + 1


def _windows(
    x: Array, sides: Pair, strides: Pair, pads: tuple[int, int, int, int], *, fill: float, steps: Pair = (1, 1)
) -> Iterator[tuple[int, int, Array]]:
    """Yield for every cell of a kernel its row and column and, as a view, the input cells that it meets."""
    height, width = _output_size(x, _extent(sides, steps), strides, pads)
    padded = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])), constant_values=np.float32(fill))
    for i, j in np.ndindex(*sides):
        top, left = i * steps[0], j * steps[1]
        rows = slice(top, top + (height - 1) * strides[0] + 1, strides[0])
        columns = slice(left, left + (width - 1) * strides[1] + 1, strides[1])
        yield i, j, padded[:, :, rows, columns]
