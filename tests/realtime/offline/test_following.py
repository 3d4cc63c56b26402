"""Who is whom, from stored poses."""

from pathlib import Path

import numpy as np
import pytest

from models.labels import read_labels
from models.poses import Poses
from realtime.offline.finding import Progress
from realtime.offline.following import Follower
from realtime.offline.sleap_following import SleapFollower
from realtime.offline.work_file import FoundBatch, FoundFrame
from realtime.recording.records import pack_poses
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracking.sleap import SleapTracker, SleapTrackerOptions

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
SESSION_A = DATA / "flies_1024" / "session_a.predictions.slp"
OPTIONS = TrackerOptions(min_body_px=5.0)
SHAPE = np.array([[10, 0], [0, 0], [-10, 0]], np.float32)
CLASSES = ("female", "male")


def poses_at(places, scores=None, class_probs=None):
    xy = np.array(places, np.float32).reshape(-1, 1, 2) + SHAPE
    n = len(xy)
    return Poses(
        xy,
        np.full((n, 3), 0.5, np.float32),
        np.arange(1, n + 1, dtype=np.float32) if scores is None else np.array(scores, np.float32),
        None if class_probs is None else np.array(class_probs, np.float32).reshape(n, len(CLASSES)),
    )


def batches_of(frames, period_ns=10_000_000):
    found = [FoundFrame(k, k * period_ns, pack_poses(poses)) for k, poses in enumerate(frames)]
    batches = [FoundBatch(tuple(found[k : k + 4]), n_overflows=1, n_faults=2) for k in range(0, len(found), 4)]
    return lambda: iter(batches)


def tracker(class_names=()):
    return lambda: GreedyTracker(OPTIONS, 3, class_names)


def followed(frames, make_tracker, class_names=(), join_breaks=None):
    follower = Follower(batches_of(frames), make_tracker, class_names, join_breaks)
    survey = follower.survey()
    return survey, list(follower.frames(survey.track_rows))


WALK = [poses_at([[20 + k, 30], [200 - k, 30]]) for k in range(10)]


def test_tracks_are_those_of_the_live_loops_tracker():
    survey, frames = followed(WALK, tracker())
    live = GreedyTracker(OPTIONS, 3)
    for k, frame in enumerate(frames):
        tracks = live.update(WALK[k], k * 10_000_000)
        np.testing.assert_array_equal(frame.xy, tracks.xy)
        np.testing.assert_array_equal(frame.tracks + 1, tracks.track_ids)
        np.testing.assert_array_equal(frame.tracking_scores, tracks.identity_confidence)
        np.testing.assert_array_equal(frame.node_scores, tracks.node_scores)
    assert survey.track_names == ("track_1", "track_2")
    assert (survey.n_frames, survey.end, survey.n_instances, survey.n_left_out) == (10, 10, 20, 0)
    assert (survey.n_overflows, survey.n_faults) == (3, 6)


def test_the_times_of_the_video_decide():
    """A jump that is too far for 10 ms is a walk in 10 s: the gate grows with time, not with frames."""
    jump = [poses_at([[20, 30]]), poses_at([[60, 30]])]
    for period_ns, n_tracks in ((10_000_000, 2), (10_000_000_000, 1)):
        follower = Follower(batches_of(jump, period_ns), tracker(), ())
        assert len(follower.survey().track_names) == n_tracks


def test_an_instance_keeps_its_own_score_whatever_the_order():
    frames = [poses_at([[20, 30], [200, 30]], [0.3, 0.9]), poses_at([[200, 30], [20, 30]], [0.9, 0.3])]
    _, tracked = followed(frames, tracker())
    for frame in tracked:
        np.testing.assert_array_equal(frame.tracks, [0, 1])
        np.testing.assert_array_equal(frame.instance_scores, np.array([0.3, 0.9], np.float32))


def test_scores_of_poses_with_nodes_out_of_sight():
    poses = poses_at([[20, 30], [200, 30], [0, 0]], [0.3, 0.9, 1.0])
    poses.xy[0, 2, 1] = np.nan  # only half of a point
    poses.xy[1, 0] = np.nan
    poses.xy[2] = np.nan  # an instance of nothing
    _, (first, second) = followed([WALK[0], poses], tracker())
    assert len(first.tracks) == 2
    np.testing.assert_array_equal(second.instance_scores, np.array([0.3, 0.9], np.float32))


def test_what_is_more_than_the_animals_is_left_out_and_counted():
    crowd = [poses_at([[20, 30], [200, 30], [100, 300]]) for _ in range(5)]
    survey, frames = followed(crowd, tracker())
    assert survey.n_left_out == 5
    assert [len(frame.tracks) for frame in frames] == [2] * 5


def test_frames_without_animals_are_frames():
    frames = [poses_at([]), WALK[0], poses_at([]), poses_at([])]
    survey, tracked = followed(frames, tracker())
    assert [frame.index for frame in tracked] == [0, 1, 2, 3]
    assert [len(frame.tracks) for frame in tracked] == [0, 2, 0, 0]
    assert (survey.n_frames, survey.end, survey.n_instances) == (4, 4, 2)


