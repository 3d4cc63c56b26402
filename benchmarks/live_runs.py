"""What benchmarks of a rig as it runs live share: the run, its rows by stage, and what their results state of it."""

import resource
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.percentiles import percentiles_ms
from realtime.live import LiveEnd, Request, run_live
from realtime.loop import Sink, StopRequest
from realtime.machine import describe_machine
from realtime.recording.records import STAGES
from realtime.session import stop_on_signals

_PREDICT = STAGES.index("predict")


def run_rig(
    rig: Path,
    session: Path,
    stop: StopRequest,
    around: Callable[[tuple[Sink, ...]], tuple[Sink, ...]],
    seconds: float | None = None,
) -> LiveEnd:
    """Run a rig live into a session folder until it ends; raise what ended it where something failed."""
    with stop_on_signals(stop):
        end = run_live(Request(rig=str(rig), out=str(session), seconds=seconds), stop, around)
    if end.end.error is not None:
        raise end.end.error
    return end


def stage_rows(stage_ns: NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """Return the percentiles of each stage, of all of them together, and of all but `predict`.

    Args:
        stage_ns: `(n_frames, n_stages)`, ns, in the order of `STAGES`.
    """
    rows = {name: percentiles_ms(stage_ns[:, column]) for column, name in enumerate(STAGES)}
    way_ns = stage_ns.sum(axis=1)
    rows["frame → command"] = percentiles_ms(way_ns)
    rows["outside the network"] = percentiles_ms(way_ns - stage_ns[:, _PREDICT])
    return rows


def resident_mib() -> float:
    """Return how much memory this process has in use, MiB."""
    n_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return n_pages * resource.getpagesize() / 2**20


def facts_of(end: LiveEnd, outcomes: Counter[str], memory_mib: Sequence[float]) -> dict[str, Any]:
    """Return what a result states of a run beside its rows, JSON-able.

    Args:
        end: Of the run.
        outcomes: Of its intents.
        memory_mib: Of the loop's process, in order of time.
    """
    return {
        "not_included": ["exposure", "sensor transfer", "actuator"],
        "intents": dict(outcomes),
        "deadline_misses": outcomes["late"],
        "drops": dict(end.drops),
        "resident_mib": [round(value, 1) for value in memory_mib],
        "recorder": {"n_events_lost": end.recorder.n_events_lost, "n_video_frames": end.recorder.n_video_frames},
        "machine": describe_machine(),
    }
