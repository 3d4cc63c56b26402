"""One session: the loop with everything round it; outputs are off before anything else is cleaned up."""

import gc
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Protocol

from realtime.loop import Parts, StopRequest, run_loop

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_on_signals(stop: StopRequest) -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into a stop request while the context lasts."""

    def request(number: int, _: FrameType | None) -> None:
        stop.request(f"signal {signal.Signals(number).name}")

    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Closable(Protocol):
    """Something to be released at the end of a session."""

    def close(self) -> object:
        """Release it."""
        ...


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a session ended.

    Attributes:
        n_frames: Frames that the loop processed.
        reason: `camera ended`, or why it was stopped.
        error: The failure that ended it, or None.
    """

    n_frames: int
    reason: str
    error: Exception | None


class _Count:
    """A sink that counts, so that the number of frames is known after a failure too."""

    def __init__(self) -> None:
        self.n_frames = 0

    def append(self, _: object) -> None:
        self.n_frames += 1


def run(parts: Parts, stop: StopRequest, closables: Sequence[Closable] = ()) -> SessionEnd:
    """Run the loop until the camera ends, a stop is requested or something fails.

    Whatever ends it, every output is switched off first; then the triggers, the camera, the model and `closables` are
    closed in this order, each whether or not another one failed.
    """
    count = _Count()
    counted = replace(parts, sinks=(*parts.sinks, count))
    failure: Exception | None = None
    with _no_garbage_collection():
        try:
            run_loop(counted, stop)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever it is, the outputs go off and it is reported
            failure = error
        finally:
            parts.stimulator.all_off()
            failure = _close_all((parts.stimulator, parts.camera, parts.model, *closables), failure)
    reason = stop.reason or ("failed" if failure is not None else "camera ended")
    return SessionEnd(count.n_frames, reason, failure)


def _close_all(closables: Sequence[Closable], failure: Exception | None) -> Exception | None:
    for closable in closables:
        try:
            closable.close()
        except Exception as error:  # noqa: BLE001 - the same boundary: the others must still be closed
            failure = failure or error
    return failure


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    # A full collection over the heap of a session with its libraries takes about 0.1 s: long enough to miss a frame.
    enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if enabled:
            gc.enable()
