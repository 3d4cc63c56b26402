"""The stack on which this thread's signal handlers run, kept as it is while a library is at work."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Put this thread's alternate signal stack back after the context.

    OpenVINO installs one of its own when it compiles a model, and puts back the one before when the model goes. With
    two models that go in another order than reversed, what is put back has been freed, and the next Ctrl-C ends the
    process by a segmentation fault before any output could be switched off.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = _Stack()
    libc.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(before), None)
