"""`poseloop looptest`: how long is it really from a command to light?"""

import json
import select
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from realtime.cli.app import Json, app, clear_errors, complain, console, errors
from realtime.cli.sessions import RigFile
from realtime.rig import load_rig

if TYPE_CHECKING:
    from realtime.loop import StopRequest
    from realtime.looptest import EchoResult, LightResult

RESULT, PICTURE = "looptest.json", "looptest.svg"
_LOOK_S = 0.1  # a signal is answered so soon while a person is asked


@app.command()
def looptest(
    rig: RigFile,
    trigger: Annotated[
        str | None, typer.Option(metavar="NAME", help="The trigger of the rig; needed where its stimuli use several.")
    ] = None,
    channel: Annotated[int | None, typer.Option(min=0, max=15, help="Its output; by default the stimuli's.")] = None,
    intensity: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of full power; by default the stimuli's.")
    ] = None,
    pulses: Annotated[int, typer.Option(min=10, max=10_000, help="Pulses that count.")] = 200,
    pulse_ms: Annotated[
        float | None, typer.Option(min=0.1, max=10_000.0, help="Length of each; by default three frame intervals.")
    ] = None,
    longest_ms: Annotated[float, typer.Option(min=1.0, max=10_000.0, help="Look for delays up to this.")] = 200.0,
    region: Annotated[
        str | None, typer.Option(metavar="X,Y,WIDTH,HEIGHT", help="Where the light is, px; by default it is found.")
    ] = None,
    transfer_ms: Annotated[
        float,
        typer.Option(min=0.0, help="From the end of an exposure to the frame in the program, if known; taken off."),
    ] = 0.0,
    session: Annotated[
        Path | None, typer.Option(metavar="SESSION", help="Add the loop of this session: frame → light.")
    ] = None,
    echo: Annotated[bool, typer.Option("--echo", help="Time the device's acknowledgement; uses no camera.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of the irregular intervals.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help=f"Leave {RESULT} and {PICTURE} there.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Fire without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Blink an output of RIG, find the blinks in its camera, and say how long it is from a command to light.

    It switches real hardware: it says what it will fire and asks first, keeps the rig's limits, and leaves everything
    off. Ctrl-C stops it; `poseloop disarm` is for sessions and does not reach it. Included is what lies between the
    command's last byte and the light, and the camera's read-out and transfer of a frame, which nothing can tell from it
    (--transfer-ms takes them off). Not included are the model and the loop: --session adds those of a session. Pulses
    come at all phases of the frames, so that the delay is known far better than to a frame interval; what is left is
    printed as a 95 % interval.
    """
    from realtime.loop import StopRequest  # noqa: PLC0415 - heavy, and only wanted here
    from realtime.looptest import NoLightError, Request, StoppedError, run_looptest  # noqa: PLC0415
    from realtime.session import stop_on_signals  # noqa: PLC0415

    stop = StopRequest()
    request = Request(
        trigger, channel, intensity, pulse_ms, pulses, longest_ms, region, transfer_ms, session, echo=echo, seed=seed
    )

    def confirm(what: str) -> bool:
        return _confirmed(what, stop, yes=yes)

    with clear_errors():
        loaded = load_rig(rig)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
        try:
            with stop_on_signals(stop):
                result = run_looptest(loaded, request, confirm, _tell, stop)
        except StoppedError as error:
            complain(f"looptest: {error}")
            raise typer.Exit(_exit_code(str(error))) from error
        except NoLightError as error:
            complain(str(error))
            raise typer.Exit(1) from error
        if out is not None:
            _write(result, out)
    if as_json:
        typer.echo(json.dumps(result.as_dict()))
    else:
        _show(result, out)


def _confirmed(what: str, stop: "StopRequest", *, yes: bool) -> bool:
    """Say what will be fired; without --yes, wait for a y on the terminal, or for a signal."""
    _tell(f"looptest will fire {what}.")
    if yes:
        return True
    if not sys.stdin.isatty():
        raise ValueError("looptest: expected --yes, since there is no terminal to ask on whether this may be fired")
    errors.print("Fire? [y/N]: ", end="", markup=False, highlight=False)
    while not stop.reason:
        if select.select([sys.stdin], [], [], _LOOK_S)[0]:
            return sys.stdin.readline().strip().lower() in {"y", "yes"}
    return False


def _tell(text: str) -> None:
    errors.print(text, markup=False, highlight=False, soft_wrap=True)


def _exit_code(reason: str) -> int:
    return 128 + int(signal.Signals[reason.removeprefix("signal ")]) if reason.startswith("signal ") else 2


def _write(result: "LightResult | EchoResult", out: Path) -> None:
    from realtime.looptest.picture import picture  # noqa: PLC0415

    (out / RESULT).write_text(json.dumps(result.as_dict(), indent=1) + "\n", encoding="utf-8")
    (out / PICTURE).write_text(picture(result), encoding="utf-8")


def _show(result: "LightResult | EchoResult", out: Path | None) -> None:
    from realtime.looptest import LightResult  # noqa: PLC0415
    from realtime.looptest.result import interval_text  # noqa: PLC0415

    names = ("p50", "p95", "p99", "max")
    table = Table("ms", *names)
    if isinstance(result, LightResult):
        light, seen = result.light_ms(), result.seen_ms()
        table.add_row("command → light", *(f"{light[name][0]:.2f}" for name in names))
        table.add_row("  95 % interval", *(interval_text(*light[name][1:]) for name in names))
        table.add_row("command → a frame that shows it", *(f"{seen[name]:.2f}" for name in names))
        with_loop = result.frame_to_light_ms()
        if with_loop:
            table.add_row("frame → light", *(f"{with_loop[name]:.2f}" if name in with_loop else "" for name in names))
    else:
        echo = result.echo_ms()
        table.add_row("command → acknowledgement", *(f"{echo[name]:.2f}" for name in names))
    console.print(table)
    for line in result.remarks():
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for warning in result.warnings():
        complain(f"warning: {warning}")
    if out is not None:
        console.print(f"picture: {out / PICTURE}", markup=False, highlight=False, soft_wrap=True)
