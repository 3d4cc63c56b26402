"""How the functions inside of the kernel are compiled."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def inner(function: _Function) -> _Function:
    """Compile a numerical function that only the kernel calls and that allocates nothing.

    Numba counts the references to every array that it hands to a function, with two locked instructions each; with the
    dozen arrays that go through a rule's operations that took two thirds of a frame. The kernel holds the arrays
    anyway, so the functions in it are compiled without Numba's memory manager (one that allocates is then an error).
    Their machine code is kept as a part of the kernel's, see `realtime.compiled`.
    """
    return cast("_Function", numba.njit(_nrt=False)(function))
