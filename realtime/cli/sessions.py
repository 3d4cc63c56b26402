"""Commands of sessions: run, demo, report, replay, check, devices."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from realtime import folder as session_folder
from realtime.cli.app import Json, app, clear_errors, complain, console, progress_bar
from realtime.cli.keys import Keys
from realtime.rig import load_rig

DEMO_RIG = Path(__file__).resolve().parents[2] / "rigs" / "demo.toml"
_YEAR_S = 31_536_000.0  # longer than any session, and whole in nanoseconds

RigFile = Annotated[Path, typer.Argument(metavar="RIG", help="A rig file (TOML), e.g. rigs/demo.toml.")]
Session = Annotated[Path, typer.Argument(metavar="SESSION", help="A session folder, as `run` leaves it.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="The session folder to make; by default below sessions/.")
]


@app.command()
def run(
    rig: RigFile,
    out: Out = None,
    seconds: Annotated[float | None, typer.Option(help="End after this many seconds.", min=0.1, max=_YEAR_S)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send no stimulus: every trigger only remembers what it was asked.")
    ] = False,
    arm: Annotated[
        bool, typer.Option("--arm", help="Let stimuli out from the first frame on; otherwise once you arm.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a rig until its camera ends, Ctrl-C, or --seconds; leaves a session folder with a report.

    Unless the rig says safety.armed_at_start, nothing goes out until you arm: with the key a here, or with `poseloop
    arm` elsewhere. The space bar, or `poseloop disarm`, switches everything off at once; Ctrl-C ends the session.
    """
    with clear_errors():
        load_rig(rig)
        folder = out or session_folder.default_folder(rig.stem)
        answer, code = _run_live(rig, folder, seconds=seconds, dry_run=dry_run, arm=arm, quiet=as_json)
        _show_end(answer, code, as_json=as_json)
    raise typer.Exit(code)


def _run_live(
    rig: Path, folder: Path, *, seconds: float | None, dry_run: bool = False, arm: bool = False, quiet: bool
) -> tuple[dict[str, Any], int]:
    """Run the loop in its own process and show its status; return its last answer and its exit code."""
    read_fd, write_fd = os.pipe()
    request = {
        "rig": str(rig),
        "out": str(folder),
        "dry_run": dry_run,
        "armed": arm,
        "seconds": seconds,
        "status_fd": write_fd,
    }
    # Ctrl-C reaches the whole foreground group: the loop's process answers it, this one waits for the answer.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "realtime.live"], stdin=subprocess.PIPE, pass_fds=(write_fd,), text=True
        ) as child:
            os.close(write_fd)
            _hand_over(child, request)
            forward = signal.signal(signal.SIGTERM, lambda number, _: child.send_signal(number))
            with os.fdopen(read_fd) as lines, Keys(folder, quiet=quiet):
                answer = _follow(lines, quiet=quiet)
            code = child.wait()
            signal.signal(signal.SIGTERM, forward)
    finally:
        signal.signal(signal.SIGINT, before)
    if code < 0:
        answer = {"error": {"kind": "Killed", "text": _how_it_died(-code, folder, answer.get("supervisor"))}}
        code = 128 - code
    return answer, code


def _how_it_died(number: int, folder: Path, supervisor: dict[str, Any] | None) -> str:
    died = f"the loop's process was killed by {signal.Signals(number).name}; {folder} is readable"
    if supervisor is None:
        return died
    outputs = ", ".join(f"{name} {what}" for name, what in supervisor["outputs"].items()) or "there are none"
    return f"{died}; {supervisor['reason']}; outputs: {outputs}"


def _hand_over(child: subprocess.Popen[str], request: dict[str, Any]) -> None:
    if child.stdin is not None:
        with child.stdin as pipe:
            json.dump(request, pipe)


def _follow(lines: Iterator[str], *, quiet: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"error": {"kind": "NoAnswer", "text": "the loop's process ended without an answer"}}
    with console.status("opening the rig (the very first start compiles for half a minute) …") as shown:
        if quiet:
            shown.stop()
        for line in lines:
            message = json.loads(line)
            if "status" in message:
                shown.update(_status_line(message["status"]))
            else:
                answer = {**answer, **message} if "supervisor" in message else message
    return answer


