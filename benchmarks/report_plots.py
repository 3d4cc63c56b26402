"""Results drawn as SVG: ranges, tails, cost against size, and values beside one another."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from benchmarks.percentiles import PERCENTILES
from realtime.report.drawing import ALARM, INK, MUTED, PALETTE, Scale, curve, line, svg, text, tick_label, upright

Rows = Mapping[str, Mapping[str, float]]

WIDTH = 1060.0
_NAMES_RIGHT = 330.0
_ROW = 30.0
_PLOT_RIGHT = WIDTH - 270
_LEGEND_LEFT = WIDTH - 240
_CELLS = ("p50", "p95", "p99", "p99.9", "max")
_LEAST = 1e-6


def range_plot(rows: Rows, label: str, goals: Mapping[str, float] | None = None) -> str:
    """Return one line a row, from p50 to max, on a logarithmic scale of ms; a row with a goal for its p99 shows it."""
    shown = {name: row for name, row in rows.items() if row["n"] and row["p50"] > 0}
    goals = goals or {}
    ends = [value for row in shown.values() for value in (row["p50"], row["max"])] + list(goals.values())
    x = _log_scale(ends, _NAMES_RIGHT, WIDTH - 300)
    bottom = 34 + _ROW * len(shown)
    parts = _grid(x, bottom, 22)
    parts += [_head(k, name) for k, name in enumerate(_CELLS)]
    for number, (name, row) in enumerate(shown.items()):
        parts += _range(name, row, x, 42 + _ROW * number, goals.get(name))
    caption = f"{_RANGE_CAPTION}, green: goal of p99)" if goals else f"{_RANGE_CAPTION})"
    parts.append(text((x.start + x.stop) / 2, bottom + 42, caption, "axis", anchor="middle"))
    return svg(WIDTH, bottom + 52, parts, label)


_RANGE_CAPTION = "ms (dot: p50, thick: to p95, thin: to p99, dashes: to p99.9, red: max"


def _head(column: int, name: str) -> str:
    return text(_cell(column), 16, name, "small", anchor="end")


def _cell(column: int) -> float:
    return WIDTH - 232 + 58 * column


def _range(name: str, row: Mapping[str, float], x: Scale, y: float, goal_ms: float | None) -> list[str]:
    p50, p95, p99, p999, most = (x.at(row[key]) for key in _CELLS)
    parts = [
        text(x.start - 12, y + 5, name, "small", anchor="end", color=INK),
        line(p50, y, p95, y, PALETTE[0], 6.0),
        line(p95, y, p99, y, PALETTE[0], 2.5),
        line(p99, y, p999, y, PALETTE[0], 1.2, "4 3"),
        _dot(p50, y, INK),
        line(most, y - 5, most, y + 5, ALARM, 2.0),
        *(text(_cell(k), y + 5, _short(row[key]), "small", anchor="end", color=INK) for k, key in enumerate(_CELLS)),
    ]
    if goal_ms is not None:
        at = x.at(goal_ms)
        parts.append(line(at, y - 13, at, y + 13, PALETTE[2], 2.5))
    return parts


def tail_plot(rows: Rows, label: str) -> str:
    """Return the share of values that are larger, over the value, both logarithmic, through the percentiles and max."""
    shown = {name: row for name, row in rows.items() if row["n"] and row["p50"] > 0}
    height = max(400.0, 60 + 22.0 * len(shown))
    x = _log_scale([value for row in shown.values() for value in (row["p50"], row["max"])], 80, _PLOT_RIGHT - 40)
    least = min(_shares(row)[-1] for row in shown.values())
    y = Scale(least / 1.5, 0.5, height - 52, 16, log=True)
    parts = _grid(x, y.start, y.stop)
    for key, percent in PERCENTILES.items():
        share = 1 - percent / 100
        if y.low <= share <= y.high:
            parts.append(line(x.start, y.at(share), x.stop, y.at(share), MUTED, 0.7, "2 4"))
            parts.append(text(x.stop + 6, y.at(share) + 4, key, "small"))
            parts.append(text(x.start - 8, y.at(share) + 5, f"{100 * share:.3g} %", "tick", anchor="end"))
    for number, (name, row) in enumerate(shown.items()):
        color, dash = _look(number)
        values = np.array([row[key] for key in _CELLS])
        parts += _thread(x(values), y(_shares(row)), color, dash)
        parts += _entry(number, name, color, dash)
    parts.append(text((x.start + x.stop) / 2, height - 8, "ms", "axis", anchor="middle"))
    parts.append(upright(18, (y.start + y.stop) / 2, "share that took longer"))
    return svg(WIDTH, height, parts, label)


def _shares(row: Mapping[str, float]) -> NDArray[np.float64]:
    """Return the share beyond each percentile, and one value of n beyond which there is none for the largest."""
    last = 1 / max(row["n"], 2)
    return np.asarray(np.maximum(np.array([*(1 - PERCENTILES[key] / 100 for key in _CELLS[:-1]), last]), last))


def cost_plot(series: Mapping[str, Sequence[tuple[float, float, float]]], axis: str, label: str) -> str:
    """Return p50 (whole) and p99 (dashed) in ms over a size, both scales logarithmic.

    Args:
        series: Name → `(size, p50, p99)` in ascending order.
        axis: What the size is.
        label: Of the drawing, for those who do not see it.
    """
    points = [point for each in series.values() for point in each]
    height = max(400.0, 60 + 22.0 * len(series))
    sizes = sorted({size for size, _, _ in points})
    x = Scale(sizes[0] / 1.1, sizes[-1] * 1.1, 80, _PLOT_RIGHT - 20, log=True)
    y = _log_scale([value for _, p50, p99 in points for value in (p50, p99)], height - 52, 16)
    parts = []
    for size in sizes:
        parts.append(line(x.at(size), y.start, x.at(size), y.stop))
        parts.append(text(x.at(size), y.start + 20, tick_label(size), "tick", anchor="middle"))
    for tick in y.ticks():
        parts.append(line(x.start, y.at(tick), x.stop, y.at(tick)))
        parts.append(text(x.start - 8, y.at(tick) + 5, tick_label(tick), "tick", anchor="end"))
    for number, (name, each) in enumerate(series.items()):
        color, _ = _look(number)
        columns = np.array(each)
        parts += _thread(x(columns[:, 0]), y(columns[:, 1]), color, "")
        parts += _thread(x(columns[:, 0]), y(columns[:, 2]), color, "5 4")
        parts += _entry(number, name, color, "")
    parts.append(text((x.start + x.stop) / 2, height - 8, axis, "axis", anchor="middle"))
    parts.append(upright(18, (y.start + y.stop) / 2, "ms (dashed: p99)"))
    return svg(WIDTH, height, parts, label)


def dot_plot(rows: Rows, axis: str, label: str, *, goal: float | None = None) -> str:
    """Return a dot for every value of every row on one logarithmic scale, a colour for each kind of value.

    Args:
        rows: Name → kind → value above 0.
        axis: What the values are.
        label: Of the drawing, for those who do not see it.
        goal: Marked by a line, or None.
    """
    kinds = list(dict.fromkeys(kind for row in rows.values() for kind in row))
    values = [value for row in rows.values() for value in row.values()] + ([] if goal is None else [goal])
    x = _log_scale(values, _NAMES_RIGHT + 40, _PLOT_RIGHT)
    bottom = max(14 + _ROW * len(rows), 20 + 24.0 * len(kinds))
    parts = _grid(x, bottom, 8)
    for number, (name, row) in enumerate(rows.items()):
        y = 22 + _ROW * number
        parts.append(text(x.start - 12, y + 5, name, "small", anchor="end", color=INK))
        parts.append(line(x.at(min(row.values())), y, x.at(max(row.values())), y, MUTED, 1.0))
        parts += [
            _dot(x.at(value), y, _color(kinds.index(kind)), f"{kind}: {value:.4g}") for kind, value in row.items()
        ]
    if goal is not None:
        parts.append(line(x.at(goal), bottom, x.at(goal), 8, ALARM, 1.5, "6 4"))
        parts.append(text(x.at(goal) + 5, bottom - 6, f"goal {goal:g}", "small halo", color=ALARM))
    for number, kind in enumerate(kinds):
        parts.append(_dot(_LEGEND_LEFT + 12, 20 + 24.0 * number, _color(number)))
        parts.append(text(_LEGEND_LEFT + 30, 25 + 24.0 * number, kind, "small", color=INK))
    parts.append(text((x.start + x.stop) / 2, bottom + 42, axis, "axis", anchor="middle"))
    return svg(WIDTH, bottom + 52, parts, label)


def _log_scale(values: Sequence[float], start: float, stop: float) -> Scale:
    known = [max(value, _LEAST) for value in values if math.isfinite(value)]
    return Scale(min(known) / 1.25, max(known) * 1.25, start, stop, log=True)


def _grid(x: Scale, bottom: float, top: float) -> list[str]:
    parts = []
    for tick in x.ticks():
        parts.append(line(x.at(tick), bottom, x.at(tick), top))
        parts.append(text(x.at(tick), bottom + 20, tick_label(tick), "tick", anchor="middle"))
    return parts


def _thread(x: NDArray[np.float64], y: NDArray[np.float64], color: str, dash: str) -> list[str]:
    if not dash:
        return [curve(x, y, color, 2.0), *(_dot(a, b, color) for a, b in zip(x.tolist(), y.tolist(), strict=True))]
    ends = list(zip(x.tolist(), y.tolist(), strict=True))
    return [line(*before, *after, color, 1.6, dash) for before, after in pairwise(ends)]


def _entry(number: int, name: str, color: str, dash: str) -> list[str]:
    y = 24 + 22.0 * number
    return [
        line(_LEGEND_LEFT, y, _LEGEND_LEFT + 24, y, color, 3, dash),
        text(_LEGEND_LEFT + 32, y + 5, name, "small", color=INK),
    ]


def _look(number: int) -> tuple[str, str]:
    """Return colour and dashes: those after the seventh have the colours again, dashed."""
    return _color(number), "" if number < len(PALETTE) else "6 4"


def _color(number: int) -> str:
    return PALETTE[number % len(PALETTE)]


def _dot(x: float, y: float, color: str, title: str = "") -> str:
    inside = f"<title>{title}</title>" if title else ""
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{color}">{inside}</circle>'


_SHORT: Sequence[tuple[float, Callable[[float], str]]] = (
    (100.0, lambda value: f"{value:.0f}"),
    (10.0, lambda value: f"{value:.1f}"),
    (1.0, lambda value: f"{value:.2f}"),
)


def _short(value: float) -> str:
    return next((form(value) for least, form in _SHORT if value >= least), f"{value:.3f}")
