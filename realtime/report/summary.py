"""A session in numbers: latencies, drops, rules, stimuli."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from realtime.decision import State
from realtime.recording.records import STAGES
from realtime.report import lookahead
from realtime.report.session_data import SessionData, load_session

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}

LATENCY_MEANING = {
    "grab": "frame available → in the loop's hands",
    "predict": "model: image → poses",
    "update": "tracker: poses → tracks",
    "evaluate": "rules: tracks → decisions",
    "fire": "limits checked, commands written",
    "decision": "frame available → deadline judged",
    "command": "frame available → command written",
    "total": "frame available → all of the above done",
}


def summary(session_folder: Path) -> dict[str, Any]:
    """Return a session's numbers as JSON-able values.

    `latency_ms` has one entry for each stage and for the ways through several of them (`LATENCY_MEANING` says from
    where to where), each with p50, p95, p99, p99.9, max and n over all frames, none left out. A number that does not
    exist (a percentile of nothing, the rate of one frame) is None.

    Raises:
        FolderError: It is no session folder.
        OSError: Its log cannot be opened.
    """
    return summarize(load_session(session_folder))


def summarize(data: SessionData) -> dict[str, Any]:
    """Return the numbers of a session that has been read; see `summary`."""
    late = _later_than_deadline(data)
    return {
        "session": str(data.folder),
        "started": data.description.get("started_wall"),
        "ended": how_it_ended(data),
        "complete": data.end is not None and not data.damage,
        "n_frames": data.n_frames,
        "seconds": data.duration_s,
        "frames_per_s": (data.n_frames - 1) / data.duration_s if data.duration_s > 0 else None,
        "deadline_ms": data.deadline_ms,
        "deadline_misses": None if late is None else int(late.sum()),
        "latency_ms": {name: percentiles_ms(values) for name, values in latencies_ns(data).items()},
        "acknowledgement_ms": {
            trigger: percentiles_ms(values) for trigger, values in acknowledgements_ns(data).items()
        },
        "drops": drops(data),
        "missing_frame_ids": _missing_frame_ids(data),
        "rules": {name: _rule(data, name) for name in data.rules},
        "identity": {
            kind: sum(event.kind == kind for event in data.identity_events) for kind in ("suspected", "corrected")
        },
        "lookahead": data.lookahead.numbers(
            data.description.get("rig", {}), data.description.get("model", {}).get("skeleton", {}).get("nodes", ())
        ),
        "stimuli": stimulus_outcomes(data),
        "trigger_faults": _trigger_events(data, "fault"),
        "triggers_reopened": _trigger_events(data, "reopened"),
        "refused_commands": dict(
            Counter(f"{event.trigger}: {event.detail}" for _, event in data.events if event.kind in {"refused", "over"})
        ),
        "notes": [f"{note.kind}: {note.text}" for note in data.notes],
        "log_damage": data.damage or None,
    }


def summary_text(numbers: Mapping[str, Any]) -> str:
    """Return what `summary` gave as plain text for a terminal."""
    rate = "" if numbers["frames_per_s"] is None else f" ({numbers['frames_per_s']:.1f} a second)"
    lines = [f"{numbers['n_frames']} frames in {numbers['seconds']:.1f} s{rate}; ended: {numbers['ended']}", ""]
    lines += _latency_table({**numbers["latency_ms"], **_named(numbers["acknowledgement_ms"], "{} ack")})
    if numbers["deadline_ms"] is not None:
        lines.append(f"frames past the deadline of {numbers['deadline_ms']:g} ms: {numbers['deadline_misses']}")
    counted = _counts(numbers["drops"]) or "none counted"
    lines.append(f"frames not processed: {counted}; frame ids missing: {numbers['missing_frame_ids']}")
    for name, rule in numbers["rules"].items():
        longest = "" if rule["longest_s"] is None else f", longest {rule['longest_s']:.2f} s"
        lines.append(
            f"rule {name}: bouts {rule['bouts']}{longest}; on {rule['on_s']:.1f} s, unknown {rule['unknown_s']:.1f} s"
        )
    if any(numbers["identity"].values()):
        suspected, corrected = numbers["identity"]["suspected"], numbers["identity"]["corrected"]
        lines.append(
            f"identity: tracks suspected of being another animal {suspected} times, corrected {corrected} times"
        )
    if numbers["lookahead"] is not None:
        lines += lookahead.in_words(numbers["lookahead"])
    for name, outcomes in numbers["stimuli"].items():
        lines.append(f"stimulus {name}: {_counts(outcomes) or 'never asked for'}")
    lines += [f"{count} × refused by the device: {why}" for why, count in numbers["refused_commands"].items()]
    lines += [f"trigger fault: {fault}" for fault in numbers["trigger_faults"]]
    lines += [f"trigger there again: {event}" for event in numbers["triggers_reopened"]]
    lines += [f"note: {note}" for note in numbers["notes"]]
    if numbers["log_damage"]:
        lines.append(f"damaged: {numbers['log_damage']}")
    return "\n".join(lines)


def percentiles_ms(values_ns: ArrayLike) -> dict[str, float | int | None]:
    """Return p50, p95, p99, p99.9 and max in ms, and n, of durations in ns; None without values."""
    values = np.asarray(values_ns, np.float64)
    if not values.size:
        return {**dict.fromkeys(PERCENTILES), "n": 0}
    found = np.percentile(values, list(PERCENTILES.values())) / 1e6
    return {**dict(zip(PERCENTILES, found.tolist(), strict=True)), "n": values.size}


def latencies_ns(data: SessionData) -> dict[str, NDArray[np.int64]]:
    """Return every latency's values, ns: each stage and the whole frame by frame, the command by command."""
    stages = {stage: data.stage_ns[:, column] for column, stage in enumerate(STAGES)}
    commands = [receipt.sent_ns - data.available_ns[row] for row, receipt in data.receipts if receipt.delivered]
    return {
        **stages,
        "decision": data.decided_ns - data.available_ns,
        "command": np.array(commands, np.int64),
        "total": data.stage_ns.sum(axis=1),
    }


