"""Two results of the same benchmark: what became slower, what faster, and by how much; exit status 1 if anything did.

Each ratio is B / A: above 1, B is slower. Where both results have the reference row (the fast networks of SLEAP's
paper, run in the same process), the normalised ratio is what is left of it once the reference's own ratio is taken
out: it holds between machines and on one whose load changes, as far as the rows and the reference suffer alike.

What is judged is the normalised ratio, or without a reference the ratio, of p50, p95 and p99, each only where in both
results at least ten values lie beyond it; p99.9 and max are shown. A row is slower if one of them is above the
threshold, and faster if none is and one is below its inverse.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from benchmarks.percentiles import PERCENTILES
from benchmarks.reading import Reference, Result, ResultError, read_result

JUDGED = ("p50", "p95", "p99")
_MIN_BEYOND = 10
_DESCRIPTIONS = ("memory", "load_average")
"""Facts of a machine that differ from run to run and say little."""

Change = Literal["slower", "faster", "same"]
_BY_WEIGHT: tuple[Change, ...] = get_args(Change)


def compare(a: Result, b: Result, threshold: float) -> dict[str, Any]:
    """Return what differs, JSON-able.

    Args:
        a: What is compared with.
        b: What is compared.
        threshold: Ratio above which a row is slower, and below whose inverse it is faster; above 1.

    Raises:
        ResultError: They are of different benchmarks, or have no row in common.
    """
    if a.benchmark != b.benchmark:
        raise ResultError(
            f"expected two results of the same benchmark, got {a.benchmark} ({a.path}) and {b.benchmark} ({b.path})"
        )
    common = [name for name in a.rows if name in b.rows]
    if not common:
        raise ResultError(f"expected results with a row in common, got none; {a.path} has {', '.join(a.rows)}")
    speed = _reference_ratio(a.reference, b.reference)
    rows = [_row(name, a, b, speed, threshold) for name in common]
    return {
        "benchmark": a.benchmark,
        "a": str(a.path),
        "b": str(b.path),
        "threshold": threshold,
        "reference_ratio": speed,
        "warnings": _warnings(a, b),
        "rows": rows,
        "only_in_a": [name for name in a.rows if name not in b.rows],
        "only_in_b": [name for name in b.rows if name not in a.rows],
        "slower": [row["name"] for row in rows if row["change"] == "slower"],
        "faster": [row["name"] for row in rows if row["change"] == "faster"],
    }


def _reference_ratio(a: Reference | None, b: Reference | None) -> float | None:
    """Return how much slower the machine of B was, or None if that is not known."""
    if a is None or b is None or a.setting != b.setting or _engine(a) != _engine(b):
        return None
    return b.p50_ms / a.p50_ms


def _engine(reference: Reference) -> str:
    """Return the engine without its version: a new version is part of what is compared."""
    return "" if reference.engine is None else reference.engine.split(" ")[0]


def _row(name: str, a: Result, b: Result, speed: float | None, threshold: float) -> dict[str, Any]:
    one, other = a.rows[name], b.rows[name]
    ratios = {key: _quotient(other[key], one[key]) for key in PERCENTILES}
    normalised = {key: None if ratio is None or speed is None else ratio / speed for key, ratio in ratios.items()}
    least_n = min(one["n"], other["n"])
    changes = {
        key: _change(ratio, threshold)
        for key in JUDGED
        if (ratio := ratios[key] if speed is None else normalised[key]) is not None
        and least_n * (100 - PERCENTILES[key]) >= 100 * _MIN_BEYOND
    }
    return {
        "name": name,
        "a_ms": dict(one),
        "b_ms": dict(other),
        "ratio": ratios,
        "normalised_ratio": None if speed is None else normalised,
        "changes": changes,
        "change": next((change for change in _BY_WEIGHT if change in changes.values()), "not judged"),
    }


def _quotient(other_ms: float, one_ms: float) -> float | None:
    return other_ms / one_ms if one_ms > 0 and math.isfinite(other_ms) else None


def _change(ratio: float, threshold: float) -> Change:
    if ratio > threshold:
        return "slower"
    return "faster" if ratio < 1 / threshold else "same"


def _warnings(a: Result, b: Result) -> list[str]:
    found = [
        f"different {what}: {name}: {_shown(ours.get(name))} → {_shown(theirs.get(name))}"
        for what, ours, theirs in (("machines", a.machine, b.machine), ("settings", a.settings, b.settings))
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name) and name.partition(".")[0] not in _DESCRIPTIONS
    ]
    found += [
        f"different n: {name}: {one['n']:g} → {b.rows[name]['n']:g}"
        for name, one in a.rows.items()
        if name in b.rows and one["n"] != b.rows[name]["n"]
    ]
    return found + _reference_warnings(a, b)


def _reference_warnings(a: Result, b: Result) -> list[str]:
    ours, theirs = a.reference, b.reference
    without = [str(result.path) for result in (a, b) if result.reference is None]
    if without:
        return [f"not normalised: no reference row in {' nor in '.join(without)}"]
    assert ours is not None and theirs is not None  # noqa: S101, PT018  # `without` would not be empty.
    if _reference_ratio(ours, theirs) is None:
        named = [f"{each.setting} on {each.engine or 'an unnamed engine'}" for each in (ours, theirs)]
        return [f"not normalised: different references: {named[0]} → {named[1]}"]
    return []


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)


def as_text(found: dict[str, Any]) -> str:
    """Return what `compare` found as a table with its warnings."""
    lines = [f"A {found['a']}", f"B {found['b']}", *(f"warning: {text}" for text in found["warnings"])]
    speed = found["reference_ratio"]
    if speed is not None:
        lines.append(f"reference: B / A {speed:.3f}; the last column is without that")
    width = max(len("row"), *(len(row["name"]) for row in found["rows"]))
    heads = f"{'A, ms':>10}{'B, ms':>10}{'B / A':>9}" + ("" if speed is None else f"{'normal.':>9}")
    lines.append(f"{'row':<{width}}  {'':<5}{heads}")
    for row in found["rows"]:
        for number, key in enumerate(PERCENTILES):
            name = row["name"] if number == 0 else ""
            lines.append(f"{name:<{width}}  {key:<5}{_cells(row, key)}  {_mark(row, key)}".rstrip())
    for side in ("a", "b"):
        lines += [f"only in {side.upper()}: {name}" for name in found[f"only_in_{side}"]]
    n_judged = sum(row["change"] != "not judged" for row in found["rows"])
    lines.append(
        f"{len(found['slower'])} of {n_judged} rows slower and {len(found['faster'])} faster by more than "
        f"{found['threshold']:g}"
    )
    return "\n".join(lines)


def _cells(row: dict[str, Any], key: str) -> str:
    shown = f"{row['a_ms'][key]:>10.4f}{row['b_ms'][key]:>10.4f}{_ratio(row['ratio'][key])}"
    return shown if row["normalised_ratio"] is None else shown + _ratio(row["normalised_ratio"][key])


def _mark(row: dict[str, Any], key: str) -> str:
    change = str(row["changes"].get(key, "" if row["changes"] or key != JUDGED[0] else "not judged: too few values"))
    return "" if change == "same" else change


def _ratio(value: float | None) -> str:
    return f"{'–':>9}" if value is None else f"{value:>9.3f}"


def _threshold(text: str) -> float:
    threshold = float(text)
    if not threshold > 1:
        raise argparse.ArgumentTypeError(f"expected a ratio above 1, got {text}")
    return threshold


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare from the command line; return 0, 1 if something is slower, or 2 if the files cannot be compared."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("a", type=Path, metavar="A.json", help="what is compared with")
    parser.add_argument("b", type=Path, metavar="B.json", help="what is compared")
    parser.add_argument("--threshold", type=_threshold, default=1.1, help="ratio of a change (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    try:
        found = compare(read_result(given.a), read_result(given.b), given.threshold)
    except ResultError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, ensure_ascii=False) if given.json else as_text(found))
    return 1 if found["slower"] else 0


if __name__ == "__main__":
    sys.exit(main())
