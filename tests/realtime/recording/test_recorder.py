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
import msgspec
import numpy as np
import pytest

from camera_drivers.frame import Frame
from camera_drivers.frame_log import read_frame_log
from camera_drivers.ring import FrameRing
from realtime.recording.errors import RecorderNotStartedError
from realtime.recording.log import read_all
from realtime.recording.recorder import Recorder, RecordingOptions
from realtime.recording.records import EndRecord, NoteRecord

DEADLINE_S = 20.0
FRAME_NS = 10_000_000
SIZE = 64
NO_VIDEO = RecordingOptions(video="none")


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def note(k):
    return NoteRecord(host_ns=k, kind="test", text="x" * (k % 100))


def image(k):
    return np.random.default_rng(k).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)


def put(ring, k):
    assert ring.put(Frame(k, k * FRAME_NS, time.monotonic_ns(), None, image(k)), timeout_s=DEADLINE_S)


def decode(path):
    """Return the luma of every frame that can be decoded, up to the end or to where the file is cut."""
    images = []
    with av.open(str(path)) as container, contextlib.suppress(av.FFmpegError):
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            images.append(np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width])
    return images


def n_logged_frames(folder):
    return len(read_frame_log(folder / "frames.log"))


def log_size(n_notes):
    return 12 + sum(8 + len(msgspec.msgpack.encode(note(k))) for k in range(n_notes))


@pytest.fixture
def ring():
    with contextlib.closing(FrameRing.create(SIZE, SIZE, 1, capacity=32, overflow="wait")) as made:
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
    logged = read_frame_log(tmp_path / "frames.log")
    assert [(frame.frame_id, frame.timestamp_ns, frame.video_index) for frame in logged] == [
        (k, k * FRAME_NS, k) for k in range(30)
    ]
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
    report = recorder.close()
    assert (report.n_events, report.errors) == (1, ())


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
    assert len(accepted) > 400  # four seconds at 100 Hz
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


def assert_session_is_whole_up_to_the_end(folder, n_reported_events):
    """Every event that was reported as written, and all frames but those of the last second, in video time."""
    records, _ = read_all(folder / "events.log")
    assert records == list(map(note, range(len(records))))
    assert len(records) >= n_reported_events
    images = decode(folder / "frames.mkv")
    assert len(images) >= n_logged_frames(folder) - 1_000_000_000 // FRAME_NS
    assert all(np.array_equal(decoded, image(k)) for k, decoded in enumerate(images))
    return records, images


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_recorder_leaves_all_that_it_wrote(tmp_path, ring, start, seed, wait_for):
    recorder = start(RecordingOptions(video="lossless"), ring)
    n_before = random.Random(seed).randrange(200, 500)
    for k in range(n_before):
        put(ring, k)
        assert recorder.append(note(k))
    os.kill(pid_of(recorder), signal.SIGKILL)
    wait_for(lambda: not recorder.append(note(-1)))
    wait_for(lambda: recorder.failed is not None)
    assert recorder.failed == "recorder: the process ended by itself (signal 9)"
    assert recorder.close().errors == ("recorder: the process ended by itself (signal 9)",)
    # At each frame all records before it have been drained, and the ring holds 32 frames.
    _, images = assert_session_is_whole_up_to_the_end(tmp_path, n_before - 33)
    assert len(images) >= n_before - 33 - 100


LOOP = """
import os, sys, time
from pathlib import Path
import numpy as np
from camera_drivers.frame_log import read_frame_log
from camera_drivers.frame import Frame
from camera_drivers.ring import FrameRing
from realtime.recording.records import NoteRecord
from realtime.recording.recorder import Recorder, RecordingOptions

ring = FrameRing.create(64, 64, 1, capacity=32, overflow="wait")
recorder = Recorder(Path(sys.argv[1]), RecordingOptions(video="lossless"), ring.handle())
recorder.open()
os.write(1, recorder._process.pid.to_bytes(8, "little"))
k = 0
while True:
    image = np.random.default_rng(k).integers(0, 256, (64, 64), dtype=np.uint8)
    assert ring.put(Frame(k, k * 10_000_000, time.monotonic_ns(), None, image), timeout_s=20.0)
    assert recorder.append(NoteRecord(k, "test", "x" * (k % 100)))
    k += 1
    os.write(1, k.to_bytes(8, "little"))
"""


