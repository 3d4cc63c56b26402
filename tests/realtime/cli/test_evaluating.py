"""`poseloop evaluate` as a person or a script meets it."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from realtime.cli.commands import app

sio = pytest.importorskip("sleap_io")

BODY = np.array([[0.0, -20.0], [4.0, 0.0], [0.0, 20.0]])


def poseloop(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def save(path, rows, *, predicted, nodes=("head", "thorax", "tail"), video="fly.mp4", confidence=None):
    """Rows of (frame, x, y, track); `confidence` of a row's track."""
    skeleton, film = sio.Skeleton(list(nodes)), sio.Video(video, open_backend=False)
    tracks = [sio.Track("male"), sio.Track("female")]
    frames = {}
    for frame, x, y, track in rows:
        points = BODY[: len(nodes)] + np.array([x, y])
        if predicted:
            scores = np.ones(len(nodes))
            one = sio.PredictedInstance.from_numpy(
                points,
                skeleton,
                point_scores=scores,
                score=0.9,
                track=tracks[track],
                tracking_score=0.7 if confidence is None else confidence[track],
            )
        else:
            one = sio.Instance.from_numpy(points, skeleton, track=tracks[track])
        frames.setdefault(frame, []).append(one)
    labelled = [sio.LabeledFrame(video=film, frame_idx=frame, instances=found) for frame, found in frames.items()]
    labels = sio.Labels(labelled, videos=[film], skeletons=[skeleton], tracks=tracks)
    labels.provenance["tracking_score"] = "similarity" if confidence is None else "identity_confidence"
    sio.save_slp(labels, str(path))
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
    assert (done.exit_code, done.stderr) == (0, "")
    for line in (
        "20 animals in 10 frames, 1 of them without predictions",
        "found 18, missed 2, extra 1 (farther than 10.0 px is not found)",
        "precision 0.9474, recall 0.9000, F1 0.9231",
        "frames with every animal and nothing extra: 80.00%",
        "identity right: 100.00% by name, 100.00% with the best names; 0 switches, 2 fragments; IDF1 0.9231, "
        "MOTA 0.8500",
        "identity confidence: not evaluated: the predictions carry no identity confidence; files of `poseloop track` "
        "with its own tracker do, and say so (SLEAP's tracking scores are similarities)",
        f"page: {tmp_path / 'out' / 'evaluation.html'}",
    ):
        assert line in done.stdout
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in done.stdout.splitlines() if line.split()}
    assert rows["thorax"] == "18 0.71 0.71 0.71 0.71 100.0% 100.0% 100.0% 0.0% +0.50 +0.50"
    assert (tmp_path / "out" / "evaluation.html").exists()


def test_what_a_script_reads(truth, found, tmp_path):
    done = poseloop(
        truth, found, "--json", "--offset-px", "0.5", "--grid-pull-px", "4", "--frames", "2-5", "--nodes", "head, tail"
    )
    assert (done.exit_code, done.stderr) == (0, "")
    values = json.loads(done.stdout)
    assert values["detection"]["frames"] == 4
    assert values["errors"]["bias_px"] == [0, 0]
    assert list(values["nodes"]) == ["head", "tail"]
    assert (values["options"]["offset_px"], values["options"]["grid_pull_px"]) == (0.5, 4.0)
    assert values["sleap"]["oks_voc.mAR"] == 1.0
    assert values["calibration"] is None
    assert not list(tmp_path.iterdir())


def test_how_true_the_confidence_is(truth, tmp_path):
    rows = [(f, x, y, 1 - track if f > 7 else track) for f, x, y, track in FOUND]
    swapped = save(tmp_path / "swapped.slp", rows, predicted=True, confidence=(0.95, 0.55))
    said = poseloop(truth, swapped).stdout
    assert (
        "identity confidence: 0.7500 in the mean, 77.78% right, of 18 instances; expected calibration error 0.2" in said
    )
    assert [line.split() for line in said.splitlines()[-3:]] == [
        ["from", "to", "n", "mean", "right"],
        ["0.5", "0.6", "9", "0.550", "77.8%"],
        ["0.9", "1.0", "9", "0.950", "77.8%"],
    ]
    values = json.loads(poseloop(truth, swapped, "--json").stdout)
    found = values["calibration"]
    assert (found["n"], found["right"], values["calibration_note"]) == (18, 14 / 18, None)
    assert found["expected_calibration_error"] == pytest.approx((14 / 18 - 0.55 + 0.95 - 14 / 18) / 2)
    assert [one["n"] for one in found["bins"]] == [0, 0, 0, 0, 0, 9, 0, 0, 0, 9]
    assert (values["identity"]["switches"], values["identity"]["fragments"]) == (2, 2)


WRONG = {
    "no such file": (["none.slp", "FOUND"], "none.slp: expected a SLEAP label file (.slp), got no such file"),
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
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"{expected}\n")


def test_other_nodes_and_another_video_are_told(truth, tmp_path):
    few = save(tmp_path / "few.slp", FOUND, predicted=True, nodes=("head", "thorax"), video="bee.mp4")
    done = poseloop(truth, few, "--nodes", "head,thorax")
    assert done.exit_code == 0
    assert "note: the truth is of video fly.mp4, the predictions are of bee.mp4: taken for the same\n" in done.stdout
