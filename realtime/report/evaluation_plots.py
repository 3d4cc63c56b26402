"""An evaluation drawn: how near, how far, in which direction, when, and how true the tracker's confidence is."""

import numpy as np
from numpy.typing import NDArray

from models.evaluation import Evaluation
from models.evaluation.accuracy import NodeErrors
from models.evaluation.calibration import Calibration, ConfidenceBin
from realtime.report.drawing import (
    ALARM,
    GRID,
    INK,
    MUTED,
    PALETTE,
    Scale,
    curve,
    line,
    rectangle,
    svg,
    text,
    tick_label,
    upright,
)

WIDTH = 1060.0
_LEGEND_LEFT = WIDTH - 230
_PLOT_RIGHT = WIDTH - 260
_FLOOR_PX = 0.01  # what is nearer is drawn there
_MAX_DOTS = 2500
_N_SPANS = 300
_ERROR_HEADS = ("median", "95 %", "not reported")
_ERROR_COLUMNS = (0.0, 72.0, 144.0)
_BIN_GAP = 3.0
_BARS = (5, 25, 50, 75, 95, 99)


def pck_plot(evaluation: Evaluation) -> str:
    """Return the share of labelled nodes that a prediction places nearer than a distance, over that distance."""
    height = 400.0
    distances = _distances(evaluation)
    labelled = np.isfinite(evaluation.pairs.truth.xy[evaluation.matches.truth_rows, :, 0])
    x = Scale(0.0, _reach(distances), 80, _PLOT_RIGHT)
    y = Scale(0.0, 1.0, height - 52, 16)
    parts = [*_across(x, y), *_down(x, y, percent=True)]
    at_px = np.linspace(x.low, x.high, 240)
    shares = [_shares(distances[:, k], int(labelled[:, k].sum()), at_px) for k in range(len(evaluation.nodes))]
    ranked = sorted((k for k, node in enumerate(evaluation.nodes) if node.labelled), key=lambda k: shares[k].mean())
    series = [(MUTED, 0.9, shares[k]) for k in ranked[1:-1]]
    legend = [(INK, 2.8, "all nodes"), (MUTED, 0.9, "the other nodes")]
    if len(ranked) > 1:
        series += [(ALARM, 1.8, shares[ranked[0]]), (PALETTE[2], 1.8, shares[ranked[-1]])]
        legend[1:1] = [
            (PALETTE[2], 1.8, f"{evaluation.nodes[ranked[-1]].name}, the best"),
            (ALARM, 1.8, f"{evaluation.nodes[ranked[0]].name}, the worst"),
        ]
    series.append((INK, 2.8, _shares(distances.ravel(), int(labelled.sum()), at_px)))
    parts += [curve(x(at_px), y(share), color, width) for color, width, share in series]
    parts += _legend(legend if len(ranked) > 2 else legend[:-1])
    parts.append(text((x.start + x.stop) / 2, height - 8, "distance, px", "axis", anchor="middle"))
    parts.append(upright(18, (y.start + y.stop) / 2, "labelled nodes placed nearer"))
    return svg(WIDTH, height, parts, "Share of labelled nodes that are placed nearer than a distance")


def error_plot(evaluation: Evaluation) -> str:
    """Return the distribution of every node's distance, a row each."""
    row_height = 27.0
    distances = _distances(evaluation)
    height = 74 + row_height * (len(evaluation.nodes) + 1)
    known = distances[np.isfinite(distances)]
    x = Scale(_FLOOR_PX, 2.0, 150, _PLOT_RIGHT, log=True)
    if known.size:
        low, high = np.percentile(known, (1, 99.5))
        x = Scale(max(float(low) / 2, _FLOOR_PX), max(float(high) * 1.5, 0.1), 150, _PLOT_RIGHT, log=True)
    y = Scale(0.0, 1.0, height - 52, 22)
    parts = _across(x, y)
    rows = [(evaluation.all_nodes, distances.ravel(), INK)]
    rows += [(node, distances[:, k], PALETTE[0]) for k, node in enumerate(evaluation.nodes)]
    for row, (node, values, color) in enumerate(rows):
        parts += _error_row(node, values[np.isfinite(values)], color, x, 36 + row_height * row)
    parts += [text(_LEGEND_LEFT + at, 14, head, "small") for at, head in zip(_ERROR_COLUMNS, _ERROR_HEADS, strict=True)]
    caption = "distance, px (box: 25 to 75 %, line: 5 to 95 %, mark: 99 %)"
    parts.append(text((x.start + x.stop) / 2, height - 8, caption, "axis", anchor="middle"))
    return svg(WIDTH, height, parts, "Distribution of the distance of every node")


