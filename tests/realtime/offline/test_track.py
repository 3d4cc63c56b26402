"""A whole video from file to files: interrupted, killed, damaged, empty."""

import csv
import os
import re
import runpy
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import sleap_io

from camera_drivers.errors import CameraFailedError, CameraNotOpenError
from models.errors import ModelFailedError
from models.labels import read_labels
from realtime.offline import OfflineInputError, OtherJobError, TrackRequest, Unfinished, track, track_video
from realtime.offline.images import ImagesAgain
from realtime.offline.track import FINGERPRINT_BYTES, _StoppedError, _unless
from realtime.tracking import TrackerOptions
from realtime.tracking.sleap import SleapTracker, SleapTrackerOptions

HERE = Path(__file__).parent
TRACKER = TrackerOptions(min_body_px=5.0)
WALK = [[[8 + k, 12], [55 - k, 36]] for k in range(40)]


def request_of(video, out, *names, **kind):
    return TrackRequest(video, tuple(out / name for name in names or ("o.csv",)), tracker=TRACKER, **kind)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def assert_same_outputs(folder, other):
    """Compare what the files say, and the paths of the folders only by their last part."""
    assert (folder / "o.csv").read_bytes() == (other / "o.csv").read_bytes()
    for name in ("o.h5", "o.slp"):
        with h5py.File(folder / name) as a, h5py.File(other / name) as b:
            assert set(a) == set(b)
            for key in a:
                if isinstance(a[key], h5py.Dataset) and key != "labels_path":
                    assert np.array(a[key][()]).tobytes() == np.array(b[key][()]).tobytes() or (
                        a[key].dtype == object and np.array_equal(a[key][()], b[key][()])
                    ), f"{name}: {key}"


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_a_video_becomes_files(dots_video, dot_model, out):
    report = track_video(request_of(dots_video, out, "o.slp", "o.h5", "o.csv"), dot_model())
    assert sorted(path.name for path in out.iterdir()) == ["o.csv", "o.h5", "o.slp"]
    assert (report.n_frames, report.n_instances, report.track_names) == (30, 60, ("track_1", "track_2"))
    assert report.damage is None
    labels = sleap_io.load_slp(str(out / "o.slp"), open_videos=False)
    assert labels.video.filename == str(dots_video)
    upper = [row for row in rows_of(out / "o.csv") if float(row["thorax.y"]) == 12]
    assert {row["track"] for row in upper} == {"track_1"}
    np.testing.assert_allclose([float(row["thorax.x"]) for row in upper], np.round(8 + 48 * np.arange(30) / 29))


def test_batches_go_through_the_model(dots_video, dot_model, out):
    model = dot_model()
    track_video(request_of(dots_video, out, batch=7), model)
    assert model.batches == [7, 7, 7, 7, 2]


def test_a_range_keeps_the_videos_own_frame_numbers(dots_video, dot_model, out):
    report = track_video(request_of(dots_video, out, "o.csv", "o.h5", first=10, last=19), dot_model())
    assert report.n_frames == 10
    assert {int(row["frame_idx"]) for row in rows_of(out / "o.csv")} == set(range(10, 20))
    with h5py.File(out / "o.h5") as file:
        assert file["tracks"].shape[-1] == 20
        np.testing.assert_array_equal(np.flatnonzero(file["track_occupancy"][:, 0]), np.arange(10, 20))


def test_progress_is_told(dots_video, dot_model, out):
    told = []
    track_video(request_of(dots_video, out, first=4, last=19), dot_model(), tell=told.append)
    last = told[-1]
    assert (last.index, last.end, last.n_done, last.n_animals) == (20, 20, 16, 2)
    following = [(one.index, one.end, one.n_done) for one in told if one.stage == "following"]
    assert following == [(4, 20, 0), (12, 20, 8), (20, 20, 16)]
    assert [one.stage for one in told] == sorted(one.stage for one in told)


def stop_after(n_frames):
    """Return `stopped` and `tell` that stop a run once so many frames are done."""
    done = [0]
    return {
        "stopped": lambda: done[0] >= n_frames,
        "tell": lambda progress: done.__setitem__(0, progress.n_done),
    }


