"""SLEAP's analysis file (`.h5`): dense arrays over all frames and tracks, in SLEAP's transposed layout.

| data set | shape | type |
|---|---|---|
| `tracks` | (tracks, 2, nodes, frames) | float64, px, NaN = not seen |
| `track_occupancy` | (frames, tracks) | uint8 |
| `point_scores` | (tracks, nodes, frames) | float64, NaN where there is no instance |
| `instance_scores`, `tracking_scores` | (tracks, frames) | float64, NaN where there is no instance |
| `track_names`, `node_names` | (tracks), (nodes) | bytes |
| `edge_names`, `edge_inds` | (edges, 2) | bytes, int32 |
| `labels_path`, `video_path`, `provenance` | | text, the last one JSON |
| `video_ind` | | int32 |

Frame i of the file is frame i of the video. MATLAB, which turns the axes around, sees `tracks` as frames × nodes × 2 ×
tracks. Layout and types are those of files that SLEAP 1.0.5 and 1.2 wrote.
"""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from realtime.offline.errors import OfflineInputError
from realtime.offline.tracked import TrackedBlock, TrackedVideo

BLOCK_FRAMES = 1024


def write_analysis(path: Path, video: TrackedVideo, labels_path: Path | None = None) -> None:
    """Write the arrays, a block of frames at a time: memory does not grow with the video's length.

    Where no instance has a track, as with `--no-tracking`, all are in the only row (SLEAP's convention), and
    `track_names` is empty. Otherwise instances without a track are left out, because there is no row for them.

    Args:
        path: The file to make; replaced if there is one.
        video: What to write.
        labels_path: The label file with the same instances, if there is one.

    Raises:
        OfflineInputError: Several instances of a frame would have to share the only row.
    """
    n_rows = len(video.track_names) or int(any(len(frame.tracks) for frame in video.frames()))
    with h5py.File(path, "w") as file:
        _write_names(file, video, labels_path)
        arrays = _Arrays(file, n_rows, len(video.skeleton.nodes), video.n_frames)
        for block in video.blocks(BLOCK_FRAMES):
            arrays.write(block, block.tracks if video.track_names else _only_row(block))


class _Arrays:
    """The data sets; a track without an animal in a block of frames takes no space there."""

    def __init__(self, file: h5py.File, n_rows: int, n_nodes: int, n_frames: int) -> None:
        def dataset(name: str, shape: tuple[int, ...], chunk: tuple[int, ...], dtype: str) -> h5py.Dataset:
            if 0 in shape:
                return file.create_dataset(name, shape, dtype)
            chunks = tuple(min(side, limit) for side, limit in zip(chunk, shape, strict=True))
            fill = 0 if dtype == "u1" else np.nan
            return file.create_dataset(
                name, shape, dtype, chunks=chunks, compression="gzip", compression_opts=4, fillvalue=fill
            )

        self._occupancy = dataset("track_occupancy", (n_frames, n_rows), (BLOCK_FRAMES, 1), "u1")
        self._tracks = dataset("tracks", (n_rows, 2, n_nodes, n_frames), (1, 2, n_nodes, BLOCK_FRAMES), "f8")
        self._point_scores = dataset("point_scores", (n_rows, n_nodes, n_frames), (1, n_nodes, BLOCK_FRAMES), "f8")
        self._instance_scores = dataset("instance_scores", (n_rows, n_frames), (1, BLOCK_FRAMES), "f8")
        self._tracking_scores = dataset("tracking_scores", (n_rows, n_frames), (1, BLOCK_FRAMES), "f8")

    def write(self, block: TrackedBlock, rows: NDArray[np.int32]) -> None:
        """Write the animals of a block into their rows."""
        first, end = int(block.indices[0]), int(block.indices[-1]) + 1
        at = block.frames - first
        for row in np.unique(rows[rows >= 0]).tolist():
            mine = rows == row

            def dense(values: NDArray[Any], at: NDArray[np.int64] = at[mine]) -> NDArray[np.float64]:
                """Return `(…, n_frames)` of `(n_mine, …)`, NaN where the animal is not there."""
                filled = np.full((*values.shape[:0:-1], end - first), np.nan)
                filled[..., at] = values.T
                return filled

            span = slice(first, end)
            self._occupancy[span, row] = np.isfinite(dense(np.zeros(mine.sum())))
            self._tracks[row, :, :, span] = dense(block.xy[mine])
            self._point_scores[row, :, span] = dense(block.node_scores[mine])
            self._instance_scores[row, span] = dense(block.instance_scores[mine])
            self._tracking_scores[row, span] = dense(block.tracking_scores[mine])


def _only_row(block: TrackedBlock) -> NDArray[np.int32]:
    if (block.counts > 1).any():
        crowded = int(block.counts.argmax())
        raise OfflineInputError(
            f"analysis .h5: expected at most one instance without a track in frame {block.indices[crowded]}, got "
            f"{block.counts[crowded]}; they would overwrite each other: track them, or write .slp or .csv"
        )
    return np.zeros(len(block.tracks), np.int32)


def _write_names(file: h5py.File, video: TrackedVideo, labels_path: Path | None) -> None:
    nodes = [name.encode() for name in video.skeleton.nodes]
    edges = np.array(video.skeleton.edges, np.int32).reshape(-1, 2)
    # Without tracks SLEAP leaves an empty array of numbers.
    file["track_names"] = np.array([name.encode() for name in video.track_names] or [])
    file["node_names"] = np.array(nodes)
    file["edge_names"] = np.array([[nodes[a], nodes[b]] for a, b in edges] or np.empty((0, 2), "S1"))
    file["edge_inds"] = edges
    file["labels_path"] = str(labels_path or "")
    file["video_path"] = str(video.path)
    file["video_ind"] = np.int32(0)
    file["provenance"] = json.dumps(dict(video.provenance))
