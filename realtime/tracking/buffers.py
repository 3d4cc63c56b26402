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
    """What an update reads and writes.

    Attributes:
        settings: The fields of `Settings`.
        floats: Those of `TrackState` that are float64, one field after the other.
        integers: `(4, n)` those that are int64: ids, last_seen_ns, class_ids, counts.
        detections: The fields of `Detections`, one after the other, with room for some number of instances.
        rows: The fields of `TrackRows`, one after the other.
    """

    settings: NDArray[np.float64]
    floats: NDArray[np.float64]
    integers: NDArray[np.int64]
    detections: NDArray[np.float64]
    rows: NDArray[np.float32]


def empty_buffers(settings: Settings, max_tracks: int, max_detections: int) -> Buffers:
    """Return buffers of a tracker that has seen nothing."""
    n_nodes, n_classes = settings.n_nodes, settings.n_classes
    return Buffers(
        settings=np.array(settings, dtype=np.float64),
        floats=np.zeros(max_tracks * (2 * n_nodes + 4 + n_classes)),
        integers=np.zeros((4, max(max_tracks, 2)), dtype=np.int64),
        detections=np.zeros(max_detections * (3 * n_nodes + 1 + n_classes)),
        rows=np.zeros(max_tracks * (3 * n_nodes + 1), dtype=np.float32),
    )


@compiled
def update_tracks(
    settings: NDArray[np.float64],
    floats: NDArray[np.float64],
    integers: NDArray[np.int64],
    detections: NDArray[np.float64],
    rows: NDArray[np.float32],
    n_detections: int,
    timestamp_ns: int,
) -> int:
    """Run `update` on the first detections in the buffers (see `Buffers`); return how many tracks there are."""
