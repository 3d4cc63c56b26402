"""The page of all results: every figure is on it, it fetches nothing, and what cannot be drawn is said."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from benchmarks import report
from benchmarks.reading import ResultError
from benchmarks.report import main, write_report
from benchmarks.report_plots import cost_plot, dot_plot, range_plot, tail_plot


def percentiles(p50, n=1000.0):
    return {"p50": p50, "p95": 2 * p50, "p99": 3 * p50, "p99.9": 4 * p50, "max": 5 * p50, "n": n}


MACHINE = {"machine": {"cpu": "Some CPU", "cores": 2, "packages": {"numpy": "2.0"}}, "load_average": [0.5, 0.4, 0.3]}
REFERENCE = {"setting": "paper", "engine": "openvino 1", "before_ms": percentiles(50.0), "after_ms": percentiles(70.0)}
LOOP = {
    "benchmark": "loop_latency",
    "latency_ms": {"predict": percentiles(1.234), "frame → command": percentiles(2.0)},
    "reference": REFERENCE,
    "rig": {"camera": {"driver": "<script>alert(1)</script>"}},
    "drops": {"camera": 3},
    **MACHINE,
}
SCALING = {
    "update_ms": {f"{animals} × {nodes}": percentiles(animals * 0.01) for animals in (1, 2, 4) for nodes in (2, 13)}
}
MODELS = {
    "benchmark": "model_latency",
    "rows": [
        {
            "title": f"{kind} {size}², {animals} animals, batch {batch}",
            "type": kind,
            "size_px": size,
            "animals": animals,
            "batch": batch,
            "engine": "onnxruntime on cpu, fp32",
            "latency_ms": percentiles(size * animals / 100),
        }
        for kind in ("top_down", "centroid")
        for size in (256, 512)
        for animals in (2, 4)
        for batch in (1, 4)
    ],
}
RATES = {"decode alone": 300.0, "predict alone": 200.0, "find": 120.0, "track": 5000.0, "write": 2000.0}
THROUGHPUT = {
    "benchmark": "throughput",
    "latency_ms": {"decode alone": percentiles(3.0), "batch 8: find": percentiles(8.0)},
    "frames_per_s": {"batch 1": {**RATES, "whole": 90.0}, "batch 8": {**RATES, "whole": 110.0}},
}
FLOOR = {
    "benchmark": "floor",
    "latency_ms": {"detector: onnxruntime on cpu, fp32, 1 thread": percentiles(2.0)},
    "floors": [
        {
            "graph": "detector",
            "engine": "onnxruntime on cpu, fp32, 1 thread",
            "floor_ms": 1.0,
            "fastest_ms": 1.5,
            "p50_ms": 2.0,
            "unfused_ms": 4.0,
        }
    ],
}
TRIGGERS = {
    "benchmark": "trigger_roundtrip",
    "latency_ms": {"serial, warm: call → sent": percentiles(0.02), "zmq, warm: call → received": percentiles(0.1)},
    "n_unanswered": {"serial, warm": 7},
}
OTHER = {"benchmark": "something_new", "latency_ms": {"row": percentiles(1.0)}}
ALL = {
    "loop": LOOP, "scaling": SCALING, "models": MODELS, "throughput": THROUGHPUT, "floor": FLOOR, "triggers": TRIGGERS,
    "other": OTHER,
}  # fmt: skip


@pytest.fixture
def page(tmp_path):
    """Write results and return the page: `page(name=content, ...)`."""

    def write(**contents):
        folder = tmp_path / "results"
        folder.mkdir(exist_ok=True)
        for name, content in contents.items():
            (folder / f"{name}.json").write_text(content if isinstance(content, str) else json.dumps(content))
        out = tmp_path / "report.html"
        assert main(["--results", str(folder), "--out", str(out)]) == 0
        return out.read_text(encoding="utf-8")

    return write


def drawings(html):
    """Every drawing, parsed: none may be broken."""
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL)]


def words(html):
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())


@pytest.mark.parametrize("name", ALL)
def test_every_benchmark_is_drawn_with_its_figures(page, name):
    html = page(**{name: ALL[name]})
    assert drawings(html)
    assert not re.search(r"\bnan\b", html)
    assert f"{name}.json" in html
    read = report.read_result
    for row in ALL[name].get("latency_ms") or ALL[name].get("update_ms") or {}:
        assert row in words(html), read


def test_the_page_fetches_and_runs_nothing(page):
    html = page(**ALL)
    assert "<script" not in html
    assert "default-src 'none'" in html
    assert not re.search(r"(src|href)=|url\(|@import", html)


def test_sections_are_in_the_order_of_the_way_and_the_unknown_comes_last(page):
    titles = re.findall(r"<h2>(.*?)</h2>", page(**ALL))
    assert titles == [
        "From frame to command",
        "Image to poses",
        "The tracker",
        "Triggers",
        "Offline",
        "How fast it could be",
        "something_new",
    ]


def test_the_tiles_say_the_most_important(page):
    tiles = words(re.search(r'<div class="tiles">(.*?)</header>', page(loop=LOOP, throughput=THROUGHPUT), re.DOTALL)[1])
    assert "2 ms frame → command, p50 p99 6, p99.9 8 ms; loop" in tiles
    assert "30 × faster than the reference’s network" in tiles
    assert "110 frames a second, offline batch 8; throughput" in tiles


def test_a_rate_below_the_goal_is_an_alarm(page):
    assert 'class="tile alarm"' in page(throughput=THROUGHPUT)
    fast = {"batch 8": {**RATES, "whole": 151.0}}
    assert 'class="tile alarm"' not in page(throughput=THROUGHPUT | {"frames_per_s": fast})


def test_figures_stand_with_their_reference_and_circumstances(page):
    shown = words(page(loop=LOOP, triggers=TRIGGERS))
    assert "predict 1.23 2.47 3.7 4.94 6.17 1,000 0.02057" in shown
    assert "reference paper on openvino 1: p50 60 ms" in shown
    assert "packages.numpy 2.0" in shown
    assert "load_average [0.5, 0.4, 0.3]" in shown
    assert "drops {&#x27;camera&#x27;: 3}" in shown
    assert "n_unanswered {&#x27;serial, warm&#x27;: 7}" in shown
    assert "goal of p99" in shown


def test_cost_is_drawn_against_size_and_against_animals(page):
    html = page(models=MODELS, scaling=SCALING)
    labels = re.findall(r'aria-label="([^"]*)"', html)
    assert "model_latency against side of the image, px" in labels
    assert "model_latency against animals" in labels
    assert "tracker_scaling: cost against animals" in labels
    legend = [text.text for text in drawings(html)[-2].iter("text")]
    assert [text for text in legend if text and "nodes" in text] == ["2 nodes", "13 nodes"]


def test_a_row_without_values_is_left_out_of_the_drawing_only(page):
    empty = dict.fromkeys(("p50", "p95", "p99", "p99.9", "max"), float("nan")) | {"n": 0}
    html = page(other=OTHER | {"latency_ms": {"row": percentiles(1.0), "nobody answered": empty}})
    assert all("nobody" not in (text.text or "") for svg in drawings(html) for text in svg.iter("text"))
    assert "nobody answered" in html


def test_a_file_that_is_no_result_is_named(page):
    html = page(loop=LOOP, broken="{", accuracy={"rows": []})
    assert re.search(r'class="warning">Left out: broken.json: expected the JSON result', html)
    assert re.search(r'class="warning">Left out: accuracy.json: expected the JSON result', html)


def test_a_folder_without_results_is_an_error(tmp_path, capsys):
    (tmp_path / "accuracy.json").write_text("{}")
    with pytest.raises(ResultError, match=r"expected JSON results of benchmarks, got 1 other JSON files$"):
        write_report(tmp_path, tmp_path / "report.html")
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "report.html")]) == 2
    assert capsys.readouterr().err.startswith("report: ")
    assert not (tmp_path / "report.html").exists()


def test_a_page_that_cannot_be_written_is_an_error(tmp_path, capsys):
    (tmp_path / "a.json").write_text(json.dumps(OTHER))
    assert main(["--results", str(tmp_path), "--out", str(tmp_path / "none" / "report.html")]) == 2
    assert "No such file" in capsys.readouterr().err


# --- drawings ---


def circles(svg):
    return np.array([(float(each.get("cx")), float(each.get("cy"))) for each in ET.fromstring(svg).iter("circle")])


def test_slower_is_farther_right_in_a_range():
    at = circles(range_plot({"a": percentiles(1.0), "b": percentiles(10.0), "c": percentiles(100.0)}, "x"))
    assert np.diff(at[:, 0]) == pytest.approx(
        np.diff(at[:, 0])[0], abs=0.2
    )  # equal factors, equal distances; drawn to 0.1 px
    assert (np.diff(at[:, 0]) > 0).all()
    assert (np.diff(at[:, 1]) > 0).all()


def test_a_tail_falls_from_p50_to_max():
    at = circles(tail_plot({"a": percentiles(1.0)}, "x"))
    assert len(at) == 5
    assert (np.diff(at[:, 0]) > 0).all()
    assert (np.diff(at[:, 1]) >= 0).all()


def test_a_tail_of_few_values_ends_where_they_do():
    few, many = (circles(tail_plot({"a": percentiles(1.0, n)}, "x")) for n in (20.0, 10_000.0))
    assert len(set(few[:, 1])) == 2  # a half, and one of twenty
    assert len(set(many[:, 1])) == 5


def test_more_cost_is_higher_and_larger_is_farther_right():
    at = circles(cost_plot({"a": [(1, 1.0, 2.0), (2, 3.0, 4.0), (4, 9.0, 12.0)]}, "animals", "x"))
    assert (np.diff(at[:, 0]) > 0).all()
    assert (np.diff(at[:, 1]) < 0).all()


def test_a_goal_stands_among_the_dots():
    svg = dot_plot({"a": {"slow": 10.0, "fast": 1000.0}}, "frames a second", "x", goal=100.0)
    left, right = circles(svg)[:2, 0]
    goal = next(float(each.get("x1")) for each in ET.fromstring(svg).iter("line") if each.get("stroke-dasharray"))
    assert goal == pytest.approx((left + right) / 2, abs=0.2)
