"""The wall clock is a label: it may jump, and nothing that is decided or timed depends on it."""

import ast
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from realtime.live import Request, run_live
from realtime.loop import StopRequest

ROOT = Path(__file__).resolve().parents[2]
KNOWN = {
    "realtime/folder.py",  # the name of a session's folder
    "realtime/live.py",  # `started_wall` in its description
    "triggers/zmq.py",  # when a message expires for a receiver on another computer, which has no other clock in common
    "triggers/zmq_message.py",
}
WALL = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}

ONE_PULSE = """
[loop]
frames = "every"
deadline_ms = 5000.0
[triggers.laser]
driver = "recording"
[stimuli.clock]
schedule_s = [0.05]
triggers = ["laser"]
channel = 0
duration_ms = 10.0
[safety]
armed_at_start = true
[recording]
video = "none"
"""


def asks_the_wall_clock(source: str) -> bool:
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return any(ast.unparse(call) in WALL for call in calls)


def test_only_labels_and_other_computers_need_the_wall_clock() -> None:
    files = [path for folder in ("realtime", "triggers", "camera_drivers") for path in (ROOT / folder).rglob("*.py")]
    found = {str(path.relative_to(ROOT)) for path in files if asks_the_wall_clock(path.read_text(encoding="utf-8"))}
    assert found == KNOWN


def test_a_session_runs_with_a_wall_clock_that_leaps_and_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rig_text: Callable[..., str]
) -> None:
    steps = iter(range(10**9))

    def leaping() -> float:
        return 1.7e9 + (-1) ** next(steps) * 1e8

    monkeypatch.setattr(time, "time", leaping)
    monkeypatch.setattr(time, "time_ns", lambda: round(leaping() * 1e9))
    (tmp_path / "rig.toml").write_text(rig_text(ONE_PULSE, camera='n_frames = 20\npace = "consumer"'))
    outcomes: list[str] = []

    class Sink:
        def append(self, processed: object) -> None:
            outcomes.extend(intent.outcome for intent in processed.action.intents)  # type: ignore[attr-defined]

    request = Request(str(tmp_path / "rig.toml"), str(tmp_path / "session"))
    end = run_live(request, StopRequest(), lambda sinks: (*sinks, Sink()))
    assert (end.end.reason, end.end.error, end.end.n_frames) == ("camera ended", None, 20)
    assert outcomes == ["sent"]
