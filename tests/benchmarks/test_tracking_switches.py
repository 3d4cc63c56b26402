"""The count of identity switches, by hand and on animals that walk where everybody can see them."""

import json

import av
import numpy as np
import pytest

from benchmarks import tracking_switches
from benchmarks.tracking_switches import Tally, measure
from models.errors import LabelsError
from models.labels import Labels
from models.poses import Poses
from models.skeleton import Skeleton

SKELETON = Skeleton(("head", "thorax", "tail"), ((1, 0), (1, 2)), ())
SHAPE = np.array([[20.0, 0.0], [0.0, 0.0], [-20.0, 0.0]])
N_FRAMES = 12

# Animals and their tracks frame by frame; switches, accuracy, left out, tracks.
TALLIES = {
    "right": ([([0, 1], [5, 7]), ([1, 0], [7, 5])], (0, 1.0, 0, 2)),
    "exchanged half-way": ([([0, 1], [0, 1]), ([0, 1], [1, 0])], (2, 0.5, 0, 2)),
    "exchanged once in four frames": ([([0, 1], [0, 1])] * 3 + [([0, 1], [1, 0])], (2, 0.75, 0, 2)),
    "a new track is a switch too": ([([0], [0]), ([0], [0]), ([0], [1])], (1, 2 / 3, 0, 2)),
    "a gap is none": ([([0], [0]), ([0], [-1]), ([0], [0])], (0, 2 / 3, 1, 1)),
    "another one after a gap": ([([0], [0]), ([0], [-1]), ([0], [1])], (1, 1 / 3, 1, 2)),
    "nobody followed": ([([0, 1], [-1, -1])], (0, 0.0, 2, 0)),
    "nobody there": ([([], [])], (0, 1.0, 0, 0)),
}


@pytest.mark.parametrize(("frames", "expected"), TALLIES.values(), ids=TALLIES)
def test_tally(frames, expected):
    tally = Tally()
    for animals, tracks in frames:
        tally.add(np.array(animals, np.int64), np.array(tracks, np.int64))
    assert (tally.switches, tally.accuracy, tally.left_out, tally.n_tracks) == pytest.approx(expected)


def walking(tracks=(0, 1), n_frames=N_FRAMES):
    """Two animals beside each other, 2 px a frame to the right, and an instance that nobody knows."""
    frames = np.repeat(np.arange(n_frames), 2)
    places = np.stack([60.0 + 2 * frames, np.tile([60.0, 160.0], n_frames)], axis=1)
    xy = places[:, None] + SHAPE
    frames, xy = np.append(frames, n_frames - 1), np.append(xy, xy[-1:] + np.array([30, 60]), axis=0)
    track_rows = np.append(np.tile(tracks, n_frames), -1)
    return Labels.from_arrays(SKELETON, frames, xy, tracks=track_rows, track_names=("a", "b"))


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "walk.mkv"
    rng = np.random.default_rng(0)
    texture = np.repeat(np.repeat(rng.integers(0, 256, (60, 60), np.uint8), 4, axis=0), 4, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=50)
        stream.height, stream.width, stream.pix_fmt = 240, 240, "gray"
        for k in range(N_FRAMES):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(np.roll(texture, 2 * k, axis=1)), format="gray")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_every_tracker_at_every_step(video):
    rows = measure(walking(), video, [1, 3], 2, 50.0)
    names = [row["tracker"] for row in rows if row["step"] == 1]
    assert names == [
        "live",
        "sleap instance greedy",
        "sleap instance hungarian",
        "sleap iou greedy",
        "sleap iou hungarian",
        "sleap centroid greedy",
        "sleap centroid hungarian",
        "sleap oks greedy",
        "sleap oks hungarian",
        "sleap flow greedy",
        "sleap flow hungarian",
    ]
    assert [row["step"] for row in rows] == [1] * len(names) + [3] * len(names)
    for row in rows:
        n = 1 if "flow" in row["tracker"] else 2
        assert row["n_seeds"] == n
        assert (row["switches"], row["accuracy"]) == ([0] * n, [1.0] * n), row
        assert (row["left_out"], row["n_tracks"]) == ([0] * n, [2] * n), row


def test_wrong_tracks_are_switches():
    labels = walking()
    labels.tracks[12:24] = 1 - labels.tracks[12:24]
    for row in measure(labels, None, [1], 1, 50.0):
        assert (row["switches"], row["accuracy"]) == ([2], [0.5]), row


@pytest.fixture
def told(monkeypatch):
    """What each of the trackers, one a seed, is told: time and thoraxes of every frame."""
    told = []

    def trackers(n_animals, n_nodes, *, flow):
        mine = []
        told.append(mine)

        def follow(poses, time_ns, image):
            mine.append((time_ns, poses.xy[:, 1, 1].tolist()))
            return np.zeros(len(poses.xy), np.int64)

        return {"one": follow}

    monkeypatch.setattr(tracking_switches, "trackers", trackers)
    return told