def acknowledgements_ns(data: SessionData) -> dict[str, NDArray[np.int64]]:
    """Return, for each trigger that acknowledges, the time from a command to its acknowledgement, ns."""
    sent = {(receipt.trigger, receipt.command_id): receipt.sent_ns for _, receipt in data.receipts}
    found: dict[str, list[int]] = {}
    for _, receipt in data.receipts:
        if receipt.acked_ns is not None:
            found.setdefault(receipt.trigger, []).append(receipt.acked_ns - receipt.sent_ns)
    for _, event in data.events:
        key = (event.trigger, event.command_id)
        if event.kind == "ack" and event.command_id is not None and key in sent:
            found.setdefault(event.trigger, []).append(event.host_ns - sent[event.trigger, event.command_id])
    return {trigger: np.array(values, np.int64) for trigger, values in found.items()}


def drops(data: SessionData) -> dict[str, int]:
    """Return the frames that the loop did not see, counted by reason; reasons that did not happen are left out."""
    counted = data.end.drops if data.end is not None else data.description.get("drops", {})
    return {reason: count for reason, count in counted.items() if count}


def stimulus_outcomes(data: SessionData) -> dict[str, dict[str, int]]:
    """Return what became of each stimulus, counted by outcome; those never asked for are there with nothing."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in data.description.get("rig", {}).get("stimuli", {})}
    for _, intent in data.intents:
        counts.setdefault(intent.stimulus, Counter())[intent.outcome] += 1
    return {name: dict(counter.most_common()) for name, counter in counts.items()}


def how_it_ended(data: SessionData) -> str:
    """Return why the session ended, for a person."""
    if data.damage:
        return "not known: the log is damaged"
    if data.end is None:
        return "cut short: the log has no end"
    return data.end.reason


def format_ms(value: float | None) -> str:
    """Return a duration in ms with about three digits, without the unit."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}"


def _trigger_events(data: SessionData, kind: str) -> list[str]:
    return [f"{event.trigger}: {event.detail}" for _, event in data.events if event.kind == kind]


def _rule(data: SessionData, name: str) -> dict[str, float | int | None]:
    bouts = data.bouts(name, State.ON)
    return {
        "bouts": len(bouts),
        "on_s": sum(bout.duration_s for bout in bouts),
        "longest_s": max((bout.duration_s for bout in bouts), default=None),
        "unknown_s": sum(bout.duration_s for bout in data.bouts(name, State.UNKNOWN)),
    }


def _missing_frame_ids(data: SessionData) -> int:
    if not data.n_frames:
        return 0
    return int(data.frame_ids.max() - data.frame_ids.min()) + 1 - len(np.unique(data.frame_ids))


def _later_than_deadline(data: SessionData) -> NDArray[np.bool_] | None:
    if data.deadline_ms is None:
        return None
    return np.asarray(data.decided_ns - data.available_ns > data.deadline_ms * 1e6)


def _latency_table(rows: Mapping[str, Mapping[str, float | int | None]]) -> list[str]:
    title = "latency, ms"
    width = max(len(name) for name in (title, *rows))
    lines = [f"{title:<{width}}" + "".join(f"{column:>9}" for column in (*PERCENTILES, "n"))]
    for name, row in rows.items():
        cells = "".join(f"{format_ms(row[column]):>9}" for column in PERCENTILES)
        lines.append(f"{name:<{width}}{cells}{row['n']:>9}")
    return lines


def _named(rows: Mapping[str, Any], form: str) -> dict[str, Any]:
    return {form.format(name): row for name, row in rows.items()}


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())
