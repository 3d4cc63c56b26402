"""Pulse: what goes out on a channel, range-checked once, when it is made."""

import math
from dataclasses import dataclass

MAX_CHANNEL = 15
MAX_DURATION_US = 3_600_000_000
MIN_TRAIN_HZ = 1e6 / MAX_DURATION_US
"""One period is then as long as the longest train."""
MAX_TRAIN_HZ = 10_000.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """One pulse, or one train of pulses, on one channel.

    Attributes:
        channel: 0–15.
        duration_us: From the first rising edge to the end, µs, 1 to one hour.
        intensity: 0–1, the share of the channel's full power.
        train_hz: Pulses a second, or None for one unbroken pulse.
        width_us: Width of each pulse of a train, µs, less than its period; None without `train_hz`.

    Raises:
        ValueError: A value is out of its range; the message names it.
    """

    channel: int
    duration_us: int
    intensity: float = 1.0
    train_hz: float | None = None
    width_us: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.channel <= MAX_CHANNEL:
            raise ValueError(f"pulse: expected a channel from 0 to {MAX_CHANNEL}, got {self.channel}")
        if not 1 <= self.duration_us <= MAX_DURATION_US:
            raise ValueError(f"pulse: expected a duration from 1 to {MAX_DURATION_US} us, got {self.duration_us} us")
        if not 0.0 <= self.intensity <= 1.0:  # also refuses NaN
            raise ValueError(f"pulse: expected an intensity from 0 to 1, got {self.intensity}")
        if (self.train_hz is None) != (self.width_us is None):
            raise ValueError("pulse: expected train_hz and width_us together or neither, got only one of them")
        if self.train_hz is None or self.width_us is None:
            return
        if not MIN_TRAIN_HZ <= self.train_hz <= MAX_TRAIN_HZ:  # also refuses NaN
            raise ValueError(
                f"pulse: expected train_hz from {MIN_TRAIN_HZ:g} to {MAX_TRAIN_HZ:g} Hz, got {self.train_hz}"
            )
        if not 1 <= self.width_us < 1e6 / self.train_hz:
            raise ValueError(
                f"pulse: expected width_us from 1 to less than the period of {1e6 / self.train_hz:g} us, "
                f"got {self.width_us} us"
            )

    @property
    def on_time_us(self) -> int:
        """Time that the output is high, µs, over the whole pulse or train."""
        if self.train_hz is None or self.width_us is None:
            return self.duration_us
        period_us = 1e6 / self.train_hz
        whole = int(self.duration_us // period_us)
        rest_us = self.duration_us - whole * period_us
        return whole * self.width_us + min(self.width_us, math.ceil(rest_us))
