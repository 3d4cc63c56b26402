"""Pulses in the making: what is kept of the frames, and what ends it."""

import re

import numpy as np
import pytest

from camera_drivers.errors import CameraFailedError, CameraTimeoutError
from camera_drivers.frame import Frame
from realtime.loop import StopRequest
from realtime.looptest.firing import Seen, Watcher, check
from realtime.looptest.region import Look
from triggers.base import TriggerEvent
from triggers.errors import TriggerFailedError

MS = 1_000_000
IMAGE = np.zeros((4, 4), np.uint8)


def seen(ids, device_ms=None):
    kept = Seen()
    for row, frame_id in enumerate(ids):
        device_ns = None if device_ms is None else round(device_ms[row] * MS)
        available_ns = frame_id * 10 * MS + (3 * MS if row % 3 else 0)
        kept.append(Frame(frame_id, 0, available_ns, device_ns, IMAGE), Look(1.0, 0.0))
    return kept


def test_the_frame_interval_is_that_of_frames_next_to_each_other():
    ids = [1, 2, 3, 7, 8, 20, 21, 22]
    assert seen(ids, [frame * 10.5 for frame in ids]).period_ns() == 10.5 * MS
    assert seen(range(40)).period_ns() == 10 * MS
    assert seen(range(40), [0.0] * 40).period_ns() == 10 * MS  # a clock that stands is none
    assert seen(ids).n_lost == 14
    assert (Seen().n_lost, seen([5]).n_lost) == (0, 0)


@pytest.mark.parametrize("ids", [[], [3], [3, 5, 9]])
def test_a_frame_interval_that_is_not_known(ids):
    with pytest.raises(CameraFailedError) as caught:
        seen(ids).period_ns()
    assert str(caught.value) == f"looptest: expected frames in a row, got {len(ids)} frames"


def test_a_device_time_is_only_used_if_all_frames_have_one():
    mixed = seen([1, 2], [10.0, 20.0])
    mixed.device_ns[1] = None
    assert mixed.device_times() is None


class Silent:
    """A camera that gives nothing, while time passes."""

    def __init__(self, clock, *, ended=False):
        self.clock, self.ended = clock, ended

    def grab(self, timeout_s):
        self.clock[0] += round(timeout_s * 1e9)


@pytest.mark.parametrize(
    ("ended", "error", "message"),
    [
        (False, CameraTimeoutError, "looptest: expected a frame within 2 s, got none"),
        (True, CameraFailedError, "looptest: the camera ended before the test did; expected one that does not end"),
    ],
)
def test_a_camera_that_gives_nothing(ended, error, message):
    clock = [0]
    watcher = Watcher(Silent(clock, ended=ended), lambda: clock[0], StopRequest())
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        watcher.time_frames()
    assert clock[0] < 2.1e9


def test_what_a_trigger_reports(make_bench):
    lamp = make_bench().lamp
    lamp.events.append(TriggerEvent("ack", 3, 77))
    assert check(lamp) == ((3, 77),)
    lamp.events.append(TriggerEvent("refused", 3, 0, detail="lamp: too long"))
    with pytest.raises(TriggerFailedError, match=r"^looptest: refused: lamp: too long$"):
        check(lamp)


def test_a_fault_ends_it_with_the_output_off(make_bench):
    bench = make_bench()
    fire = bench.lamp.delay_ms

    def fail_at_the_5th(n):
        if n == 5:
            bench.lamp.events.append(TriggerEvent("fault", None, 0, detail="lamp: no answer"))
        return fire(n)

    bench.lamp.delay_ms = fail_at_the_5th
    with pytest.raises(TriggerFailedError, match=r"^looptest: fault: lamp: no answer$"):
        bench.measure()
    assert bench.lamp.is_off
    assert len(bench.lamp.delays_ms) == 5


def test_commands_that_nobody_takes(make_bench):
    bench = make_bench()
    bench.lamp.delivered = False
    with pytest.raises(TriggerFailedError) as caught:
        bench.measure()
    assert str(caught.value) == "looptest: lamp: nobody takes the commands; is the receiver running?"
    assert bench.lamp.is_off
