"""How far the look-ahead is off, and what it costs, against taking the pose as it is.

The poses of a label file are handed to it frame by frame, as a session would. What it predicts is held against where
the same animal's nodes came to be at that time: in a frame, or on the straight line between two of them. Once at the
rate of the recording, where 10 and 20 ms fall between two frames, and once four times as fast, where they are frames.

- `whole`: one velocity for all nodes, as without `groups`; `apart`: one for the trunk, one for the wings, one for the
  legs (of those that a skeleton has); `single`: one for each node. None of these is switched off where it is worse;
- `graded`: `apart`, and switched off where it is worse, as in a session;
- `moving`: frames in which the animal walks: in the 0.2 s round them, faster than half a body length a second (that is
  measured at the recording's rate, on the poses alone).

Every error is the distance of one node, px; `no prediction` is that of the pose. `µs a frame` is the time of one
`LookAhead.predict` for all animals, everything in warm caches.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.circumstances import circumstances
from benchmarks.following import DEFAULT_FPS
from benchmarks.json_file import add_json_option, write_json
from models.errors import LabelsError
from models.labels import Labels, read_labels
from realtime.lookahead import LookAhead, LookAheadOptions
from realtime.tracks import Tracks

HORIZONS_MS = (10.0, 20.0, 40.0)
SPEED_UPS = (1, 4)
MOVING = 0.5
"""Body lengths a second."""
_ROUND_S = 0.1
_NEVER_GRADED_S = 3600.0
_PARTS = {"wing": "wings", "leg": "legs"}
_REUSED = 32
Poses = NDArray[np.float32]


def poses_of(labels: Labels) -> Poses:
    """Return `(n_frames, n_animals, n_nodes, 2)` px of the labelled frames, of animals with a track; NaN = not seen."""
    rows = np.repeat(np.arange(len(labels.frames)), [len(labels.xy[labels.rows(f)]) for f in labels.frames.tolist()])
    xy = np.full((len(labels.frames), len(labels.track_names), len(labels.skeleton.nodes), 2), np.nan, np.float32)
    kept = labels.tracks >= 0
    xy[rows[kept], labels.tracks[kept]] = labels.xy[kept]
    return xy


def groupings(node_names: Sequence[str]) -> dict[str, dict[str, list[str]] | None]:
    """Return the groups of each way to put nodes together."""
    parts: dict[str, list[str]] = {}
    for name in node_names:
        parts.setdefault(next((part for word, part in _PARTS.items() if word in name.lower()), "trunk"), []).append(
            name
        )
    return {"whole": None, "apart": parts, "single": {name: [name] for name in node_names}}


def moving(xy: Poses, frame_rate_hz: float) -> NDArray[np.bool_]:
    """Return `(n_frames, n_animals)`, whether each walks: see the top of this file."""
    reach = max(1, round(_ROUND_S * frame_rate_hz))
    low, high = np.nanmin(xy, axis=2, initial=np.inf), np.nanmax(xy, axis=2, initial=-np.inf)
    body_px = np.nanmedian(np.where(np.isfinite(low), np.hypot(*np.moveaxis(high - low, -1, 0))[..., None], np.nan))
    found = np.zeros(xy.shape[:2], np.bool_)
    way = xy[2 * reach :] - xy[: -2 * reach]
    way[np.isnan(way).all(axis=(2, 3))] = 0.0  # not seen at both ends: it is not known to walk
    way = np.nanmedian(way, axis=2)
    found[reach:-reach] = np.linalg.norm(way, axis=-1) * frame_rate_hz / (2 * reach) > MOVING * body_px
    return found


def truth(xy: Poses, horizon_frames: float) -> Poses:
    """Return where each node came to be so many frames after each frame; NaN after the last."""
    whole = int(horizon_frames)
    share = horizon_frames - whole
    found = np.full_like(xy, np.nan)
    n = len(xy) - whole - (1 if share else 0)
    found[:n] = xy[whole : whole + n]
    if share:
        found[:n] += np.float32(share) * (xy[whole + 1 : whole + 1 + n] - xy[whole : whole + n])
    return found


def _tracks(xy: Poses) -> Tracks:
    n, nobody = len(xy), np.zeros(len(xy), np.int32)
    seen = np.isfinite(xy[..., 0]).astype(np.float32)
    ids = np.arange(1, n + 1, dtype=np.int32)
    return Tracks(ids, xy, seen, np.ones(n, np.float32), np.zeros(n, np.int64), ids - 1, nobody, nobody)


def predicted(
    xy: Poses, node_names: Sequence[str], frame_rate_hz: float, options: LookAheadOptions
) -> tuple[Poses, NDArray[np.bool_], list[int]]:
    """Return what the look-ahead says of every frame, which groups were on, and how long it took, ns."""
    ahead = LookAhead(options, node_names, xy.shape[1], n_reused=_REUSED)
    ahead.warm_up()
    found, is_on, times = np.empty_like(xy), [], []
    turns = [_tracks(pose.copy()) for pose in xy[:_REUSED]]  # as the tracker's answers in the loop
    for index, pose in enumerate(xy):
        tracks, timestamp_ns = turns[index % len(turns)], round(index / frame_rate_hz * 1e9)
        tracks.xy[:] = pose
        begin = perf_counter_ns()
        prediction = ahead.predict(tracks, timestamp_ns).prediction
        times.append(perf_counter_ns() - begin)
        if prediction is None:
            raise RuntimeError("look-ahead: expected a prediction with every frame, got none")
        found[index] = prediction.xy
        is_on.append(prediction.is_on.copy())
    return found, np.array(is_on), times


def measure(labels: Labels, frame_rate_hz: float) -> dict[str, Any]:
    """Return the rows, JSON-able: speed-up, horizon, what was predicted, and percentiles of the errors."""
    xy, names = poses_of(labels), labels.skeleton.nodes
    walks = moving(xy, frame_rate_hz)
    if not walks.any():
        raise ValueError("expected an animal that walks in the labels, got none; take a longer recording")
    groups, rows, times = groupings(names), [], list[int]()
    for speed_up in SPEED_UPS:
        rate = frame_rate_hz * speed_up
        for horizon_ms in HORIZONS_MS:
            then = truth(xy, horizon_ms * rate / 1000)
            rows.append(_row(speed_up, horizon_ms, "no prediction", _errors(xy, then, walks, groups["apart"], names)))
            for how in (*groups, "graded"):
                given = {"horizon_ms": horizon_ms, "groups": groups["apart" if how == "graded" else how]}
                if how != "graded":
                    given["grade_s"] = _NEVER_GRADED_S
                options = LookAheadOptions.model_validate(given)
                found, is_on, took = predicted(xy, names, rate, options)
                times += took if how == "whole" else []
                row = _row(speed_up, horizon_ms, how, _errors(found, then, walks, groups["apart"], names))
                rows.append({**row, "on": is_on.mean(axis=(0, 1)).tolist() if how == "graded" else None})
    return {
        "frame_rate_hz": frame_rate_hz,
        "n_frames": len(xy),
        "n_animals": xy.shape[1],
        "n_nodes": xy.shape[2],
        "groups": groups["apart"],
        "moving_share": float(walks.mean()),
        "moving_above_body_lengths_per_s": MOVING,
        "us_a_frame": dict(zip(("p50", "p99"), (np.percentile(times, (50, 99)) / 1e3).tolist(), strict=True)),
        "rows": rows,
    }


def _row(speed_up: int, horizon_ms: float, how: str, errors: dict[str, Any]) -> dict[str, Any]:
    return {"speed_up": speed_up, "horizon_ms": horizon_ms, "predicted": how, "off_px": errors}


def _errors(
    found: Poses, then: Poses, walks: NDArray[np.bool_], parts: Mapping[str, list[str]] | None, names: Sequence[str]
) -> dict[str, Any]:
    off = np.linalg.norm(found - then, axis=-1)
    columns = {"all nodes": list(names), **(parts or {})}
    return {
        part: {
            which: _percentiles(off[chosen][:, [names.index(node) for node in nodes]])
            for which, chosen in (("all", np.ones_like(walks)), ("moving", walks))
        }
        for part, nodes in columns.items()
    }


def _percentiles(off_px: NDArray[np.float32]) -> dict[str, float]:
    known = off_px[np.isfinite(off_px)]
    p50, p90, p99 = np.percentile(known, (50, 90, 99)).tolist() if known.size else (np.nan,) * 3
    return {"p50": p50, "p90": p90, "p99": p99, "mean": float(known.mean()) if known.size else np.nan, "n": known.size}


def table(result: Mapping[str, Any]) -> str:
    """Return the result as text."""
    cost, (everything, *parts) = result["us_a_frame"], result["rows"][0]["off_px"]
    lines = [
        f"{result['n_frames']} frames of {result['n_animals']} animals × {result['n_nodes']} nodes at "
        f"{result['frame_rate_hz']:g} frames/s; moving in {result['moving_share']:.0%} of them; "
        f"{cost['p50']:.1f} µs a frame (p50), {cost['p99']:.1f} µs (p99)",
        "",
        f"{'off by, px':<30}{'all frames':^23}{'moving':^23}{'moving, p50 of':^{10 * len(parts)}}".rstrip(),
        f"{'rate   ahead  predicted':<30}"
        + f"{'p50':>7}{'p90':>7}{'p99':>7}  " * 2
        + "".join(f"{part:>10}" for part in parts),
    ]
    for row in result["rows"]:
        cells = "".join(
            f"{off['p50']:>7.2f}{off['p90']:>7.2f}{off['p99']:>7.1f}  "
            for off in (row["off_px"][everything][which] for which in ("all", "moving"))
        )
        lines.append(
            f"{row['speed_up']:>3}×{row['horizon_ms']:>6g} ms  {row['predicted']:<15}{cells}"
            + "".join(f"{row['off_px'][part]['moving']['p50']:>10.2f}" for part in parts)
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lookahead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("labels", type=Path, help="SLEAP labels with tracks (.slp), every frame labelled")
    parser.add_argument("--rate", type=float, default=DEFAULT_FPS, help="frames a second (default: %(default)s)")
    add_json_option(parser)
    given = parser.parse_args(arguments)
    try:
        result = {**circumstances(), **measure(read_labels(given.labels), given.rate)}
    except (LabelsError, ValueError, OSError, ImportError) as error:
        print(f"lookahead: {error}", file=sys.stderr)
        return 2
    write_json(result, given.json)
    print(table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
