"""Time: frames dropped, jittered, repeated, late or empty change nothing but what is physically lost.

What a track lives through is counted in seconds, never in frames.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.crowds import Scene, body_plan, simulate
from benchmarks.following import rows_of
from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracks import ARRAYS, Tracks

BODY = np.array([(0, 0), (25, 10), (25, -10), (75, 10), (75, -10), (100, 0)], dtype=np.float32)
N_NODES = len(BODY)
MS = 1_000_000
TICK_NS = 8_333_333  # 120 Hz
TICKS = {"30 Hz": 4, "60 Hz": 2, "120 Hz": 1}
CLASSES = ("a", "b", "c", "d")


class Frame(NamedTuple):
    time_ns: int
    poses: Poses


def at(x: float, y: float) -> np.ndarray:
    return BODY + np.array([x, y], dtype=np.float32)


def seeing(pose: np.ndarray, *nodes: int) -> np.ndarray:
    partial = np.full_like(pose, np.nan)
    partial[list(nodes)] = pose[list(nodes)]
    return partial


def poses(*instances: np.ndarray, classes: Iterable[int] = ()) -> Poses:
    xy = np.array(instances, dtype=np.float32).reshape(-1, N_NODES, 2)
    probs = np.eye(len(CLASSES), dtype=np.float32)[list(classes)] * 0.9 + 0.025
    node_scores = np.where(np.isnan(xy[..., 0]), 0, 1).astype(np.float32)
    return Poses(xy, node_scores, np.ones(len(xy), dtype=np.float32), probs if len(probs) else None)


def tracker(class_names: tuple[str, ...] = (), n_nodes: int = N_NODES, **options: object) -> GreedyTracker:
    return GreedyTracker(TrackerOptions.model_validate(options), n_nodes, class_names)


# --- a scene that is there at all times, whenever it is looked at

ENDS_S = 6.0
PRESENT_S = ((0.0, ENDS_S), (0.0, ENDS_S), (0.5, 2.0), (3.2, ENDS_S))
"""When each animal is there: two cross one another time and again, one leaves, and later another one comes."""


class Preset(NamedTuple):
    options: dict[str, Any]
    n_animals: int
    class_names: tuple[str, ...] = ()

    def tracker(self) -> GreedyTracker:
        return tracker(self.class_names, **self.options)


PRESETS = {
    "defaults": Preset({}, 2),
    "one leaves, one comes back": Preset({"max_tracks": 3, "lost_s": 0.5}, 4),
    "open population": Preset({"max_tracks": 4, "lost_s": 0.5, "closed_population": False}, 4),
    "seen for a while first": Preset({"max_tracks": 4, "lost_s": 0.5, "closed_population": False, "confirm_s": 0.1}, 4),
    "classes": Preset({"max_tracks": 4, "lost_s": 0.5}, 4, CLASSES),
}


NAMES = {
    "defaults": {0: {2}, 1: {1}},
    "one leaves, one comes back": {0: {2}, 1: {1}, 2: {3}, 3: {3}},
    "open population": {0: {2}, 1: {1}, 2: {3}, 3: {4}},
    "seen for a while first": {0: {2}, 1: {1}, 2: {3}, 3: {4}},
    "classes": {0: {2}, 1: {1}, 2: {3}, 3: {4}},
}
"""The ids that each animal has, whenever the scene is looked at."""


def places(now_s: float) -> list[tuple[float, float]]:
    swing, turn = 250 * np.sin(0.5 * np.pi * (now_s + 0.5)), 2 * np.pi * now_s
    return [(400 + swing, 300), (400 - swing, 330), (700 + 40 * np.cos(turn), 600 + 40 * np.sin(turn)), (100, 600)]


def there(now_s: float, n_animals: int) -> list[int]:
    return [k for k in range(n_animals) if PRESENT_S[k][0] <= now_s < PRESENT_S[k][1]]


def look(preset: Preset, times_ns: Iterable[int]) -> list[Frame]:
    frames = []
    for now_ns in times_ns:
        animals = there(now_ns * 1e-9, preset.n_animals)
        xy = [at(*places(now_ns * 1e-9)[k]) for k in animals]
        frames.append(Frame(now_ns, poses(*xy, classes=animals)))
    return frames


def every(ticks: int) -> range:
    return range(0, round(ENDS_S * 1e9), ticks * TICK_NS)


def followed(follower: GreedyTracker, frames: Iterable[Frame]) -> list[Tracks]:
    return [follower.update(frame.poses, frame.time_ns) for frame in frames]


def names_of(preset: Preset, frames: list[Frame], looked_ns: Iterable[int]) -> dict[int, set[int]]:
    """Return the ids that each animal gets, by when it was looked at, whatever the frames are stamped with."""
    names: dict[int, set[int]] = {}
    for now_ns, frame, tracks in zip(looked_ns, frames, followed(preset.tracker(), frames), strict=True):
        rows = rows_of(frame.poses, tracks)
        for animal, row in zip(there(now_ns * 1e-9, preset.n_animals), rows.tolist(), strict=True):
            names.setdefault(animal, set()).update(tracks.track_ids[row : row + 1].tolist() if row >= 0 else [])
    return names


def shaken(times_ns: Iterable[int], by_ns: int) -> list[int]:
    rng = np.random.default_rng(1)
    return [max(now_ns + int(rng.integers(-by_ns, by_ns + 1)), 0) for now_ns in times_ns]


def some(times_ns: Iterable[int]) -> list[int]:
    """Leave out a third of the frames, and now and then a tenth of a second."""
    rng = np.random.default_rng(1)
    kept = [now_ns for now_ns in times_ns if rng.random() > 1 / 3]
    gaps = [round(start * 1e9) for start in rng.uniform(0, ENDS_S, 8)]
    return [now_ns for now_ns in kept if not any(start < now_ns < start + 100 * MS for start in gaps)]


LOOKS = {
    **{rate: every(ticks) for rate, ticks in TICKS.items()},
    "jittered": shaken(every(2), 7 * MS),
    "dropped": some(every(2)),
    "dropped and jittered": some(shaken(every(1), 4 * MS)),
}
"""When the scene is looked at."""


@pytest.mark.parametrize("when", LOOKS)
@pytest.mark.parametrize("name", PRESETS)
def test_animals_keep_their_names_whenever_they_are_looked_at(name: str, when: str) -> None:
    assert names_of(PRESETS[name], look(PRESETS[name], LOOKS[when]), LOOKS[when]) == NAMES[name]


@pytest.mark.parametrize("rate", TICKS)
@pytest.mark.parametrize("name", PRESETS)
def test_animals_keep_their_names_when_the_stamps_are_inexact(name: str, rate: str) -> None:
    looked_ns = every(TICKS[rate])
    stamps_ns = shaken(looked_ns, 3 * MS)
    frames = [frame._replace(time_ns=k) for frame, k in zip(look(PRESETS[name], looked_ns), stamps_ns, strict=True)]
    assert names_of(PRESETS[name], frames, looked_ns) == NAMES[name]


# --- seconds, not frames


@pytest.mark.parametrize("when", LOOKS)
@pytest.mark.parametrize("name", ["open population", "seen for a while first"])
def test_a_track_ends_when_it_was_not_seen_for_so_many_seconds(name: str, when: str) -> None:
    lost_s, last_ns, ended = PRESETS[name].options["lost_s"], dict[int, int](), set()
    frames = look(PRESETS[name], LOOKS[when])
    for frame, tracks in zip(frames, followed(PRESETS[name].tracker(), frames), strict=True):
        ids = tracks.track_ids.tolist()
        last_ns |= {ids[row]: frame.time_ns for row in rows_of(frame.poses, tracks).tolist() if row >= 0}
        unseen_s = {track: (frame.time_ns - seen_ns) * 1e-9 for track, seen_ns in last_ns.items()}
        assert {track for track, unseen in unseen_s.items() if unseen <= lost_s} == set(ids)
        ended |= set(last_ns) - set(ids)
    assert ended == {3}


@pytest.mark.parametrize("when", LOOKS)
def test_a_track_begins_when_its_animal_was_seen_for_so_many_seconds(when: str) -> None:
    preset = PRESETS["seen for a while first"]
    first_ns: dict[int, int] = {}
    frames = look(preset, LOOKS[when])
    for frame, tracks in zip(frames, followed(preset.tracker(), frames), strict=True):
        rows = rows_of(frame.poses, tracks).tolist()
        for animal, row in zip(there(frame.time_ns * 1e-9, preset.n_animals), rows, strict=True):
            seen_for_ns = frame.time_ns - first_ns.setdefault(animal, frame.time_ns)
            assert (row >= 0) is (seen_for_ns * 1e-9 >= preset.options["confirm_s"])


@pytest.mark.parametrize("rate", TICKS)
def test_a_lost_animal_is_taken_up_elsewhere_after_so_many_seconds(rate: str) -> None:
    follower = tracker(lost_s=0.5)
    follower.update(poses(at(0, 0), at(500, 0)), 0)
    for now_ns in every(TICKS[rate])[1:]:
        tracks = follower.update(poses(at(500, 0), at(0, 900)), now_ns)
        assert (tracks.last_seen_ns[0] > 0) == (now_ns > 0.5e9)


def test_what_is_expected_does_not_depend_on_the_frame_rate() -> None:
    expected = []
    for ticks in TICKS.values():
        follower = tracker(max_tracks=1)
        for k in range(0, 25, ticks):
            follower.update(poses(at(4 * k, 0)), k * TICK_NS)
        expected.append(follower.expected_xy(30 * TICK_NS))
    np.testing.assert_allclose(expected, expected[:1] * 3, atol=1e-3)  # float32 px, speeds of rounded steps


def halves(apart_px: float) -> Poses:
    """The left half of one animal and the right half of another, the centres `apart_px` from one another."""
    return poses(seeing(at(0, 0), 0, 1, 2), seeing(at(-200 / 3, apart_px), 3, 4, 5))


def test_confidence_in_contact_does_not_depend_on_the_frame_rate() -> None:
    sure = []
    for ticks in TICKS.values():
        follower = tracker()
        follower.update(poses(at(0, 0), at(-200 / 3, 5)), 0)
        for k in range(ticks, 61, ticks):
            tracks = follower.update(halves(5), k * TICK_NS)
        sure.append(tracks.identity_confidence)
    np.testing.assert_allclose(sure, sure[:1] * 3, atol=0.05)


@pytest.mark.parametrize("elapsed_ns", [0, -50 * MS, 1, 10 * MS, 10**18])
def test_any_clock(elapsed_ns: int) -> None:
    follower = tracker()
    for i in range(10):
        follower.update(poses(at(10 * i, 0), at(10 * i, 200)), (100 + 10 * i) * MS)
    for i in range(1, 4):
        tracks = follower.update(poses(at(100, 0), at(100, 200)), 190 * MS + i * elapsed_ns)
        x = 90 if elapsed_ns < 0 else 100  # what comes too late is not followed
        assert visible(tracks) == {1: (x, 0), 2: (x, 200)}
        assert np.isfinite(tracks.identity_confidence).all()
        expected = follower.expected_xy(190 * MS + i * elapsed_ns)
        assert expected is not None
        assert np.abs(np.nanmean(expected, axis=1) - [[150, 0], [150, 200]]).max() < 100


@pytest.mark.parametrize(("late_ms", "x"), [(999, 0), (1000, 0), (1001, 30)])
def test_what_is_older_by_a_second_is_late_but_older_still_is_a_clock_that_was_set(late_ms: int, x: int) -> None:
    follower = tracker()
    follower.update(poses(at(0, 0)), 5000 * MS)
    assert visible(follower.update(poses(at(30, 0)), (5000 - late_ms) * MS)) == {1: (x, 0)}


def test_the_first_frame_is_never_late() -> None:
    follower = tracker()
    for now_ns in (-5 * MS, 5000 * MS, 3 * MS):
        follower.reset()
        assert visible(follower.update(poses(at(7, 0)), now_ns)) == {1: (7, 0)}


def test_a_clock_that_leaps_once_is_forgiven() -> None:
    follower = tracker()
    for now_ns in (0, 10**15, 10 * MS):
        follower.update(poses(at(0, 0)), now_ns)
    assert follower.update(poses(at(0, 0)), 20 * MS).last_seen_ns.tolist() == [20 * MS]


STEPS = st.tuples(*[st.integers(-20, 20)] * 4)


@settings(deadline=None)
@given(st.lists(STEPS, min_size=2, max_size=25), st.sets(st.integers(1, 24)))
def test_dropped_frames_lose_only_themselves(steps: list[tuple[int, ...]], dropped: set[int]) -> None:
    follower = tracker()
    walks = np.cumsum(np.array(steps), axis=0) / 8 + [100, 100, 140, 160]  # by eighths of a px, exact in float32
    for i, (x, y, other_x, other_y) in enumerate(walks.tolist()):
        if i not in dropped:
            tracks = follower.update(poses(at(x, y), at(other_x, other_y)), 10 * i * MS)
            assert visible(tracks) == {1: (x, y), 2: (other_x, other_y)}


# --- frames that come again, come late, or show nothing


def visible(tracks: Tracks) -> dict[int, tuple[float, float]]:
    """Return the first node of every track that is seen."""
    seen = zip(tracks.track_ids.tolist(), tracks.xy[:, 0].tolist(), strict=True)
    return {track: (x, y) for track, (x, y) in seen if not np.isnan(x)}


def assert_same(plain: list[Tracks], other: list[Tracks], atol: float) -> None:
    for one, again in zip(plain, other, strict=True):
        np.testing.assert_array_equal(again.track_ids, one.track_ids)
        np.testing.assert_array_equal(again.xy, one.xy)
        np.testing.assert_allclose(again.identity_confidence, one.identity_confidence, rtol=0, atol=atol)


CROWDS: dict[str, tuple[Scene, int, dict[str, Any]]] = {  # with the seed
    "crowd": ("occlude", 2, {"max_tracks": 5}),
    "crowd that leaves": ("leave", 6, {"max_tracks": 8, "lost_s": 0.4, "closed_population": False}),
    "crowd seen for a while first": ("cross", 4, {"max_tracks": 5, "confirm_s": 0.05}),
}
SCENES = [*PRESETS, *CROWDS]


def scene(name: str, ticks: int = 2) -> tuple[GreedyTracker, GreedyTracker, list[Frame]]:
    """Return two trackers and what they can look at."""
    if name in PRESETS:
        return PRESETS[name].tracker(), PRESETS[name].tracker(), look(PRESETS[name], every(ticks))
    kind, seed, options = CROWDS[name]
    frames = [Frame(seen.timestamp_ns, seen.poses) for seen in simulate(kind, 5, seconds=8.0, seed=seed)]
    one, other = (tracker(n_nodes=len(body_plan()), **options) for _ in range(2))
    return one, other, frames


def with_repeats(other: GreedyTracker, frames: list[Frame]) -> list[Tracks]:
    """Follow every frame up to three times; return what is told at last."""
    rng, told = np.random.default_rng(2), []
    for frame in frames:
        for _ in range(int(rng.integers(1, 4))):
            tracks = other.update(frame.poses, frame.time_ns)
        told.append(tracks)
    return told


@pytest.mark.parametrize("name", SCENES)
def test_a_frame_that_comes_again_changes_nobodys_name(name: str) -> None:
    plain, other, frames = scene(name)
    assert_same(followed(plain, frames), with_repeats(other, frames), atol=0.02)
    soon_ns = frames[-1].time_ns + 20 * MS
    np.testing.assert_array_equal(other.expected_xy(soon_ns), plain.expected_xy(soon_ns))


@pytest.mark.parametrize("name", SCENES)
def test_a_frame_that_comes_again_costs_no_confidence(name: str) -> None:
    plain, other, frames = scene(name)
    assert_same(followed(plain, frames), with_repeats(other, frames), atol=1e-6)  # some units of float32


def test_a_frame_that_comes_again_costs_no_confidence_where_animals_can_hardly_be_told_apart() -> None:
    sure = []
    for times in (1, 2):
        follower = tracker()
        for seen, now_ns in [(poses(at(0, 0), at(-200 / 3, 0)), 0), *[(halves(0), 10 * MS)] * times]:
            tracks = follower.update(seen, now_ns)
        sure.append(tracks.identity_confidence)
    np.testing.assert_allclose(sure[1], sure[0], atol=1e-6)


def late_by(n_frames: int, other: GreedyTracker, frames: list[Frame]) -> list[Tracks]:
    """Follow all frames, and some once more that many frames too late; return what is told at the right time."""
    rng, told = np.random.default_rng(2), []
    for i, frame in enumerate(frames):
        told.append(other.update(frame.poses, frame.time_ns))
        if i >= n_frames and rng.random() < 0.2:
            other.update(frames[i - n_frames].poses, frames[i - n_frames].time_ns)
    return told


@pytest.mark.parametrize("name", PRESETS)
def test_a_frame_that_is_a_little_late_changes_nobodys_name(name: str) -> None:
    plain, other, frames = scene(name, ticks=1)
    assert_same(followed(plain, frames), late_by(1, other, frames), atol=1e-3)


@pytest.mark.parametrize("name", SCENES)
def test_a_frame_that_is_late_changes_nothing(name: str) -> None:
    plain, other, frames = scene(name, ticks=4)
    assert_same(followed(plain, frames), late_by(3, other, frames), atol=1e-6)


OPEN = {"closed_population": False, "lost_s": 0.5}
LATE_FRAMES: dict[str, tuple[dict[str, Any], list[tuple[int, Poses]], tuple[int, Poses]]] = {
    "does not end a track early": (
        OPEN, [(0, poses(at(0, 0))), (100, poses(at(0, 0))), (550, poses())], (0, poses(at(0, 0))),
    ),
    "does not start a track where an animal was": (
        OPEN, [(0, poses(at(0, 0))), (100, poses(at(70, 0))), (200, poses(at(140, 0)))], (0, poses(at(0, 0))),
    ),
    "does not start a track for an animal that has gone": (
        OPEN, [(0, poses(at(0, 0))), (600, poses()), (610, poses())], (0, poses(at(0, 0))),
    ),
    "does not start a track for something seen only then": (
        {}, [(0, poses(at(0, 0))), (20, poses(at(0, 0))), (30, poses(at(0, 0)))], (10, poses(at(0, 0), at(500, 0))),
    ),
    "does not exchange two animals": (
        {},
        [(33 * i, poses(at(25 * i - 230, 0), at(250 - 25 * i, 20))) for i in [*range(10), 10]],
        (33 * 8, poses(at(25 * 8 - 230, 0), at(250 - 25 * 8, 20))),
    ),
    "does not bring back the confidence in an animal that is out of sight": (
        {}, [(0, poses(at(0, 0), at(500, 0))), (500, poses(at(0, 0))), (510, poses(at(0, 0)))], (0, poses(at(0, 0))),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "in_time", "late"), LATE_FRAMES.values(), ids=LATE_FRAMES)
def test_a_single_frame_that_is_late(
    options: dict[str, Any], in_time: list[tuple[int, Poses]], late: tuple[int, Poses]
) -> None:
    plain, other = tracker(**options), tracker(**options)
    frames = [Frame(ms * MS, seen) for ms, seen in in_time]
    expected = followed(plain, frames)
    told = followed(other, frames[:-1])
    between = other.update(late[1], late[0] * MS)
    assert between.track_ids.tolist() == told[-1].track_ids.tolist()
    assert (between.identity_confidence <= told[-1].identity_confidence + 1e-6).all()
    assert_same(expected, [*told, *followed(other, frames[-1:])], atol=1e-6)


@pytest.mark.parametrize("name", SCENES)
def test_poses_of_nan_are_no_poses(name: str) -> None:
    """Whole frames of them, and single ones among others."""
    plain, other, frames = scene(name)
    rng = np.random.default_rng(2)
    for frame in frames:
        found = rng.random(len(frame.poses.xy)) < (0.0 if rng.random() < 0.2 else 0.9)
        gone = frame.poses.xy.copy()
        gone[~found] = np.nan
        fewer = Poses(
            frame.poses.xy[found],
            frame.poses.node_scores[found],
            frame.poses.instance_scores[found],
            None if frame.poses.class_probs is None else frame.poses.class_probs[found],
        )
        again = other.update(msgspec.structs.replace(frame.poses, xy=gone), frame.time_ns)
        once = plain.update(fewer, frame.time_ns)
        for field in ARRAYS:
            assert getattr(again, field).tobytes() == getattr(once, field).tobytes(), field
