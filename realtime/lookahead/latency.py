"""How long it takes from a frame to its command: a running median, so that one late frame changes nothing."""

from bisect import bisect_left, insort
from collections import deque
from typing import Final

N_LATENCIES: Final = 63
"""Frames over which the median is taken: half a second of a fast camera."""


class RunningMedian:
    """The median of the last `N_LATENCIES` durations."""

    def __init__(self) -> None:
        self._in_order: deque[int] = deque()
        self._ascending: list[int] = []

    def add(self, duration_ns: int) -> None:
        """Take in one duration, ns; the oldest goes where there is one too many."""
        if len(self._in_order) == N_LATENCIES:
            del self._ascending[bisect_left(self._ascending, self._in_order.popleft())]
        self._in_order.append(duration_ns)
        insort(self._ascending, duration_ns)

    @property
    def value_ns(self) -> int:
        """The median, ns, of two in the middle the smaller; 0 before the first duration."""
        return self._ascending[(len(self._ascending) - 1) // 2] if self._ascending else 0
