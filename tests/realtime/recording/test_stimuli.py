"""When a session stimulated: what was sent and stopped, in frame times, and nothing else."""

import msgspec
import pytest

from realtime.folder import FolderError, write_description
from realtime.recording.errors import LogReadError
from realtime.recording.log import LogWriter
from realtime.recording.records import EndRecord, FrameRecord, IntentRecord, PosesRecord, TracksRecord
from realtime.recording.stimuli import recorded_stimulus

NO_POSES = PosesRecord(0, 1, 0, b"", b"", b"", None)
NO_TRACKS = TracksRecord(0, 1, b"", b"", b"", b"", b"", b"")
SENT = (("laser", 4),)
STOPPED = (("laser", 0),)


def intent(outcome, commands=(), stimulus="light", arm="real"):
    return IntentRecord(stimulus, "near", 0, 0, 0, 200_000, 0.5, 20.0, 10_000, outcome, "", commands, arm)


def write_session(folder, frames):
    """Write a session whose frames are (time in ns, intents)."""
    folder.mkdir()
    write_description(folder, {"format_version": 1, "rig": {"stimuli": {"light": {}, "tone": {}}}})
    log = LogWriter(folder / "events.log")
    for index, (time_ns, intents) in enumerate(frames):
        record = FrameRecord(
            index, index, time_ns, 0, None, 0, (0, 0, 0, 0, 0), NO_POSES, NO_TRACKS, (), tuple(intents)
        )
        log.append(msgspec.msgpack.encode(record))
    log.append(msgspec.msgpack.encode(EndRecord(0, "camera ended", {})))
    log.close()
    return folder


def test_starts_and_stops_are_found_with_the_times_of_their_frames(tmp_path):
    session = write_session(
        tmp_path / "master",
        [
            (1000, [intent("sent", SENT)]),
            (1100, [intent("limited"), intent("sent", SENT, "tone")]),
            (1200, [intent("stopped", STOPPED)]),
            (1230, [intent("sent", SENT)]),
            (1330, [intent("late"), intent("undelivered", SENT), intent("failed", SENT)]),
            (1900, [intent("sent", SENT)]),
            (2000, [intent("sham", arm="sham")]),
            (2100, [intent("stopped", arm="sham")]),
        ],
    )
    recorded = recorded_stimulus(session, "light")
    # The usual interval is 100 ns. After a short one a frame counts from half of it on, after a long one from 50 ns on.
    assert recorded.events == (("start", 0, 0), ("stop", 200, 50), ("start", 230, 15), ("start", 900, 50))
    assert recorded.sent is not None
    assert (recorded.sent.outcome, recorded.sent.duration_us) == ("sent", 200_000)
    assert recorded_stimulus(session, "tone").events == (("start", 100, 50),)


def test_a_session_that_never_stimulated_has_no_events(tmp_path):
    for name, frames in {"none": [], "one": [(5, [intent("late")])]}.items():
        recorded = recorded_stimulus(write_session(tmp_path / name, frames), "light")
        assert (recorded.events, recorded.sent) == ((), None)


def test_what_is_no_master_is_an_error(tmp_path):
    with pytest.raises(FolderError, match="not a session folder"):
        recorded_stimulus(tmp_path, "light")
    session = write_session(tmp_path / "master", [(1000, [])])
    with pytest.raises(LookupError) as caught:
        recorded_stimulus(session, "lihgt")
    assert str(caught.value) == f"{session}: no stimulus 'lihgt' in this session; there is light, tone"
    damaged = bytearray((session / "events.log").read_bytes())
    damaged[30] ^= 1
    (session / "events.log").write_bytes(damaged)
    with pytest.raises(LogReadError):
        recorded_stimulus(session, "light")
