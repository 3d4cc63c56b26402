"""What the writers leave, read by sleap-io, by h5py, and against files that SLEAP itself wrote."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import sleap_io

from models.skeleton import Skeleton
from realtime.offline import analysis, slp
from realtime.offline.analysis import write_analysis
from realtime.offline.errors import OfflineInputError
from realtime.offline.slp import write_slp
from realtime.offline.table import write_csv
from realtime.offline.tracked import TrackedFrame, TrackedVideo

DATA = Path(__file__).parents[3] / ".." / "shared" / "data"
SESSION_A = DATA / "flies_1024" / "session_a.predictions.slp"
ROBOT = DATA / "formats" / "small_robot.000_small_robot_3_frame.analysis.h5"
SKELETON = Skeleton(("nose", "neck", "eye left", "eye right"), ((1, 0), (1, 2), (1, 3)), ((2, 3),))


def frame_of(index, tracks, seed=None, dtype=np.float32):
    """One frame with random poses; the last node of the first animal is not seen."""
    rng = np.random.default_rng(index if seed is None else seed)
    n = len(tracks)
    xy = rng.uniform(0, 60, (n, 4, 2)).astype(dtype)
    scores = rng.random((n, 4), dtype)
    xy[:1, 3], scores[:1, 3] = np.nan, 0
    return TrackedFrame(index, np.array(tracks, np.int32), xy, scores, rng.random(n, dtype), rng.random(n, dtype))


def video_of(frames, track_names=("female", "male"), **kind):
    return TrackedVideo(
        **{
            "path": Path("/recordings/pair.mp4"),
            "shape": (100, 48, 64, 1),
            "frame_rate_hz": 25.0,
            "skeleton": SKELETON,
            "track_names": track_names,
            "n_frames": max((frame.index + 1 for frame in frames), default=0),
            "frames": lambda: iter(frames),
            "provenance": {"poseloop": "1.2.3", "partial": None},
            **kind,
        }
    )


FRAMES = [frame_of(3, [0, 1]), frame_of(4, []), frame_of(5, [1]), frame_of(6, [1, 0]), frame_of(7, [-1, 0])]
WRITERS = {"slp": write_slp, "h5": write_analysis, "csv": write_csv}


def test_slp_says_the_same_to_sleap_io(tmp_path):
    write_slp(tmp_path / "o.slp", video_of(FRAMES))
    labels = sleap_io.load_slp(str(tmp_path / "o.slp"), open_videos=False)
    assert [frame.frame_idx for frame in labels] == [3, 4, 5, 6, 7]
    assert [track.name for track in labels.tracks] == ["female", "male"]
    assert labels.skeletons[0].node_names == list(SKELETON.nodes)
    assert [tuple(edge) for edge in labels.skeletons[0].edge_inds] == list(SKELETON.edges)
    assert [tuple(sorted(pair)) for pair in labels.skeletons[0].symmetry_inds] == list(SKELETON.symmetries)
    assert labels.video.filename == "/recordings/pair.mp4"
    assert tuple(labels.video.shape) == (100, 48, 64, 1)
    assert labels.provenance["poseloop"] == "1.2.3"
    for frame, expected in zip(labels, FRAMES, strict=True):
        assert len(frame.user_instances) == 0
        assert len(frame.predicted_instances) == len(expected.tracks)
        for k, instance in enumerate(frame.predicted_instances):
            np.testing.assert_array_equal(instance.numpy(), expected.xy[k])
            np.testing.assert_array_equal(instance.points["score"], expected.node_scores[k])
            np.testing.assert_array_equal(instance.points["visible"], np.isfinite(expected.xy[k, :, 0]))
            assert instance.score == pytest.approx(expected.instance_scores[k])
            assert instance.tracking_score == pytest.approx(expected.tracking_scores[k])
            name = None if instance.track is None else instance.track.name
            assert name == [*("female", "male"), None][expected.tracks[k]]


def test_slp_is_what_sleap_io_itself_would_write(tmp_path):
    """Same groups, data sets, types and values as after reading it and saving it again, object by object."""
    write_slp(tmp_path / "ours.slp", video_of(FRAMES))
    labels = sleap_io.load_slp(str(tmp_path / "ours.slp"), open_videos=False)
    sleap_io.save_slp(labels, str(tmp_path / "theirs.slp"), embed=False)
    with h5py.File(tmp_path / "ours.slp") as ours, h5py.File(tmp_path / "theirs.slp") as theirs:
        assert set(ours) == set(theirs)
        assert ours["metadata"].attrs["format_id"] == theirs["metadata"].attrs["format_id"] >= 1.2
        for name in ("frames", "instances", "points", "pred_points"):
            assert ours[name].dtype == theirs[name].dtype
            for column in ours[name].dtype.names:
                np.testing.assert_array_equal(ours[name][column], theirs[name][column], f"{name}.{column}")


def test_slp_has_the_tables_that_sleap_reads(tmp_path):
    write_slp(tmp_path / "o.slp", video_of(FRAMES))
    with h5py.File(tmp_path / "o.slp") as file:
        instances, points = file["instances"][()], file["pred_points"][()]
        assert len(file["points"]) == 0
        assert set(instances["instance_type"]) == {1}
        assert points.dtype["x"] == np.float64
        first = instances[0]
        rows = points[first["point_id_start"] : first["point_id_end"]]
        np.testing.assert_array_equal(np.stack([rows["x"], rows["y"]], axis=1), FRAMES[0].xy[0])
        assert [json.loads(line)[1] for line in file["tracks_json"]] == ["female", "male"]


def test_blocks_join_without_a_seam(tmp_path, monkeypatch):
    frames = [frame_of(k, [k % 2]) for k in range(23)]
    for name, writer in WRITERS.items():
        writer(tmp_path / f"whole.{name}", video_of(frames))
    monkeypatch.setattr(slp, "BLOCK_FRAMES", 5)
    monkeypatch.setattr(analysis, "BLOCK_FRAMES", 5)
    for name in ("slp", "h5"):
        WRITERS[name](tmp_path / f"blocks.{name}", video_of(frames))
        with h5py.File(tmp_path / f"whole.{name}") as whole, h5py.File(tmp_path / f"blocks.{name}") as blocks:
            for dataset in ("frames", "instances", "pred_points") if name == "slp" else whole:
                expected, got = whole[dataset][()], blocks[dataset][()]
                assert np.array(got).tobytes() == np.array(expected).tobytes(), dataset


def test_analysis_reads_back_with_sleap_io(tmp_path):
    write_analysis(tmp_path / "o.h5", video_of(FRAMES))
    labels = sleap_io.load_analysis_h5(str(tmp_path / "o.h5"), video="/recordings/pair.mp4")
    assert [track.name for track in labels.tracks] == ["female", "male"]
    by_frame = {frame.frame_idx: frame for frame in labels}
    for expected in FRAMES:
        tracked = {("female", "male")[t]: k for k, t in enumerate(expected.tracks) if t >= 0}
        instances = by_frame[expected.index].instances if tracked else []
        assert {one.track.name for one in instances} == set(tracked)
        for one in instances:
            np.testing.assert_array_equal(one.numpy(), expected.xy[tracked[one.track.name]])


def test_analysis_has_sleaps_axis_order(tmp_path):
    write_analysis(tmp_path / "o.h5", video_of(FRAMES), Path("/out/o.slp"))
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["tracks"].shape == (2, 2, 4, 8)
        assert file["track_occupancy"].shape == (8, 2)
        assert file["point_scores"].shape == (2, 4, 8)
        assert file["instance_scores"].shape == file["tracking_scores"].shape == (2, 8)
        np.testing.assert_array_equal(file["tracks"][1, :, :, 3], FRAMES[0].xy[1].T)
        np.testing.assert_array_equal(file["tracks"][0, :, :, 6], FRAMES[3].xy[1].T)
        np.testing.assert_array_equal(file["point_scores"][1, :, 5], FRAMES[2].node_scores[0])
        np.testing.assert_array_equal(file["instance_scores"][1, 6], FRAMES[3].instance_scores[0])
        np.testing.assert_array_equal(file["tracking_scores"][1, 6], FRAMES[3].tracking_scores[0])
        np.testing.assert_array_equal(
            file["track_occupancy"][()], [[0, 0], [0, 0], [0, 0], [1, 1], [0, 0], [0, 1], [1, 1], [1, 0]]
        )
        assert np.isnan(file["tracks"][:, :, :, :3]).all()
        assert file["labels_path"].asstr()[()] == "/out/o.slp"
        assert file["video_path"].asstr()[()] == "/recordings/pair.mp4"
        assert json.loads(file["provenance"].asstr()[()])["poseloop"] == "1.2.3"


def test_analysis_of_sleaps_predictions_equals_sleaps_own(tmp_path):
    """The golden pair of a real recording: SLEAP 1.0.5's labels and its own analysis of them."""
    if not SESSION_A.exists():
        pytest.skip(f"needs the recording {SESSION_A.name} beside the checkout")
    video = read_slp(SESSION_A)
    write_analysis(tmp_path / "o.h5", video)
    golden = SESSION_A.with_suffix(".analysis.h5")
    with h5py.File(tmp_path / "o.h5") as ours, h5py.File(golden) as theirs:
        assert set(theirs) <= set(ours)
        for name in theirs:
            # SLEAP 1.0.5 padded its names by three bytes; later versions do not.
            assert ours[name].dtype == theirs[name].dtype or ours[name].dtype.kind == theirs[name].dtype.kind == "S"
            assert dict(ours[name].attrs) == dict(theirs[name].attrs), name
            np.testing.assert_array_equal(ours[name][()], theirs[name][()], name)
        assert dict(ours.attrs) == dict(theirs.attrs)


