"""Percentiles of a latency, as every benchmark states them."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99.9": 99.9, "max": 100.0}


def percentiles_ms(values_ns: ArrayLike) -> dict[str, float]:
    """Return p50, p95, p99, p99.9 and max in ms, and n, of durations in ns; NaN without values."""
    values = np.asarray(values_ns, dtype=np.float64)
    found = np.percentile(values, list(PERCENTILES.values())) / 1e6 if values.size else np.full(5, np.nan)
    return {**dict(zip(PERCENTILES, found.tolist(), strict=True)), "n": float(values.size)}


def table(rows: Mapping[str, Mapping[str, float]], columns: Sequence[str] = (*PERCENTILES, "n")) -> str:
    """Return the rows as aligned text, in ms."""
    width = max(len(name) for name in rows)
    lines = [" " * width + "".join(f"{column:>10}" for column in columns)]
    for name, row in rows.items():
        cells = "".join(f"{row[column]:>10.0f}" if column == "n" else f"{row[column]:>10.3f}" for column in columns)
        lines.append(f"{name:<{width}}{cells}")
    return "\n".join(lines)
