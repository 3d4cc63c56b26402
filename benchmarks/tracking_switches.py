"""Identity switches of the live tracker and of SLEAP's, on poses whose tracks are known, at full and lower frame rates.

The poses of a label file are handed to every tracker, shuffled within each frame by a seed, every frame and then only
every 5th and 15th: as if the camera were slower or the animals faster. Where similarities tie, SLEAP's tracker goes by
the order of the poses, so that one seed says little: what is shown is the median over the seeds and, if they differ,
the least and the most. The flow trackers need the video, and take the first seed only.

- `switches`: how often an animal got another track than the last time that it had one.
- `accuracy`: the share of the poses whose track is that of their animal, by the best naming of tracks after animals.
- `left out`: the poses that got no track.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.optimize import linear_sum_assignment

from benchmarks.following import Image, frame_rate_hz, images_of, rows_of
from benchmarks.json_file import add_json_option, write_json
from camera_drivers.errors import CameraError
from models.errors import LabelsError, ModelError
from models.labels import Labels, read_labels
from models.poses import Poses
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracking.sleap import SleapTracker, SleapTrackerOptions

_PIPE_COLUMNS = 120
Follow = Callable[[Poses, int, Image | None], NDArray[np.int64]]
"""Takes the poses, the time in ns and the image of a frame; returns the track of each pose, −1 = none."""

SLEAP = {
    "sleap instance": {"similarity": "instance"},
    "sleap iou": {"similarity": "iou"},
    "sleap centroid": {"similarity": "centroid"},
    "sleap oks": {"similarity": "object_keypoint"},
}
SLEAP_FLOW = {"sleap flow": {"similarity": "instance", "tracker": "flow"}}
MATCHES = ("greedy", "hungarian")


class Tally:
    """Counts what a tracker makes of animals that are known."""

    def __init__(self) -> None:
        self.switches = 0
        self._last: dict[int, int] = {}
        self._pairs: Counter[tuple[int, int]] = Counter()
        self._n_poses = 0

    def add(self, animals: NDArray[np.int64], tracks: NDArray[np.int64]) -> None:
        """Count one frame.

        Args:
            animals: `(n,)` which animal each pose shows.
            tracks: `(n,)` which track it got, −1 = none.
        """
        self._n_poses += len(animals)
        for animal, track in zip(animals.tolist(), tracks.tolist(), strict=True):
            if track >= 0:
                self.switches += self._last.setdefault(animal, track) != track
                self._last[animal] = track
                self._pairs[animal, track] += 1

    @property
    def left_out(self) -> int:
        """Poses that got no track."""
        return self._n_poses - self._pairs.total()

    @property
    def n_tracks(self) -> int:
        """How many tracks there were."""
        return len({track for _, track in self._pairs})

    @property
    def accuracy(self) -> float:
        """Share of the poses with the track of their animal, by the best naming; those left out are wrong."""
        animals, tracks = (sorted({pair[side] for pair in self._pairs}) for side in (0, 1))
        table = np.array([[self._pairs[animal, track] for track in tracks] for animal in animals]).reshape(
            len(animals), len(tracks)
        )
        named = table[linear_sum_assignment(-table)].sum()
        return float(named / self._n_poses) if self._n_poses else 1.0


def live(n_animals: int, n_nodes: int) -> Follow:
    """Return the live loop's tracker with its usual options, for `n_animals`."""
    tracker = GreedyTracker(TrackerOptions(max_tracks=n_animals), n_nodes)

    def follow(poses: Poses, time_ns: int, _: Image | None) -> NDArray[np.int64]:
        tracks = tracker.update(poses, time_ns)
        rows = rows_of(poses, tracks)
        given = np.full(len(rows), -1, np.int64)
        given[rows >= 0] = tracks.track_ids[rows[rows >= 0]]
        return given

    return follow


def sleap(options: SleapTrackerOptions, n_nodes: int) -> Follow:
    """Return SLEAP's tracker."""
    tracker = SleapTracker(options, n_nodes)
    return lambda poses, _, image: tracker.update(poses.xy, poses.node_scores, image).tracks


def trackers(n_animals: int, n_nodes: int, *, flow: bool) -> dict[str, Follow]:
    """Return new trackers by name, those that need images with `flow`, otherwise the others."""
    if flow:
        named = SLEAP_FLOW
        result: dict[str, Follow] = {}
    else:
        named = {name: {**how, "tracker": "simple"} for name, how in SLEAP.items()}
        result = {"live": live(n_animals, n_nodes)}
    for name, how in named.items():
        for match in MATCHES:
            options = SleapTrackerOptions.model_validate({**how, "match": match})
            result[f"{name} {match}"] = sleap(options, n_nodes)
    return result


