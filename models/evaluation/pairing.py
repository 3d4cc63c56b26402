"""Pairing: truth and predictions brought onto the same nodes and frames."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import Self

import numpy as np
from numpy.typing import NDArray

from models.errors import LabelsError
from models.evaluation.options import EvaluationOptions
from models.labels import Labels


@dataclass(frozen=True, slots=True)
class Animals:
    """The animals of consecutive frames.

    Attributes:
        xy: `(n, n_nodes, 2)` float64, px; NaN = not marked.
        scores: `(n,)` float64.
        tracks: `(n,)` int32; −1 = none.
        track_names: Names of the tracks.
        identity_confidence: `(n,)` float64; see `Labels`.
        frames: `(n,)` int64 number of the animal's frame in `PairedFrames.frame_ids`, ascending.
    """

    xy: NDArray[np.float64]
    scores: NDArray[np.float64]
    tracks: NDArray[np.int32]
    track_names: tuple[str, ...]
    identity_confidence: NDArray[np.float64]
    frames: NDArray[np.int64]

    @property
    def marked(self) -> NDArray[np.bool_]:
        """`(n, n_nodes)`: which nodes have a place."""
        return np.asarray(np.isfinite(self.xy[..., 0]))

    def only(self, rows: NDArray[np.bool_]) -> Self:
        """Return some of the animals."""
        return type(self)(
            self.xy[rows],
            self.scores[rows],
            self.tracks[rows],
            self.track_names,
            self.identity_confidence[rows],
            self.frames[rows],
        )


@dataclass(frozen=True, slots=True)
class PairedFrames:
    """What is compared.

    Attributes:
        nodes: Their names.
        frame_ids: `(n_frames,)` int64, ascending: the truth's frames.
        predicted_frames: `(n_frames,)` bool: the predictions have this frame, be it without an animal.
        truth: The truth.
        predicted: The predictions.
        areas: Of the truth's animals, px²: the box around all of their nodes.
        size_px: Their median size: the diagonal of that box; NaN if there is none.
        notes: What should be known about the comparison, in words.
    """

    nodes: tuple[str, ...]
    frame_ids: NDArray[np.int64]
    predicted_frames: NDArray[np.bool_]
    truth: Animals
    predicted: Animals
    areas: NDArray[np.float64]
    size_px: float
    notes: tuple[str, ...]

    def marked(self) -> Self:
        """Return the same without the animals that have none of the nodes."""
        seen = np.asarray(self.truth.marked.any(axis=1))
        found = np.asarray(self.predicted.marked.any(axis=1))
        return type(self)(
            self.nodes,
            self.frame_ids,
            self.predicted_frames,
            self.truth.only(seen),
            self.predicted.only(found),
            self.areas[seen],
            self.size_px,
            self.notes,
        )

    def rows(self) -> Iterator[tuple[slice, slice]]:
        """Yield the rows of the truth and of the predictions, frame by frame."""
        ends = np.arange(len(self.frame_ids) + 1)
        bounds = zip(
            np.searchsorted(self.truth.frames, ends).tolist(),
            np.searchsorted(self.predicted.frames, ends).tolist(),
            strict=True,
        )
        truth, predicted = next(bounds)
        for truth_end, predicted_end in bounds:
            yield slice(truth, truth_end), slice(predicted, predicted_end)
            truth, predicted = truth_end, predicted_end


def pair_frames(truth: Labels, predicted: Labels, options: EvaluationOptions) -> PairedFrames:
    """Bring labels together by the names of their nodes and the numbers of their frames.

    Raises:
        LabelsError: Nodes are missing, or there is nothing to compare.
    """
    nodes = options.nodes or truth.skeleton.nodes
    notes = _video_note(truth, predicted)
    if options.nodes is None:
        notes += _node_note(nodes, predicted)
    columns = _columns(truth, nodes), _columns(predicted, nodes)
    frame_ids = _frames(truth, predicted, options)
    elsewhere = int((~np.isin(predicted.frames, frame_ids)).sum())
    if elsewhere and options.frames is None:
        notes.append(f"{predicted.source}: {elsewhere} frames without a truth were left out")
    chosen = np.isin(truth.frame_ids, frame_ids)
    areas, size_px = _extents(truth.xy[chosen])
    return PairedFrames(
        nodes=nodes,
        frame_ids=frame_ids,
        predicted_frames=np.isin(frame_ids, predicted.frames),
        truth=_animals(truth, frame_ids, columns[0], options.offset_px),
        predicted=_animals(predicted, frame_ids, columns[1], 0.0),
        areas=areas,
        size_px=size_px,
        notes=tuple(notes),
    )


def _columns(labels: Labels, nodes: tuple[str, ...]) -> list[int]:
    known = labels.skeleton.nodes
    missing = [node for node in nodes if node not in known]
    if missing:
        raise LabelsError(
            f"{labels.source}: expected the nodes {', '.join(nodes)}, got none called {', '.join(missing)} among "
            f"{', '.join(known)}; compare those that both files have with --nodes"
        )
    if len(set(nodes)) != len(nodes):
        raise LabelsError(f"--nodes: expected every node once, got {', '.join(nodes)}")
    return [known.index(node) for node in nodes]


def _frames(truth: Labels, predicted: Labels, options: EvaluationOptions) -> NDArray[np.int64]:
    frame_ids = truth.frames
    where = ""
    if options.frames is not None:
        first, last = options.frames
        frame_ids = frame_ids[(frame_ids >= first) & (frame_ids <= last)]
        where = f" in frames {first}-{last}"
    if not np.isin(truth.frame_ids, frame_ids).any():
        raise LabelsError(f"{truth.source}: expected labelled animals{where}, got {_told(truth.frames)}")
    if predicted.frames.size and not np.isin(predicted.frames, frame_ids).any():
        raise LabelsError(
            f"{predicted.source}: expected predictions in frames of the truth ({_told(frame_ids)}), got "
            f"{_told(predicted.frames)}; are they of the same video?"
        )
    return frame_ids


def _told(frame_ids: NDArray[np.int64]) -> str:
    if not frame_ids.size:
        return "no frames"
    return f"{frame_ids.size} frame(s) from {frame_ids[0]} to {frame_ids[-1]}"


def _video_note(truth: Labels, predicted: Labels) -> list[str]:
    # Both kinds of slashes separate folders in a path that somebody else's computer wrote.
    names = [PureWindowsPath(labels.video).name for labels in (truth, predicted) if labels.video]
    if len(names) < 2 or PureWindowsPath(names[0]).stem == PureWindowsPath(names[1]).stem:
        return []
    return [f"the truth is of video {names[0]}, the predictions are of {names[1]}: taken for the same"]


def _node_note(nodes: tuple[str, ...], predicted: Labels) -> list[str]:
    others = [node for node in predicted.skeleton.nodes if node not in nodes]
    return [f"{predicted.source}: nodes that were not compared: {', '.join(others)}"] if others else []


def _extents(xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Return the area of every animal's box and the median of the boxes' diagonals."""
    low = np.where(np.isnan(xy), np.inf, xy).min(axis=1)
    high = np.where(np.isnan(xy), -np.inf, xy).max(axis=1)
    sides = np.where(np.isfinite(low), high - low, np.nan)
    diagonals = np.hypot(sides[:, 0], sides[:, 1])
    diagonals = diagonals[np.isfinite(diagonals)]
    return sides.prod(axis=1), float(np.median(diagonals)) if diagonals.size else float("nan")


def _animals(labels: Labels, frame_ids: NDArray[np.int64], columns: list[int], offset_px: float) -> Animals:
    rows = np.isin(labels.frame_ids, frame_ids)
    return Animals(
        xy=labels.xy[rows][:, columns] + offset_px,
        scores=labels.scores[rows],
        tracks=labels.tracks[rows],
        track_names=labels.track_names,
        identity_confidence=labels.identity_confidence[rows],
        frames=np.searchsorted(frame_ids, labels.frame_ids[rows]).astype(np.int64),
    )
