"""Compiled functions: how the numerical code of the hot path is compiled, and kept for the next start."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_SHARED = ("compiled.py", "geometry.py", "kalman.py", "decision.py")
_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(
    function: _Function, signature: object = None, *, allocates: bool = False, lets_others_run: bool = False
) -> _Function:
    """Compile a numerical function that Python calls, and keep the machine code on disk.

    It is compiled at its first call for what it is given; with a Numba `signature` at once, and for nothing else. The
    functions that it is made of are `inner`.

    No fast-math and no threads: the same input gives the same bits, on which exact replay rests.

    It cannot allocate unless it says so; that is an error when it is compiled. Numba's memory manager counts the
    references to every array that is handed to a function, with two locked instructions each; where dozens of arrays go
    from one small function to the next, that takes most of the time. Whoever calls holds the arrays anyway, so `inner`
    functions and those that do not allocate are compiled without it. One that does must never be given an array back
    by an `inner` function: they disagree on who owns it.

    One that lets others run gives the interpreter away while it computes, so that several cores can do so at once, each
    on arrays of its own.

    Numba notices that a function's own file changed but not the files of the functions and constants that were
    compiled into it, and would go on running old code. So the code is kept in a folder named after the content of
    everything that it can be made of: compiled functions use compiled functions and constants of their own folder and
    of `_SHARED`, no others.
    """
    configured = numba.config.CACHE_DIR
    package = Path(function.__code__.co_filename).parent
    numba.config.CACHE_DIR = str(Path(configured or package / "__pycache__") / f"compiled-{_content(package)}")
    given = () if signature is None else (signature,)
    try:
        return cast("_Function", numba.njit(*given, cache=True, _nrt=allocates, nogil=lets_others_run)(function))
    finally:
        numba.config.CACHE_DIR = configured


def inner(function: _Function) -> _Function:
    """Compile a numerical function that only compiled functions call; its machine code is kept as a part of theirs."""
    return cast("_Function", numba.njit(_nrt=False)(function))


def inlined(function: _Function) -> _Function:
    """Compile an `inner` function right into each that calls it, however long it is.

    For one that a loop calls for every item, or that takes or makes dozens of arrays: an array is at least seven
    numbers, and to put those of a dozen on the stack takes longer than a few comparisons. It is little gain elsewhere,
    and makes compiling slower, above all where several functions call it.
    """
    return cast("_Function", numba.njit(_nrt=False, forceinline=True)(function))


def array_of(dtype: numba.types.Type, ndim: int = 1, *, readonly: bool = True) -> numba.types.Array:
    """Return the type of a C-contiguous array, for a `signature`; a read-only one takes writeable arrays as well."""
    return numba.types.Array(dtype, ndim, "C", readonly=readonly)


def in_python(function: _Function) -> _Function:
    """Return a compiled function as plain Python, for an `inner` one that returns arrays and is wanted outside."""
    return cast("_Function", cast("Any", function).py_func)


@functools.cache
def _content(package: Path) -> str:
    shared = [Path(__file__).with_name(name) for name in _SHARED]
    sources = shared if package == Path(__file__).parent else [*shared, *sorted(package.glob("*.py"))]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
