"""Single breaks: one track ends and one begins at the same time, so it is taken for the same animal."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


def connect_single_breaks(frames: Iterable[NDArray[np.int64]], n_animals: int) -> Iterator[NDArray[np.int64]]:
    """Rename tracks that begin where exactly one other ended, from frame to frame; SLEAP's final pass.

    What is compared is each frame with the last good one: one with exactly `n_animals` tracks and no new break (the
    first frame counts as good whatever it shows). A new name holds for all later frames in which the track that it
    stands for is not there itself.

    Args:
        frames: The tracks of the instances of each frame, `(n,)` int64, in the order of the output.
        n_animals: How many animals there are.

    Yields:
        The tracks of each frame, arrays of its own.
    """
    really: dict[int, int] = {}
    good: set[int] | None = None
    for frame in frames:
        tracks = frame.tolist()
        _rename(tracks, really)
        present = set(tracks)
        good = present if good is None else good
        begun, ended = present - good, good - present
        if len(begun) == len(ended) == 1:
            (new,), (old,) = begun, ended
            really[new] = old
            tracks[tracks.index(new)] = old
        elif len(present) == n_animals:
            good = present
        yield np.array(tracks, np.int64)


def _rename(tracks: list[int], really: dict[int, int]) -> None:
    """Give the tracks of a frame the names that they have by now; of two that would be one the first takes it."""
    present = set(tracks)
    for place, track in enumerate(tracks):
        if track in really and really[track] not in present:
            tracks[place] = really[track]
            present = set(tracks)