def bias_plot(evaluation: Evaluation) -> str:
    """Return where predictions lie relative to the truth: all of them, and the median of every node per axis."""
    residuals = evaluation.residuals.reshape(-1, 2)
    residuals = residuals[np.isfinite(residuals[:, 0])]
    height = max(440.0, 90 + 24.0 * len(evaluation.nodes))
    parts = _cloud(residuals, evaluation.all_nodes, height=440.0)
    rows = [node for node in (evaluation.all_nodes, *evaluation.nodes) if node.n]
    if rows:
        reach = 1.15 * max(abs(end) for node in rows for end in (*node.bias_low_px, *node.bias_high_px, 0.1))
        for axis, left in ((0, 620.0), (1, 850.0)):
            parts += _biases(rows, axis, Scale(-reach, reach, left, left + 200), height, names=axis == 0)
    return svg(WIDTH, height, parts, "Signed error: all points, and the median of every node with its interval")


def time_plot(evaluation: Evaluation) -> str:
    """Return the mean distance over the frames, and where animals were missed or invented."""
    height = 270.0
    frame_ids = evaluation.pairs.frame_ids
    frames = evaluation.pairs.truth.frames[evaluation.matches.truth_rows]
    distances = _distances(evaluation)
    n_known = np.isfinite(distances).sum(axis=1)
    means = np.nansum(distances, axis=1)[n_known > 0] / n_known[n_known > 0]
    x = Scale(float(frame_ids[0]), float(max(frame_ids[-1], frame_ids[0] + 1)), 80, _PLOT_RIGHT)
    highest = float(np.percentile(means, 99.5)) * 1.2 if means.size else 1.0
    y = Scale(0.0, max(highest, 0.1), height - 96, 12)
    parts = [*_across(x, y, bottom=height - 48), *_down(x, y)]
    centres, medians, largest = _spans(frame_ids[frames[n_known > 0]].astype(np.float64), means, x)
    parts.append(curve(x(centres), y(largest), PALETTE[1], 1.1))
    parts.append(curve(x(centres), y(medians), INK, 1.8))
    for row, (name, counts, color) in enumerate(
        zip(("missed", "extra"), evaluation.missed_and_extra, (ALARM, PALETTE[3]), strict=True)
    ):
        top = y.start + 8 + 18 * row
        parts.append(text(_PLOT_RIGHT + 12, top + 12, f"{name}: {int(counts.sum()):,}", "small", color=color))
        columns = np.unique(np.round(x(frame_ids[counts > 0].astype(np.float64))))
        parts += [rectangle(column - 0.5, top, 1.5, 14, color) for column in columns.tolist()]
    parts += _legend([(INK, 1.8, "median animal of a span"), (PALETTE[1], 1.1, "worst animal of a span")])
    parts.append(text((x.start + x.stop) / 2, height - 8, "frame", "axis", anchor="middle"))
    parts.append(upright(18, (y.start + y.stop) / 2, "mean distance, px"))
    return svg(WIDTH, height, parts, "Mean distance over the frames, with missed and extra animals")


