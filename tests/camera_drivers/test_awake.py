"""Awake waiting: when a processor sleeps and when not, and that drills leave nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import BaseModel

from camera_drivers.awake import AHEAD_NS, AwakeCamera, Drill, ask_until
from camera_drivers.base import Camera, CameraInfo
from camera_drivers.frame import Frame

MS = 1_000_000
SLACK_NS = 20_000  # the clock below goes on whenever it is read
IMAGE = np.zeros((2, 3), np.uint8)


class Counted(Drill):
    """A drill that says how often it took place."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def once(self) -> None:
        self.n += 1
        super().once()


class Scripted(Camera):
    """Delivers frames at given times of a clock of its own, which only its own waiting moves."""

    Options = BaseModel

    def __init__(self, times_ns: list[int], ids: list[int] | None = None) -> None:
        self.now = 0
        self.asked: list[tuple[int, float]] = []  # when, and for how long
        self._left = list(zip(ids or range(len(times_ns)), times_ns, strict=True))

    def now_ns(self) -> int:
        self.now += 500
        return self.now

    def open(self) -> CameraInfo:
        return CameraInfo(2, 3, 1, None, None, False)

    def grab(self, timeout_s: float) -> Frame | None:
        self.asked.append((self.now, timeout_s))
        end = self.now + round(timeout_s * 1e9)
        if not self._left or self._left[0][1] > end:
            self.now = end + 1000
            return None
        frame_id, due = self._left.pop(0)
        self.now = max(self.now, due)
        return Frame(frame_id, self.now, self.now, None, IMAGE)

    @property
    def ended(self) -> bool:
        return not self._left

    def close(self) -> None:
        pass

    def sleeps(self) -> list[tuple[int, float]]:
        return [(when, timeout_s) for when, timeout_s in self.asked if timeout_s > 0.0]

    def asked_awake(self) -> list[int]:
        return [when for when, timeout_s in self.asked if timeout_s == 0.0]


@pytest.fixture
def drill() -> Iterator[Counted]:
    drill = Counted()
    yield drill
    drill.close()


def take(camera: Scripted, drill: Drill, n: int, timeout_s: float = 0.05) -> list[int]:
    awake = AwakeCamera(camera, drill, camera.now_ns)
    frames = [awake.grab(timeout_s) for _ in range(n)]
    return [frame.frame_id for frame in frames if frame is not None]


def test_it_sleeps_until_shortly_before_a_frame_is_due_and_does_drills_then(drill: Counted) -> None:
    camera = Scripted([0, 10 * MS, 20 * MS, 30 * MS])
    assert take(camera, drill, 4) == [0, 1, 2, 3]
    assert len(camera.sleeps()) == 4, "two before anything is known, then one for each frame"
    awake = camera.asked_awake()
    for due in (20 * MS, 30 * MS):
        before = [when for when in awake if due - MS < when <= due]
        assert before[0] == pytest.approx(due - AHEAD_NS, abs=SLACK_NS)
        assert len(before) > 100
    assert drill.n >= 2 * 100 // 32


def test_it_is_awake_no_longer_than_as_much_after_a_frame_was_due(drill: Counted) -> None:
    camera = Scripted([0, 10 * MS, 25 * MS])
    assert take(camera, drill, 3) == [0, 1, 2]
    assert max(camera.asked_awake()) == pytest.approx(20 * MS + AHEAD_NS, abs=SLACK_NS)
    when, timeout_s = camera.sleeps()[-1]
    assert when == pytest.approx(20 * MS + AHEAD_NS, abs=SLACK_NS)
    assert timeout_s > 0.03, "the rest of the time that it was given"


def test_a_frame_that_comes_early_is_given_at_once(drill: Counted) -> None:
    camera = Scripted([0, 10 * MS, 14 * MS])
    assert take(camera, drill, 3) == [0, 1, 2]
    assert camera.now < 14 * MS + SLACK_NS
    assert camera.asked_awake() == []


@pytest.mark.parametrize(
    ("times_ms", "ids", "due_ms"),
    [
        ([0, 30, 40], [0, 3, 4], 40),  # two were lost on the way: the interval is 10 ms all the same
        ([0, 10, 18, 28], [0, 1, 2, 3], 27.75),  # one came early: the interval is believed an eighth less of 2 ms
        ([0, 10, 21, 30], [0, 1, 2, 3], 30.25),  # one came late: it, and the interval, are believed an eighth
        ([0, 10, 40, 53], [0, 1, 2, 3], 52.5),  # a pause: the next is due an interval, believed 12.5 ms, later
        ([0, 10, 20, 28], [5, 6, 0, 1], 20),  # the device counts anew: nothing is learnt of that step
    ],
    ids=["lost", "early", "late", "pause", "restarted"],
)
def test_when_a_frame_is_due(drill: Counted, times_ms: list[float], ids: list[int], due_ms: float) -> None:
    camera = Scripted([round(time_ms * MS) for time_ms in times_ms], ids)
    assert take(camera, drill, len(ids)) == ids
    awake = [when for when in camera.asked_awake() if abs(when - due_ms * MS) < 3 * MS]
    assert awake[0] == pytest.approx(due_ms * MS - AHEAD_NS, abs=SLACK_NS)


def test_it_never_waits_longer_than_it_may(drill: Counted) -> None:
    camera = Scripted([0, 100 * MS, 200 * MS])
    awake = AwakeCamera(camera, drill, camera.now_ns)
    got: list[int] = []
    for _ in range(100):
        before = camera.now
        if (frame := awake.grab(0.007)) is not None:
            got.append(frame.frame_id)
        assert camera.now - before <= 7 * MS + SLACK_NS
    assert got == [0, 1, 2]


def test_asking_ends_with_an_answer_or_the_time(drill: Counted) -> None:
    camera = Scripted([50_000, 900_000])
    frame = ask_until(200_000, camera.grab, drill, camera.now_ns)
    assert frame is not None
    assert frame.frame_id == 0
    assert ask_until(400_000, camera.grab, drill, camera.now_ns) is None
    assert 400_000 <= camera.now < 410_000
    assert drill.n == len(camera.asked) // 32 > 0


def test_a_drill_drops_nothing_and_leaves_nothing_behind() -> None:
    before = set(Path("/proc/self/fd").iterdir())
    drill = Drill()
    for _ in range(100):
        drill.once()
    assert drill._ring.drops == {}
    assert drill._reader.n_waiting == 0
    drill.close()
    drill.close()
    del drill
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_what_else_is_drilled_is_so_now_and_then() -> None:
    drill, called = Drill(), []
    drill.also = lambda: called.append(drill._n_frames)
    for _ in range(50):
        drill.once()
    assert called == [16, 32, 48]
    drill.close()
