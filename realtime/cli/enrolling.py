"""The command `enrol`: names for the animals of a session."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from realtime.cli.app import Json, app, clear_errors, console, errors
from realtime.cli.sessions import Session

if TYPE_CHECKING:
    from realtime.enrol import ChosenFrame


@app.command()
def enrol(
    folder: Session,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", metavar="TRACK=NAME", help="Who a track is, e.g. --name 1=male; once for each animal."),
    ] = None,
    at: Annotated[
        float | None,
        typer.Option("--at", metavar="SECONDS", min=0.0, help="Look at this time instead of the first good frame."),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option("--into", metavar="RIG", help="Append the names to this rig file instead of printing."),
    ] = None,
    as_json: Json = False,
) -> None:
    r"""Say who is who in a session whose model does not tell: draws one frame, takes names, writes `\[identities]`.

    Without --name it asks, track by track. The section that it prints belongs into a rig file; with
    `\[roles] male = { identity = "male" }` rules can then speak of the male, and
    `poseloop replay SESSION --rig RIG` shows what they would have done.
    """
    from realtime.enrol import append_to_rig, as_dict, choose_frame, make_marks, section, write_page  # noqa: PLC0415

    with clear_errors():
        given = _given(name or [])
        frame = choose_frame(folder, at)
        page = write_page(folder, frame)
        if not as_json:
            _show(frame, page)
        if not given and not as_json and sys.stdin.isatty():
            given = _asked(frame)
        marks = make_marks(frame, given)
        text = section(marks, folder, frame) if marks else ""
        if into is not None and text:
            append_to_rig(into, text)
        if as_json:
            typer.echo(json.dumps({**as_dict(frame, marks, page), "section": text or None}))
        elif not text:
            example = " ".join(f"--name {animal.track_id}=NAME" for animal in frame.animals)
            console.print(f"no names given; give them with: poseloop enrol {folder} {example}", markup=False)
        elif into is not None:
            console.print(f"appended to {into}: {', '.join(mark.name for mark in marks)}", markup=False)
        else:
            typer.echo(text, nl=False)


def _given(names: list[str]) -> dict[int, str]:
    given: dict[int, str] = {}
    for text in names:
        track, equals, name = text.partition("=")
        if not equals or not track.strip().isdecimal():
            raise ValueError(f"--name: expected TRACK=NAME, as in 1=male, got {text!r}")
        if int(track) in given:
            raise ValueError(f"--name: expected every track once, got {int(track)} twice")
        given[int(track)] = name.strip()
    return given


def _show(frame: "ChosenFrame", page: Path) -> None:
    # On standard error, so that standard output is the section alone.
    table = Table("track", "x, px", "y, px", "length, px", title=f"frame {frame.frame_id}, {frame.at_s:.2f} s")
    for animal in frame.animals:
        table.add_row(str(animal.track_id), *(f"{v:.0f}" for v in (animal.x_px, animal.y_px, animal.length_px)))
    errors.print(table)
    errors.print(f"picture: {page}", highlight=False, soft_wrap=True, markup=False)


def _asked(frame: "ChosenFrame") -> dict[int, str]:
    asked = {
        animal.track_id: typer.prompt(f"track {animal.track_id} is (empty: no name)", default="", show_default=False)
        for animal in frame.animals
    }
    return {track_id: name.strip() for track_id, name in asked.items() if name.strip()}
