"""`poseloop tune-engine`: what runs a model fastest here."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.table import Table

from models.spec import ModelSpec
from realtime.cli.app import Json, app, clear_errors, complain, console, progress_bar

if TYPE_CHECKING:
    from models.tuning import Candidate, Tuned


@app.command("tune-engine")
def tune_engine(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An exported model, or zoo:NAME.")],
    frames: Annotated[int, typer.Option(min=10, help="Frames to time with each engine.")] = 200,
    as_json: Json = False,
) -> None:
    r"""Time every installed engine, precision and number of threads on a model, and print the rig's \[model] section.

    What is fastest here may not be elsewhere: run it on the rig's own computer, with nothing else running. Ways that do
    not find what the model's reference says are shown and never chosen. Exits with 1 if none does.
    """
    from models.exported import model_folder  # noqa: PLC0415 - heavy, and only some commands need it
    from models.tuning import best, candidates, tune  # noqa: PLC0415

    with clear_errors():
        ways = candidates(ModelSpec.load(model_folder(model)))
        with progress_bar(quiet=as_json) as progress:
            task = progress.add_task("", total=len(ways))

            def tell(way: "Candidate") -> None:
                progress.update(task, advance=1, description=_words(way))

            tuned = tune(model, ways, frames, tell)
    chosen = best(tuned)
    if as_json:
        rows = [{**asdict(one), "p50_ms": _number(one.p50_ms), "p99_ms": _number(one.p99_ms)} for one in tuned]
        section = None if chosen is None else _section(model, chosen.candidate)
        typer.echo(json.dumps({"model": str(model), "tried": rows, "best": section}))
    else:
        _show(tuned, chosen, model)
    raise typer.Exit(0 if chosen is not None else 1)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _words(way: "Candidate") -> str:
    settings = way.settings
    engine = settings.get("engine", "onnxruntime")
    provider = " (tensorrt)" if settings.get("provider") == "tensorrt" else ""
    n = settings.get("threads")
    threads = "" if n is None else f", {n} thread" + ("s" if n > 1 else "")
    precision, device = settings.get("precision", "fp32"), settings.get("device", "cpu")
    return f"{way.kind}: {engine}{provider} on {device}, {precision}{threads}"


def _section(model: Path, way: "Candidate") -> dict[str, Any]:
    return {"kind": way.kind, "path": str(model), **way.settings}


def _show(tuned: "list[Tuned]", chosen: "Tuned | None", model: Path) -> None:
    ran = [one for one in tuned if not np.isnan(one.p50_ms)]
    table = Table("way", "p50, ms", "p99, ms", "", box=None)
    for one in sorted(ran, key=lambda one: one.p50_ms):
        verdict = "← best" if one is chosen else one.deviation
        table.add_row(_words(one.candidate), f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}", verdict)
    console.print(table)
    for reason in dict.fromkeys(one.deviation for one in tuned if np.isnan(one.p50_ms)):
        console.print(f"not run: {reason}", markup=False, highlight=False)
    if chosen is None:
        complain("none of them finds what the model's reference says: see poseloop verify")
        return
    console.print("\nfor the rig:\n")
    console.print("[model]", markup=False, highlight=False)
    for name, value in _section(model, chosen.candidate).items():
        console.print(f"{name} = {json.dumps(value)}", markup=False, highlight=False)
