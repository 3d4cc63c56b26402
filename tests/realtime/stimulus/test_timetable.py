"""Timetables: every event once, in its frame, and a random one that is the same for ever at a seed."""

import pytest

from realtime.stimulus.spec import StimulusSpec
from realtime.stimulus.timetable import MOST_A_FRAME, TimedEvent, Timetable, timetable

SECOND = 1_000_000_000


def spec(**source: object) -> StimulusSpec:
    return StimulusSpec.model_validate({"triggers": ["laser"], "channel": 0, "duration_ms": 1.0} | source)


def test_a_rule_needs_no_timetable() -> None:
    assert timetable("light", spec(rule="near")) is None


def test_a_schedule_is_due_with_the_first_frame_at_or_after_its_time() -> None:
    table = timetable("light", spec(schedule_s=[0, 0.5, 0.51]))
    assert table is not None
    assert table.due(0) == [TimedEvent("start", 0)]
    assert table.due(SECOND // 2 - 1) == []
    assert table.due(SECOND) == [TimedEvent("start", SECOND // 2), TimedEvent("start", 510_000_000)]
    assert table.due(99 * SECOND) == []


def random_onsets_s(n: int, name: str = "light", seed: int = 1, shortest: float = 5, longest: float = 9) -> list[float]:
    table = timetable(name, spec(random_interval_s=[shortest, longest], seed=seed))
    assert table is not None
    found: list[float] = []
    for second in range(10**6):
        found += [event.time_ns / SECOND for event in table.due(second * SECOND)]
        if len(found) >= n:
            break
    return found[:n]


def test_random_intervals_lie_between_their_bounds_and_are_spread_evenly() -> None:
    onsets = random_onsets_s(2000)
    intervals = [later - sooner for sooner, later in zip([0.0, *onsets], onsets, strict=False)]
    assert 5 <= min(intervals) < 5.05
    assert 8.95 < max(intervals) <= 9
    # Standard deviation of the mean of 2000: 4 / sqrt(12 * 2000) = 0.026.
    assert abs(sum(intervals) / 2000 - 7) < 5 * 0.026


def test_random_onsets_follow_from_seed_and_name_alone() -> None:
    assert [round(onset, 6) for onset in random_onsets_s(4)] == [7.213002, 12.241384, 19.702097, 27.091793]
    assert random_onsets_s(4, seed=2) != random_onsets_s(4)
    assert random_onsets_s(4, name="tone") != random_onsets_s(4)


def test_an_event_that_may_come_early_does() -> None:
    table = Timetable(iter([TimedEvent("start", 100, 20), TimedEvent("stop", 200, 20)]))
    assert table.due(79) == []
    assert table.due(80) == [TimedEvent("start", 100, 20)]
    assert table.due(179) == []
    assert table.due(300) == [TimedEvent("stop", 200, 20)]


def test_what_piles_up_is_handed_out_in_portions() -> None:
    table = Timetable(iter([TimedEvent("start", time_ns) for time_ns in range(250)]))
    portions = [table.due(1000) for _ in range(4)]
    assert [len(portion) for portion in portions] == [MOST_A_FRAME, MOST_A_FRAME, 50, 0]
    assert [event.time_ns for portion in portions for event in portion] == list(range(250))


def test_a_master_that_was_not_read_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"^stimuli\.light\.yoked: the session a has not been read$"):
        timetable("light", spec(yoked={"session": "a"}))
