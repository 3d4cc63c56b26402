"""Replay: the same program on the same input gives the same bytes, and says where it does not."""

import itertools
import json
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict
from typer.testing import CliRunner

from camera_drivers.frame import Frame
from camera_drivers.frame_log import FrameLogWriter, read_frame_log
from camera_drivers.sim import SimOptions, SimScene
from models.exported import ZOO
from models.quantising import quantise
from realtime.assemble import load_model, make_lookahead, make_rules
from realtime.calibration import Calibration, save_calibration
from realtime.cli.commands import app
from realtime.explain import session_tracks
from realtime.live import Request, run_live
from realtime.loop import StopRequest
from realtime.recording.log import read_log
from realtime.recording.records import FrameRecord, NoteRecord
from realtime.replay import ReplayError, replay_session
from realtime.report import summary, summary_text, write_report
from realtime.rig import load_rig, parse_rig
from realtime.rules import PythonRule, registry

SESSION_A = Path(__file__).parents[2] / ".." / "shared" / "data" / "flies_1024" / "session_a.mp4"

CAMERA = """
[camera]
driver = "sim"
seed = 7
n_frames = {n_frames}
noise_sd = 4.0
invisible_fraction = 0.05
{more}
"""
FLIES = """
[camera]
driver = "video"
path = "{path}"
n_frames = 120
"""
REST = """
[loop]
frames = "{frames}"
deadline_ms = 200.0
[model]
kind = "exported"
path = "{model}"
{model_more}
[animal]
front = "head"
back = "abdomen"
centre = "thorax"
[calibration]
{calibration}
[rules.near]
any_pair = ["a", "b"]
when = "distance(a.head, b.thorax) < {near} mm"
until = "distance(a.head, b.thorax) > {far} mm"
when_unknown = "release"
[rules.facing]
any_pair = ["a", "b"]
when = "facing(a, b) < 45 deg"
for_s = 0.05
when_unknown = "hold"
[triggers.laser]
driver = "simulated"
[stimuli.light]
rule = "near"
triggers = ["laser"]
channel = 0
duration_ms = 50
[stimuli.tone]
rule = "facing"
triggers = ["laser"]
channel = 1
duration_ms = 50
[safety]
armed_at_start = true
[recording]
video = "{video}"
"""


USUAL = {
    "frames": "every",
    "model": "zoo:sim_pair",
    "model_more": "",
    "near": 5,
    "far": 6,
    "video": "none",
    "calibration": "px_per_mm = 24.0",
}


def record(folder, camera, **changes):
    settings = USUAL | changes
    folder.mkdir(exist_ok=True)
    rig = folder / "rig.toml"
    rig.write_text(camera + REST.format(**settings))
    end = run_live(Request(rig=str(rig), out=str(folder / "session")), StopRequest())
    assert end.end.error is None
    return folder / "session"


def simulated(n_frames=150, more='pace = "consumer"'):
    return CAMERA.format(n_frames=n_frames, more=more)


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """One recorded session of the simulator, as fast as the loop goes."""
    return record(tmp_path_factory.mktemp("sim"), simulated())


def test_a_replay_of_a_simulation_is_identical_twice_in_a_row(session):
    for _ in range(2):
        comparison, frames_from = replay_session(session)
        assert frames_from == "source"
        assert comparison.first_difference == ""
        assert comparison.identical
        assert comparison.poses.identical
        assert comparison.n_replayed == 150
    assert sum(len(before) for before, _ in comparison.onsets.values()) > 0
    assert comparison.outcomes


def test_a_replay_of_a_live_session_that_skipped_frames_is_identical(tmp_path):
    more = "frame_rate_hz = 400.0\ndropped_fraction = 0.05\nlate_fraction = 0.05\nlate_ms = 8.0"
    session = record(tmp_path, simulated(200, more), frames="latest")
    drops = json.loads((session / "session.json").read_text())["drops"]
    assert drops["device_gap"] > 0
    comparison, _ = replay_session(session)
    assert comparison.first_difference == ""
    assert comparison.poses.identical


def test_a_session_whose_recorder_lost_frames_is_identical(session, tmp_path):
    """The camera overwrote them before a recorder without a processor came to them; the loop had them."""
    folder = tmp_path / "session"
    shutil.copytree(session, folder)
    frames = read_frame_log(folder / "frames.log")
    (folder / "frames.log").unlink()
    writer = FrameLogWriter(folder / "frames.log")
    for row in set(range(len(frames))) - {10, 11, 40}:
        times = frames[row]
        writer.append(Frame(times.frame_id, times.timestamp_ns, times.available_ns, None, np.zeros((1, 1), np.uint8)))
    writer.close()
    comparison, _ = replay_session(folder)
    assert comparison.first_difference == ""


