"""Timetables: the stimuli that no rule asks for, at times that are known beforehand."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

from realtime.stimulus.controls import draw
from realtime.stimulus.spec import StimulusSpec

# After a long time without frames thousands may be due; all are late, and a frame's record has to stay small.
MOST_A_FRAME = 100


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """Something that is due at a time.

    Attributes:
        kind: Whether the stimulus is to start or to stop.
        time_ns: Frame time from the session's first frame, ns.
        early_ns: A frame that comes up to this much sooner will do.
    """

    kind: Literal["start", "stop"]
    time_ns: int
    early_ns: int = 0


class Timetable:
    """Hands out what is due, in order, each event once.

    Args:
        events: In order of time, without an end or with one.
    """

    def __init__(self, events: Iterator[TimedEvent]) -> None:
        self._events = events
        self._next = next(events, None)

    def due(self, elapsed_ns: int) -> list[TimedEvent]:
        """Return what has become due since the last call, `MOST_A_FRAME` at most; the rest comes with the next calls.

        Args:
            elapsed_ns: The frame's time from the session's first frame, ns.
        """
        found: list[TimedEvent] = []
        while len(found) < MOST_A_FRAME and (event := self._next) is not None:
            if elapsed_ns < event.time_ns - event.early_ns:
                break
            found.append(event)
            self._next = next(self._events, None)
        return found


def timetable(name: str, spec: StimulusSpec) -> Timetable | None:
    """Return the timetable of a stimulus, or None where a rule asks for it.

    Raises:
        ValueError: It is yoked to a session that has not been read.
    """
    if spec.schedule_s is not None:
        return Timetable(TimedEvent("start", round(time_s * 1e9)) for time_s in spec.schedule_s)
    if spec.random_interval_s is not None:
        return Timetable(_random(name, spec.seed or 0, *spec.random_interval_s))
    if spec.yoked is not None:
        if spec.yoked.events is None:
            raise ValueError(f"stimuli.{name}.yoked: the session {spec.yoked.session} has not been read")
        return Timetable(TimedEvent(*event) for event in spec.yoked.events)
    return None


def _random(name: str, seed: int, shortest_s: float, longest_s: float) -> Iterator[TimedEvent]:
    time_ns = 0
    for ordinal in count():
        time_ns += round(1e9 * (shortest_s + (longest_s - shortest_s) * draw(seed, "interval", ordinal, name)))
        yield TimedEvent("start", time_ns)
