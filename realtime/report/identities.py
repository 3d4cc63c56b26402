"""Where identities were in doubt: suspected swaps, their end and their correction, as events of a session."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from realtime.recording.records import TracksRecord


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """Something that happened to a track's identity.

    Attributes:
        row: Index of the frame.
        kind: `suspected` = the track may be another animal from here on; `trusted` = it is no longer suspected;
            `corrected` = it got another track's animal, because a swap was found out.
        track_id: The track.
        other_id: The other track; the same id where it may be any, 0 for `trusted`.
    """

    row: int
    kind: Literal["suspected", "trusted", "corrected"]
    track_id: int
    other_id: int


class IdentityTrace:
    """Collects the identity events of a log, frame by frame.

    Attributes:
        events: In order.
    """

    def __init__(self) -> None:
        self.events: list[IdentityEvent] = []
        self._suspects: Mapping[int, int] = {}
        self._packed: tuple[bytes, bytes | None] = (b"", None)

    def add(self, row: int, tracks: TracksRecord) -> None:
        """Take the next frame; a frame like the one before costs next to nothing."""
        if tracks.corrected_ids and any(tracks.corrected_ids):
            self._add_corrections(row, tracks)
        packed = (tracks.track_ids, tracks.suspect_ids)
        if packed == self._packed or tracks.suspect_ids is None:
            return
        self._packed = packed
        suspects = _by_track(tracks.track_ids, tracks.suspect_ids)
        for track_id, other_id in suspects.items():
            if other_id and not self._suspects.get(track_id):
                self.events.append(IdentityEvent(row, "suspected", track_id, other_id))
            elif not other_id and self._suspects.get(track_id):
                self.events.append(IdentityEvent(row, "trusted", track_id, 0))
        self._suspects = suspects

    def _add_corrections(self, row: int, tracks: TracksRecord) -> None:
        for track_id, other_id in _by_track(tracks.track_ids, tracks.corrected_ids or b"").items():
            if other_id:
                self.events.append(IdentityEvent(row, "corrected", track_id, other_id))


def in_words(event: IdentityEvent) -> str:
    """Return what happened, for a person."""
    if event.kind == "trusted":
        return f"track {event.track_id} is trusted again"
    if event.kind == "corrected":
        return f"track {event.track_id} got back its animal from track {event.other_id}"
    other = "any other animal" if event.other_id == event.track_id else f"the animal of track {event.other_id}"
    return f"track {event.track_id} may be {other}"


def _by_track(track_ids: bytes, values: bytes) -> dict[int, int]:
    ids, others = np.frombuffer(track_ids, "<i4").tolist(), np.frombuffer(values, "<i4").tolist()
    return dict(zip(ids, others, strict=True))
