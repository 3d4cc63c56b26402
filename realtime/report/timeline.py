"""Rules over time: when each was on, off or unknown, what was stimulated, and the numbers that were compared."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from realtime.decision import State
from realtime.recording.records import IntentRecord
from realtime.report.drawing import (
    ALARM,
    GRID,
    INK,
    MUTED,
    PALETTE,
    Scale,
    curve,
    escape,
    line,
    rectangle,
    svg,
    text,
    thin_out,
    tick_label,
)
from realtime.report.session_data import Bout, SessionData
from realtime.rules import Comparison, RoleSpec, RuleContext, RuleError, RuleSpec, compile_rule

WIDTH = 1060.0
LEFT = 150.0
RIGHT = WIDTH - 12
ON_COLOR = PALETTE[0]
_MAX_BARS = 3000
_BAR = 24.0

# Shape, fill and stroke of each outcome's mark: what was sent is filled, what was held back is hollow.
OUTCOMES = {
    "sent": ("M0 6L5 -5L-5 -5Z", PALETTE[2], PALETTE[2]),
    "late": ("M0 6L5 -5L-5 -5Z", "#ffffff", PALETTE[4]),
    "limited": ("M0 6L5 -5L-5 -5Z", "#ffffff", PALETTE[6]),
    "undelivered": ("M0 6L5 -5L-5 -5Z", "#ffffff", ALARM),
    "disarmed": ("M-5 -5L5 5M5 -5L-5 5", "none", MUTED),
    "failed": ("M-5 -5L5 5M5 -5L-5 5", "none", ALARM),
    "stopped": ("M-4 -4H4V4H-4Z", INK, INK),
}

_THRESHOLD = re.compile(r"^(?P<what>.*\S)\s*(?P<sign><=|>=|<|>)\s*(?P<number>-?\d+(?:\.\d+)?)\s*(?P<unit>[a-z/°]*)$")


@dataclass(slots=True)
class _Panel:
    """One number over time, with every threshold that it is compared with.

    Attributes:
        column: Which of the rule's values it is.
        thresholds: (key, sign, number), such as `("when", "<", 3.5)`.
    """

    title: str
    unit: str
    column: int
    thresholds: list[tuple[str, str, float]] = field(default_factory=list)


def timeline(data: SessionData) -> str:
    """Return one bar a rule, solid where it was on and hatched where it was unknown, with the stimuli below it."""
    x = Scale(0.0, max(data.duration_s, 1e-3), LEFT, RIGHT)
    parts = [_HATCH]
    y = 8.0
    for name in data.rules:
        parts.append(text(LEFT - 12, y + 17, name, "label", anchor="end", color=INK))
        parts.append(rectangle(LEFT, y, RIGHT - LEFT, _BAR, "#f2f4f7"))
        parts += _bars(_drawable(data, name, State.UNKNOWN, x), x, y, "url(#unknown)", f"{name} unknown")
        parts += _bars(_drawable(data, name, State.ON, x), x, y, ON_COLOR, f"{name} on")
        y += _BAR + 6
        for stimulus, intents in _stimuli_of(data, name).items():
            parts.append(text(LEFT - 12, y + 13, stimulus, "small", anchor="end"))
            parts += _marks(data, intents, x, y + 9)
            y += 22
        y += 12
    parts += _time_axis(x, 2.0, y)
    return svg(WIDTH, y + 44, parts, "State of every rule over the session, with the stimuli")


def legend() -> str:
    """Return what the timeline's bars and marks mean."""
    swatches = [
        f'<svg class="key" viewBox="0 0 26 14">{rectangle(0, 0, 26, 14, ON_COLOR)}</svg>on',
        f'<svg class="key" viewBox="0 0 26 14">{_HATCH}{rectangle(0, 0, 26, 14, "url(#unknown)")}</svg>unknown',
    ]
    for outcome, mark in OUTCOMES.items():
        swatches.append(f'<svg class="key mark" viewBox="-8 -8 16 16">{_mark(0, 0, mark, "")}</svg>{outcome}')
    return '<p class="legend">' + "".join(f"<span>{swatch}</span>" for swatch in swatches) + "</p>"


