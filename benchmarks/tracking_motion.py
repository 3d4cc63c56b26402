"""How far the live tracker's expectation is off, and what it costs, for every motion: optical flow among them.

The poses of a label file are handed to the tracker with the frames of its video, every frame and then only every 5th
and 15th, as if the animals were faster.

- `off by`: how far each animal is from where it was expected, median over its nodes, px.
- `update`: time of `GreedyTracker.update`, ms, everything in warm caches; with optical flow it is nearly all of it.
- `switches`: how often an animal got another track.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.following import frame_rate_hz, images_of, rows_of
from benchmarks.percentiles import percentiles_ms
from camera_drivers.errors import CameraError
from models.errors import LabelsError, ModelError
from models.labels import Labels, read_labels
from models.poses import Poses
from realtime.machine import describe_machine
from realtime.tracking import GreedyTracker, TrackerOptions

MOTIONS: tuple[str, ...] = get_args(TrackerOptions.model_fields["motion"].annotation)
STEPS = (1, 5, 15)


def measure(labels: Labels, video: Path, steps: Sequence[int], n_frames: int) -> list[dict[str, Any]]:
    """Return one row for every step and motion, JSON-able.

    Args:
        labels: With tracks; instances without one are left out.
        video: Theirs.
        steps: Every which frame is taken.
        n_frames: How many frames of the video at most.
    """
    return [_row(labels, video, step, motion, n_frames) for step in steps for motion in MOTIONS]


def _row(labels: Labels, video: Path, step: int, motion: str, n_frames: int) -> dict[str, Any]:
    n_animals, n_nodes = len(labels.track_names), len(labels.skeleton.nodes)
    tracker = GreedyTracker(TrackerOptions.model_validate({"motion": motion, "max_tracks": n_animals}), n_nodes)
    tracker.warm_up()
    off_px, times_ns, switches, last = [], [], 0, dict[int, int]()
    frames, fps = labels.frames[:n_frames:step], frame_rate_hz(video)
    for number, (frame_id, image) in enumerate(zip(frames.tolist(), images_of(video, frames), strict=True)):
        animals, poses = _poses(labels, frame_id)
        begin = perf_counter_ns()
        tracks = tracker.update(poses, round(frame_id / fps * 1e9), image)
        times_ns.append(perf_counter_ns() - begin)
        expected, rows = tracker.last_expected, rows_of(poses, tracks)
        for pose, row in enumerate(rows.tolist()):
            if row >= 0:
                track = int(tracks.track_ids[row])
                switches += last.setdefault(int(animals[pose]), track) != track
                last[int(animals[pose])] = track
                if number:
                    off_px.append(_off_px(expected[row], poses.xy[pose]))
    known = np.array(off_px)[np.isfinite(off_px)]
    if not known.size:
        raise ValueError(f"expected an animal in two of the frames, every {step}th taken, got none; take more --frames")
    p50, p90, p99 = np.percentile(known, (50, 90, 99)).tolist()
    return {
        "step": step,
        "motion": motion,
        "off_px": {"p50": p50, "p90": p90, "p99": p99},
        "update_ms": percentiles_ms(times_ns),
        "switches": switches,
    }


def _poses(labels: Labels, frame_id: int) -> tuple[NDArray[np.int64], Poses]:
    rows = np.arange(*labels.rows(frame_id).indices(len(labels.xy)))
    rows = rows[labels.tracks[rows] >= 0]
    scores = labels.scores[rows].astype(np.float32)
    return labels.tracks[rows].astype(np.int64), Poses(
        labels.xy[rows].astype(np.float32), labels.node_scores[rows], scores
    )


def _off_px(expected: NDArray[np.float64], xy: NDArray[np.float32]) -> float:
    distance = np.hypot(*(expected - xy).T)
    known = distance[np.isfinite(distance)]
    return float(np.median(known)) if known.size else np.nan


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text."""
    lines = ["every  motion        off by, px p50    p90    p99  update, ms p50    p99  switches"]
    for row in rows:
        off, took = row["off_px"], row["update_ms"]
        lines.append(
            f"{row['step']:>5}  {row['motion']:<13}{off['p50']:>15.2f}{off['p90']:>7.2f}{off['p99']:>7.1f}"
            f"{took['p50']:>16.3f}{took['p99']:>7.3f}{row['switches']:>10}"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tracking_motion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("labels", type=Path, help="SLEAP labels with tracks (.slp)")
    parser.add_argument("video", type=Path, help="their video")
    parser.add_argument("--frames", type=int, default=3000, help="how many at most (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args(arguments)
    try:
        rows = measure(read_labels(given.labels), given.video, STEPS, given.frames)
    except (LabelsError, ModelError, CameraError, ValueError, OSError, ImportError) as error:
        print(f"tracking_motion: {error}", file=sys.stderr)
        return 2
    print(json.dumps({"machine": describe_machine(), "rows": rows}) if given.json else table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
