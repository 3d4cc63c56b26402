"""Whole sessions with controls: a replay is identical, a yoked session follows its master, a sham reaches no device."""

import json
import shutil

import pytest

from realtime.live import Request, run_live
from realtime.loop import StopRequest
from realtime.recording.log import read_log
from realtime.recording.records import FrameRecord
from realtime.replay import replay_session
from realtime.rig import RigError, load_rig
from realtime.stimulus.action import STOP_ID
from realtime.stimulus.controls import Arms

FACING = """
[loop]
frames = "every"
deadline_ms = 2000.0
[rules.facing]
any_pair = ["a", "b"]
when = "facing(a, b) < 45 deg"
when_unknown = "hold"
[triggers.laser]
driver = "simulated"
log_path = "device.jsonl"
max_on_ms = 60000
ack_timeout_ms = 5000
[limits.laser]
{limits}
[safety]
armed_at_start = true
[recording]
video = "none"
"""
LIMITS = "\n".join(f"{channel} = {{ max_on_s = 60.0, max_duty = 1.0, max_dose_s = 600.0 }}" for channel in range(6))
EVERYTHING = """
[stimuli.mixed]
rule = "facing"
triggers = ["laser"]
channel = 0
duration_ms = 5
seed = 4
blocks = { size = 4, real = 2 }
stop_on_release = true
[stimuli.late]
rule = "facing"
triggers = ["laser"]
channel = 1
duration_ms = 5
delay_ms = 15
[stimuli.steady]
rule = "facing"
triggers = ["laser"]
channel = 2
duration_ms = 30
while_on = true
stop_on_release = true
[stimuli.clock]
schedule_s = [0, 0.5, 1.25]
triggers = ["laser"]
channel = 3
duration_ms = 5
[stimuli.chance]
random_interval_s = [0.1, 0.5]
seed = 9
probability = 0.5
triggers = ["laser"]
channel = 4
duration_ms = 5
[stimuli.quiet]
rule = "facing"
triggers = ["laser"]
channel = 5
duration_ms = 5
sham = true
"""
YOKED = """
[stimuli.steady]
yoked = {{ session = "{session}" }}
triggers = ["laser"]
channel = 2
duration_ms = {duration_ms}
[stimuli.other]
yoked = {{ session = "{session}", stimulus = "{stimulus}" }}
triggers = ["laser"]
channel = 3
duration_ms = 5
"""


@pytest.fixture(scope="module")
def write_rig(rig_text):
    def write(folder, stimuli, seed=7):
        folder.mkdir(exist_ok=True)
        rig = folder / "rig.toml"
        camera = 'n_frames = 150\npace = "consumer"'
        rig.write_text(rig_text(FACING.format(limits=LIMITS) + stimuli, camera=camera, seed=seed))
        return rig

    return write


@pytest.fixture(scope="module")
def record(write_rig):
    """Run a session and return its folder."""

    def run(folder, stimuli, seed=7):
        end = run_live(Request(rig=str(write_rig(folder, stimuli, seed)), out=str(folder / "session")), StopRequest())
        assert end.end.error is None
        assert end.fault == ""
        return folder / "session"

    return run


def frames(session):
    return [entry for entry in read_log(session / "events.log") if isinstance(entry, FrameRecord)]


def told(session, stimulus, *outcomes):
    """Return (frame index, outcome) of a stimulus' intents with these outcomes."""
    return [
        (frame.index, intent.outcome)
        for frame in frames(session)
        for intent in frame.intents
        if intent.stimulus == stimulus and intent.outcome in outcomes
    ]


@pytest.fixture(scope="module")
def master(tmp_path_factory, record):
    return record(tmp_path_factory.mktemp("master"), EVERYTHING)


def test_a_replay_of_every_protocol_is_identical(master):
    comparison, _ = replay_session(master)
    assert comparison.first_difference == ""
    assert comparison.identical
    assert set(comparison.outcomes) == {"mixed", "late", "steady", "clock", "chance", "quiet"}
    comparison, _ = replay_session(master, source="poses")
    assert comparison.identical
    stops = [event for frame in frames(master) for event in frame.trigger_events if event.kind == "stopped"]
    assert {event.channel for event in stops} <= {0, 2}, "those that are stopped on release"
    assert stops
    description = json.loads((master / "session.json").read_text())
    assert description["triggers"]["laser"]["acknowledges_stop"]


def test_a_replay_counts_a_stop_from_when_it_was_acknowledged(tmp_path, record):
    stimuli = """
[limits.laser.7]
max_on_s = 60.0
max_duty = 1.0
max_dose_s = 5.0
[stimuli.light]
rule = "facing"
triggers = ["laser"]
channel = 7
duration_ms = 5000
stop_on_release = true
"""
    session = record(tmp_path, stimuli)
    assert any(event.kind == "stopped" for frame in frames(session) for event in frame.trigger_events)
    limited = [intent.detail for frame in frames(session) for intent in frame.intents if intent.outcome == "limited"]
    assert limited
    assert all("dose of" in detail for detail in limited), "which tells when the first light went off"
    comparison, _ = replay_session(session)
    assert comparison.first_difference == ""


