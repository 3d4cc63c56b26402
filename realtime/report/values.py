"""The numbers that rules compared, over time, with their thresholds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import ValidationError

from realtime.decision import State
from realtime.lookahead import LookAheadOptions
from realtime.plane import Plane
from realtime.report.drawing import ALARM, INK, Scale, curve, line, svg, text, thin_out, tick_label
from realtime.report.session_data import Bout, SessionData
from realtime.report.timeline import LEFT, ON_COLOR, RIGHT, WIDTH, drawable, time_axis
from realtime.rules import Comparison, RoleSpec, Rule, RuleContext, RuleError, RuleSpec, ZoneSpec, compile_rule

_PANEL_HEIGHT = 92.0
_LABEL_HEIGHT = 16.0
_THRESHOLD = re.compile(
    r"^(?P<what>.*\S)\s*(?P<sign><=|>=|<|>)\s*(?P<number>-?\d+(?:\.\d+)?)\s*(?P<unit>[a-z/°]*)$", re.DOTALL
)


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


def value_plots(data: SessionData, rule: str) -> str:
    """Return the numbers that a rule compared over time, with the thresholds, and shaded where the rule was on."""
    trace = data.rules[rule]
    compiled = recorded_rule(data.description, rule)
    panels = _panels(rule, trace.units, () if compiled is None else compiled.comparisons)
    if not panels:
        return ""
    x = Scale(0.0, max(data.duration_s, 1e-3), LEFT, RIGHT)
    on = drawable(data, rule, State.ON, x)
    parts: list[str] = []
    y = 26.0
    for panel in panels:
        parts += _panel(panel, data, rule, on, x, y)
        y += _PANEL_HEIGHT + 48
    parts += time_axis(x, y - 14)
    return svg(WIDTH, y + 28, parts, f"Numbers that rule {rule} compared")


def identity_names(description: Mapping[str, Any]) -> Sequence[str]:
    """Return the names behind the tracks' classes in a session; older ones know those of the model only."""
    names: Sequence[str] = description.get("identities", description.get("model", {}).get("class_names", ()))
    return names


def recorded_rule(description: Mapping[str, Any], name: str) -> Rule | None:
    """Return a session's rule, compiled again for the names of its roles and comparisons; None if that cannot be."""
    try:
        rig, model = description["rig"], description["model"]
        context = RuleContext(
            node_names=tuple(model["skeleton"]["nodes"]),
            class_names=tuple(identity_names(description)),
            roles={role: RoleSpec.model_validate(spec) for role, spec in rig.get("roles", {}).items()},
            front=rig["animal"]["front"],
            back=rig["animal"]["back"],
            centre=rig["animal"]["centre"],
            px_per_mm=rig.get("calibration", {}).get("px_per_mm"),
            zones={zone: ZoneSpec.model_validate(spec) for zone, spec in rig.get("zones", {}).items()},
            predicted_nodes=_predicted_nodes(rig, model),
            plane=recorded_plane(description),
            rules={rule: RuleSpec.model_validate(spec) for rule, spec in rig["rules"].items()},
        )
        return compile_rule(name, context.rules[name], context)
    except (KeyError, ValidationError, RuleError):
        return None  # a session of another version: its numbers are still there, without their names


def recorded_plane(description: Mapping[str, Any]) -> Plane | None:
    """Return how a session's px were levelled for its rules; None where they were not."""
    found = description.get("rig", {}).get("calibration", {}).get("plane")
    return None if found is None else Plane.model_validate(found)


def _predicted_nodes(rig: Mapping[str, Any], model: Mapping[str, Any]) -> tuple[str, ...] | None:
    if "lookahead" not in rig:
        return None
    return LookAheadOptions.model_validate(rig["lookahead"]).predicted_nodes(model["skeleton"]["nodes"])


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
    reach = (
        [*np.percentile(known, (0.5, 99.5)).tolist(), *[number for *_, number in panel.thresholds]]
        if known.size
        else [0, 1]
    )
    margin = 0.08 * (max(reach) - min(reach) or 1.0)
    y = Scale(min(reach) - margin, max(reach) + margin, top + _PANEL_HEIGHT, top)
    unit = f", {panel.unit}" if panel.unit else ""
    parts = [text(LEFT, top - 8, f"{panel.title}{unit}", "code", color=INK)]
    for bout in on:
        start, width = x.at(bout.start_s), max(x.at(bout.end_s) - x.at(bout.start_s), 0.6)
        parts.append(
            f'<rect x="{start:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_PANEL_HEIGHT:g}" fill="{ON_COLOR}" '
            'fill-opacity="0.13"/>'
        )
    for tick in y.ticks(3):
        parts.append(line(LEFT, y.at(tick), RIGHT, y.at(tick)))
        parts.append(text(LEFT - 8, y.at(tick) + 5, tick_label(tick), "tick", anchor="end"))
    parts.append(curve(x(seconds), np.where(np.isnan(drawn), np.nan, y(np.nan_to_num(drawn))), INK, 1.2))
    lowest = np.inf
    for key, sign, number in sorted(panel.thresholds, key=lambda threshold: threshold[2]):
        parts.append(line(LEFT, y.at(number), RIGHT, y.at(number), ALARM, 1.3, "6 4"))
        lowest = min(y.at(number) + 5, lowest - _LABEL_HEIGHT)  # labels of near thresholds do not lie on one another
        parts.append(text(RIGHT + 12, lowest, f"{key} {sign} {number:g} {panel.unit}", "small", color=ALARM))
    return parts