def value_plots(data: SessionData, rule: str) -> str:
    """Return the numbers that a rule compared, over time, with the thresholds, above the stretches in which it was on."""
    trace = data.rules[rule]
    panels = _panels(rule, trace.units, comparisons(data.description, rule))
    if not panels:
        return ""
    x = Scale(0.0, max(data.duration_s, 1e-3), LEFT, RIGHT)
    on = _drawable(data, rule, State.ON, x)
    parts: list[str] = []
    y = 26.0
    for panel in panels:
        parts += _panel(panel, data, rule, on, x, y)
        y += 132
    parts += _time_axis(x, None, y - 14)
    return svg(WIDTH, y + 28, parts, f"Numbers that rule {rule} compared")


def comparisons(description: Mapping[str, Any], rule: str) -> tuple[Comparison, ...]:
    """Return the comparisons of a session's rule, in the order of `Decision.values`; nothing if they cannot be read."""
    try:
        rig, model = description["rig"], description["model"]
        context = RuleContext(
            node_names=tuple(model["skeleton"]["nodes"]),
            class_names=tuple(model.get("class_names", ())),
            roles={name: RoleSpec.model_validate(role) for name, role in rig.get("roles", {}).items()},
            front=rig["animal"]["front"],
            back=rig["animal"]["back"],
            centre=rig["animal"]["centre"],
            px_per_mm=rig.get("calibration", {}).get("px_per_mm"),
        )
        return compile_rule(rule, RuleSpec.model_validate(rig["rules"][rule]), context).comparisons
    except (KeyError, ValidationError, RuleError):
        return ()  # a session of another version: its numbers are still there, without their names


def quantity(comparison: Comparison) -> str:
    """Return what a comparison is about, without its threshold: `distance(a, b)` of `distance(a, b) < 3 mm`."""
    found = _THRESHOLD.match(comparison.text)
    return found["what"] if found is not None else comparison.text


def _panels(rule: str, units: Sequence[str], found: Sequence[Comparison]) -> list[_Panel]:
    if len(found) != len(units):
        return [_Panel(f"{rule}, number {column + 1}", unit, column) for column, unit in enumerate(units)]
    panels: dict[tuple[str, str], _Panel] = {}
    for column, comparison in enumerate(found):
        title = quantity(comparison)
        panel = panels.setdefault((title, comparison.unit), _Panel(title, comparison.unit, column))
        match = _THRESHOLD.match(comparison.text)
        if match is not None and match["unit"] == comparison.unit:
            panel.thresholds.append((comparison.key, match["sign"], float(match["number"])))
    return list(panels.values())


def _panel(panel: _Panel, data: SessionData, rule: str, on: list[Bout], x: Scale, top: float) -> list[str]:
    values = data.rules[rule].values[:, panel.column]
    seconds, drawn = thin_out(data.seconds, values)
    known = values[np.isfinite(values)]
    # A single wild value must not flatten the rest, and the thresholds must be seen.
    reach = [*np.percentile(known, (0.5, 99.5)).tolist(), *[number for *_, number in panel.thresholds]] if known.size else [0, 1]
    margin = 0.08 * (max(reach) - min(reach) or 1.0)
    y = Scale(min(reach) - margin, max(reach) + margin, top + 84, top)
    unit = f", {panel.unit}" if panel.unit else ""
    parts = [text(LEFT, top - 8, f"{panel.title}{unit}", "code", color=INK)]
    parts += [
        f'<rect x="{x.at(bout.start_s):.1f}" y="{top:.1f}" width="{max(x.at(bout.end_s) - x.at(bout.start_s), 0.6):.1f}" '
        f'height="84" fill="{ON_COLOR}" fill-opacity="0.13"/>'
        for bout in on
    ]
    for tick in y.ticks(3):
        parts.append(line(LEFT, y.at(tick), RIGHT, y.at(tick)))
        parts.append(text(LEFT - 8, y.at(tick) + 5, tick_label(tick), "tick", anchor="end"))
    parts.append(curve(x(seconds), np.where(np.isnan(drawn), np.nan, y(np.nan_to_num(drawn))), INK, 1.2))
    for key, sign, number in panel.thresholds:
        parts.append(line(LEFT, y.at(number), RIGHT, y.at(number), ALARM, 1.3, "6 4"))
        label = f"{key} {sign} {number:g} {panel.unit}"
        parts.append(text(RIGHT, y.at(number) - 4, label, "small halo", anchor="end", color=ALARM))
    return parts


