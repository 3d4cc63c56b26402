"""SLEAP's label file (`.slp`): sleap-io makes the file, the instances are streamed into its tables.

sleap-io keeps every instance as an object of its own until it writes them all, which does not fit into memory for hours
of video. So it writes the file without instances, and the three tables grow a block at a time, in the types that it
gave them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import sleap_io

from realtime.offline.tracked import TrackedBlock, TrackedVideo

BLOCK_FRAMES = 4096
PREDICTED = 1

Columns = Mapping[str, Any]


def write_slp(path: Path, video: TrackedVideo) -> None:
    """Write predicted instances with their scores and tracks; a frame without animals is there too.

    Memory does not grow with the video's length.

    Args:
        path: The file to make; replaced if there is one.
        video: What to write.
    """
    sleap_io.save_slp(_labels_without_instances(video), str(path), embed=False)
    with h5py.File(path, "r+") as file:
        tables = {name: _Table(file, name) for name in ("frames", "instances", "pred_points")}
        for block in video.blocks(BLOCK_FRAMES):
            _append(tables, block)


class _Table:
    """One of the file's tables, made anew so that it can grow.

    Attributes:
        n_rows: Rows so far.
    """

    def __init__(self, file: h5py.File, name: str) -> None:
        dtype = file[name].dtype
        del file[name]
        self._data = file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(4096,), compression="gzip")
        self.n_rows = 0

    def append(self, n: int, columns: Columns) -> None:
        """Add `n` rows; columns that are not named are 0."""
        rows = np.zeros(n, self._data.dtype)
        for name, column in columns.items():
            rows[name] = column
        self.n_rows += n
        self._data.resize((self.n_rows,))
        self._data[self.n_rows - n :] = rows


def _append(tables: Mapping[str, _Table], block: TrackedBlock) -> None:
    frames, instances, points = tables["frames"], tables["instances"], tables["pred_points"]
    n, n_nodes = block.node_scores.shape
    ends = instances.n_rows + np.cumsum(block.counts)
    frame_ids = frames.n_rows + np.arange(len(block.indices))
    point_starts = points.n_rows + n_nodes * np.arange(n)
    point_columns = {
        "x": block.xy[:, :, 0].ravel(),
        "y": block.xy[:, :, 1].ravel(),
        "visible": np.isfinite(block.xy).all(axis=2).ravel(),
        "score": block.node_scores.ravel(),
    }
    instance_columns = {
        "instance_id": instances.n_rows + np.arange(n),
        "instance_type": PREDICTED,
        "frame_id": np.repeat(frame_ids, block.counts),
        "track": block.tracks,
        "from_predicted": -1,
        "score": block.instance_scores,
        "point_id_start": point_starts,
        "point_id_end": point_starts + n_nodes,
        "tracking_score": block.tracking_scores,
    }
    frame_columns = {
        "frame_id": frame_ids,
        "frame_idx": block.indices,
        "instance_id_start": ends - block.counts,
        "instance_id_end": ends,
    }
    points.append(n * n_nodes, point_columns)
    instances.append(n, instance_columns)
    frames.append(len(frame_ids), frame_columns)


def _labels_without_instances(video: TrackedVideo) -> Any:
    nodes = list(video.skeleton.nodes)
    skeleton = sleap_io.Skeleton(
        nodes=nodes,
        edges=[(nodes[a], nodes[b]) for a, b in video.skeleton.edges],
        symmetries=[(nodes[a], nodes[b]) for a, b in video.skeleton.symmetries],
        name="Skeleton-0",
    )
    gray = video.shape[3] == 1
    file = sleap_io.Video(
        filename=str(video.path),
        backend_metadata={
            "type": "MediaVideo",
            "shape": list(video.shape),
            "filename": video.path.as_posix(),
            "grayscale": gray,
            "bgr": True,
            "dataset": "",
            "input_format": "",
            "fps": video.frame_rate_hz,
        },
        open_backend=False,
    )
    return sleap_io.Labels(
        videos=[file],
        skeletons=[skeleton],
        tracks=[sleap_io.Track(name) for name in video.track_names],
        provenance=dict(video.provenance),
    )