def measure(labels: Labels, video: Path | None, steps: Sequence[int], n_seeds: int, fps: float) -> list[dict[str, Any]]:
    """Return what every tracker makes of the labels at every step, JSON-able.

    Args:
        labels: With tracks; instances without one are left out.
        video: For the flow trackers, or None to leave these out.
        steps: Every which frame is taken.
        n_seeds: How many shuffles.
        fps: Frames of the video a second.
    """
    rows = []
    for step in steps:
        for name, tallies in _tallies(labels, video, step, n_seeds, fps).items():
            switches = [tally.switches for tally in tallies]
            rows.append(
                {
                    "tracker": name,
                    "step": step,
                    "n_seeds": len(tallies),
                    "switches": switches,
                    "accuracy": [tally.accuracy for tally in tallies],
                    "left_out": [tally.left_out for tally in tallies],
                    "n_tracks": [tally.n_tracks for tally in tallies],
                }
            )
    return rows


def _tallies(labels: Labels, video: Path | None, step: int, n_seeds: int, fps: float) -> Mapping[str, list[Tally]]:
    n_animals, n_nodes = len(labels.track_names), len(labels.skeleton.nodes)
    runs = [trackers(n_animals, n_nodes, flow=False) for _ in range(n_seeds)]
    if video is not None:
        runs[0] |= trackers(n_animals, n_nodes, flow=True)
    shuffles = [np.random.default_rng(seed) for seed in range(n_seeds)]
    tallies: dict[str, list[Tally]] = {name: [Tally() for run in runs if name in run] for name in runs[0]}
    frames = labels.frames[::step]
    for frame_id, image in zip(frames.tolist(), images_of(video, frames), strict=True):
        rows = np.arange(*labels.rows(frame_id).indices(len(labels.xy)))
        rows = rows[labels.tracks[rows] >= 0]
        for seed, run in enumerate(runs):
            order = shuffles[seed].permutation(rows)
            poses = Poses(
                labels.xy[order].astype(np.float32), labels.node_scores[order], labels.scores[order].astype(np.float32)
            )
            for name, follow in run.items():
                tracks = follow(poses, round(frame_id / fps * 1e9), image)
                tallies[name][seed].add(labels.tracks[order].astype(np.int64), tracks)
    return tallies


def as_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return the rows of `measure` for a terminal."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("tracker", no_wrap=True)
    for column in ("every", "switches", "accuracy", "left out", "tracks", "seeds"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["tracker"],
            str(row["step"]),
            _spread(row["switches"], "g"),
            _spread(row["accuracy"], ".3f"),
            _spread(row["left_out"], "g"),
            _spread(row["n_tracks"], "g"),
            str(row["n_seeds"]),
        )
    return table


def _spread(values: Sequence[float], form: str) -> str:
    middle = f"{float(np.median(values)):{form}}"
    if min(values) == max(values):
        return middle
    return f"{middle} ({min(values):{form}}–{max(values):{form}})"


def _steps(text: str) -> list[int]:
    steps = [int(part) for part in text.split(",")]
    if min(steps) < 1:
        raise ValueError(text)
    return steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tracking_switches",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("labels", type=Path, metavar="LABELS.slp", help="a label file whose tracks are right")
    parser.add_argument("--video", type=Path, metavar="FILE", help="its video, for the flow trackers")
    add_json_option(parser)
    parser.add_argument("--steps", type=_steps, default=[1, 5, 15], help="every which frame (default: 1,5,15)")
    parser.add_argument("--seeds", type=int, default=10, help="how many shuffles (default: %(default)s)")
    parser.add_argument("--fps", type=float, help="frames a second (default: the video's, or 25)")
    given = parser.parse_args(arguments)
    if given.seeds < 1 or (given.fps is not None and given.fps <= 0):
        parser.error("expected --seeds of at least 1 and --fps above 0")
    try:
        labels = read_labels(given.labels)
        if not labels.track_names:
            raise ValueError(f"{given.labels}: expected labels with tracks, got none")
        fps = given.fps or frame_rate_hz(given.video)
        rows = measure(labels, given.video, given.steps, given.seeds, fps)
    except (ValueError, LabelsError, ModelError, CameraError) as error:
        print(error, file=sys.stderr)
        return 1
    # A pipe has no width of its own; 80 columns would cut numbers off.
    Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS).print(as_table(rows))
    result = {"labels": given.labels.name, "n_frames": len(labels.frames), "fps": fps, "rows": rows}
    write_json(result, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
