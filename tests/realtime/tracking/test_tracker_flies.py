"""The tracker on a real recording: two flies, 25 frames/s, 120 s, proof-read tracks, at least half a body apart."""

from pathlib import Path

import numpy as np
import pytest

from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions

RECORDING = Path(__file__).parents[3] / ".." / "shared" / "data" / "flies_1024" / "session_a.predictions.slp"
FRAME_NS = 40_000_000


@pytest.fixture(scope="module")
def flies() -> np.ndarray:
    """`(n_frames, 2, n_nodes, 2)` float32 px, second axis = proof-read track."""
    if not RECORDING.exists():
        pytest.skip(f"needs the recording {RECORDING.name} beside the checkout")
    sleap_io = pytest.importorskip("sleap_io")
    return np.asarray(sleap_io.load_slp(str(RECORDING), open_videos=False).numpy(), dtype=np.float32)


def detect(
    flies: np.ndarray, step: int, seed: int, missing: float = 0.0, false: float = 0.0, double: float = 0.0
) -> list[tuple[int, Poses, np.ndarray]]:
    """Return (time, shuffled detections, true track of each or -1) of every `step`th frame.

    Args:
        missing: Share of detections deleted, in runs of up to 0.3 s.
        false: Chance of a false detection in a frame: a pose of the recording at a place of its own.
        double: Chance that an animal is detected twice, the second time worse.
    """
    rng = np.random.default_rng(seed)
    n_frames, _, n_nodes, _ = flies.shape
    seen = np.ones((n_frames, 2), dtype=bool)
    for fly in range(2):
        while (~seen[:, fly]).mean() < missing:
            start = rng.integers(1, n_frames)
            seen[start : start + rng.integers(1, 8), fly] = False
    frames = []
    for i in range(0, n_frames, step):
        found = [(fly, flies[i, fly], rng.uniform(0.6, 1.0)) for fly in range(2) if seen[i, fly]]
        found += [
            (fly, xy + rng.normal(0, 2, xy.shape), rng.uniform(0.3, 0.6))
            for fly, xy, _ in found
            if rng.random() < double
        ]
        if i and rng.random() < false:
            xy = flies[rng.integers(n_frames), rng.integers(2)]
            found.append((-1, xy - np.nanmean(xy, axis=0) + rng.uniform(60, 960, 2), rng.uniform(0.3, 1.0)))
        found = [found[k] for k in rng.permutation(len(found))]
        xy = np.array([xy for _, xy, _ in found], dtype=np.float32).reshape(-1, n_nodes, 2)
        scores = np.array([score for _, _, score in found], dtype=np.float32)
        detected = Poses(xy, (~np.isnan(xy[..., 0])).astype(np.float32), scores)
        frames.append((i * FRAME_NS, detected, np.array([fly for fly, _, _ in found], dtype=int)))
    return frames


def follow(frames: list[tuple[int, Poses, np.ndarray]]) -> tuple[int, int, set[int]]:
    """Return identity switches, sightings of a fly that no track took, and the ids given."""
    tracker = GreedyTracker(TrackerOptions(), frames[0][1].xy.shape[1])
    fly_of: dict[int, int] = {}
    switches, overlooked, ids = 0, 0, set()
    for timestamp_ns, detected, truth in frames:
        tracks = tracker.update(detected, timestamp_ns)
        taken = set()
        for track_id, row in zip(tracks.track_ids.tolist(), tracks.xy, strict=True):
            ids.add(track_id)
            for fly, xy in zip(truth.tolist(), detected.xy, strict=True):
                if fly >= 0 and np.array_equal(row, xy, equal_nan=True):
                    switches += fly_of.setdefault(track_id, fly) != fly
                    fly_of[track_id] = fly
                    taken.add(fly)
        overlooked += len(set(truth.tolist()) - {-1} - taken)
    return switches, overlooked, ids


@pytest.mark.parametrize(("step", "most_overlooked"), [(1, 0), (5, 10), (15, 1)])
def test_no_identity_switch_in_shuffled_detections(flies: np.ndarray, step: int, most_overlooked: int) -> None:
    switches, overlooked, ids = follow(detect(flies, step, seed=1))
    assert (switches, ids) == (0, {1, 2})
    assert overlooked <= most_overlooked


def test_hardly_an_identity_switch_with_gaps_and_false_detections(flies: np.ndarray) -> None:
    # What is left are false detections while both flies are missing; 2 of 60 seeds have any when this was written.
    runs = [follow(detect(flies, 1, seed, missing=0.1, false=0.05)) for seed in range(6)]
    assert sum(switches == 0 for switches, _, _ in runs) >= 4
    assert max(switches for switches, _, _ in runs) <= 2
    assert all(ids == {1, 2} for _, _, ids in runs)
    assert max(overlooked for _, overlooked, _ in runs) < 0.01 * 2 * len(flies)


@pytest.mark.parametrize("seed", range(3))
def test_no_identity_switch_where_animals_are_detected_twice(flies: np.ndarray, seed: int) -> None:
    switches, _, ids = follow(detect(flies, 1, seed, missing=0.05, double=0.2))
    assert (switches, ids) == (0, {1, 2})