def reliability_plot(calibration: Calibration) -> str:
    """Return the share that is right over the confidence, a bar a bin, and under it how many instances are in each."""
    height = 500.0
    x = Scale(0.0, 1.0, 80, _PLOT_RIGHT)
    shares, counts = Scale(0.0, 1.0, 348, 16), Scale(0.0, max(one.n for one in calibration.bins), 444, 388)
    parts = [*_down(x, shares, percent=True), *_across(x, shares, bottom=counts.start, n_ticks=10)]
    for one in calibration.bins:
        left, width = x.at(one.low) + _BIN_GAP, x.at(one.high) - x.at(one.low) - 2 * _BIN_GAP
        top = counts.at(one.n)
        parts.append(rectangle(left, top, width, counts.start - top, MUTED))
        parts.append(text(left + width / 2, top - 6, _count(one.n), "small halo", anchor="middle", color=INK))
        if one.n:
            top = shares.at(one.right)
            parts.append(rectangle(left, top, width, shares.start - top, PALETTE[5], _told(one)))
    parts += [line(x.start, scale.start, x.stop, scale.start, MUTED) for scale in (shares, counts)]
    parts.append(line(x.start, shares.start, x.stop, shares.stop, INK, 1.5, "6 5"))
    for one in calibration.bins:
        if one.n:
            at = x.at(one.confidence), shares.at(one.right)
            parts.append(line(at[0], at[1], at[0], shares.at(one.confidence), ALARM, 3.0))
            parts.append(f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="5" fill="{INK}"/>')
    parts += _reliability_legend()
    parts.append(text((x.start + x.stop) / 2, height - 8, "identity confidence", "axis", anchor="middle"))
    parts.append(upright(18, (shares.start + shares.stop) / 2, "still the same animal"))
    parts.append(upright(18, (counts.start + counts.stop) / 2, "instances"))
    return svg(WIDTH, height, parts, "Share that is still the same animal over the tracker's confidence")


def _reliability_legend() -> list[str]:
    names = ("share right of a bin", "at its mean confidence", "too sure, or not enough", "as sure as right")
    middle = _LEGEND_LEFT + 12
    marks = (
        rectangle(_LEGEND_LEFT, 24, 24, 13, PALETTE[5]),
        f'<circle cx="{middle:.1f}" cy="54" r="5" fill="{INK}"/>',
        line(middle, 70, middle, 86, ALARM, 3.0),
        line(_LEGEND_LEFT, 102, _LEGEND_LEFT + 24, 102, INK, 1.5, "6 5"),
    )
    words = [text(_LEGEND_LEFT + 32, 35 + 24 * row, name, "small", color=INK) for row, name in enumerate(names)]
    return [*marks, *words]


def _count(n: int) -> str:
    return f"{n:,}" if n < 1_000_000 else f"{n / 1e6:.1f} M"  # what is longer does not fit over its bar


def _told(one: ConfidenceBin) -> str:
    sure = f"{one.n:,} instances, confidence {one.confidence:.3f} in the mean"
    return f"{one.low:.1f} to {one.high:.1f}: {sure}, {100 * one.right:.2f} % right"


def _distances(evaluation: Evaluation) -> NDArray[np.float64]:
    """Return `(n_matches, n_nodes)` px; NaN unless both have the node."""
    return np.asarray(np.linalg.norm(evaluation.residuals, axis=-1))


def _reach(distances: NDArray[np.float64]) -> float:
    known = distances[np.isfinite(distances)]
    return max(2.0, float(np.ceil(np.percentile(known, 98)))) if known.size else 10.0


def _shares(distances: NDArray[np.float64], n_labelled: int, at_px: NDArray[np.float64]) -> NDArray[np.float64]:
    # A node that the prediction does not report is placed nowhere: the curve ends below 1.
    return np.searchsorted(np.sort(distances[np.isfinite(distances)]), at_px, side="right") / max(n_labelled, 1)


def _error_row(node: NodeErrors, distances: NDArray[np.float64], color: str, x: Scale, y: float) -> list[str]:
    parts = [text(x.start - 12, y + 5, node.name, "small", anchor="end", color=color if color == INK else MUTED)]
    if not distances.size:
        return [*parts, text(x.start + 8, y + 5, "no distances", "small")]
    p5, p25, p50, p75, p95, p99 = x(np.percentile(distances, _BARS)).tolist()
    median, high = np.percentile(distances, (50, 95))
    cells = f"{median:.2f} px", f"{high:.2f} px", f"{100 * (1 - node.n / node.labelled):.1f} %"
    return [
        *parts,
        line(p5, y, p95, y, color, 2.0),
        rectangle(p25, y - 6, max(p75 - p25, 1.0), 12, color),
        line(p50, y - 8, p50, y + 8, "#ffffff", 2.5),
        line(p99, y - 4, p99, y + 4, color, 2.0),
        *(
            text(_LEGEND_LEFT + at, y + 5, cell, "small", color=INK)
            for at, cell in zip(_ERROR_COLUMNS, cells, strict=True)
        ),
    ]


def _cloud(residuals: NDArray[np.float64], everything: NodeErrors, height: float) -> list[str]:
    side = height - 76
    reach = max(1.0, float(np.percentile(np.abs(residuals), 99))) if residuals.size else 1.0
    x, y = Scale(-reach, reach, 80, 80 + side), Scale(-reach, reach, 16, 16 + side)
    parts = []
    for tick in x.ticks():
        color = MUTED if abs(tick) < 1e-9 else GRID
        parts += [
            line(x.at(tick), y.start, x.at(tick), y.stop, color),
            line(x.start, y.at(tick), x.stop, y.at(tick), color),
        ]
        parts.append(text(x.at(tick), y.stop + 20, tick_label(tick), "tick", anchor="middle"))
        parts.append(text(x.start - 8, y.at(tick) + 5, tick_label(tick), "tick", anchor="end"))
    shown = residuals[:: max(1, len(residuals) // _MAX_DOTS)]
    shown = shown[(np.abs(shown) < reach).all(axis=1)]
    dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x(shown[:, 0]), y(shown[:, 1]), strict=True))
    parts.append(
        f'<path d="{dots}" stroke="{PALETTE[0]}" stroke-opacity="0.4" stroke-width="3" stroke-linecap="round"/>'
    )
    if everything.n:
        at = x.at(everything.bias_px[0]), y.at(everything.bias_px[1])
        parts += [
            line(at[0] - 14, at[1], at[0] + 14, at[1], ALARM, 3),
            line(at[0], at[1] - 14, at[0], at[1] + 14, ALARM, 3),
        ]
        words = f"median {everything.bias_px[0]:+.2f}, {everything.bias_px[1]:+.2f} px"
        parts.append(text(at[0] + 18, at[1] - 12, words, "label halo", color=ALARM))
    parts.append(text((x.start + x.stop) / 2, height - 8, "predicted − true along x, px", "axis", anchor="middle"))
    parts.append(upright(18, (y.start + y.stop) / 2, "along y (down), px"))
    return parts


def _biases(rows: list[NodeErrors], axis: int, x: Scale, height: float, *, names: bool) -> list[str]:
    bottom = height - 52
    step = (bottom - 30) / len(rows)
    parts = _across(x, Scale(0.0, 1.0, bottom, 16), n_ticks=4)
    parts.append(line(x.at(0.0), bottom, x.at(0.0), 16, MUTED))
    for row, node in enumerate(rows):
        y = 28 + step * (row + 0.5)
        color = ALARM if node.name == rows[0].name else INK
        if names:
            parts.append(text(x.start - 12, y + 5, node.name, "small", anchor="end", color=color))
        parts.append(line(x.at(node.bias_low_px[axis]), y, x.at(node.bias_high_px[axis]), y, color, 4.0))
        parts.append(f'<circle cx="{x.at(node.bias_px[axis]):.1f}" cy="{y:.1f}" r="4.5" fill="{color}"/>')
    parts.append(text((x.start + x.stop) / 2, height - 8, f"median along {'xy'[axis]}, px", "axis", anchor="middle"))
    return parts


def _spans(
    frames: NDArray[np.float64], values: NDArray[np.float64], x: Scale
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return middle, median and largest value of equal spans of frames; NaN where there is none."""
    n = int(min(_N_SPANS, x.high - x.low + 1))
    width = (x.high - x.low + 1) / n
    spans = np.minimum((frames - x.low) / width, n - 1).astype(np.int64)
    medians, largest = np.full(n, np.nan), np.full(n, np.nan)
    for span in np.unique(spans):
        inside = values[spans == span]
        medians[span], largest[span] = np.median(inside), inside.max()
    centres = np.asarray(x.low + (np.arange(n) + 0.5) * width - 0.5, np.float64)
    return centres, medians, largest


def _across(x: Scale, y: Scale, *, bottom: float | None = None, n_ticks: int = 6) -> list[str]:
    """Return the upright grid lines and the numbers under them."""
    bottom = y.start if bottom is None else bottom
    parts = []
    for tick in x.ticks(n_ticks):
        parts.append(line(x.at(tick), bottom, x.at(tick), y.stop))
        parts.append(text(x.at(tick), bottom + 20, tick_label(tick), "tick", anchor="middle"))
    return parts


def _down(x: Scale, y: Scale, *, percent: bool = False) -> list[str]:
    """Return the level grid lines and the numbers beside them."""
    parts = []
    for tick in y.ticks():
        label = f"{100 * tick:.6g} %" if percent else tick_label(tick)
        parts.append(line(x.start, y.at(tick), x.stop, y.at(tick)))
        parts.append(text(x.start - 8, y.at(tick) + 5, label, "tick", anchor="end"))
    return parts


def _legend(entries: list[tuple[str, float, str]]) -> list[str]:
    parts = []
    for row, (color, width, name) in enumerate(entries):
        y = 30 + 24 * row
        parts.append(line(_LEGEND_LEFT, y, _LEGEND_LEFT + 24, y, color, max(width, 1.2)))
        parts.append(text(_LEGEND_LEFT + 32, y + 5, name, "small", color=INK))
    return parts
