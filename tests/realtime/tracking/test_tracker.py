import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracks import ARRAYS, Tracks

# A body of 100 px from the origin to the right, so that its centre is (50, 0).
BODY = np.array([(0, 0), (25, 10), (25, -10), (75, 10), (75, -10), (100, 0)], dtype=np.float32)
N_NODES = len(BODY)
FRAME_NS = 10_000_000
CLASSES = ("female", "male")


def poses(
    *instances: np.ndarray, scores: tuple[float, ...] = (), class_probs: list[list[float]] | None = None
) -> Poses:
    xy = np.array(instances, dtype=np.float32).reshape(-1, N_NODES, 2)
    return Poses(
        xy=xy,
        node_scores=np.where(np.isnan(xy[..., 0]), 0, 1).astype(np.float32),
        instance_scores=np.array(scores or (1.0,) * len(xy), dtype=np.float32),
        class_probs=None if class_probs is None else np.array(class_probs, dtype=np.float32),
    )


def at(x: float, y: float) -> np.ndarray:
    return BODY + np.array([x, y], dtype=np.float32)


def seeing(pose: np.ndarray, *nodes: int) -> np.ndarray:
    partial = np.full_like(pose, np.nan)
    partial[list(nodes)] = pose[list(nodes)]
    return partial


def tracker(class_names: tuple[str, ...] = (), **options: object) -> GreedyTracker:
    return GreedyTracker(TrackerOptions.model_validate(options), N_NODES, class_names)


def where(tracks: Tracks) -> dict[int, tuple[float, float] | None]:
    """First node of every track, relative to the body's origin; None = not seen."""
    return {
        int(track_id): None if np.isnan(xy[0]).any() else (float(xy[0, 0]), float(xy[0, 1]))
        for track_id, xy in zip(tracks.track_ids, tracks.xy, strict=True)
    }


# --- starting


def test_no_animals() -> None:
    tracks = tracker().update(poses(), 0)
    assert tracks.track_ids.shape == (0,)
    assert tracks.xy.shape == (0, N_NODES, 2)


def test_animals_of_the_first_frame_are_numbered_from_left_to_right() -> None:
    tracks = tracker().update(poses(at(500, 0), at(0, 300)), 7)
    assert where(tracks) == {1: (0, 300), 2: (500, 0)}
    assert tracks.identity_confidence.tolist() == [1, 1]
    assert tracks.last_seen_ns.tolist() == [7, 7]
    assert tracks.class_ids.tolist() == [-1, -1]
    assert [tracks.track_ids.dtype, tracks.xy.dtype, tracks.node_scores.dtype] == [np.int32, np.float32, np.float32]
    assert [tracks.identity_confidence.dtype, tracks.last_seen_ns.dtype] == [np.float32, np.int64]


def test_with_more_detections_than_animals_the_best_scores_start() -> None:
    tracks = tracker().update(poses(at(0, 0), at(300, 0), at(600, 0), scores=(0.5, 0.9, 0.8)), 0)
    assert where(tracks) == {1: (300, 0), 2: (600, 0)}


@pytest.mark.parametrize(
    ("instance", "score"),
    [
        pytest.param(seeing(at(0, 0), 0, 1), 1.0, id="too-few-nodes"),
        pytest.param(at(0, 0), 0.1, id="score-too-low"),
        pytest.param(at(0, 0), np.nan, id="no-score"),
        pytest.param(at(0, 0) * np.nan, 1.0, id="nothing-seen"),
    ],
)
def test_what_does_not_start_a_track(instance: np.ndarray, score: float) -> None:
    assert not where(tracker(min_visible_nodes=3, min_score=0.2).update(poses(instance, scores=(score,)), 0))


def test_a_second_detection_of_an_animal_does_not_start_a_track() -> None:
    follower = tracker()
    half = seeing(at(2, 2), 3, 4, 5)
    other_half = seeing(at(0, 0), 0, 1, 2)
    assert len(follower.update(poses(at(0, 0), at(3, 0), half), 0).track_ids) == 1
    assert where(follower.update(poses(at(0, 0), other_half), FRAME_NS)) == {1: (0, 0)}


def test_two_incomplete_skeletons_on_one_animal_are_one_animal() -> None:
    follower = tracker()
    halves = poses(seeing(at(0, 0), 0, 3, 4), seeing(at(0, 0), 1, 2, 5))
    for i in range(3):
        assert follower.update(halves, i * FRAME_NS).track_ids.tolist() == [1]