def test_a_replay_from_the_logged_poses_is_identical_and_needs_no_model(session):
    comparison, frames_from = replay_session(session, source="poses")
    assert frames_from == "poses"
    assert comparison.identical


@pytest.mark.skipif(not SESSION_A.exists(), reason="needs the recording in ../shared/data")
def test_a_replay_of_a_recording_is_identical_twice_in_a_row(tmp_path):
    session = record(tmp_path, FLIES.format(path=SESSION_A.resolve()), model="zoo:fly_pair")
    for _ in range(2):
        comparison, frames_from = replay_session(session)
        assert frames_from == "source"
        assert comparison.first_difference == ""
        assert comparison.poses.identical
        assert comparison.n_replayed == 120


def test_what_auto_was_live_is_what_a_replay_takes(tmp_path, monkeypatch):
    folder = shutil.copytree(ZOO / "sim_pair", tmp_path / "sim_pair")
    scene = SimScene(SimOptions(seed=4))
    quantise(folder, np.stack([scene.image(k * 30) for k in range(6)]), {})
    auto = {"model": folder, "model_more": 'precision = "auto"'}
    session = record(tmp_path, simulated(30), **auto)
    model = json.loads((session / "session.json").read_text())["model"]
    assert (model["precision"], "int8" in model["engine"]) == ("int8", True)
    # As on another computer, on which another precision is the fastest.
    monkeypatch.setattr("models.engines.fastest._fastest", lambda *_: "fp32")
    for rig in (None, load_rig(tmp_path / "rig.toml")):
        comparison, frames_from = replay_session(session, rig=rig)
        assert frames_from == "source"
        assert comparison.poses.identical
    # Another model does not have it: there it is chosen anew.
    other = tmp_path / "other.toml"
    other.write_text((tmp_path / "rig.toml").read_text().replace(str(folder), "zoo:sim_pair"))
    comparison, _ = replay_session(session, rig=load_rig(other))
    assert comparison.n_replayed == 30
    assert not comparison.poses.identical


LEVELLED = """
[lookahead]
horizon_ms = 20.0
[zones.food]
circle = [256, 256, 90]
unit = "px"
[rules.ahead]
any_pair = ["a", "b"]
when = "distance(predicted(a.head), b.thorax) < 4 mm and in_zone(a, food)"
when_unknown = "release"
"""
TILTED = Calibration(  # 25 mm above its plane, tilted by 20 deg
    format_version=1,
    px_per_mm=24.0,
    scale_error_percent=20.0,
    reprojection_px=0.1,
    reprojection_mm=0.003,
    width_px=512,
    height_px=512,
    corners=(9, 6),
    square_mm=2.0,
    pictures=("board.png",),
    homography_px_to_mm=((1 / 24, 0.0, -32 / 3), (0.0, 1 / 24, -32 / 3), (0.0, 0.0005, 0.9)),
    camera_matrix=((600.0, 0.0, 256.0), (0.0, 600.0, 256.0), (0.0, 0.0, 1.0)),
    distortion=(-0.2, 0.01, 0.001, 0.0, 0.0),
)


def test_a_levelled_session_is_identical_without_its_calibration(tmp_path):
    made, moved = tmp_path / "made", tmp_path / "moved"
    made.mkdir()
    save_calibration(TILTED, made / "board.toml")
    record(made, simulated() + LEVELLED, calibration='file = "board.toml"').rename(moved)
    shutil.rmtree(made)
    comparison, frames_from = replay_session(moved)
    assert frames_from == "source"
    assert comparison.first_difference == ""
    assert comparison.poses.identical
    # The whole recording at once gives the bits that were decided live, and those of one scale are others.
    settings = json.loads((moved / "session.json").read_text())["rig"]
    rig = parse_rig(settings, tmp_path / "rig.toml")
    frames = [frame for frame in read_log(moved / "events.log") if isinstance(frame, FrameRecord)]
    with closing(load_model(rig)) as model:
        n_nodes, rules = len(model.skeleton.nodes), make_rules(rig, model)
        lookahead = make_lookahead(rig, model, kept=True)
    assert {rule.name for rule in rules} == {"near", "facing", "ahead"}
    table = session_tracks(moved, n_nodes, lookahead, rig.calibration.plane)
    for rule in rules:
        live = [decision for frame in frames for decision in frame.decisions if decision.rule == rule.name]
        whole = rule.evaluate_recording(table)
        assert np.array([decision.values for decision in live]).tobytes() == whole.values.tobytes()
        assert [decision.state for decision in live] == whole.states.tolist()
        assert len(set(whole.states.tolist())) > 1
    del settings["calibration"]["plane"]
    assert not replay_session(moved, rig=parse_rig(settings, tmp_path / "rig.toml"))[0].identical