def _stimuli_of(data: SessionData, rule: str) -> dict[str, list[tuple[int, IntentRecord]]]:
    named = data.description.get("rig", {}).get("stimuli", {})
    found: dict[str, list[tuple[int, IntentRecord]]] = {
        name: [] for name, stimulus in named.items() if stimulus.get("rule") == rule
    }
    for row, intent in data.intents:
        if intent.rule == rule:
            found.setdefault(intent.stimulus, []).append((row, intent))
    return found


def _drawable(data: SessionData, rule: str, state: State, x: Scale) -> list[Bout]:
    """Return the stretches in a state; where they are too many to draw, those closer than a pixel are joined."""
    bouts = data.bouts(rule, state)
    if len(bouts) <= _MAX_BARS:
        return bouts
    a_pixel_s = (x.high - x.low) / (x.stop - x.start)
    joined = [bouts[0]]
    for bout in bouts[1:]:
        if bout.start_s - joined[-1].end_s < a_pixel_s:
            joined[-1] = Bout(joined[-1].first, bout.stop, joined[-1].start_s, bout.end_s)
        else:
            joined.append(bout)
    return joined


def _bars(bouts: list[Bout], x: Scale, y: float, fill: str, title: str) -> list[str]:
    starts = x(np.array([bout.start_s for bout in bouts]))
    widths = np.maximum(x(np.array([bout.end_s for bout in bouts])) - starts, 0.8)
    return [
        rectangle(start, y, width, _BAR, fill, f"{title}: {bout.start_s:.3f} to {bout.end_s:.3f} s")
        for bout, start, width in zip(bouts, starts.tolist(), widths.tolist(), strict=True)
    ]


def _marks(data: SessionData, intents: list[tuple[int, IntentRecord]], x: Scale, y: float) -> list[str]:
    # Marks of one outcome that fall on the same half pixel look like one and are drawn as one.
    drawn: dict[tuple[int, str], str] = {}
    for row, intent in intents:
        at = x.at(float(data.seconds[row]))
        mark = OUTCOMES.get(intent.outcome, OUTCOMES["failed"])
        title = f"{intent.stimulus} {intent.outcome} at {data.seconds[row]:.3f} s, frame {intent.frame_id}"
        detail = f": {intent.detail}" if intent.detail else ""
        drawn.setdefault((round(at * 2), intent.outcome), _mark(at, y, mark, title + detail))
    return list(drawn.values())


def _mark(x: float, y: float, mark: tuple[str, str, str], title: str) -> str:
    shape, fill, stroke = mark
    inside = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<path transform="translate({x:.1f} {y:.1f})" d="{shape}" fill="{fill}" stroke="{stroke}" stroke-width="1.8">'
        f"{inside}</path>"
    )


def _time_axis(x: Scale, top: float | None, y: float) -> list[str]:
    parts = [line(x.start, y, x.stop, y, MUTED)]
    for tick in x.ticks(8):
        parts.append(line(x.at(tick), y, x.at(tick), y + 5, MUTED))
        if top is not None:
            parts.insert(0, line(x.at(tick), top, x.at(tick), y, GRID))
        parts.append(text(x.at(tick), y + 20, tick_label(tick), "tick", anchor="middle"))
    parts.append(text((x.start + x.stop) / 2, y + 38, "time in the session, s", "axis", anchor="middle"))
    return parts


_HATCH = (
    '<defs><pattern id="unknown" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    f'<rect width="6" height="6" fill="#ffffff"/><rect width="2.5" height="6" fill="{MUTED}"/></pattern></defs>'
)
