"""`poseloop evaluate` as a person or a script meets it."""

import json
import subprocess
import sys

import numpy as np
import pytest

sio = pytest.importorskip("sleap_io")

BODY = np.array([[0.0, -20.0], [4.0, 0.0], [0.0, 20.0]])


def poseloop(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "realtime.cli", "evaluate", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def save(path, rows, *, predicted, nodes=("head", "thorax", "tail"), video="fly.mp4"):
    """Rows of (frame, x, y, track)."""
    skeleton, film = sio.Skeleton(list(nodes)), sio.Video(video, open_backend=False)
    tracks = [sio.Track("male"), sio.Track("female")]
    frames = {}
    for frame, x, y, track in rows:
        points = BODY[: len(nodes)] + np.array([x, y])
        if predicted:
            scores = np.ones(len(nodes))
            one = sio.PredictedInstance.from_numpy(
                points, skeleton, point_scores=scores, score=0.9, track=tracks[track]
            )
        else:
            one = sio.Instance.from_numpy(points, skeleton, track=tracks[track])
        frames.setdefault(frame, []).append(one)
    labelled = [sio.LabeledFrame(video=film, frame_idx=frame, instances=found) for frame, found in frames.items()]
    sio.save_slp(sio.Labels(labelled, videos=[film], skeletons=[skeleton], tracks=tracks), str(path))
    return path


TRUTH = [(f, x, 100, track) for f in range(10) for track, x in enumerate((100, 200))]
FOUND = [(f, x + 0.5, y + 0.5, track) for f, x, y, track in TRUTH if f != 3] + [(4, 300, 300, 0)]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return save(tmp_path_factory.mktemp("truth") / "truth.slp", TRUTH, predicted=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return save(tmp_path_factory.mktemp("found") / "found.slp", FOUND, predicted=True)


def test_what_a_person_reads(truth, found, tmp_path):
    done = poseloop(truth, found, "--out", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "20 animals in 10 frames, 1 of them without predictions",
        "found 18, missed 2, extra 1 (farther than 10.0 px is not found)",
        "precision 0.9474, recall 0.9000, F1 0.9231",
        "frames with every animal and nothing extra: 80.00%",
        "identity right: 100.00% by name, 100.00% with the best names; 0 switches; IDF1 0.9231, MOTA 0.8500",
        f"page: {tmp_path / 'out' / 'evaluation.html'}",
    ):
        assert line in done.stdout
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines() if line.split()}
    assert rows["thorax"] == "18 0.71 0.71 0.71 0.71 100.0% 100.0% 100.0% 0.0% +0.50 +0.50"
    assert (tmp_path / "out" / "evaluation.html").exists()


def test_what_a_script_reads(truth, found, tmp_path):
    done = poseloop(truth, found, "--json", "--offset-px", "0.5", "--frames", "2-5", "--nodes", "head, tail")
    assert (done.returncode, done.stderr) == (0, "")
    values = json.loads(done.stdout)
    assert values["detection"]["frames"] == 4
    assert values["errors"]["bias_px"] == [0, 0]
    assert list(values["nodes"]) == ["head", "tail"]
    assert values["options"]["offset_px"] == 0.5
    assert values["sleap"]["oks_voc.mAR"] == 1.0
    assert not list(tmp_path.iterdir())


WRONG = {
    "no such file": (["none.slp", "FOUND"], "none.slp: no such file"),
    "frames that are none": (
        ["TRUTH", "FOUND", "--frames", "5-2"],
        "--frames: expected FIRST-LAST, as in 2000-2999, got '5-2'",
    ),
    "no such node": (
        ["TRUTH", "FOUND", "--nodes", "nose"],
        "TRUTH: expected the nodes nose, got none called nose among head, thorax, tail; compare those that both files "
        "have with --nodes",
    ),
    "a truth without a model's instances": (
        ["TRUTH", "FOUND", "--truth", "predicted"],
        "TRUTH: expected predicted instances, got none among 20 of other kinds",
    ),
    "a person's labels as predictions": (
        ["TRUTH", "TRUTH"],
        "TRUTH: expected predicted instances, got none among 20 of other kinds",
    ),
    "no such video": (
        ["TRUTH", "FOUND", "--predicted-video", "1"],
        "FOUND: expected video 1, got a file with 1 video(s)",
    ),
}


@pytest.mark.parametrize(("arguments", "expected"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said(truth, found, arguments, expected):
    files = {"TRUTH": str(truth), "FOUND": str(found)}
    for name, path in files.items():
        arguments = [path if argument == name else argument for argument in arguments]
        expected = expected.replace(name, path)
    done = poseloop(*arguments)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{expected}\n")


def test_other_nodes_and_another_video_are_told(truth, tmp_path):
    few = save(tmp_path / "few.slp", FOUND, predicted=True, nodes=("head", "thorax"), video="bee.mp4")
    done = poseloop(truth, few, "--nodes", "head,thorax")
    assert done.returncode == 0
    assert "note: the truth is of video fly.mp4, the predictions are of bee.mp4: taken for the same\n" in done.stdout
