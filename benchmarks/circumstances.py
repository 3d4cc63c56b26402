"""What every result states beside its rows: the machine, its load, and the reference before and after the rows."""

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.model_latency import REFERENCE, Effort, export_fast, times_ns
from benchmarks.percentiles import percentiles_ms
from models.engines.options import EngineOptions
from realtime.machine import describe_machine

T = TypeVar("T")
_WARM_UP = 5
_MAX_S = 60.0


def circumstances() -> dict[str, Any]:
    """Return the machine, and its load over the last 1, 5 and 15 minutes (processes that wanted a core)."""
    return {"machine": describe_machine(), "load_average": list(os.getloadavg())}


def with_reference(measure: Callable[[], T], n: int, options: EngineOptions) -> tuple[T, dict[str, Any] | None]:
    """Return what `measure` returns, and the reference run `n` times before and after it, JSON-able.

    Args:
        measure: What is measured.
        n: How often the reference runs each time, after 5 that do not count; 0 = not at all, then None is returned.
        options: The reference's engine.
    """
    if not n:
        return measure(), None
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        export_fast(model, REFERENCE)
        before, engine = times_ns(model, options, REFERENCE, Effort(_WARM_UP, n, _MAX_S))
        measured = measure()
        after, _ = times_ns(model, options, REFERENCE, Effort(_WARM_UP, n, _MAX_S))
    reference = {
        "setting": REFERENCE.title,
        "engine": engine,
        "before_ms": percentiles_ms(before),
        "after_ms": percentiles_ms(after),
        "all_ms": percentiles_ms(before + after),
    }
    return measured, reference


def ratios(rows: Mapping[str, Mapping[str, float]], reference: Mapping[str, Any]) -> dict[str, float]:
    """Return each row's p50 as a share of the reference's, the mean of its p50 before and after."""
    reference_ms = (reference["before_ms"]["p50"] + reference["after_ms"]["p50"]) / 2
    return {name: row["p50"] / reference_ms for name, row in rows.items()}