# --- following


def test_two_animals_cross() -> None:
    follower = tracker()
    for i in range(100):
        tracks = follower.update(poses(at(1000 - 10 * i, 20), at(10 * i, -20)), i * FRAME_NS)
        assert where(tracks) == {1: (10 * i, -20), 2: (1000 - 10 * i, 20)}


def test_an_animal_that_runs_through_a_gap_is_expected_ahead() -> None:
    follower = tracker(velocity_s=0.1)
    for i in range(30):
        follower.update(poses(at(10 * i, 0)), i * FRAME_NS)
    expected = follower.expected_xy(32 * FRAME_NS)
    assert expected is not None
    assert expected.dtype == np.float32
    # Three frames after the last one: 30 px at full speed, a little less because velocity fades.
    fading = 1000 * 0.1 * (1 - math.exp(-0.03 / 0.1))
    np.testing.assert_allclose(np.nanmean(expected, axis=1), [[290 + 50 + fading, 0]], atol=1.5)


def test_nothing_is_expected_without_tracks() -> None:
    assert tracker().expected_xy(0) is None


def test_expecting_changes_nothing() -> None:
    asked, silent = tracker(), tracker()
    for i in range(20):
        seen = poses(at(9 * i, 0), at(400 - 7 * i, i))
        asked.expected_xy(i * FRAME_NS)
        assert_same(asked.update(seen, i * FRAME_NS), silent.update(seen, i * FRAME_NS))


def test_the_rows_stay_in_the_order_of_ids_while_an_animal_is_not_seen() -> None:
    follower = tracker()
    follower.update(poses(at(0, 0), at(500, 0)), 0)
    tracks = follower.update(poses(at(500, 0)), FRAME_NS)
    assert where(tracks) == {1: None, 2: (500, 0)}
    assert tracks.node_scores[0].tolist() == [0] * N_NODES
    assert tracks.last_seen_ns.tolist() == [0, FRAME_NS]


def test_an_animal_seen_by_other_nodes_than_before_is_found_by_its_centre() -> None:
    follower = tracker()
    follower.update(poses(at(0, 0), at(300, 0)), 0)
    follower.update(poses(seeing(at(0, 0), 0, 1, 2), at(300, 0)), FRAME_NS)
    tracks = follower.update(poses(at(300, 0), seeing(at(0, 0), 3, 4)), 2 * FRAME_NS)
    np.testing.assert_array_equal(tracks.xy[0], seeing(at(0, 0), 3, 4))


def test_a_false_detection_far_away_is_nobody() -> None:
    follower = tracker()
    follower.update(poses(at(0, 0), at(500, 0)), 0)
    tracks = follower.update(poses(at(500, 0), at(0, 900)), FRAME_NS)
    assert where(tracks) == {1: None, 2: (500, 0)}


def test_the_worse_of_two_detections_does_not_become_the_animal_that_is_missing() -> None:
    follower = tracker()
    follower.update(poses(at(0, 0), at(60, 0)), 0)
    tracks = follower.update(poses(at(0, 0), at(4, 0), scores=(0.9, 0.8)), FRAME_NS)
    assert where(tracks) == {1: (0, 0), 2: None}


# --- losing


def lost_for_two_seconds(follower: GreedyTracker) -> int:
    """Two animals at (0, 0) and (500, 0), the first of them not seen any more; return the time after that."""
    follower.update(poses(at(0, 0), at(500, 0)), 0)
    for i in range(1, 200):
        follower.update(poses(at(500, 0)), i * FRAME_NS)
    return 200 * FRAME_NS


def test_in_a_closed_population_a_detection_left_over_is_the_lost_animal() -> None:
    follower = tracker()
    now_ns = lost_for_two_seconds(follower)
    tracks = follower.update(poses(at(900, 900), at(500, 0)), now_ns)
    assert where(tracks) == {1: (900, 900), 2: (500, 0)}
    assert tracks.identity_confidence.tolist() == [1, 1]  # it was the only one missing
    assert where(follower.update(poses(at(900, 910), at(500, 0)), now_ns + FRAME_NS)) == {1: (900, 910), 2: (500, 0)}


