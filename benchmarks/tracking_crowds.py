"""Tracking of simulated crowds: IDF1 and identity switches of the live tracker and of SLEAP's, by scene and size.

Every tracker is given the same detections in the same random order: 2 % of them and 3 % of the nodes are missing,
1 px of noise, a false detection in 5 % of the frames. The live tracker is told how many animals there are, as a rig
is; where they leave and enter it is told that the population is open, and to wait 0.05 s for a second look
(`confirm_s`). SLEAP's is its tracker "simple"; "flow" needs images.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.crowds import SCENES, CrowdFrame, Scene, body_plan, simulate
from models.evaluation.identity import idf1_score
from realtime.machine import describe_machine
from realtime.tracking import GreedyTracker, TrackerOptions
from realtime.tracking.sleap import SleapTracker, SleapTrackerOptions

SIZES = (2, 4, 8, 16)
_SLEAP: dict[str, dict[str, Any]] = {
    "sleap": {},
    "sleap hungarian": {"match": "hungarian"},
    "sleap iou": {"similarity": "iou"},
    "sleap centroid": {"similarity": "centroid"},
    "sleap oks": {"similarity": "object_keypoint"},
}
LIVE = "live"
TRACKERS = (LIVE, *_SLEAP)

Follow = Callable[[CrowdFrame], NDArray[np.int64]]
"""Returns `(n_detections,)` the track of each detection, −1 = none."""


@dataclass(frozen=True, slots=True)
class Result:
    """How well a tracker kept the animals of one crowd apart.

    Attributes:
        idf1: 0–1; see `models.evaluation.identity`.
        switches: How often a track goes over to another animal.
    """

    idf1: float
    switches: int


def tracker_for(name: str, scene: Scene, n_animals: int) -> Follow:
    """Return one of `TRACKERS`, new."""
    if name == LIVE:
        return _live(scene, n_animals)
    options = SleapTrackerOptions.model_validate({"tracker": "simple", **_SLEAP[name]})
    sleap = SleapTracker(options, len(body_plan()))
    return lambda frame: sleap.update(frame.poses.xy, frame.poses.node_scores).tracks


def _live(scene: Scene, n_animals: int) -> Follow:
    if scene == "leave":
        options = TrackerOptions(max_tracks=2 * n_animals, closed_population=False, confirm_s=0.05)
    else:
        options = TrackerOptions(max_tracks=n_animals)
    tracker = GreedyTracker(options, len(body_plan()))

    def follow(frame: CrowdFrame) -> NDArray[np.int64]:
        tracks = tracker.update(frame.poses, frame.timestamp_ns)
        # A row of `Tracks` is the detection that it was given, bit for bit.
        track_of = {row.tobytes(): int(track) for row, track in zip(tracks.xy, tracks.track_ids, strict=True)}
        return np.array([track_of.get(pose.tobytes(), -1) for pose in frame.poses.xy], dtype=np.int64)

    return follow


def score(frames: Sequence[CrowdFrame], follow: Follow) -> Result:
    """Follow a crowd and compare with the truth."""
    truth, given = [], []
    last: dict[int, int] = {}
    n_switches = 0
    for frame in frames:
        tracks = follow(frame)
        truth.append(frame.truth)
        given.append(tracks)
        for track, animal in zip(tracks.tolist(), frame.truth.tolist(), strict=True):
            if track >= 0 and animal >= 0:
                n_switches += last.get(track, animal) != animal
                last[track] = animal
    animals, tracks = np.concatenate(truth), np.concatenate(given)
    right = (animals >= 0) & (tracks >= 0)
    n_animals = sum(frame.n_animals for frame in frames)
    return Result(idf1_score(animals[right], tracks[right], n_animals, int((tracks >= 0).sum())), n_switches)


def measure(seconds: float, seeds: Sequence[int], sizes: Sequence[int] = SIZES) -> list[dict[str, Any]]:
    """Return a row for every scene, size and tracker: mean IDF1 and all switches over the seeds."""
    rows = []
    for scene in SCENES:
        for n_animals in sizes:
            crowds = [list(simulate(scene, n_animals, seconds=seconds, seed=seed)) for seed in seeds]
            for name in TRACKERS:
                results = [score(crowd, tracker_for(name, scene, n_animals)) for crowd in crowds]
                idf1 = float(np.mean([result.idf1 for result in results]))
                switches = sum(result.switches for result in results)
                rows.append({"scene": scene, "animals": n_animals, "tracker": name, "idf1": idf1, "switches": switches})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text: a line for every crowd, a column for every tracker."""
    lines = ["IDF1 (switches)".ljust(16) + "".join(f"{name:>18}" for name in TRACKERS)]
    for first in range(0, len(rows), len(TRACKERS)):
        crowd = rows[first : first + len(TRACKERS)]
        cells = "".join(f"{row['idf1']:.3f} ({row['switches']})".rjust(18) for row in crowd)
        lines.append(f"{crowd[0]['scene']} {crowd[0]['animals']}".ljust(16) + cells)
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark from the command line; exit code 1 if SLEAP's tracker is as good in any crowd."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking_crowds", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a crowd (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="crowds of each kind (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    rows = measure(given.seconds, range(given.seeds))
    best = {(row["scene"], row["animals"]): row["idf1"] for row in rows if row["tracker"] == LIVE}
    behind = [row for row in rows if row["tracker"] != LIVE and row["idf1"] >= best[row["scene"], row["animals"]]]
    print(json.dumps({"machine": describe_machine(), "rows": rows}) if given.json else table(rows))
    for row in behind:
        print(f"not better than {row['tracker']}: {row['scene']} {row['animals']}", file=sys.stderr)
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main())