def test_no_animal_at_all():
    survey, frames = followed([poses_at([])] * 3, tracker(CLASSES), CLASSES)
    assert survey.track_names == ()
    assert [len(frame.tracks) for frame in frames] == [0, 0, 0]


FEMALE, MALE, UNSURE = [0.95, 0.05], [0.05, 0.95], [0.5, 0.5]
NAMES = {
    "both known": ([MALE, FEMALE], ("male", "female")),
    "one known": ([MALE, UNSURE], ("male", "track_2")),
    "both the same": ([MALE, MALE], None),
    "nobody known": ([UNSURE, UNSURE], ("track_1", "track_2")),
}


@pytest.mark.parametrize(("probs", "names"), NAMES.values(), ids=NAMES)
def test_tracks_are_named_by_the_class_that_is_theirs_alone(probs, names):
    frames = [poses_at([[20 + k, 30], [200 - k, 30]], class_probs=probs) for k in range(40)]
    survey, _ = followed(frames, tracker(CLASSES), CLASSES)
    if names is None:
        assert sorted(survey.track_names) in (["male", "track_1"], ["male", "track_2"])
    else:
        assert survey.track_names == names


def test_a_class_seen_for_a_moment_is_no_name():
    looks = [[UNSURE, UNSURE]] * 30 + [[MALE, FEMALE]] * 10
    frames = [poses_at([[20, 30], [200, 30]], class_probs=probs) for probs in looks]
    assert followed(frames, tracker(CLASSES), CLASSES)[0].track_names == ("track_1", "track_2")


def test_without_tracker_every_instance_is_kept_and_has_no_track():
    survey, frames = followed([poses_at([[20, 30], [21, 30], [200, 30]])], None)
    assert survey.track_names == ()
    assert (survey.n_instances, survey.n_left_out) == (3, 0)
    np.testing.assert_array_equal(frames[0].tracks, [-1, -1, -1])
    np.testing.assert_array_equal(frames[0].tracking_scores, [0, 0, 0])


def test_without_tracker_an_identity_model_names_its_instances():
    frames = [
        poses_at([[20, 30], [200, 30]], class_probs=[MALE, FEMALE]),
        poses_at([[20, 30], [200, 30]], class_probs=[FEMALE, [0.9, 0.1]]),  # the second is not a male for that
    ]
    survey, tracked = followed(frames, None, CLASSES)
    assert survey.track_names == CLASSES
    np.testing.assert_array_equal(tracked[0].tracks, [1, 0])
    np.testing.assert_allclose(tracked[0].tracking_scores, [0.95, 0.95])
    assert sorted(tracked[1].tracks.tolist()) == [-1, 0]


def test_every_pass_gives_the_same():
    follower = Follower(batches_of(WALK), tracker(), ())
    rows = follower.survey().track_rows
    first, second = list(follower.frames(rows)), list(follower.frames(rows))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.tracks, b.tracks)
        np.testing.assert_array_equal(a.xy, b.xy)


def sleap(**options):
    follower = SleapFollower(SleapTracker(SleapTrackerOptions(tracker="simple", **options), 3))
    return lambda: follower


def test_tracks_of_sleaps_tracker():
    """Names, scores and order are SLEAP's: the most alike first, and no limit to the tracks."""
    frames = [poses_at([[20, 30], [200, 30]], [0.3, 0.9]), poses_at([[400, 30], [21, 30], [200, 30]], [0.2, 0.3, 0.9])]
    survey, (first, second) = followed(frames, sleap(), CLASSES)
    assert survey.track_names == ("track_0", "track_1", "track_2")
    assert (survey.n_instances, survey.n_left_out) == (5, 0)
    np.testing.assert_array_equal(first.tracks, [0, 1])
    np.testing.assert_array_equal(first.tracking_scores, [0, 0])
    np.testing.assert_array_equal(second.tracks, [1, 0, 2])
    np.testing.assert_array_equal(second.xy, frames[1].xy[[2, 1, 0]])
    np.testing.assert_array_equal(second.node_scores, frames[1].node_scores[[2, 1, 0]])
    np.testing.assert_array_equal(second.instance_scores, np.array([0.9, 0.3, 0.2], np.float32))
    np.testing.assert_allclose(second.tracking_scores, [1, np.exp(-1), 0], rtol=1e-6)


def test_what_sleaps_tracker_drops_is_left_out_and_counted():
    poses = poses_at([[20, 30], [200, 30]])
    poses.xy[0, 1:] = np.nan
    survey, frames = followed([poses, poses_at([])], sleap(min_new_track_points=2))
    assert (survey.track_names, survey.n_instances, survey.n_left_out) == (("track_0",), 1, 1)
    np.testing.assert_array_equal(frames[0].xy, poses.xy[1:])
    assert len(frames[1].tracks) == 0


