"""The live tracker's time for one frame, by number of animals and nodes.

The stamps are taken right before and after `GreedyTracker.update`, in one thread, on poses that are in memory. In a
tight loop everything stays in the processor's caches; behind a network it does not. So between two calls a buffer of
32 MB is written over (`cold`), unless `--warm` is given. Compiling is not included.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from time import perf_counter_ns
from typing import Any

import numpy as np

from benchmarks.percentiles import percentiles_ms, table
from models.poses import Poses
from realtime.machine import describe_machine
from realtime.tracking import GreedyTracker, TrackerOptions

SIZES = ((1, 13), (2, 2), (2, 13), (2, 32), (4, 13), (8, 24), (16, 24), (32, 2), (32, 24), (32, 32))
FRAME_NS = 16_666_667
_CACHE_BYTES = 32 << 20
_AS_IN_THE_LOOP = 32


def walking(n_animals: int, n_nodes: int, seed: int = 0) -> Iterator[Poses]:
    """Yield animals of about 100 px that walk at random in 1024×1024 px, shuffled, 3 % of the nodes missing."""
    random = np.random.default_rng(seed)
    plan = random.uniform(-40, 40, (n_nodes, 2))
    places = random.uniform(0, 1024, (n_animals, 2))
    while True:
        places = np.clip(places + random.normal(0, 3, places.shape), 0, 1024)
        xy = (places[:, None] + plan + random.normal(0, 1, (n_animals, n_nodes, 2))).astype(np.float32)
        xy[random.random(xy.shape[:2]) < 0.03] = np.nan
        xy = xy[random.permutation(n_animals)]
        yield Poses(xy, np.isfinite(xy[..., 0]).astype(np.float32), np.ones(n_animals, dtype=np.float32))


def update_times_ns(n_animals: int, n_nodes: int, n: int, *, cold: bool) -> list[int]:
    """Return the durations of `n` updates after 30 that do not count."""
    tracker = GreedyTracker(TrackerOptions(max_tracks=n_animals), n_nodes, n_reused=_AS_IN_THE_LOOP)
    tracker.warm_up()
    other_work = np.zeros(_CACHE_BYTES // 8)
    times = []
    for k, poses in zip(range(n + 30), walking(n_animals, n_nodes), strict=False):
        if cold:
            other_work += 1.0
        begin = perf_counter_ns()
        tracker.update(poses, k * FRAME_NS)
        times.append(perf_counter_ns() - begin)
    return times[30:]


def measure(n: int, *, cold: bool) -> dict[str, Any]:
    """Return percentiles in ms for every size, and the machine."""
    rows = {
        f"{n_animals} × {n_nodes}": percentiles_ms(update_times_ns(n_animals, n_nodes, n, cold=cold))
        for n_animals, n_nodes in SIZES
    }
    return {"machine": describe_machine(), "caches": "cold" if cold else "warm", "update_ms": rows}


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracker_scaling", description=__doc__)
    parser.add_argument("-n", type=int, default=1000, help="frames a row (default: %(default)s)")
    parser.add_argument("--warm", action="store_true", help="nothing between two calls")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    result = measure(given.n, cold=not given.warm)
    text = f"animals × nodes, ms, {result['caches']} caches\n{table(result['update_ms'])}"
    print(json.dumps(result) if given.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