def test_of_two_lost_animals_it_may_be_either() -> None:
    follower = tracker(max_tracks=3)
    follower.update(poses(at(0, 0), at(0, 300), at(500, 0)), 0)
    for i in range(1, 200):
        follower.update(poses(at(500, 0)), i * FRAME_NS)
    tracks = follower.update(poses(at(900, 900), at(500, 0)), 200 * FRAME_NS)
    assert sum(place == (900, 900) for place in where(tracks).values()) == 1
    assert tracks.identity_confidence[:2].max() < 0.5
    assert tracks.identity_confidence[2] == 1


def test_a_track_is_not_given_away_before_it_is_lost() -> None:
    follower = tracker(lost_s=2.5)
    now_ns = lost_for_two_seconds(follower)
    assert where(follower.update(poses(at(900, 900), at(500, 0)), now_ns)) == {1: None, 2: (500, 0)}


def test_in_an_open_population_it_is_a_new_one() -> None:
    follower = tracker(closed_population=False)
    now_ns = lost_for_two_seconds(follower)
    tracks = follower.update(poses(at(900, 900), at(500, 0)), now_ns)
    assert where(tracks) == {2: (500, 0), 3: (900, 900)}
    assert tracks.identity_confidence.tolist() == [1, 1]


def test_confidence_fades_while_an_animal_is_not_seen_and_comes_back_with_it() -> None:
    follower = tracker(lost_s=1.0)
    follower.update(poses(at(0, 0), at(500, 0)), 0)
    unseen = follower.update(poses(at(500, 0)), 50 * FRAME_NS)
    np.testing.assert_allclose(unseen.identity_confidence, [0.5 + 0.5 * math.exp(-0.5), 1], rtol=1e-6)
    seen = follower.update(poses(at(0, 0), at(500, 0)), 51 * FRAME_NS)
    assert seen.identity_confidence.min() > 0.99


def test_confidence_drops_when_an_animal_may_be_another_that_is_not_seen() -> None:
    follower = tracker()
    follower.update(poses(at(0, 0), at(200, 0)), 0)
    follower.update(poses(), 5 * FRAME_NS)
    one_of_them = follower.update(poses(at(100, 0)), 20 * FRAME_NS)
    assert one_of_them.identity_confidence[0] < 0.7


@pytest.mark.parametrize(
    ("hidden_together", "unseen_frames", "options", "lowest", "highest"),
    [
        (True, 1, {}, 0.99, 1.0),
        (True, 25, {}, 0.5, 0.7),
        (True, 50, {}, 0.5, 0.51),
        (False, 50, {}, 0.99, 1.0),
        (False, 50, {"closed_population": False, "max_tracks": 4}, 0.25, 0.26),
        (False, 1, {"closed_population": False, "max_tracks": 4}, 0.99, 1.0),
    ],
    ids=["a missed frame", "a while", "long", "alone", "alone in an open population", "a missed frame there"],
)
def test_confidence_is_lost_where_another_animal_may_have_come_out(
    hidden_together: bool, unseen_frames: int, options: dict[str, object], lowest: float, highest: float
) -> None:
    follower = tracker(**options)
    follower.update(poses(at(0, 0), at(0, 100)), 0)
    for k in range(1, unseen_frames + 1):
        follower.update(poses() if hidden_together else poses(at(0, 100)), k * FRAME_NS)
    seen = follower.update(poses(at(0, 0), at(0, 100)), (unseen_frames + 1) * FRAME_NS)
    assert lowest <= seen.identity_confidence[0] <= highest
    assert hidden_together or seen.identity_confidence[1] > 0.99


def test_animals_far_from_one_another_are_no_rivals() -> None:
    follower = tracker()
    follower.update(poses(at(0, 0), at(900, 0)), 0)
    follower.update(poses(), 50 * FRAME_NS)
    seen = follower.update(poses(at(0, 0), at(900, 0)), 51 * FRAME_NS)
    assert seen.identity_confidence.min() > 0.99


def test_at_a_low_frame_rate_nothing_is_lost() -> None:
    follower = tracker()
    for k in range(20):
        tracks = follower.update(poses(at(0, 0), at(0, 100)), k * 60 * FRAME_NS)
    assert tracks.identity_confidence.min() > 0.99


