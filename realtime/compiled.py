"""Compiled functions: how the numerical code of the hot path is compiled, and kept for the next start."""

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])


def compiled(function: _Function, signature: object = None) -> _Function:
    """Compile a numerical function and keep the machine code on disk.

    It is compiled at its first call for what it is given; with a Numba `signature` at once, and for nothing else.

    No fast-math and no threads: the same input gives the same bits, on which exact replay rests.

    Numba notices that a function's own file changed but not the files of the functions and constants that were
    compiled into it, and would go on running old code. So the code is kept in a folder named after the content of
    everything that it can be made of: compiled functions use compiled functions and constants of their own folder, of
    `realtime/geometry.py` and of `realtime/decision.py`, no others.
    """
    configured = numba.config.CACHE_DIR
    package = Path(function.__code__.co_filename).parent
    numba.config.CACHE_DIR = str(Path(configured or package / "__pycache__") / f"compiled-{_content(package)}")
    try:
        compile_it = numba.njit(cache=True) if signature is None else numba.njit(signature, cache=True)
        return cast("_Function", compile_it(function))
    finally:
        numba.config.CACHE_DIR = configured


@functools.cache
def _content(package: Path) -> str:
    shared = [Path(__file__).with_name(name) for name in ("geometry.py", "decision.py")]
    sources = shared if package == Path(__file__).parent else [*shared, *sorted(package.glob("*.py"))]
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
