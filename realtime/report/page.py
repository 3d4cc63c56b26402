"""The page: one self-contained HTML file, no scripts, nothing fetched from anywhere."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from realtime.folder import REPORT, RIG
from realtime.report.drawing import escape
from realtime.report.gallery import Pictures, Shot, choose_shots, figure, session_pictures
from realtime.report.html import document, table, tile
from realtime.report.identities import in_words
from realtime.report.latency_plots import latency_over_time, survival_plot
from realtime.report.lookahead import error_text
from realtime.report.session_data import SessionData, load_session
from realtime.report.summary import LATENCY_MEANING, PERCENTILES, format_ms, summarize
from realtime.report.timeline import OUTCOMES, legend, timeline
from realtime.report.values import value_plots

_MAX_LISTED = 30
_DEVICE_EVENTS = {"fault": "failed", "reopened": "there again"}

_INCLUDED = (
    "<strong>Included:</strong> from the moment at which a frame is <em>available</em> to this program (its image lies "
    "in the host's memory) to the last byte of the command handed to the operating system, on the host's monotonic "
    "clock; every processed frame counts, the first ones too. <strong>Not included:</strong> exposure, readout and "
    "transfer before that; port, device and lamp or loudspeaker (the actuator) after it. Only a loop-back on the rig "
    "measures those."
)
_ACKNOWLEDGED = (
    "From the last byte of a command to the moment at which the loop read the answer. The loop reads once a frame, so "
    "this is an upper limit of the device's own time."
)


def write_report(
    session_folder: Path,
    *,
    pictures: Callable[[SessionData, Sequence[int]], Pictures] = session_pictures,
    n_bouts: int = 6,
) -> Path:
    """Write `report.html` into a session folder and return its path.

    Args:
        session_folder: The session; its log may have been cut short.
        pictures: Gives the images of the named frames, as far as they can be had.
        n_bouts: How many bouts of each rule are shown as pictures, the longest ones.

    Raises:
        FolderError: It is no session folder.
        OSError: Its log cannot be opened, or the page cannot be written.
    """
    data = load_session(session_folder)
    shots = choose_shots(data, n_bouts)
    images = pictures(data, [shot.frame_id for shot in shots]) if shots else Pictures({}, "")
    page = session_folder / REPORT
    page.write_text(_page(data, shots, images), encoding="utf-8")
    return page


def _page(data: SessionData, shots: list[Shot], images: Pictures) -> str:
    numbers = summarize(data)
    sections = [_header(data, numbers)]
    if data.n_frames:
        sections += [_happened(data, numbers), _devices(data), _identities(data), _look_ahead(numbers["lookahead"])]
        sections += [_latency(data, numbers), _bouts(data, shots, images), _values(data)]
    sections += [_lost(numbers), _setup(data)]
    return document(f"{data.folder.resolve().name} – poseloop", "".join(sections), pictures=True)


def _header(data: SessionData, numbers: Mapping[str, Any]) -> str:
    name = escape(data.folder.resolve().name)
    started = escape(str(numbers["started"] or "")[:19].replace("T", " "))
    rig = escape(Path(str(data.description.get("rig_path", "rig"))).name)
    facts = [
        f"Rig <b>{rig}</b>",
        f"started <b>{started} UTC</b>" if started else "",
        f"ended: <b>{escape(numbers['ended'])}</b>",
    ]
    refused = [f"{count} × refused by the device: {why}" for why, count in numbers["refused_commands"].items()]
    damage = [numbers["log_damage"]] if numbers["log_damage"] else []
    faults = [*numbers["trigger_faults"], *refused, *damage]
    warning = "".join(f'<p class="warning">{escape(fault)}</p>' for fault in faults[:_MAX_LISTED])
    return (
        f"<header><p class='kicker'>poseloop session</p><h1>{name}</h1>"
        f"<p>{' · '.join(filter(None, facts))}</p>{warning}"
        f'<div class="tiles">{"".join(_tiles(numbers))}</div></header>'
    )


def _tiles(numbers: Mapping[str, Any]) -> list[str]:
    rate = "" if numbers["frames_per_s"] is None else f"{numbers['frames_per_s']:.1f} a second"
    command = numbers["latency_ms"]["command"]
    path = command if command["n"] else numbers["latency_ms"]["decision"]
    where = "command written" if command["n"] else "decision"
    sent = sum(outcomes.get("sent", 0) for outcomes in numbers["stimuli"].values())
    asked = sum(sum(outcomes.values()) - outcomes.get("stopped", 0) for outcomes in numbers["stimuli"].values())
    missed, deadline = numbers["deadline_misses"], numbers["deadline_ms"]
    lost = ", ".join(f"{count:,} {reason}" for reason, count in numbers["drops"].items()) or "of the camera's"
    return [
        tile(f"{numbers['n_frames']:,}", "frames processed", f"{_duration(numbers['seconds'])}, {rate}".strip(", ")),
        tile(f"{format_ms(path['p50'])}<small> ms</small>", f"frame available → {where}", f"median of {path['n']:,}"),
        tile(f"{format_ms(path['p99'])}<small> ms</small>", "99 % are faster", f"slowest {format_ms(path['max'])} ms"),
        tile(f"{sent:,}", "stimuli sent", f"of {asked:,} asked for"),
        tile(
            "–" if missed is None else f"{missed:,}",
            "frames past the deadline",
            "" if deadline is None else f"of {deadline:g} ms",
            alarm=bool(missed),
        ),
        tile(f"{sum(numbers['drops'].values()):,}", "frames not processed", escape(lost), alarm=bool(numbers["drops"])),
    ]


def _happened(data: SessionData, numbers: Mapping[str, Any]) -> str:
    if not (data.rules or data.intents):
        return ""
    rows = [
        (
            escape(name),
            f"{rule['bouts']:,}",
            f"{rule['on_s']:.1f}",
            "–" if rule["longest_s"] is None else f"{rule['longest_s']:.2f}",
            f"{rule['unknown_s']:.1f}",
        )
        for name, rule in numbers["rules"].items()
    ]
    return (
        f"<section><h2>What happened</h2>{legend(data)}{timeline(data)}"
        + '<div class="columns">'
        + table(("rule", "times on", "on, s", "longest, s", "unknown, s"), rows)
        + _stimulus_table(numbers["stimuli"])
        + "</div>"
        + _held_back(data)
        + "</section>"
    )


def _stimulus_table(stimuli: Mapping[str, Mapping[str, int]]) -> str:
    if not stimuli:
        return ""
    outcomes = [outcome for outcome in OUTCOMES if any(outcome in counts for counts in stimuli.values())]
    rows = [
        (escape(name), *[f"{counts[outcome]:,}" if outcome in counts else "–" for outcome in outcomes])
        for name, counts in stimuli.items()
    ]
    return table(("stimulus", *outcomes), rows)


def _held_back(data: SessionData) -> str:
    """Return why stimuli were not sent, one row a reason, since one fault can hold back thousands."""
    told: dict[tuple[str, str], list[tuple[float, str]]] = {}
    for row, intent in data.intents:
        if intent.outcome not in {"sent", "sham", "stopped"}:
            told.setdefault((intent.stimulus, intent.outcome), []).append((float(data.seconds[row]), intent.detail))
    if not told:
        return ""
    rows = [
        (escape(stimulus), escape(outcome), f"{len(cases):,}", f"{cases[0][0]:.2f}", escape(cases[0][1]))
        for (stimulus, outcome), cases in told.items()
    ]
    return "<h3>Why stimuli were not sent</h3>" + table(
        ("stimulus", "outcome", "times", "first at, s", "reason of the first"), rows, n_words=2, last_is_text=True
    )


def _identities(data: SessionData) -> str:
    rows = [
        (event.kind, f"{data.seconds[event.row]:.2f}", f"{data.frame_ids[event.row]}", escape(in_words(event)))
        for event in data.identity_events
    ]
    return _listed("Identities in doubt", ("what", "at, s", "frame", "which"), rows)


def _devices(data: SessionData) -> str:
    """Return when a device failed, and when it was there again."""
    rows = [
        (
            _DEVICE_EVENTS[event.kind],
            f"{data.seconds[row]:.2f}",
            f"{data.frame_ids[row]}",
            f"{escape(event.trigger)}: {escape(event.detail)}",
        )
        for row, event in data.events
        if event.kind in _DEVICE_EVENTS
    ]
    return _listed("Devices that failed", ("what", "at, s", "frame", "which"), rows)


def _listed(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return what happened one by one, the first ones where there are many."""
    if not rows:
        return ""
    more = len(rows) - _MAX_LISTED
    return (
        f"<section><h2>{title}</h2>"
        + table(columns, rows[:_MAX_LISTED], last_is_text=True)
        + (f'<p class="note">and {more:,} more.</p>' if more > 0 else "")
        + "</section>"
    )


