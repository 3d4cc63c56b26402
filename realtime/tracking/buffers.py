"""Buffers: how the compiled tracker's state, settings, room and detections lie in plain arrays.

Numba reads a `NamedTuple` argument field by field. In a loop whose caches the network has just emptied that takes
longer than the tracking itself. So what comes from Python is a few flat arrays, and the views on them are made inside.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from realtime.compiled import inlined, inner
from realtime.tracking.detections import Detections
from realtime.tracking.state import TrackState
from realtime.tracking.work import Settings, Work

NO_FRAME_NS = -(2**62)
"""Time of the last frame before the first one: older than any, and far enough from the ends of int64 to reckon with."""


class Buffers(NamedTuple):
    """What lasts from frame to frame.

    Attributes:
        settings: The fields of `Settings`.
        floats: Those of `TrackState` that are float64, one field after the other.
        integers: Those that are int64, one field after the other.
    """

    settings: NDArray[np.float64]
    floats: NDArray[np.float64]
    integers: NDArray[np.int64]


class Room(NamedTuple):
    """What is overwritten in every frame, with room for so many detections.

    Attributes:
        detections: The fields of `Detections` twice: as they came, and those that are kept.
        floats: Those of `Work` that are float64, one field after the other.
        integers: Those that are int64, one field after the other.
    """

    detections: NDArray[np.float64]
    floats: NDArray[np.float64]
    integers: NDArray[np.int64]


def empty_buffers(settings: Settings, max_tracks: int) -> Buffers:
    """Return buffers of zeros for one tracker, before its first `reset`."""
    n_nodes, n_classes = settings.n_nodes, settings.n_classes
    return Buffers(
        settings=np.array(settings, dtype=np.float64),
        floats=np.zeros(max_tracks * (4 * n_nodes + 12 + n_classes)),
        integers=np.zeros(4 + 8 * max_tracks, dtype=np.int64),
    )


def empty_room(settings: Settings, max_tracks: int, max_detections: int) -> Room:
    """Return room for frames of up to so many detections."""
    n_nodes, n_classes = settings.n_nodes, settings.n_classes
    width = _width(max_tracks, max_detections, n_classes)
    per_track = 2 * n_nodes + max_detections + n_classes + 3
    return Room(
        detections=np.zeros(2 * max_detections * (3 * n_nodes + 1 + n_classes)),
        floats=np.zeros(max_tracks * per_track + 2 * max_detections + 2 * n_nodes + 3 * width),
        integers=np.zeros(3 * max_tracks + 4 * max_detections + 3 * width, dtype=np.int64),
    )


@inner
def settings_in(values: NDArray[np.float64]) -> Settings:
    """Return the settings that a buffer holds."""
    return Settings(
        motion=int(values[0]),
        similarity=int(values[1]),
        matching=int(values[2]),
        gate=values[3],
        gate_growth_per_s=values[4],
        gate_limit=values[5],
        kernel_width=values[6],
        velocity_s=values[7],
        lost_s=values[8],
        closed_population=bool(values[9]),
        min_visible_nodes=int(values[10]),
        min_score=values[11],
        min_body_px=values[12],
        class_memory_s=values[13],
        confirm_s=values[14],
        chance=values[15],
        n_nodes=int(values[16]),
        n_classes=int(values[17]),
    )


@inlined
def state_in(floats: NDArray[np.float64], integers: NDArray[np.int64], n_nodes: int, n_classes: int) -> TrackState:
    """Return the state that lies in two buffers, as views of them."""
    tracks = integers[4:].reshape(8, -1)
    n = tracks.shape[1]
    flow_xy = n * 2 * n_nodes  # where it begins
    velocity = 2 * flow_xy
    filtered = velocity + n * 2
    body_px = filtered + n * 5
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
        pose=floats[:flow_xy].reshape(n, n_nodes, 2),
        flow_xy=floats[flow_xy:velocity].reshape(n, n_nodes, 2),
        velocity=floats[velocity:filtered].reshape(n, 2),
        filter=floats[filtered:body_px].reshape(n, 5),
        body_px=floats[body_px:confidence],
        confidence=floats[confidence:hidden_keep],
        hidden_keep=floats[hidden_keep:candidates],
        evidence=floats[evidence:].reshape(n, n_classes),
        candidate_xy=floats[candidates:evidence].reshape(n, 2),
        candidate_first_ns=tracks[6],
        candidate_last_ns=tracks[7],
    )


@inlined
def work_in(
    floats: NDArray[np.float64], integers: NDArray[np.int64], n_tracks: int, n: int, n_nodes: int, n_classes: int
) -> Work:
    """Return the room for `n_tracks` tracks and `n` detections that lies in two buffers, as views of them."""
    width = _width(n_tracks, n, n_classes)
    cost = n_tracks * 2 * n_nodes  # where it begins
    class_cost = cost + n_tracks * n
    keep = class_cost + n_tracks * n_classes
    gap_s = keep + n_tracks
    gate_px = gap_s + n_tracks
    centres = gate_px + n_tracks
    nodes = centres + 2 * n
    potentials = nodes + 2 * n_nodes
    order = 3 * n_tracks
    columns = order + 4 * n
    return Work(
        expected=floats[:cost].reshape(n_tracks, n_nodes, 2),
        cost=floats[cost:class_cost].reshape(n_tracks, n),
        class_cost=floats[class_cost:keep].reshape(n_tracks, n_classes),
        keep=floats[keep:gap_s],
        gap_s=floats[gap_s:gate_px],
        gate_px=floats[gate_px:centres],
        centres=floats[centres:nodes].reshape(n, 2),
        nodes=floats[nodes:potentials].reshape(2, n_nodes),
        potentials=floats[potentials:].reshape(3, width),
        match=integers[:n_tracks],
        seen_as=integers[n_tracks : 2 * n_tracks],
        rivals=integers[2 * n_tracks : order],
        order=integers[order : order + n],
        flags=integers[order + n : order + 2 * n],
        newcomers=integers[order + 2 * n : order + 3 * n],
        first_ns=integers[order + 3 * n : columns],
        columns=integers[columns:].reshape(3, width),
    )


@inlined
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


@inner
def _width(n_tracks: int, n_detections: int, n_classes: int) -> int:
    """Return how many columns an assignment can have."""
    return int(max(n_tracks + n_detections + 1, n_classes))
