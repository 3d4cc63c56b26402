"""`poseloop train`: labels into a model folder."""

import json
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Table

from realtime.cli.app import Json, app, clear_errors, complain, console, errors

if TYPE_CHECKING:
    from models.training.fit import Progress as FitProgress


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A training file, as models/zoo/*/train.toml.")],
    out: Annotated[Path, typer.Option("--out", metavar="MODEL", help="The model folder to make.")],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training that was interrupted there.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the training that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Train a model of any type from .slp labels, export it, verify it and evaluate it; needs the extra `train`.

    Ctrl-C stops after the step at hand, and --resume goes on from there.
    """
    # TensorFlow tells of every GPU that is not there.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from models.exported import ExportedOptions  # noqa: PLC0415 - heavy, and only some commands need it
    from models.training.train import train as train_model  # noqa: PLC0415 - needs the extra `train`
    from models.verification import verify  # noqa: PLC0415

    if resume and overwrite:
        complain("expected --resume or --overwrite, got both")
        raise typer.Exit(2)
    with clear_errors(), _stopping(config, out) as stop:
        with _Bars(disable=as_json) as bars:
            train_model(config, out, resume=resume, overwrite=overwrite, report=bars.show, stop=stop)
        options = ExportedOptions(path=out)
        parity = verify(options).parity
    equal = parity.within(options.tolerance_px)
    evaluation = out / "evaluation.json"
    found = json.loads(evaluation.read_text(encoding="utf-8")) if evaluation.exists() else None
    if as_json:
        report = {"model": str(out), "verified": equal, "parity": parity.as_dict(), "evaluation": found}
        typer.echo(json.dumps(report))
    else:
        _show(out, found, "" if equal else parity.deviation(options.tolerance_px))
    raise typer.Exit(0 if equal else 1)


@contextmanager
def _stopping(config: Path, out: Path) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether somebody wants the training to end; a second Ctrl-C ends it at once."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    except KeyboardInterrupt:
        again = shlex.join(["poseloop", "train", str(config), "--out", str(out), "--resume"])
        complain(f"interrupted; go on with: {again}")
        raise typer.Exit(128 + (received[0] if received else signal.SIGINT)) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Bars:
    """A progress bar for each network."""

    _REFRESH_S = 0.2

    def __init__(self, *, disable: bool) -> None:
        self._progress = Progress(
            TextColumn("{task.fields[network]:>8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            console=errors,
            disable=disable,
        )
        self._tasks: dict[str, TaskID] = {}
        self._printed: dict[str, int] = {}
        self._shown_s = 0.0

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, now: "FitProgress | str") -> None:
        """Tell what is being done."""
        if isinstance(now, str):
            self._progress.console.print(now, style="dim")
            return
        if not self._progress.console.is_terminal:
            self._print_epoch(now)
            return
        if now.network not in self._tasks:
            self._tasks[now.network] = self._progress.add_task("", network=now.network, total=now.of)
        if now.step == now.of or time.monotonic() - self._shown_s > self._REFRESH_S:
            self._shown_s = time.monotonic()
            self._progress.update(self._tasks[now.network], completed=now.step, description=_described(now))

    def _print_epoch(self, now: "FitProgress") -> None:
        """Print a line an epoch, for a log."""
        if self._progress.disable or self._printed.get(now.network, 0) == len(now.epochs):
            return
        self._printed[now.network] = len(now.epochs)
        self._progress.console.print(f"{now.network}: {_described(now)}", highlight=False, soft_wrap=True)


def _described(now: "FitProgress") -> str:
    said = f"epoch {len(now.epochs) + 1}  loss {now.loss:.5f}"
    if now.epochs:
        best = min(epoch.validation_loss for epoch in now.epochs)
        said += f"  validation {now.epochs[-1].validation_loss:.5f} (best {best:.5f})"
    minutes, seconds = divmod(round(now.remaining_s), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours} h {minutes:02} min" if hours else f"{minutes}:{seconds:02}"
    return f"{said}  at most {left} left"


def _show(out: Path, evaluation: dict[str, Any] | None, deviation: str) -> None:
    if evaluation is not None:
        detection = evaluation["detection"]
        console.print(
            f"{detection['frames']} frames held out: {detection['found']} of {detection['animals']} animals found, "
            f"{detection['extra']} extra; {100 * detection['complete_fraction']:.1f} % of the frames complete",
            highlight=False,
        )
        console.print(_node_table(evaluation))
        if silent := _not_learnt(evaluation):
            complain(
                f"{', '.join(silent)}: hardly ever reported, so the network has not learnt these maps; train longer, "
                "with a lower learning_rate, or with another seed"
            )
        if evaluation["identity"] is not None:
            console.print(f"identity right: {100 * evaluation['identity']['accuracy_by_name']:.1f} %", highlight=False)
    console.print(f"verified: {deviation or 'equal to its reference'}", highlight=False, markup=False)
    console.print(f"pictures: {out / 'training'}", highlight=False, soft_wrap=True)
    console.print(f"model: {out}", highlight=False, soft_wrap=True)


def _not_learnt(evaluation: dict[str, Any]) -> list[str]:
    """Return the nodes that the model leaves out in most animals that it finds."""
    return [name for name, node in evaluation["nodes"].items() if (node["not_reported_fraction"] or 0) > 0.5]


def _node_table(evaluation: dict[str, Any]) -> Table:
    table = Table("node", box=None)
    for heading in ("n", "p50 px", "p90 px", "p95 px", "not reported"):
        table.add_column(heading, justify="right")
    for name, node in {**evaluation["nodes"], "all": evaluation["errors"]}.items():
        distances = [_number(node[key], "{:.2f}") for key in ("p50_px", "p90_px", "p95_px")]
        table.add_row(name, str(node["n"]), *distances, _number(node["not_reported_fraction"], "{:.1%}"))
    return table


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)
