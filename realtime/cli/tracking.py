"""`poseloop track`: a video into poses and tracks, offline."""

import contextlib
import json
import signal
import time
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.progress import BarColumn, Progress, TextColumn

from models.errors import ModelFailedError
from models.spec import listed_faults
from realtime.cli.app import Json, app, clear_errors, complain, console, errors
from realtime.cli.engine_options import Engine, InPrecision, OnDevice, Threads, WithProvider
from realtime.cli.frames import frame_range
from realtime.tracking import TrackerOptions

if TYPE_CHECKING:
    from models.exported import ExportedModel
    from realtime.offline import Progress as Found
    from realtime.offline import TrackReport, TrackRequest, Unfinished
    from realtime.tracking.sleap import SleapTrackerOptions

LINE_EVERY_S = 10.0
LIVE = "live"
SLEAP: dict[str, Literal["simple", "flow"]] = {"sleap": "simple", "sleap-flow": "flow"}

TrackerName = Annotated[
    str,
    typer.Option(
        metavar="NAME|TOML",
        help="live: that of a session. sleap: SLEAP's own, on the poses alone. sleap-flow: SLEAP's default, which "
        "follows the picture too and decodes the video again. Or a file with a tracker section, as a rig file has.",
    ),
]
JoinBreaks = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="N animals are there all the time: where one track ends and one begins, it is the same animal "
        "(SLEAP's final pass). Not for the live tracker of a closed population, whose tracks never end.",
    ),
]
SmoothSeconds = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Smooth each node of each track over time, without delay: the parabola that fits best in a window of "
        "so many seconds round each frame; 0.2 is a good start. Never across frames in which the node is not seen: "
        "a run of frames shorter than the window gets one parabola, up to three frames stay. Scores stay too.",
    ),
]


@app.command()
def track(
    video: Annotated[
        Path, typer.Argument(metavar="VIDEO", help="Any file that FFmpeg reads.", exists=True, dir_okay=False)
    ],
    model: Annotated[Path, typer.Option("--model", "-m", metavar="MODEL", help="An exported model, or zoo:NAME.")],
    out: Annotated[
        list[Path],
        typer.Option("--out", "-o", metavar="FILE", help="A .slp, .h5 (SLEAP's analysis) or .csv to make; repeatable."),
    ],
    frames: Annotated[
        str, typer.Option(metavar="FIRST-LAST", help="Only these, counted from 0; either side may be left out.")
    ] = "-",
    batch: Annotated[int, typer.Option(min=1, max=256, help="Frames that go through the model together.")] = 8,
    tracker: TrackerName = LIVE,
    max_animals: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="The live tracker's max_tracks: how many animals there are at most."),
    ] = None,
    no_tracking: Annotated[bool, typer.Option("--no-tracking", help="Poses without tracks.")] = False,
    join_breaks: JoinBreaks = None,
    smooth_s: SmoothSeconds = None,
    engine: Engine = "onnxruntime",
    device: OnDevice = "cpu",
    provider: WithProvider = "cuda",
    precision: InPrecision = "fp32",
    threads: Threads = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs, and unfinished work of another job.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Find and follow the animals of a whole video; the same command again continues an interrupted run."""
    from models.exported import ExportedModel, ExportedOptions  # noqa: PLC0415 - heavy, and only this command
    from realtime.offline import TrackRequest  # noqa: PLC0415

    with clear_errors(camera_is_a_file=True):
        first, last = frame_range(frames)
        request = TrackRequest(
            video=video,
            outputs=tuple(out),
            first=first,
            last=last,
            batch=batch,
            tracker=_tracker_options(tracker, max_animals, no_tracking=no_tracking),
            join_breaks=join_breaks,
            smooth_s=smooth_s,
            overwrite=overwrite,
        )
        options = ExportedOptions(
            path=model, engine=engine, device=device, provider=provider, precision=precision, threads=threads
        )
        report, signal_number = _tracked(request, ExportedModel(options), quiet=as_json)
    raise typer.Exit(_show_end(request, model, report, signal_number, as_json=as_json))


def _tracked(request: "TrackRequest", model: "ExportedModel", *, quiet: bool) -> tuple["TrackReport | Unfinished", int]:
    """Track, close the model, and return what became of it and the signal that came, or 0."""
    from realtime.offline import track_video  # noqa: PLC0415 - heavy, and only this command

    with _Stop() as stop, _Display(quiet=quiet) as display, contextlib.closing(model):
        try:
            return track_video(request, model, stopped=stop.asked, tell=display.tell), stop.number
        except ModelFailedError as error:
            kept = "what was found before is kept: the same command again goes on from there"
            raise ModelFailedError(f"{error}\n{kept}") from error


class _TrackerFile(BaseModel):
    """A rig file, of which only the tracker counts."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)

    tracker: TrackerOptions


def _tracker_options(
    name: str, max_animals: int | None, *, no_tracking: bool
) -> "TrackerOptions | SleapTrackerOptions | None":
    if no_tracking:
        if name != LIVE or max_animals is not None:
            raise ValueError("expected --no-tracking or options of the tracker, got both")
        return None
    if name in SLEAP:
        if max_animals is not None:
            raise ValueError(f"--max-animals: expected the live tracker, got --tracker {name}, which has no limit")
        from realtime.tracking.sleap import SleapTrackerOptions  # noqa: PLC0415 - needs SciPy, and only here

        return SleapTrackerOptions(tracker=SLEAP[name])
    options = TrackerOptions() if name == LIVE else _read_tracker(Path(name))
    if max_animals is None:
        return options
    return TrackerOptions.model_validate(options.model_dump() | {"max_tracks": max_animals})