def _status_line(status: dict[str, Any]) -> str:
    rate = "" if status["frames_per_s"] is None else f" · {status['frames_per_s']:.0f} frames/s"
    rules = " ".join(f"{name} {state}" for name, state in status["rules"].items())
    stimuli = ", ".join(f"{count} {outcome}" for outcome, count in status["stimuli"].items()) or "no stimulus yet"
    drops = sum(status["drops"].values())
    arming = "ARMED (space: off)" if status["armed"] else "disarmed (a: arm)"
    ahead = status.get("lookahead")
    if ahead is not None:
        off = f" ({ahead['n_off']} of {ahead['n_groups']} switched off)" if ahead["n_off"] else ""
        rules += f" · {ahead['horizon_ms']:.1f} ms ahead{off}"
    return (
        f"{arming} · frame {status['frame_id']}{rate} · latency p50 {status['latency_p50_ms']:.1f} max "
        f"{status['latency_max_ms']:.1f} ms · {status['n_animals']} animals · {rules} · {stimuli} · {drops} not taken"
    )


def _show_end(answer: dict[str, Any], code: int, *, as_json: bool) -> None:
    if as_json:
        end = answer.get("end", answer)
        typer.echo(json.dumps({**end, "exit_code": code}))
        return
    if "error" in answer:
        complain(answer["error"]["text"])
        return
    end = answer["end"]
    for what in (end["fault"] and f"disarmed, outputs off: {end['fault']}", end["error"] and end["error"]["text"]):
        if what:
            complain(what)
    console.print(f"session: {end['folder']}", highlight=False, soft_wrap=True)
    _write_report(Path(end["folder"]))


def _write_report(folder: Path) -> None:
    from realtime.report import summary, summary_text, write_report  # noqa: PLC0415 - drawn only when asked for

    console.print(summary_text(summary(folder)), highlight=False, markup=False)
    console.print(f"report: {write_report(folder)}", highlight=False, soft_wrap=True)