@pytest.mark.parametrize("n_frames", [1, 4, 16, 29])
def test_an_interrupted_run_goes_on_and_ends_as_if_nothing_had_been(dots_video, dot_model, tmp_path, n_frames):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    names = ("o.slp", "o.h5", "o.csv")
    track_video(request_of(dots_video, whole, *names, batch=4), dot_model())

    request = request_of(dots_video, parts, *names, batch=4)
    report = track_video(request, dot_model(), **stop_after(n_frames))
    assert [path.name for path in parts.iterdir()] == ["o.slp.part"]
    assert report == Unfinished(parts / "o.slp.part", min(-(-n_frames // 4) * 4, 30))
    model = dot_model()
    again = track_video(request, model)
    assert again.n_resumed == report.n_frames
    assert sum(model.batches) == 30 - report.n_frames, "nothing goes through the model twice"
    assert_same_outputs(whole, parts)
    assert not (parts / "o.slp.part").exists()


CHILD = """
import runpy, sys
from pathlib import Path
from realtime.offline import TrackRequest, track_video
from realtime.tracking import TrackerOptions

here, video, out = map(Path, sys.argv[1:])
model = runpy.run_path(str(here / "conftest.py"))["DotModel"]()

def tell(progress):
    if progress.n_done >= 12:
        print(progress.n_done, flush=True)
        sys.stdin.read()  # until killed

outputs = tuple(out / name for name in ("o.slp", "o.h5", "o.csv"))
track_video(TrackRequest(video, outputs, tracker=TrackerOptions(min_body_px=5.0), batch=4), model, tell=tell)
"""


def test_a_killed_process_loses_nothing_that_it_had_told(dots_video, dot_model, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir(), killed.mkdir()
    names = ("o.slp", "o.h5", "o.csv")
    track_video(request_of(dots_video, whole, *names, batch=4), dot_model())

    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(HERE), str(dots_video), str(killed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[2])},
    ) as child:
        assert child.stdout.readline() == "12\n"
        child.send_signal(signal.SIGKILL)
    assert [path.name for path in killed.iterdir()] == ["o.slp.part"]
    report = track_video(request_of(dots_video, killed, *names, batch=4), dot_model())
    assert report.n_resumed == 12
    assert_same_outputs(whole, killed)


def test_killed_while_the_files_were_written(video_of, dot_model, out, monkeypatch):
    request = request_of(video_of(WALK), out)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("realtime.offline.track.write_outputs", killed)
        with pytest.raises(KeyboardInterrupt):
            track_video(request, dot_model())
    monkeypatch.setattr("realtime.offline.track.ReadAhead", None)  # nothing is decoded again
    report = track_video(request, dot_model())
    assert (report.n_frames, report.n_resumed, report.frames_per_s) == (40, 40, None)
    assert len(rows_of(out / "o.csv")) == 80


@pytest.mark.parametrize("last", ["o.slp", "o.h5", "o.csv"])
def test_stopped_while_the_files_were_written(dots_video, dot_model, out, last):
    request = request_of(dots_video, out, "first.csv", last)
    begun = f".{Path(last).stem}.*.draft{Path(last).suffix}"
    report = track_video(request, dot_model(), stopped=lambda: any(out.glob(begun)))
    assert report == Unfinished(request.work_file, 30)
    assert list(out.iterdir()) == [request.work_file]
    assert track_video(request, dot_model()).n_frames == 30


def test_a_wish_to_stop_is_heard_in_the_middle_of_a_pass():
    heard = iter([False, False, True])
    batches = _unless(lambda: next(heard), iter("abc"))
    assert next(batches) == "a"
    with pytest.raises(_StoppedError):
        next(batches)


def test_a_model_that_fails_leaves_what_was_found(dots_video, dot_model, out):
    with pytest.raises(ModelFailedError, match="dots: inference failed"):
        track_video(request_of(dots_video, out, batch=4), dot_model(fails_at=3))
    report = track_video(request_of(dots_video, out, batch=4), dot_model())
    assert report.n_resumed == 12
    assert report.n_frames == 30


OTHER_JOBS = {
    "model": ({"digest": "cd" * 32}, {}, "  model: there model.onnx abababababab, here model.onnx cdcdcdcdcdcd"),
    "frames": ({}, {"last": 25}, "  frames: there 0-, here 0-25"),
}


@pytest.mark.parametrize(("model", "request_kind", "message"), OTHER_JOBS.values(), ids=OTHER_JOBS)
def test_unfinished_work_of_another_job_is_not_mixed_in(dots_video, dot_model, out, model, request_kind, message):
    track_video(request_of(dots_video, out), dot_model(), **stop_after(8))
    other = request_of(dots_video, out, **request_kind)
    with pytest.raises(OtherJobError) as caught:
        track_video(other, dot_model(**model))
    assert message in str(caught.value).splitlines()
    assert track_video(replace(other, overwrite=True), dot_model(**model)).n_resumed == 0


def test_unfinished_work_of_another_video_of_the_same_name(dots_video, dot_model, video_of, out):
    track_video(request_of(dots_video, out), dot_model(), **stop_after(8))
    video_of(WALK[:30], dots_video.name)
    with pytest.raises(OtherJobError, match=re.escape("  video: there dots.mkv (")):
        track_video(request_of(dots_video, out), dot_model())


def test_the_tracker_may_be_chosen_anew_when_a_run_goes_on(dots_video, dot_model, out):
    """It runs when all poses are there, so nothing that was found depends on it."""
    track_video(request_of(dots_video, out), dot_model(), **stop_after(8))
    one = replace(request_of(dots_video, out), tracker=TrackerOptions(min_body_px=5.0, max_tracks=1))
    report = track_video(one, dot_model())
    assert report.n_resumed == 8
    assert (report.track_names, report.n_left_out) == (("track_1",), 30)


def damaged(video, at, n_bytes=400):
    content = bytearray(video.read_bytes())
    place = int(len(content) * at)
    content[place : place + n_bytes] = np.random.default_rng(0).bytes(n_bytes)
    video.write_bytes(content)
    return video


@pytest.fixture
def noisy_video(tmp_path):
    """120 frames of dots in noise, so that there are bytes enough to hit one frame; its length is known."""
    world = runpy.run_path(str(HERE / "conftest.py"))
    rng = np.random.default_rng(0)
    images = [world["image_of"](world["dots"](k, 120)) + rng.integers(0, 90, (48, 64), np.uint8) for k in range(120)]
    images = [np.where(image > 200, 250, image).astype(np.uint8) for image in images]
    return world["write_images"](tmp_path / "noisy.mp4", images)


def test_damage_in_the_middle_keeps_what_was_before_it(noisy_video, dot_model, out):
    report = track_video(request_of(damaged(noisy_video, 0.5), out, "o.slp", "o.csv"), dot_model())
    assert 20 < report.n_frames < 100
    assert f"frame {report.n_frames}" in report.damage
    assert report.outputs == (out / "o.slp", out / "o.csv")
    assert sorted(path.name for path in out.iterdir()) == ["o.csv", "o.slp"]
    labels = sleap_io.load_slp(str(out / "o.slp"), open_videos=False)
    assert len(labels) == report.n_frames
    assert labels.provenance["partial"] == report.damage


def test_a_damaged_first_frame_leaves_nothing(noisy_video, dot_model, out):
    with pytest.raises(CameraFailedError, match="expected a readable frame 0"):
        track_video(request_of(damaged(noisy_video, 0.002, n_bytes=3000), out), dot_model())
    assert list(out.iterdir()) == []


def test_a_video_of_another_size_is_refused_before_anything_is_made(dots_video, dot_model, out):
    model = dot_model()
    model.spec.image = model.spec.image.model_copy(update={"height_px": 96, "width_px": 128})
    with pytest.raises(OfflineInputError) as caught:
        track_video(request_of(dots_video, out), model)
    assert str(caught.value) == (
        f"{dots_video}: expected 128 × 96 px, for which the model was exported, got 64 × 48; make a model for this "
        "size: with `poseloop import --size 64x48`, or export it again"
    )
    assert list(out.iterdir()) == []


def test_a_range_that_the_video_does_not_have(video_of, dot_model, out):
    video = video_of(WALK)
    for kind, got in (({"first": 40}, "40-"), ({"first": 3, "last": 40}, "3-40")):
        with pytest.raises(OfflineInputError) as caught:
            track_video(request_of(video, out, **kind), dot_model())
        assert str(caught.value) == f"{video}: expected frames within 0-39, got {got}"
    assert list(out.iterdir()) == []


def test_a_range_behind_the_end_of_a_video_that_does_not_say_its_length(dots_video, dot_model, out):
    with pytest.raises(OfflineInputError) as caught:
        track_video(request_of(dots_video, out, first=30), dot_model())
    assert str(caught.value) == f"{dots_video}: expected a frame 30 to begin with, got a video of 30 frames"
    assert list(out.iterdir()) == []


def test_a_file_that_is_no_video(tmp_path, dot_model, out):
    (tmp_path / "notes.mp4").write_text("no video")
    with pytest.raises(CameraNotOpenError, match=r"notes.mp4: expected a video file"):
        track_video(request_of(tmp_path / "notes.mp4", out), dot_model())
    assert list(out.iterdir()) == []


def test_no_animal_in_the_whole_video(video_of, dot_model, out):
    video = video_of([np.zeros((0, 2))] * 12)
    report = track_video(request_of(video, out, "o.slp", "o.h5", "o.csv"), dot_model())
    assert (report.n_frames, report.n_instances, report.track_names) == (12, 0, ())
    assert len(sleap_io.load_slp(str(out / "o.slp"), open_videos=False)) == 12
    with h5py.File(out / "o.h5") as file:
        assert file["tracks"].shape == (0, 2, 3, 12)


def test_frames_with_too_many_animals_are_counted_across_runs(video_of, dot_model, out):
    video = video_of([[*places, [30, 24]] for places in WALK])
    track_video(request_of(video, out), dot_model(), **stop_after(16))
    report = track_video(request_of(video, out), dot_model())
    assert report.n_overflows == 40
    assert report.n_left_out == 40


def test_a_video_with_gaps_in_time_is_followed_by_its_own_times(video_of, dot_model, out):
    """The animal is elsewhere after a break of ten seconds, and still the same one."""
    places = [[[10, 12]], [[10, 12]], [[30, 12]], [[30, 12]]]
    one = TrackerOptions(min_body_px=5.0, max_tracks=2, closed_population=False, lost_s=60)
    names = []
    for name, times_ms in (("steady.mkv", [0, 10, 20, 30]), ("gap.mkv", [0, 10, 10_010, 10_020])):
        request = TrackRequest(video_of(places, name, times_ms), (out / f"{name}.csv",), tracker=one)
        names.append(track_video(request, dot_model()).track_names)
    assert names == [("track_1", "track_2"), ("track_1",)]


def test_tracks_of_an_identity_model_have_the_animals_names(dots_video, dot_model, out):
    names = ("male", "female")
    report = track_video(request_of(dots_video, out), dot_model(class_names=names))
    assert report.track_names == names
    assert {row["track"] for row in rows_of(out / "o.csv") if float(row["thorax.y"]) == 12} == {"male"}


def test_without_tracking(dots_video, dot_model, out):
    request = replace(request_of(dots_video, out, "o.slp", "o.csv"), tracker=None)
    report = track_video(request, dot_model())
    assert (report.n_instances, report.n_left_out, report.track_names) == (60, 0, ())
    assert {row["track"] for row in rows_of(out / "o.csv")} == {""}


def test_untracked_animals_in_an_analysis_file_are_refused_before_the_work(dots_video, dot_model, out):
    request = replace(request_of(dots_video, out, "o.slp", "o.h5"), tracker=None)
    model = dot_model()
    with pytest.raises(OfflineInputError, match=r"o.h5: an analysis file has one row for each track"):
        track_video(request, model)
    assert model.batches == []
    assert list(out.iterdir()) == []
    assert track_video(request, dot_model(class_names=("male", "female"))).track_names == ("male", "female")


def test_outputs_that_are_there_are_kept(dots_video, dot_model, out):
    (out / "o.csv").write_text("mine")
    with pytest.raises(OfflineInputError, match="is there already"):
        track_video(request_of(dots_video, out), dot_model())
    assert (out / "o.csv").read_text() == "mine"
    track_video(request_of(dots_video, out, overwrite=True), dot_model())
    assert len(rows_of(out / "o.csv")) == 60


def test_only_the_beginning_of_the_video_is_hashed():
    """Hours of video are not read twice."""
    assert FINGERPRINT_BYTES <= 1 << 20


def test_sleaps_tracker_takes_the_place_of_the_live_one(dots_video, dot_model, out):
    request = replace(request_of(dots_video, out, "o.slp", "o.csv"), tracker=SleapTrackerOptions(tracker="simple"))
    report = track_video(request, dot_model())
    assert (report.n_instances, report.n_left_out, report.track_names) == (60, 0, ("track_0", "track_1"))
    labels = sleap_io.load_slp(str(out / "o.slp"), open_videos=False)
    assert [track.name for track in labels.tracks] == ["track_0", "track_1"]
    assert labels.provenance["tracker"] == request.tracker.model_dump(mode="json")
    for row in rows_of(out / "o.csv"):  # the model gives the lower one first
        assert row["track"] == ("track_0" if float(row["thorax.y"]) == 36 else "track_1")


SCORES = {
    "the live one": (TRACKER, "identity_confidence"),
    "SLEAP's": (SleapTrackerOptions(tracker="simple"), "similarity"),
    "none": (None, "class_probability"),
}


@pytest.mark.parametrize(("tracker", "meaning"), SCORES.values(), ids=SCORES)
def test_the_file_says_what_its_tracking_scores_mean(dots_video, dot_model, out, tracker, meaning):
    """Only the live tracker's are confidences for who reads the file again."""
    track_video(replace(request_of(dots_video, out, "o.slp"), tracker=tracker), dot_model())
    labels = sleap_io.load_slp(str(out / "o.slp"), open_videos=False)
    scores = np.array([one.tracking_score for frame in labels for one in frame])
    assert (labels.provenance["tracking_score"], len(scores)) == (meaning, 60)
    confidence = read_labels(out / "o.slp", kind="predicted").identity_confidence
    np.testing.assert_array_equal(confidence, scores if tracker is TRACKER else np.full(60, np.nan))
    assert tracker is not TRACKER or scores.min() > 0.9


@pytest.mark.parametrize("stopped_once", [False, True])
def test_sleaps_flow_looks_at_the_frames_of_the_poses_once(dots_video, dot_model, out, monkeypatch, stopped_once):
    """Of 30 frames the last 10: the dots of each image are where the model found them, over several passes."""
    seen = []

    def update(tracker, xy, node_scores, image):
        places = np.argwhere(image > 200)[:, ::-1]
        np.testing.assert_array_equal(sorted(places.tolist()), sorted(xy[:, 1].tolist()))
        seen.append(image.shape)
        return real(tracker, xy, node_scores, image)

    real = SleapTracker.update
    monkeypatch.setattr(SleapTracker, "update", update)
    request = request_of(dots_video, out, "o.slp", "o.h5", "o.csv", first=20, batch=4)
    request = replace(request, tracker=SleapTrackerOptions())
    if stopped_once:
        calls = []
        stop_at_the_third_batch = lambda: calls.append(1) or len(calls) > 3  # noqa: E731
        assert isinstance(track_video(request, dot_model(), stopped=stop_at_the_third_batch), Unfinished)
        assert seen == []
    report = track_video(request, dot_model())
    assert (report.n_frames, report.n_instances, report.n_resumed > 0) == (10, 20, stopped_once)
    assert seen == [(48, 64)] * 10


def test_what_sleaps_tracker_opened_is_closed(dots_video, dot_model, out, monkeypatch):
    opened = []

    class Spied(ImagesAgain):
        def __init__(self, path, channels):
            super().__init__(path, channels)
            opened.append("open")

        def close(self):
            super().close()
            opened.append("closed")

    monkeypatch.setattr(track, "ImagesAgain", Spied)
    flow = replace(request_of(dots_video, out), tracker=SleapTrackerOptions())
    track_video(flow, dot_model())
    assert opened == ["open", "closed"]
    track_video(replace(flow, tracker=SleapTrackerOptions(tracker="simple"), overwrite=True), dot_model())
    assert opened == ["open", "closed"]


# The lower animal is gone now and then: for a tracker that forgets it at once it is another one every time.
STROLL = np.array([[[8 + 1.3 * k, 12], [55 - 1.3 * k, 36]] for k in range(36)]).round()
COMES_AND_GOES = [places[: 1 + (k % 12 < 10)] for k, places in enumerate(STROLL)]
FINISHED = {
    "live": TrackerOptions(min_body_px=5.0, max_tracks=8, closed_population=False, lost_s=0.015),
    "SLEAP's": SleapTrackerOptions(tracker="simple", track_window=1, similarity="centroid"),
}


@pytest.mark.parametrize("tracker", FINISHED.values(), ids=FINISHED)
def test_finished_tracks(video_of, dot_model, out, tracker):
    """Joined: the same instances in fewer tracks. Smoothed: nearer to where the animals were. And the file says so."""
    plain = replace(request_of(video_of(COMES_AND_GOES), out, "plain.csv"), tracker=tracker)
    assert len(track_video(plain, dot_model()).track_names) == 4
    finished = replace(plain, outputs=(out / "o.csv", out / "o.slp", out / "o.h5"), join_breaks=2, smooth_s=0.08)
    report = track_video(finished, dot_model())
    assert (len(report.track_names), report.n_instances) == (2, 66)

    tables = (rows_of(out / f"{name}.csv") for name in ("plain", "o"))
    before, after = ({(row["frame_idx"], row["thorax.y"]): row for row in rows} for rows in tables)
    assert sorted(before) == sorted(after)

    def error(rows):
        return np.std([float(row["thorax.x"]) - 8 - 1.3 * int(k) for (k, y), row in rows.items() if float(y) == 12])

    assert error(after) < 0.5 * error(before)
    assert all(before[key]["head.score"] == row["head.score"] for key, row in after.items())
    labels = sleap_io.load_slp(str(out / "o.slp"), open_videos=False)
    assert (labels.provenance["join_breaks"], labels.provenance["smooth_s"]) == (2, 0.08)
    with h5py.File(out / "o.h5") as file:
        assert file["tracks"].shape == (2, 2, 3, 36)
        assert sorted(np.isnan(file["tracks"][:, 0, 0]).sum(axis=1)) == [0, 6]


@pytest.mark.parametrize("n_frames", [8, 29])
def test_an_interrupted_run_is_finished_the_same(dots_video, dot_model, tmp_path, n_frames):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    for folder in (whole, parts):
        request = request_of(dots_video, folder, "o.slp", "o.h5", "o.csv", batch=4, smooth_s=0.1, join_breaks=2)
        request = replace(request, tracker=FINISHED["live"])
        if folder == parts:
            assert isinstance(track_video(request, dot_model(), **stop_after(n_frames)), Unfinished)
        track_video(request, dot_model())
    assert_same_outputs(whole, parts)


def test_how_tracks_are_finished_may_be_chosen_anew_when_a_run_goes_on(dots_video, dot_model, out):
    track_video(request_of(dots_video, out, smooth_s=0.1), dot_model(), **stop_after(8))
    assert track_video(request_of(dots_video, out, smooth_s=0.2), dot_model()).n_resumed == 8


def test_the_live_tracker_has_no_optical_flow_offline(dots_video, dot_model, out):
    request = replace(request_of(dots_video, out), tracker=TrackerOptions(motion="farneback"))
    with pytest.raises(OfflineInputError) as caught:
        track_video(request, dot_model())
    assert str(caught.value) == (
        '--tracker: expected a live tracker without optical flow, got motion = "farneback"; use "velocity", or '
        "sleap-flow"
    )


UNFINISHABLE = {
    "too short": ({"smooth_s": 0.01}, "--smooth-s: expected 0.04 s or more, the time of 5 frames at 100 frames/s, got"),
    "closed": ({"join_breaks": 2}, "--join-breaks: expected tracks that end, got the live tracker"),
}


@pytest.mark.parametrize(("kind", "message"), UNFINISHABLE.values(), ids=UNFINISHABLE)
def test_what_cannot_be_finished_is_refused_before_the_work(video_of, dot_model, out, kind, message):
    model = dot_model()
    with pytest.raises(OfflineInputError, match=f"^{message}"):
        track_video(request_of(video_of(WALK), out, **kind), model)
    assert model.batches == []
    assert list(out.iterdir()) == []