def _look_ahead(numbers: Mapping[str, Any] | None) -> str:
    """Return how far predictions were off, against taking the pose."""
    if numbers is None:
        return ""
    rows = [
        (
            escape(name),
            error_text(group["error"]),
            error_text(group["pose_error"]),
            f"{group['error']['n']:,}",
            "–" if group["on_share"] is None else f"{group['on_share']:.0%}",
            f"{group['switched_off']:,}",
        )
        for name, group in numbers["groups"].items()
    ]
    unit = numbers["unit"]
    return (
        "<section><h2>Looking ahead</h2>"
        + table(("nodes", f"off by, {unit}", f"no prediction, {unit}", "n", "in use", "switched off"), rows)
        + f'<p class="note">{numbers["horizon_ms"]["p50"]:.1f} ms ahead (median). Errors are p50 / p90 / p99 of the '
        "mean distance of an animal's nodes from where they were at that time; predictions were graded in use or not. "
        "The notes say when what was switched off.</p></section>"
    )


def _latency(data: SessionData, numbers: Mapping[str, Any]) -> str:
    rows = []
    for name, meaning in LATENCY_MEANING.items():
        row = numbers["latency_ms"][name]
        kind = "<b>{}</b>" if name in {"decision", "command", "total"} else "{}"
        rows.append((kind.format(name), escape(meaning), *_percentile_cells(row)))
    acknowledged = [
        (escape(trigger), "command written → answer read", *_percentile_cells(row))
        for trigger, row in numbers["acknowledgement_ms"].items()
    ]
    columns = (*PERCENTILES, "n")
    answer = ""
    if acknowledged:
        answer = (
            "<h3>Until the device answered, ms</h3>"
            + table(("trigger", "from → to", *columns), acknowledged, n_words=2)
            + f'<p class="note">{_ACKNOWLEDGED}</p>'
        )
    return (
        "<section><h2>How fast</h2>"
        + table(("latency, ms", "from → to", *columns), rows, n_words=2)
        + f'<p class="note">{_INCLUDED}</p>{survival_plot(data)}<h3>Over the session</h3>{latency_over_time(data)}'
        + answer
        + "</section>"
    )


