"""Two results side by side: ratios, what the reference takes out of them, what is judged, and what is refused."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import compare as module
from benchmarks.compare import compare, main
from benchmarks.reading import ResultError, read_result

COMMITTED = sorted((Path(module.__file__).parent / "results").glob("*.json"))


def percentiles(p50, n=1000, **other):
    return {"p50": p50, "p95": 2 * p50, "p99": 3 * p50, "p99.9": 4 * p50, "max": 5 * p50, "n": n, **other}


def loop(rows, reference_ms=None, **other):
    content = {"benchmark": "loop_latency", "latency_ms": rows, "machine": {"cpu": "one", "cores": 2}, **other}
    if reference_ms is not None:
        content["reference"] = {
            "setting": "paper",
            "engine": "openvino 1.0, cpu, fp32",
            "before_ms": percentiles(reference_ms, 50),
            "after_ms": percentiles(reference_ms, 50),
        }
        content["latency_ms"] = {**rows, "reference: network alone": percentiles(reference_ms, 100)}
    return content


@pytest.fixture
def written(tmp_path):
    def write(content, name="a.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture
def compared(written):
    return lambda a, b, threshold=1.1: compare(
        read_result(written(a, "a.json")), read_result(written(b, "b.json")), threshold
    )


CHANGES = {
    "slower": (percentiles(1.0), percentiles(1.2), None, "slower"),
    "faster": (percentiles(1.2), percentiles(1.0), None, "faster"),
    "within the threshold": (percentiles(1.0), percentiles(1.09), None, "same"),
    "its inverse": (percentiles(1.0), percentiles(0.92), None, "same"),
    "a slower tail outweighs a faster middle": (percentiles(1.0), percentiles(0.5, p99=4.0), None, "slower"),
    "a tail of too few values": (percentiles(1.0, 999), percentiles(1.0, 10_000, p99=9.0), None, "same"),
    "a tail of just enough": (percentiles(1.0, 1000), percentiles(1.0, 10_000, p99=9.0), None, "slower"),
    "too few values for anything": (percentiles(1.0, 19), percentiles(9.0, 19), None, "not judged"),
    "max and p99.9 are not judged": (percentiles(1.0), percentiles(1.0, **{"p99.9": 90.0, "max": 99.0}), None, "same"),
    "nothing to divide by": (percentiles(0.0), percentiles(1.0), None, "not judged"),
    "a slower machine": (percentiles(1.0), percentiles(2.0), (100.0, 200.0), "same"),
    "slower on a faster machine": (percentiles(1.0), percentiles(1.0), (200.0, 100.0), "slower"),
    "faster on a slower machine": (percentiles(1.0), percentiles(1.0), (100.0, 200.0), "faster"),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other", "references", "change"), CHANGES.values(), ids=CHANGES)
def test_changes(compared, one, other, references, change):
    before, after = references or (None, None)
    found = compared(loop({"predict": one}, before), loop({"predict": other}, after))
    (row,) = found["rows"]
    assert row["change"] == change
    assert found["slower"] == (["predict"] if change == "slower" else [])
    assert found["faster"] == (["predict"] if change == "faster" else [])


@given(st.floats(0.01, 100.0), st.floats(0.01, 100.0))
def test_what_the_whole_machine_does_is_taken_out(tmp_path_factory, change, speed):
    folder = tmp_path_factory.mktemp("results")
    (folder / "a").write_text(json.dumps(loop({"predict": percentiles(1.0)}, 100.0)))
    (folder / "b").write_text(json.dumps(loop({"predict": percentiles(change * speed)}, 100.0 * speed)))
    found = compare(read_result(folder / "a"), read_result(folder / "b"), 1.1)
    assert found["reference_ratio"] == pytest.approx(speed)
    assert found["rows"][0]["ratio"]["p99"] == pytest.approx(change * speed)
    assert found["rows"][0]["normalised_ratio"]["p99"] == pytest.approx(change)


def test_rows_of_one_result_only_are_named_and_the_reference_is_no_row(compared):
    found = compared(
        loop({"grab": percentiles(1.0), "old": percentiles(1.0)}, 1.0),
        loop({"grab": percentiles(1.0), "new": percentiles(1.0)}, 1.0),
    )
    assert [row["name"] for row in found["rows"]] == ["grab"]
    assert (found["only_in_a"], found["only_in_b"]) == (["old"], ["new"])


def test_rows_of_a_list_are_told_apart_by_their_engines(compared):
    rows = [{"title": "centroid", "engine": name, "latency_ms": percentiles(1.0)} for name in ("a on cpu", "b on cpu")]
    content = {"benchmark": "model_latency", "rows": rows}
    found = compared(content, content)
    assert [row["name"] for row in found["rows"]] == ["centroid: a on cpu", "centroid: b on cpu"]


BASE = loop({"predict": percentiles(1.0)}, 100.0, rig={"loop": {"wait": "spin"}}, stamps="here → there")
WARNINGS = {
    "the same": ({}, []),
    "machine": ({"machine": {"cpu": "two", "cores": 2}}, ["different machines: cpu: one → two"]),
    "what differs every time": ({"machine": {"cpu": "one", "cores": 2, "memory": "9", "load_average": 3}}, []),
    "settings": ({"rig": {"loop": {}}}, ["different settings: rig.loop.wait: spin → none"]),
    "stamps": ({"stamps": "x"}, ["different settings: stamps: here → there → x"]),
    "n": ({"latency_ms": {"predict": percentiles(1.0, 500)}}, ["different n: predict: 1000 → 500"]),
    "another engine": (
        {"reference": BASE["reference"] | {"engine": "onnxruntime 1.0, cpu"}},
        ["not normalised: different references: paper on openvino 1.0, cpu, fp32 → paper on onnxruntime 1.0, cpu"],
    ),
    "a new version of the engine": ({"reference": BASE["reference"] | {"engine": "openvino 2.0, cpu, fp32"}}, []),
    "another reference": (
        {"reference": BASE["reference"] | {"setting": "mine"}},
        ["not normalised: different references: paper on openvino 1.0, cpu, fp32 → mine on openvino 1.0, cpu, fp32"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("changed", "warnings"), WARNINGS.values(), ids=WARNINGS)
def test_warnings(compared, changed, warnings):
    found = compared(BASE, copy.deepcopy(BASE) | changed)
    assert found["warnings"] == warnings
    assert (found["rows"][0]["normalised_ratio"] is None) == any("not normalised" in text for text in warnings)


def test_a_missing_reference_is_said_with_its_file(compared):
    (warning,) = compared(BASE, {key: value for key, value in BASE.items() if key != "reference"})["warnings"]
    assert warning.startswith("not normalised: no reference row in ")
    assert warning.endswith("b.json")


ROW = percentiles(1.0)
UNFIT = {
    "no JSON": ("not", "expected the JSON result of a benchmark, got: Expecting value"),
    "a list": ([1], "expected the JSON result of a benchmark, got list [1]"),
    "another object": ({"name": 1}, "got an object with name"),
    "empty": ({}, "got an object with nothing in it"),
    "a row without n": (loop({"grab": {"p50": 1.0}}), "row 'grab': expected a number n, got none"),
    "a row with words": (loop({"grab": ROW | {"p99": "1"}}), "row 'grab': expected a number p99, got str 1"),
    "a row that is true": (loop({"grab": ROW | {"p99": True}}), "row 'grab': expected a number p99, got bool True"),
    "a row below 0": (loop({"grab": ROW | {"p99": -1}}), "row 'grab': expected p99 of 0 or more, got -1"),
    "a row that is no number": (loop({"grab": ROW | {"p99": float("nan")}}), "expected p99 of 0 or more, got nan"),
    "a reference of another kind": (loop({"grab": ROW}) | {"reference": 3}, "expected an object with a text `setting`"),
    "a reference without rows": (
        loop({"grab": ROW}) | {"reference": {"setting": "x"}},
        "row 'reference, before_ms': expected a number n, got none",
    ),
    "a reference of no time": (loop({"grab": ROW}, 0.0), "reference: expected a p50 above 0 ms, got 0"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "message"), UNFIT.values(), ids=UNFIT)
def test_what_is_no_result_is_refused(written, capsys, content, message):
    path = written(content)
    assert main([str(path), str(path)]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"compare: {path}: ")
    assert message in shown


def test_a_missing_file_is_said(tmp_path, capsys):
    assert main([str(tmp_path / "none.json"), str(tmp_path / "none.json")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_other_benchmarks_and_other_rows_are_refused(compared):
    with pytest.raises(ResultError, match=r"same benchmark, got loop_latency \(.*a.json\) and tracker_scaling \("):
        compared(loop({"grab": ROW}), {"update_ms": {"grab": ROW}})
    with pytest.raises(ResultError, match=r"expected results with a row in common, got none; .*a.json has grab"):
        compared(loop({"grab": ROW}), loop({"fire": ROW}))


def test_a_row_without_values_is_shown_and_not_judged(compared):
    empty = dict.fromkeys(("p50", "p95", "p99", "p99.9", "max"), float("nan")) | {"n": 0}
    (row,) = compared(loop({"ack": empty}), loop({"ack": percentiles(1.0)}))["rows"]
    assert (row["change"], row["ratio"]["p50"]) == ("not judged", None)


@pytest.mark.parametrize(("factor", "threshold", "status"), [(1.0, "1.1", 0), (1.2, "1.1", 1), (1.2, "1.3", 0)])
def test_the_exit_status_is_for_ci(written, capsys, factor, threshold, status):
    a, b = written(loop({"x": ROW}), "a.json"), written(loop({"x": percentiles(factor)}), "b.json")
    assert main([str(a), str(b), "--threshold", threshold]) == status
    text = capsys.readouterr().out
    assert text.splitlines()[-1] == f"{status} of 1 rows slower and 0 faster by more than {threshold}"
    assert main([str(a), str(b), "--threshold", threshold, "--json"]) == status
    assert json.loads(capsys.readouterr().out)["slower"] == ["x"] * status


def test_the_table_marks_what_changed_where_it_changed(written, capsys):
    a, b = written(loop({"fire": ROW}, 100.0), "a.json"), written(loop({"fire": ROW | {"p95": 4.0}}, 200.0), "b.json")
    main([str(a), str(b)])
    shown = capsys.readouterr().out
    assert "reference: B / A 2.000; the last column is without that\n" in shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["fire", "p50", "1.0000", "1.0000", "1.000", "0.500", "faster"] in lines
    assert ["p95", "2.0000", "4.0000", "2.000", "1.000"] in lines


@pytest.mark.parametrize("threshold", ["1", "0.9", "nan", "much"])
def test_a_threshold_is_above_1(capsys, threshold):
    with pytest.raises(SystemExit) as end:
        main(["a.json", "b.json", "--threshold", threshold])
    assert end.value.code == 2
    assert "--threshold" in capsys.readouterr().err


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_results_can_be_compared(path):
    result = read_result(path)
    found = compare(result, result, 1.1)
    assert found["rows"]
    assert (found["slower"], found["faster"], found["only_in_a"]) == ([], [], [])
