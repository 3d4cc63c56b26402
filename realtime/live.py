"""A live session in a process of its own: opens the rig, runs the loop, leaves the session folder.

Started by the command line as `python -m realtime.live` with a JSON request on standard input, so that the loop's
process holds nothing that it does not need. It answers with JSON lines on the pipe that the request names: `{"status":
…}` while it runs, then one `{"end": …}` or `{"error": …}`.
"""

import ctypes
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from camera_drivers.acquisition import Acquisition
from camera_drivers.base import CameraInfo
from camera_drivers.errors import CameraError
from models.base import PoseModel
from models.errors import ModelError
from realtime import folder as session_folder
from realtime import session
from realtime.assemble import (
    check_parity,
    identity_names,
    load_model,
    make_camera,
    make_drill,
    make_leveller,
    make_lookahead,
    make_rules,
    make_stimulator,
    make_tracker,
    open_trigger,
)
from realtime.lookahead import LookAhead
from realtime.loop import Parts, Sink, StopRequest
from realtime.machine import describe_machine, poseloop_version
from realtime.plane import Leveller
from realtime.recording import Recorder, RecorderReport, RecordingError
from realtime.recording.records import EndRecord, NoteRecord
from realtime.rig import Choice, Rig, RigError, load_rig
from realtime.rules import Rule
from realtime.scheduling import ask_for_short_slices
from realtime.sinks import ModelWatch, RecorderSink, RuleWatch, StatusSink
from realtime.stimulus import Stimulator
from realtime.supervision.link import SupervisorError, SupervisorLink
from realtime.timing import HostClock
from realtime.tracking import GreedyTracker
from triggers.base import Trigger, TriggerInfo
from triggers.errors import TriggerError
from triggers.recording import RecordingOptions

PR_SET_PDEATHSIG = 1
_REHEARSAL = Choice("recording", RecordingOptions())  # in the place of every trigger of a dry run


@dataclass(frozen=True, slots=True)
class Request:
    """What to run.

    Attributes:
        rig: The rig file.
        out: The session folder to make.
        dry_run: Replace every trigger by one that only remembers, and arm it.
        armed: Arm at the start, whatever the rig says.
        seconds: End after this long, or None.
        status_fd: Write end of the pipe for the answer, or None.
    """

    rig: str
    out: str
    dry_run: bool = False
    armed: bool = False
    seconds: float | None = None
    status_fd: int | None = None


@dataclass(frozen=True, slots=True)
class LiveEnd:
    """How a live session ended, for whoever started it.

    Attributes:
        fault: What went wrong so that it was disarmed and was not armed again, or the empty string.
    """

    folder: Path
    end: session.SessionEnd
    recorder: RecorderReport
    drops: Mapping[str, int]
    fault: str


class _Deadline:
    """A sink that ends the session after a given time."""

    def __init__(self, stop: StopRequest, seconds: float) -> None:
        self._stop = stop
        self._seconds = seconds
        self._end_ns = time.monotonic_ns() + round(seconds * 1e9)

    def append(self, _: object) -> None:
        if time.monotonic_ns() >= self._end_ns:
            self._stop.request(f"{self._seconds:g} s are over")


