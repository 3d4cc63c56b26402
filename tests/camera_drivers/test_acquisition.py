"""A camera in its own process: what it delivers, and what the reader hears when it fails, dies or hangs."""

import gc
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict

from camera_drivers.acquisition import Acquisition, Wait
from camera_drivers.errors import CameraFailedError, CameraNotInstalledError, CameraNotOpenError
from camera_drivers.frame import Frame
from camera_drivers.ring import FrameRing
from camera_drivers.sim import SimOptions, SimScene
from camera_drivers.testing import check_camera
from camera_drivers.video import VideoOptions

pytestmark = pytest.mark.alone

SMALL = {"width_px": 160, "height_px": 120, "body_px": 20.0}
FAULTY = """
import os, time
import numpy as np
from pydantic import BaseModel, ConfigDict
from camera_drivers.base import Camera, CameraInfo
from camera_drivers.errors import CameraFailedError, CameraNotInstalledError
from camera_drivers.frame import Frame

class FaultyOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    fault: str

class FaultyCamera(Camera):
    Options = FaultyOptions
    ended = False
    drops = {}
    def __init__(self, options):
        self.fault, self.k = options.fault, -1
    def open(self):
        if self.fault == "not installed":
            raise CameraNotInstalledError("faulty: expected the package acme; pip install acme")
        if self.fault == "dies in open":
            os._exit(7)
        return CameraInfo(4, 6, 1, 100.0, None, False)
    def grab(self, timeout_s):
        self.k += 1
        ids = {"ids": [0, 1, 1, 0, 4]}.get(self.fault, range(10**6))
        if self.k == len(ids):
            self.ended = True
            return None
        if self.k == 3:
            if self.fault == "fails":
                raise CameraFailedError("faulty: frame 3: unplugged")
            if self.fault == "bug":
                raise ZeroDivisionError("a bug")
            if self.fault == "hangs":
                time.sleep(1000)
            if self.fault == "incomplete":
                self.drops = {"incomplete": 2}
                return None
        if self.fault in ("paced", "waits"):
            return self.paced(timeout_s)
        shape = (4, 7) if self.fault == "other shape" and self.k == 2 else (4, 6)
        now = time.monotonic_ns()
        if self.fault not in ("ids", "incomplete"):
            time.sleep(0.001)
        return Frame(ids[self.k], now, now, None, np.full(shape, self.k % 200, np.uint8))
    answers_at_once = property(lambda self: self.fault == "paced")
    due = asked = 0
    def paced(self, timeout_s):
        # The picture says whether anybody ever asked without waiting.
        self.asked |= timeout_s == 0.0
        self.due = self.due or time.monotonic()
        if self.due - time.monotonic() > timeout_s:
            time.sleep(timeout_s)
            return None
        time.sleep(max(0.0, self.due - time.monotonic()))
        self.due += 0.02
        self.n = getattr(self, "n", 0) + 1
        now = time.monotonic_ns()
        return Frame(self.n, now, now, None, np.full((4, 6), self.asked, np.uint8))
    def close(self):
        pass
"""


class FaultyOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    fault: str


@pytest.fixture
def faulty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Acquisition]]:
    """Make a camera of a driver that another package adds by an entry point, with a fault."""
    (tmp_path / "faulty_camera.py").write_text(FAULTY)
    info = tmp_path / "faulty-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[poseloop.camera_drivers]\nfaulty = faulty_camera:FaultyCamera\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    cameras: list[Acquisition] = []

    def make(fault: str, wait: Wait = "sleep") -> Acquisition:
        options = FaultyOptions(fault=fault)
        cameras.append(Acquisition("faulty", options, policy="every", overflow="drop_oldest", capacity=8, wait=wait))
        return cameras[-1]

    yield make
    for camera in cameras:
        camera.close()


