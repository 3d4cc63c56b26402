"""Frame available → command written, by stage, on a rig as it runs live: camera process, loop, recorder process.

The stamps: "available" is taken by the camera's process when a frame is complete in its memory (a file at a live pace
stands for a camera that writes into the ring itself: there its frame lies when it is due), "written" by the loop when
the last command's bytes are handed to the operating system, both on CLOCK_MONOTONIC. "Outside the network" is that way
without `predict`. Exposure, transfer from a sensor and the actuator are not included. After the command come `append`,
the hand-over to the recorder, and the model's review; a frame that has to wait for them has it in its `grab`.

The reference is image → poses of the fast networks of SLEAP's paper (see `benchmarks.model_latency`) on the rig's
engine in float32, with its threads, before and after the rig in the same process. `reference_ratio` says how much
faster the whole way from frame to command is than that, at p50: a ratio holds on a noisy machine where a time does
not.
"""

import argparse
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np

from benchmarks.circumstances import with_reference
from benchmarks.json_file import add_json_option, write_json
from benchmarks.live_runs import facts_of, resident_mib, run_rig, stage_rows
from benchmarks.percentiles import percentiles_ms, table
from models.engines.options import EngineOptions
from realtime.folder import read_description
from realtime.live import LiveEnd
from realtime.loop import ProcessedFrame, Sink, StopRequest
from realtime.rig import load_rig

_LOOK_AT_MEMORY_EVERY = 1_000  # frames; the result's own times take 0.2 KiB a frame
DEFAULT_RIG = Path(__file__).resolve().parent.parent / "rigs" / "benchmark.toml"


class _Stopwatch:
    """Two sinks round the session's own: one starts the clock, the other reads it and keeps the frame's times."""

    def __init__(self, stop: StopRequest, warm_up: int, n_frames: int) -> None:
        self._stop = stop
        self._warm_up = warm_up
        self._n_frames = n_frames
        self._started_ns = 0
        self.stage_ns: list[tuple[int, ...]] = []
        self.resident_mib: list[float] = []
        self.outcomes: Counter[str] = Counter()

    def around(self, sinks: tuple[Sink, ...]) -> tuple[Sink, ...]:
        return (_Call(self._start), *sinks, _Call(self._read))

    def _start(self, _: ProcessedFrame) -> None:
        self._started_ns = monotonic_ns()

    def _read(self, processed: ProcessedFrame) -> None:
        append_ns = monotonic_ns() - self._started_ns
        if processed.index % _LOOK_AT_MEMORY_EVERY == 0:
            self.resident_mib.append(resident_mib())
        if processed.index < self._warm_up:
            return
        self.stage_ns.append((*processed.stage_ns, append_ns))
        self.outcomes.update(intent.outcome for intent in processed.action.intents)
        if len(self.stage_ns) >= self._n_frames:
            self._stop.request("enough frames")


class _Call:
    def __init__(self, function: Any) -> None:
        self.append = function


def measure(rig: Path, n_frames: int, warm_up: int, n_reference: int) -> dict[str, Any]:
    """Run `rig` live until `n_frames` frames after the first `warm_up` were processed; return the percentiles.

    With `n_reference`, the reference runs so often before and after.
    """
    result, reference = with_reference(lambda: _measure(rig, n_frames, warm_up), n_reference, _reference_engine(rig))
    if reference is not None:
        rows = result["latency_ms"]
        rows["reference: network alone"] = reference["all_ms"]
        result["reference"] = reference
        result["reference_ratio"] = reference["all_ms"]["p50"] / rows["frame → command"]["p50"]
    return result


def _reference_engine(rig: Path) -> EngineOptions:
    """Return the engine of a rig, in float32."""
    options = load_rig(rig).model.options
    if not isinstance(options, EngineOptions):
        return EngineOptions()
    fields = {name: getattr(options, name) for name in EngineOptions.model_fields}
    return EngineOptions(**{**fields, "precision": "fp32"})


def _measure(rig: Path, n_frames: int, warm_up: int) -> dict[str, Any]:
    stop = StopRequest()
    watch = _Stopwatch(stop, warm_up, n_frames)
    with tempfile.TemporaryDirectory() as folder:
        end = run_rig(rig, Path(folder) / "session", stop, watch.around)
        return _result(rig, watch, warm_up, end)


def _result(rig: Path, watch: _Stopwatch, warm_up: int, end: LiveEnd) -> dict[str, Any]:
    table_ns = np.array(watch.stage_ns)
    return {
        "benchmark": "loop_latency",
        "unit": "ms",
        "rig": tomllib.loads(rig.read_text(encoding="utf-8")),
        "engine": read_description(end.folder)["model"].get("engine"),
        "stamps": "frame complete in the camera process → last command byte handed to the operating system",
        "n_warm_up_frames": warm_up,
        "latency_ms": {**stage_rows(table_ns[:, :-1]), "append": percentiles_ms(table_ns[:, -1])},
        **facts_of(end, watch.outcomes, watch.resident_mib),
    }


def main() -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loop_latency", description=__doc__)
    parser.add_argument("--rig", type=Path, default=DEFAULT_RIG, help="rig file to run (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=1000, help="frames to measure (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=60, help="frames left out at the start (default: %(default)s)")
    add_json_option(parser)
    parser.add_argument("--reference", type=int, default=0, metavar="N", help="runs of the reference, twice (0 = none)")
    arguments = parser.parse_args()
    result = measure(arguments.rig, arguments.frames, arguments.warm_up, arguments.reference)
    print(table(result["latency_ms"]))
    print(f"model: {result['engine']}")
    print(f"intents {result['intents']}, deadline misses {result['deadline_misses']}, drops {result['drops']}")
    memory = result["resident_mib"]
    print(f"memory of the loop's process, MiB: first {memory[0]:.0f}, last {memory[-1]:.0f}, most {max(memory):.0f}")
    if "reference_ratio" in result:
        print(f"frame → command is {result['reference_ratio']:.1f} times faster than the reference's network alone")
    print(f"{result['machine']['cpu']}, {result['machine']['cores']} cores; not included: exposure, transfer, actuator")
    write_json(result, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