def test_a_session_that_followed_by_optical_flow_is_identical_and_needs_its_pictures(tmp_path):
    session = record(tmp_path, simulated(60) + '[tracker]\nmotion = "lucas_kanade"\n')
    comparison, frames_from = replay_session(session)
    assert frames_from == "source"
    assert comparison.first_difference == ""
    with pytest.raises(ReplayError) as caught:
        replay_session(session, source="poses")
    assert str(caught.value) == (
        f'{tmp_path / "rig.toml"}: $.tracker.motion: "lucas_kanade" needs the pictures, and this replay is from the '
        'logged poses; use --from-frames, or "velocity"'
    )


def without_its_source(session):
    """Make a session forget that its frames could be produced again, as those of a real camera cannot."""
    description = json.loads((session / "session.json").read_text())
    description["camera"]["reproducible"] = False
    (session / "session.json").write_text(json.dumps(description))
    return session


def test_a_replay_of_lossless_video_is_identical(tmp_path):
    session = without_its_source(record(tmp_path, simulated(60), video="lossless"))
    comparison, frames_from = replay_session(session)
    assert frames_from == "video"
    assert comparison.first_difference == ""
    assert comparison.poses.identical


def test_a_replay_of_lossy_video_says_how_far_the_poses_moved(tmp_path):
    session = without_its_source(record(tmp_path, simulated(60), video="lossy"))
    comparison, frames_from = replay_session(session)
    assert frames_from == "poses"
    assert comparison.identical
    comparison, frames_from = replay_session(session, source="frames")
    assert frames_from == "video"
    assert not comparison.poses.identical
    assert 0 < comparison.poses.p50_px < 1


def test_a_session_without_pictures_says_so(tmp_path):
    session = without_its_source(record(tmp_path, simulated(10)))
    with pytest.raises(ReplayError) as caught:
        replay_session(session, source="frames")
    assert str(caught.value) == (
        'the session has no pictures: it was recorded with video = "none"; replay it from its poses'
    )


def test_other_rules_show_what_they_would_have_done(session, tmp_path):
    rig = tmp_path / "other.toml"
    rig.write_text((session / "rig.toml").read_text().replace("< 5 mm", "< 0.01 mm"))
    comparison, _ = replay_session(session, rig=load_rig(rig))
    assert not comparison.identical
    recorded, replayed = comparison.onsets["near"]
    assert recorded
    assert replayed == []


def test_a_changed_log_is_found_and_named(session, monkeypatch):
    def with_a_lie(path):
        for record in read_log(path):
            if getattr(record, "index", None) != 42:
                yield record
                continue
            lie = msgspec.structs.replace(record.decisions[0], rule="far")
            yield msgspec.structs.replace(record, decisions=(lie, *record.decisions[1:]))

    monkeypatch.setattr("realtime.replay.replay.read_log", with_a_lie)
    comparison, _ = replay_session(session)
    assert comparison.different["decisions"] == 1
    assert comparison.first_difference.startswith("frame 42 (index 42): decisions: recorded far ")


