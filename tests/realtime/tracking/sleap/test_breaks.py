"""Breaks that are mended, and those that are not, frame by frame."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime.tracking.sleap import connect_single_breaks

CASES = {
    "nothing to do": ([[0, 1], [1, 0], [0, 1]], [[0, 1], [1, 0], [0, 1]]),
    "one for one, from then on": ([[0, 1], [0, 2], [2, 0]], [[0, 1], [0, 1], [1, 0]]),
    "after a gap": ([[0, 1], [0], [0], [0, 2]], [[0, 1], [0], [0], [0, 1]]),
    "after a frame without animals": ([[0, 1], [], [0, 2]], [[0, 1], [], [0, 1]]),
    "one after the other": ([[0, 1], [0, 2], [3, 2], [3, 2]], [[0, 1], [0, 1], [0, 1], [0, 1]]),
    "two at once": ([[0, 1], [2, 3], [2, 3]], [[0, 1], [2, 3], [2, 3]]),
    "too many animals are no good frame": ([[0, 1], [0, 1, 2], [0, 2]], [[0, 1], [0, 1, 2], [0, 1]]),
    "too few animals are no good frame": ([[0, 1], [1], [2, 1]], [[0, 1], [1], [0, 1]]),
    "a new good frame": ([[0, 1], [2, 3], [2, 4]], [[0, 1], [2, 3], [2, 3]]),
    "the first frame is good whatever it shows": ([[0], [1]], [[0], [0]]),
    "the old one is back: the new one keeps its name there": (
        [[0, 1], [0, 2], [1, 2], [0, 2]],
        [[0, 1], [0, 1], [1, 0], [0, 1]],
    ),
    "two that would be one: the first takes the name": (
        [[0, 1], [0, 2], [0, 3], [2, 3]],
        [[0, 1], [0, 1], [0, 1], [1, 0]],
    ),
    "no frame": ([], []),
}


@pytest.mark.parametrize(("frames", "expected"), CASES.values(), ids=CASES)
def test_breaks(frames, expected):
    given_frames = [np.array(frame, np.int64) for frame in frames]
    connected = list(connect_single_breaks(iter(given_frames), 2))
    assert [frame.tolist() for frame in connected] == expected
    assert [frame.tolist() for frame in given_frames] == frames
    assert all(frame.dtype == np.int64 for frame in connected)


FRAMES = st.lists(st.lists(st.integers(0, 5), max_size=4, unique=True), max_size=12)


@given(FRAMES, st.integers(1, 4))
def test_no_frame_shows_a_track_twice(frames, n_animals):
    for frame in connect_single_breaks((np.array(frame, np.int64) for frame in frames), n_animals):
        assert len(set(frame.tolist())) == len(frame)


@given(FRAMES, st.permutations(range(6)))
def test_other_names_give_the_same_animals(frames, names):
    def connected(naming):
        renamed = ([naming[track] for track in frame] for frame in frames)
        return [frame.tolist() for frame in connect_single_breaks((np.array(f, np.int64) for f in renamed), 2)]

    assert connected(names) == [[names[track] for track in frame] for frame in connected(range(6))]