def test_the_time_is_that_of_the_frames(told):
    measure(walking(), None, [5], 1, 50.0)
    assert [time_ns for time_ns, _ in told[0]] == [0, 100_000_000, 200_000_000]


def test_poses_are_shuffled_by_the_seed_and_the_same_every_time(told):
    for _ in range(2):
        measure(walking(), None, [1], 2, 50.0)
    orders = [[places for _, places in seed] for seed in told]
    assert orders[:2] == orders[2:]
    assert orders[0] != orders[1]
    for order in orders:
        assert {tuple(places) for places in order} == {(60.0, 160.0), (160.0, 60.0)}


def test_a_pose_that_shows_nothing_is_no_lost_animal():
    follow = tracking_switches.live(2, 3)
    xy = np.array([[60.0, 60.0], [60.0, 160.0]], np.float32)[:, None] + SHAPE.astype(np.float32)
    scores = np.ones((2, 3), np.float32)
    assert follow(Poses(xy, scores, scores[:, 0]), 0, None).tolist() == [1, 2]
    xy = xy.copy()
    xy[1] = np.nan
    assert follow(Poses(xy, scores, scores[:, 0]), 10_000_000, None).tolist() == [1, -1]


def test_the_command_prints_a_table_and_writes_the_figures(tmp_path, video, monkeypatch, capsys):
    monkeypatch.setattr(tracking_switches, "read_labels", lambda path: walking())
    monkeypatch.setenv("COLUMNS", "100")
    out = tmp_path / "o.json"
    arguments = ["w.slp", "--video", str(video), "--steps", "1,4", "--seeds", "2", "--json", str(out)]
    assert tracking_switches.main(arguments) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "tracker every switches accuracy left out tracks seeds"
    assert "live 1 0 1.000 0 2 2" in lines
    assert "sleap flow greedy 4 0 1.000 0 2 1" in lines
    written = json.loads(out.read_text())
    assert (written["labels"], written["n_frames"], written["fps"]) == ("w.slp", N_FRAMES, 50.0)
    assert len(written["rows"]) == len(lines) - 1


def test_figures_that_differ_between_seeds_are_shown_as_a_range():
    row = {"tracker": "live", "step": 15, "n_seeds": 3, "switches": [3, 9, 4], "accuracy": [0.5, 0.5, 0.5]}
    table = tracking_switches.as_table([row | {"left_out": [0, 0, 0], "n_tracks": [2, 2, 2]}])
    assert [list(column.cells) for column in table.columns[2:4]] == [["4 (3–9)"], ["0.500"]]


def no_labels(_):
    raise LabelsError("w.slp: no such file")


UNFIT = {
    "no file": (no_labels, "w.slp: no such file\n"),
    "no tracks": (
        lambda _: Labels.from_arrays(SKELETON, [0], SHAPE[None]), "w.slp: expected labels with tracks, got none\n",
    ),
    "a video too short": (
        lambda _: walking(n_frames=20), "walk.mkv: expected a frame 12, as in the labels, got 12 frames\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("read", "message"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_is_said(video, monkeypatch, capsys, read, message):
    monkeypatch.setattr(tracking_switches, "read_labels", read)
    assert tracking_switches.main(["w.slp", "--video", str(video), "--seeds", "1"]) == 1
    assert capsys.readouterr().err.endswith(message)


@pytest.mark.parametrize("option", [("--seeds", "0"), ("--steps", "5,0"), ("--steps", "x"), ("--fps", "0")])
def test_options_out_of_range(option, capsys):
    with pytest.raises(SystemExit) as caught:
        tracking_switches.main(["w.slp", *option])
    assert caught.value.code == 2
    assert option[0] in capsys.readouterr().err.splitlines()[-1]


def test_nothing_is_cut_off_in_a_pipe(capsys, monkeypatch):
    row = {
        "tracker": "sleap normalized_instance hungarian",
        "step": 15,
        "n_seeds": 10,
        "switches": [100, 120, 140],
        "accuracy": [0.111, 0.222, 0.333],
        "left_out": [1000, 1100, 1200],
        "n_tracks": [10, 11, 12],
    }
    monkeypatch.setattr(tracking_switches, "read_labels", lambda _: walking())
    monkeypatch.setattr(tracking_switches, "measure", lambda *_: [row])
    assert tracking_switches.main(["any.slp"]) == 0
    shown = capsys.readouterr().out
    assert "…" not in shown
    assert "120 (100–140)" in shown
