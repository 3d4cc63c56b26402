"""`poseloop evaluate`: predictions against truth."""

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from realtime.cli.app import Json, app, clear_errors, console

if TYPE_CHECKING:
    from models.evaluation import Evaluation
    from models.evaluation.calibration import Calibration

_SHOWN_WITHIN_PX = (1, 2, 5)


class TruthKind(StrEnum):
    """Which instances of the truth's file are right."""

    AUTO = "auto"
    USER = "user"
    PREDICTED = "predicted"


@app.command()
def evaluate(
    truth: Annotated[Path, typer.Argument(metavar="TRUTH.slp", help="What is right.")],
    predicted: Annotated[Path, typer.Argument(metavar="PREDICTED.slp", help="What is judged.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write a page with pictures and the numbers as JSON here."),
    ] = None,
    as_json: Json = False,
    frames: Annotated[
        str | None, typer.Option(metavar="FIRST-LAST", help="Compare only these frames, both ends included.")
    ] = None,
    offset_px: Annotated[
        float,
        typer.Option(help="Added to the truth. 0.5 corrects labels made from SLEAP's top-down predictions."),
    ] = 0.0,
    grid_pull_px: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="Undo the pull to a grid in a truth that SLEAP predicted; px, the output stride of its network.",
        ),
    ] = None,
    nodes: Annotated[
        str | None, typer.Option(metavar="NODE,NODE…", help="Compare only these nodes; by default all of the truth's.")
    ] = None,
    truth_kind: Annotated[
        TruthKind,
        typer.Option("--truth", help="Whose instances are right; auto: a person's if there are any, else a model's."),
    ] = TruthKind.AUTO,
    truth_video: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Which video of the truth's file, if several are labelled.")
    ] = None,
    predicted_video: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Which video of the predictions' file, if there are several.")
    ] = None,
    oks_sigma: Annotated[float, typer.Option(min=1e-6, help="σ of the object keypoint similarity.")] = 0.025,
    gate_px: Annotated[
        float | None,
        typer.Option(
            min=1e-6,
            help="A prediction farther from an animal than this, in the mean over its nodes, is another one; by "
            "default a quarter of the animals' median size.",
        ),
    ] = None,
) -> None:
    """Compare predictions with the truth: animals found and missed, errors, shifts, identity, SLEAP's metrics."""
    from models.evaluation import EvaluationOptions  # noqa: PLC0415 - loads SciPy
    from models.evaluation import evaluate as compare  # noqa: PLC0415
    from models.labels import read_labels  # noqa: PLC0415

    with clear_errors():
        options = EvaluationOptions(
            frames=_frames(frames),
            offset_px=offset_px,
            grid_pull_px=grid_pull_px,
            nodes=tuple(name.strip() for name in nodes.split(",")) if nodes else None,
            oks_sigma=oks_sigma,
            gate_px=gate_px,
        )
        evaluation = compare(
            read_labels(truth, kind=truth_kind.value, video=truth_video),
            read_labels(predicted, kind="predicted", video=predicted_video),
            options,
        )
        page = None
        if out is not None:
            from realtime.report.evaluation_page import write_evaluation  # noqa: PLC0415 - drawn only when asked for

            page = write_evaluation(evaluation, out)
    if as_json:
        typer.echo(json.dumps(evaluation.as_dict()))
        return
    _show(evaluation)
    if page is not None:
        console.print(f"page: {page}", highlight=False, soft_wrap=True, markup=False)


def _frames(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise ValueError(f"--frames: expected FIRST-LAST, as in 2000-2999, got {text!r}")
    return int(first), int(last)


def _show(evaluation: "Evaluation") -> None:
    found, tracks, sleap = evaluation.detection, evaluation.identity, evaluation.sleap
    for note in evaluation.pairs.notes:
        console.print(f"note: {note}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    precision = "–" if found.precision is None else f"{found.precision:.4f}"
    n_without = found.frames_without_prediction
    missing = f", {n_without:,} of them without predictions" if n_without else ""
    lines = [
        f"{found.animals:,} animals in {found.frames:,} frames{missing}",
        f"found {found.found:,}, missed {found.missed:,}, extra {found.extra:,} (farther than "
        f"{evaluation.matches.gate_px:.1f} px is not found)",
        f"precision {precision}, recall {found.recall:.4f}, F1 {found.f1:.4f}",
        f"frames with every animal and nothing extra: {found.frames_complete / found.frames:.2%}",
    ]
    if tracks is not None:
        by_name = "" if tracks.accuracy_by_name is None else f"{tracks.accuracy_by_name:.2%} by name, "
        lines.append(
            f"identity right: {by_name}{tracks.accuracy:.2%} with the best names; {tracks.switches:,} switches, "
            f"{tracks.fragments:,} fragments; IDF1 {tracks.idf1:.4f}, MOTA {tracks.mota:.4f}, HOTA {tracks.hota:.4f}"
        )
        lines.append(f"identity confidence: {_calibration(evaluation)}")
    lines.append(
        f"as SLEAP counts: mAP {_number(sleap['oks_voc.mAP'], 4)}, mAR {_number(sleap['oks_voc.mAR'], 4)}, mOKS "
        f"{_number(sleap['oks.mOKS'], 4)}, mPCK {_number(sleap['pck.mPCK'], 4)}"
    )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(_node_table(evaluation))
    if evaluation.calibration is not None:
        console.print(_confidence_table(evaluation.calibration))


def _calibration(evaluation: "Evaluation") -> str:
    found = evaluation.calibration
    if found is None:
        return f"not evaluated: {evaluation.calibration_note}"
    return (
        f"{found.confidence:.4f} in the mean, {found.right:.2%} right, of {found.n:,} instances; expected calibration "
        f"error {found.expected_calibration_error:.4f}"
    )


def _confidence_table(calibration: "Calibration") -> Table:
    table = Table(title="identity confidence", title_justify="left", box=None, padding=(0, 1, 0, 0))
    for column in ("from", "to", "n", "mean", "right"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in calibration.bins:
        if one.n:
            ends = f"{one.low:.1f}", f"{one.high:.1f}"
            table.add_row(*ends, f"{one.n:,}", f"{one.confidence:.3f}", f"{one.right:.1%}")
    return table


def _node_table(evaluation: "Evaluation") -> Table:
    table = Table(title="distances and median shift, px", title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("node", no_wrap=True)
    within = [f"<{limit}" for limit in _SHOWN_WITHIN_PX]
    for column in ("n", "p50", "p90", "p95", "p99", *within, "none", "x", "y"):
        table.add_column(column, justify="right", no_wrap=True)
    for node in (evaluation.all_nodes, *evaluation.nodes):
        values = node.as_dict()
        shares = [values["within_px"][str(limit)] for limit in _SHOWN_WITHIN_PX]
        table.add_row(
            node.name,
            f"{node.n:,}",
            *(_number(value, 2) for value in node.percentiles_px),
            *("–" if share is None else f"{share:.1%}" for share in shares),
            "–" if not node.labelled else f"{1 - node.n / node.labelled:.1%}",
            *("–" if math.isnan(bias) else f"{bias:+.2f}" for bias in node.bias_px),
        )
    return table


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"
