"""The test with a camera: find the light, blink, estimate."""

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from realtime.looptest.blinks import Watched, find_blinks
from realtime.looptest.delays import estimate_delays
from realtime.looptest.exposures import exposure_ends
from realtime.looptest.firing import Firing, Limits, Seen, Watcher
from realtime.looptest.plan import Plan
from realtime.looptest.region import Finder, Region
from realtime.looptest.result import LightResult
from realtime.stimulus import Interlock
from triggers.base import Trigger

_N_DARK_FRAMES = 8


def measure_light(
    watcher: Watcher,
    trigger: Trigger,
    plan: Plan,
    limits: Limits,
    region: Region | None,
    *,
    transfer_ns: int = 0,
    loop_ns: NDArray[np.int64] | None = None,
    now_ns: Callable[[], int] = time.monotonic_ns,
) -> LightResult:
    """Blink and find the blinks. Every output of the trigger is off when this ends, whatever ends it.

    Args:
        watcher: The camera.
        trigger: Open.
        plan: What to fire.
        limits: The rig's.
        region: Where the light is, or None to find it with the first `plan.n_locating` pulses.
        transfer_ns: See `LightResult`.
        loop_ns: See `LightResult`.
        now_ns: Host monotonic clock, ns.

    Raises:
        NoLightError: The light is not seen.
        StoppedError, CameraError, TriggerError: As `Firing.fire`.
    """
    firing = Firing(watcher, trigger, plan, Interlock(limits), now_ns)
    try:
        if region is None:
            on_ns = plan.longest_ns + plan.pulse.duration_us * 1000
            finder = Finder(int(on_ns / plan.period_ns) + 2)
            firing.fire(plan.offsets_ns[: plan.n_locating], finder.look, finder.command)
            region = finder.found()
        firing.seen = Seen()
        first_ns = plan.offsets_ns[plan.n_locating] - round(_N_DARK_FRAMES * plan.period_ns)
        offsets_ns = tuple(offset_ns - first_ns for offset_ns in plan.offsets_ns[plan.n_locating :])
        commands_ns = firing.fire(offsets_ns, region.look)
    finally:
        trigger.all_off()
    return _result(firing.seen, plan, commands_ns, region, transfer_ns, loop_ns)


def _result(
    seen: Seen,
    plan: Plan,
    commands_ns: NDArray[np.int64],
    region: Region,
    transfer_ns: int,
    loop_ns: NDArray[np.int64] | None,
) -> LightResult:
    available_ns = np.array(seen.available_ns, dtype=np.int64)
    ends_ns, late_ns = exposure_ends(available_ns, seen.device_times())
    brightness = np.array([look.brightness for look in seen.looks])
    white = np.array([look.white for look in seen.looks])
    period_ns = seen.period_ns()
    blinks = find_blinks(Watched(commands_ns, ends_ns, available_ns, brightness, period_ns, plan.longest_ns))
    time_sd_ns = 0.0 if late_ns is not None else float(np.median(np.abs(np.diff(available_ns) - period_ns)))
    lit = brightness > np.median(brightness) + 0.5 * blinks.contrast
    return LightResult(
        plan=plan,
        commands_ns=commands_ns,
        region=region,
        blinks=blinks,
        delays=estimate_delays(blinks, period_ns, time_sd_ns),
        n_frames=len(seen.frame_ids),
        n_lost=seen.n_lost,
        white_share=float(white[lit].mean()) if lit.any() else 0.0,
        late_ns=late_ns,
        transfer_ns=transfer_ns,
        loop_ns=loop_ns,
    )
