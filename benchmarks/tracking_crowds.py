"""Tracking of simulated crowds: IDF1 and identity switches of the live tracker and of SLEAP's, by scene and size.

Every tracker is given the same detections in the same random order: 2 % of them and 3 % of the nodes are missing,
1 px of noise, a false detection in 5 % of the frames. The live tracker is told how many animals there are, as a rig
is; where they leave and enter it is told that the population is open, and to wait 0.05 s for a second look
(`confirm_s`). SLEAP's is its tracker "simple"; "flow" needs images. With `--stages` the live tracker is compared with
itself, one stage exchanged at a time.
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
from benchmarks.following import rows_of
from models.evaluation.calibration import calibrate, still_the_same
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
_STAGES: dict[str, dict[str, Any]] = {
    LIVE: {},
    "still": {"motion": "still"},
    "kalman": {"motion": "kalman"},
    "centroid": {"similarity": "centroid"},
    "iou": {"similarity": "iou"},
    "hungarian": {"matching": "hungarian"},
}
STAGES = tuple(_STAGES)

SURE = 0.9
"""A switch is not announced if the confidence is at least this."""

Follow = Callable[[CrowdFrame], tuple[NDArray[np.int64], NDArray[np.float64]]]
"""Returns `(n_detections,)` the track of each detection, −1 = none, and how sure its identity is, NaN = not said."""


@dataclass(frozen=True, slots=True)
class Result:
    """How well a tracker kept the animals of one crowd apart.

    Attributes:
        idf1: 0–1; see `models.evaluation.identity`.
        switches: How often a track goes over to another animal.
        sure_switches: At how many of them the confidence was `SURE` or more.
        confidence: `(n,)` of every detection of an animal that has a track.
        right: `(n,)` whether the animal is the one that its track began with.
    """

    idf1: float
    switches: int
    sure_switches: int
    confidence: NDArray[np.float64]
    right: NDArray[np.bool_]


def tracker_for(name: str, scene: Scene, n_animals: int) -> Follow:
    """Return one of `TRACKERS` or `STAGES`, new."""
    if name in _STAGES:
        return _live(scene, n_animals, _STAGES[name])
    options = SleapTrackerOptions.model_validate({"tracker": "simple", **_SLEAP[name]})
    sleap = SleapTracker(options, len(body_plan()))

    def follow(frame: CrowdFrame) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        tracks = sleap.update(frame.poses.xy, frame.poses.node_scores).tracks
        return tracks, np.full(len(tracks), np.nan)

    return follow


def _live(scene: Scene, n_animals: int, stages: dict[str, Any]) -> Follow:
    told: dict[str, Any] = {"max_tracks": n_animals}
    if scene == "leave":
        told = {"max_tracks": 2 * n_animals, "closed_population": False, "confirm_s": 0.05}
    tracker = GreedyTracker(TrackerOptions.model_validate({**told, **stages}), len(body_plan()))

    def follow(frame: CrowdFrame) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        tracks = tracker.update(frame.poses, frame.timestamp_ns)
        rows = rows_of(frame.poses, tracks)
        known = rows >= 0
        ids, sure = np.full(len(rows), -1, dtype=np.int64), np.full(len(rows), np.nan)
        ids[known], sure[known] = tracks.track_ids[rows[known]], tracks.identity_confidence[rows[known]]
        return ids, sure

    return follow


def score(frames: Sequence[CrowdFrame], follow: Follow) -> Result:
    """Follow a crowd and compare with the truth."""
    pairs: list[tuple[int, int, float, bool]] = []
    last: dict[int, int] = {}
    n_predicted = 0
    for frame in frames:
        tracks, sure = follow(frame)
        n_predicted += int((tracks >= 0).sum())
        for track, animal, confidence in zip(tracks.tolist(), frame.truth.tolist(), sure.tolist(), strict=True):
            if track >= 0 and animal >= 0:
                pairs.append((track, animal, confidence, last.get(track, animal) != animal))
                last[track] = animal
    tracks, animals = (np.array([pair[k] for pair in pairs], dtype=np.int64) for k in (0, 1))
    confidence = np.array([pair[2] for pair in pairs])
    switched = np.array([pair[3] for pair in pairs], dtype=np.bool_)
    return Result(
        idf1=idf1_score(animals, tracks, sum(frame.n_animals for frame in frames), n_predicted),
        switches=int(switched.sum()),
        sure_switches=int((confidence[switched] >= SURE).sum()),
        confidence=confidence,
        right=still_the_same(tracks, animals),
    )


def reliability(results: Sequence[Result]) -> dict[str, Any]:
    """Return how true confidences are, over all of the results.

    `bins`, without empty ones, and `expected_calibration_error`: see `models.evaluation.calibration`.
    """
    found = calibrate(
        np.concatenate([result.confidence for result in results]), np.concatenate([result.right for result in results])
    )
    return {
        "expected_calibration_error": found.expected_calibration_error,
        "switches": sum(result.switches for result in results),
        "sure_switches": sum(result.sure_switches for result in results),
        "bins": [one.as_dict() for one in found.bins if one.n],
    }


def measure(
    seconds: float, seeds: Sequence[int], sizes: Sequence[int] = SIZES, trackers: Sequence[str] = TRACKERS
) -> dict[str, Any]:
    """Return `rows`, one a scene, size and tracker (mean IDF1, all switches), and the live tracker's `reliability`."""
    rows: list[dict[str, Any]] = []
    live: list[Result] = []
    for scene in SCENES:
        for n_animals in sizes:
            crowds = [list(simulate(scene, n_animals, seconds=seconds, seed=seed)) for seed in seeds]
            for name in trackers:
                results = [score(crowd, tracker_for(name, scene, n_animals)) for crowd in crowds]
                live += results if name == LIVE else []
                idf1 = float(np.mean([result.idf1 for result in results]))
                switches = sum(result.switches for result in results)
                rows.append({"scene": scene, "animals": n_animals, "tracker": name, "idf1": idf1, "switches": switches})
    return {"rows": rows, "reliability": reliability(live)}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text: a line for every crowd, a column for every tracker."""
    trackers = list(dict.fromkeys(row["tracker"] for row in rows))
    lines = ["IDF1 (switches)".ljust(16) + "".join(f"{name:>18}" for name in trackers)]
    for first in range(0, len(rows), len(trackers)):
        crowd = rows[first : first + len(trackers)]
        cells = "".join(f"{row['idf1']:.3f} ({row['switches']})".rjust(18) for row in crowd)
        lines.append(f"{crowd[0]['scene']} {crowd[0]['animals']}".ljust(16) + cells)
    return "\n".join(lines)


def reliability_text(found: dict[str, Any]) -> str:
    """Return `reliability` as text."""
    lines = ["live: identity confidence    n  mean  right"]
    lines += [f"{row['n']:>30} {row['confidence']:>5.2f} {row['right']:>6.2f}" for row in found["bins"]]
    unsure = found["switches"] - found["sure_switches"]
    lines.append(
        f"expected calibration error {found['expected_calibration_error']:.3f}; "
        f"confidence below {SURE:g} at {unsure} of {found['switches']} switches"
    )
    return "\n".join(lines)


def main() -> int:
    """Run the benchmark from the command line; exit code 1 if SLEAP's tracker is as good in any crowd."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking_crowds", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="length of a crowd (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="crowds of each kind (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="seed of the first (default: %(default)s)")
    parser.add_argument("--stages", action="store_true", help="the live tracker with one stage exchanged at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    result = measure(given.seconds, seeds, trackers=STAGES if given.stages else TRACKERS)
    rows = result["rows"]
    best = {(row["scene"], row["animals"]): row["idf1"] for row in rows if row["tracker"] == LIVE}
    behind = [row for row in rows if row["tracker"] in _SLEAP and row["idf1"] >= best[row["scene"], row["animals"]]]
    text = f"{table(rows)}\n\n{reliability_text(result['reliability'])}"
    print(json.dumps({"machine": describe_machine(), **result}) if given.json else text)
    for row in behind:
        print(f"not better than {row['tracker']}: {row['scene']} {row['animals']}", file=sys.stderr)
    return 1 if behind else 0


if __name__ == "__main__":
    sys.exit(main())
