"""How long rules take: in the loop, frame by frame, and over a recording at once.

Two animals with 13 nodes walk at random. Live: the stamps are taken right before and after `Rule.evaluate`, in a tight
loop, so with warm caches; a session's report has the times behind a network. Over a recording: rule-frames a second,
the best of four passes; on several cores as many copies of the rule run side by side, each in a thread of its own
and over the whole recording. The machine code is there before.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

from benchmarks.percentiles import percentiles_ms, table
from realtime.machine import describe_machine
from realtime.rules import RoleSpec, Rule, RuleContext, RuleSpec, TrackTable, compile_rules, evaluate_recording
from realtime.tracks import Tracks

N_NODES = 13
FRAME_NS = 16_666_667
N_CORES = len(os.sched_getaffinity(0))
RULES: Mapping[str, dict[str, Any]] = {
    "distance of two roles": {"when": "distance(first.head, second.thorax) < 3 mm"},
    "near and facing, two roles": {
        "when": "distance(first.head, second.thorax) < 3 mm and facing(first, second) < 30 deg"
    },
    "near and facing, any pair, hysteresis": {
        "any_pair": ("a", "b"),
        "when": "distance(a.head, b.thorax) < 3 mm and facing(a, b) < 30 deg",
        "until": "distance(a.head, b.thorax) > 4 mm or facing(a, b) > 60 deg",
    },
    "courtship, any pair, half a second back": {
        "any_pair": ("a", "b"),
        "when": "distance(a.head, b) < 1.5 * mean(distance(b.head, b.abdomen), 1 s) and facing(b, a) > 120 deg "
        "and facing(a, b) < 30 deg and fraction(approach_speed(a, b) > 1 mm/s, 0.5 s) > 0.6",
    },
}


def walk(n_frames: int) -> list[Tracks]:
    """Return the tracks of two animals of about 80 px that walk at random."""
    random = np.random.default_rng(0)
    places = np.cumsum(random.normal(0, 2, (n_frames, 2, 1, 2)), axis=0) + np.array([[[400, 400]], [[450, 450]]])
    xy = (places + random.normal(0, 20, (1, 2, N_NODES, 2))).astype(np.float32)
    ids, ones = np.array([1, 2], np.int32), np.ones((2, N_NODES), np.float32)
    return [
        Tracks(
            ids,
            pose,
            ones,
            np.ones(2, np.float32),
            np.full(2, k * FRAME_NS, np.int64),
            np.full(2, -1, np.int32),
            np.zeros(2, np.int32),
            np.zeros(2, np.int32),
        )
        for k, pose in enumerate(xy)
    ]


def measure(n_frames: int) -> dict[str, Any]:
    """Return live percentiles in ms, and rule-frames a second over a recording by number of cores, for every rule."""
    nodes = ("head", "thorax", "abdomen", *(f"node{k}" for k in range(N_NODES - 3)))
    context = RuleContext(
        nodes,
        roles={"first": RoleSpec(track=1), "second": RoleSpec(track=2)},
        front="head",
        back="abdomen",
        centre="thorax",
        px_per_mm=30.0,
    )
    frames = walk(n_frames)
    times_ns = [k * FRAME_NS for k in range(n_frames)]
    recording = TrackTable.stack(range(n_frames), times_ns, frames)
    live: dict[str, dict[str, float]] = {}
    per_s: dict[str, dict[str, float]] = {}
    for name, settings in RULES.items():
        spec = RuleSpec(when_unknown="release", **settings)
        rules = compile_rules({f"copy {k}": spec for k in range(N_CORES)}, context)
        rules[0].warm_up()
        per_s[name] = {str(n): _rule_frames_per_s(rules[:n], recording) for n in sorted({1, N_CORES})}
        took_ns = []
        for k, tracks in enumerate(frames[:5_000]):
            began_ns = perf_counter_ns()
            rules[0].evaluate(tracks, k, times_ns[k])
            took_ns.append(perf_counter_ns() - began_ns)
        live[name] = percentiles_ms(took_ns[100:])
    return {"machine": describe_machine(), "live_ms": live, "rule_frames_per_s_by_cores": per_s}


def _rule_frames_per_s(rules: Sequence[Rule], recording: TrackTable) -> float:
    took_s = []
    for _ in range(4):
        began_s = perf_counter()
        evaluate_recording(rules, recording, n_threads=len(rules))
        took_s.append(perf_counter() - began_s)
    return len(rules) * len(recording.frame_ids) / min(took_s)


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rule_speed", description=__doc__)
    parser.add_argument("-n", type=int, default=100_000, help="frames of the recording (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    result = measure(given.n)
    rows = "\n".join(
        f"{name}: "
        + ", ".join(f"{n / 1e6:.1f} million on {cores} core{'s'[: cores != '1']}" for cores, n in row.items())
        for name, row in result["rule_frames_per_s_by_cores"].items()
    )
    text = f"live, ms\n{table(result['live_ms'])}\nrule-frames a second over a recording\n{rows}"
    print(json.dumps(result) if given.json else text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
