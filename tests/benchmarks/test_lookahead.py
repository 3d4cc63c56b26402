"""The benchmark of the look-ahead on short labels made here: hand-computed errors, and a wrong file an error."""

import json

import numpy as np
import pytest

from benchmarks import lookahead

sleap_io = pytest.importorskip("sleap_io")


@pytest.fixture
def labels(tmp_path):
    """Writes labels of one animal whose body is at `x[k]` in frame k; its leg stays where it is for two frames."""

    def write(x):
        skeleton = sleap_io.Skeleton(["head", "thorax", "tail", "leg"])
        video = sleap_io.Video(filename="walk.mkv", backend=None)
        track, frames = sleap_io.Track("one"), []
        for k, left in enumerate(x):
            points = np.array([(left + 60, 64), (left + 30, 60), (left, 64), (x[k - k % 2] + 30, 80)], float)
            instance = sleap_io.PredictedInstance.from_numpy(
                points, skeleton=skeleton, point_scores=np.ones(4), score=1.0, track=track
            )
            frames.append(sleap_io.LabeledFrame(video=video, frame_idx=k, instances=[instance]))
        found = sleap_io.Labels(frames, videos=[video], skeletons=[skeleton], tracks=[track])
        found.save(str(tmp_path / "walk.slp"), embed=False)
        return tmp_path / "walk.slp"

    return write


def test_the_errors_are_those_of_the_frame_that_came_then(labels, tmp_path, capsys):
    """At 25 frames/s, 4 px a frame: 40 ms ahead the pose is 4 px behind, 10 ms ahead one."""
    assert lookahead.main([str(labels([4.0 * k for k in range(200)])), "--json", str(tmp_path / "out.json")]) == 0
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["groups"] == {"trunk": ["head", "thorax", "tail"], "legs": ["leg"]}
    assert result["moving_share"] == pytest.approx(196 / 200)
    rows = {(row["speed_up"], row["horizon_ms"], row["predicted"]): row["off_px"] for row in result["rows"]}
    assert len(rows) == 2 * 3 * 5
    for speed_up, horizon_ms, way in ((1, 10.0, 1.0), (1, 40.0, 4.0), (4, 10.0, 4.0), (4, 40.0, 16.0)):
        assert rows[speed_up, horizon_ms, "no prediction"]["trunk"]["all"]["p50"] == pytest.approx(way)
        assert rows[speed_up, horizon_ms, "whole"]["trunk"]["moving"]["p50"] < 0.05 * way
    assert rows[1, 40.0, "no prediction"]["legs"]["all"]["mean"] == pytest.approx(4.0, abs=0.1)  # 0 and 8 by turns
    graded = next(row for row in result["rows"] if row["predicted"] == "graded" and row["horizon_ms"] == 40.0)
    trunk, leg = graded["on"]
    assert trunk == 1.0
    assert 0.0 < leg < 1.0
    assert result["us_a_frame"]["p50"] > 0.0
    text = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in text[3:]}) == 1


def test_animals_that_do_not_walk_are_an_error(labels, capsys):
    assert lookahead.main([str(labels([10.0] * 20))]) == 2
    assert "expected an animal that walks in the labels, got none; take a longer recording" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_an_error(tmp_path, capsys):
    assert lookahead.main([str(tmp_path / "none.slp")]) == 2
    assert "lookahead: " in capsys.readouterr().err
