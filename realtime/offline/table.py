"""SLEAP's table of instances (`.csv`): one row an instance, in the order of the frames."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from realtime.offline.tracked import TrackedVideo

BLOCK_FRAMES = 1024


def write_csv(path: Path, video: TrackedVideo) -> None:
    """Write `track, frame_idx, instance.score, NODE.x, NODE.y, NODE.score, …`; memory does not grow with the length.

    What is not known is an empty cell. Numbers have the digits that give the same number back.

    Args:
        path: The file to make; replaced if there is one.
        video: What to write.
    """
    header = ["track", "frame_idx", "instance.score"]
    for node in video.skeleton.nodes:
        header += [f"{node}.x", f"{node}.y", f"{node}.score"]
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(header)
        for block in video.blocks(BLOCK_FRAMES):
            names = [video.track_names[track] if track >= 0 else "" for track in block.tracks.tolist()]
            numbers = np.concatenate([block.xy, block.node_scores[:, :, np.newaxis]], axis=2)
            numbers[~np.isfinite(numbers).all(axis=2)] = np.nan
            cells = _texts(numbers.reshape(len(names), len(header) - 3))
            scores = _texts(block.instance_scores)
            rows.writerows(
                [name, frame, score, *points]
                for name, frame, score, points in zip(names, block.frames.tolist(), scores, cells, strict=True)
            )


def _texts(numbers: NDArray[Any]) -> list[Any]:
    """Return the shortest texts that give the numbers back, nothing for NaN, in nested lists."""
    texts: list[Any] = np.where(np.isfinite(numbers), numbers.astype(np.str_), "").tolist()
    return texts
