"""The animals that the tracker's benchmark follows, and its command line."""

import json
import sys

import numpy as np
import pytest

from benchmarks import tracker_scaling
from realtime.tracking import GreedyTracker, TrackerOptions


@pytest.mark.parametrize(("n_animals", "n_nodes"), [(2, 13), (16, 24)])
def test_every_animal_is_followed_so_that_an_update_is_a_whole_one(n_animals, n_nodes):
    tracker = GreedyTracker(TrackerOptions(max_tracks=n_animals), n_nodes)
    for k, poses in zip(range(20), tracker_scaling.walking(n_animals, n_nodes), strict=False):
        tracks = tracker.update(poses, k * tracker_scaling.FRAME_NS)
        assert poses.xy.shape == (n_animals, n_nodes, 2)
    assert len(tracks.track_ids) == n_animals
    assert np.isfinite(tracks.xy).any(axis=(1, 2)).mean() > 0.8


@pytest.mark.parametrize("caches", ["cold", "warm"])
def test_the_command_prints_percentiles_and_the_machine(monkeypatch, capsys, caches):
    monkeypatch.setattr(tracker_scaling, "SIZES", ((2, 13), (4, 2)))
    argv = ["tracker_scaling", "-n", "3", "--json", *(["--warm"] if caches == "warm" else [])]
    monkeypatch.setattr(sys, "argv", argv)
    assert tracker_scaling.main() == 0
    result = json.loads(capsys.readouterr().out)
    assert result["caches"] == caches
    assert {name: row["n"] for name, row in result["update_ms"].items()} == {"2 × 13": 3, "4 × 2": 3}
    assert result["machine"]