def test_analysis_has_the_data_sets_and_types_of_a_newer_sleap(tmp_path):
    if not ROBOT.exists():
        pytest.skip(f"needs the file {ROBOT.name} beside the checkout")
    plan = Skeleton(("top", "front", "rear"), ((0, 1), (0, 2), (1, 2)))
    frames = [frame_of(k, [-1]) for k in range(3)]
    frames = [
        TrackedFrame(f.index, f.tracks, f.xy[:, :3], f.node_scores[:, :3], f.instance_scores, f.tracking_scores)
        for f in frames
    ]
    write_analysis(tmp_path / "o.h5", video_of(frames, track_names=(), skeleton=plan))
    with h5py.File(tmp_path / "o.h5") as ours, h5py.File(ROBOT) as theirs:
        assert set(ours) == set(theirs)
        for name in theirs:
            assert ours[name].dtype == theirs[name].dtype, name
            assert ours[name].shape == theirs[name].shape, name
            assert dict(ours[name].attrs) == dict(theirs[name].attrs), name
        for name in ("node_names", "edge_names", "edge_inds", "track_occupancy", "track_names", "video_ind"):
            np.testing.assert_array_equal(ours[name][()], theirs[name][()], name)


def test_untracked_animals_must_not_overwrite_each_other(tmp_path):
    with pytest.raises(OfflineInputError) as caught:
        write_analysis(tmp_path / "o.h5", video_of([frame_of(0, [-1]), frame_of(1, [-1, -1])], track_names=()))
    assert str(caught.value) == (
        "analysis .h5: expected at most one instance without a track in frame 1, got 2; they would overwrite each "
        "other: track them, or write .slp or .csv"
    )


