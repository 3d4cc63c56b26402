"""Rules over time: when each was on, off or unknown, and what was stimulated."""

import numpy as np

from realtime.decision import State
from realtime.recording.records import IntentRecord
from realtime.report.drawing import (
    ALARM,
    INK,
    MUTED,
    PALETTE,
    Scale,
    escape,
    line,
    rectangle,
    svg,
    text,
    time_ticks,
)
from realtime.report.session_data import Bout, SessionData

WIDTH = 1060.0
LEFT = 150.0
RIGHT = WIDTH - 140
ON_COLOR = PALETTE[0]
_MAX_BARS = 3000
_BAR = 24.0

# Shape, fill and stroke of each outcome's mark: what was sent is filled, what was not is hollow.
OUTCOMES = {
    "sent": ("M0 6L5 -5L-5 -5Z", PALETTE[2], PALETTE[2]),
    "sham": ("M0 6L5 -5L-5 -5Z", "#ffffff", PALETTE[2]),
    "late": ("M0 6L5 -5L-5 -5Z", "#ffffff", PALETTE[4]),
    "limited": ("M0 6L5 -5L-5 -5Z", "#ffffff", PALETTE[6]),
    "outranked": ("M0 6L5 -5L-5 -5Z", "#ffffff", MUTED),
    "cancelled": ("M-4 -4H4V4H-4Z", "#ffffff", MUTED),
    "undelivered": ("M0 6L5 -5L-5 -5Z", "#ffffff", ALARM),
    "disarmed": ("M-5 -5L5 5M5 -5L-5 5", "none", MUTED),
    "failed": ("M-5 -5L5 5M5 -5L-5 5", "none", ALARM),
    "stopped": ("M-4 -4H4V4H-4Z", INK, INK),
}


def timeline(data: SessionData) -> str:
    """Return one bar a rule, solid where it was on and hatched where it was unknown, with the stimuli below it."""
    x = Scale(0.0, max(data.duration_s, 1e-3), LEFT, RIGHT)
    parts: list[str] = []
    y = 8.0
    for name in data.rules:
        parts.append(text(LEFT - 12, y + 17, name, "label", anchor="end", color=INK))
        parts.append(rectangle(LEFT, y, RIGHT - LEFT, _BAR, "#f2f4f7"))
        bouts = data.bouts(name, State.ON)
        told = f"{len(bouts):,} ×, {sum(bout.duration_s for bout in bouts):.1f} s"
        parts.append(text(RIGHT + 12, y + 17, told, "small", color=INK))
        parts += _bars(drawable(data, name, State.UNKNOWN, x), x, y, "url(#unknown)", f"{name} unknown")
        parts += _bars(drawable(data, name, State.ON, x), x, y, ON_COLOR, f"{name} on")
        y += _BAR + 6
        y = _stimuli(data, name, x, y, parts) + 12
    y = _stimuli(data, "", x, y, parts)
    parts += _faults(data, x, y)
    # Behind everything: a line across a bar would look like its end.
    grid = [line(x.at(tick), 2.0, x.at(tick), y) for tick, _ in time_ticks(x)[0]]
    return svg(
        WIDTH,
        y + 44,
        [_HATCH, *grid, *parts, *time_axis(x, y)],
        "State of every rule over the session, with the stimuli",
    )


def legend(data: SessionData) -> str:
    """Return what the timeline's bars and those marks mean that occur."""
    swatches = [
        f'<svg class="key" viewBox="0 0 26 14">{rectangle(0, 0, 26, 14, ON_COLOR)}</svg>on',
        f'<svg class="key" viewBox="0 0 26 14">{_HATCH}{rectangle(0, 0, 26, 14, "url(#unknown)")}</svg>unknown',
    ]
    occurred = {intent.outcome for _, intent in data.intents}
    for outcome, mark in OUTCOMES.items():
        if outcome not in occurred:
            continue
        swatches.append(f'<svg class="key mark" viewBox="-8 -8 16 16">{_mark(0, 0, mark, "")}</svg>{outcome}')
    return '<p class="legend">' + "".join(f"<span>{swatch}</span>" for swatch in swatches) + "</p>"


def _stimuli(data: SessionData, rule: str, x: Scale, y: float, parts: list[str]) -> float:
    """Draw the stimuli of a rule, or with no name those that no rule asks for, from `y` down; return where they end."""
    for stimulus, intents in _stimuli_of(data, rule).items():
        parts.append(text(LEFT - 12, y + 13, stimulus, "small", anchor="end"))
        parts += _marks(data, intents, x, y + 9)
        sent = sum(intent.outcome == "sent" for _, intent in intents)
        parts.append(text(RIGHT + 12, y + 13, f"{sent:,} sent", "small"))
        y += 22
    return y


def _faults(data: SessionData, x: Scale, y: float) -> list[str]:
    """Return a line down the timeline for every fault; only the first is told, since one often brings others."""
    faults = [(x.at(float(data.seconds[row])), event) for row, event in data.events if event.kind == "fault"]
    parts = [line(at, 2.0, at, y, ALARM, 2.0) for at, _ in faults]
    for at, event in faults[:1]:
        place, anchor = (at - 6, "end") if at > (LEFT + RIGHT) / 2 else (at + 6, "start")
        told = f"{event.trigger} fault: {event.detail}"
        parts.append(text(place, y - 4, told, "small halo", anchor=anchor, color=ALARM))
    return parts


def _stimuli_of(data: SessionData, rule: str) -> dict[str, list[tuple[int, IntentRecord]]]:
    named = data.description.get("rig", {}).get("stimuli", {})
    found: dict[str, list[tuple[int, IntentRecord]]] = {
        name: [] for name, stimulus in named.items() if stimulus.get("rule", "") == rule
    }
    for row, intent in data.intents:
        if intent.rule == rule:
            found.setdefault(intent.stimulus, []).append((row, intent))
    return found


def drawable(data: SessionData, rule: str, state: State, x: Scale) -> list[Bout]:
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


def time_axis(x: Scale, y: float) -> list[str]:
    """Return the axis of the session's time at `y`."""
    ticks, unit = time_ticks(x)
    parts = [line(x.start, y, x.stop, y, MUTED)]
    for tick, label in ticks:
        parts.append(line(x.at(tick), y, x.at(tick), y + 5, MUTED))
        parts.append(text(x.at(tick), y + 20, label, "tick", anchor="middle"))
    parts.append(text((x.start + x.stop) / 2, y + 38, f"time in the session, {unit}", "axis", anchor="middle"))
    return parts


_HATCH = (
    '<defs><pattern id="unknown" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    f'<rect width="6" height="6" fill="#ffffff"/><rect width="2.5" height="6" fill="{MUTED}"/></pattern></defs>'
)
