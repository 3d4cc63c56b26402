"""The test without a camera: how long until the device acknowledges a pulse."""

import time
from collections.abc import Callable

import numpy as np

from realtime.loop import StopRequest
from realtime.looptest.blinks import NoLightError
from realtime.looptest.firing import Limits, StoppedError, check, send
from realtime.looptest.plan import Plan
from realtime.looptest.result import EchoResult
from realtime.stimulus import Interlock
from triggers.base import FireReceipt, Trigger

_POLL_S = 0.0001
_REST_S = 0.001


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
    listener = _Listener(trigger, stop, now_ns, wait)
    echoes: list[tuple[int, int]] = []
    start_ns = now_ns()
    try:
        for command_id, offset_ns in enumerate(plan.offsets_ns, start=1):
            while now_ns() < start_ns + offset_ns:
                listener.rest()
            while interlock.allow(plan.output.trigger, plan.pulse, now_ns()):
                start_ns += round(plan.period_ns)
                listener.rest()
            echo = listener.answer(send(trigger, plan, command_id, interlock, now_ns()), plan.longest_ns)
            echoes += [] if echo is None else [echo]
    finally:
        trigger.all_off()
    if not echoes:
        raise NoLightError(
            f"looptest: {plan.output.trigger} answered none of {len(plan.offsets_ns)} commands within "
            f"{plan.longest_ns / 1e6:g} ms; does this device acknowledge?"
        )
    table = np.array(echoes, dtype=np.float64)
    return EchoResult(plan, table[:, 0], table[:, 1])


class _Listener:
    """Keeps a trigger alive and reads its answers, until a stop is asked for."""

    def __init__(
        self, trigger: Trigger, stop: StopRequest, now_ns: Callable[[], int], wait: Callable[[float], None]
    ) -> None:
        self._trigger = trigger
        self._stop = stop
        self._now_ns = now_ns
        self._wait = wait

    def rest(self) -> None:
        """Wait for a millisecond."""
        check(self._trigger)
        self._pause(_REST_S)

    def answer(self, receipt: FireReceipt, longest_ns: int) -> tuple[int, int] | None:
        """Return command → acknowledgement and for how long before it nobody had looked, ns, or None without one."""
        if receipt.acked_ns is not None:
            return receipt.acked_ns - receipt.sent_ns, 0
        looked_ns = receipt.sent_ns
        while looked_ns < receipt.sent_ns + longest_ns:
            for answered, host_ns in check(self._trigger):
                if answered == receipt.command_id:
                    return host_ns - receipt.sent_ns, host_ns - looked_ns
            looked_ns = self._now_ns()
            self._pause(_POLL_S)
        return None

    def _pause(self, seconds: float) -> None:
        if self._stop.reason:
            raise StoppedError(self._stop.reason)
        self._wait(seconds)
