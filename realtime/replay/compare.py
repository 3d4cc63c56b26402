"""Compares a replay with its recording, frame by frame and to the byte."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from msgspec.structs import replace

from realtime.decision import Edge, State
from realtime.loop import ProcessedFrame
from realtime.recording.records import DecisionRecord, FrameRecord, IntentRecord, unpack_poses
from realtime.rules import Rule
from realtime.sinks import frame_record

_ENCODER = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True)
class PoseShift:
    """How far the poses of a replay lie from the recorded ones, over points present in both.

    Attributes:
        identical: True if every pose is the same to the byte.
        n_points: Points compared.
        p50_px: Median distance, px; NaN without points, like the others.
        p99_px: 99th percentile, px.
        max_px: Largest, px.
        n_frames_other_count: Frames in which the number of animals differs.
    """

    identical: bool
    n_points: int
    p50_px: float
    p99_px: float
    max_px: float
    n_frames_other_count: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a replay says of its recording.

    Attributes:
        n_recorded: Frames in the recording's log.
        n_replayed: Frames that the replay processed.
        different: Frames that differ, by part: `tracks`, `decisions`, `intents`.
        first_difference: The first of them in words, or the empty string.
        poses: How far the poses moved.
        onsets: Rule → frame ids of its rising edges in (recording, replay).
        outcomes: Stimulus → outcome → (times in the recording, times in the replay).
        rule_faults: Rule in Python → what it did in the replay that is against its protocol, see `Rule.fault`.
    """

    n_recorded: int
    n_replayed: int
    different: dict[str, int]
    first_difference: str
    poses: PoseShift
    onsets: dict[str, tuple[list[int], list[int]]]
    outcomes: dict[str, dict[str, tuple[int, int]]]
    rule_faults: dict[str, str]

    @property
    def identical(self) -> bool:
        """True if tracks, decisions and stimulus intents are the same to the byte in every frame."""
        return not self.first_difference

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values; an undefined distance is None."""
        shift = self.poses
        return {
            "identical": self.identical,
            "n_frames_recorded": self.n_recorded,
            "n_frames_replayed": self.n_replayed,
            "first_difference": self.first_difference or None,
            "n_frames_different": self.different,
            "poses": {
                "identical": shift.identical,
                "n_points": shift.n_points,
                "p50_px": _json_number(shift.p50_px),
                "p99_px": _json_number(shift.p99_px),
                "max_px": _json_number(shift.max_px),
                "n_frames_other_count": shift.n_frames_other_count,
            },
            "onsets": {
                rule: {
                    "recorded": len(before),
                    "replayed": len(after),
                    "only_recorded": sorted(set(before) - set(after)),
                    "only_replayed": sorted(set(after) - set(before)),
                }
                for rule, (before, after) in self.onsets.items()
            },
            "outcomes": {
                stimulus: {outcome: {"recorded": a, "replayed": b} for outcome, (a, b) in counts.items()}
                for stimulus, counts in self.outcomes.items()
            },
            "rule_faults": self.rule_faults,
        }


def _json_number(value: float) -> float | None:
    return None if np.isnan(value) else value


@dataclass(slots=True)
class Comparer:
    """A sink that holds each replayed frame against the recorded one.

    Attributes:
        recorded: The recording's frames, in order.
    """

    recorded: Sequence[FrameRecord]
    _n: int = 0
    _different: Counter[str] = field(default_factory=Counter)
    _first: str = ""
    _distances: list[np.ndarray[Any, np.dtype[np.float32]]] = field(default_factory=list)
    _poses_differ: int = 0
    _other_count: int = 0
    _replayed: list[FrameRecord] = field(default_factory=list)

    def append(self, processed: ProcessedFrame) -> None:
        """Compare one frame with the recorded one."""
        after = frame_record(processed)
        self._replayed.append(after)
        if self._n >= len(self.recorded):
            self._note(f"frame {after.frame_id}: replayed, but the recording has only {len(self.recorded)} frames")
            return
        before = self.recorded[self._n]
        self._n += 1
        self._compare_poses(before, after)
        for part in ("tracks", "decisions", "intents"):
            # Encoded, because a NaN among the values compared is not equal to itself.
            if _ENCODER.encode(getattr(before, part)) != _ENCODER.encode(getattr(after, part)):
                self._different[part] += 1
                self._note(_difference(part, before, after))

    def _note(self, text: str) -> None:
        self._first = self._first or text

    def _compare_poses(self, before: FrameRecord, after: FrameRecord) -> None:
        if before.poses == after.poses:
            return
        self._poses_differ += 1
        xy_before, xy_after = unpack_poses(before.poses).xy, unpack_poses(after.poses).xy
        if xy_before.shape != xy_after.shape:
            self._other_count += 1
            return
        distance = np.linalg.norm(xy_before - xy_after, axis=-1)
        self._distances.append(distance[np.isfinite(distance)])

    def result(self, rules: Sequence[Rule]) -> Comparison:
        """Return the comparison of everything so far.

        Frames whose poses are the same to the byte count as points that moved by 0 px.

        Args:
            rules: The replay's.
        """
        if self._n < len(self.recorded):
            self._note(f"frame {self.recorded[self._n].frame_id}: recorded, but the replay ended before it")
        moved = np.concatenate(self._distances) if self._distances else np.empty(0, np.float32)
        n_still = sum(
            int(np.isfinite(unpack_poses(record.poses).xy[..., 0]).sum())
            for record, after in zip(self.recorded, self._replayed, strict=False)
            if record.poses == after.poses
        )
        distances = np.concatenate([moved, np.zeros(n_still, np.float32)])
        p50, p99, largest = np.percentile(distances, (50, 99, 100)) if distances.size else (np.nan,) * 3
        return Comparison(
            n_recorded=len(self.recorded),
            n_replayed=len(self._replayed),
            different={part: self._different[part] for part in ("tracks", "decisions", "intents")},
            first_difference=self._first,
            poses=PoseShift(
                self._poses_differ == 0, len(distances), float(p50), float(p99), float(largest), self._other_count
            ),
            onsets=_both(_onsets(self.recorded), _onsets(self._replayed)),
            outcomes=_outcome_table(_outcomes(self.recorded), _outcomes(self._replayed)),
            rule_faults={rule.name: rule.fault for rule in rules if rule.fault},
        )


def _difference(part: str, before: FrameRecord, after: FrameRecord) -> str:
    where = f"frame {before.frame_id} (index {before.index})"
    if part == "tracks":
        if replace(before.tracks, prediction=None) == replace(after.tracks, prediction=None):
            return f"{where}: tracks: the animals are the same, and where they will be differs"
        return f"{where}: tracks: the positions or identities of the animals differ"
    old, new = getattr(before, part), getattr(after, part)
    for position in range(max(len(old), len(new))):
        one = old[position] if position < len(old) else None
        other = new[position] if position < len(new) else None
        if _ENCODER.encode(one) != _ENCODER.encode(other):
            words = _in_words(one), _in_words(other)
            recorded, replayed = words if words[0] != words[1] else (one, other)
            return f"{where}: {part}: recorded {recorded}, replayed {replayed}"
    return f"{where}: {part}"


def _in_words(record: DecisionRecord | IntentRecord | None) -> str:
    if record is None:
        return "nothing"
    if isinstance(record, IntentRecord):
        return f"{record.stimulus} {record.outcome}" + (f" ({record.detail})" if record.detail else "")
    edge = "" if record.edge == Edge.NONE else f" {Edge(record.edge).name}"
    values = ", ".join(f"{value:.6g} {unit}".strip() for value, unit in zip(record.values, record.units, strict=True))
    return f"{record.rule} {State(record.state).name}{edge} ({values})"


def _onsets(records: Sequence[FrameRecord]) -> dict[str, list[int]]:
    onsets: dict[str, list[int]] = {}
    for record in records:
        for decision in record.decisions:
            frames = onsets.setdefault(decision.rule, [])
            if decision.edge == Edge.RISING:
                frames.append(record.frame_id)
    return onsets


def _both(before: dict[str, list[int]], after: dict[str, list[int]]) -> dict[str, tuple[list[int], list[int]]]:
    return {rule: (before.get(rule, []), after.get(rule, [])) for rule in {**before, **after}}


def _outcomes(records: Sequence[FrameRecord]) -> Counter[tuple[str, str]]:
    return Counter((intent.stimulus, intent.outcome) for record in records for intent in record.intents)


def _outcome_table(
    before: Counter[tuple[str, str]], after: Counter[tuple[str, str]]
) -> dict[str, dict[str, tuple[int, int]]]:
    table: dict[str, dict[str, tuple[int, int]]] = {}
    for stimulus, outcome in sorted(before | after):
        table.setdefault(stimulus, {})[outcome] = (before[stimulus, outcome], after[stimulus, outcome])
    return table