def run_live(
    request: Request, stop: StopRequest, around: Callable[[tuple[Sink, ...]], tuple[Sink, ...]] = tuple
) -> LiveEnd:
    """Open a rig, run it until it ends, and leave a complete session folder.

    Everything is opened before the triggers are, so that a rig that cannot run, or whose engine does not find what the
    model's reference says, never touches its outputs.

    Args:
        request: What to run.
        stop: Ends it when asked.
        around: Takes the session's sinks and returns those to use: a benchmark puts its own between them.

    Raises:
        RigError, FolderError, CameraError, ModelError, TriggerError, RecordingError, SupervisorError: It could not be
            started.
    """
    rig, out = load_rig(Path(request.rig)), Path(request.out)
    armed = rig.safety.armed_at_start or request.armed or request.dry_run
    with ExitStack() as opened:
        link = SupervisorLink(rig.safety, {} if request.dry_run else rig.triggers, out, request.status_fd)
        opened.callback(link.close, off=True)
        seeing = _open_seeing(rig, opened, fires=bool(rig.triggers) and not request.dry_run)
        session_folder.create_folder(out)
        opened.callback(session_folder.remove_if_empty, out)
        outputs, infos = _open_triggers(rig, opened, dry_run=request.dry_run)
        link.open()
        description = {**_describe(rig, seeing, infos), "armed_at_start": armed, "orders": link.addresses}
        _write_description(out, description)
        shutil.copyfile(rig.path, out / session_folder.RIG)
        recorder = Recorder(out, rig.recording, seeing.camera.ring.handle())
        opened.callback(recorder.close)
        recorder.open()
        stimulator = make_stimulator(rig, outputs, armed=armed, orders=link, extending=_extending(infos))
        parts = Parts(
            camera=seeing.camera,
            model=seeing.model,
            tracker=seeing.tracker,
            rules=seeing.rules,
            stimulator=stimulator,
            clock=HostClock(),
            sinks=around(_sinks(request, rig, recorder, seeing, stop, stimulator)),
            camera_lost_s=rig.loop.camera_lost_s,
            lookahead=seeing.lookahead,
            leveller=seeing.leveller,
        )
        # Only now: threads that a model starts inherit what the thread that starts them has.
        ask_for_short_slices()
        end = session.run(parts, stop)
        drops = {str(reason): count for reason, count in seeing.camera.drops.items()}
        return _write_end(out, description, recorder, stimulator, end, drops)


@dataclass(frozen=True, slots=True)
class _Seeing:
    """What makes decisions of frames, opened and warm, with what the camera and the comparison of the model told."""

    camera: Acquisition
    camera_info: CameraInfo
    model: PoseModel
    parity: Mapping[str, Any]
    tracker: GreedyTracker
    rules: tuple[Rule, ...]
    lookahead: LookAhead | None
    leveller: Leveller | None


def _open_seeing(rig: Rig, opened: ExitStack, *, fires: bool) -> _Seeing:
    camera = make_camera(rig)
    opened.callback(camera.close)
    info = camera.open()
    model = load_model(rig)
    opened.callback(model.close)
    rules, tracker = make_rules(rig, model), make_tracker(rig, model)
    lookahead, leveller = make_lookahead(rig, model), make_leveller(rig, model, info)
    drill = make_drill(rig, model, info)
    if drill is not None:
        camera.drill(drill.once)
    model.warm_up(info.height, info.width, info.channels)
    parity = check_parity(rig, model, fires=fires)
    return _Seeing(camera, info, model, parity, tracker, rules, lookahead, leveller)


def _sinks(
    request: Request, rig: Rig, recorder: Recorder, seeing: _Seeing, stop: StopRequest, stimulator: Stimulator
) -> tuple[Sink, ...]:
    stop_on_failure, px_per_mm = rig.loop.when_recording_fails == "stop", rig.calibration.px_per_mm
    sinks: list[Sink] = [
        RecorderSink(recorder, stop, stop_on_failure=stop_on_failure, px_per_mm=px_per_mm),
        ModelWatch(seeing.model, rig.safety.bad_frames, stimulator.obey),
        RuleWatch(seeing.rules, rig.safety.bad_frames, stimulator.obey),
    ]
    if request.status_fd is not None:
        sinks.append(StatusSink(request.status_fd, seeing.camera, stimulator))
    if request.seconds is not None:
        sinks.append(_Deadline(stop, request.seconds))
    return tuple(sinks)


def _write_end(
    out: Path,
    description: Mapping[str, Any],
    recorder: Recorder,
    stimulator: Stimulator,
    end: session.SessionEnd,
    drops: dict[str, int],
) -> LiveEnd:
    """Complete the log and the description of a session that ended."""
    fault = stimulator.fault
    if end.error is not None:
        recorder.append(NoteRecord(time.monotonic_ns(), "error", f"{type(end.error).__name__}: {end.error}"))
    for order in stimulator.unreported:
        recorder.append(NoteRecord(order.host_ns, "order", f"{order.kind}: {order.by}"))
    if fault:
        recorder.append(NoteRecord(time.monotonic_ns(), "fault", fault))
    recorder.append(EndRecord(time.monotonic_ns(), end.reason, drops))
    report = recorder.close()
    ending = {
        "ended": end.reason,
        "error": None if end.error is None else str(end.error),
        "n_frames": end.n_frames,
        "fault": fault,
        "drops": drops,
        "recorder": asdict(report),
    }
    _write_description(out, {**description, **ending})
    return LiveEnd(out, end, report, drops, fault)


