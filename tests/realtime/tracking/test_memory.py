"""After its warm-up the tracker allocates nothing but the arrays of what it returns, and in the loop not even those."""

import gc
import tracemalloc

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracks import ARRAYS

N_NODES = 13
FRAME_NS = 16_666_667

TRACKERS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "default": ({}, ()),
    "open population": ({"closed_population": False, "confirm_s": 0.02, "max_tracks": 8}, ()),
    "identity model": ({"max_tracks": 4}, ("a", "b", "c")),
    "kalman, iou, hungarian": ({"motion": "kalman", "similarity": "iou", "matching": "hungarian", "max_tracks": 4}, ()),
}


def frames(n_frames: int, n_classes: int) -> list[Poses]:
    """Four animals that walk, some of them missing, with false detections among them."""
    random = np.random.default_rng(5)
    plan = random.uniform(-40, 40, (N_NODES, 2))
    places = random.uniform(100, 900, (4, 2))
    found = []
    for _ in range(n_frames):
        places += random.normal(0, 4, places.shape)
        seen = np.concatenate([places[random.random(4) < 0.9], random.uniform(0, 1024, (random.integers(0, 3), 2))])
        xy = (seen[:, None] + plan).astype(np.float32)
        xy[random.random(xy.shape[:2]) < 0.05] = np.nan
        probs = random.dirichlet(np.ones(max(n_classes, 1)), len(xy)).astype(np.float32)
        ones = np.ones(xy.shape[:2], np.float32)
        found.append(Poses(xy, ones, ones[:, 0], probs if n_classes else None))
    return found


@pytest.mark.parametrize("name", TRACKERS)
def test_the_compiled_code_allocates_nothing(name: str) -> None:
    options, classes = TRACKERS[name]
    tracker = GreedyTracker(TrackerOptions.model_validate(options), N_NODES, classes, n_reused=2)
    poses = frames(300, len(classes))
    for k in range(900):  # until every answer has had every number of animals
        tracker.update(poses[k % 300], k * FRAME_NS)
    _nrt_python.memsys_enable_stats()
    before = rtsys.get_allocation_stats()
    for k in range(200):
        tracker.update(poses[k], (900 + k) * FRAME_NS)
    after = rtsys.get_allocation_stats()
    assert after.alloc == before.alloc


@pytest.mark.parametrize("name", TRACKERS)
def test_a_loop_that_takes_turns_with_its_answers_allocates_no_array(name: str) -> None:
    options, classes = TRACKERS[name]
    tracker = GreedyTracker(TrackerOptions.model_validate(options), N_NODES, classes, n_reused=8)
    poses = frames(300, len(classes))
    for k in range(3000):  # until every answer has had every number of animals
        tracker.update(poses[k % 300], k * FRAME_NS)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        for k in range(300):
            tracker.update(poses[k], (3000 + k) * FRAME_NS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # Views of the poses for the time of a call; the arrays of one answer alone have 1,248 bytes and more.
    assert peak - before < 1_600, "bytes"


def test_an_answer_is_the_receivers_own() -> None:
    tracker = GreedyTracker(TrackerOptions(max_tracks=4), N_NODES)
    kept = [(tracks := tracker.update(pose, k * FRAME_NS), tracks.xy.copy()) for k, pose in enumerate(frames(50, 0))]
    assert all(np.array_equal(tracks.xy, xy, equal_nan=True) for tracks, xy in kept)


def test_an_answer_that_takes_turns_lasts_for_so_many() -> None:
    turns, own = (GreedyTracker(TrackerOptions(max_tracks=4), N_NODES, n_reused=n) for n in (3, 0))
    given = []
    for k, pose in enumerate(frames(40, 0)):
        given.append((turns.update(pose, k * FRAME_NS), own.update(pose, k * FRAME_NS)))
        for one, other in given[-3:]:
            for name in ARRAYS:
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert np.shares_memory(given[3][0].xy, given[0][0].xy)
    assert not np.shares_memory(given[2][0].xy, given[0][0].xy)


def test_a_session_does_not_grow() -> None:
    tracker = GreedyTracker(TrackerOptions(max_tracks=4), N_NODES)
    poses = frames(300, 0)
    for k in range(300):
        tracker.update(poses[k], k * FRAME_NS)
    gc.collect()
    tracemalloc.start()
    try:
        for k in range(300, 3300):
            tracker.update(poses[k % 300], k * FRAME_NS)
        gc.collect()
        grown, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert grown < 20_000, "bytes; the last Tracks, and what Python keeps for itself"
