"""When a detection that no track took becomes an animal: seen for `confirm_s`, at any frame rate, never by one look."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions

BODY = np.array([(0, 0), (25, 10), (25, -10), (75, 10), (75, -10), (100, 0)], dtype=np.float32)
MS = 1_000_000


def seen(*places: tuple[float, float]) -> Poses:
    xy = np.array([BODY + np.array(place, dtype=np.float32) for place in places], dtype=np.float32).reshape(-1, 6, 2)
    return Poses(xy, np.ones(xy.shape[:2], dtype=np.float32), np.ones(len(xy), dtype=np.float32))


def tracker(**options: object) -> GreedyTracker:
    return GreedyTracker(TrackerOptions.model_validate({"confirm_s": 0.05, **options}), 6)


def first_tracked_ms(follower: GreedyTracker, every_ms: int, place_at=lambda t: (100.0, 100.0)) -> int:
    """Time of the first frame in which an animal has a track."""
    for t in range(0, 5000, every_ms):
        if len(follower.update(seen(place_at(t)), t * MS).track_ids):
            return t
    return -1


@pytest.mark.parametrize(
    ("confirm_s", "every_ms", "expected_ms"),
    [(0.0, 10, 0), (0.05, 10, 50), (0.05, 50, 50), (0.05, 20, 60), (0.05, 600, 600), (0.5, 100, 500)],
    ids=["at once", "100 Hz", "20 Hz", "between frames", "slow", "long"],
)
def test_an_animal_has_a_track_once_it_was_seen_for_so_long(confirm_s: float, every_ms: int, expected_ms: int) -> None:
    assert first_tracked_ms(tracker(confirm_s=confirm_s), every_ms) == expected_ms


def test_an_animal_that_runs_while_it_is_a_candidate_is_one_candidate() -> None:
    assert first_tracked_ms(tracker(), 10, lambda t: (t * 4.0, 100.0)) == 50


@pytest.mark.parametrize("every_ms", [10, 600])
def test_false_detections_that_come_and_go_never_are_an_animal(every_ms: int) -> None:
    follower = tracker(closed_population=False, max_tracks=8)
    for i in range(20):
        place = (i * 7 % 20 * 400, i * 3 % 20 * 400)
        assert not len(follower.update(seen(place), i * every_ms * MS).track_ids)


def test_a_candidate_may_be_missed_for_a_moment_but_not_for_longer() -> None:
    for gap_ms, tracked in ((40, True), (70, False)):
        follower = tracker()
        follower.update(seen((100, 100)), 0)
        follower.update(seen(), (gap_ms - 10) * MS)
        assert bool(len(follower.update(seen((100, 100)), gap_ms * MS).track_ids)) is False
        follower.update(seen(), (gap_ms + 10) * MS) if not tracked else None
        assert bool(len(follower.update(seen((100, 100)), (gap_ms + 20) * MS).track_ids)) is tracked


def test_two_animals_confirmed_together_are_numbered_from_left_to_right() -> None:
    follower = tracker()
    for t in (0, 30, 60):
        tracks = follower.update(seen((600, 100), (100, 100)), t * MS)
    assert tracks.track_ids.tolist() == [1, 2]
    assert tracks.xy[0, 0, 0] < tracks.xy[1, 0, 0]


def test_a_lost_animal_is_not_taken_for_a_single_false_detection() -> None:
    follower = tracker(max_tracks=1, lost_s=0.1)
    for t in (0, 50):
        follower.update(seen((100, 100)), t * MS)
    follower.update(seen((900, 900)), 1000 * MS)
    tracks = follower.update(seen((500, 100)), 2000 * MS)
    assert math.isnan(tracks.xy[0, 0, 0])
    tracks = follower.update(seen((500, 100)), 2050 * MS)
    assert (tracks.track_ids.tolist(), tracks.xy[0, 0, 0]) == ([1], 500)


def test_more_candidates_than_tracks() -> None:
    follower = tracker(max_tracks=2, closed_population=False)
    many = seen(*[(x, y) for x in (0, 300, 600) for y in (0, 300, 600)])
    for t in (0, 30, 60):
        assert len(follower.update(many, t * MS).track_ids) == (2 if t == 60 else 0)


@pytest.mark.parametrize("times_ms", [(0, 0, 0), (100, 40, 0), (0, 10_000, 20_000)], ids=["still", "back", "leaping"])
def test_any_clock(times_ms: tuple[int, ...]) -> None:
    """Time that does not pass confirms nothing; a candidate of an age ago is the same only by its place."""
    follower = tracker()
    found = [len(follower.update(seen((100, 100)), t * MS).track_ids) for t in times_ms]
    assert found == ([0, 1, 1] if times_ms[-1] > 1000 else [0, 0, 0])


def test_reset_forgets_candidates() -> None:
    follower = tracker()
    follower.update(seen((100, 100)), 0)
    follower.reset()
    assert not len(follower.update(seen((100, 100)), 60 * MS).track_ids)


@pytest.mark.parametrize("confirm_s", [-0.1, math.nan, math.inf, 61.0, "soon"])
def test_wrong_options(confirm_s: object) -> None:
    with pytest.raises(ValidationError):
        TrackerOptions.model_validate({"confirm_s": confirm_s})
