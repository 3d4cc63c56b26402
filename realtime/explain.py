"""What `poseloop rules explain` looks at: the frames of a session, and what a rule costs on this machine."""

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from realtime.folder import EVENTS
from realtime.lookahead import LookAhead
from realtime.plane import Plane
from realtime.recording.errors import LogReadError
from realtime.recording.log import read_log
from realtime.recording.records import FrameRecord, unpack_tracks
from realtime.rules import Rule, TrackTable
from realtime.tracks import Prediction, Tracks

_N_FRAMES = 2000
_PERIOD_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class Cost:
    """How long a rule takes for one frame on this machine.

    Attributes:
        p50_us, p99_us: Percentiles over the frames, us.
        n_tracks: Simulated animals, all seen.
        n_frames: Frames measured.
    """

    p50_us: float
    p99_us: float
    n_tracks: int
    n_frames: int


def measure(rules: tuple[Rule, ...], n_tracks: int, n_nodes: int, n_frames: int = _N_FRAMES) -> dict[str, Cost]:
    """Return what each rule costs, evaluated frame by frame on animals that walk at random, as the loop does it."""
    rng = np.random.default_rng(0)
    places = np.cumsum(rng.normal(0.0, 2.0, (n_frames, n_tracks, 1, 2)), axis=0) + rng.uniform(
        0.0, 500.0, (1, n_tracks, n_nodes, 2)
    )
    took_ns = np.zeros((n_frames, len(rules)), np.int64)
    for index, xy in enumerate(places.astype(np.float32)):
        tracks = _tracks(xy)
        for column, rule in enumerate(rules):
            started_ns = perf_counter_ns()
            rule.evaluate(tracks, index, index * _PERIOD_NS)
            took_ns[index, column] = perf_counter_ns() - started_ns
    for rule in rules:
        rule.reset()
    percentiles = np.percentile(took_ns, (50, 99), axis=0) * 1e-3
    return {
        rule.name: Cost(float(percentiles[0, column]), float(percentiles[1, column]), n_tracks, n_frames)
        for column, rule in enumerate(rules)
    }


def _tracks(xy: NDArray[np.float32]) -> Tracks:
    n_tracks, n_nodes, _ = xy.shape
    ids = np.arange(1, n_tracks + 1, dtype=np.int32)
    nobody, no_error = np.zeros(n_tracks, np.int32), np.full((n_tracks, 1), np.nan, np.float32)
    return Tracks(
        track_ids=ids,
        xy=xy,
        node_scores=np.ones((n_tracks, n_nodes), np.float32),
        identity_confidence=np.ones(n_tracks, np.float32),
        last_seen_ns=np.zeros(n_tracks, np.int64),
        class_ids=ids - 1,
        suspect_ids=nobody,
        corrected_ids=nobody,
        prediction=Prediction(0, xy, np.ones((n_tracks, 1), np.bool_), no_error, no_error, ()),
    )


def session_tracks(
    folder: Path, n_nodes: int, lookahead: LookAhead | None = None, plane: Plane | None = None
) -> TrackTable:
    """Return the tracks of a session; a log that was cut short gives what stands before.

    Args:
        folder: The session folder.
        n_nodes: Nodes of the skeleton that the rules speak of.
        lookahead: Says where the animals will be, from what was recorded, whatever the session's own said.
        plane: Makes levelled px of px, as the rules want them; None to keep px.

    Raises:
        ValueError: It has no frames, or animals of another skeleton, or its log is none.
        OSError: Its log cannot be opened.
    """
    frame_ids, timestamps_ns, frames = [], [], []
    try:
        for record in read_log(folder / EVENTS):
            if isinstance(record, FrameRecord):
                frame_ids.append(record.frame_id)
                timestamps_ns.append(record.timestamp_ns)
                frames.append(_predicted(record, lookahead))
    except LogReadError:
        if not frames:
            raise  # otherwise what stands before is whole
    if not frames:
        raise ValueError(f"{folder}: expected a session with frames, got none")
    got = frames[0].xy.shape[1]
    if got != n_nodes:
        raise ValueError(
            f"{folder}: expected animals of {n_nodes} nodes, as the rig's model has, got {got}; name the session's rig"
        )
    table = TrackTable.stack(frame_ids, timestamps_ns, frames)
    if plane is None:
        return table
    predicted_xy = None if table.predicted_xy is None else plane.levelled(table.predicted_xy)
    return replace(table, xy=plane.levelled(table.xy), predicted_xy=predicted_xy)


def _predicted(record: FrameRecord, lookahead: LookAhead | None) -> Tracks:
    tracks = replace(unpack_tracks(record.tracks), prediction=None)
    if lookahead is None or tracks.xy.shape[1] != lookahead.n_nodes:
        return tracks
    tracks = lookahead.predict(tracks, record.timestamp_ns)
    lookahead.learn_latency(record.decided_ns - record.available_ns)
    return tracks


def frame_index(recording: TrackTable, frame_id: int | None, at_s: float | None) -> int:
    """Return the place of a frame: by its id, or the last one that is not later than a time; by default the last.

    Raises:
        ValueError: There is no such frame, or both are given.
    """
    ids, last = recording.frame_ids, len(recording.frame_ids) - 1
    if frame_id is not None and at_s is not None:
        raise ValueError("--frame and --at: expected one of them, got both")
    if frame_id is not None:
        found = np.flatnonzero(ids == frame_id)
        if not found.size:
            raise ValueError(f"--frame: expected a processed frame ({ids[0]} to {ids[last]}), got {frame_id}")
        return int(found[0])
    if at_s is None:
        return last
    seconds = (recording.timestamps_ns - recording.timestamps_ns[0]) * 1e-9
    if not 0.0 <= at_s <= seconds[last] + 1e-9:
        raise ValueError(f"--at: expected 0 to {seconds[last]:.3f} s, got {at_s:g}")
    return int(np.searchsorted(seconds, at_s + 1e-9, side="right")) - 1
