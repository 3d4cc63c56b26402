"""The interlock: how long, how densely, how often and how much an output may be on.

What counts is the time that an output was asked to be high, on the host's clock, exactly: a train counts its pulses and
not its gaps. A command that arrives while the channel is still on replaces what is running: the rest of the old pulse
does not count, and old and new together are one stretch for `max_on_s`. What was told to stop counts as running to its
own end until the device has acknowledged that, also beside what replaces it meanwhile. The way to the device (a
millisecond or so) is not known here and not counted, and neither is the intensity; the device's own limits stand behind
these.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from triggers.pulse import Pulse

_MINUTE_NS = 60_000_000_000


class LimitSpec(BaseModel):
    """Limits of one channel of one trigger; the defaults hold for every channel without limits of its own.

    Attributes:
        max_on_s: Longest stretch, s, from the start of a pulse or train to its end, gaps of a train included.
        max_duty: Largest share of any `duty_window_s` that the output is high, 0–1.
        duty_window_s: Length of the sliding window, s.
        max_dose_s: Time high in the whole session, s.
        max_per_minute: Commands in any 60 s, each repetition of a stimulus too; None for any number.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    max_on_s: float = Field(default=1.0, gt=0, le=3600)
    max_duty: float = Field(default=0.5, gt=0, le=1)
    duty_window_s: float = Field(default=10.0, gt=0, le=60)
    max_dose_s: float = Field(default=300.0, gt=0)
    max_per_minute: int | None = Field(default=None, ge=1, le=100_000)


@dataclass(slots=True)
class _Output:
    """One pulse or train, as it ran or will run; an unbroken pulse is a train of one."""

    start_ns: int
    end_ns: int
    period_ns: float
    width_ns: float

    def on_ns(self, until_ns: int) -> float:
        """Time high from the start to `until_ns`."""
        elapsed = min(until_ns, self.end_ns) - self.start_ns
        if elapsed <= 0:
            return 0.0
        whole, rest = divmod(elapsed, self.period_ns)
        return whole * self.width_ns + min(self.width_ns, rest)

    def rises_ns(self, from_ns: int, until_ns: int) -> NDArray[np.float64]:
        """Return when its pulses start, those between the two times only."""
        first = max(0, math.ceil((from_ns - self.start_ns) / self.period_ns))
        stop = math.ceil((min(self.end_ns, until_ns + 1) - self.start_ns) / self.period_ns)
        return self.start_ns + self.period_ns * np.arange(first, stop, dtype=np.float64)


@dataclass(slots=True)
class _Channel:
    """What one channel has done.

    Attributes:
        recent: Outputs that a duty window can still reach, oldest first; they never overlap.
        stretch_start_ns: When the output of the last command, or of those that it replaced without a break, began.
        dose_ns: Time high in the session, the rest of what is running included.
        stop_asked_ns: When the last output was told to stop, if that is not acknowledged; else None.
        doubt_ns: Time high that may be in no output of `recent`: the rest of those that were replaced before their stop
            was acknowledged.
        doubt_end_ns: When that would be over.
        starts_ns: When the last commands came, no more of them than a minute may have.
    """

    limits: LimitSpec
    window_ns: int
    recent: deque[_Output] = field(default_factory=deque)
    stretch_start_ns: int = 0
    dose_ns: float = 0.0
    stop_asked_ns: int | None = None
    doubt_ns: float = 0.0
    doubt_end_ns: int = 0
    starts_ns: deque[int] = field(init=False)

    def __post_init__(self) -> None:
        self.starts_ns = deque(maxlen=self.limits.max_per_minute or 0)

    def forget_before(self, time_ns: int) -> None:
        while self.recent and self.recent[0].end_ns <= time_ns:
            self.recent.popleft()

    def runs_at(self, time_ns: int) -> bool:
        return bool(self.recent) and self.recent[-1].end_ns > time_ns

    def rest_ns(self, time_ns: int) -> float:
        """Time high that is still to come of what is running."""
        if not self.recent:
            return 0.0
        last = self.recent[-1]
        return last.on_ns(last.end_ns) - last.on_ns(time_ns)

    def unsure_ns(self, time_ns: int) -> float:
        """Time high that may come although another output is to replace what is running."""
        return self.doubt_ns + (0.0 if self.stop_asked_ns is None else self.rest_ns(time_ns))

    def stretch_start_at(self, time_ns: int) -> int:
        unbroken = bool(self.recent) and max(self.recent[-1].end_ns, self.doubt_end_ns) >= time_ns
        return self.stretch_start_ns if unbroken else time_ns

    def cut(self, time_ns: int) -> None:
        if self.runs_at(time_ns):
            self.dose_ns -= self.rest_ns(time_ns)
            self.recent[-1].end_ns = time_ns

    def replace(self, time_ns: int) -> None:
        """Cut what is running, and keep in doubt what a stop that is not acknowledged may not have ended."""
        if self.stop_asked_ns is not None and self.runs_at(time_ns):
            self.doubt_ns += self.rest_ns(time_ns)
            self.doubt_end_ns = max(self.doubt_end_ns, self.recent[-1].end_ns)
        self.stop_asked_ns = None
        self.cut(time_ns)


