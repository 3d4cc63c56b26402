"""`poseloop rules explain`: the parts of a rig's rules, and why one is not on in a frame of a session."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from realtime.cli.commands import app
from realtime.live import Request, run_live
from realtime.loop import StopRequest
from realtime.recording.log import read_log
from realtime.recording.records import FrameRecord

TWO_RULES = """
[loop]
frames = "every"
[rules.near]
when = "distance(a.head, b.thorax) < 1 px"
any_pair = ["a", "b"]
when_unknown = "release"
[rules.alone]
when = "not state(near)"
for_s = 60
when_unknown = "hold"
[recording]
video = "none"
"""
LEVELLED = """
[calibration]
px_per_mm = 24.0
plane = { width_px = 512, height_px = 512, levelling = [[1, 0, 0], [0, 1, 0], [0, 0.0005, 0.9]] }
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, rig_text: Callable[..., str]) -> Path:
    folder = tmp_path_factory.mktemp("explain")
    (folder / "rig.toml").write_text(rig_text(TWO_RULES, camera='n_frames = 20\npace = "consumer"'))
    end = run_live(Request(rig=str(folder / "rig.toml"), out=str(folder / "session")), StopRequest())
    assert end.end.error is None
    return folder / "session"


def explain(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["rules", "explain", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_rules_of_a_rig(session: Path) -> None:
    code, out, _ = explain(session.parent / "rig.toml")
    assert code == 0
    assert "rule near\n  when:\n    distance(a.head, b.thorax) < 1 px  [condition]\n" in out
    assert "  asks for rules: near\n" in out
    code, out, _ = explain(session.parent / "rig.toml", "--rule", "near", "--json")
    (near,) = json.loads(out)["rules"]
    assert code == 0
    assert near["nodes"] == ["head", "thorax"]
    assert 0 < near["cost"]["p50_us"] <= near["cost"]["p99_us"]


def test_why_in_a_levelled_session(tmp_path: Path, rig_text: Callable[..., str]) -> None:
    """What is explained is the number that was compared, in mm of the tilted plane."""
    rig, out = tmp_path / "rig.toml", tmp_path / "session"
    rest = TWO_RULES.replace("< 1 px", "< 1 mm") + LEVELLED
    text = rig_text(rest, camera='n_frames = 20\npace = "consumer"')
    rig.write_text(text)
    end = run_live(Request(rig=str(rig), out=str(out)), StopRequest())
    assert end.end.error is None
    frames = [record for record in read_log(out / "events.log") if isinstance(record, FrameRecord)]
    recorded = {decision.values[0] for decision in frames[5].decisions if decision.rule == "near"}
    code, told, _ = explain(rig, "--session", out, "--frame", frames[5].frame_id, "--rule", "near", "--json")
    assert code == 0
    assert recorded <= {pair["parts"][1]["value"] for pair in json.loads(told)["rules"]}
    rig.write_text(text.replace("height_px = 512", "height_px = 500"))
    code, _, error = explain(rig, "--session", out)
    assert code == 2
    assert (
        "expected a calibration for pictures of 512x512 px, as the camera gives them, got one for 512x500 px" in error
    )


def test_why_a_rule_is_not_on(session: Path) -> None:
    rig = session.parent / "rig.toml"
    code, out, _ = explain(rig, "--session", session, "--at", "0.1", "--json")
    assert code == 0
    forth, back, alone = json.loads(out)["rules"]
    assert (forth["animals"], back["animals"]) == ({"a": 1, "b": 2}, {"a": 2, "b": 1})
    assert forth["state"] == "OFF"
    assert forth["reasons"][0].startswith("distance(a.head, b.thorax) < 1 px is false, off by ")
    distance = forth["parts"][1]
    assert forth["parts"][0]["off_by"] == pytest.approx(distance["value"] - 1)
    assert alone["reasons"] == ["it has been true for 0.100 s, and has to be for 60 s (for_s)"]
    code, out, _ = explain(rig, "--session", session, "--frame", forth["frame_id"], "--rule", "near")
    assert code == 0
    assert f"rule near, frame {forth['frame_id']}, 0.100 s, a = track 1, b = track 2: not on (the rule: OFF)" in out
    assert f"  because {forth['reasons'][0]}" in out


WRONG = {
    "no such rule": (("--rule", "naer"), "--rule: expected a rule (near, alone), got 'naer'"),
    "a frame of no session": (("--frame", "3"), "--frame and --at: expected --session SESSION with them, got none"),
    "no such frame": (("--session", "SESSION", "--frame", "99"), "expected a processed frame (0 to 19), got 99"),
    "both": (("--session", "SESSION", "--frame", "1", "--at", "0"), "--frame and --at: expected one of them, got both"),
    "after the end": (("--session", "SESSION", "--at", "9"), "--at: expected 0 to 0.317 s, got 9"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str, session: Path) -> None:
    arguments, text = WRONG[name]
    given = [str(session) if argument == "SESSION" else argument for argument in arguments]
    code, _, err = explain(session.parent / "rig.toml", *given)
    assert code == 2
    assert text in err


def test_a_log_that_is_none_is_said(session: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(session, tmp_path / "damaged")
    (damaged / "events.log").write_text("something else")
    code, out, err = explain(session.parent / "rig.toml", "--session", damaged)
    assert (code, out) == (2, "")
    assert "damaged/events.log: not an event log" in err
