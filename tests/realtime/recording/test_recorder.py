"""The recorder: a real process, real files, real kills, full disks."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from camera_drivers.ring import FrameRing
from realtime.recording.errors import RecorderNotStartedError
from realtime.recording.log import read_all
from realtime.recording.records import EndRecord, NoteRecord
from realtime.recording.recorder import Recorder, RecordingOptions

DEADLINE_S = 20.0
FRAME_NS = 10_000_000
SIZE = 64
NO_VIDEO = RecordingOptions(video="none")


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def note(k):
    return NoteRecord(host_ns=k, kind="test", text="x" * (k % 100))


def image(k, size=SIZE):
    return np.random.default_rng(k).integers(0, 256, (size, size), dtype=np.uint8)


def put(ring, k, size=SIZE):
    assert ring.put(image(k, size), k, k * FRAME_NS, time.monotonic_ns(), None)


def decode(path):
    """Return the luma of every frame that can be decoded, up to the end or to where the file is cut."""
    images = []
    with av.open(str(path)) as container, contextlib.suppress(av.FFmpegError):
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            images.append(np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width])
    return images


def n_recorded_frames(folder):
    return len(decode(folder / "frames.mkv")) if (folder / "frames.mkv").stat().st_size else 0


@pytest.fixture
def ring():
    with contextlib.closing(FrameRing.create(SIZE, SIZE, 1, capacity=32)) as made:
        yield made


@pytest.fixture
def start(tmp_path):
    """Start recorders; whatever becomes of the test, none of their processes is left."""
    started = []

    def start_one(options=NO_VIDEO, ring=None, folder=tmp_path):
        recorder = Recorder(folder, options, ring.handle() if ring else None)
        started.append(recorder)
        recorder.open()
        return recorder

    yield start_one
    for recorder in started:
        recorder.close(timeout_s=0.1)


def pid_of(recorder):
    return recorder._process.pid


def test_a_session_is_recorded_whole(tmp_path, ring, start):
    recorder = start(RecordingOptions(video="lossless"), ring)
    for k in range(30):
        put(ring, k)
        assert recorder.append(note(k))
        wait_for(lambda: ring.drops == {})
    assert recorder.append(EndRecord(host_ns=30, reason="done", drops={}))
    ring.finish()
    report = recorder.close()
    assert report.errors == ()
    assert (report.n_events, report.n_events_lost, report.n_frames, report.n_frames_lost) == (31, 0, 30, 0)
    assert (report.n_video_frames, report.video_pixel_format) == (30, "gray")
    assert report.n_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())
    records, end = read_all(tmp_path / "events.log")
    assert records == [*map(note, range(30)), EndRecord(host_ns=30, reason="done", drops={})]
    assert end.torn_bytes == 0
    assert [frame.tobytes() for frame in decode(tmp_path / "frames.mkv")] == [image(k).tobytes() for k in range(30)]
    assert recorder.close() is report


def test_events_are_recorded_without_a_camera(tmp_path, start):
    recorder = start()
    assert recorder.append(note(1))
    assert recorder.failed is None
    assert recorder.close().n_events == 1
    assert [path.name for path in tmp_path.iterdir()] == ["events.log"]


def test_a_recorder_that_was_never_opened_closes_with_nothing(tmp_path):
    report = Recorder(tmp_path, NO_VIDEO, None).close()
    assert (report.n_events, report.errors) == (0, ())


def test_frames_that_came_before_the_end_are_recorded_after_it(tmp_path, ring, start):
    recorder = start(RecordingOptions(video="lossless"), ring)
    os.kill(pid_of(recorder), signal.SIGSTOP)
    for k in range(10):
        put(ring, k)
        recorder.append(note(k))
    os.kill(pid_of(recorder), signal.SIGCONT)
    report = recorder.close()
    assert (report.n_events, report.n_frames, report.n_video_frames) == (10, 10, 10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_does_not_cut_a_recording(start, number):
    recorder = start()
    os.kill(pid_of(recorder), number)
    assert recorder.append(note(0))
    assert recorder.close().n_events == 1


def test_ctrl_c_at_the_terminal_does_not_reach_the_recorder(start):
    assert os.getpgid(pid_of(start())) != os.getpgid(0)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    recorder = Recorder(tmp_path / "missing", NO_VIDEO, None)
    with pytest.raises(RecorderNotStartedError) as caught:
        recorder.open()
    assert str(caught.value) == (
        f"recorder: did not start: [Errno 2] No such file or directory: '{tmp_path / 'missing'}'"
    )
    recorder.close()


def test_a_folder_that_holds_a_recording_is_an_error(tmp_path):
    (tmp_path / "events.log").write_text("mine")
    recorder = Recorder(tmp_path, NO_VIDEO, None)
    with pytest.raises(RecorderNotStartedError) as caught:
        recorder.open()
    assert str(caught.value) == (
        f"recorder: did not start: {tmp_path}/events.log: could not create the event log: File exists"
    )
    recorder.close()
    assert (tmp_path / "events.log").read_text() == "mine"


def test_a_record_that_cannot_be_encoded_is_counted_and_told(start):
    recorder = start()
    assert not recorder.append(NoteRecord(host_ns=2**70, kind="test", text=""))
    assert recorder.failed is not None
    assert recorder.failed.startswith("recorder: a record could not be encoded: ")
    assert recorder.append(note(0))
    report = recorder.close()
    assert (report.n_events, report.n_events_lost) == (1, 1)


def test_a_stopped_recorder_never_holds_up_the_loop(tmp_path, start):
    recorder = start()
    os.kill(pid_of(recorder), signal.SIGSTOP)
    accepted, slowest_s = [], 0.0
    while recorder.n_events_lost < 100:
        k = len(accepted) + recorder.n_events_lost
        begin_s = time.perf_counter()
        taken = recorder.append(note(k))
        slowest_s = max(slowest_s, time.perf_counter() - begin_s)
        if taken:
            accepted.append(k)
    assert slowest_s < 0.5  # a blocked send would wait for ever
    assert len(accepted) > 200
    os.kill(pid_of(recorder), signal.SIGCONT)
    report = recorder.close()
    assert (report.n_events, report.n_events_lost) == (len(accepted), 100)
    assert read_all(tmp_path / "events.log")[0] == list(map(note, accepted))


def test_a_recorder_that_does_not_finish_is_killed(start):
    recorder = start()
    os.kill(pid_of(recorder), signal.SIGSTOP)
    report = recorder.close(timeout_s=0.1)
    assert report.errors == ("recorder: did not finish within 0.1 s and was killed",)
    assert recorder._process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_recorder_leaves_all_that_it_wrote(tmp_path, ring, start, seed):
    recorder = start(RecordingOptions(video="lossless"), ring)
    n_before = random.Random(seed).randrange(150, 300)
    for k in range(n_before):
        put(ring, k)
        assert recorder.append(note(k))
        wait_for(lambda k=k: read_size(tmp_path) > 12 and ring_is_read(ring))
    os.kill(pid_of(recorder), signal.SIGKILL)
    wait_for(lambda: not recorder.append(note(-1)))
    wait_for(lambda: recorder.failed is not None)
    assert recorder.failed == "recorder: the process ended by itself (signal 9)"
    report = recorder.close()
    assert report.errors == ("recorder: the process ended by itself (signal 9)",)
    records, _ = read_all(tmp_path / "events.log")
    assert [record for record in records if record.host_ns >= 0] == list(map(note, range(len(records))))
    assert len(records) >= n_before - 1
    images = decode(tmp_path / "frames.mkv")
    assert len(images) >= n_before - 100  # one second at 100 Hz
    assert all(np.array_equal(decoded, image(k)) for k, decoded in enumerate(images))
