"""The long run's verdict, by tables of what it may find, and one short real run."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.endurance import _problems, main

GOOD: dict[str, Any] = {
    "resident_mib": [600.0, 604.0, 604.9],
    "by_minute_ms": [
        {"p50": 9.0, "n": 10.0},
        {"p50": 2.0, "n": 9000.0},
        {"p50": 2.9, "n": 9000.0},
        {"p50": 9.0, "n": 3.0},
    ],
    "intents": {"sent": 5, "late": 1},
    "logged": {"frames": 100, "sent": 5, "late": 1},
    "recorder": {"n_events_lost": 0},
}
BAD = {
    "memory grows": ({"resident_mib": [600.0, 603.0, 605.1]}, ["memory grew from 600.0 to 605.1 MiB"]),
    "frames pile up": (
        {
            "by_minute_ms": [
                {"p50": 2.0, "n": 1.0},
                {"p50": 2.0, "n": 1.0},
                {"p50": 3.1, "n": 1.0},
                {"p50": 2.0, "n": 1.0},
            ]
        },
        ["frames in hand grew older: p50 2.00 ms, later 3.10 ms"],
    ),
    "a missed deadline is not in the log": (
        {"logged": {"frames": 100, "sent": 5}},
        ["the log holds {'frames': 100, 'sent': 5}, the loop saw {'frames': 100, 'sent': 5, 'late': 1}"],
    ),
    "a record is lost": ({"recorder": {"n_events_lost": 2}}, ["2 records were lost"]),
}


def test_a_good_run_has_no_problem() -> None:
    assert _problems(GOOD, 100) == []


@pytest.mark.parametrize(("change", "problems"), BAD.values(), ids=BAD)
def test_what_is_not_as_it_should_be_is_named(change: dict[str, Any], problems: list[str]) -> None:
    assert _problems(GOOD | change, 100) == problems


RIG = """
[camera]
driver = "sim"
seed = 7
pace = "realtime"
n_frames = 100000
[loop]
deadline_ms = 0.001
[model]
kind = "exported"
path = "zoo:sim_pair"
[animal]
front = "head"
back = "abdomen"
centre = "thorax"
[triggers.laser]
driver = "simulated"
[triggers.bus]
driver = "zmq"
address = "ipc://{folder}/bus"
pattern = "pub"
[stimuli.clock]
random_interval_s = [0.1, 0.1]
seed = 1
triggers = ["laser", "bus"]
channel = 0
duration_ms = 10.0
[safety]
armed_at_start = true
[recording]
video = "none"
"""


@pytest.mark.alone
def test_missed_deadlines_are_counted_and_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = tmp_path / "rig.toml"
    rig.write_text(RIG.format(folder=tmp_path))
    assert main(["--rig", str(rig), "--minutes", "0.03", "--json", str(tmp_path / "result.json")]) == 0
    out = capsys.readouterr().out
    assert "intents {'late': " in out
    assert "PROBLEM" not in out
    assert (tmp_path / "result.json").exists()