def test_a_device_refuses_nothing_of_what_is_repeated_or_outranks_another(tmp_path, record):
    """It refuses a channel that is busy, so what runs there has to be stopped first."""
    stimuli = """
[rules.there]
any_pair = ["a", "b"]
when = "visible(a) and visible(b)"
when_unknown = "hold"
[stimuli.steady]
rule = "there"
triggers = ["laser"]
channel = 2
duration_ms = 60
while_on = true
[stimuli.low]
rule = "there"
triggers = ["laser"]
channel = 3
duration_ms = 60000
[stimuli.high]
schedule_s = [0.5, 1.0]
triggers = ["laser"]
channel = 3
duration_ms = 20
priority = 1
"""
    session = record(tmp_path, stimuli)
    assert len(told(session, "steady", "sent")) > 5
    assert told(session, "high", "sent"), "on a busy machine one of the two may be too late"
    assert [event for frame in frames(session) for event in frame.trigger_events if event.kind == "refused"] == []
    comparison, _ = replay_session(session)
    assert comparison.first_difference == ""


def test_the_arms_in_the_record_are_those_of_the_seed(master):
    rig = load_rig(master.parent / "rig.toml")
    intents = [intent for frame in frames(master) for intent in frame.intents]
    for name in ("mixed", "chance", "quiet", "late"):
        arms = Arms(name, rig.stimuli[name])
        mine = [intent for intent in intents if intent.stimulus == name]
        assert mine
        assert all(intent.arm == arms.of(intent.ordinal) for intent in mine)
    assert {intent.arm for intent in intents if intent.stimulus == "chance"} == {"real", "sham"}
    assert {intent.outcome for intent in intents if intent.stimulus == "quiet"} == {"sham"}


def test_the_device_was_sent_what_was_recorded_as_sent_and_no_sham(master):
    lines = [json.loads(line) for line in (master.parent / "device.jsonl").read_text().splitlines()]
    on_device = [line["id"] for line in lines if line.get("type") in {"PulseTrain", "Extend"}]
    recorded = [
        command_id
        for frame in frames(master)
        for intent in frame.intents
        if intent.outcome == "sent"
        for _, command_id in intent.commands
        if command_id != STOP_ID
    ]
    assert recorded
    assert on_device == recorded


def test_a_schedule_comes_in_the_frame_at_its_time(master):
    times_s = [(frame.timestamp_ns - frames(master)[0].timestamp_ns) / 1e9 for frame in frames(master)]
    first_at = [next(index for index, time_s in enumerate(times_s) if time_s >= due) for due in (0, 0.5, 1.25)]
    assert told(master, "clock", "sent") == [(index, "sent") for index in first_at]


def test_animals_have_their_identity_confidence_with_every_stimulus_of_a_rule(master):
    for frame in frames(master):
        for intent in frame.intents:
            assert len(intent.track_ids) == len(intent.identity_confidence) == (2 if intent.rule else 0)
            assert all(0 < confidence <= 1 for confidence in intent.identity_confidence)


def test_a_yoked_session_follows_its_master_to_the_frame(tmp_path, master, record):
    gone = tmp_path / "gone"
    shutil.copytree(master, gone)
    stimuli = YOKED.format(session=gone, stimulus="chance", duration_ms=30)
    yoked = record(tmp_path / "yoked", stimuli, seed=1234)
    assert len(told(master, "steady", "sent")) > 5
    assert told(master, "steady", "stopped")
    assert told(yoked, "steady", "sent") == told(master, "steady", "sent")
    assert set(told(yoked, "steady", "stopped")) <= set(told(master, "steady", "stopped"))
    assert told(yoked, "other", "sent") == told(master, "chance", "sent")
    assert told(yoked, "other", "sham", "late", "limited") == []
    shutil.rmtree(gone)
    comparison, _ = replay_session(yoked)
    assert comparison.first_difference == "", "what the master did is in the yoked session's own record"


def test_a_yoked_stimulus_that_does_not_fit_its_master_is_a_mistake(tmp_path, master, write_rig):
    rig = write_rig(tmp_path, YOKED.format(session=master, stimulus="chanse", duration_ms=31))
    with pytest.raises(RigError) as caught:
        load_rig(rig)
    assert caught.value.mistakes == [
        f"{rig}: $.stimuli.steady.yoked: expected the pulse of the session {master}, 30000 us at 1.0, "
        "got 31000 us at 1.0",
        f"{rig}: $.stimuli.other.yoked: {master}: no stimulus 'chanse' in this session; "
        "there is chance, clock, late, mixed, quiet, steady",
    ]
    rig = write_rig(tmp_path, YOKED.format(session="nowhere", stimulus="chance", duration_ms=30))
    with pytest.raises(RigError) as caught:
        load_rig(rig)
    assert caught.value.mistakes[0] == (
        f"{rig}: $.stimuli.steady.yoked: {tmp_path / 'nowhere'}: not a session folder: "
        "cannot read session.json: No such file or directory"
    )


def test_the_masters_folder_is_taken_from_the_folder_of_the_rig(tmp_path, master, write_rig):
    shutil.copytree(master, tmp_path / "sessions" / "a")
    rig = load_rig(write_rig(tmp_path, YOKED.format(session="sessions/a", stimulus="chance", duration_ms=30)))
    assert rig.stimuli["steady"].yoked.session == str(tmp_path / "sessions" / "a")
    assert rig.settings["stimuli"]["steady"]["yoked"]["events"]
