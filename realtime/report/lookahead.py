"""How good the look-ahead was in a session: how far it looked, how far it was off, and when it was in use."""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.lookahead import LookAheadOptions
from realtime.recording.records import TracksRecord

_SHARES = {"p50": 50.0, "p90": 90.0, "p99": 99.0}


class LookAheadTrace:
    """Collects what the look-ahead of a log said, frame by frame.

    Attributes:
        horizons_ns: How far each frame was looked ahead, ns.
    """

    def __init__(self) -> None:
        self.horizons_ns = array("q")
        self._n_groups = 0
        self._errors = array("f")  # of each group of each row: of the prediction, without it
        self._on = bytearray()  # of each group of each row
        self._was_on: dict[int, bytes] = {}
        self._n_off: list[int] = []

    def add(self, tracks: TracksRecord) -> None:
        """Take the next frame."""
        found = tracks.prediction
        if found is None:
            return
        self.horizons_ns.append(found.horizon_ns)
        self._n_groups = found.n_groups
        self._n_off = self._n_off or [0] * found.n_groups
        errors = np.stack([np.frombuffer(found.error_px, "<f4"), np.frombuffer(found.pose_error_px, "<f4")], axis=1)
        self._errors.frombytes(errors.tobytes())
        self._on.extend(found.is_on)
        for row, track_id in enumerate(np.frombuffer(tracks.track_ids, "<i4").tolist()):
            is_on = found.is_on[row * found.n_groups : (row + 1) * found.n_groups]
            was_on = self._was_on.get(track_id, is_on)
            if is_on != was_on:
                self._n_off = [n + (a > b) for n, a, b in zip(self._n_off, was_on, is_on, strict=True)]
            self._was_on[track_id] = is_on

    def numbers(self, rig: Mapping[str, Any], node_names: Sequence[str]) -> dict[str, Any] | None:
        """Return the numbers of a session, JSON-able, in mm where the rig is calibrated; None without look-ahead.

        Args:
            rig: The session's rig, as in its description.
            node_names: Of its skeleton.
        """
        if not self.horizons_ns:
            return None
        px_per_mm = rig.get("calibration", {}).get("px_per_mm")
        unit, scale = ("px", 1.0) if px_per_mm is None else ("mm", 1.0 / px_per_mm)
        errors = np.frombuffer(self._errors, np.float32).reshape(-1, self._n_groups, 2) * scale
        on = np.frombuffer(self._on, np.bool_).reshape(-1, self._n_groups)
        names = LookAheadOptions.model_validate(rig["lookahead"]).groups_of(node_names)
        return {
            "horizon_ms": _percentiles(np.frombuffer(self.horizons_ns, np.int64) / 1e6),
            "unit": unit,
            "groups": {
                name: {
                    "error": _percentiles(errors[:, group, 0]),
                    "pose_error": _percentiles(errors[:, group, 1]),
                    "on_share": float(on[:, group].mean()) if len(on) else None,
                    "switched_off": self._n_off[group],
                }
                for group, name in enumerate(names)
            },
        }


def in_words(numbers: Mapping[str, Any]) -> list[str]:
    """Return what `LookAheadTrace.numbers` gave as lines of text."""
    lines = [f"look-ahead: {numbers['horizon_ms']['p50']:.1f} ms (p50)"]
    for name, group in numbers["groups"].items():
        share = "–" if group["on_share"] is None else f"{group['on_share']:.0%}"
        lines.append(
            f"look-ahead of {name}: off by {error_text(group['error'])} {numbers['unit']}, no prediction by "
            f"{error_text(group['pose_error'])} (p50 / p90 / p99, n {group['error']['n']}); in use {share} of the "
            f"time, switched off {group['switched_off']} times"
        )
    return lines


def error_text(error: Mapping[str, float | None]) -> str:
    """Return the percentiles of an error."""
    return " / ".join("–" if (value := error[name]) is None else f"{value:.3g}" for name in _SHARES)


def _percentiles(values: NDArray[Any]) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    if not known.size:
        return {**dict.fromkeys(_SHARES), "n": 0}
    found = np.percentile(known, list(_SHARES.values())).tolist()
    return {**dict(zip(_SHARES, found, strict=True)), "n": known.size}