class LoopProcess:
    """A process that plays the loop and tells how many records it has handed over."""

    def __init__(self, folder):
        self.process = subprocess.Popen([sys.executable, "-c", LOOP, str(folder)], stdout=subprocess.PIPE)
        self.recorder_pid = self.next_number()
        self.n_sent = 0

    def next_number(self):
        return int.from_bytes(self.process.stdout.read(8), "little")

    def run_until(self, n_records):
        while self.n_sent < n_records:
            self.n_sent = self.next_number()

    def kill(self):
        self.process.kill()
        rest = self.process.stdout.read()
        self.n_sent += len(rest) // 8
        self.process.stdout.close()
        self.process.wait()


@pytest.mark.parametrize("seed", range(3))
def test_when_the_loop_is_killed_the_recorder_finishes_everything(tmp_path, seed, wait_for):
    loop = LoopProcess(tmp_path)
    loop.run_until(random.Random(seed).randrange(100, 300))
    loop.kill()
    wait_for(lambda: is_gone(loop.recorder_pid))
    records, images = assert_session_is_whole_up_to_the_end(tmp_path, loop.n_sent)
    assert len(records) <= loop.n_sent + 1
    assert len(images) == n_logged_frames(tmp_path) >= loop.n_sent
    with av.open(str(tmp_path / "frames.mkv")) as container:
        assert container.duration is not None  # only a video that was ended in order knows its length


@pytest.mark.parametrize("first", ["loop", "recorder"])
@pytest.mark.parametrize("seed", range(2))
def test_when_both_are_killed_what_was_written_is_readable(tmp_path, first, seed, wait_for):
    loop = LoopProcess(tmp_path)
    loop.run_until(random.Random(seed).randrange(200, 400))
    if first == "recorder":
        os.kill(loop.recorder_pid, signal.SIGKILL)
    loop.kill()
    with contextlib.suppress(ProcessLookupError):
        os.kill(loop.recorder_pid, signal.SIGKILL)
    wait_for(lambda: is_gone(loop.recorder_pid))
    assert_session_is_whole_up_to_the_end(tmp_path, loop.n_sent - 33)


def test_a_full_disk_ends_the_log_with_a_whole_record_and_is_told(tmp_path, start):
    recorder = start()
    resource.prlimit(pid_of(recorder), resource.RLIMIT_FSIZE, (5000, 5000))
    n_records = 0
    while recorder.failed is None:
        n_records += 1
        if not recorder.append(note(n_records - 1)):
            time.sleep(0.001)
    report = recorder.close()
    records, end = read_all(tmp_path / "events.log")
    assert records == list(map(note, range(len(records))))
    assert end.torn_bytes == 0
    assert end.n_bytes <= 5000
    assert (report.n_events, report.n_events_lost) == (len(records), n_records - len(records))
    assert report.errors == (recorder.failed,)
    assert recorder.failed.startswith(f"{tmp_path}/events.log: could not write record {len(records)} at byte")


def test_when_the_video_cannot_grow_the_events_go_on(tmp_path, ring, start, wait_for):
    recorder = start(RecordingOptions(video="lossless"), ring)
    resource.prlimit(pid_of(recorder), resource.RLIMIT_FSIZE, (400_000, 400_000))
    k = 0
    while recorder.failed is None:
        put(ring, k)
        assert recorder.append(note(k))
        k += 1
        # Not faster than the video is written, or the events reach the limit of a file before it.
        wait_for(lambda most=k - 10: recorder.failed is not None or n_logged_frames(tmp_path) >= most)
    for later in range(k, k + 50):
        put(ring, later)
        assert recorder.append(note(later))
    report = recorder.close()
    assert "frames.mkv: could not write frame" in report.errors[0]
    assert report.errors[0].endswith("File too large")
    assert (report.n_events, report.n_frames) == (k + 50, k + 50)
    assert read_all(tmp_path / "events.log")[0] == list(map(note, range(k + 50)))
    assert len(decode(tmp_path / "frames.mkv")) >= 50