def run_cli(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "realtime.cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_the_command_line_says_identical_and_exits_with_0(session):
    done = run_cli("replay", session, "--json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    assert answer["identical"] is True
    assert answer["frames_from"] == "source"


def test_without_a_terminal_there_is_no_trace_of_a_progress_bar(session):
    done = run_cli("replay", session)
    assert done.stdout.startswith("150 frames from the original frames: identical")
    assert done.stderr == ""


def test_the_command_line_exits_with_1_where_it_differs(session, tmp_path):
    other = tmp_path / "session"
    other.mkdir()
    for path in session.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    description = json.loads((other / "session.json").read_text())
    description["rig"]["rules"]["near"]["when"] = "distance(a.head, b.thorax) < 0.01 mm"
    (other / "session.json").write_text(json.dumps(description))
    done = run_cli("replay", other, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["identical"] is False


def test_what_is_no_session_is_an_error_and_exit_code_2(tmp_path):
    done = run_cli("replay", tmp_path)
    assert done.returncode == 2
    assert "not a session folder" in done.stderr


LOOKAHEAD = """
[lookahead]
camera_latency_ms = 4.0
device_latency_ms = 6.0
grade_s = 0.1      # and a filter that follows every pixel of noise: it is switched off and on again
acceleration = 1e5
noise = 0.001
[lookahead.groups]
trunk = ["head", "thorax", "abdomen"]
"""
AHEAD = 'when = "distance(predicted(a.head), predicted(b.thorax)) < {near} mm"'


@pytest.fixture(scope="module")
def session_ahead(tmp_path_factory):
    """One recorded session whose rule asks where the animals will be, with a look-ahead that often switches itself."""
    folder = tmp_path_factory.mktemp("ahead")
    rest = REST.replace('when = "distance(a.head, b.thorax) < {near} mm"', AHEAD)
    assert rest != REST
    rig = folder / "rig.toml"
    rig.write_text(simulated(300) + LOOKAHEAD + rest.format(**USUAL))
    end = run_live(Request(rig=str(rig), out=str(folder / "session")), StopRequest())
    assert end.end.error is None
    return folder / "session"


def predictions(session):
    records = [record for record in read_log(session / "events.log") if isinstance(record, FrameRecord)]
    return records, [record.tracks.prediction for record in records]


@pytest.mark.parametrize("source", ["frames", "poses"])
def test_a_replay_predicts_the_same_to_the_bit(session_ahead, source):
    comparison, _ = replay_session(session_ahead, source=source)
    assert comparison.first_difference == ""
    assert comparison.n_replayed == 300
    _, found = predictions(session_ahead)
    assert len({prediction.horizon_ns for prediction in found}) > 3, "the horizon is measured, and the computer's"


def test_a_session_predicts_for_the_measured_latency_and_what_the_rig_adds(session_ahead):
    records, found = predictions(session_ahead)
    took_ns = [record.decided_ns - record.available_ns for record in records]
    assert found[0].horizon_ns == 10_000_000
    for index in (1, 2, 50, 299):
        last = sorted(took_ns[max(0, index - 63) : index])
        assert found[index].horizon_ns == last[(len(last) - 1) // 2] + 10_000_000


def test_a_session_notes_when_its_look_ahead_was_switched(session_ahead):
    records, found = predictions(session_ahead)
    notes = [note for note in read_log(session_ahead / "events.log") if isinstance(note, NoteRecord)]
    told = [note.text for note in notes if note.kind == "look-ahead"]
    assert any("trunk: switched off: " in text and "no prediction by " in text and " mm" in text for text in told)
    assert any("trunk: switched on again: " in text for text in told)
    n_changes = sum(before.is_on != after.is_on for before, after in itertools.pairwise(found))
    assert len(told) >= n_changes > 0
    assert {note.host_ns for note in notes if note.kind == "look-ahead"} <= {record.decided_ns for record in records}
    n_off = 0
    for record, prediction in zip(records, found, strict=True):
        of_row = 8 * record.tracks.n_nodes
        for row in range(record.tracks.n_tracks):
            if not prediction.is_on[row]:
                there = slice(row * of_row, (row + 1) * of_row)
                assert prediction.xy[there] == record.tracks.xy[there]
                n_off += 1
    assert 0 < n_off < 2 * len(records)


def test_the_report_says_how_good_the_look_ahead_was(session_ahead):
    ahead = summary(session_ahead)["lookahead"]
    assert ahead["unit"] == "mm"
    trunk = ahead["groups"]["trunk"]
    assert 0.0 < trunk["on_share"] < 1.0
    assert trunk["switched_off"] > 0
    assert trunk["error"]["n"] > 100
    assert "look-ahead of trunk: off by " in summary_text(summary(session_ahead))
    assert "<h2>Looking ahead</h2>" in write_report(session_ahead).read_text()


def test_another_horizon_is_told_as_such(session_ahead, tmp_path):
    text = (session_ahead / "rig.toml").read_text().replace("device_latency_ms = 6.0", "device_latency_ms = 60.0")
    (tmp_path / "rig.toml").write_text(text)
    comparison, _ = replay_session(session_ahead, rig=load_rig(tmp_path / "rig.toml"))
    assert not comparison.identical
    assert comparison.first_difference.endswith("tracks: the animals are the same, and where they will be differs")


class NearInPython(PythonRule):
    """The heads are near one another; breaks when it has been asked so many times."""

    class Options(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
        breaks_at: int = 0

    n_animals = 2
    n_asked = 0

    def evaluate(self, animals, timestamp_ns):
        self.n_asked += 1
        if self.n_asked == self.options.breaks_at:
            raise ZeroDivisionError("a bug")
        gap = np.hypot(*(animals[0]["head"] - animals[1]["head"]))
        return None if np.isnan(gap) else gap < 150.0

    def reset(self):
        self.n_asked = 0


@pytest.fixture
def with_python(tmp_path, monkeypatch):
    """Record a session with a rule in Python of a package of some version, which is installed then."""

    def install(version):
        brought = registry.Installed(NearInPython, "acme_rules:Near", "acme", version)
        monkeypatch.setattr(registry, "load", lambda _: brought)

    def record_with(options=""):
        install("1.5")
        rule = f'[rules.python]\npython = "near"\nany_pair = ["a", "b"]\nwhen_unknown = "release"\n{options}\n'
        return record(tmp_path, simulated(60) + rule)

    return install, record_with


def test_a_rule_in_python_is_in_the_record_and_its_replay_identical(with_python):
    _, record_with = with_python
    session = record_with()
    description = json.loads((session / "session.json").read_text())
    assert description["rules_in_python"] == {
        "python": {"python": "near", "target": "acme_rules:Near", "package": "acme", "version": "1.5"}
    }
    assert description["fault"] == ""
    assert replay_session(session)[0].identical
    frames = [record for record in read_log(session / "events.log") if isinstance(record, FrameRecord)]
    states = {decision.state for frame in frames for decision in frame.decisions if decision.rule == "python"}
    assert len(states) > 1


def test_a_replay_with_another_version_of_a_rule_in_python_is_refused(with_python):
    install, record_with = with_python
    session = record_with()
    install("1.6")
    with pytest.raises(ReplayError) as caught:
        replay_session(session)
    assert str(caught.value) == (
        f"{session}: rule python: expected acme_rules:Near of acme 1.5, with which the session was recorded, got "
        "acme_rules:Near of acme 1.6; install the recorded one, or ask with --rig what this one would have done"
    )
    replay_session(session, rig=load_rig(session.parent / "rig.toml"))


def test_a_rule_in_python_that_raises_disarms_and_its_replay_is_identical(with_python):
    _, record_with = with_python
    session = record_with("options = { breaks_at = 20 }")
    fault = json.loads((session / "session.json").read_text())["fault"]
    assert fault.startswith("rule python: acme_rules:Near raised ZeroDivisionError: a bug, on frame ")
    comparison, _ = replay_session(session)
    assert comparison.identical


@pytest.mark.parametrize("as_json", [False, True])
def test_a_rule_in_python_that_would_have_raised_is_told(with_python, as_json):
    _, record_with = with_python
    session = record_with()
    rig = session.parent / "breaks.toml"
    named = 'python = "near"\n'
    rig.write_text((session.parent / "rig.toml").read_text().replace(named, f"{named}options = {{ breaks_at = 20 }}\n"))
    done = CliRunner().invoke(app, ["replay", str(session), "--rig", str(rig), *["--json"] * as_json])
    assert done.exit_code == 0
    fault = "rule python: acme_rules:Near raised ZeroDivisionError: a bug, on frame "
    if as_json:
        assert json.loads(done.stdout)["rule_faults"]["python"].startswith(fault)
    else:
        assert fault in done.stdout
        assert "; it is unknown from there on, and a live session disarms" in done.stdout


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("frames.log", None, "frames.log: cannot read the frame log: No such file or directory"),
        (
            "session.json",
            '{"format_version": 1}',
            "session.json: expected the sections rig, camera, model, got no rig, camera, model",
        ),
        ("session.json", '{"format_version": 1, "rig": {}, "camera": [], "model": {}}', "got no camera"),
    ],
)
def test_a_piece_that_a_session_lacks_is_wrong_input(session, tmp_path, file, content, message):
    folder = shutil.copytree(session, tmp_path / "session")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    done = run_cli("replay", folder)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
