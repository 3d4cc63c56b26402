"""Clocks: the host's, and one that says what it is told."""

import time
from collections.abc import Iterable
from typing import Protocol


class Clock(Protocol):
    """Where the loop asks for the time on which a decision depends."""

    def now_ns(self) -> int:
        """Host monotonic time, ns."""
        ...


class HostClock:
    """The host's monotonic clock (`CLOCK_MONOTONIC`, the same in every process)."""

    def now_ns(self) -> int:
        """Return the time, ns."""
        return time.monotonic_ns()


class ReplayClock:
    """Gives out recorded readings, so that what depended on the time then depends on the same time now."""

    def __init__(self, readings_ns: Iterable[int]) -> None:
        self._readings = iter(readings_ns)

    def now_ns(self) -> int:
        """Return the next recorded reading, ns.

        Raises:
            RuntimeError: The replay asks more often than the recording did.
        """
        reading = next(self._readings, None)
        if reading is None:
            raise RuntimeError("replay: the loop asked for a time that was not recorded; the recording ends here")
        return reading