def _write_description(out: Path, description: Mapping[str, Any]) -> None:
    try:
        session_folder.write_description(out, dict(description))
    except OSError as error:
        raise RecordingError(f"{out / session_folder.DESCRIPTION}: cannot write it: {error.strerror}") from error


def _open_triggers(rig: Rig, opened: ExitStack, *, dry_run: bool) -> tuple[dict[str, Trigger], dict[str, TriggerInfo]]:
    outputs: dict[str, Trigger] = {}
    infos: dict[str, TriggerInfo] = {}
    for name, choice in rig.triggers.items():
        outputs[name], infos[name] = open_trigger(_REHEARSAL if dry_run else choice, opened, reopens=True)
    return outputs, infos


def _extending(infos: Mapping[str, TriggerInfo]) -> list[str]:
    return [name for name, info in infos.items() if info.extends]


def _describe(rig: Rig, seeing: _Seeing, outputs: Mapping[str, TriggerInfo]) -> dict[str, Any]:
    model, skeleton = seeing.model, seeing.model.skeleton
    return {
        "format_version": session_folder.FORMAT_VERSION,
        "poseloop_version": poseloop_version(),
        "started_wall": datetime.now(UTC).isoformat(),
        "started_ns": time.monotonic_ns(),
        "rig": rig.settings,
        "rig_path": str(rig.path.resolve()),
        "camera": asdict(seeing.camera_info),
        "model": {
            **model.source,
            "skeleton": {"nodes": skeleton.nodes, "edges": skeleton.edges},
            "class_names": model.class_names,
            "parity": seeing.parity,
        },
        "identities": identity_names(rig, model),
        "rules_in_python": {rule.name: rule.plugin.source for rule in seeing.rules if rule.plugin is not None},
        "triggers": {name: asdict(info) for name, info in outputs.items()},
        "machine": describe_machine(),
        "seed": rig.settings["camera"].get("seed"),
        "ended": None,
    }


def exit_code(end: LiveEnd) -> int:
    """Return the process's exit code for a session that ran: see `poseloop --help`."""
    if end.end.error is not None or end.fault:
        return 3
    if end.end.reason.startswith("recording failed") or end.recorder.errors:
        return 4
    if end.end.reason.startswith("signal "):
        return 128 + int(signal.Signals[end.end.reason.removeprefix("signal ")])
    return 0


def main() -> int:
    """Run the request on standard input; return the exit code."""
    # The session ends, outputs off, when the command line that started it dies.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    request = Request(**json.load(sys.stdin))
    stop = StopRequest()
    with session.stop_on_signals(stop):
        try:
            end = run_live(request, stop)
        except (RigError, session_folder.FolderError, ModelError) as error:
            return _answer(request, {"error": {"kind": type(error).__name__, "text": str(error)}}, 2)
        except RecordingError as error:
            return _answer(request, {"error": {"kind": type(error).__name__, "text": str(error)}}, 4)
        except (CameraError, TriggerError, SupervisorError, OSError) as error:
            return _answer(request, {"error": {"kind": type(error).__name__, "text": str(error)}}, 3)
    failure = end.end.error
    answer = {
        "folder": str(end.folder),
        "n_frames": end.end.n_frames,
        "reason": end.end.reason,
        "error": None if failure is None else {"kind": type(failure).__name__, "text": str(failure)},
        "fault": end.fault,
        "drops": dict(end.drops),
        "recorder": asdict(end.recorder),
    }
    return _answer(request, {"end": answer}, exit_code(end))


def _answer(request: Request, answer: dict[str, Any], code: int) -> int:
    if request.status_fd is not None:
        os.set_blocking(request.status_fd, True)
        os.write(request.status_fd, json.dumps(answer).encode() + b"\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
