"""`poseloop quantise`: a model's graphs in 8-bit integers."""

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import JsonValue

from camera_drivers.decoding import VideoReader
from models.errors import ModelInputError
from models.spec import ModelSpec, sha256_of
from realtime.cli.app import Json, app, clear_errors, complain, console, progress_bar
from realtime.cli.frames import frame_range, spread_frames


@app.command()
def quantise(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An exported model, or zoo:NAME.")],
    video: Annotated[Path, typer.Argument(metavar="VIDEO", help="A recording such as the model will see.")],
    frames: Annotated[
        str, typer.Option(metavar="FIRST-LAST", help="Only these frames, counted from 0; 100- and -199 work too.")
    ] = "-",
    count: Annotated[
        int,
        typer.Option(
            min=2,
            help="So many of them, evenly spread (the first ones, if the video does not say how long it is and no LAST "
            "is given): half to calibrate on, half to compare with.",
        ),
    ] = 100,
    tolerance_px: Annotated[
        float, typer.Option(min=0, help="How far nine of ten points may lie from float32's.")
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Add 8-bit integers to a model (precision int8), if they find what float32 finds; else exit with 1.

    Take frames that show what a session will: animals, close and apart, in its light. It needs the package onnx;
    running the model does not.
    """
    from models.errors import ModelDiffersError  # noqa: PLC0415 - heavy, and only this command
    from models.exported import model_folder  # noqa: PLC0415
    from models.quantising import quantise as quantise_model  # noqa: PLC0415

    with clear_errors(camera_is_a_file=True):
        first, last = frame_range(frames)
        folder = model_folder(model)
        with progress_bar(quiet=as_json) as progress:
            progress.add_task("reading the video, then comparing", total=None)
            images, indices = _spread_frames(video, ModelSpec.load(folder), first, last, count)
            provenance: dict[str, JsonValue] = {
                "video": video.name,
                "video_sha256": sha256_of(video),
                "frames": [indices[0], indices[-1]],
            }
            try:
                done = quantise_model(model, images, provenance, tolerance_px)
            except ModelDiffersError as error:
                complain(str(error))
                raise typer.Exit(1) from error
    parity, written = done.parity, done.spec.int8
    if as_json:
        numbers = None if written is None else written.model_dump(mode="json")
        typer.echo(json.dumps({"model": str(folder), "int8": numbers, "exit_code": 0}))
        return
    console.print(
        f"{folder}: int8 written. On {parity.n_images} frames that it was not calibrated on, {parity.n_points} points "
        f"lie {parity.p50_px:.2f} px (p50), {parity.p90_px:.2f} px (p90), {parity.p99_px:.2f} px (p99) from float32's",
        highlight=False,
        soft_wrap=True,
    )


def _spread_frames(
    video: Path, spec: ModelSpec, first: int, last: int | None, count: int
) -> tuple[NDArray[np.uint8], list[int]]:
    """Return `count` frames, evenly spread, or as many as there are, and their indices."""
    images, indices = [], []
    with closing(VideoReader(video, spec.image.channels)) as reader:
        if (reader.height, reader.width) != (spec.image.height_px, spec.image.width_px):
            raise ModelInputError(
                f"{video}: expected {spec.image.width_px} × {spec.image.height_px} px, for which the model was "
                f"exported, got {reader.width} × {reader.height}"
            )
        for frame in spread_frames(reader, count, first, last):
            images.append(frame.image.copy())
            indices.append(frame.index)
    if len(images) < 2:
        raise ModelInputError(f"{video}: expected 2 frames or more from frame {first} on, got {len(images)}")
    return np.stack(images), indices
