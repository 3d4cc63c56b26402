"""`poseloop import`: models that other programs trained."""

import json
from pathlib import Path
from typing import Annotated

import typer

from realtime.cli.app import Json, app, clear_errors, console

_LONGEST_PX = 16_384
_HELP = "\n\n".join(  # one line a paragraph: the terminal breaks them
    (
        "Turn a model that SLEAP or sleap-nn trained into a model folder.",
        "A FOLDER is a training folder of SLEAP 1.4 or older (best_model.h5, training_config.json), or what "
        "`sleap-nn export` wrote (model.onnx, export_metadata.json). Nothing in it is executed. Which ones to give:",
        "- one animal: single_instance",
        "- where the animals are, no more: centroid",
        "- top-down: centroid and centered_instance; with identities centroid and multi_class_topdown",
        "- bottom-up: multi_instance (sleap-nn: bottomup); with identities multi_class_bottomup",
        "The report says what was found, what is different from the program that trained it, and what is approximate. "
        "Then check the model on this computer with `poseloop verify MODEL` and name the folder in the rig file.",
        "Example: poseloop import centroid.fast td.fast --out models/flies --size 1024x1024 --max-instances 2",
    )
)


@app.command(name="import", help=_HELP)
def import_model(
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Trained models of SLEAP or sleap-nn.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="MODEL", help="The model folder to make.")],
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WIDTHxHEIGHT",
            help="Size of the camera's image; by default that of the training. WIDTHxHEIGHTx3 for a colour camera in "
            "front of a network for gray images.",
        ),
    ] = None,
    max_instances: Annotated[int, typer.Option(min=1, max=64, help="The most animals that are ever reported.")] = 2,
    max_peaks: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Bottom-up: the most peaks of a node; by default two more than animals."),
    ] = None,
    peak_threshold: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="A confidence below this is not a detection.")
    ] = 0.2,
    min_edge_score: Annotated[
        float, typer.Option(min=-1.0, max=1.0, help="Bottom-up: an edge that fits less does not join two peaks.")
    ] = 0.25,
    sleap_compat: Annotated[
        bool,
        typer.Option("--sleap-compat", help="Reproduce SLEAP's points with their half-pixel shifts, to compare."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model that is there.")] = False,
    as_json: Json = False,
) -> None:
    """Import a model; `_HELP` says more."""
    from models.importing import import_models  # noqa: PLC0415 - needs the extra `sleap`
    from models.spec import SPEC_FILE  # noqa: PLC0415 - as that

    with clear_errors():
        if (out / SPEC_FILE).exists() and not overwrite:
            raise ValueError(
                f"--out: expected no model in {out}, got one, which rigs may name; give another folder, or replace it "
                "with --overwrite"
            )
        imported = import_models(
            folders,
            out,
            _image_shape(size),
            sleap_compat=sleap_compat,
            max_instances=max_instances,
            max_peaks=max_peaks,
            peak_threshold=peak_threshold,
            min_edge_score=min_edge_score,
        )
    if as_json:
        typer.echo(json.dumps({"model": str(out), "type": imported.spec.type, "report": imported.report}))
        return
    for line in imported.report:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"model: {out} ({imported.spec.type})", highlight=False, markup=False, soft_wrap=True)


def _image_shape(size: str | None) -> tuple[int, ...] | None:
    if size is None:
        return None
    numbers = size.lower().split("x")
    sides = [int(number) for number in numbers[:2] if number.isdecimal()]
    if len(sides) != 2 or 0 in sides or numbers[2:] not in ([], ["3"]):
        raise ValueError(f"--size: expected WIDTHxHEIGHT in px, as in 1024x1024, or WIDTHxHEIGHTx3, got {size!r}")
    if max(sides) > _LONGEST_PX:  # the model's reference images are made in this size
        raise ValueError(f"--size: expected sides of at most {_LONGEST_PX} px, got {size!r}")
    return (sides[1], sides[0], *map(int, numbers[2:]))
