"""The distribution drawn: every pulse, how many took how long, and the percentiles; one SVG file."""

import math

import numpy as np
from numpy.typing import NDArray

from realtime.looptest.result import EchoResult, LightResult, interval_text
from realtime.report.drawing import (
    INK,
    MUTED,
    PALETTE,
    Scale,
    curve,
    escape,
    line,
    rectangle,
    text,
    tick_label,
    upright,
)

_WIDTH, _HEIGHT = 1060.0, 560.0
_LEFT, _RIGHT = 90.0, _WIDTH - 40.0
_TOP, _MIDDLE, _BOTTOM = 96.0, 330.0, 500.0
_LIGHT, _SEEN = PALETTE[0], PALETTE[1]
_STYLE = (
    'text { font-family: "Inter", "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif; } '
    ".tick, .small { font-size: 14px; } .axis { font-size: 15px; } .title { font-size: 22px; font-weight: 600; }"
)


def picture(result: LightResult | EchoResult) -> str:
    """Return an SVG document: on top the share of pulses that took no longer, below each pulse in the order fired."""
    if isinstance(result, EchoResult):
        parts = _echo(result)
        title = "Command → acknowledgement"
    else:
        parts = _light(result)
        title = "Command → light"
    plan = result.plan
    parts.append(text(_LEFT, 36, title, "title", color=INK))
    under = (
        f"{len(plan.offsets_ns) - plan.n_locating} pulses of {plan.pulse.duration_us / 1e3:g} ms on "
        f"{plan.output.trigger} channel {plan.output.channel}"
    )
    parts.append(text(_LEFT, 60, under, "small"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" width="{_WIDTH:g}" '
        f'height="{_HEIGHT:g}" role="img" aria-label="{escape(title)}"><style>{_STYLE}</style>'
        f"{rectangle(0, 0, _WIDTH, _HEIGHT, '#ffffff')}{''.join(parts)}</svg>\n"
    )


def _light(result: LightResult) -> list[str]:
    delays, blinks = result.delays, result.blinks
    light_ms = (delays.pulses_ns - result.transfer_ns) / 1e6
    seen_ms = blinks.seen_ns / 1e6
    x, share, order = _axes(np.concatenate([light_ms[~blinks.unclear], seen_ms]), blinks.n_commands)
    parts = _grid(x, share, order)
    grid_ms = (delays.grid_ns - result.transfer_ns) / 1e6
    parts.append(curve(x(grid_ms), share(np.cumsum(delays.weights)), _LIGHT, 2.6))
    parts += _steps(np.sort(seen_ms), x, share, _SEEN)
    found = result.light_ms()
    for row, (name, at) in enumerate((("p50", 0.5), ("p95", 0.95), ("p99", 0.99))):
        value, low, high = found[name]
        y = share.at(at)
        parts.append(line(x.at(low), y, x.at(high), y, _LIGHT, 5))
        told = f"{name} {value:.2f} ms ({interval_text(low, high)})"
        parts.append(text(_RIGHT, _TOP + 30 + 22 * row, told, "small", anchor="end", color=_LIGHT))
    seen = result.seen_ms()
    for row, name in enumerate(("p50", "p95", "p99")):
        told = f"{name} {seen[name]:.2f} ms"
        parts.append(text(_RIGHT, _TOP + 118 + 22 * row, told, "small", anchor="end", color=_SEEN))
    parts.append(text(_RIGHT, _TOP + 8, "light on (95 % interval)", "small", anchor="end", color=_LIGHT))
    parts.append(text(_RIGHT, _TOP + 96, "in a frame that the program has", "small", anchor="end", color=_SEEN))
    for pulse, light, spread, frame in zip(
        blinks.pulses.tolist(), light_ms.tolist(), (delays.spread_ns / 1e6).tolist(), seen_ms.tolist(), strict=True
    ):
        y = order.at(pulse)
        if not math.isnan(light):
            parts.append(line(x.at(light - 1.96 * spread), y, x.at(light + 1.96 * spread), y, _LIGHT, 1.2))
            parts.append(_dot(x.at(light), y, _LIGHT))
        parts.append(_dot(x.at(frame), y, _SEEN))
    return parts


def _echo(result: EchoResult) -> list[str]:
    echo_ms = result.echoes_ns / 1e6
    x, share, order = _axes(echo_ms, len(result.plan.offsets_ns))
    parts = _grid(x, share, order) + _steps(np.sort(echo_ms), x, share, _LIGHT)
    parts += [_dot(x.at(value), order.at(row), _LIGHT) for row, value in enumerate(echo_ms.tolist())]
    for row, (name, value) in enumerate(result.echo_ms().items()):
        parts.append(text(_RIGHT, _TOP + 8 + 22 * row, f"{name} {value:.2f} ms", "small", anchor="end", color=_LIGHT))
    return parts


def _axes(values_ms: NDArray[np.float64], n_pulses: int) -> tuple[Scale, Scale, Scale]:
    """Return the scales of time, of the share of pulses and of the order of the pulses."""
    low, high = float(values_ms.min()), float(values_ms.max())
    room = 0.04 * max(high - low, 0.1)
    # The legend stands to the right of the largest value.
    x = Scale(min(0.0, low - room), high + room, _LEFT, _RIGHT - 250)
    return x, Scale(0.0, 1.0, _MIDDLE, _TOP), Scale(-1.0, float(max(n_pulses, 1)), _MIDDLE + 22, _BOTTOM)


def _grid(x: Scale, share: Scale, order: Scale) -> list[str]:
    parts = []
    for tick in x.ticks(8):
        parts.append(line(x.at(tick), _TOP, x.at(tick), _BOTTOM))
        parts.append(text(x.at(tick), _BOTTOM + 20, tick_label(tick), "tick", anchor="middle"))
    for tick in (0.0, 0.25, 0.5, 0.75, 0.95, 1.0):
        parts.append(line(_LEFT, share.at(tick), x.stop, share.at(tick)))
        if tick != 0.95:
            parts.append(text(_LEFT - 8, share.at(tick) + 5, f"{tick * 100:g} %", "tick", anchor="end"))
    parts += [line(_LEFT, y, x.stop, y) for y in (order.start, order.stop)]
    parts.append(text((_LEFT + x.stop) / 2, _BOTTOM + 44, "from the command's last byte, ms", "axis", anchor="middle"))
    parts.append(upright(24, (_TOP + _MIDDLE) / 2, "share of pulses"))
    parts.append(upright(24, (order.start + order.stop) / 2, "pulse"))
    parts.append(text(_LEFT - 8, order.start + 12, "first", "tick", anchor="end"))
    parts.append(text(_LEFT - 8, order.stop, "last", "tick", anchor="end"))
    parts.append(line(_LEFT, share.start, x.stop, share.start, MUTED, 1.2))
    return parts


def _steps(sorted_ms: NDArray[np.float64], x: Scale, share: Scale, color: str) -> list[str]:
    shares = np.arange(1, sorted_ms.size + 1) / sorted_ms.size
    at = np.repeat(x(sorted_ms), 2)
    height = np.concatenate([[share.at(0.0)], np.repeat(share(shares), 2)[:-1]])
    return [curve(at, height, color, 2.0)]


def _dot(x: float, y: float, color: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{color}"/>'
