"""What came of a test: numbers with their uncertainty, as a table and as JSON."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.looptest.blinks import Blinks
from realtime.looptest.delays import QUANTILES, Delays
from realtime.looptest.plan import Plan
from realtime.looptest.region import Region

SEEN_QUANTILES = (*QUANTILES, 1.0)

_N_LOOP = 1000  # quantiles that stand for a loop
_N_FOR_P99 = 200  # of fewer than 191, none above p99 is likely enough for the 95 % interval to have no end
_MOST_WHITE = 0.05


@dataclass(frozen=True, slots=True)
class LightResult:
    """A test with the camera.

    Attributes:
        plan: What was done.
        commands_ns: When each command had been written, host clock, ns, `(n_pulses,)`.
        region: Where the light was looked for.
        blinks: The pulses that were seen.
        delays: Command → light.
        n_frames: Frames that were taken while it was measured.
        n_lost: Frames that were not.
        white_share: How many of the region's pixels are white while it is lit, 0–1.
        late_ns: How late each frame came, by the camera's clock, ns, or None if it has no usable one.
        transfer_ns: What the person says lies between the end of an exposure and the arrival of the frame, ns; taken
            off all delays of the light.
        loop_ns: What a session's loop took from each frame that it answered, available, to the command, written, ns,
            `(n,)`, or None.
    """

    plan: Plan
    commands_ns: NDArray[np.int64]
    region: Region
    blinks: Blinks
    delays: Delays
    n_frames: int
    n_lost: int
    white_share: float
    late_ns: NDArray[np.float64] | None
    transfer_ns: int = 0
    loop_ns: NDArray[np.int64] | None = None

    def light_ms(self) -> dict[str, tuple[float, float, float]]:
        """Return p50, p95, p99 and max of command → light, each with its 95 % interval, ms.

        An upper end is infinite where there are too few pulses for one. The interval of the largest delay is what the
        frames of the pulses leave possible.
        """
        rows = [*self.delays.quantiles_ns.tolist(), self.delays.largest_ns]
        return {
            _name(share): (_ms(value - self.transfer_ns), _ms(low - self.transfer_ns), _ms(high - self.transfer_ns))
            for share, (value, low, high) in zip(SEEN_QUANTILES, rows, strict=True)
        }

    def frame_to_light_ms(self) -> dict[str, float]:
        """Return p50, p95 and p99 of frame → light in the session whose `loop_ns` it is, ms; empty without one.

        From the end of a frame's exposure: its way to the program, which all delays contain, the loop, and the way from
        the command to the light. The last two are taken as independent of each other: every command of the session may
        have met with every delay.
        """
        if self.loop_ns is None:
            return {}
        sums = np.add.outer(np.quantile(self.loop_ns, (np.arange(_N_LOOP) + 0.5) / _N_LOOP), self.delays.grid_ns)
        order = np.argsort(sums, axis=None)
        reached = np.cumsum(np.broadcast_to(self.delays.weights / _N_LOOP, sums.shape).ravel()[order])
        ascending = sums.ravel()[order]
        return {_name(share): _ms(float(ascending[np.searchsorted(reached, share)])) for share in QUANTILES}

    def seen_ms(self) -> dict[str, float]:
        """Return p50, p95, p99 and the largest of command → the first frame that shows light is available, ms."""
        return {_name(share): _ms(float(np.quantile(self.blinks.seen_ns, share))) for share in SEEN_QUANTILES}

    def remarks(self) -> list[str]:
        """Return how it was measured, and what the numbers contain, for a person."""
        exposure_ms, period_ms = self.delays.exposure_ns / 1e6, self.plan.period_ns / 1e6
        known_ms = 1.96 * float(np.nanmedian(self.delays.spread_ns)) / 1e6
        less = f", less {self.transfer_ns / 1e6:g} ms as told" if self.transfer_ns else ""
        told = [
            f"{self.blinks.pulses.size} of {self.blinks.n_commands} pulses seen in region {self.region}: "
            f"{self.blinks.contrast:.1f} gray levels of light, noise {100 * self.blinks.noise_sd:.2g} % of it",
            f"a frame every {period_ms:.2f} ms gathers light for {exposure_ms:.2f} ms (fitted); one pulse alone is "
            f"known to ± {known_ms:.2f} ms, since pulses come at all phases of the frames the distribution is better "
            f"known",
            f"included: from the command's last byte with the operating system to light, and the camera's read-out and "
            f"transfer of a frame{less}; not included: the model and the loop",
        ]
        if not math.isfinite(self.delays.quantiles_ns[-1, 2]):
            told.append(
                f"the interval of p99 has no upper end: {self.blinks.n_commands} pulses are too few, or too many were "
                f"not clear; about {_N_FOR_P99} clear ones have one (--pulses)"
            )
        if self.loop_ns is not None:
            told.append(
                f"frame → light: from the end of a frame's exposure, with the loop of {self.loop_ns.size} commands of "
                f"that session, each of which may have met with every delay"
            )
        return told

    def warnings(self) -> list[str]:
        """Return what a person should know before believing the numbers."""
        told = []
        if self.blinks.n_missed:
            told.append(f"{self.blinks.n_missed} of {self.blinks.n_commands} pulses were not seen")
        unclear = int(np.count_nonzero(self.blinks.unclear))
        if unclear:
            told.append(f"{unclear} pulses have a lost frame beside their onset and tell nothing of the delay")
        if self.white_share > _MOST_WHITE:
            told.append(
                f"{100 * self.white_share:.0f} % of the region's pixels are white while it is lit: a dimmer light "
                f"(--intensity) or a shorter exposure of the camera tells the delay more exactly"
            )
        if self.blinks.n_unasked:
            told.append(
                f"{self.blinks.n_unasked} frames before commands were as bright as lit ones: something else lights the "
                f"region"
            )
        if self.late_ns is None:
            told.append("the camera has no usable clock of its own: how late the host took a frame counts as delay")
        if self.n_lost:
            told.append(f"{self.n_lost} of {self.n_frames + self.n_lost} frames were lost")
        return told

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        late = None if self.late_ns is None else round(float(np.quantile(self.late_ns, 0.99)) / 1e6, 4)
        return {
            "measured": "light in the camera",
            **_plan_dict(self.plan),
            "n_seen": int(self.blinks.pulses.size),
            "n_missed": self.blinks.n_missed,
            "command_to_light_ms": {
                name: {"value": value, "low_95": _finite(low), "high_95": _finite(high)}
                for name, (value, low, high) in self.light_ms().items()
            },
            "frame_to_light_ms": self.frame_to_light_ms() or None,
            "command_to_frame_ms": self.seen_ms(),
            "frame_interval_ms": round(self.plan.period_ns / 1e6, 4),
            "effective_exposure_ms": round(self.delays.exposure_ns / 1e6, 4),
            "transfer_ms": self.transfer_ns / 1e6,
            "includes": "from the end of an exposure to the arrival of the fastest frames, less transfer_ms",
            "region": str(self.region),
            "contrast_gray_levels": round(self.blinks.contrast, 3),
            "noise_share": round(self.blinks.noise_sd, 5),
            "white_share": round(self.white_share, 4),
            "n_frames": self.n_frames,
            "n_lost_frames": self.n_lost,
            "frame_late_p99_ms": late,
            "warnings": self.warnings(),
            "pulses": [
                {
                    "pulse": pulse,
                    "command_ns": int(self.commands_ns[pulse]),
                    "light_ms": _finite(_ms(light - self.transfer_ns)),
                    "sd_ms": _finite(_ms(spread)),
                    "frame_ms": _ms(seen),
                }
                for pulse, light, spread, seen in zip(
                    self.blinks.pulses.tolist(),
                    self.delays.pulses_ns.tolist(),
                    self.delays.spread_ns.tolist(),
                    self.blinks.seen_ns.tolist(),
                    strict=True,
                )
            ],
        }


@dataclass(frozen=True, slots=True)
class EchoResult:
    """A test with the device's own acknowledgements.

    Attributes:
        plan: What was done.
        echoes_ns: Command written → acknowledgement read, ns, `(n_answered,)`.
        blind_ns: How long before each of them nobody looked, ns, `(n_answered,)`: the answer may have been there that
            long. 0 where the driver knows the time itself.
    """

    plan: Plan
    echoes_ns: NDArray[np.float64]
    blind_ns: NDArray[np.float64]

    def echo_ms(self) -> dict[str, float]:
        """Return p50, p95, p99 and the largest, ms."""
        return {_name(share): _ms(float(np.quantile(self.echoes_ns, share))) for share in SEEN_QUANTILES}

    def remarks(self) -> list[str]:
        """Return how it was measured, and what the numbers contain, for a person."""
        blind_ms = float(np.quantile(self.blind_ns, 0.99)) / 1e6
        return [
            f"{self.echoes_ns.size} of {len(self.plan.offsets_ns)} commands answered; an answer may have come up to "
            f"{blind_ms:.2f} ms (p99) sooner than it was noticed",
            "the way back of the answer is contained; what lies behind the device's output is not",
        ]

    def warnings(self) -> list[str]:
        """Return what a person should know before believing the numbers."""
        missed = len(self.plan.offsets_ns) - self.echoes_ns.size
        return [f"{missed} of {len(self.plan.offsets_ns)} commands were not answered"] if missed else []

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON-able values."""
        return {
            "measured": "acknowledgement of the device",
            **_plan_dict(self.plan),
            "n_seen": int(self.echoes_ns.size),
            "n_missed": len(self.plan.offsets_ns) - int(self.echoes_ns.size),
            "command_to_echo_ms": self.echo_ms(),
            "blind_p99_ms": round(float(np.quantile(self.blind_ns, 0.99)) / 1e6, 4),
            "includes": "the way back of the answer; not what lies behind the device's output",
            "warnings": self.warnings(),
            "echoes_ms": [round(value / 1e6, 4) for value in self.echoes_ns.tolist()],
        }


def _plan_dict(plan: Plan) -> dict[str, Any]:
    return {
        "trigger": plan.output.trigger,
        "channel": plan.output.channel,
        "intensity": plan.output.intensity,
        "pulse_ms": plan.pulse.duration_us / 1e3,
        "n_pulses": len(plan.offsets_ns) - plan.n_locating,
        "n_locating": plan.n_locating,
        "from": "last byte of the command handed to the operating system",
    }


def _ms(time_ns: float) -> float:
    return round(time_ns / 1e6, 4)


def _finite(value: float) -> float | None:
    """JSON has neither infinity nor NaN."""
    return value if math.isfinite(value) else None


def interval_text(low: float, high: float) -> str:
    """Return an interval in ms for a person; an end that is not known is left open."""
    return f"{low:.2f}–{high:.2f}" if math.isfinite(high) else f"{low:.2f}–…"


def _name(share: float) -> str:
    return "max" if share == 1.0 else f"p{share * 100:g}"
