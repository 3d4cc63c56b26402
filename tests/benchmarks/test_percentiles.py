"""The figures that every benchmark states."""

import math

from benchmarks.percentiles import percentiles_ms, table


def test_percentiles_are_in_ms_and_count_their_values():
    found = percentiles_ms([1_000_000 * value for value in range(1, 102)])
    assert found == {"p50": 51.0, "p95": 96.0, "p99": 100.0, "p99.9": 100.9, "max": 101.0, "n": 101.0}


def test_no_values_give_nan_and_zero():
    found = percentiles_ms([])
    assert math.isnan(found["max"])
    assert found["n"] == 0


def test_a_table_has_a_line_a_row_and_its_columns_line_up():
    lines = table({"grab": percentiles_ms([1e6]), "predict": percentiles_ms([25e6])}).splitlines()
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1