def _read_tracker(file: Path) -> TrackerOptions:
    try:
        return _TrackerFile.model_validate(tomllib.loads(file.read_text(encoding="utf-8"))).tracker
    except OSError as error:
        names = ", ".join((LIVE, *SLEAP))
        raise ValueError(
            f"{file}: expected one of {names}, or a file with a tracker section: {error.strerror}"
        ) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{file}: not valid TOML: {error}") from error
    except ValidationError as error:
        raise ValueError(listed_faults(str(file), error)) from error


class _Stop:
    """Turns SIGINT and SIGTERM into a wish; the second one is the default again, for who cannot wait.

    Attributes:
        number: The signal that came, or 0.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.number = 0

    def asked(self) -> bool:
        """Return whether a signal came."""
        return self.number != 0

    def __enter__(self) -> "_Stop":
        self._before = {number: signal.signal(number, self._remember) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.number = number
        for one in self.SIGNALS:
            signal.signal(one, signal.SIG_DFL)


class _Display:
    """Shows how far it is: a bar on a terminal, a line now and then elsewhere, or nothing."""

    def __init__(self, *, quiet: bool) -> None:
        self._lines = not quiet and not errors.is_terminal
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), console=errors, disable=quiet or self._lines, transient=True
        )
        self._task = self._bar.add_task("opening the video", total=None)
        self._start_s = self._line_s = time.monotonic()

    def __enter__(self) -> "_Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, found: "Found") -> None:
        """Show it."""
        now_s = time.monotonic()
        if found.n_done == 0:
            self._start_s = now_s
        text = _told(found, now_s - self._start_s)
        self._bar.update(self._task, description=text, completed=found.index, total=found.end)
        if self._lines and now_s - self._line_s >= LINE_EVERY_S:
            self._line_s = now_s
            errors.print(text, highlight=False)


def _told(found: "Found", seconds: float) -> str:
    frame = f"frame {found.index}" + ("" if found.end is None else f" of {found.end}")
    if found.stage == "following":
        if found.index == found.end:
            return "all animals are followed · writing the files"
        frame = f"following the animals: {frame}"
    elif found.index == found.end:
        return f"{frame} · all poses are found"
    if found.n_done == 0 or seconds <= 0:
        return f"{frame} · on the way to the first one"
    rate = found.n_done / seconds
    left = "" if found.end is None else f" · {_duration((found.end - found.index) / rate)} left"
    return f"{frame} · {rate:.0f} frames/s{left} · {found.n_animals} animals"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes}:{rest:02d} min"


def _show_end(
    request: "TrackRequest", model: Path, report: "TrackReport | Unfinished", signal_number: int, *, as_json: bool
) -> int:
    """Print what became of it; return the exit code."""
    from realtime.offline import Unfinished  # noqa: PLC0415

    partial = not isinstance(report, Unfinished) and report.damage is not None
    code = 128 + signal_number if isinstance(report, Unfinished) else 3 if partial else 0
    if as_json:
        ending = {"interrupted": isinstance(report, Unfinished), "partial": partial, "exit_code": code}
        typer.echo(json.dumps({"video": request.video, "model": model, **asdict(report), **ending}, default=str))
    elif isinstance(report, Unfinished):
        complain(
            f"interrupted after {report.n_frames} frames, which are kept in {report.work_file}: "
            f"the same command again goes on from there"
        )
    else:
        _show(request, report)
    return code


def _show(request: "TrackRequest", report: "TrackReport") -> None:
    if report.damage is not None:
        complain(
            f"{report.damage}\nthe {report.n_frames} frames before it are written, marked as partial: copy the video "
            f"again from its source, or repair it (ffmpeg -err_detect ignore_err -i {request.video} -crf 12 "
            f"REPAIRED.mp4), and track that"
        )
    speed = "" if report.frames_per_s is None else f" at {report.frames_per_s:.0f} frames/s"
    names = ", ".join(report.track_names[:8]) + (f", … ({len(report.track_names)})" * (len(report.track_names) > 8))
    text = f"{report.n_frames} frames{speed} · {report.n_instances} instances · tracks: {names or 'none'}"
    console.print(text, highlight=False, markup=False, soft_wrap=True)
    for what in _doubts(request, report):
        console.print(what, highlight=False, markup=False, style="yellow", soft_wrap=True)
    for path in report.outputs:
        console.print(f"written: {path}", highlight=False, markup=False, soft_wrap=True)


def _doubts(request: "TrackRequest", report: "TrackReport") -> Iterator[str]:
    if report.n_left_out and isinstance(request.tracker, TrackerOptions):
        most = request.tracker.max_tracks
        yield (
            f"{report.n_left_out} instances belong to no track and are left out: doubles, or more animals than "
            f"--max-animals {most} says"
        )
    if report.n_overflows:
        yield f"{report.n_overflows} frames held more animals than the model has room for"
    if report.n_faults:
        yield f"{report.n_faults} points came out that no healthy network gives; they count as not seen"