def test_confidence_drops_when_two_animals_cannot_be_told_apart() -> None:
    follower = tracker()
    follower.update(poses(at(0, 0), at(0, 40)), 0)
    clear = follower.update(poses(at(0, 0), at(0, 40)), FRAME_NS)
    assert clear.identity_confidence.min() > 0.999
    between = follower.update(poses(at(-12, 20), at(12, 20)), 2 * FRAME_NS)
    assert between.identity_confidence.max() < 0.7


def test_reset_starts_anew() -> None:
    follower, fresh = tracker(), tracker()
    lost_for_two_seconds(follower)
    follower.reset()
    seen = poses(at(0, 0), at(500, 0))
    assert_same(follower.update(seen, 0), fresh.update(seen, 0))


def test_warm_up_leaves_no_trace() -> None:
    warm, cold = tracker(CLASSES), tracker(CLASSES)
    warm.warm_up()
    assert warm.expected_xy(0) is None
    seen = poses(at(0, 0), at(500, 0))
    assert_same(warm.update(seen, 0), cold.update(seen, 0))


def test_tracks_own_their_arrays() -> None:
    follower = tracker()
    first = follower.update(poses(at(0, 0), at(500, 0)), 0)
    kept = first.xy.copy()
    follower.update(poses(at(5, 0), at(505, 0)), FRAME_NS)
    np.testing.assert_array_equal(first.xy, kept)


@pytest.mark.parametrize("layout", ["read-only", "strided", "float64"])
def test_any_layout_of_poses(layout: str) -> None:
    plain = poses(at(0, 0), at(500, 0))
    xy = plain.xy.copy()
    if layout == "read-only":
        xy.flags.writeable = False
    elif layout == "strided":
        xy = np.repeat(xy, 2, axis=1)[:, ::2]
    else:
        xy = xy.astype(np.float64)
    odd = Poses(xy, plain.node_scores, plain.instance_scores)
    assert_same(tracker().update(odd, 0), tracker().update(plain, 0))


# --- classes


def test_a_class_is_bound_to_one_track() -> None:
    follower = tracker(CLASSES)
    for i in range(20):
        seen = poses(at(0, 0), at(500, 0), class_probs=[[0.1, 0.9], [0.4, 0.6]])
        tracks = follower.update(seen, i * FRAME_NS)
    assert tracks.class_ids.tolist() == [1, -1]


def test_a_few_wrong_classes_in_contact_do_not_swap_tracks() -> None:
    follower = tracker(CLASSES)
    right, wrong = [[0.95, 0.05], [0.05, 0.95]], [[0.05, 0.95], [0.95, 0.05]]
    for i in range(300):
        seen = poses(at(0, 0), at(0, 40), class_probs=wrong if 200 <= i < 205 else right)
        tracks = follower.update(seen, i * FRAME_NS)
        assert where(tracks) == {1: (0, 0), 2: (0, 40)}
    assert tracks.class_ids.tolist() == [0, 1]


def test_two_animals_lost_together_are_found_by_their_classes() -> None:
    follower = tracker(CLASSES, closed_population=True)
    right = [[0.95, 0.05], [0.05, 0.95]]
    for i in range(100):
        follower.update(poses(at(0, 0), at(0, 40), class_probs=right), i * FRAME_NS)
    tracks = follower.update(poses(at(700, 40), at(700, 0), class_probs=right), 400 * FRAME_NS)
    assert where(tracks) == {1: (700, 40), 2: (700, 0)}
    assert tracks.identity_confidence.tolist() == [0.5, 0.5]
    for i in range(401, 1200):
        tracks = follower.update(poses(at(700, 40), at(700, 0), class_probs=right), i * FRAME_NS)
    assert tracks.class_ids.tolist() == [0, 1]
    assert tracks.identity_confidence.min() > 0.95


def test_class_probs_without_class_names_are_ignored() -> None:
    seen = poses(at(0, 0), class_probs=[[0.0, 1.0]])
    assert tracker().update(seen, 0).class_ids.tolist() == [-1]


# --- options