def sim(overflow: str = "wait", policy: str = "every", wait: str = "sleep", **options: Any) -> Acquisition:
    settings = SimOptions(**{"pace": "consumer", "n_frames": 40, **SMALL, **options})
    return Acquisition("sim", settings, policy=policy, overflow=overflow, capacity=8, wait=wait)  # type: ignore[arg-type]


def take_all(camera: Acquisition) -> list[Frame]:
    frames = []
    deadline = time.monotonic() + 20.0
    while not camera.ended:
        assert time.monotonic() < deadline
        if (frame := camera.grab(0.05)) is not None:
            frames.append(Frame(frame.frame_id, frame.timestamp_ns, frame.available_ns, None, frame.image.copy()))
    return frames


def take_until_failure(camera: Acquisition, ids: list[int]) -> None:
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        if (frame := camera.grab(0.05)) is not None:
            ids.append(frame.frame_id)


def child_of(camera: Acquisition) -> "subprocess.Popen[bytes]":
    child = camera._child
    assert child is not None
    return child.process


@pytest.mark.parametrize(
    "camera",
    [
        sim(),
        sim(policy="latest", overflow="drop_oldest", pace="realtime", frame_rate_hz=200.0),
        sim(policy="every", overflow="drop_newest", pace="realtime", frame_rate_hz=200.0, n_frames=None),
        sim(wait="spin"),
        sim(wait="spin", policy="latest", overflow="drop_oldest", pace="realtime", frame_rate_hz=200.0),
    ],
    ids=["consumer", "latest", "every", "consumer-awake", "latest-awake"],
)
def test_contract(camera: Acquisition) -> None:
    info = check_camera(camera)
    assert info.source["driver"] == "sim"
    assert (info.height, info.width) == (120, 160)


@pytest.mark.parametrize("wait", ["sleep", "spin"])
@pytest.mark.parametrize("pace", ["consumer", "realtime"])
def test_every_frame_comes_as_the_driver_made_it(wait: str, pace: str) -> None:
    camera = sim(wait=wait, pace=pace)
    with camera:
        frames = take_all(camera)
        drops = camera.drops
    scene = SimScene(SimOptions(**SMALL))
    assert [frame.frame_id for frame in frames] == list(range(40))
    assert all(np.array_equal(frame.image, scene.image(frame.frame_id)) for frame in frames)
    assert drops == {}


def test_a_waiting_source_is_available_when_it_is_taken() -> None:
    with sim() as camera:
        assert camera.grab(1.0) is not None
        time.sleep(0.05)  # meanwhile the child fills the ring
        before = time.monotonic_ns()
        frame = camera.grab(1.0)
        assert frame is not None
        assert frame.available_ns >= before
        assert camera.waits_for_consumer


@pytest.mark.parametrize(("policy", "overflow"), [("latest", "drop_oldest"), ("every", "drop_oldest")])
def test_a_waiting_source_must_not_be_skipped(policy: str, overflow: str) -> None:
    with pytest.raises(CameraNotOpenError) as caught:
        sim(policy=policy, overflow=overflow).open()
    assert str(caught.value) == (
        "sim: this camera waits for the program, so that no frame may be skipped: expected "
        f'loop.frames = "every", got "{policy}" with overflow "{overflow}"'
    )


def test_a_recorder_that_attaches_before_the_start_gets_every_frame() -> None:
    with sim() as camera:
        ring = FrameRing.attach(camera.ring.handle())
        recorder = ring.reader("recorder", "every")
        recorded, looped = [], []
        while not (camera.ended and recorder.ended):
            if (frame := camera.grab(0.01)) is not None:
                looped.append(frame.frame_id)
            if (frame := recorder.take(0.01)) is not None:
                recorded.append(frame.frame_id)
        assert recorded == looped == list(range(40))
        recorder.close()
        ring.close()