class Interlock:
    """Says whether a pulse may be sent, from the limits and from what has been sent before.

    Pure and deterministic: it reads no clock, and the same calls give the same answers.

    Args:
        limits: By trigger and channel; another channel has the default limits.
    """

    def __init__(self, limits: Mapping[tuple[str, int], LimitSpec]) -> None:
        self._limits = dict(limits)
        self._channels: dict[tuple[str, int], _Channel] = {}

    def allow(self, trigger: str, pulse: Pulse, now_ns: int) -> str:
        """Return why the pulse must not start now, with the numbers, or the empty string if it may.

        Args:
            trigger: The trigger's name.
            pulse: What would be sent.
            now_ns: Host monotonic clock, ns, never less than in an earlier call.
        """
        channel = self._channel(trigger, pulse.channel)
        limits, window_ns = channel.limits, channel.window_ns
        most = limits.max_per_minute
        if most is not None and len(channel.starts_ns) == most and now_ns - channel.starts_ns[0] < _MINUTE_NS:
            return f"{most + 1} within a minute exceed {most}"
        on_ns = now_ns - channel.stretch_start_at(now_ns) + pulse.duration_us * 1000
        if on_ns > _at_most(limits.max_on_s * 1e9):
            return f"on for {on_ns / 1e9:.6g} s exceeds {limits.max_on_s:g} s"
        unsure_ns = channel.unsure_ns(now_ns)
        dose_ns = channel.dose_ns - channel.rest_ns(now_ns) + unsure_ns + pulse.on_time_us * 1000
        if dose_ns > _at_most(limits.max_dose_s * 1e9):
            return f"dose of {dose_ns / 1e9:.6g} s in this session exceeds {limits.max_dose_s:g} s"
        if channel.stop_asked_ns is None and channel.doubt_end_ns <= now_ns - window_ns:
            unsure_ns = 0.0
        most_ns = _at_most(limits.max_duty * window_ns)
        high_ns = unsure_ns + _peak_high_ns(channel, _output(pulse, now_ns), most_ns - unsure_ns)
        if high_ns > most_ns:
            return f"duty {high_ns / window_ns:.4g} over {limits.duty_window_s:g} s exceeds {limits.max_duty:g}"
        return ""

    def commit(self, trigger: str, pulse: Pulse, now_ns: int) -> None:
        """Account for a pulse that was sent now; it replaces what is still running on its channel."""
        channel = self._channel(trigger, pulse.channel)
        channel.stretch_start_ns = channel.stretch_start_at(now_ns)
        channel.replace(now_ns)
        channel.forget_before(now_ns - channel.window_ns)
        channel.recent.append(_output(pulse, now_ns))
        channel.dose_ns += pulse.on_time_us * 1000
        channel.starts_ns.append(now_ns)

    def extended(self, trigger: str, pulse: Pulse, now_ns: int) -> None:
        """Account for a pulse that runs and was extended now: it goes on in its own rhythm, for its duration from now.

        `allow` judges it as one that begins now, which is never on for less.
        """
        channel = self._channel(trigger, pulse.channel)
        output = channel.recent[-1]
        channel.dose_ns -= channel.rest_ns(now_ns)
        output.end_ns = now_ns + pulse.duration_us * 1000
        channel.dose_ns += channel.rest_ns(now_ns)
        channel.starts_ns.append(now_ns)

    def stopped(self, trigger: str, channel: int, now_ns: int) -> None:
        """Account for a channel that was switched off now: the rest of what was running does not count."""
        self._channel(trigger, channel).cut(now_ns)

    def stop_asked(self, trigger: str, channel: int, now_ns: int) -> None:
        """Take note that a channel was told to stop now: what is running counts on until `stop_acknowledged`."""
        self._channel(trigger, channel).stop_asked_ns = now_ns

    def stop_acknowledged(self, trigger: str, channel: int, now_ns: int) -> None:
        """Account for a channel that has done all that `stop_asked` told it, by `now_ns` at the latest."""
        found = self._channel(trigger, channel)
        found.doubt_ns, found.doubt_end_ns = 0.0, 0
        if found.stop_asked_ns is not None:  # else something was sent since, which goes on
            found.cut(max(now_ns, found.stop_asked_ns))
            found.stop_asked_ns = None

    def running(self, trigger: str, channel: int, now_ns: int) -> bool:
        """Return whether the last pulse or train of a channel has not come to its end and was not told to stop."""
        found = self._channel(trigger, channel)
        return found.stop_asked_ns is None and found.runs_at(now_ns)

    def _channel(self, trigger: str, channel: int) -> _Channel:
        key = (trigger, channel)
        found = self._channels.get(key)
        if found is None:
            limits = self._limits.get(key, LimitSpec())
            found = self._channels[key] = _Channel(limits, round(limits.duty_window_s * 1e9))
        return found


