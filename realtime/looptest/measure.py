"""One test: find the light, blink, estimate; or time the device's answers."""

import time
from collections.abc import Callable, Mapping

import numpy as np

from realtime.loop import StopRequest
from realtime.looptest.blinks import NoLightError, Watched, find_blinks
from realtime.looptest.delays import estimate_delays
from realtime.looptest.exposures import exposure_ends
from realtime.looptest.firing import Firing, Seen, StoppedError, Watcher, check
from realtime.looptest.plan import Plan
from realtime.looptest.region import Finder, Region
from realtime.looptest.result import EchoResult, LightResult
from realtime.stimulus import Interlock, LimitSpec
from triggers.base import Trigger
from triggers.errors import TriggerFailedError

Limits = Mapping[tuple[str, int], LimitSpec]

_N_DARK_FRAMES = 8
_POLL_S = 0.0001
_EXPIRES_NS = 100_000_000


def measure_light(
    watcher: Watcher,
    trigger: Trigger,
    plan: Plan,
    limits: Limits,
    region: Region | None,
    *,
    transfer_ns: int = 0,
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
        commands_ns = firing.fire(offsets_ns, region.brightness)
    finally:
        trigger.all_off()
    seen = firing.seen
    available_ns = np.array(seen.available_ns, dtype=np.int64)
    ends_ns, late_ns = exposure_ends(available_ns, seen.device_times())
    brightness = np.array(seen.brightness)
    period_ns = seen.period_ns()
    blinks = find_blinks(Watched(commands_ns, ends_ns, available_ns, brightness, period_ns, plan.longest_ns))
    time_sd_ns = 0.0 if late_ns is not None else float(np.median(np.abs(np.diff(available_ns) - period_ns)))
    delays = estimate_delays(blinks, period_ns, time_sd_ns)
    n_frames = len(seen.frame_ids)
    return LightResult(plan, commands_ns, region, blinks, delays, n_frames, seen.n_lost, late_ns, transfer_ns)


def measure_echo(
    trigger: Trigger,
    plan: Plan,
    limits: Limits,
    stop: StopRequest,
    *,
    now_ns: Callable[[], int] = time.monotonic_ns,
    wait: Callable[[float], None] = time.sleep,
) -> EchoResult:
    """Fire and wait for the device's acknowledgements, looking every 0.1 ms. Everything is off when this ends.

    Args:
        trigger: Open; it acknowledges.
        plan: What to fire; an answer that takes longer than `plan.longest_ns` counts as missed.
        limits: The rig's.
        stop: Ends it.
        now_ns: Host monotonic clock, ns.
        wait: Waits for so many seconds.

    Raises:
        StoppedError: A stop was asked for.
        NoLightError: No command was answered.
        TriggerError: The trigger failed or refused a pulse.
    """
    interlock = Interlock(limits)
    echoes: list[tuple[int, int]] = []
    start_ns = looked_ns = now_ns()
    behind_ns = 0
    try:
        for command_id, offset_ns in enumerate(plan.offsets_ns, start=1):
            while now_ns() < start_ns + offset_ns + behind_ns:
                _rest(trigger, stop, wait)
            while interlock.allow(plan.output.trigger, plan.pulse, now_ns()):
                behind_ns += round(plan.period_ns)
                _rest(trigger, stop, wait)
            fired_ns = now_ns()
            receipt = trigger.fire(plan.pulse, command_id, fired_ns + _EXPIRES_NS)
            interlock.commit(plan.output.trigger, plan.pulse, fired_ns)
            if not receipt.delivered:
                raise TriggerFailedError(f"looptest: {plan.output.trigger}: nobody takes the commands")
            if receipt.acked_ns is not None:
                echoes.append((receipt.acked_ns - receipt.sent_ns, 0))
                continue
            looked_ns = receipt.sent_ns
            while looked_ns < receipt.sent_ns + plan.longest_ns:
                acked = [host_ns for answered, host_ns in check(trigger) if answered == command_id]
                if acked:
                    echoes.append((acked[0] - receipt.sent_ns, acked[0] - looked_ns))
                    break
                looked_ns = now_ns()
                _stop_if_asked(stop)
                wait(_POLL_S)
    finally:
        trigger.all_off()
    if not echoes:
        raise NoLightError(
            f"looptest: {plan.output.trigger} answered none of {len(plan.offsets_ns)} commands within "
            f"{plan.longest_ns / 1e6:g} ms; does this device acknowledge?"
        )
    table = np.array(echoes, dtype=np.float64)
    return EchoResult(plan, table[:, 0], table[:, 1])


def _rest(trigger: Trigger, stop: StopRequest, wait: Callable[[float], None]) -> None:
    check(trigger)
    _stop_if_asked(stop)
    wait(10 * _POLL_S)


def _stop_if_asked(stop: StopRequest) -> None:
    if stop.reason:
        raise StoppedError(stop.reason)