# One animal ends for a frame and is another track afterwards; the other one stays.
BREAK = [
    poses_at([[20, 30], [200, 30]]),
    poses_at([[200, 30]]),
    poses_at([[200, 30]]),
    poses_at([[20, 30], [200, 30]]),
    poses_at([[200, 30], [20, 30]]),
]


def connected(make_tracker, join_breaks, class_names=(), frames=BREAK):
    """Return the survey and the names in each frame, with the x of the thorax."""
    follower = Follower(batches_of(frames), make_tracker, class_names, join_breaks)
    survey = follower.survey()
    first, second = (list(follower.frames(survey.track_rows)) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.tracks, b.tracks)
    named = [dict(zip([survey.track_names[k] for k in f.tracks], f.xy[:, 1, 0].tolist(), strict=True)) for f in first]
    return survey, first, named


def test_single_breaks_of_sleaps_tracks_are_joined():
    """With a window of two frames the track is forgotten when its animal is back."""
    survey, _, named = connected(sleap(track_window=1), None)
    assert survey.track_names == ("track_0", "track_1", "track_2")
    survey, frames, joined = connected(sleap(track_window=1), 2)
    assert survey.track_names == ("track_0", "track_1")
    assert (survey.n_instances, survey.n_left_out) == (8, 0)
    assert named[3] == {"track_1": 200.0, "track_2": 20.0}
    assert joined == [
        {"track_0": 20.0, "track_1": 200.0},
        {"track_1": 200.0},
        {"track_1": 200.0},
        {"track_0": 20.0, "track_1": 200.0},
        {"track_0": 20.0, "track_1": 200.0},
    ]
    np.testing.assert_array_equal(frames[4].tracking_scores, [1, 1])


def open_tracker(class_names=()):
    options = TrackerOptions(min_body_px=5.0, max_tracks=8, closed_population=False, lost_s=0.015)
    return lambda: GreedyTracker(options, 3, class_names)


def test_single_breaks_of_an_open_population_are_joined():
    """Who the joined track is, is taken for granted and not known: its confidence is 0, the others' stay."""
    survey, before, _ = connected(open_tracker(), None)
    assert survey.track_names == ("track_1", "track_2", "track_3")
    survey, after, named = connected(open_tracker(), 2)
    assert survey.track_names == ("track_1", "track_2")
    assert named[3] == named[4] == {"track_1": 20.0, "track_2": 200.0}
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(new.tracking_scores, np.where(old.tracks == 2, 0, old.tracking_scores))
        assert new.tracking_scores.dtype == np.float32
    assert (before[4].tracking_scores > 0).all()


def test_a_joined_track_has_the_name_of_all_its_parts():
    """The first part alone was not seen as a male for most of the time."""
    frames = [poses_at([[20, 30], [200, 30]], class_probs=[UNSURE, FEMALE])] * 5
    frames += [poses_at([[200, 30]], class_probs=[FEMALE])] * 2
    frames += [poses_at([[20, 30], [200, 30]], class_probs=[MALE, FEMALE])] * 40
    assert connected(open_tracker(CLASSES), None, CLASSES, frames)[0].track_names == ("track_1", "female", "male")
    assert connected(open_tracker(CLASSES), 2, CLASSES, frames)[0].track_names == ("male", "female")


def test_how_far_it_is_is_told_in_the_first_pass():
    told = []
    frames = [*WALK, *WALK]
    follower = Follower(batches_of(frames), tracker(), ())
    rows = follower.survey(told.append, end=20).track_rows
    expected = [Progress(k, 20, k, 2, "following") for k in (0, 8, 16, 20)]
    assert told == expected
    list(follower.frames(rows))
    assert told == expected


def test_the_times_of_the_frames():
    survey, _ = followed(WALK, tracker())
    np.testing.assert_array_equal(survey.times_ns, 10_000_000 * np.arange(10))
    assert survey.times_ns.dtype == np.int64


def test_with_joined_breaks_the_tracks_are_those_that_sleap_saved():
    """The poses of 300 frames, in which two flies touch several times."""
    if not SESSION_A.exists():
        pytest.skip(f"needs the recording {SESSION_A.name} beside the checkout")
    saved = read_labels(SESSION_A, kind="predicted")
    found, truth = [], []
    for frame in range(1200, 1500):
        rows = np.flatnonzero(saved.frame_ids == frame)
        xy, scores = saved.xy[rows].astype(np.float32), saved.scores[rows].astype(np.float32)
        found.append(Poses(xy, saved.node_scores[rows], scores))
        truth.append(saved.tracks[rows])
    follower = SleapFollower(SleapTracker(SleapTrackerOptions(tracker="simple"), 13))
    survey, frames = followed(found, lambda: follower, join_breaks=2)
    assert survey.track_names == ("track_0", "track_1")
    pairs = set()
    for frame, poses, tracks in zip(frames, found, truth, strict=True):
        here = [poses.instance_scores.tolist().index(score) for score in frame.instance_scores.tolist()]
        pairs |= set(zip(frame.tracks.tolist(), tracks[here].tolist(), strict=True))
    assert len(pairs) == 2
