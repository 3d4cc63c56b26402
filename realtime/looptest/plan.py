"""What is fired and when: the output, the pulse, and irregular times within the rig's limits."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from realtime.rig import Rig
from realtime.stimulus import Interlock, LimitSpec
from triggers.pulse import Pulse

_N_DARK_FRAMES = 8
_MOST_EXTRA_FRAMES = 4
_LONGEST_WAIT_NS = 60_000_000_000
_LEAST_STEP_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class Output:
    """One channel of one trigger of the rig, and how strongly it is driven.

    Attributes:
        trigger: Name in the rig.
        channel: 0–15.
        intensity: 0–1.
    """

    trigger: str
    channel: int
    intensity: float


def choose_output(rig: Rig, trigger: str | None, channel: int | None, intensity: float | None) -> Output:
    """Return the output to test; what is not given comes from the rig, if its stimuli leave no doubt.

    Raises:
        ValueError: The rig has no such trigger, or leaves a choice; the message lists what there is.
    """
    if trigger is not None and trigger not in rig.triggers:
        raise ValueError(f"--trigger: expected one of {', '.join(rig.triggers) or 'none: the rig has no triggers'}, "
                         f"got {trigger!r}")  # fmt: skip
    used = {
        (name, spec.channel, spec.intensity)
        for spec in rig.stimuli.values()
        for name in spec.triggers
        if trigger in {None, name} and channel in {None, spec.channel}
    }
    if trigger is not None and channel is not None and intensity is not None:
        return Output(trigger, channel, intensity)
    if trigger is not None and channel is not None and not used:
        raise ValueError(
            f"--intensity: expected a number from 0 to 1, since no stimulus of the rig uses {trigger} channel "
            f"{channel}, got none"
        )
    outputs = {(name, one_channel) for name, one_channel, _ in used}
    if len(outputs) != 1:
        listed = ", ".join(f"{name} channel {one_channel}" for name, one_channel in sorted(outputs))
        raise ValueError(
            f"--trigger and --channel: expected the output to test, since the rig's stimuli use "
            f"{listed or 'none that fits'}, got {_given(trigger, channel)}"
        )
    ((name, one_channel),) = outputs
    intensities = sorted({value for _, _, value in used})
    if intensity is None and len(intensities) > 1:
        raise ValueError(
            f"--intensity: expected a number from 0 to 1, since the rig's stimuli use "
            f"{', '.join(f'{value:g}' for value in intensities)} on {name} channel {one_channel}, got none"
        )
    return Output(name, one_channel, intensities[0] if intensity is None else intensity)


def _given(trigger: str | None, channel: int | None) -> str:
    given = ([] if trigger is None else [trigger]) + ([] if channel is None else [f"channel {channel}"])
    return " ".join(given) or "none"


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done.

    Attributes:
        output: Where.
        pulse: What, each time.
        offsets_ns: When, ns after the start, ascending, `(n_pulses,)`.
        n_locating: Of them, the first ones that only tell where the light is.
        period_ns: Frame interval, ns.
        longest_ns: The longest delay that is looked for, ns.
    """

    output: Output
    pulse: Pulse
    offsets_ns: tuple[int, ...]
    n_locating: int
    period_ns: float
    longest_ns: int

    @property
    def duration_s(self) -> float:
        """How long it takes, s."""
        return (self.offsets_ns[-1] + self.longest_ns + self.pulse.duration_us * 1000) / 1e9

    @property
    def on_time_s(self) -> float:
        """For how long the output will be on in all, s."""
        return len(self.offsets_ns) * self.pulse.duration_us / 1e6

    def __str__(self) -> str:
        output, pulse = self.output, self.pulse
        return (
            f"{len(self.offsets_ns)} pulses of {pulse.duration_us / 1e3:g} ms on {output.trigger} channel "
            f"{output.channel} at intensity {output.intensity:g}, at irregular times over {self.duration_s:.0f} s; "
            f"{self.on_time_s:.3g} s on in all"
        )


def make_plan(
    output: Output,
    limits: Mapping[tuple[str, int], LimitSpec],
    *,
    n_pulses: int,
    n_locating: int,
    duration_us: int,
    period_ns: float,
    longest_ns: int,
    seed: int,
) -> Plan:
    """Place the pulses: far enough apart to tell one from the other, allowed, and evenly over the frame interval.

    The k-th pulse that counts begins in one of `n_pulses` equal parts of the frame interval, each part once, in random
    order; how many whole intervals lie between two pulses is random too. So no phase of the camera is preferred, and
    what an animal or a lamp does in a rhythm of its own does not stay in step.

    Raises:
        ValueError: The pulse is impossible or too short, or the limits do not allow so many.
    """
    pulse = Pulse(output.channel, duration_us, output.intensity)
    if duration_us * 1000 < 3 * period_ns * 0.999:
        raise ValueError(
            f"--pulse-ms: expected at least three frame intervals, {math.ceil(3 * period_ns / 1e3) / 1e3:g} ms, so "
            f"that a frame is lit for its whole exposure, got {duration_us / 1e3:g} ms"
        )
    rng = np.random.default_rng(seed)
    phases = [rng.random(n_locating), (rng.permutation(n_pulses) + rng.random(n_pulses)) / n_pulses]
    interlock = Interlock(limits)
    apart_ns = longest_ns + duration_us * 1000 + (_N_DARK_FRAMES + 2) * period_ns
    earliest_ns = _N_DARK_FRAMES * period_ns
    offsets: list[int] = []
    for phase in np.concatenate(phases):
        frame = math.ceil(earliest_ns / period_ns) + int(rng.integers(_MOST_EXTRA_FRAMES))
        offset_ns = _first_allowed(
            interlock, output, pulse, round((frame + phase) * period_ns), period_ns, len(offsets)
        )
        interlock.commit(output.trigger, pulse, offset_ns)
        offsets.append(offset_ns)
        earliest_ns = offset_ns + apart_ns
    return Plan(output, pulse, tuple(offsets), n_locating, period_ns, longest_ns)


def _first_allowed(
    interlock: Interlock, output: Output, pulse: Pulse, start_ns: int, period_ns: float, n_before: int
) -> int:
    """Return the first time from `start_ns` on, in whole frame intervals, at which the limits allow the pulse."""
    step_ns = math.ceil(_LEAST_STEP_NS / period_ns) * period_ns
    for step in range(math.ceil(_LONGEST_WAIT_NS / step_ns) + 2):
        offset_ns = start_ns + round(step * step_ns)
        reason = interlock.allow(output.trigger, pulse, offset_ns)
        if not reason:
            return offset_ns
    raise ValueError(
        f"looptest: the rig's limits allow {n_before} pulses of {pulse.duration_us / 1e3:g} ms on {output.trigger} "
        f"channel {output.channel} and not the next one: {reason}; ask for fewer (--pulses) or shorter ones "
        f"(--pulse-ms), or change limits.{output.trigger}.{output.channel}"
    )
