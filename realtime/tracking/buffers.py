"""Buffers: the tracker's memory as the few plain arrays with which compiled code is called, and what lies where.

The stages take named tuples of arrays. Handed over from Python, every field of those is a Python object to look up
and check: after a network has run and emptied the caches, 36 fields take 35 µs, one plain array takes 1 µs. So Python
hands over five plain arrays, and the named tuples are made of views of them in compiled code.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import compiled
from realtime.tracking.detections import Detections
from realtime.tracking.state import TrackState
from realtime.tracking.update import Settings, TrackRows, expected_centres, update


class Buffers(NamedTuple):
    """What lasts from frame to frame.

    Attributes:
        settings: The fields of `Settings`.
        floats: Those of `TrackState` that are float64, one field after the other.
        integers: Those that are int64, one field after the other.
        rows: The fields of `TrackRows`, one after the other.
    """

    settings: NDArray[np.float64]
    floats: NDArray[np.float64]
    integers: NDArray[np.int64]
    rows: NDArray[np.float32]


def empty_buffers(settings: Settings, max_tracks: int) -> Buffers:
    """Return buffers of zeros for one tracker, before its first `reset`."""
    n_nodes, n_classes = settings.n_nodes, settings.n_classes
    return Buffers(
        settings=np.array(settings, dtype=np.float64),
        floats=np.zeros(max_tracks * (2 * n_nodes + 7 + n_classes)),
        integers=np.zeros(4 + 8 * max_tracks, dtype=np.int64),
        rows=np.zeros(max_tracks * (3 * n_nodes + 1), dtype=np.float32),
    )


def empty_detections(max_detections: int, n_nodes: int, n_classes: int) -> NDArray[np.float64]:
    """Return a buffer for the fields of `Detections`, one after the other."""
    return np.zeros(max_detections * (3 * n_nodes + 1 + n_classes))


@compiled
def update_tracks(
    settings: NDArray[np.float64],
    floats: NDArray[np.float64],
    integers: NDArray[np.int64],
    rows: NDArray[np.float32],
    detections: NDArray[np.float64],
    n_detections: int,
    timestamp_ns: int,
) -> int:
    """Run `update` on the first `n_detections` of a buffer of detections; return how many tracks there are."""
    s = settings_in(settings)
    room = detections_in(detections, s.n_nodes, s.n_classes)
    seen = Detections(
        room.xy[:n_detections],
        room.node_scores[:n_detections],
        room.scores[:n_detections],
        room.class_probs[:n_detections],
    )
    state = state_in(floats, integers, s.n_nodes, s.n_classes)
    return update(state, seen, timestamp_ns, s, rows_in(rows, s.n_nodes))


@compiled
def expect_tracks(
    settings: NDArray[np.float64],
    floats: NDArray[np.float64],
    integers: NDArray[np.int64],
    centres: NDArray[np.float32],
    timestamp_ns: int,
) -> int:
    """Run `expected_centres` on the `Buffers`; return how many tracks there are."""
    s = settings_in(settings)
    return expected_centres(state_in(floats, integers, s.n_nodes, s.n_classes), timestamp_ns, s, centres)


@compiled
def settings_in(values: NDArray[np.float64]) -> Settings:
    """Return the settings that a buffer holds."""
    return Settings(
        gate=values[0],
        gate_growth_per_s=values[1],
        gate_limit=values[2],
        kernel_width=values[3],
        velocity_s=values[4],
        lost_s=values[5],
        closed_population=bool(values[6]),
        min_visible_nodes=int(values[7]),
        min_score=values[8],
        min_body_px=values[9],
        class_memory_s=values[10],
        confirm_s=values[11],
        chance=values[12],
        n_nodes=int(values[13]),
        n_classes=int(values[14]),
    )


@compiled
def state_in(floats: NDArray[np.float64], integers: NDArray[np.int64], n_nodes: int, n_classes: int) -> TrackState:
    """Return the state that lies in two buffers, as views of them."""
    tracks = integers[4:].reshape(8, -1)
    n = tracks.shape[1]
    velocity = n * 2 * n_nodes  # where it begins
    body_px = velocity + n * 2
    confidence = body_px + n
    hidden_keep = confidence + n
    candidates = hidden_keep + n
    evidence = candidates + n * 2
    return TrackState(
        counts=integers[:4],
        ids=tracks[0],
        last_seen_ns=tracks[1],
        class_ids=tracks[2],
        home_ids=tracks[3],
        suspect_ids=tracks[4],
        corrected_ids=tracks[5],
        pose=floats[:velocity].reshape(n, n_nodes, 2),
        velocity=floats[velocity:body_px].reshape(n, 2),
        body_px=floats[body_px:confidence],
        confidence=floats[confidence:hidden_keep],
        hidden_keep=floats[hidden_keep:candidates],
        evidence=floats[evidence:].reshape(n, n_classes),
        candidate_xy=floats[candidates:evidence].reshape(n, 2),
        candidate_first_ns=tracks[6],
        candidate_last_ns=tracks[7],
    )


@compiled
def detections_in(buffer: NDArray[np.float64], n_nodes: int, n_classes: int) -> Detections:
    """Return room for detections, as many as fit in a buffer, as views of it."""
    n = buffer.size // (3 * n_nodes + 1 + n_classes)
    node_scores = n * 2 * n_nodes  # where they begin
    scores = node_scores + n * n_nodes
    class_probs = scores + n
    return Detections(
        xy=buffer[:node_scores].reshape(n, n_nodes, 2),
        node_scores=buffer[node_scores:scores].reshape(n, n_nodes),
        scores=buffer[scores:class_probs],
        class_probs=buffer[class_probs:].reshape(n, n_classes),
    )


@compiled
def rows_in(buffer: NDArray[np.float32], n_nodes: int) -> TrackRows:
    """Return the rows that lie in a buffer, as views of it."""
    n = buffer.size // (3 * n_nodes + 1)
    node_scores = n * 2 * n_nodes  # where they begin
    identity_confidence = node_scores + n * n_nodes
    return TrackRows(
        xy=buffer[:node_scores].reshape(n, n_nodes, 2),
        node_scores=buffer[node_scores:identity_confidence].reshape(n, n_nodes),
        identity_confidence=buffer[identity_confidence:],
    )
