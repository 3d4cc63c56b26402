"""The comparison of motions on a short video made here: every motion has a row, and a wrong file an error."""

import json

import numpy as np
import pytest

from benchmarks import tracking_motion
from realtime.recording.video import VideoWriter

sleap_io = pytest.importorskip("sleap_io")


@pytest.fixture
def recording(tmp_path):
    """Twenty frames of an animal that walks to the right, and its labels."""
    skeleton = sleap_io.Skeleton(["head", "thorax", "tail"])
    video = sleap_io.Video(filename="walk.mkv", backend=None)
    writer = VideoWriter(tmp_path / "walk.mkv", height=128, width=192, channels=1, mode="lossless", crf=1, threads=1)
    track, frames = sleap_io.Track("one"), []
    random = np.random.default_rng(0)
    animal = random.integers(100, 255, (12, 40)).astype(np.uint8)
    for k in range(20):
        image, left = np.full((128, 192), 20, np.uint8), 20 + 4 * k
        image[58:70, left : left + 40] = animal
        writer.append(image, k * 40_000_000)
        points = np.array([(left + 36, 64), (left + 20, 64), (left + 4, 64)], float)
        instance = sleap_io.PredictedInstance.from_numpy(
            points, skeleton=skeleton, point_scores=np.ones(3), score=1.0, track=track
        )
        frames.append(sleap_io.LabeledFrame(video=video, frame_idx=k, instances=[instance]))
    writer.close()
    labels = sleap_io.Labels(frames, videos=[video], skeletons=[skeleton], tracks=[track])
    labels.save(str(tmp_path / "walk.slp"), embed=False)
    return tmp_path


def test_every_motion_has_a_row(recording, capsys):
    assert tracking_motion.main([str(recording / "walk.slp"), str(recording / "walk.mkv"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["step"], row["motion"]) for row in rows] == [
        (step, motion) for step in tracking_motion.STEPS for motion in tracking_motion.MOTIONS
    ]
    off = {row["motion"]: row["off_px"]["p50"] for row in rows if row["step"] == 1}
    assert off["still"] == pytest.approx(4.0)
    assert off["lucas_kanade"] < 1.0
    assert off["farneback"] < 1.0
    assert not any(row["switches"] for row in rows)


def test_the_table_is_aligned(recording, capsys):
    tracking_motion.main([str(recording / "walk.slp"), str(recording / "walk.mkv"), "--frames", "17"])
    lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 1 + len(tracking_motion.STEPS) * len(tracking_motion.MOTIONS)


def test_too_few_frames_are_an_error(recording, capsys):
    assert tracking_motion.main([str(recording / "walk.slp"), str(recording / "walk.mkv"), "--frames", "6"]) == 2
    assert "take more --frames" in capsys.readouterr().err


def test_a_wrong_file_is_an_error(tmp_path, capsys):
    assert tracking_motion.main([str(tmp_path / "none.slp"), str(tmp_path / "none.mkv")]) == 2
    assert "none.slp" in capsys.readouterr().err
