"""Results of benchmarks as they lie in JSON files, whichever made them: their rows, reference and settings."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.percentiles import PERCENTILES

_UNNAMED = {"update_ms": "tracker_scaling", "assembly_ms": "assembly"}
"""Where the rows lie in results that do not say which benchmark made them → that benchmark."""
_SETTINGS = ("settings", "rig", "caches", "stamps", "not_included", "n_warm_up", "n_warm_up_frames")
_REFERENCE_ROW = "reference: "
"""How the rows begin that show the reference among the others."""


class ResultError(Exception):
    """A file is no result of a benchmark, or two results cannot be compared."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The row that every machine runs, to which the others can be related.

    Attributes:
        setting: What it is.
        engine: On what it ran, or None where the result does not say.
        p50_ms: Mean of its p50 before and after the other rows, ms.
    """

    setting: str
    engine: str | None
    p50_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """What a benchmark found.

    Attributes:
        path: The file.
        benchmark: Which one, such as `loop_latency`.
        rows: Name → `p50`, `p95`, `p99`, `p99.9` and `max` in ms, and `n`; the reference is not among them.
        reference: Or None if it was not run.
        settings: What was asked for, flat: `rig.camera.driver` → value.
        machine: What it was measured on, flat: `packages.numpy` → value.
        content: The whole file.
    """

    path: Path
    benchmark: str
    rows: Mapping[str, Mapping[str, float]]
    reference: Reference | None
    settings: Mapping[str, Any]
    machine: Mapping[str, Any]
    content: Mapping[str, Any]


def read_result(path: Path) -> Result:
    """Read a file that a benchmark wrote.

    Raises:
        ResultError: The file cannot be read, or holds no such result.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ResultError(f"{path}: expected the JSON result of a benchmark, got: {error}") from error
    if not isinstance(content, dict):
        raise ResultError(f"{path}: expected the JSON result of a benchmark, got {_kind(content)}")
    benchmark = content.get("benchmark") or next((name for key, name in _UNNAMED.items() if key in content), None)
    rows = _rows(content)
    if not isinstance(benchmark, str) or not rows:
        raise ResultError(
            f"{path}: expected the JSON result of a benchmark that states percentiles (with `latency_ms` or `rows`), "
            f"got an object with {', '.join(map(str, content)) or 'nothing in it'}"
        )
    for name, row in rows.items():
        _check_row(path, name, row)
    machine = content.get("machine")
    return Result(
        path=path,
        benchmark=benchmark,
        rows={name: row for name, row in rows.items() if not name.startswith(_REFERENCE_ROW)},
        reference=_reference(path, content),
        settings=flat({key: content[key] for key in _SETTINGS if key in content}),
        machine=flat(machine) if isinstance(machine, dict) else {},
        content=content,
    )


def flat(nested: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return what nested objects hold under dotted names; lists stay whole."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            found |= flat(value, f"{before}{key}.")
        else:
            found[f"{before}{key}"] = value
    return found


def _rows(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rows by name, whatever they are; none where there are none."""
    listed = content.get("rows")
    if isinstance(listed, list):
        named = [row for row in listed if isinstance(row, dict) and "title" in row and "latency_ms" in row]
        return {
            f"{row['title']}: {row['engine']}" if "engine" in row else row["title"]: row["latency_ms"] for row in named
        }
    for key in ("latency_ms", *_UNNAMED):
        if isinstance(content.get(key), dict):
            return dict(content[key])
    return {}


def _check_row(path: Path, name: str, row: Any) -> None:
    for key in ("n", *PERCENTILES):
        value = row.get(key) if isinstance(row, dict) else None
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ResultError(f"{path}: row {name!r}: expected a number {key}, got {_kind(value)}")
        empty = key != "n" and row["n"] == 0 and math.isnan(value)  # percentiles of no values
        if not (empty or 0 <= value < math.inf):
            raise ResultError(f"{path}: row {name!r}: expected {key} of 0 or more, got {value:g}")


def _reference(path: Path, content: Mapping[str, Any]) -> Reference | None:
    found = content.get("reference")
    if found is None:
        return None
    setting = found.get("setting") if isinstance(found, dict) else None
    if not isinstance(setting, str):
        raise ResultError(f"{path}: reference: expected an object with a text `setting`, got {_kind(found)}")
    for when in ("before_ms", "after_ms"):
        _check_row(path, f"reference, {when}", found.get(when))
    p50_ms = (found["before_ms"]["p50"] + found["after_ms"]["p50"]) / 2
    if not p50_ms > 0:
        raise ResultError(f"{path}: reference: expected a p50 above 0 ms, got {p50_ms:g}")
    return Reference(setting, found.get("engine"), p50_ms)


def _kind(value: Any) -> str:
    return "none" if value is None else f"{type(value).__name__} {str(value)[:60]}"
