"""A session folder as arrays, one row a frame, for everything that is counted or drawn."""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.decision import State
from realtime.folder import EVENTS, read_description
from realtime.recording.errors import LogReadError
from realtime.recording.log import read_log
from realtime.recording.records import (
    STAGES,
    EndRecord,
    FrameRecord,
    IntentRecord,
    NoteRecord,
    ReceiptRecord,
    TriggerEventRecord,
)
from realtime.report.identities import IdentityEvent, IdentityTrace
from realtime.report.lookahead import LookAheadTrace


@dataclass(frozen=True, slots=True)
class RuleTrace:
    """One rule over the session.

    Attributes:
        state: `(n_frames,)` uint8, `State`.
        values: `(n_frames, n_values)` float64, the numbers compared; NaN = not known.
        units: Unit of each value.
    """

    state: NDArray[np.uint8]
    values: NDArray[np.float64]
    units: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bout:
    """An unbroken run of frames in which a rule was in one state.

    Attributes:
        first: Index of its first frame.
        stop: Index after its last frame.
        start_s: Time of its first frame, s from the session's first.
        end_s: Time of the first frame after it, or of the session's last.
    """

    first: int
    stop: int
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        """Length, s."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class SessionData:
    """One session.

    Attributes:
        folder: Where it lies.
        description: `session.json`.
        frame_ids: `(n_frames,)` int64.
        seconds: `(n_frames,)` float64, `Frame.timestamp_ns` from the first frame, s.
        available_ns: `(n_frames,)` int64.
        decided_ns: `(n_frames,)` int64.
        stage_ns: `(n_frames, 5)` int64, in the order of `STAGES`.
        rules: By name, in the rig's order.
        intents: (frame index, intent) in order.
        receipts: (frame index, receipt) in order.
        events: (frame index, event) in order.
        identity_events: Suspected and corrected swaps, in order.
        lookahead: What the look-ahead said.
        notes: What happened beside the frames.
        end: The end record, or None where the log was cut short.
        damage: Why the log could not be read to its end, or the empty string.
    """

    folder: Path
    description: Mapping[str, Any]
    frame_ids: NDArray[np.int64]
    seconds: NDArray[np.float64]
    available_ns: NDArray[np.int64]
    decided_ns: NDArray[np.int64]
    stage_ns: NDArray[np.int64]
    rules: Mapping[str, RuleTrace]
    intents: tuple[tuple[int, IntentRecord], ...]
    receipts: tuple[tuple[int, ReceiptRecord], ...]
    events: tuple[tuple[int, TriggerEventRecord], ...]
    identity_events: tuple[IdentityEvent, ...]
    lookahead: LookAheadTrace
    notes: tuple[NoteRecord, ...]
    end: EndRecord | None
    damage: str

    @property
    def n_frames(self) -> int:
        """Frames that the loop processed."""
        return len(self.frame_ids)

    @property
    def duration_s(self) -> float:
        """From the first frame to the last, s."""
        return float(self.seconds[-1]) if self.n_frames else 0.0

    @property
    def deadline_ms(self) -> float | None:
        """The rig's deadline, ms, or None where the description does not say."""
        deadline = self.description.get("rig", {}).get("loop", {}).get("deadline_ms")
        return None if deadline is None else float(deadline)

    def bouts(self, rule: str, state: State) -> list[Bout]:
        """Return the runs of frames in which `rule` was in `state`, in order."""
        inside = np.concatenate(([False], self.rules[rule].state == state, [False]))
        edges = np.flatnonzero(inside[1:] != inside[:-1])
        last = self.n_frames - 1
        return [
            Bout(int(first), int(stop), float(self.seconds[first]), float(self.seconds[min(stop, last)]))
            for first, stop in zip(edges[::2], edges[1::2], strict=True)
        ]


@dataclass(slots=True)
class _Columns:
    """What is collected while the log is read, in flat arrays: an hour at 100 Hz has 360,000 rows."""

    times: "array[int]" = field(default_factory=lambda: array("q"))
    stage_ns: "array[int]" = field(default_factory=lambda: array("q"))
    states: dict[str, bytearray] = field(default_factory=dict)
    values: dict[str, "array[float]"] = field(default_factory=dict)
    units: dict[str, tuple[str, ...]] = field(default_factory=dict)
    n_frames: int = 0
    intents: list[tuple[int, IntentRecord]] = field(default_factory=list)
    receipts: list[tuple[int, ReceiptRecord]] = field(default_factory=list)
    events: list[tuple[int, TriggerEventRecord]] = field(default_factory=list)
    identities: IdentityTrace = field(default_factory=IdentityTrace)
    lookahead: LookAheadTrace = field(default_factory=LookAheadTrace)
    notes: list[NoteRecord] = field(default_factory=list)
    end: EndRecord | None = None

    def add(self, record: FrameRecord) -> None:
        row = self.n_frames
        self.n_frames += 1
        self.times.extend((record.frame_id, record.timestamp_ns, record.available_ns, record.decided_ns))
        self.stage_ns.extend(record.stage_ns)
        for decision in record.decisions:
            if row == 0:
                self.units[decision.rule] = decision.units
                self.states[decision.rule], self.values[decision.rule] = bytearray(), array("d")
            self.states[decision.rule].append(decision.state)
            self.values[decision.rule].extend(decision.values)
        self.intents.extend([(row, intent) for intent in record.intents])
        self.receipts.extend([(row, receipt) for receipt in record.receipts])
        self.events.extend([(row, event) for event in record.trigger_events])
        self.identities.add(row, record.tracks)
        self.lookahead.add(record.tracks)


def load_session(folder: Path) -> SessionData:
    """Read a session folder; a log that was cut short or is damaged gives what stands before.

    Raises:
        FolderError: `folder` is no session folder.
        OSError: Its log cannot be opened.
    """
    description = read_description(folder)
    columns = _Columns()
    damage = ""
    try:
        for record in read_log(folder / EVENTS):
            if isinstance(record, FrameRecord):
                columns.add(record)
            elif isinstance(record, NoteRecord):
                columns.notes.append(record)
            else:
                columns.end = record
    except LogReadError as error:
        damage = str(error)
    times = np.array(columns.times, np.int64).reshape(-1, 4)
    return SessionData(
        folder=folder,
        description=description,
        frame_ids=times[:, 0],
        seconds=(times[:, 1] - times[:1, 1]) / 1e9,
        available_ns=times[:, 2],
        decided_ns=times[:, 3],
        stage_ns=np.array(columns.stage_ns, np.int64).reshape(-1, len(STAGES)),
        rules={name: _trace(columns, name) for name in columns.states},
        intents=tuple(columns.intents),
        receipts=tuple(columns.receipts),
        events=tuple(columns.events),
        identity_events=tuple(columns.identities.events),
        lookahead=columns.lookahead,
        notes=tuple(columns.notes),
        end=columns.end,
        damage=damage,
    )


def _trace(columns: _Columns, name: str) -> RuleTrace:
    units = columns.units[name]
    values = np.array(columns.values[name], np.float64).reshape(columns.n_frames, len(units))
    return RuleTrace(np.frombuffer(columns.states[name], np.uint8), values, units)
