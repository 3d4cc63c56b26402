"""When a recorded session stimulated, for another session that is to do the same at the same times."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from realtime.folder import EVENTS, read_description
from realtime.recording.log import read_log
from realtime.recording.records import FrameRecord, IntentRecord

Event = tuple[Literal["start", "stop"], int, int]


@dataclass(frozen=True, slots=True)
class RecordedStimulus:
    """What one stimulus of a session did.

    Attributes:
        events: (what, time of the frame from the session's first one, how much before that time a frame is nearer to
            this frame than to the one before), ns, in order. A start that was not sent, and a sham, are none.
        sent: One of the starts, or None where there is none.
    """

    events: tuple[Event, ...]
    sent: IntentRecord | None


def recorded_stimulus(session: Path, stimulus: str) -> RecordedStimulus:
    """Read what a stimulus did in a session.

    Args:
        session: A session folder.
        stimulus: Name of the stimulus.

    Raises:
        FolderError: It is no session folder.
        OSError, LogReadError: Its log cannot be read to the end.
        LookupError: The session has no such stimulus.
    """
    named = read_description(session).get("rig", {}).get("stimuli", {})
    if stimulus not in named:
        raise LookupError(f"{session}: no stimulus {stimulus!r} in this session; there is {_listed(named)}")
    times_ns: list[int] = []
    found: list[tuple[Literal["start", "stop"], int]] = []
    sent: IntentRecord | None = None
    for record in read_log(session / EVENTS):
        if not isinstance(record, FrameRecord):
            continue
        for intent in record.intents:
            if intent.stimulus == stimulus and intent.commands and intent.outcome in {"sent", "stopped"}:
                found.append(("start" if intent.outcome == "sent" else "stop", len(times_ns)))
                sent = intent if intent.outcome == "sent" else sent
        times_ns.append(record.timestamp_ns)
    intervals_ns = np.diff(np.array(times_ns, np.int64))
    usual_ns = int(np.median(intervals_ns)) if intervals_ns.size else 0
    return RecordedStimulus(
        tuple(
            (kind, times_ns[row] - times_ns[0], min(int(intervals_ns[row - 1]), usual_ns) // 2 if row else 0)
            for kind, row in found
        ),
        sent,
    )


def _listed(names: dict[str, object]) -> str:
    return ", ".join(sorted(names)) or "none"
