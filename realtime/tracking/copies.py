"""Copies from array to array: Numba's own allocate, in case the two overlap."""

from typing import Any

from numpy.typing import NDArray

from realtime.compiled import inner


@inner
def copy_row(source: NDArray[Any], target: NDArray[Any]) -> None:
    """Copy the values of one row."""
    for column in range(target.shape[0]):
        target[column] = source[column]


@inner
def copy_table(source: NDArray[Any], target: NDArray[Any]) -> None:
    """Copy the values of a table."""
    for row in range(target.shape[0]):
        for column in range(target.shape[1]):
            target[row, column] = source[row, column]
