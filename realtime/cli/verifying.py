"""`poseloop verify`: is the engine equal to the reference?"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from camera_drivers.decoding import VideoReader
from models.errors import ModelError
from models.spec import ModelSpec
from realtime.cli.app import Json, app, clear_errors, complain, console, errors, progress_bar
from realtime.cli.engine_options import Engine, InPrecision, OnDevice, Threads, WithProvider
from realtime.cli.frames import spread_frames

if TYPE_CHECKING:
    from models.export.reference import Reference
    from models.exported import ExportedOptions
    from models.parity import Parity
    from models.verification import Verification

REFERENCE_SUFFIX = ".npz"


@app.command()
def verify(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An exported model, or zoo:NAME.")],
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="SAVEDMODEL|REFERENCE.npz|VIDEO",
            help="Compare with a TensorFlow SavedModel (a program: name only one that you trust), with stored poses, "
            "or on frames of a video, whose poses are computed in plain NumPy. By default: the model's own reference.",
        ),
    ] = None,
    kind: Annotated[
        Literal["exported", "guided"],
        typer.Option(help="How a rig runs it: exported, as one graph, or guided, in two halves (top-down models)."),
    ] = "exported",
    engine: Engine = "onnxruntime",
    device: OnDevice = "cpu",
    provider: WithProvider = "cuda",
    precision: InPrecision = "fp32",
    threads: Threads = None,
    all_engines: Annotated[bool, typer.Option("--all-engines", help="Compare every engine that is installed.")] = False,
    frames: Annotated[int, typer.Option(min=1, help="Frames of the video, evenly spread; some seconds each.")] = 8,
    tolerance_px: Annotated[
        float | None,
        typer.Option(help="How far points may lie from the reference; by default 0.1, in bf16 and int8 1.0."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare an engine's poses with a reference; exits with 0 within the tolerance and with 1 beyond it."""
    from models.exported import ExportedOptions  # noqa: PLC0415 - heavy, and only some commands need it
    from models.guided import GuidedOptions  # noqa: PLC0415

    given = {"engine": engine, "device": device, "provider": provider, "precision": precision, "threads": threads}
    tolerance = {} if tolerance_px is None else {"tolerance_px": tolerance_px}
    with clear_errors(camera_is_a_file=True):
        of_kind = {"exported": ExportedOptions, "guided": GuidedOptions}[kind]
        options = of_kind.model_validate({"path": model, **given, **tolerance})
        reference = _reference(options, against, frames, quiet=as_json)
        compared = _with_all_engines(options, reference) if all_engines else [_with_engine(options, reference)]
    code = max(one.exit_code for one in compared)
    if as_json:
        report = [one.as_dict() for one in compared]
        head = {"model": str(model), "against": str(against or "its own reference"), "n_images": len(reference.images)}
        typer.echo(json.dumps({**head, "engines": report, "exit_code": code}))
    else:
        _show(compared, reference)
    raise typer.Exit(code)


@dataclass(frozen=True, slots=True)
class _Compared:
    """An engine and how it came out, or why it could not be run.

    `tolerance_px` is what was asked for; None = what the precision needs.
    """

    title: str
    tolerance_px: float | None
    verification: "Verification | None"
    failure: str = ""

    @property
    def exit_code(self) -> int:
        if self.verification is None:
            return 3
        return 0 if self.verification.parity.within(self.tolerance_px) else 1

    @property
    def verdict(self) -> str:
        """What is wrong, or the empty string."""
        return self.failure if self.verification is None else self.verification.parity.deviation(self.tolerance_px)

    def as_dict(self) -> dict[str, object]:
        found = self.verification
        numbers = {} if found is None else {"description": found.engine, **found.parity.as_dict()}
        limit_px = self.tolerance_px if found is None else found.parity.tolerance_px(self.tolerance_px)
        verdict = {"equal": self.exit_code == 0, "deviation": self.verdict or None}
        return {"engine": self.title, "tolerance_px": limit_px, **verdict, **numbers}


def _reference(options: "ExportedOptions", against: Path | None, n_frames: int, *, quiet: bool) -> "Reference":
    from models.exported import model_folder  # noqa: PLC0415
    from models.verification import compute_reference, find_reference  # noqa: PLC0415

    if against is None or against.is_dir() or against.suffix == REFERENCE_SUFFIX:
        return find_reference(options.path, against)
    channels = ModelSpec.load(model_folder(options.path)).image.channels
    with progress_bar(quiet=quiet) as progress:
        task = progress.add_task("computing the reference in NumPy", total=n_frames)
        images = _images(against, channels, n_frames)
        return compute_reference(options.path, images, lambda done: progress.update(task, completed=done))


