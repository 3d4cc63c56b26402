"""The ring: what each consumer gets, what is counted, and that nobody's death stops the others."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camera_drivers.frame import Frame
from camera_drivers.ring import FrameRing, Overflow, RingHandle, RingReader

SHAPE = (6, 8)


def picture(frame_id: int) -> NDArray[np.uint8]:
    return np.full(SHAPE, frame_id % 251, np.uint8)


def frame_of(image: NDArray[np.uint8], frame_id: int) -> Frame:
    return Frame(frame_id, 10 * frame_id, 20 * frame_id, 30 * frame_id, image)


def put(ring: FrameRing, frame_id: int, timeout_s: float = 0.0) -> bool:
    return ring.put(frame_of(picture(frame_id), frame_id), timeout_s=timeout_s)


def make(capacity: int = 4, overflow: Overflow = "drop_oldest") -> FrameRing:
    return FrameRing.create(*SHAPE, 1, capacity, overflow)


@pytest.fixture
def ring() -> Iterator[FrameRing]:
    ring = make()
    yield ring
    ring.close()


def ids_of(reader: RingReader) -> list[int]:
    ids = []
    while (frame := reader.take(0.0)) is not None:
        assert (frame.image == picture(frame.frame_id)).all()
        ids.append(frame.frame_id)
    return ids


def test_frame_comes_out_as_it_went_in(ring: FrameRing) -> None:
    reader = ring.reader("loop", "latest")
    assert ring.put(Frame(7, 70, 140, None, picture(7)))
    frame = reader.take(0.0)
    assert frame is not None
    assert (frame.frame_id, frame.timestamp_ns, frame.available_ns, frame.device_timestamp_ns) == (7, 70, 140, None)
    assert frame.image.dtype == np.uint8
    assert frame.image.flags.c_contiguous
    assert not frame.image.flags.writeable
    assert (frame.image == picture(7)).all()
    put(ring, 8)
    frame = reader.take(0.0)
    assert frame is not None
    assert frame.device_timestamp_ns == 240


def test_colour() -> None:
    ring = FrameRing.create(4, 5, 3, 3)
    reader = ring.reader("loop", "every")
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert ring.put(frame_of(image, 0))
    frame = reader.take(0.0)
    assert frame is not None
    assert np.array_equal(frame.image, image)
    reader.close()
    ring.close()


def test_latest_passes_over_old_frames_and_every_does_not(ring: FrameRing) -> None:
    loop, recorder = ring.reader("loop", "latest"), ring.reader("recorder", "every")
    for frame_id in range(3):
        put(ring, frame_id)
    assert ids_of(loop) == [2]
    assert ids_of(recorder) == [0, 1, 2]
    assert ring.drops == {"skipped_by_loop": 2}


def test_what_was_prepared_is_not_copied_again(ring: FrameRing) -> None:
    reader = ring.reader("loop", "every")
    image = picture(1)
    ring.prepare(image)
    ring.prepare(image)
    image[:] = 99  # what nobody may do, to see what was copied when
    assert ring.put(frame_of(image, 1))
    frame = reader.take(0.0)
    assert frame is not None
    assert (frame.image == picture(1)).all()
    assert ring.put(frame_of(image, 2))
    frame = reader.take(0.0)
    assert frame is not None
    assert (frame.image == 99).all(), "it counts for one frame only"


def test_another_image_than_the_prepared_one_is_copied(ring: FrameRing) -> None:
    reader = ring.reader("loop", "every")
    ring.prepare(picture(1))
    assert put(ring, 2)
    assert put(ring, 3)
    assert ids_of(reader) == [2, 3]


def test_no_slot_is_lost_to_images_that_were_prepared_and_never_put() -> None:
    ring = make(capacity=3, overflow="drop_newest")
    reader = ring.reader("loop", "every")
    for frame_id in range(3):
        ring.prepare(picture(10))
        ring.prepare(picture(11))
        assert put(ring, frame_id)
    assert ids_of(reader) == [0, 1, 2]
    ring.close()


def test_what_does_not_fit_is_refused_when_it_is_put(ring: FrameRing) -> None:
    image = np.zeros((3, 3), np.uint8)
    ring.prepare(image)
    with pytest.raises(ValueError, match=r"expected an image of uint8 .* got uint8 \(3, 3\)"):
        ring.put(frame_of(image, 1))
    assert put(ring, 2)


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest", "wait"])
def test_a_full_ring_prepares_nothing_and_loses_nothing(overflow: Overflow) -> None:
    ring = make(capacity=3, overflow=overflow)
    reader = ring.reader("recorder", "every")
    assert all(put(ring, frame_id) for frame_id in range(3))
    image = picture(3)
    ring.prepare(image)
    assert ring.put(frame_of(image, 3)) is (overflow == "drop_oldest")
    assert ids_of(reader) == ([1, 2, 3] if overflow == "drop_oldest" else [0, 1, 2])
    ring.close()


def test_a_queue_that_never_runs_empty_never_fills() -> None:
    """Linux reuses a page of a pipe only once it has been read to its end."""
    ring = make(overflow="wait")
    recorder = ring.reader("recorder", "every")
    put(ring, 0)
    for frame_id in range(1, 3000):
        assert put(ring, frame_id)
        frame = recorder.take(0.0)
        assert frame is not None
        assert frame.frame_id == frame_id - 1


def test_slow_recorder_loses_the_oldest(ring: FrameRing) -> None:
    recorder = ring.reader("recorder", "every")
    for frame_id in range(7):
        assert put(ring, frame_id)
    assert ids_of(recorder) == [3, 4, 5, 6]
    assert ring.drops == {"overwritten_for_recorder": 3}


def test_drop_newest_refuses_and_counts() -> None:
    ring = make(overflow="drop_newest")
    recorder = ring.reader("recorder", "every")
    assert [put(ring, frame_id) for frame_id in range(6)] == [True] * 4 + [False] * 2
    assert ids_of(recorder) == [0, 1, 2, 3]
    assert ring.drops == {"ring_full": 2}


def test_wait_waits_and_loses_nothing() -> None:
    ring = make(overflow="wait")
    recorder = ring.reader("recorder", "every")
    for frame_id in range(4):
        assert put(ring, frame_id)
    before = time.monotonic()
    assert not put(ring, 4, timeout_s=0.03)
    assert 0.025 < time.monotonic() - before < 1.0
    assert recorder.take(0.0) is not None
    assert recorder.take(0.0) is not None  # the first slot is free now
    assert put(ring, 4, timeout_s=0.03)
    assert ids_of(recorder) == [2, 3, 4]
    assert ring.drops == {}


def test_a_reader_waits_asleep(ring: FrameRing) -> None:
    reader = ring.reader("loop", "every")
    before, worked = time.monotonic(), time.thread_time()
    assert reader.take(0.05) is None
    waited, worked = time.monotonic() - before, time.thread_time() - worked
    assert 0.045 < waited < 1.0
    assert worked < waited / 10
    camera = threading.Timer(0.02, put, (ring, 7))
    camera.start()
    frame = reader.take(5.0)
    camera.join()
    assert frame is not None
    assert frame.frame_id == 7
    assert time.monotonic() - before < 2.0
    ring.finish()
    assert reader.take(0.05) is None
    assert reader.ended


def test_nobody_attached_holds_nothing_back() -> None:
    ring = make(overflow="wait")
    assert all(put(ring, frame_id) for frame_id in range(20))
    assert ids_of(ring.reader("loop", "every")) == []


def test_expected_consumer_gets_what_came_before_it_attached(ring: FrameRing) -> None:
    ring.expect("recorder")
    put(ring, 0)
    put(ring, 1)
    assert ids_of(ring.reader("recorder", "every")) == [0, 1]


def test_dismissed_consumer_holds_nothing_back() -> None:
    ring = make(overflow="wait")
    ring.expect("recorder")
    assert [put(ring, frame_id) for frame_id in range(5)] == [True] * 4 + [False]
    ring.dismiss("recorder")
    assert put(ring, 5)


def test_closed_reader_holds_nothing_back() -> None:
    ring = make(overflow="wait")
    recorder = ring.reader("recorder", "every")
    for frame_id in range(4):
        put(ring, frame_id)
    recorder.take(0.0)
    recorder.close()
    recorder.close()
    assert all(put(ring, frame_id) for frame_id in range(10))
    with pytest.raises(RuntimeError, match="ring: expected an open reader, got take after close"):
        recorder.take(0.0)


def test_end_comes_after_the_last_frame_with_its_error(ring: FrameRing) -> None:
    reader = ring.reader("recorder", "every")
    put(ring, 0)
    ring.finish("camera unplugged at frame 1 – µ")
    ring.finish("too late")
    assert not reader.ended
    assert ids_of(reader) == [0]
    assert reader.ended
    assert reader.error == "camera unplugged at frame 1 – µ"
    assert reader.take(0.0) is None
    with pytest.raises(RuntimeError, match="ring: expected a running stream, got put after finish"):
        put(ring, 1)


def test_one_reader_for_each_consumer(ring: FrameRing) -> None:
    ring.reader("loop", "latest")
    with pytest.raises(RuntimeError, match="ring: expected one loop in a session, got a second"):
        ring.reader("loop", "every")


def test_messages_for_wrong_use(ring: FrameRing) -> None:
    with pytest.raises(ValueError, match=r"^expected an image of uint8 \(6, 8\), got uint8 \(6, 9\)$"):
        ring.put(frame_of(np.zeros((6, 9), np.uint8), 0))
    with pytest.raises(ValueError, match=r"^ring: expected a capacity of 3 to 4096 frames, got 2$"):
        make(capacity=2)


def test_image_outlives_the_ring() -> None:
    ring = make()
    reader = ring.reader("loop", "latest")
    put(ring, 3)
    frame = reader.take(0.0)
    reader.close()
    ring.close()
    ring.close()
    assert frame is not None
    assert (frame.image == picture(3)).all()


def test_close_leaves_no_descriptor() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    ring = make(overflow="wait")
    reader = ring.reader("loop", "every")
    other = FrameRing.attach(ring.handle())
    while put(ring, 0):
        pass
    reader.close()
    other.close()
    ring.close()
    del ring, reader, other
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@settings(max_examples=150, deadline=None)
@given(
    capacity=st.integers(3, 7),
    overflow=st.sampled_from(["drop_oldest", "drop_newest"]),
    actions=st.lists(st.sampled_from(["put", "put", "put", "loop", "recorder"]), max_size=80),
)
def test_every_frame_is_accounted_for(capacity: int, overflow: Overflow, actions: list[str]) -> None:
    ring = make(capacity, overflow)
    readers = {"loop": ring.reader("loop", "latest"), "recorder": ring.reader("recorder", "every")}
    taken: dict[str, list[int]] = {"loop": [], "recorder": []}
    in_hand: dict[str, tuple[int, NDArray[np.uint8]]] = {}
    accepted: list[int] = []
    refused = 0
    for frame_id, action in enumerate(actions):
        if action == "put":
            if put(ring, frame_id):
                accepted.append(frame_id)
            else:
                refused += 1
        else:
            in_hand.pop(action, None)
            if (frame := readers[action].take(0.0)) is not None:
                taken[action].append(frame.frame_id)
                in_hand[action] = frame.frame_id, frame.image
                assert action == "recorder" or frame.frame_id == accepted[-1]
        for held_id, image in in_hand.values():
            assert (image == picture(held_id)).all(), "a frame in a reader's hand was overwritten"
    for name, reader in readers.items():
        taken[name] += ids_of(reader)
        assert taken[name] == sorted(set(taken[name]) & set(accepted))
        reader.close()
    drops = ring.drops
    ring.close()
    assert len(accepted) == len(taken["loop"]) + drops.get("skipped_by_loop", 0)
    assert len(accepted) == len(taken["recorder"]) + drops.get("overwritten_for_recorder", 0)
    assert refused == drops.get("ring_full", 0)
    if overflow == "drop_oldest":
        assert refused == 0, "each reader holds one slot at most, so there is always one to take back"
    else:
        assert taken["recorder"] == accepted


READER = """
import sys
from camera_drivers.ring import FrameRing, RingHandle
reader = FrameRing.attach(RingHandle.from_json(sys.argv[1])).reader("recorder", "every")
print("attached", flush=True)
while not reader.ended:
    frame = reader.take(0.05)
    if frame is not None:
        assert (frame.image == frame.frame_id % 251).all(), frame.frame_id
        print(frame.frame_id, flush=True)