def test_when_the_frame_log_cannot_grow_the_events_go_on(tmp_path, ring, start):
    recorder = start(NO_VIDEO, ring)
    resource.prlimit(pid_of(recorder), resource.RLIMIT_FSIZE, (3000, 3000))
    n_frames = 0
    while recorder.failed is None:
        put(ring, n_frames)
        n_frames += 1
    assert recorder.append(note(0))
    report = recorder.close()
    n_logged = n_logged_frames(tmp_path)
    assert report.errors[0].startswith(f"{tmp_path}/frames.log: could not write frame {n_logged}: ")
    assert (report.n_events, report.n_frames, report.n_frames_lost) == (1, n_logged, n_frames - n_logged)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 80 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder], check=False).returncode:
        pytest.skip("this system does not let root mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder, n_free_bytes):
    n_bytes = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize - n_free_bytes
    with (folder / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, n_bytes)


def test_recording_does_not_start_on_a_disk_that_is_nearly_full(small_disk):
    fill(small_disk, 10 << 20)
    recorder = Recorder(small_disk, NO_VIDEO, None)
    with pytest.raises(RecorderNotStartedError) as caught:
        recorder.open()
    assert str(caught.value) == (
        f"recorder: did not start: {small_disk}: cannot record: expected at least 64 MiB of free disk space, got 10 MiB"
    )
    recorder.close()


def test_the_video_stops_while_there_is_room_for_the_events(small_disk, ring, start, wait_for):
    recorder = start(RecordingOptions(video="lossless"), ring, small_disk)
    put(ring, 0)
    fill(small_disk, 1 << 20)
    wait_for(lambda: recorder.failed is not None)
    assert "the video stops here, so that the event log can go on: expected at least 64 MiB" in recorder.failed
    put(ring, 1)
    assert recorder.append(note(0))
    report = recorder.close()
    assert (report.n_events, report.n_frames, report.n_video_frames) == (1, 2, 1)
    assert len(decode(small_disk / "frames.mkv")) == 1


def test_a_disk_without_any_room_ends_the_log_with_a_whole_record(small_disk, start):
    recorder = start(folder=small_disk)
    fill(small_disk, 0)
    k = 0
    while recorder.failed is None:
        k += recorder.append(note(k))
    assert recorder.failed.endswith(("No space left on device", "bytes fitted"))
    recorder.close()
    records, end = read_all(small_disk / "events.log")
    assert records == list(map(note, range(len(records))))
    assert end.torn_bytes == 0


def test_a_slow_encoder_costs_video_frames_and_nothing_else(tmp_path, start, wait_for):
    noise = [np.random.default_rng(k).integers(0, 256, (1024, 1024), dtype=np.uint8) for k in range(2)]
    with contextlib.closing(FrameRing.create(1024, 1024, 1, capacity=8)) as ring:
        recorder = start(RecordingOptions(video="lossless"), ring)
        n_frames, slowest_s = 0, 0.0
        while ring.drops.get("overwritten_for_recorder", 0) < 10:
            ring.put(Frame(n_frames, n_frames * FRAME_NS, time.monotonic_ns(), None, noise[n_frames % 2]))
            assert recorder.append(note(n_frames))
            n_frames += 1
            if n_frames % 20 == 0:
                begin_s = time.perf_counter()
                wait_for(lambda n=n_frames: (tmp_path / "events.log").stat().st_size >= log_size(n))
                slowest_s = max(slowest_s, time.perf_counter() - begin_s)
        ring.finish()
        report = recorder.close()
        n_overwritten = ring.drops["overwritten_for_recorder"]
    assert slowest_s < 2.0
    assert report.errors == ()
    assert (report.n_events, report.n_events_lost) == (n_frames, 0)
    assert (report.n_frames, report.n_frames_lost) == (n_frames - n_overwritten, n_overwritten)
    images = decode(tmp_path / "frames.mkv")
    assert len(images) == report.n_video_frames < report.n_frames
    in_video = [frame for frame in read_frame_log(tmp_path / "frames.log") if frame.video_index is not None]
    assert [frame.video_index for frame in in_video] == list(range(len(images)))
    assert all(np.array_equal(shown, noise[frame.frame_id % 2]) for shown, frame in zip(images, in_video, strict=True))


def test_the_recorder_process_imports_only_what_it_needs():
    script = "import sys, realtime.recording.process; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"numba", "cv2", "scipy", "onnxruntime", "tensorflow", "typer", "rich"})


def test_the_loop_does_not_import_the_encoder():
    script = "import sys, realtime.recording; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "av" not in done.stdout.split()
