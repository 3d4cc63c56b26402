"""A whole test of a rig: opens its camera, asks, opens its output, measures, and closes everything."""

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from camera_drivers.errors import CameraNotOpenError
from realtime.assemble import make_camera, open_trigger
from realtime.loop import StopRequest
from realtime.looptest.echo import measure_echo
from realtime.looptest.firing import StoppedError, Watcher
from realtime.looptest.measure import measure_light
from realtime.looptest.plan import Output, choose_output, make_plan
from realtime.looptest.region import N_LOCATING, parse_region
from realtime.looptest.result import EchoResult, LightResult
from realtime.report.session_data import load_session
from realtime.report.summary import latencies_ns
from realtime.rig import Rig
from triggers.base import Trigger
from triggers.errors import TriggerNotOpenError

_ECHO_PULSE_US = 5_000
_ECHO_PERIOD_NS = 10_000_000.0


@dataclass(frozen=True, slots=True)
class Request:
    """What to test; None takes what the rig says, or what fits its camera.

    Attributes:
        trigger: Name in the rig.
        channel: 0–15.
        intensity: 0–1.
        pulse_ms: Length of a pulse, ms.
        n_pulses: Pulses that count.
        longest_ms: The longest delay that is looked for, ms.
        region: `X,Y,WIDTH,HEIGHT` in px, or None to find it.
        transfer_ms: End of exposure → frame available, ms, as far as it is known; taken off.
        session: A session folder, whose loop is added to the light's delay, or None.
        echo: Time the device's acknowledgement instead of the light.
        seed: Of the irregular intervals.
    """

    trigger: str | None = None
    channel: int | None = None
    intensity: float | None = None
    pulse_ms: float | None = None
    n_pulses: int = 200
    longest_ms: float = 200.0
    region: str | None = None
    transfer_ms: float = 0.0
    session: Path | None = None
    echo: bool = False
    seed: int = 0


def run_looptest(
    rig: Rig, request: Request, confirm: Callable[[str], bool], tell: Callable[[str], None], stop: StopRequest
) -> LightResult | EchoResult:
    """Test one output of a rig.

    The output is opened only after `confirm` has said yes, and off when this ends, whatever ends it.

    Args:
        rig: The rig.
        request: What to test.
        confirm: Is told what will be fired; says whether to go on, or False once `stop` is asked for.
        tell: Is told what is being done.
        stop: Ends it.

    Raises:
        ValueError: The request does not fit the rig, or its limits do not allow it.
        StoppedError: It was not confirmed, or a stop was asked for.
        NoLightError: The light is not seen, or nothing is acknowledged.
        CameraError, TriggerError: A device failed.
    """
    output = choose_output(rig, request.trigger, request.channel, request.intensity)
    return (
        _echo(rig, output, request, confirm, stop)
        if request.echo
        else _light(rig, output, request, confirm, tell, stop)
    )


def _light(
    rig: Rig,
    output: Output,
    request: Request,
    confirm: Callable[[str], bool],
    tell: Callable[[str], None],
    stop: StopRequest,
) -> LightResult:
    loop_ns = None if request.session is None else _loop_ns(request.session)
    with ExitStack() as opened:
        camera = make_camera(rig, policy="every")
        opened.callback(camera.close)
        info = camera.open()
        if camera.waits_for_consumer:
            raise CameraNotOpenError(
                f"{rig.path}: $.camera: expected a camera that runs by the clock, got {rig.camera.name}, whose frames "
                f"wait for the program; a light cannot be seen in them"
            )
        region = None if request.region is None else parse_region(request.region, info.height, info.width)
        watcher = Watcher(camera, time.monotonic_ns, stop)
        period_ns = watcher.time_frames()
        pulse_ms = request.pulse_ms or math.ceil(3 * period_ns / 1e6 * 1.001 + 0.1)
        plan = make_plan(
            output,
            rig.limits,
            n_pulses=request.n_pulses,
            n_locating=0 if region else N_LOCATING,
            duration_us=round(pulse_ms * 1000),
            period_ns=period_ns,
            longest_ns=round(request.longest_ms * 1e6),
            seed=request.seed,
        )
        _ask(confirm, stop, f"{plan}; camera {rig.camera.name} at {1e9 / period_ns:.4g} frames/s")
        trigger = _open_trigger(rig, output, opened)
        watcher.drain()
        tell("blinking, and looking for the light …")
        transfer_ns = round(request.transfer_ms * 1e6)
        return measure_light(watcher, trigger, plan, rig.limits, region, transfer_ns=transfer_ns, loop_ns=loop_ns)


def _loop_ns(session: Path) -> NDArray[np.int64]:
    """Return what a session's loop took from a frame, available, to each command, written, ns."""
    commands_ns = latencies_ns(load_session(session))["command"]
    if not commands_ns.size:
        raise ValueError(f"--session: {session}: expected a session that sent commands, got one that sent none")
    return commands_ns


def _echo(rig: Rig, output: Output, request: Request, confirm: Callable[[str], bool], stop: StopRequest) -> EchoResult:
    pulse_us = _ECHO_PULSE_US if request.pulse_ms is None else round(request.pulse_ms * 1000)
    plan = make_plan(
        output,
        rig.limits,
        n_pulses=request.n_pulses,
        n_locating=0,
        duration_us=pulse_us,
        period_ns=min(_ECHO_PERIOD_NS, pulse_us * 1000 / 3),
        longest_ns=round(request.longest_ms * 1e6),
        seed=request.seed,
    )
    with ExitStack() as opened:
        _ask(confirm, stop, f"{plan}; the device's acknowledgements are timed")
        return measure_echo(_open_trigger(rig, output, opened), plan, rig.limits, stop)


def _ask(confirm: Callable[[str], bool], stop: StopRequest, what: str) -> None:
    if not confirm(what):
        raise StoppedError(stop.reason or "not confirmed; nothing was fired")


def _open_trigger(rig: Rig, output: Output, opened: ExitStack) -> Trigger:
    trigger, info = open_trigger(rig.triggers[output.trigger], opened)
    n_channels = info.device.get("n_channels")
    if isinstance(n_channels, int) and output.channel >= n_channels:
        raise TriggerNotOpenError(
            f"looptest: {output.trigger}: expected a channel from 0 to {n_channels - 1}, got {output.channel}"
        )
    return trigger
