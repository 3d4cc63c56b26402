"""Bottom-up assembly: how long the peaks of one image take to become animals, by number of animals and nodes.

The stamps are taken right before and after `Assembler.assemble`, in one thread, on peaks that are in memory; the
network and the graph's own part (peaks, edge scores) are not included.
"""

import argparse
import json
import sys
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.percentiles import percentiles_ms, table
from models.decode.assembly import Assembler
from models.skeleton import Skeleton
from realtime.machine import describe_machine

SIZES = ((1, 13), (2, 13), (4, 13), (8, 24), (16, 24))


class Scene(NamedTuple):
    """What `Assembler.assemble` takes."""

    peaks: NDArray[np.float32]
    peak_scores: NDArray[np.float32]
    peak_valid: NDArray[np.bool_]
    edge_scores: NDArray[np.float32]


def branching_skeleton(n_nodes: int) -> Skeleton:
    """Return a skeleton in which every node but the first hangs on one before it, two on each."""
    return Skeleton(tuple(f"node{k}" for k in range(n_nodes)), tuple(((k - 1) // 2, k) for k in range(1, n_nodes)))


def random_scene(n_animals: int, n_nodes: int, *, crowded: bool, seed: int = 0) -> Scene:
    """Return the peaks of `n_animals` animals in `n_animals + 2` slots.

    Args:
        n_animals: Animals in view.
        n_nodes: Nodes of `branching_skeleton`.
        crowded: Every slot is in use and no edge score means anything, which costs the most; otherwise a peak fits
            those of its own animal (0.7–1.0) much better than others (0.0–0.3), and two slots are empty.
        seed: Of the random numbers.
    """
    random = np.random.default_rng(seed)
    n_peaks = n_animals + 2
    order = random.permuted(np.tile(np.arange(n_peaks), (n_nodes, 1)), axis=1)
    edges = np.array(branching_skeleton(n_nodes).edges)
    own = order[edges[:, 0], :, None] == order[edges[:, 1], None, :]
    edge_scores = random.uniform(0.0, 0.3, own.shape) + 0.7 * own
    if crowded:
        edge_scores = random.uniform(0.0, 1.0, own.shape)
    return Scene(
        peaks=random.uniform(0.0, 1000.0, (n_nodes, n_peaks, 2)).astype(np.float32),
        peak_scores=random.uniform(0.2, 1.0, (n_nodes, n_peaks)).astype(np.float32),
        peak_valid=np.full((n_nodes, n_peaks), True) if crowded else order < n_animals,
        edge_scores=edge_scores.astype(np.float32),
    )


def assembly_times_ns(n_animals: int, n_nodes: int, *, crowded: bool, n: int) -> list[int]:
    """Return the durations of `n` calls, each on another of 16 scenes."""
    assembler = Assembler(branching_skeleton(n_nodes), n_animals, n_animals + 2)
    scenes = [random_scene(n_animals, n_nodes, crowded=crowded, seed=seed) for seed in range(16)]
    times = []
    for k in range(n):
        scene = scenes[k % len(scenes)]
        begin = perf_counter_ns()
        assembler.assemble(*scene)
        times.append(perf_counter_ns() - begin)
    return times


def measure(n: int) -> dict[str, Any]:
    """Return percentiles in ms for every size, and the machine."""
    rows = {
        f"{n_animals} × {n_nodes}{', crowded' if crowded else ''}": percentiles_ms(
            assembly_times_ns(n_animals, n_nodes, crowded=crowded, n=n)
        )
        for n_animals, n_nodes in SIZES
        for crowded in (False, True)
    }
    return {"machine": describe_machine(), "assembly_ms": rows}


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.assembly", description=__doc__)
    parser.add_argument("-n", type=int, default=10_000, help="calls a row (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    result = measure(given.n)
    print(json.dumps(result) if given.json else "animals × nodes, ms\n" + table(result["assembly_ms"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
