"""The gate: behind it ids and times only increase, and everything refused or missing is counted."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camera_drivers.errors import CameraFailedError
from camera_drivers.frame import Frame
from camera_drivers.gate import FrameGate

IMAGE = np.zeros((1, 1), np.uint8)


class Counts(Counter[str]):
    def count(self, reason: str, n_frames: int) -> None:
        self[reason] += n_frames


@pytest.mark.parametrize(
    ("stream", "passed", "counts"),
    [
        ([(0, 10), (1, 20), (2, 30)], [0, 1, 2], {}),
        ([(5, 10), (6, 20)], [5, 6], {}),
        ([(0, 10), (3, 20), (7, 30)], [0, 3, 7], {"device_gap": 5}),
        ([(0, 10), (0, 20), (1, 30)], [0, 1], {"repeated_frame_id": 1}),
        ([(4, 10), (2, 20), (5, 30)], [4, 5], {"backward_frame_id": 1}),
        ([(0, 10), (1, 10), (2, 30)], [0, 2], {"backward_timestamp": 1, "device_gap": 1}),
        ([(0, 10), (1, 5), (2, 30)], [0, 2], {"backward_timestamp": 1, "device_gap": 1}),
    ],
    ids=["in order", "any start", "gaps", "repeated", "backward", "same time", "earlier time"],
)
def test_streams(stream: list[tuple[int, int]], passed: list[int], counts: dict[str, int]) -> None:
    counter = Counts()
    gate = FrameGate(counter.count)
    frames = [Frame(frame_id, time_ns, time_ns, None, IMAGE) for frame_id, time_ns in stream]
    assert [frame.frame_id for frame in frames if gate.admit(frame)] == passed
    assert counter == counts


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60))
def test_behind_the_gate_ids_and_times_increase(stream: list[tuple[int, int]]) -> None:
    counter = Counts()
    gate = FrameGate(counter.count)
    passed = [(f, t) for f, t in stream if gate.admit(Frame(f, t, t, None, IMAGE))]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(passed))
    gap = counter.pop("device_gap", 0)
    assert len(passed) + sum(counter.values()) == len(stream)
    if passed:
        assert passed[-1][0] - passed[0][0] + 1 == len(passed) + gap


def test_a_device_that_counts_anew_has_failed() -> None:
    gate = FrameGate(Counts().count)
    assert gate.admit(Frame(500, 1000, 1000, None, IMAGE))
    for k in range(99):
        assert not gate.admit(Frame(k, 2000 + k, 0, None, IMAGE))
    with pytest.raises(CameraFailedError) as caught:
        gate.admit(Frame(99, 2099, 0, None, IMAGE))
    assert str(caught.value) == (
        "camera: expected frames after frame 500 at 1000 ns, got 100 in a row that are not, the last one frame 99 at "
        "2099 ns; the camera may have restarted, start a new session"
    )
