"""What came of a test: numbers with their uncertainty, as a table and as JSON."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.looptest.blinks import Blinks
from realtime.looptest.delays import QUANTILES, Delays
from realtime.looptest.plan import Plan
from realtime.looptest.region import Region

SEEN_QUANTILES = (0.5, 0.95, 0.99, 1.0)


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
        late_ns: How late each frame came, by the camera's clock, ns, or None if it has no usable one.
        transfer_ns: What the person says lies between the end of an exposure and the arrival of the frame, ns; taken
            off all delays of the light.
    """

    plan: Plan
    commands_ns: NDArray[np.int64]
    region: Region
    blinks: Blinks
    delays: Delays
    n_frames: int
    n_lost: int
    late_ns: NDArray[np.float64] | None
    transfer_ns: int = 0

    def light_ms(self) -> dict[str, list[float]]:
        """Return p50, p95 and p99 of command → light, each with its 95 % interval, and the largest, ms."""
        found = {
            _name(share): [round((value - self.transfer_ns) / 1e6, 4) for value in row.tolist()]
            for share, row in zip(QUANTILES, self.delays.quantiles_ns, strict=True)
        }
        last = int(np.argmax(self.delays.pulses_ns))
        mean, spread = float(self.delays.pulses_ns[last]) - self.transfer_ns, 1.96 * float(self.delays.spread_ns[last])
        return found | {"max": [round(value / 1e6, 4) for value in (mean, mean - spread, mean + spread)]}

    def seen_ms(self) -> dict[str, float]:
        """Return p50, p95, p99 and the largest of command → the first frame that shows light is available, ms."""
        return {
            _name(share): round(float(np.quantile(self.blinks.seen_ns, share)) / 1e6, 4) for share in SEEN_QUANTILES
        }

    def remarks(self) -> list[str]:
        """Return how it was measured, and what the numbers contain, for a person."""
        exposure_ms, period_ms = self.delays.exposure_ns / 1e6, self.plan.period_ns / 1e6
        known_ms = 1.96 * float(np.median(self.delays.spread_ns)) / 1e6
        less = f", less {self.transfer_ns / 1e6:g} ms as told" if self.transfer_ns else ""
        return [
            f"{self.blinks.pulses.size} of {self.blinks.n_commands} pulses seen in region {self.region}: "
            f"{self.blinks.contrast:.1f} gray levels of light, noise {100 * self.blinks.noise_sd:.2g} % of it",
            f"a frame every {period_ms:.2f} ms gathers light for {exposure_ms:.2f} ms (fitted); one pulse alone is "
            f"known to ± {known_ms:.2f} ms",
            f"a command begins when its last byte is with the operating system; both rows contain the camera's "
            f"read-out and transfer{less}",
        ]

    def warnings(self) -> list[str]:
        """Return what a person should know before believing the numbers."""
        told = []
        if self.blinks.n_missed:
            told.append(f"{self.blinks.n_missed} of {self.blinks.n_commands} pulses were not seen")
        if self.blinks.n_unasked:
            told.append(
                f"{self.blinks.n_unasked} frames before commands were as bright as lit ones: something else lights the "
                f"region"
            )
        if self.late_ns is None:
            told.append("the camera has no usable clock of its own: how late the host took a frame counts as delay")
        if self.n_lost:
            told.append(f"{self.n_lost} frames were lost; a pulse beside a lost frame is known less exactly")
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
                name: {"value": value, "low_95": low, "high_95": high}
                for name, (value, low, high) in self.light_ms().items()
            },
            "command_to_frame_ms": self.seen_ms(),
            "frame_interval_ms": round(self.plan.period_ns / 1e6, 4),
            "effective_exposure_ms": round(self.delays.exposure_ns / 1e6, 4),
            "transfer_ms": self.transfer_ns / 1e6,
            "includes": "from the end of the exposure to the arrival of the frame, less transfer_ms",
            "region": str(self.region),
            "contrast_gray_levels": round(self.blinks.contrast, 3),
            "noise_share": round(self.blinks.noise_sd, 5),
            "n_frames": self.n_frames,
            "n_lost_frames": self.n_lost,
            "frame_late_p99_ms": late,
            "warnings": self.warnings(),
            "pulses": [
                {
                    "pulse": pulse,
                    "command_ns": int(self.commands_ns[pulse]),
                    "light_ms": round((light - self.transfer_ns) / 1e6, 4),
                    "sd_ms": round(spread / 1e6, 4),
                    "frame_ms": round(seen / 1e6, 4),
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
        return {_name(share): round(float(np.quantile(self.echoes_ns, share)) / 1e6, 4) for share in SEEN_QUANTILES}

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


def _name(share: float) -> str:
    return "max" if share == 1.0 else f"p{share * 100:g}"