@pytest.mark.parametrize("options", [{"max_tracks": 0}, {"gate": -1.0}, {"lost_s": 0.0}, {"unknown": 1}, {"gate": "1"}])
def test_wrong_options(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrackerOptions.model_validate(options)


# --- properties

COORDINATE = st.one_of(st.integers(-2000, 8000).map(lambda n: n / 8), st.sampled_from([math.nan, math.inf, -math.inf]))
NODE = st.tuples(COORDINATE, COORDINATE)
SCORE = st.sampled_from([math.nan, 0.0, 0.25, 0.5, 1.0])


@st.composite
def anything(draw: st.DrawFn) -> Poses:
    """Any poses: near animals, duplicates, holes, rubbish."""
    bodies = st.tuples(st.integers(0, 800), st.integers(0, 800)).map(lambda xy: at(*xy).tolist())
    instance = st.one_of(bodies, bodies, st.lists(NODE, min_size=N_NODES, max_size=N_NODES))
    xy = np.array(draw(st.lists(instance, max_size=5)), dtype=np.float32).reshape(-1, N_NODES, 2)
    n = len(xy)
    return Poses(
        xy=xy,
        node_scores=np.array(
            draw(st.lists(SCORE, min_size=n * N_NODES, max_size=n * N_NODES)), dtype=np.float32
        ).reshape(n, N_NODES),
        instance_scores=np.array(draw(st.lists(SCORE, min_size=n, max_size=n)), dtype=np.float32),
        class_probs=np.array(
            draw(st.lists(st.sampled_from([(0.9, 0.1), (0.5, 0.5), (math.nan, 1.0)]), min_size=n, max_size=n)),
            dtype=np.float32,
        ).reshape(n, 2),
    )


FRAMES = st.lists(
    st.tuples(anything(), st.sampled_from([0, 1, -FRAME_NS, FRAME_NS, 10 * FRAME_NS, 10**10])), max_size=8
)


def shuffled(seen: Poses, seed: int) -> Poses:
    order = np.random.default_rng(seed).permutation(len(seen.xy))
    assert seen.class_probs is not None
    return Poses(seen.xy[order], seen.node_scores[order], seen.instance_scores[order], seen.class_probs[order])


def assert_same(a: Tracks, b: Tracks) -> None:
    for field in ARRAYS:
        assert getattr(a, field).tobytes() == getattr(b, field).tobytes(), field


@settings(deadline=None)
@given(FRAMES, st.integers(0, 2**32 - 1), st.booleans())
def test_the_order_of_detections_does_not_matter(frames: list[tuple[Poses, int]], seed: int, closed: bool) -> None:
    one, other, now_ns = tracker(CLASSES, closed_population=closed), tracker(CLASSES, closed_population=closed), 0
    for seen, elapsed_ns in frames:
        now_ns += elapsed_ns
        assert_same(one.update(seen, now_ns), other.update(shuffled(seen, seed), now_ns))


@settings(deadline=None)
@given(FRAMES, st.integers(1, 3), st.booleans())
def test_tracks_are_sound_whatever_comes(frames: list[tuple[Poses, int]], max_tracks: int, closed: bool) -> None:
    follower, now_ns, known, gone = tracker(CLASSES, max_tracks=max_tracks, closed_population=closed), 0, set(), set()
    newest_ns = -(10**18)
    for seen, elapsed_ns in frames:
        now_ns += elapsed_ns
        tracks = follower.update(seen, now_ns)
        newest_ns = newest_ns if 0 < newest_ns - now_ns <= 10**9 else now_ns  # what is late is not followed
        ids = tracks.track_ids.tolist()
        assert ids == sorted(set(ids))
        assert len(ids) <= max_tracks
        assert not gone & set(ids)
        assert not set(ids) - known or min(set(ids) - known) > max(known, default=0)
        gone |= known - set(ids)
        known |= set(ids)
        assert not closed or not gone
        confidence = tracks.identity_confidence
        assert ((confidence >= 1 / max(max_tracks, 2) - 1e-6) & (confidence <= 1)).all()
        classes = [class_id for class_id in tracks.class_ids.tolist() if class_id >= 0]
        assert len(set(classes)) == len(classes)
        visible = ~np.isnan(tracks.xy)
        assert (visible[..., 0] == visible[..., 1]).all()
        assert (tracks.node_scores[~visible[..., 0]] == 0).all()
        assert ((tracks.last_seen_ns == newest_ns) | ~visible.any(axis=(1, 2))).all()
        expected = follower.expected_xy(now_ns)
        assert expected is None if not ids else expected is not None and np.isfinite(np.nanmean(expected, axis=1)).all()
