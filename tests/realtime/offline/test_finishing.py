"""Points smoothed over time: against simulated truth, against SciPy's filter, and at everything that ends a run."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.signal import savgol_filter

from realtime.offline import finishing
from realtime.offline.errors import OfflineInputError
from realtime.offline.finishing import check_finishing, check_window, smoothed
from realtime.offline.tracked import TrackedFrame
from realtime.tracking import TrackerOptions
from realtime.tracking.sleap import SleapTrackerOptions

RATE_HZ = 50
NAN = np.nan


def times_of(n, rate_hz=RATE_HZ):
    return np.arange(n) * (10**9 // rate_hz)


def frames_of(points, dtype=np.float32):
    """Frames of `(n_frames, n_tracks, n_nodes, 2)`; a track of NaN is not in the frame."""
    made = []
    for index, tracks in enumerate(np.asarray(points, dtype)):
        here = np.flatnonzero(np.isfinite(tracks).any(axis=(1, 2))).astype(np.int32)
        scores = np.full((len(here), tracks.shape[1]), 0.5, np.float32)
        made.append(TrackedFrame(index, here, tracks[here], scores, scores[:, 0], scores[:, 0]))
    return made


def points_of(frames, shape):
    points = np.full(shape, NAN)
    for k, frame in enumerate(frames):
        points[k, frame.tracks] = frame.xy
    return points


def smooth(points, window_s, times_ns=None, dtype=np.float64):
    points = np.asarray(points, float)
    times_ns = times_of(len(points)) if times_ns is None else times_ns
    return points_of(smoothed(frames_of(points, dtype), times_ns, window_s), points.shape)


def smooth_line(values, window_s, times_ns=None):
    """Smooth one coordinate of the only node of the only track; the other one is the same."""
    points = np.repeat(np.asarray(values, float)[:, np.newaxis], 2, axis=1)[:, np.newaxis, np.newaxis]
    result = smooth(points, window_s, times_ns)[:, 0, 0]
    np.testing.assert_array_equal(result[:, 0], result[:, 1])
    return result[:, 0]


def walk(n=600, seed=0):
    """Where two animals of three nodes really are, turning about once a second, and where a model with noise saw them.

    Returns:
        Truth, velocity in px/s, and what was seen: `(n, 2, 3, 2)`.
    """
    rng = np.random.default_rng(seed)
    times_s = np.arange(n)[:, np.newaxis, np.newaxis, np.newaxis] / RATE_HZ
    turns = 2 * np.pi * rng.uniform(0.3, 1.2, (2, 3, 2, 2))
    phases, widths = rng.uniform(0, 2 * np.pi, (2, 3, 2, 2)), rng.uniform(5, 40, (2, 3, 2, 2))
    angles = turns * times_s[..., np.newaxis] + phases
    truth = 200 + (widths * np.sin(angles)).sum(axis=-1)
    velocity = (widths * turns * np.cos(angles)).sum(axis=-1)
    return truth, velocity, truth + rng.normal(0, 1.5, truth.shape)


def jitter(points):
    return np.diff(points, 2, axis=0).std()


@pytest.mark.parametrize(
    ("window_s", "jitter_left", "error_left"), [(0.08, 0.4, 0.75), (0.16, 0.2, 0.6), (0.24, 0.15, 0.5)]
)
def test_smoothing_brings_points_nearer_to_the_truth_and_does_not_lag(window_s, jitter_left, error_left):
    truth, velocity, seen = walk()
    result = smooth(seen, window_s)
    assert jitter(result) < jitter_left * jitter(seen)
    error, before = result - truth, seen - truth
    assert error.std() < error_left * before.std()
    lag_s = -(error * velocity).sum() / (velocity**2).sum()
    assert abs(lag_s) < 0.1e-3, "a two-hundredth of a frame"
    assert abs(error.mean()) < 0.05
    # At the ends of the run, where the window lies on one side.
    at_ends = np.r_[0:3, -3:0]
    assert error[at_ends].std() < before[at_ends].std()


def test_a_lag_would_be_seen():
    """The measure of the test above, on points that are one frame late."""
    truth, velocity, _ = walk()
    late = np.roll(truth, 1, axis=0)[1:] - truth[1:]
    assert -(late * velocity[1:]).sum() / (velocity[1:] ** 2).sum() == pytest.approx(1 / RATE_HZ, rel=0.01)


def test_backward_in_time_is_the_same():
    _, _, seen = walk(101)
    np.testing.assert_allclose(smooth(seen[::-1], 0.2)[::-1], smooth(seen, 0.2), rtol=0, atol=1e-9)


@pytest.mark.parametrize("half", [2, 3, 6])
def test_at_even_distances_it_is_the_filter_of_savitzky_and_golay(half):
    _, _, seen = walk(80)
    expected = savgol_filter(seen, 2 * half + 1, 2, axis=0, mode="interp")
    np.testing.assert_allclose(smooth(seen, 2 * half / RATE_HZ), expected, rtol=0, atol=1e-9)


UNEVEN = {
    "jitter": np.cumsum(np.random.default_rng(1).uniform(12e6, 28e6, 60)).astype(np.int64),
    "another rate halfway": np.cumsum([20_000_000] * 30 + [30_000_000] * 30),
    "frames left out": np.delete(times_of(70), [3, 10, 11, 17, 30, 31, 40, 52, 53, 61]),
    "Matroska's milliseconds": np.round(np.arange(60) / 60, 3).__mul__(1e9).astype(np.int64),
}


@pytest.mark.parametrize("times_ns", UNEVEN.values(), ids=UNEVEN)
def test_the_frames_times_count_not_their_numbers(times_ns):
    """A parabola in time is its own best fit, at the ends too."""
    times_s = times_ns / 1e9
    line = 3 * times_s**2 - 40 * times_s + 7
    np.testing.assert_allclose(smooth_line(line, 0.2, times_ns), line, rtol=0, atol=1e-9)
    noisy = line + np.random.default_rng(2).normal(0, 1, len(line))
    assert (smooth_line(noisy, 0.2, times_ns) - line).std() < 0.75


def test_the_window_has_the_same_length_at_every_frame_rate():
    """One bump, seen at 50 and at 200 frames/s: the same height is left of it."""
    left = []
    for rate_hz in (50, 200):
        times_ns = times_of(2 * rate_hz, rate_hz)
        bump = np.exp(-(((times_ns / 1e9 - 1) / 0.05) ** 2))
        left.append(smooth_line(bump, 0.2, times_ns).max())
    assert left[0] == pytest.approx(left[1], abs=0.05)
    assert left[0] < 0.9


def noise(n, seed=3):
    return np.random.default_rng(seed).normal(100, 5, n)


def test_nothing_is_smoothed_across_a_gap():
    line = noise(40)
    line[15:18] = NAN
    result = smooth_line(line, 0.12)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(line))
    np.testing.assert_allclose(result[:15], smooth_line(line[:15], 0.12), rtol=0, atol=1e-9)
    np.testing.assert_allclose(result[18:], smooth_line(line[18:], 0.12), rtol=0, atol=1e-9)
    assert np.abs(result - line)[np.isfinite(line)].min() > 0


def test_a_pause_of_the_video_is_a_gap():
    times_ns, line = times_of(40), noise(40)
    times_ns[20:] += 40_000_000  # 60 ms from one frame to the next, and half a window is 60
    joined = smooth_line(line, 0.12, times_ns)
    times_ns[20:] += 1_000_000
    apart = smooth_line(line, 0.12, times_ns)
    np.testing.assert_allclose(apart[:20], smooth_line(line[:20], 0.12), rtol=0, atol=1e-9)
    assert np.abs(joined - apart)[17:23].max() > 0.1


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_run_of_up_to_three_frames_stays(n):
    line = noise(20)
    line[:8] = line[8 + n :] = NAN
    np.testing.assert_array_equal(smooth_line(line, 0.12), line)


def test_a_run_shorter_than_the_window_gets_one_parabola():
    line, at = noise(20), np.arange(6)
    line[:4] = line[10:] = NAN
    expected = np.polyval(np.polyfit(at, line[4:10], 2), at)
    np.testing.assert_allclose(smooth_line(line, 0.2)[4:10], expected, rtol=0, atol=1e-9)


def test_every_node_has_runs_of_its_own():
    _, _, seen = walk(60)
    whole = smooth(seen, 0.2)
    seen[20:24, 0, 1] = NAN
    seen[40, 1] = NAN  # one animal not seen at all: the other moves up a row
    result = smooth(seen, 0.2)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(seen))
    np.testing.assert_allclose(result[:, 0, [0, 2]], whole[:, 0, [0, 2]], rtol=0, atol=1e-9)
    np.testing.assert_allclose(result[24:, 0, 1], smooth(seen[24:], 0.2)[:, 0, 1], rtol=0, atol=1e-9)
    np.testing.assert_allclose(result[:40, 1], smooth(seen[:40], 0.2)[:, 1], rtol=0, atol=1e-9)


def test_half_a_point_is_no_point():
    _, _, seen = walk(20)
    seen[8, 0, 0, 1] = NAN
    result = smooth(seen, 0.2)
    assert result[8, 0, 0, 0] == seen[8, 0, 0, 0]
    np.testing.assert_allclose(result[9:, 0, 0], smooth(seen[9:], 0.2)[:, 0, 0], rtol=0, atol=1e-9)


def test_only_points_with_a_track_change():
    _, _, seen = walk(30)
    frames = [replace(frame, tracks=np.array([-1, 4], np.int32)) for frame in frames_of(seen)]
    for before, after in zip(frames, smoothed(frames, times_of(30), 0.2), strict=True):
        assert after.xy.dtype == np.float32
        np.testing.assert_array_equal(after.xy[0], before.xy[0])
        assert (after.xy[1] != before.xy[1]).any()
        for name in ("index", "tracks", "node_scores", "instance_scores", "tracking_scores"):
            assert getattr(after, name) is getattr(before, name)


def test_what_was_given_is_not_written_to():
    _, _, seen = walk(30)
    frames = frames_of(seen)
    before = [frame.xy.copy() for frame in frames]
    list(smoothed(frames, times_of(30), 0.2))
    for frame, xy in zip(frames, before, strict=True):
        np.testing.assert_array_equal(frame.xy, xy)


@pytest.mark.parametrize("n_block", [1, 7, 50, 150, 151])
def test_blocks_join_without_a_seam(monkeypatch, n_block):
    rng = np.random.default_rng(5)
    _, _, seen = walk(150)
    seen[rng.random(seen.shape[:3]) < 0.05] = NAN
    times_ns = np.cumsum(rng.choice([20_000_000, 40_000_000, 60_000_000, 110_000_000], 150, p=[0.7, 0.1, 0.1, 0.1]))
    whole = smooth(seen, 0.2, times_ns)
    monkeypatch.setattr(finishing, "BLOCK_FRAMES", n_block)
    monkeypatch.setattr(finishing, "AT_ONCE", 40)
    np.testing.assert_allclose(smooth(seen, 0.2, times_ns), whole, rtol=0, atol=1e-9)


def test_only_a_few_frames_are_held(monkeypatch):
    monkeypatch.setattr(finishing, "BLOCK_FRAMES", 10)
    n_read = 0

    def counted(frames):
        nonlocal n_read
        for frame in frames:
            n_read += 1
            yield frame

    _, _, seen = walk(200)
    for k, _ in enumerate(smoothed(counted(frames_of(seen)), times_of(200), 0.1)):
        assert n_read <= k + 10 + 6


WATCHES = st.lists(st.sampled_from([0, 1, 20, 60, 500]), min_size=1, max_size=25)


@given(WATCHES, st.integers(0, 2**32 - 1))
def test_what_is_seen_stays_seen_whatever_the_times(steps_ms, seed):
    """Times that repeat, and pauses: nothing appears, nothing vanishes, nothing flies away."""
    rng = np.random.default_rng(seed)
    times_ns = np.cumsum(steps_ms) * 1_000_000
    line = rng.uniform(0, 100, len(steps_ms))
    line[rng.random(len(line)) < 0.2] = NAN
    assume(len(line) == 1 or 0 < np.median(np.diff(times_ns)) < 0.1e9)
    result = smooth_line(line, 0.5, times_ns)
    np.testing.assert_array_equal(np.isnan(result), np.isnan(line))
    assert np.nanmax(np.abs(result), initial=0) < 1000


@pytest.mark.parametrize("back_ns", [20_000_000, 400_000_000])
def test_where_no_time_passes_a_run_ends(back_ns):
    """A frame with the time of the one before, and a video whose times begin anew in the middle."""
    line, times_ns = noise(40), times_of(40)
    times_ns[30:] -= back_ns
    result = smooth_line(line, 0.12, times_ns)
    np.testing.assert_allclose(result[:30], smooth_line(line[:30], 0.12), rtol=0, atol=1e-9)
    after = smooth_line(line[30:], 0.12) if back_ns == 20_000_000 else line[30:]
    np.testing.assert_allclose(result[30:], after, rtol=0, atol=1e-9)


def test_a_video_without_times():
    with pytest.raises(OfflineInputError) as caught:
        smooth_line(noise(20), 0.12, np.zeros(20, np.int64))
    assert str(caught.value) == (
        "--smooth-s: expected a video whose frames have times of their own, got one that gives most of them the time "
        "of the frame before; leave out --smooth-s, or write the video anew: ffmpeg -r RATE -i VIDEO NEW.mp4"
    )


def test_no_frame_and_one_frame():
    assert list(smoothed([], times_of(0), 0.2)) == []
    assert smooth_line([5.0], 0.2).tolist() == [5.0]
    assert np.isnan(smooth_line([NAN] * 9, 0.2)).all()


def test_a_window_that_holds_too_few_frames():
    message = (
        "--smooth-s: expected 0.08 s or more, the time of 5 frames at 50 frames/s, got 0.06; in fewer frames there is "
        "nothing to smooth"
    )
    for check in (lambda: check_window(0.06, times_of(20)), lambda: smooth_line(noise(20), 0.06)):
        with pytest.raises(OfflineInputError) as caught:
            check()
        assert str(caught.value) == message


def test_the_time_from_frame_to_frame():
    assert check_window(0.08, times_of(9)) == 0.02
    assert check_window(0.08, times_of(1)) == check_window(0.08, times_of(0)) == 0


LIVE, OPEN = TrackerOptions(), TrackerOptions(closed_population=False)
SECONDS = "--smooth-s: expected seconds, more than 0 and at most 10, got {}; 0.2 is a good start"
CLOSED = (
    "--join-breaks: expected tracks that end, got the live tracker for a closed population, which gives a lost animal "
    "its own track back; leave out --join-breaks, or name with --tracker a file whose tracker section says "
    "closed_population = false"
)
WRONG = {
    "no tracks to smooth": (None, {"smooth_s": 0.2}, "--smooth-s: expected tracks, got --no-tracking; leave out one of "
                            "the two"),
    "no tracks to join": (None, {"join_breaks": 2}, "--join-breaks: expected tracks, got --no-tracking; leave out one "
                          "of the two"),
    "no animals": (OPEN, {"join_breaks": 0}, "--join-breaks: expected how many animals there are, 1 or more, got 0"),
    "tracks that never end": (LIVE, {"join_breaks": 2}, CLOSED),
    "zero": (LIVE, {"smooth_s": 0.0}, SECONDS.format("0")),
    "negative": (LIVE, {"smooth_s": -0.1}, SECONDS.format("-0.1")),
    "not a number": (LIVE, {"smooth_s": NAN}, SECONDS.format("nan")),
    "for ever": (LIVE, {"smooth_s": np.inf}, SECONDS.format("inf")),
    "milliseconds": (LIVE, {"smooth_s": 200.0}, SECONDS.format("200")),
}  # fmt: skip


@pytest.mark.parametrize(("tracker", "kind", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_done_is_said_at_once(tracker, kind, message):
    with pytest.raises(OfflineInputError) as caught:
        check_finishing(tracker, **{"join_breaks": None, "smooth_s": None, **kind})
    assert str(caught.value) == message


RIGHT = {
    "nothing": (None, {}),
    "smoothing": (LIVE, {"smooth_s": 0.16}),
    "joining in an open population": (OPEN, {"join_breaks": 2}),
    "joining SLEAP's": (SleapTrackerOptions(), {"join_breaks": 2, "smooth_s": 10.0}),
}


@pytest.mark.parametrize(("tracker", "kind"), RIGHT.values(), ids=RIGHT)
def test_what_can_be_done(tracker, kind):
    check_finishing(tracker, **{"join_breaks": None, "smooth_s": None, **kind})
