"""Axes, lines and marks as SVG text."""

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

INK = "#1b1f24"
MUTED = "#5f6b7a"
GRID = "#e3e7ec"
ALARM = "#c8321f"
# Okabe and Ito's palette, which people with any colour vision can tell apart; without its yellow, too pale on white.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195")

_MAX_POINTS = 1500


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values from `low` to `high` onto pixels from `start` to `stop`, linearly or by their logarithm."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where values lie, px; what is outside is put at the edge."""
        low, high = self._warp(np.array([self.low, self.high]))
        share = (self._warp(np.asarray(values, np.float64)) - low) / (high - low if high > low else 1.0)
        return np.asarray(self.start + np.clip(share, 0.0, 1.0) * (self.stop - self.start))

    def at(self, value: float) -> float:
        """Return where one value lies, px."""
        return float(self(np.array([value]))[0])

    def ticks(self, n_ticks: int = 6) -> list[float]:
        """Return round values inside the scale: 1, 2 or 5 times powers of ten, or steps of that size."""
        if self.log:
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            factors = (1, 2, 5) if self.high / self.low < 200 else (1,)
            ticks = [factor * 10.0**exponent for exponent in exponents for factor in factors]
            return [tick for tick in ticks if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]
        rough = max(self.high - self.low, 1e-12) / n_ticks
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def _warp(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log10(np.maximum(values, self.low)) if self.log else values


def svg(width: float, height: float, parts: Iterable[str], label: str) -> str:
    """Return a drawing that fills its column, with a label for those who do not see it."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">' + "".join(parts) + "</svg>"
    )


def escape(text: object) -> str:
    """Return a text that is safe between tags and in attributes."""
    return html.escape(str(text), quote=True)


def text(x: float, y: float, content: str, style: str = "", *, anchor: str = "start", color: str = MUTED) -> str:
    """Return a text; `style` is a class of the page's style sheet."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}" class="{style}">{escape(content)}</text>'
    )


def upright(x: float, y: float, content: str) -> str:
    """Return the name of an axis, read from below."""
    return (
        f'<text transform="translate({x:.1f} {y:.1f}) rotate(-90)" text-anchor="middle" fill="{MUTED}" class="axis">'
        f"{escape(content)}</text>"
    )


def line(x1: float, y1: float, x2: float, y2: float, color: str = GRID, width: float = 1.0, dash: str = "") -> str:
    """Return a straight line."""
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
        f'stroke-width="{width:g}"{dashes}/>'
    )


def rectangle(x: float, y: float, width: float, height: float, fill: str, title: str = "") -> str:
    """Return a filled rectangle that says `title` under the pointer."""
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}">{inside}</rect>'


def curve(x: NDArray[np.float64], y: NDArray[np.float64], color: str, width: float = 1.5) -> str:
    """Return a line through points in pixels; NaN breaks it."""
    steps: list[str] = []
    pen_up = True
    for here_x, here_y in zip(x.tolist(), y.tolist(), strict=True):
        if math.isnan(here_y):
            pen_up = True
            continue
        steps.append(f"{'M' if pen_up else 'L'}{here_x:.1f} {here_y:.1f}")
        pen_up = False
    return (
        f'<path d="{"".join(steps)}" fill="none" stroke="{color}" stroke-width="{width:g}" stroke-linejoin="round" '
        'stroke-linecap="round"/>'
    )


def tick_label(value: float) -> str:
    """Return a tick's number without superfluous digits."""
    return f"{value:.10g}" if 1e-4 <= abs(value) < 1e6 or value == 0 else f"{value:.0e}"


def time_ticks(scale: Scale) -> tuple[list[tuple[float, str]], str]:
    """Return round times on a scale of seconds, each with its text, and the unit of the text: s, or min if long."""
    unit_s, unit = (60.0, "min") if scale.high > 600 else (1.0, "s")
    in_unit = Scale(scale.low / unit_s, scale.high / unit_s, 0.0, 1.0)
    return [(tick * unit_s, tick_label(tick)) for tick in in_unit.ticks(8)], unit


def thin_out(seconds: NDArray[np.float64], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return a series in few enough points to draw; where points are merged, the least and the most of them stay."""
    if len(seconds) <= _MAX_POINTS:
        return seconds, values
    starts = column_starts(seconds, _MAX_POINTS // 2)
    ends = np.stack([np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)], axis=1)
    return np.repeat(seconds[starts], 2), ends.ravel()


def column_starts(seconds: NDArray[np.float64], n_columns: int) -> NDArray[np.intp]:
    """Return the index of the first frame in each of `n_columns` equal spans of time; empty spans are left out."""
    span = max(float(seconds[-1] - seconds[0]), 1e-9)
    columns = np.minimum((seconds - seconds[0]) / span * n_columns, n_columns - 1).astype(np.int64)
    return np.flatnonzero(np.diff(columns, prepend=-1))