def _bouts(data: SessionData, shots: list[Shot], images: Pictures) -> str:
    if not shots:
        return ""
    parts = [
        "<section><h2>The longest bouts</h2>"
        '<p class="note">The frame in the middle of each. A colour is a track, with its id beside it; the arrow is its '
        f"heading. {escape(images.note)}</p>"
    ]
    order = list(data.rules)
    for rule, of_rule in groupby(
        sorted(shots, key=lambda shot: (order.index(shot.rule), shot.bout.first)), lambda shot: shot.rule
    ):
        figures = "".join(figure(shot, images, data.description) for shot in of_rule)
        parts.append(f'<h3>{escape(rule)}</h3><div class="gallery">{figures}</div>')
    return "".join(parts) + "</section>"


def _values(data: SessionData) -> str:
    plots = [(rule, value_plots(data, rule)) for rule in data.rules]
    drawn = [f"<h3>{escape(rule)}</h3>{_expression(data, rule)}{plot}" for rule, plot in plots if plot]
    if not drawn:
        return ""
    return (
        "<section><h2>What the rules compared</h2>"
        '<p class="note">Blue where the rule was on; the dashed lines are its thresholds. With any pair, the numbers '
        "are those of the pair that decided. Where there is no line, the number was not known.</p>"
        + "".join(drawn)
        + "</section>"
    )


def _expression(data: SessionData, rule: str) -> str:
    spec = data.description.get("rig", {}).get("rules", {}).get(rule, {})
    shown = [
        f"{escape(key)} = {escape(spec[key])}" for key in ("when", "until", "for_s", "refractory_s") if spec.get(key)
    ]
    return f"<pre>{'<br>'.join(shown)}</pre>" if shown else ""


def _lost(numbers: Mapping[str, Any]) -> str:
    lost = numbers["drops"]
    body = table(("reason", "frames"), [(escape(reason), f"{count:,}") for reason, count in lost.items()])
    if not lost:
        body = "<p>None was counted.</p>"
    body += f"<p>{numbers['missing_frame_ids']:,} frame ids are missing between the first and the last one.</p>"
    notes = "".join(f"<li>{escape(note)}</li>" for note in numbers["notes"][:_MAX_LISTED])
    listed = f"<h3>Noted during the session</h3><ul>{notes}</ul>" if notes else ""
    return f"<section><h2>Frames that the loop did not see</h2>{body}{listed}</section>"


def _setup(data: SessionData) -> str:
    description = data.description
    rows = [
        (escape(title), f'<div class="facts">{"<br>".join(facts)}</div>')
        for title, facts in (
            ("Camera", _facts(description.get("camera", {}))),
            ("Model", _facts(description.get("model", {}))),
            *((f"Trigger {name}", _facts(info)) for name, info in description.get("triggers", {}).items()),
            ("Machine", _facts(description.get("machine", {}))),
            ("poseloop", [escape(description.get("poseloop_version", "unknown"))]),
        )
    ]
    rig = data.folder / RIG
    source = ""
    if rig.exists():
        shown = escape(rig.read_text(encoding="utf-8", errors="replace"))
        source = f"<details><summary>The rig file</summary><pre>{shown}</pre></details>"
    return f'<section class="setup"><h2>Set-up</h2>{table(("part", "what it was"), rows, n_words=2)}{source}</section>'


def _facts(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return nested settings as lines `name: value`."""
    lines: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += _facts(value, f"{prefix}{key}.")
        elif value is not None and value != "":
            shown = ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else _plain(value)
            lines.append(f"<span>{escape(prefix + key)}</span> {escape(shown)}")
    return lines


def _plain(value: object) -> str:
    return "–".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _percentile_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (*[format_ms(row[column]) for column in PERCENTILES], f"{row['n']:,}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s"
