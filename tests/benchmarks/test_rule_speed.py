import os

from benchmarks.rule_speed import RULES, measure


def test_every_rule_is_measured_both_ways() -> None:
    result = measure(300)
    assert result["live_ms"].keys() == result["rule_frames_per_s_by_cores"].keys() == RULES.keys()
    assert all(row["n"] == 200 and 0 < row["p50"] <= row["max"] for row in result["live_ms"].values())
    cores = {"1", str(len(os.sched_getaffinity(0)))}
    for row in result["rule_frames_per_s_by_cores"].values():
        assert row.keys() == cores
        assert all(n > 0 for n in row.values())
