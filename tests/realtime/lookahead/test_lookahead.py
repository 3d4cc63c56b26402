"""The face of it: the same bits every time, no allocation, clear errors."""

import gc
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from numba.core.runtime import _nrt_python, rtsys

from realtime.lookahead import LookAhead
from realtime.tracks import Prediction, Tracks

Make = Callable[..., LookAhead]
MakeTracks = Callable[..., Tracks]


def prediction(tracks: Tracks) -> Prediction:
    assert tracks.prediction is not None
    return tracks.prediction


def crowd(make_tracks: MakeTracks, n_frames: int, n_animals: int = 3) -> list[Tracks]:
    random = np.random.default_rng(3)
    body = make_tracks({1: (0.0, 0.0)}).xy[0]
    places = np.cumsum(random.normal(0, 3, (n_frames, n_animals, 1, 2)), axis=0) + random.uniform(
        0, 500, (n_animals, 1, 2)
    )
    poses = (places + body + random.normal(0, 1, (n_frames, n_animals, len(body), 2))).astype(np.float32)
    poses[random.random(poses.shape[:3]) < 0.05] = np.nan
    return [make_tracks({1 + i: pose for i, pose in enumerate(frame)}) for frame in poses]


def all_bits(ahead: LookAhead, frames: list[Tracks]) -> bytes:
    random = np.random.default_rng(4)
    found = b""
    for k, tracks in enumerate(frames):
        told = prediction(ahead.predict(tracks, k * 10_000_000))
        ahead.learn_latency(int(random.integers(2_000_000, 40_000_000)))
        found += told.xy.tobytes() + told.is_on.tobytes() + told.error_px.tobytes() + told.pose_error_px.tobytes()
        found += repr((told.horizon_ns, told.switches)).encode()
    return found


def test_the_same_frames_give_the_same_bits(make_ahead: Make, make_tracks: MakeTracks) -> None:
    frames = crowd(make_tracks, 400)
    groups = {"front": ["head", "eyeL", "eyeR"], "legs": ["legL", "legR"]}
    first = make_ahead(grade_s=0.5, groups=groups)
    bits = all_bits(first, frames)
    assert b"Switch" in bits
    assert all_bits(make_ahead(grade_s=0.5, groups=groups), frames) == bits
    assert all_bits(make_ahead(grade_s=0.5, groups=groups, n_reused=5), frames) == bits
    first.reset()
    assert all_bits(first, frames) == bits
    first.reset()
    first.warm_up()
    assert all_bits(first, frames) == bits


def test_what_was_said_of_a_frame_stays_as_it_is(make_ahead: Make, make_tracks: MakeTracks) -> None:
    frames = crowd(make_tracks, 30)
    ahead = make_ahead(horizon_ms=20.0)
    said = [ahead.predict(tracks, k * 10_000_000) for k, tracks in enumerate(frames)]
    bits = [prediction(tracks).xy.tobytes() for tracks in said]
    for k, tracks in enumerate(frames, 30):
        ahead.predict(tracks, k * 10_000_000)
    assert [prediction(tracks).xy.tobytes() for tracks in said] == bits


def test_it_allocates_no_array_in_the_loop(make_ahead: Make, make_tracks: MakeTracks) -> None:
    n_reused = 8
    ahead, frames = make_ahead(max_tracks=3, n_reused=n_reused), crowd(make_tracks, n_reused)

    def run(first: int, n: int) -> None:
        for k in range(first, first + n):  # as a tracker's answers take turns
            ahead.predict(frames[k % n_reused], k * 10_000_000)
            ahead.learn_latency(5_000_000)

    run(0, 200)
    _nrt_python.memsys_enable_stats()
    gc.collect()
    tracemalloc.start()
    before, held = rtsys.get_allocation_stats(), tracemalloc.get_traced_memory()[0]
    run(200, 2000)
    after, grown = rtsys.get_allocation_stats(), tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    assert after.alloc == before.alloc
    assert grown < 2000


def test_what_it_is_given_is_kept(make_ahead: Make, make_tracks: MakeTracks) -> None:
    tracks = make_tracks({1: (0.0, 0.0), 4: (50.0, 0.0)})
    told = make_ahead(horizon_ms=20.0).predict(tracks, 0)
    for field in ("track_ids", "xy", "node_scores", "identity_confidence", "last_seen_ns", "class_ids", "suspect_ids"):
        assert getattr(told, field) is getattr(tracks, field)
    assert told.corrected_ids is tracks.corrected_ids


def test_nobody_is_predicted_as_nobody(make_ahead: Make, make_tracks: MakeTracks) -> None:
    told = prediction(make_ahead(horizon_ms=20.0).predict(make_tracks({}), 0))
    assert told.xy.shape == (0, 6, 2)
    assert told.is_on.shape == (0, 1)


def test_more_tracks_than_there_is_room_for_are_an_error(make_ahead: Make, make_tracks: MakeTracks) -> None:
    ahead = make_ahead(max_tracks=1)
    with pytest.raises(ValueError, match="look-ahead: expected at most 1 tracks, got 2"):
        ahead.predict(make_tracks({1: (0.0, 0.0), 2: (0.0, 0.0)}), 0)