def test_latest_counts_what_it_passes_over() -> None:
    with sim(policy="latest", overflow="drop_oldest", pace="realtime", frame_rate_hz=100.0, n_frames=80) as camera:
        ids = []
        while not camera.ended:
            if (frame := camera.grab(0.05)) is not None:
                ids.append(frame.frame_id)
                time.sleep(0.05)  # the work on a frame
        drops = camera.drops
    assert ids == sorted(ids)
    assert drops["skipped_by_loop"] > 10
    n_before_the_first = ids[-1] + 1 - len(ids) - drops["skipped_by_loop"] - drops.get("device_gap", 0)
    assert 0 <= n_before_the_first < 10


def test_bad_ids_are_dropped_and_counted(faulty: Callable[[str], Acquisition]) -> None:
    camera = faulty("ids")
    camera.open()
    assert [frame.frame_id for frame in take_all(camera)] == [0, 1, 4]
    assert camera.drops == {"repeated_frame_id": 1, "backward_frame_id": 1, "device_gap": 2}


def test_incomplete_frames_are_counted(faulty: Callable[[str], Acquisition]) -> None:
    camera = faulty("incomplete")
    camera.open()
    deadline = time.monotonic() + 10.0
    while camera.drops.get("incomplete") != 2:
        assert time.monotonic() < deadline
        camera.grab(0.01)


@pytest.mark.parametrize(
    ("driver", "options", "kind", "message"),
    [
        (
            "video",
            VideoOptions(path=Path("/nowhere/film.mp4")),
            CameraNotOpenError,
            "/nowhere/film.mp4: expected a video file, got no such file",
        ),
        (
            "faulty",
            FaultyOptions(fault="not installed"),
            CameraNotInstalledError,
            "faulty: expected the package acme; pip install acme",
        ),
        (
            "faulty",
            FaultyOptions(fault="dies in open"),
            CameraFailedError,
            "faulty: the camera process ended with exit code 7; see its output for the reason",
        ),
    ],
    ids=["no file", "not installed", "dies in open"],
)
def test_open_raises_what_the_driver_raised(
    faulty: Callable[[str], Acquisition], driver: str, options: BaseModel, kind: type[Exception], message: str
) -> None:
    camera = Acquisition(driver, options, policy="every", overflow="wait", capacity=8)
    with pytest.raises(kind) as caught:
        camera.open()
    assert type(caught.value) is kind
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("fails", "faulty: frame 3: unplugged"),
        ("bug", "faulty: the camera process ended with exit code 1; see its output for the reason"),
        ("other shape", "faulty: frame 2: expected an image of uint8 (4, 6), got uint8 (4, 7)"),
    ],
)
def test_a_failure_comes_after_the_frames_before_it(
    faulty: Callable[[str], Acquisition], fault: str, message: str
) -> None:
    camera = faulty(fault)
    camera.open()
    recorder = camera.ring.reader("recorder", "every")
    camera.start()
    child_of(camera).wait(10)
    ids: list[int] = []
    with pytest.raises(CameraFailedError) as caught:
        take_until_failure(camera, ids)
    assert str(caught.value) == message
    assert ids == list(range(2 if fault == "other shape" else 3))
    assert not camera.ended
    while recorder.take(0.0) is not None:
        pass
    assert recorder.ended
    assert recorder.error == message


@pytest.mark.parametrize("wait", ["sleep", "spin"])
def test_the_loop_waits_asleep_or_awake(faulty: Callable[..., Acquisition], wait: Wait) -> None:
    camera = faulty("hangs", wait)
    with camera:
        for _ in range(3):
            assert camera.grab(5.0) is not None
        before, worked = time.monotonic(), time.thread_time()
        assert camera.grab(0.1) is None
        waited, worked = time.monotonic() - before, time.thread_time() - worked
    assert 0.09 < waited < 1.0
    # Somebody else may have had the processor for a while; asleep it is a hundredth.
    assert worked > waited / 10 if wait == "spin" else worked < waited / 10


