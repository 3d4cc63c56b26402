"""The page of an evaluation: one self-contained HTML file, and the same numbers as JSON."""

import json
import math
from pathlib import Path

from models.evaluation import Evaluation
from models.evaluation.accuracy import WITHIN_PX, NodeErrors
from realtime.report.drawing import escape
from realtime.report.evaluation_plots import bias_plot, error_plot, pck_plot, reliability_plot, time_plot
from realtime.report.html import document, table, tile

PAGE = "evaluation.html"
NUMBERS = "evaluation.json"


def write_evaluation(evaluation: Evaluation, folder: Path) -> Path:
    """Write `evaluation.html` and `evaluation.json` into a folder, made if need be, and return the page's path.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / NUMBERS).write_text(json.dumps(evaluation.as_dict(), indent=2) + "\n", encoding="utf-8")
    page = folder / PAGE
    page.write_text(_page(evaluation), encoding="utf-8")
    return page


def _page(evaluation: Evaluation) -> str:
    sections = (
        _header(evaluation),
        _section("How near", pck_plot(evaluation), error_plot(evaluation), _node_table(evaluation)),
        _section("In which direction", bias_plot(evaluation), _BIAS_NOTE),
        _section("When", time_plot(evaluation)),
        _identity(evaluation),
        _confidence(evaluation),
        _sleap(evaluation),
        _method(evaluation),
    )
    return document(f"{Path(evaluation.predicted).name} – poseloop evaluation", "".join(sections))


_SLEAP_ROWS = (
    ("mean average precision on OKS (mAP)", "oks_voc.mAP"),
    ("mean average recall on OKS (mAR)", "oks_voc.mAR"),
    ("mean average precision on PCK", "pck_voc.mAP"),
    ("mean average recall on PCK", "pck_voc.mAR"),
    ("mean OKS of the pairs", "oks.mOKS"),
    ("mean PCK of 1 to 10 px", "pck.mPCK"),
    ("visibility, precision", "vis.precision"),
    ("visibility, recall", "vis.recall"),
)
_BIAS_NOTE = (
    '<p class="note">Left: nodes of found animals, thinned out, the farthest left out. Right: the median of every node '
    "with its 95 % confidence interval, which takes frames for independent and is too narrow where they are not. A "
    "median that is the same for all nodes points at a shifted coordinate convention, not at a bad model.</p>"
)

_IDENTITY_NOTE = (
    '<p class="note">A switch: an animal\'s prediction has another track than its last one had. A fragment: an animal '
    "that was found is missed and found again later.</p>"
)
_CONFIDENCE_NOTE = (
    '<p class="note">The confidence says how likely it is that a row is still the animal that its track began with; '
    "right is a row whose animal is the one that its track was first matched to. The error is how far the points are "
    "from the diagonal, in the mean over the instances. Neighbouring frames are right or wrong together: a bin with "
    "few instances says little.</p>"
)


def _header(evaluation: Evaluation) -> str:
    found, errors, sleap = evaluation.detection, evaluation.all_nodes, evaluation.sleap
    notes = "".join(f'<p class="warning">{escape(note)}</p>' for note in evaluation.pairs.notes)
    tiles = (
        tile(f"{found.recall:.2%}", "animals found", f"{found.missed:,} of {found.animals:,} missed"),
        tile(f"{found.extra:,}", "extra predictions", "that are no animal", alarm=found.extra > 0),
        tile(f"{found.frames_complete / found.frames:.2%}", "frames complete", "all found, none extra"),
        tile(f"{_px(errors.percentiles_px[0])}<small> px</small>", "median error", f"95 %: {_p95(errors)} px"),
        tile(
            f"{errors.bias_px[0]:+.2f}, {errors.bias_px[1]:+.2f}<small> px</small>" if errors.n else "–",
            "median shift in x, y",
            "predicted − true",
        ),
        tile(f"{sleap['oks_voc.mAP']:.3f}", "SLEAP's mAP", "lenient: see below"),
    )
    return (
        f"<header><p class='kicker'>poseloop evaluation</p><h1>{escape(Path(evaluation.predicted).name)}</h1>"
        f"<p>against <b>{escape(Path(evaluation.truth).name)}</b> · <b>{found.frames:,}</b> frames, "
        f"{evaluation.pairs.frame_ids[0]}–{evaluation.pairs.frame_ids[-1]} · <b>{found.animals:,}</b> animals</p>"
        f'{notes}<div class="tiles">{"".join(tiles)}</div></header>'
    )


def _node_table(evaluation: Evaluation) -> str:
    head = ("node", "n", "p50", "p90", "p95", "p99", *(f"< {limit} px" for limit in WITHIN_PX), "not reported")
    rows = [
        (
            escape(node.name),
            f"{node.n:,}",
            *(_px(value) for value in node.percentiles_px),
            *(_percent(share) for share in node.within),
            _percent(1 - node.n / node.labelled) if node.labelled else "–",
        )
        for node in (evaluation.all_nodes, *evaluation.nodes)
    ]
    return table(head, rows)


def _identity(evaluation: Evaluation) -> str:
    tracks = evaluation.identity
    if tracks is None:
        return _section("Identity", "<p>Not evaluated: the truth or the predictions have no tracks.</p>")
    by_name = "–" if tracks.accuracy_by_name is None else _percent(tracks.accuracy_by_name)
    head = ("right by name", "right, best names", "switches", "fragments", "IDF1", "MOTA", "HOTA", "DetA", "AssA")
    scores = (tracks.idf1, tracks.mota, tracks.hota, tracks.deta, tracks.assa)
    counts = (f"{tracks.switches:,}", f"{tracks.fragments:,}")
    cells = (by_name, _percent(tracks.accuracy), *counts, *(_score(score) for score in scores))
    return _section("Identity", table(head, [cells], n_words=0), _IDENTITY_NOTE)


def _confidence(evaluation: Evaluation) -> str:
    title, found = "How true the identity confidence is", evaluation.calibration
    if found is None:
        return _section(title, f"<p>Not evaluated: {escape(evaluation.calibration_note)}.</p>")
    summary = (
        f"<p>{found.n:,} instances: confidence <b>{found.confidence:.4f}</b> in the mean, "
        f"<b>{_percent(found.right)}</b> right, expected calibration error "
        f"<b>{found.expected_calibration_error:.4f}</b>.</p>"
    )
    rows = [
        (f"{one.low:.1f} – {one.high:.1f}", f"{one.n:,}", f"{one.confidence:.3f}", _percent(one.right))
        for one in found.bins
        if one.n
    ]
    numbers = table(("confidence", "instances", "mean", "right"), rows)
    return _section(title, summary, reliability_plot(found), numbers, _CONFIDENCE_NOTE)


def _sleap(evaluation: Evaluation) -> str:
    rows = [(title, _score(evaluation.sleap[name])) for title, name in _SLEAP_ROWS]
    note = (
        '<p class="note">The numbers that SLEAP itself would report, for comparison with published ones. They do not '
        "count predictions that are no animal, nor frames without predictions.</p>"
    )
    return _section("SLEAP's metrics", table(("metric", "value"), rows), note)


def _method(evaluation: Evaluation) -> str:
    options, pairs = evaluation.options, evaluation.pairs
    offset = f" The truth was shifted by {options.offset_px:+g} px in x and y first." if options.offset_px else ""
    pull = options.grid_pull_px
    grid = "" if pull is None else f" The truth's pull towards a grid of {pull:g} px cells was undone first."
    return _section(
        "How it was compared",
        "<p>Frame by frame, predictions and animals were paired by optimal assignment on their mean distance over the "
        f"nodes that both have; pairs farther apart than {evaluation.matches.gate_px:.1f} px do not count. The median "
        f"size of the animals is {_px(pairs.size_px)} px. A frame of the truth that the predictions do not have is one "
        f"in which every animal was missed ({evaluation.detection.frames_without_prediction:,} frames). OKS uses σ = "
        f"{options.oks_sigma:g} for every node.{grid}{offset}</p>",
    )


def _px(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.2f} %"


def _score(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.4f}"


def _p95(errors: NodeErrors) -> str:
    return _px(errors.percentiles_px[2])


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{title}</h2>{''.join(parts)}</section>"
