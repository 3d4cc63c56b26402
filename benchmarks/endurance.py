"""A long run at a live pace: does memory grow, does anything pile up, is every missed deadline in the log?

The real recording is played from memory, over and over, while a stimulus is asked for twice a second by the clock. With
rigs/endurance_busy.toml the recorder writes video, and every command goes to a ZMQ subscriber as well, that reads one
message a second. Exit code 1 if something was not as it should be.

The stamps are those of `benchmarks.loop_latency`. A backlog would show as a growing age of the frames in hand; the run
is cut into minutes for that, and the last whole one is held against the second one, which is warm.
"""

import argparse
import subprocess
import sys
import tempfile
import tomllib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.json_file import add_json_option, write_json
from benchmarks.live_runs import facts_of, resident_mib, run_rig, stage_rows
from benchmarks.percentiles import percentiles_ms, table
from realtime.live import LiveEnd
from realtime.loop import ProcessedFrame, StopRequest
from realtime.recording.log import read_log
from realtime.recording.records import STAGES, FrameRecord

DEFAULT_RIG = Path(__file__).resolve().parent.parent / "rigs" / "endurance.toml"
_MOST_GROWTH_MIB = 5.0
_WARM_UP_S = 5.0
_READER = (
    "import time, zmq; s = zmq.Context().socket(zmq.SUB); s.subscribe(b''); s.connect('{address}')\n"
    "while True: s.recv(); time.sleep(1)"
)


@dataclass(slots=True)
class _Watch:
    """A sink behind the others, and the memory of the loop's process once a minute, without what is noted here."""

    outcomes: Counter[str] = field(default_factory=Counter)
    memory_mib: list[float] = field(default_factory=list)
    _times_ns: "array[int]" = field(default_factory=lambda: array("q"))  # of each frame: available, then its stages
    _due_ns: int = 0

    def append(self, processed: ProcessedFrame) -> None:
        self._times_ns.append(processed.frame.available_ns)
        self._times_ns.extend(processed.stage_ns)
        self.outcomes.update(intent.outcome for intent in processed.action.intents)
        if processed.decided_ns >= self._due_ns:
            self._due_ns = processed.decided_ns + round(60e9)
            self.memory_mib.append(resident_mib() - len(self._times_ns) * self._times_ns.itemsize / 2**20)

    def times_ns(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return when each frame was available, `(n_frames,)`, and how long its stages took, `(n_frames, n_stages)`."""
        table = np.array(self._times_ns, np.int64).reshape(-1, 1 + len(STAGES))
        return table[:, 0], table[:, 1:]


def measure(rig: Path, minutes: float) -> dict[str, Any]:
    """Run for so many minutes; return what was found, with what was not as it should be under `problems`."""
    settings = tomllib.loads(rig.read_text(encoding="utf-8"))
    watch, stop = _Watch(), StopRequest()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        for trigger in settings["triggers"].values():
            if trigger["driver"] == "zmq":
                running.enter_context(_slow_reader(trigger["address"]))
        session = Path(folder) / "session"
        end = run_rig(rig, session, stop, lambda sinks: (*sinks, watch), seconds=60 * minutes)
        logged = _logged(session)
    return _result(settings, watch, end, logged)


@contextmanager
def _slow_reader(address: str) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", _READER.format(address=address)]) as process:
        try:
            yield
        finally:
            process.kill()


def _logged(session: Path) -> Counter[str]:
    frames = (record for record in read_log(session / "events.log") if isinstance(record, FrameRecord))
    found: Counter[str] = Counter()
    for frame in frames:
        found["frames"] += 1
        found.update(intent.outcome for intent in frame.intents)
    return found


def _result(settings: dict[str, Any], watch: _Watch, end: LiveEnd, logged: Counter[str]) -> dict[str, Any]:
    available, stages = watch.times_ns()
    latency = stages.sum(axis=1)
    minute = (available - available[0]) // 60_000_000_000
    warm = available - available[0] >= _WARM_UP_S * 1e9
    by_minute = [percentiles_ms(latency[warm & (minute == index)]) for index in range(int(minute[-1]) + 1)]
    result = {
        "benchmark": "endurance",
        "unit": "ms",
        "rig": settings,
        "stamps": "frame complete in the ring of the camera process → last command byte handed to the operating system",
        "n_warm_up_frames": int((~warm).sum()),
        "latency_ms": stage_rows(stages[warm]),
        "by_minute_ms": by_minute,
        "logged": dict(logged),
        **facts_of(end, watch.outcomes, watch.memory_mib),
    }
    result["problems"] = _problems(result, len(stages))
    return result


def _problems(result: dict[str, Any], n_frames: int) -> list[str]:
    problems: list[str] = []
    memory = result["resident_mib"]
    if memory and memory[-1] - memory[0] > _MOST_GROWTH_MIB:
        problems.append(f"memory grew from {memory[0]} to {memory[-1]} MiB")
    whole = [row for row in result["by_minute_ms"] if row["n"] > 0]
    if len(whole) > 2 and whole[-2]["p50"] > 1.5 * whole[1]["p50"]:
        problems.append(f"frames in hand grew older: p50 {whole[1]['p50']:.2f} ms, later {whole[-2]['p50']:.2f} ms")
    logged, seen = result["logged"], {"frames": n_frames, **result["intents"]}
    if logged != seen:
        problems.append(f"the log holds {logged}, the loop saw {seen}")
    if result["recorder"]["n_events_lost"]:
        problems.append(f"{result['recorder']['n_events_lost']} records were lost")
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--rig", type=Path, default=DEFAULT_RIG, help="rig file to run (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default: %(default)s)")
    add_json_option(parser)
    given = parser.parse_args(arguments)
    result = measure(given.rig, given.minutes)
    print(table(result["latency_ms"]))
    p50s = " ".join(f"{row['p50']:.2f}" for row in result["by_minute_ms"] if row["n"])
    print(f"frame → command, p50 of each minute, ms: {p50s}")
    print(f"intents {result['intents']}, deadline misses {result['deadline_misses']}, drops {result['drops']}")
    print(f"memory of the loop's process once a minute, MiB: {' '.join(map(str, result['resident_mib']))}")
    print(f"recorder: {result['recorder']}")
    print(f"{result['machine']['cpu']}, {result['machine']['cores']} cores; not included: exposure, transfer, actuator")
    for problem in result["problems"]:
        print(f"PROBLEM: {problem}")
    write_json(result, given.json)
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
