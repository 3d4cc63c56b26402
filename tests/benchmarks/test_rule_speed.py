from benchmarks.rule_speed import RULES, measure


def test_every_rule_is_measured_both_ways() -> None:
    result = measure(300)
    assert result["live_ms"].keys() == result["recording_frames_per_s"].keys() == RULES.keys()
    assert all(row["n"] == 200 and 0 < row["p50"] <= row["max"] for row in result["live_ms"].values())
    assert all(n > 0 for n in result["recording_frames_per_s"].values())
