"""Every result in `benchmarks/results` on one page: distributions, tails, cost against size, and what it ran on.

The page is one HTML file that fetches nothing and runs nothing. It shows what the files say; nothing is measured here.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.percentiles import PERCENTILES
from benchmarks.reading import Result, ResultError, read_result
from benchmarks.report_plots import cost_plot, dot_plot, range_plot, tail_plot
from benchmarks.throughput import GOAL_FRAMES_PER_S
from benchmarks.trigger_roundtrip import GOAL_FIRE_P99_MS
from realtime.report.drawing import escape
from realtime.report.html import document, table, tile

RESULTS = Path(__file__).resolve().parent / "results"
PAGE = Path(__file__).resolve().parent / "report.html"
COMMAND_ROW = "frame → command"
_MAX_TAILS = 14

TITLES = {
    "loop_latency": "From frame to command",
    "model_latency": "Image to poses",
    "tracker_scaling": "The tracker",
    "assembly": "Bottom-up assembly",
    "trigger_roundtrip": "Triggers",
    "endurance": "Ten minutes",
    "throughput": "Offline",
    "floor": "How fast it could be",
}
"""In the order of the page; what is not among them comes last under its own name."""


def write_report(results: Path, page: Path) -> int:
    """Draw every result in a folder onto a page; return how many there were.

    Raises:
        ResultError: The folder has no result.
        OSError: The page cannot be written.
    """
    found: list[Result] = []
    left_out: list[str] = []
    for path in sorted(results.glob("*.json")):
        try:
            found.append(read_result(path))
        except ResultError as error:
            left_out.append(str(error).replace(str(path), path.name))
    if not found:
        raise ResultError(f"{results}: expected JSON results of benchmarks, got {len(left_out)} other JSON files")
    page.write_text(page_of(found, left_out), encoding="utf-8")
    return len(found)


def page_of(results: Sequence[Result], left_out: Sequence[str] = ()) -> str:
    """Return the page.

    Args:
        results: In any order.
        left_out: Why files that should be results are not on it.
    """
    order = list(TITLES)
    ordered = sorted(results, key=lambda one: order.index(one.benchmark) if one.benchmark in order else len(order))
    warnings = "".join(f'<p class="warning">Left out: {escape(text)}</p>' for text in left_out)
    head = (
        "<header><p class='kicker'>poseloop benchmarks</p><h1>What it takes, in milliseconds</h1>"
        "<p>Every figure is a percentile of a run on the machine that is named with it. On another machine, or beside "
        "other programs, times differ: what carries over is the ratio to the reference, the fast networks of SLEAP’s "
        f'paper in the same process.</p>{warnings}<div class="tiles">{"".join(_tiles(ordered))}</div></header>'
    )
    return document("poseloop benchmarks", head + "".join(map(_section, ordered)))


def _tiles(results: Sequence[Result]) -> list[str]:
    tiles = []
    for result in results:
        where = escape(result.path.stem)
        row = result.rows.get(COMMAND_ROW)
        if row is not None:
            more = f"p99 {_ms(row['p99'])}, p99.9 {_ms(row['p99.9'])} ms; {where}"
            tiles.append(tile(f"{_ms(row['p50'])}<small> ms</small>", "frame → command, p50", more))
            if result.reference is not None:
                times = result.reference.p50_ms / row["p50"]
                tiles.append(tile(f"{times:.0f}<small> ×</small>", "faster than the reference’s network", where))
        rates = _rates(result)
        if rates:
            best = max(rates, key=lambda title: rates[title]["whole"])
            rate = rates[best]["whole"]
            more = f"{escape(best)}; {where}"
            tiles.append(tile(f"{rate:.0f}", "frames a second, offline", more, alarm=rate < GOAL_FRAMES_PER_S))
    return tiles


def _section(result: Result) -> str:
    title = TITLES.get(result.benchmark, result.benchmark)
    drawings = "".join(_drawings(result))
    return (
        f"<section><h2>{escape(title)}</h2><p><code>python -m benchmarks.{escape(result.benchmark)}</code> · "
        f"{escape(result.path.name)}</p>{drawings}<details><summary>All figures</summary>{_figures(result)}</details>"
        f"{_circumstances(result)}</section>"
    )


def _drawings(result: Result) -> list[str]:
    make: Callable[[Result], list[str]] = _DRAWINGS.get(result.benchmark, _ranges)
    return make(result)


def _ranges(result: Result) -> list[str]:
    goals = {
        name: GOAL_FIRE_P99_MS for name in result.rows if result.benchmark == "trigger_roundtrip" and "sent" in name
    }
    drawn = [range_plot(result.rows, f"{result.benchmark}: percentiles of every row", goals)]
    if len(result.rows) <= _MAX_TAILS:
        drawn += ["<h3>The tail</h3>", tail_plot(result.rows, f"{result.benchmark}: share of values that are larger")]
    return drawn


def _by_animals(result: Result) -> list[str]:
    """Draw rows called `ANIMALS × NODES` as cost against animals, a line for each number of nodes."""
    series: dict[int, list[tuple[float, float, float]]] = {}
    for name, row in result.rows.items():
        animals, _, nodes = name.partition(" × ")
        if animals.isdecimal() and nodes.isdecimal():
            series.setdefault(int(nodes), []).append((float(animals), row["p50"], row["p99"]))
    lines = {f"{nodes} nodes": sorted(series[nodes]) for nodes in sorted(series)}
    drawn = [cost_plot(lines, "animals", f"{result.benchmark}: cost against animals")] if lines else []
    return [*drawn, "<h3>The tail</h3>", *_ranges(result)[:1]]


def _by_size(result: Result) -> list[str]:
    """Draw the rows of `model_latency` over the size of the image, and over the animals where these differ."""
    rows = [row for row in result.content["rows"] if row["batch"] == 1]
    drawn: list[str] = []
    for axis, fixed, title in (("size_px", "animals", "side of the image, px"), ("animals", "size_px", "animals")):
        series: dict[str, list[tuple[float, float, float]]] = {}
        for row in rows:
            unit = "px" if fixed == "size_px" else "animals"
            name = f"{row['type']}, {row[fixed]} {unit}, {row['engine'].split(' on ')[0]}"
            point = (float(row[axis]), row["latency_ms"]["p50"], row["latency_ms"]["p99"])
            series.setdefault(name, []).append(point)
        lines = {name: sorted(points) for name, points in series.items() if len({point[0] for point in points}) > 1}
        if lines:
            drawn += [f"<h3>Against {escape(title)}</h3>", cost_plot(lines, title, f"model_latency against {title}")]
    return [*drawn, "<h3>Every row</h3>", *_ranges(result)]


def _rates(result: Result) -> Mapping[str, Mapping[str, float]]:
    return result.content.get("frames_per_s", {}) if result.benchmark == "throughput" else {}


def _throughput(result: Result) -> list[str]:
    drawn = dot_plot(
        _rates(result), "frames a second", "Frames a second by batch size and stage", goal=GOAL_FRAMES_PER_S
    )
    return [drawn, "<h3>A frame</h3>", *_ranges(result)]


def _floor(result: Result) -> list[str]:
    rows = {
        f"{each['graph']}: {_short_engine(each['engine'])}": {
            "floor": each["floor_ms"],
            "fastest run": each["fastest_ms"],
            "p50": each["p50_ms"],
            "operators unfused": each["unfused_ms"],
        }
        for each in result.content["floors"]
    }
    note = (
        '<p class="note">Floor: the operations at the speed of wide convolutions on the same engine, or the least '
        "bytes at the speed of a copy, whichever takes longer. Operators unfused: what moving the bytes would take if "
        "every operator read from memory and wrote to it.</p>"
    )
    return [dot_plot(rows, "ms", "Floor and measured times of every graph and engine"), note]


def _short_engine(title: str) -> str:
    return title.replace(" on cpu,", "").replace("onnxruntime", "ORT").replace("openvino", "OpenVINO")


_DRAWINGS: Mapping[str, Callable[[Result], list[str]]] = {
    "tracker_scaling": _by_animals,
    "model_latency": _by_size,
    "throughput": _throughput,
    "floor": _floor,
}


def _figures(result: Result) -> str:
    head = ["row", *PERCENTILES, "n"]
    reference = result.reference
    if reference is not None:
        head.append("p50 / reference")
    rows = []
    for name, row in result.rows.items():
        cells = [escape(name), *(_ms(row[key]) for key in PERCENTILES), f"{row['n']:,.0f}"]
        rows.append(cells if reference is None else [*cells, f"{row['p50'] / reference.p50_ms:.4g}"])
    return table(head, rows)


def _circumstances(result: Result) -> str:
    facts = [(name, value) for name, value in result.machine.items() if value is not None]
    facts += [(name, value) for name, value in result.settings.items() if value is not None]
    for name in ("load_average", "deadline_misses", "drops", "intents", "n_unanswered"):
        if name in result.content:
            facts.append((name, result.content[name]))
    reference = result.reference
    if reference is not None:
        told = f"{reference.setting} on {reference.engine or 'ONNX Runtime'}: p50 {_ms(reference.p50_ms)} ms"
        facts.append(("reference", told))
    shown = "".join(f"<div><span>{escape(name)}</span> {escape(value)}</div>" for name, value in facts)
    return f'<details><summary>Machine, settings, stamps</summary><div class="facts">{shown}</div></details>'


def _ms(value: float) -> str:
    return f"{value:.3g}" if value >= 1 else f"{value:.3f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FOLDER", help="default: benchmarks/results")
    parser.add_argument("--out", type=Path, default=PAGE, metavar="FILE", help="default: benchmarks/report.html")
    given = parser.parse_args(arguments)
    try:
        n = write_report(given.results, given.out)
    except (ResultError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    print(f"{given.out}: {n} result{'' if n == 1 else 's'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
