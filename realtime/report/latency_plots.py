"""Latency drawn: how often which value is exceeded, and when in the session."""

import numpy as np
from numpy.typing import NDArray

from realtime.recording.records import STAGES
from realtime.report.drawing import (
    ALARM,
    INK,
    MUTED,
    PALETTE,
    Scale,
    column_starts,
    curve,
    line,
    svg,
    text,
    tick_label,
    time_ticks,
    upright,
)
from realtime.report.session_data import SessionData
from realtime.report.summary import latencies_ns

WIDTH = 1060.0
_PLOT_RIGHT = WIDTH - 270
_LEGEND_LEFT = WIDTH - 210
_COLORS = {**dict(zip(STAGES, PALETTE, strict=False)), "command": ALARM, "total": INK}
_NAMES = {"command": "until command written", "total": "whole frame"}
_MARKED = ((0.5, "p50"), (0.05, "p95"), (0.01, "p99"), (0.001, "p99.9"))
_N_SPANS = 400
_FLOOR_MS = 1e-3  # a microsecond: what is faster is drawn there


def survival_plot(data: SessionData) -> str:
    """Return the share of frames that took longer, over how long, both logarithmic: the tail is what one sees."""
    series = {name: np.sort(values) / 1e6 for name, values in latencies_ns(data).items() if name in _COLORS}
    series = {name: values for name, values in series.items() if values.size}
    height = 430.0
    longest = max(float(values[-1]) for values in series.values())
    largest_n = max(values.size for values in series.values())
    x = Scale(_FLOOR_MS * 10, _next_power(max(longest, data.deadline_ms or 0.0)), 80, _PLOT_RIGHT, log=True)
    y = Scale(1 / _next_power(max(largest_n, 10)), 1.0, height - 52, 16, log=True)
    parts = _log_grid(x, y)
    for share, name in _MARKED:
        if share > y.low:
            parts.append(text(x.stop + 6, y.at(share) + 4, name, "small"))
            parts.append(line(x.start, y.at(share), x.stop, y.at(share), MUTED, 0.7, "2 4"))
    parts += _deadline_mark(data.deadline_ms, x, y)
    for name, values in series.items():
        ranks = _log_ranks(values.size)
        parts.append(_steps(x(values[ranks]), y(1.0 - ranks / values.size), name))
    parts += _legend(list(series), _LEGEND_LEFT, 30)
    parts.append(text((x.start + x.stop) / 2, height - 8, "latency, ms", "axis", anchor="middle"))
    parts.append(upright(18, (y.start + y.stop) / 2, "share that took longer"))
    return svg(WIDTH, height, parts, "Share of frames that took longer than a given latency, by stage")


def latency_over_time(data: SessionData) -> str:
    """Return the whole frame's latency over the session: median and largest of each short span of time."""
    height = 230.0
    total_ms = data.stage_ns.sum(axis=1) / 1e6
    starts = column_starts(data.seconds, _N_SPANS)
    stops = np.append(starts[1:], data.n_frames)
    medians = np.array([np.median(total_ms[a:b]) for a, b in zip(starts, stops, strict=True)])
    largest = np.maximum.reduceat(total_ms, starts)
    x = Scale(0.0, max(data.duration_s, 1e-3), 80, _PLOT_RIGHT)
    low = max(float(medians.min()) / 2, _FLOOR_MS)
    y = Scale(low, max(float(largest.max()), data.deadline_ms or 0.0) * 1.6, height - 48, 12, log=True)
    parts = _time_grid(x, y)
    at = x(data.seconds[starts])
    parts.append(curve(at, y(largest), PALETTE[1], 1.1))
    parts.append(curve(at, y(medians), INK, 1.8))
    span_s = max(data.duration_s, 1e-3) / _N_SPANS
    parts += _deadline_line(data.deadline_ms, x, y)
    for row, (color, name) in enumerate(((PALETTE[1], "slowest frame"), (INK, "median"))):
        parts.append(line(_LEGEND_LEFT, 26 + 22 * row, _LEGEND_LEFT + 24, 26 + 22 * row, color, 3))
        parts.append(text(_LEGEND_LEFT + 32, 31 + 22 * row, f"{name} of {span_s:.2g} s", "small", color=INK))
    parts.append(upright(18, (y.start + y.stop) / 2, "whole frame, ms"))
    return svg(WIDTH, height, parts, "Latency of the whole frame over the session")


def _log_ranks(n_values: int) -> NDArray[np.int64]:
    """Return ranks to draw: every one near the slow end, fewer and fewer towards the fast one, both ends included."""
    slower = np.unique(np.geomspace(1, n_values, 160).round().astype(np.int64))
    return np.asarray((n_values - slower)[::-1])


def _steps(x: NDArray[np.float64], y: NDArray[np.float64], name: str) -> str:
    width = 2.8 if name == "total" else 2.2 if name == "command" else 1.5
    return curve(np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1], _COLORS[name], width)


def _log_grid(x: Scale, y: Scale) -> list[str]:
    parts = []
    for tick in x.ticks():
        parts.append(line(x.at(tick), y.start, x.at(tick), y.stop))
        parts.append(text(x.at(tick), y.start + 20, tick_label(tick), "tick", anchor="middle"))
    for tick in y.ticks():
        parts.append(line(x.start, y.at(tick), x.stop, y.at(tick)))
        parts.append(text(x.start - 8, y.at(tick) + 5, f"{tick * 100:.6g} %", "tick", anchor="end"))
    return parts


def _time_grid(x: Scale, y: Scale) -> list[str]:
    ticks, unit = time_ticks(x)
    parts = [text((x.start + x.stop) / 2, y.start + 42, f"time in the session, {unit}", "axis", anchor="middle")]
    for tick, label in ticks:
        parts.append(line(x.at(tick), y.start, x.at(tick), y.stop))
        parts.append(text(x.at(tick), y.start + 20, label, "tick", anchor="middle"))
    for tick in y.ticks():
        parts.append(line(x.start, y.at(tick), x.stop, y.at(tick)))
        parts.append(text(x.start - 8, y.at(tick) + 5, tick_label(tick), "tick", anchor="end"))
    return parts


def _deadline_mark(deadline_ms: float | None, x: Scale, y: Scale) -> list[str]:
    if deadline_ms is None:
        return []
    at = x.at(deadline_ms)
    return [
        line(at, y.start, at, y.stop, ALARM, 1.5, "6 4"),
        text(at - 6, y.stop + 16, f"deadline {deadline_ms:g} ms", "small", anchor="end", color=ALARM),
    ]


def _deadline_line(deadline_ms: float | None, x: Scale, y: Scale) -> list[str]:
    if deadline_ms is None:
        return []
    at = y.at(deadline_ms)
    return [
        line(x.start, at, x.stop, at, ALARM, 1.5, "6 4"),
        text(x.start + 8, at - 6, f"deadline {deadline_ms:g} ms", "small halo", color=ALARM),
    ]


def _legend(names: list[str], x: float, y: float) -> list[str]:
    parts = []
    for row, name in enumerate(names):
        parts.append(line(x, y + 22 * row, x + 24, y + 22 * row, _COLORS[name], 3))
        parts.append(text(x + 32, y + 5 + 22 * row, _NAMES.get(name, name), "small", color=INK))
    return parts


def _next_power(value: float) -> float:
    return float(10.0 ** np.ceil(np.log10(max(value, _FLOOR_MS)) + 1e-9))