def test_csv_has_a_row_for_every_instance(tmp_path):
    write_csv(tmp_path / "o.csv", video_of(FRAMES))
    with (tmp_path / "o.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == ["track", "frame_idx", "instance.score", "nose.x", "nose.y", "nose.score"]
    assert [(row["track"], row["frame_idx"]) for row in rows] == [
        ("female", "3"), ("male", "3"), ("male", "5"), ("male", "6"), ("female", "6"), ("", "7"), ("female", "7"),
    ]  # fmt: skip
    assert np.float32(rows[1]["eye right.x"]) == FRAMES[0].xy[1, 3, 0]
    assert np.float32(rows[1]["instance.score"]) == FRAMES[0].instance_scores[1]
    assert (rows[0]["eye right.x"], rows[0]["eye right.y"], rows[0]["eye right.score"]) == ("", "", "")
    assert (tmp_path / "o.csv").read_bytes().count(b"\n") == 8


def test_csv_is_read_by_sleap_io(tmp_path):
    write_csv(tmp_path / "o.csv", video_of(FRAMES[:4]))
    labels = sleap_io.load_csv(str(tmp_path / "o.csv"), video="/recordings/pair.mp4")
    assert sum(len(frame) for frame in labels) == 5


EMPTY = {"frames without animals": [frame_of(k, []) for k in range(4)], "no frame": []}


@pytest.mark.parametrize("frames", EMPTY.values(), ids=EMPTY)
def test_nothing_found_is_a_valid_file_too(tmp_path, frames):
    video = video_of(frames, track_names=())
    for name, writer in WRITERS.items():
        writer(tmp_path / f"o.{name}", video)
    assert len(sleap_io.load_slp(str(tmp_path / "o.slp"), open_videos=False)) == len(frames)
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["tracks"].shape == (0, 2, 4, len(frames))
        assert file["track_occupancy"].shape == (len(frames), 0)
    assert (tmp_path / "o.csv").read_text().count("\n") == 1


def test_a_skeleton_without_edges(tmp_path):
    plan = Skeleton(("dot",))
    frames = [TrackedFrame(0, np.array([0], np.int32), *(np.ones(s) for s in ((1, 1, 2), (1, 1), (1,), (1,))))]
    for name, writer in WRITERS.items():
        writer(tmp_path / f"o.{name}", video_of(frames, ("one",), skeleton=plan))
    with h5py.File(tmp_path / "o.h5") as file:
        assert file["edge_inds"].shape == file["edge_names"].shape == (0, 2)
    assert sleap_io.load_slp(str(tmp_path / "o.slp"), open_videos=False).skeletons[0].node_names == ["dot"]


def read_slp(path):
    labels = sleap_io.load_slp(str(path), open_videos=False)
    skeleton, rows = labels.skeletons[0], {id(track): row for row, track in enumerate(labels.tracks)}

    def frames():
        for frame in labels:
            yield TrackedFrame(
                frame.frame_idx,
                np.array([rows[id(one.track)] for one in frame], np.int32),
                np.array([one.numpy() for one in frame]),
                np.array([one.points["score"] for one in frame]),
                np.array([one.score for one in frame]),
                np.zeros(len(frame)),
            )

    plan = Skeleton(tuple(skeleton.node_names), tuple(map(tuple, skeleton.edge_inds)))
    names = tuple(track.name for track in labels.tracks)
    return replace(video_of([]), track_names=names, skeleton=plan, frames=frames, n_frames=labels[-1].frame_idx + 1)