print("ended", reader.error, flush=True)
"""


def start_reader(handle: RingHandle) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", READER, handle.to_json()]
    return subprocess.Popen(command, pass_fds=handle.fds, stdout=subprocess.PIPE, text=True)


def test_two_processes_and_every_frame_arrives_whole() -> None:
    ring = make(overflow="wait")
    ring.expect("recorder")
    child = start_reader(ring.handle())
    try:
        for frame_id in range(500):
            while not put(ring, frame_id, timeout_s=0.05):
                assert child.poll() is None
        ring.finish("done")
        out, _ = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
        ring.close()
    assert out.split() == ["attached", *map(str, range(500)), "ended", "done"]
    assert ring.drops == {}


def test_two_processes_with_a_writer_that_does_not_wait() -> None:
    """The child checks that no frame changes under its hands while this process laps it again and again."""
    ring = make(capacity=3)
    child = start_reader(ring.handle())
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "attached\n"
        for frame_id in range(20_000):
            assert put(ring, frame_id)
        ring.finish()
        out, _ = child.communicate(timeout=20)
    finally:
        child.kill()
        child.wait()
        ring.close()
    *ids, ended = out.split()
    assert ended == "ended"
    assert len(ids) + ring.drops["overwritten_for_recorder"] == 20_000
    assert [int(frame_id) for frame_id in ids] == sorted({int(frame_id) for frame_id in ids})


def test_killed_reader_does_not_stop_the_writer(wait_for: Callable[..., object]) -> None:
    ring = make(overflow="wait")
    child = start_reader(ring.handle())
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "attached\n"
        put(ring, 0)
        assert child.stdout.readline() == "0\n"
        child.kill()
        wait_for(lambda: os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT) is not None)
        for frame_id in range(1, 20):  # the child is a zombie here: its locks are gone, its pid is not
            assert put(ring, frame_id, timeout_s=1.0)
    finally:
        child.kill()
        child.wait()
        ring.close()


WRITER = """
import sys, numpy as np
from camera_drivers.frame import Frame
from camera_drivers.ring import FrameRing, RingHandle
ring = FrameRing.attach(RingHandle.from_json(sys.argv[1]))
for frame_id in range(10**9):
    ring.put(Frame(frame_id, 0, 0, None, np.full((6, 8), frame_id % 251, np.uint8)))
"""


def test_killed_writer_leaves_whole_frames_and_the_parent_ends_the_stream(wait_for: Callable[..., object]) -> None:
    ring = make()
    reader = ring.reader("recorder", "every")
    handle = ring.handle()
    child = subprocess.Popen([sys.executable, "-c", WRITER, handle.to_json()], pass_fds=handle.fds)
    try:
        wait_for(lambda: reader.take(0.05) is not None)
    finally:
        child.kill()
        child.wait()
    ring.finish("the camera process died")
    ids = ids_of(reader)
    assert ids == sorted(ids)
    assert reader.ended
    assert reader.error == "the camera process died"
    ring.close()


def test_a_waiting_reader_is_woken_by_a_frame() -> None:
    ring = make()
    child = start_reader(ring.handle())
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "attached\n"
        put(ring, 5)
        assert child.stdout.readline() == "5\n"
    finally:
        child.kill()
        child.wait()
        ring.close()