@pytest.mark.parametrize(
    ("wait", "fault", "is_asked"), [("spin", "paced", 1), ("spin", "waits", 0), ("sleep", "paced", 0)]
)
def test_the_process_asks_again_and_again_only_where_it_may(
    faulty: Callable[..., Acquisition], wait: Wait, fault: str, is_asked: int
) -> None:
    with faulty(fault, wait) as camera:
        was_asked = []
        while len(was_asked) < 20 or (is_asked and not was_asked[-1] and len(was_asked) < 500):  # a busy machine
            frame = camera.grab(5.0)
            assert frame is not None
            was_asked.append(int(frame.image[0, 0]))
    assert was_asked[-1] == is_asked


@pytest.mark.parametrize("wait", ["sleep", "spin"])
def test_a_killed_process_is_a_failed_camera(wait: str) -> None:
    camera = sim(wait=wait, n_frames=None, pace="realtime", policy="latest", overflow="drop_oldest")
    camera.open()
    assert camera.grab(1.0) is not None
    child_of(camera).kill()
    with pytest.raises(CameraFailedError) as caught:
        take_until_failure(camera, [])
    assert str(caught.value) == "sim: the camera process was killed by SIGKILL; see its output for the reason"
    camera.close()


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_the_parents_affair(signum: signal.Signals) -> None:
    with sim(n_frames=None) as camera:
        assert camera.grab(1.0) is not None
        child_of(camera).send_signal(signum)
        ids = [frame.frame_id for _ in range(50) if (frame := camera.grab(1.0)) is not None]
        assert len(ids) == 50
        assert child_of(camera).poll() is None


@pytest.mark.parametrize("state", ["runs", "hangs", "stopped"])
def test_close_ends_the_process_within_a_second(faulty: Callable[[str], Acquisition], state: str) -> None:
    camera = faulty("hangs" if state == "hangs" else "none")
    camera.open()
    for _ in range(3):
        assert camera.grab(1.0) is not None
    process = child_of(camera)
    if state == "stopped":
        process.send_signal(signal.SIGSTOP)
    before = time.monotonic()
    camera.close()
    assert time.monotonic() - before < 1.2
    assert process.returncode is not None
    camera.close()


def test_close_before_the_start_and_reopen() -> None:
    camera = sim()
    camera.open()
    camera.close()
    camera.open()
    assert [frame.frame_id for frame in take_all(camera)] == list(range(40))
    camera.close()


@pytest.mark.parametrize("wait", ["sleep", "spin"])
def test_nothing_is_left_open(wait: str) -> None:
    def n_open() -> int:
        gc.collect()  # what tests before this one have left
        return len(list(Path("/proc/self/fd").iterdir()))

    camera = sim(wait=wait)
    before = n_open()
    for _ in range(2):
        camera.open()
        take_all(camera)
        camera.close()
    assert n_open() == before


ORPHAN = """
import os, sys, time
from camera_drivers import registry
from camera_drivers.acquisition import Acquisition
options = registry.load(sys.argv[1]).Options.model_validate_json(sys.argv[2])
camera = Acquisition(sys.argv[1], options, policy="latest", overflow="drop_oldest", capacity=8)
camera.open()
while (frame := camera.grab(0.05)) is None or frame.frame_id < 2:
    pass
print(camera._child.process.pid, flush=True)
time.sleep(1000)
"""


@pytest.mark.usefixtures("faulty")
@pytest.mark.parametrize(("driver", "options"), [("sim", "{}"), ("faulty", '{"fault": "hangs"}')])
def test_the_child_dies_with_its_parent(driver: str, options: str) -> None:
    command = [sys.executable, "-c", ORPHAN, driver, options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([child], [], [], 3.0)[0], "the camera process outlived its parent"
    finally:
        os.close(child)


def test_messages_before_open() -> None:
    for use in (lambda c: c.grab(0.0), lambda c: c.ring, lambda c: c.start()):
        with pytest.raises(CameraFailedError, match=r"^sim: expected an open camera, got none; call open first$"):
            use(sim())
    with sim() as camera, pytest.raises(CameraNotOpenError, match=r"^sim: expected a closed camera, got open twice"):
        camera.open()
