"""Data: the labelled frames of a video, divided into what is learnt, what is validated on and what is held out."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import TrainingInputError
from models.labels import Labels, read_labels
from models.skeleton import Skeleton
from models.training.cleaning import agreeing
from models.training.config import DataConfig
from models.training.grid_pull import without_grid_pull


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """The animals of one frame.

    Attributes:
        index: The frame's number in the video.
        points: `(n_instances, n_nodes, 2)` float32, px, pixel centre = integer; NaN = not labelled.
        tracks: `(n_instances,)` index into `Dataset.tracks`, −1 = none of them.
        learn: `(n_instances, n_nodes)` whether the label, or its absence, is learnt.
    """

    index: int
    points: NDArray[np.float32]
    tracks: NDArray[np.int32]
    learn: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A label file ready to be learnt.

    Attributes:
        skeleton: The animal's plan.
        video: The labels' video.
        tracks: Names of the tracks that tell identities.
        training: Frames to learn.
        validation: Frames that decide when to stop.
        held_out: The labels of the frames that are never learnt, with the coordinate offset added.
    """

    skeleton: Skeleton
    video: Path
    tracks: tuple[str, ...]
    training: tuple[LabelledFrame, ...]
    validation: tuple[LabelledFrame, ...]
    held_out: Labels


def read_dataset(config: DataConfig) -> Dataset:
    """Read a `.slp` file and divide its frames.

    Raises:
        ModelNotInstalledError: sleap-io is not installed.
        LabelsError: The file cannot be read.
        TrainingInputError: It has no frames for training, or lacks the tracks or nodes that the configuration names.
    """
    stored = _read(config)
    stored = replace(stored, xy=stored.xy + config.coordinate_offset_px)
    labels = stored if config.grid_pull_px is None else without_grid_pull(stored, config.grid_pull_px)
    learn = np.ones(labels.xy.shape[:2], np.bool_) if config.clean_px is None else _clean(labels, config)
    if config.class_names is not None:
        labels = _with_tracks(labels, config.class_names, config.labels)
    usable = ~_within(labels.frames, config.exclude)
    held_out = _within(labels.frames, () if config.held_out is None else (config.held_out,))
    frames = [_frame(labels, learn, int(index)) for index in labels.frames[usable & ~held_out]]
    if config.held_out is not None and not (usable & held_out).any():
        raise TrainingInputError(
            f"{config.labels}: data.held_out: expected labelled frames from {config.held_out[0]} to "
            f"{config.held_out[1]}, got none"
        )
    training, validation = _divided(frames[:: config.every], config)
    return Dataset(
        skeleton=labels.skeleton,
        # A label file names its video relative to itself.
        video=config.video or config.labels.parent / (labels.video or ""),
        tracks=labels.track_names,
        training=training,
        validation=validation,
        held_out=replace(labels, xy=stored.xy).of_frames(labels.frames[usable & held_out]),
    )


def _read(config: DataConfig) -> Labels:
    labels = read_labels(config.labels, kind="shown" if config.use_predictions else "user", may_be_empty=True)
    if not np.isfinite(labels.xy).any():
        hint = "" if config.use_predictions else "; to learn from predictions set data.use_predictions = true"
        raise TrainingInputError(f"{config.labels}: expected labelled frames, got none{hint}")
    if labels.video is None and config.video is None:
        raise TrainingInputError(
            f"{config.labels}: expected labels of a video file, got labels of a list of images; set data.video"
        )
    return labels


def _clean(labels: Labels, config: DataConfig) -> NDArray[np.bool_]:
    nodes = labels.skeleton.nodes
    limits: Mapping[str, float | None] = (
        config.clean_px if isinstance(config.clean_px, dict) else dict.fromkeys(nodes, config.clean_px)
    )
    for name in limits:
        if name not in nodes:
            raise TrainingInputError(
                f"{config.labels}: data.clean_px: expected nodes of the labels ({', '.join(nodes)}), got {name!r}"
            )
    if not (labels.tracks >= 0).any():
        raise TrainingInputError(
            f"{config.labels}: data.clean_px: expected instances with tracks, whose neighbours in time can be found, "
            "got none; track the labels or leave data.clean_px out"
        )
    return agreeing(labels, np.array([limits.get(name, np.inf) for name in nodes], np.float64))


def _with_tracks(labels: Labels, class_names: tuple[str, ...], path: Path) -> Labels:
    """Return the labels with only these tracks, in this order."""
    new_numbers = np.full(len(labels.track_names) + 1, -1, np.int32)  # the last stands for −1
    for number, name in enumerate(class_names):
        if name not in labels.track_names:
            known = ", ".join(labels.track_names) or "no tracks"
            raise TrainingInputError(f"{path}: data.class_names: expected tracks of the labels ({known}), got {name!r}")
        new_numbers[labels.track_names.index(name)] = number
    return replace(labels, tracks=new_numbers[labels.tracks], track_names=class_names)


def _within(frame_ids: NDArray[np.int64], ranges: tuple[tuple[int, int], ...]) -> NDArray[np.bool_]:
    inside = np.zeros(len(frame_ids), np.bool_)
    for first, last in ranges:
        inside |= (first <= frame_ids) & (frame_ids <= last)
    return inside


def _frame(labels: Labels, learn: NDArray[np.bool_], index: int) -> LabelledFrame:
    rows = labels.rows(index)
    return LabelledFrame(index, labels.xy[rows].astype(np.float32), labels.tracks[rows], learn[rows])


def _divided(
    frames: list[LabelledFrame], config: DataConfig
) -> tuple[tuple[LabelledFrame, ...], tuple[LabelledFrame, ...]]:
    """Return the frames to learn and those to validate on, by blocks of time."""
    blocks = [frames[i : i + config.block_frames] for i in range(0, len(frames), config.block_frames)]
    # The middle one of every `validate_every` blocks, so that a single block is one to learn.
    chosen = range(config.validate_every // 2, len(blocks), config.validate_every)
    if not chosen:
        raise TrainingInputError(
            f"{config.labels}: expected labelled frames for training and validation, got {len(frames)} usable frames, "
            f"fewer than {config.validate_every // 2 + 1} blocks of {config.block_frames}; label more frames or make "
            "data.block_frames smaller"
        )
    training = tuple(frame for i, block in enumerate(blocks) if i not in chosen for frame in block)
    return training, tuple(frame for i in chosen for frame in blocks[i])
