"""A session's tracks against labels: how many animals, how far off, how often an identity switched."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from models.recorded import RecordedModel, RecordedOptions
from realtime import folder as session_folder
from realtime.recording.log import read_log
from realtime.recording.records import FrameRecord, unpack_tracks

NO_IMAGE = np.zeros((1, 1), np.uint8)


def compare(session: Path, labels: Path, offset_px: float, nodes: Sequence[str], first: int) -> dict[str, Any]:
    """Compare the tracks of a session with the tracks of a label file, from frame `first` on.

    Each frame's tracks are paired with the labelled animals by least total distance of their centres. A track that is
    paired with another animal than the last time it was seen is one switch.

    Args:
        session: A session folder.
        labels: A `.slp` file whose tracks are proof-read.
        offset_px: Added to the labels' points, px.
        nodes: The nodes whose error is stated.
        first: Frame id to begin with.
    """
    truth = RecordedModel(RecordedOptions(path=labels, offset_px=offset_px, track_classes=True))
    names = session_folder.read_description(session)["model"]["skeleton"]["nodes"]
    ours = [names.index(node) for node in nodes]
    theirs = [truth.skeleton.nodes.index(node) for node in nodes]
    n_frames = n_complete = n_switches = 0
    errors: list[NDArray[np.float64]] = []
    last_seen_as: dict[int, int] = {}
    for record in read_log(session / session_folder.EVENTS):
        if not isinstance(record, FrameRecord) or record.frame_id < first:
            continue
        labelled = truth.predict(NO_IMAGE, record.frame_id)
        tracks = unpack_tracks(record.tracks)
        seen = np.isfinite(tracks.xy[..., 0]).any(axis=1)
        xy, track_ids = tracks.xy[seen].astype(np.float64), tracks.track_ids[seen]
        pairs = _pairs(xy[:, ours], labelled.xy[:, theirs])
        n_frames += 1
        n_complete += len(pairs) == len(labelled.xy)
        for row, animal in pairs:
            errors.append(np.linalg.norm(xy[row, ours] - labelled.xy[animal, theirs], axis=-1))
            identity = int(np.argmax(labelled.class_probs[animal])) if labelled.class_probs is not None else animal
            n_switches += last_seen_as.get(int(track_ids[row]), identity) != identity
            last_seen_as[int(track_ids[row])] = identity
    return {
        "first_frame": first,
        "n_frames": n_frames,
        "complete_fraction": n_complete / n_frames if n_frames else None,
        "n_identity_switches": n_switches,
        "error_px": _error_percentiles(np.array(errors), nodes),
    }


def _pairs(xy: NDArray[np.float64], labelled: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pair animals by least total distance of their centres; none with nothing in common."""
    with np.errstate(invalid="ignore"):
        centres, true_centres = np.nanmean(xy, axis=1), np.nanmean(labelled, axis=1)
    distance = np.linalg.norm(centres[:, None] - true_centres[None], axis=-1)
    rows, columns = linear_sum_assignment(np.nan_to_num(distance, nan=1e6))
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True)]


def _error_percentiles(errors: NDArray[np.float64], nodes: Sequence[str]) -> dict[str, dict[str, float]]:
    def row(values: NDArray[np.float64]) -> dict[str, float]:
        p50, p90, p95, p99 = np.nanpercentile(values, (50, 90, 95, 99)).tolist()
        return {"p50": p50, "p90": p90, "p95": p95, "p99": p99, "n": float(np.isfinite(values).sum())}

    if not errors.size:
        return {}
    return {**{node: row(errors[:, place]) for place, node in enumerate(nodes)}, "all of these": row(errors)}


def _text(result: Mapping[str, Any]) -> str:
    lines = [
        f"{result['n_frames']} frames from frame {result['first_frame']}: all animals in "
        f"{100 * result['complete_fraction']:.2f} % of them, {result['n_identity_switches']} identity switches",
        f"{'error, px':<14}{'p50':>8}{'p90':>8}{'p95':>8}{'p99':>8}{'n':>8}",
    ]
    for node, row in result["error_px"].items():
        lines.append(
            f"{node:<14}{row['p50']:>8.2f}{row['p90']:>8.2f}{row['p95']:>8.2f}{row['p99']:>8.2f}{row['n']:>8.0f}"
        )
    return "\n".join(lines)


def main() -> int:
    """Run the comparison from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking_accuracy", description=__doc__)
    parser.add_argument("session", type=Path, help="session folder")
    parser.add_argument("labels", type=Path, help=".slp file with proof-read tracks")
    parser.add_argument("--offset-px", type=float, default=0.0, help="added to the labels (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="frame to begin with (default: %(default)s)")
    parser.add_argument("--nodes", default="head,thorax,abdomen,eyeL,eyeR", help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    result = compare(given.session, given.labels, given.offset_px, given.nodes.split(","), given.first)
    print(json.dumps(result) if given.json else _text(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