@app.command()
def demo(
    seconds: Annotated[float, typer.Option(help="How long the loop runs.", min=1.0, max=_YEAR_S)] = 10.0,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Run the whole loop on simulated animals and a simulated stimulator, then replay it; needs no hardware."""
    from realtime.demo import Listener  # noqa: PLC0415 - only this command needs it

    with clear_errors():
        folder = out or session_folder.default_folder("demo")
        with Listener(load_rig(DEMO_RIG)) as listener:
            answer, code = _run_live(DEMO_RIG, folder, seconds=seconds, quiet=as_json)
        _show_end(answer, code, as_json=as_json)
        if code == 0 and not as_json:
            console.print(f"a ZMQ subscriber in another process received {listener.n_received} commands")
            console.print(f"now replaying it: poseloop replay {folder}", highlight=False, soft_wrap=True)
            replay(folder)
    raise typer.Exit(code)


@app.command()
def report(folder: Session, as_json: Json = False) -> None:
    """Print a session's latencies, drops, rules and stimuli, and draw them as one HTML page."""
    from realtime.report import summary, write_report  # noqa: PLC0415 - drawn only when asked for

    with clear_errors():
        if as_json:
            typer.echo(json.dumps({**summary(folder), "report": str(write_report(folder))}))
        else:
            _write_report(folder)


@app.command()
def replay(
    folder: Session,
    rig: Annotated[Path | None, typer.Option(help="Another rig file: what would its rules have done?")] = None,
    from_poses: Annotated[bool, typer.Option("--from-poses", help="Use the logged poses; needs no model.")] = False,
    from_frames: Annotated[
        bool, typer.Option("--from-frames", help="Run the model on the recorded pictures, lossy video included.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the identical loop on a recorded session and say `identical`, or what differs first."""
    from realtime.replay import replay_session  # noqa: PLC0415 - heavy, and only this command needs it

    with clear_errors(camera_is_a_file=True):
        if from_poses and from_frames:
            raise ValueError("expected --from-poses or --from-frames, got both")
        other = None if rig is None else load_rig(rig)
        with progress_bar(quiet=as_json) as progress:
            task = progress.add_task("replaying", total=None)
            comparison, frames_from = replay_session(
                folder,
                rig=other,
                source="poses" if from_poses else "frames" if from_frames else "auto",
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    if as_json:
        typer.echo(json.dumps({**comparison.as_dict(), "frames_from": frames_from}))
    else:
        _show_comparison(comparison.as_dict(), frames_from)
    raise typer.Exit(0 if comparison.identical or rig is not None else 1)


FRAMES_FROM = {"source": "the original frames", "video": "the recorded video", "poses": "the logged poses"}


def _show_comparison(result: dict[str, Any], frames_from: str) -> None:
    verdict = "identical" if result["identical"] else f"different: {result['first_difference']}"
    console.print(f"{result['n_frames_replayed']} frames from {FRAMES_FROM[frames_from]}: {verdict}", highlight=False)
    for fault in result["rule_faults"].values():
        told = f"{fault}; it is unknown from there on, and a live session disarms"
        console.print(told, style="yellow", highlight=False, markup=False, soft_wrap=True)
    poses = result["poses"]
    if not poses["identical"] and poses["p50_px"] is not None:
        console.print(
            f"poses moved: p50 {poses['p50_px']:.3f}, p99 {poses['p99_px']:.3f}, max {poses['max_px']:.3f} px over "
            f"{poses['n_points']} points; {poses['n_frames_other_count']} frames with another number of animals",
            highlight=False,
        )
    if result["identical"]:
        return
    table = Table("rule", "onsets recorded", "replayed", "only recorded (frames)", "only replayed (frames)")
    for rule, onsets in result["onsets"].items():
        table.add_row(
            rule,
            str(onsets["recorded"]),
            str(onsets["replayed"]),
            _frames(onsets["only_recorded"]),
            _frames(onsets["only_replayed"]),
        )
    console.print(table)
    for stimulus, outcomes in result["outcomes"].items():
        counts = ", ".join(f"{name} {n['recorded']} → {n['replayed']}" for name, n in outcomes.items())
        console.print(f"{stimulus}: {counts}", highlight=False)


def _frames(frame_ids: list[int], most: int = 8) -> str:
    shown = ", ".join(str(frame_id) for frame_id in frame_ids[:most])
    return f"{shown}, … ({len(frame_ids)})" if len(frame_ids) > most else shown


@app.command()
def check(rig: RigFile, as_json: Json = False) -> None:
    """Try everything that a rig names (model, rules, camera, triggers) and list all that is wrong; fires nothing."""
    from realtime.check import check_rig  # noqa: PLC0415 - opens devices; only this command needs it

    with clear_errors():
        findings = check_rig(rig)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    else:
        for finding in findings:
            style = {"ok": "green", "warning": "yellow", "error": "red"}[finding.level]
            console.print(f"{finding.level:7}", style=style, end=" ")
            console.print(f"{finding.subject}: {finding.text}", markup=False, highlight=False, soft_wrap=True)
    wrong = [finding for finding in findings if finding.level == "error"]
    raise typer.Exit(0 if not wrong else 2 if all(finding.subject == "rig" for finding in wrong) else 1)


@app.command()
def devices(as_json: Json = False) -> None:
    """List the camera drivers, model kinds and triggers that a rig can name, and the serial ports of this machine."""
    from serial.tools.list_ports import comports  # noqa: PLC0415

    import camera_drivers.registry  # noqa: PLC0415 - only this command lists them
    import models.registry  # noqa: PLC0415
    import triggers.registry  # noqa: PLC0415

    kinds = {
        "camera_drivers": sorted(camera_drivers.registry.names()),
        "model_kinds": sorted(models.registry.names()),
        "triggers": sorted(triggers.registry.names()),
    }
    ports = {port.device: port.description for port in comports()}
    if as_json:
        typer.echo(json.dumps({**kinds, "serial_ports": ports}))
        return
    for kind, names in kinds.items():
        console.print(f"{kind.replace('_', ' ')}: {', '.join(names)}", highlight=False)
    described = ", ".join(f"{port} ({text})" for port, text in ports.items())
    console.print(f"serial ports: {described or 'none found'}", highlight=False)
