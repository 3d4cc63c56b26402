"""The command `calibrate`: how a camera sees the plane of the animals, from pictures of a checkerboard."""

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from realtime.cli.app import Json, app, clear_errors, console


@app.command()
def calibrate(
    pictures: Annotated[
        list[Path],
        typer.Argument(
            metavar="PICTURE...",
            help="The board in the plane of the animals; for the lens' distortion, four or more at other tilts too.",
        ),
    ],
    corners: Annotated[str, typer.Option("--corners", metavar="9x6", help="Inner corners, where four squares meet.")],
    square_mm: Annotated[float, typer.Option("--square-mm", help="Side of a square, mm.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The calibration to write, .toml or .json.")],
    max_error_percent: Annotated[
        float,
        typer.Option("--max-error-percent", min=0.0, help="How much a levelled length may be off on the board."),
    ] = 2.0,
    as_json: Json = False,
) -> None:
    r"""Find a checkerboard, write how the camera sees its plane, and draw what was found beside it.

    A rig names the file in \[calibration]: then rules see the animals levelled, the camera's tilt and the lens'
    distortion undone. Or it takes px_per_mm alone, one scale for the whole picture; how far off lengths are is told
    for both. For a distortion that holds out to the picture's edges, some pictures have to show the board there.
    """
    import cv2  # noqa: PLC0415 - heavy, and only wanted here

    from realtime.calibration import save_calibration  # noqa: PLC0415
    from realtime.checkerboard import Board, drawn, find_board  # noqa: PLC0415
    from realtime.checkerboard import calibrate as calibrated  # noqa: PLC0415

    with clear_errors():
        board = Board(*_corners(corners), _positive(square_mm))
        sightings = [find_board(picture, board) for picture in pictures]
        found = calibrated(sightings, board, max_error_percent)
        save_calibration(found, out)
        drawings = [out.with_name(f"{out.stem}.{index}.png") for index in range(1, len(sightings) + 1)]
        for drawing, sighting in zip(drawings, sightings, strict=True):
            drawing.write_bytes(cv2.imencode(".png", drawn(sighting, board))[1].tobytes())
        if as_json:
            typer.echo(json.dumps({"out": str(out), "drawings": list(map(str, drawings)), **found.model_dump()}))
            return
        lens = "" if found.distortion is None else f"; distortion k1 {found.distortion[0]:+.4f}"
        console.print(
            f"{out}: {found.px_per_mm:.4f} px/mm; on the board a length is off by at most "
            f"{found.levelled_error_percent:.2f} % levelled, {found.scale_error_percent:.2f} % with one px_per_mm; "
            f"reprojection {found.reprojection_px:.3f} px, {found.reprojection_mm:.4f} mm{lens}\n"
            f"look whether the corners are right: {', '.join(map(str, drawings))}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _corners(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if found is None or min(int(found[1]), int(found[2])) < 3:
        raise ValueError(f"--corners: expected two numbers of 3 or more, as in 9x6, got {text!r}")
    return int(found[1]), int(found[2])


def _positive(square_mm: float) -> float:
    if not 0.0 < square_mm < float("inf"):
        raise ValueError(f"--square-mm: expected a length above 0, got {square_mm:g}")
    return square_mm