def _images(video: Path, channels: int, n_frames: int) -> Iterator[NDArray[np.uint8]]:
    """Yield `n_frames` images of a video."""
    with closing(VideoReader(video, channels)) as reader:
        for frame in spread_frames(reader, n_frames):
            yield frame.image


def _with_engine(options: "ExportedOptions", reference: "Reference") -> _Compared:
    from models.verification import verify as verify_engine  # noqa: PLC0415

    return _Compared(options.title, options.tolerance_px, verify_engine(options, reference))


def _with_all_engines(options: "ExportedOptions", reference: "Reference") -> list[_Compared]:
    from models.engines.registry import ALL_OPTIONS, BF16_OPTIONS, INT8_OPTIONS, installed_engines  # noqa: PLC0415
    from models.exported import model_folder  # noqa: PLC0415
    from models.guided import GuidedOptions  # noqa: PLC0415

    in_integers = () if ModelSpec.load(model_folder(options.path)).int8 is None else INT8_OPTIONS
    in_bfloat16 = BF16_OPTIONS if isinstance(options, GuidedOptions) else ()
    compared = []
    for engine in installed_engines((*ALL_OPTIONS, *in_integers, *in_bfloat16)):
        if not engine.works:
            errors.print(
                f"{engine.options.title}: not here: {engine.text}",
                style="dim",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            continue
        given = engine.options.model_dump() | {"threads": options.threads}
        try:
            compared.append(_with_engine(options.model_copy(update=given), reference))
        except ModelError as error:
            compared.append(_Compared(engine.options.title, options.tolerance_px, None, str(error)))
    return compared


def _show(compared: list[_Compared], reference: "Reference") -> None:
    table = Table("", *(one.title for one in compared))
    for label, cell in _ROWS.items():
        table.add_row(label, *("" if one.verification is None else cell(one.verification.parity) for one in compared))
    verdicts = {0: "[green]equal[/green]", 1: "[red]differs[/red]", 3: "[red]failed[/red]"}
    table.add_row("verdict", *(verdicts[one.exit_code] for one in compared))
    console.print(table)
    for one in compared:
        if one.verdict:
            complain(f"{one.title}: {one.verdict}")
    found = [one.verification.parity for one in compared if one.verification is not None]
    for limit_px, rounding in dict.fromkeys(
        (one.tolerance_px(compared[0].tolerance_px), one.rounding) for one in found
    ):
        console.print(
            f"{len(reference.images)} images; tolerance {limit_px:g} px for the median offset per axis and for "
            f"{rounding.percent} % of the points, {rounding.score:g} for {_share(rounding.score_percent)} scores",
            highlight=False,
        )


def _share(percent: int) -> str:
    return "all" if percent == 100 else f"{percent} % of the"


def _number(value: float, form: str) -> str:
    return "–" if np.isnan(value) else f"{value:{form}}"


_ROWS: dict[str, Callable[["Parity"], str]] = {
    "animals missing": lambda parity: f"{parity.missing} of {parity.n_animals}",
    "animals extra": lambda parity: f"{parity.extra}",
    "points missing, extra": lambda parity: f"{parity.missing_points}, {parity.extra_points}",
    "points compared": lambda parity: f"{parity.n_points}",
    "median offset x, px": lambda parity: _number(parity.offset_px[0], "+.4f"),
    "median offset y, px": lambda parity: _number(parity.offset_px[1], "+.4f"),
    "distance p50, px": lambda parity: _number(parity.p50_px, ".4f"),
    "distance p90, px": lambda parity: _number(parity.p90_px, ".4f"),
    "distance p99, px": lambda parity: _number(parity.p99_px, ".4f"),
    "distance max, px": lambda parity: _number(parity.max_px, ".4f"),
    "scores differ by, p90": lambda parity: _number(parity.p90_score_difference, ".5f"),
    "scores differ by up to": lambda parity: _number(parity.max_score_difference, ".5f"),
    "edge scores": lambda parity: _number(parity.max_edge_score_difference, ".5f"),
    "maps": lambda parity: _number(parity.max_map_difference, ".5f"),
}