def _at_most(limit_ns: float) -> float:
    # On-times are sums of floats: a limit that is met exactly is not exceeded by a rounding error.
    return limit_ns + 1.0


def _output(pulse: Pulse, start_ns: int) -> _Output:
    duration_ns = pulse.duration_us * 1000
    if pulse.train_hz is None or pulse.width_us is None:
        return _Output(start_ns, start_ns + duration_ns, float(duration_ns), float(duration_ns))
    return _Output(start_ns, start_ns + duration_ns, 1e9 / pulse.train_hz, pulse.width_us * 1000.0)


def _peak_high_ns(channel: _Channel, new: _Output, enough_ns: float) -> float:
    """Return the most time high in any window that `new` reaches, ns; not above `enough_ns`: an upper bound of it.

    Windows that end before `new` starts were judged before, and `new` replaces all that was to come after.
    """
    start, window = new.start_ns, channel.window_ns
    past = sum(output.on_ns(start) - output.on_ns(start - window) for output in channel.recent)
    bound = past + new.on_ns(start + window)
    # The exact peak takes 0.1 ms and more; far from the limit the bound spares it.
    return bound if bound <= enough_ns else _exact_peak_ns(channel, new)


def _exact_peak_ns(channel: _Channel, new: _Output) -> float:
    # A window that slides on gains while the output is high at its end and loses while it was high at its beginning.
    # So it loses first where its beginning meets a rise, and a window with the most time high begins at one. Of the
    # rises of `new` the first will do: it has the most before it.
    start, window = new.start_ns, channel.window_ns
    outputs = [
        _Output(old.start_ns - start, min(old.end_ns, start) - start, old.period_ns, old.width_ns)
        for old in channel.recent
        if old.end_ns > start - window
    ]
    outputs.append(_Output(0, new.end_ns - start, new.period_ns, new.width_ns))
    begins = np.concatenate([output.rises_ns(-window, 0) for output in outputs])
    return float(np.max(_high_before(outputs, begins + window) - _high_before(outputs, begins)))


def _high_before(outputs: list[_Output], times_ns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the time high before each of `times_ns` (the time that `_Output.on_ns` gives, summed), ns."""
    starts = np.array([output.start_ns for output in outputs], dtype=np.float64)
    lengths = np.array([output.end_ns - output.start_ns for output in outputs], dtype=np.float64)
    periods = np.array([output.period_ns for output in outputs])
    widths = np.array([output.width_ns for output in outputs])
    totals = np.array([output.on_ns(output.end_ns) for output in outputs])
    row = np.maximum(np.searchsorted(starts, times_ns, side="right") - 1, 0)
    elapsed = np.clip(times_ns - starts[row], 0.0, lengths[row])
    whole, rest = np.divmod(elapsed, periods[row])
    high = whole * widths[row] + np.minimum(widths[row], rest)
    return np.asarray((np.cumsum(totals) - totals)[row] + high)
