"""RecordedModel: poses that were found before, served by frame: from a SLEAP `.slp` file or from a table in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.base import PoseModel
from models.errors import LabelsError, ModelNotOpenError
from models.labels import Labels, read_labels
from models.poses import Poses
from models.skeleton import Skeleton
from models.spec import sha256_of


class RecordedOptions(BaseModel):
    """Settings of recorded poses.

    Attributes:
        path: A SLEAP label file (`.slp`).
        video: Which of its videos, counted from 0; a frame's identity is its index in that video.
        offset_px: Added to x and y of every point, px. Predictions of SLEAP's top-down models lie −0.5 px from where
            the image shows the animal: 0.5 corrects them.
        track_classes: Serve SLEAP's tracks as identities.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    path: Annotated[Path, Field(strict=False)]
    video: int = Field(default=0, ge=0)
    offset_px: float = 0.0
    track_classes: bool = False


@dataclass(frozen=True, slots=True)
class PoseTable:
    """Poses by `frame_id`; a frame that is not in it has no animals."""

    poses: Mapping[int, Poses]


@dataclass(frozen=True, slots=True)
class _Recording:
    table: PoseTable
    skeleton: Skeleton
    class_names: tuple[str, ...]
    source: Mapping[str, Any]


class RecordedModel(PoseModel):
    """Looks the poses up; the image is not used.

    Raises:
        ModelNotOpenError: The file is missing or damaged, or has no such video or no tracks.
        ModelNotInstalledError: The package `sleap-io` is missing.
    """

    Options: ClassVar[type[BaseModel]] = RecordedOptions

    def __init__(self, recorded: RecordedOptions | _Recording) -> None:
        recording = recorded if isinstance(recorded, _Recording) else _read_slp(recorded)
        n_nodes, n_classes = len(recording.skeleton.nodes), len(recording.class_names)
        self._recording = recording
        self._poses = recording.table.poses
        self._nothing = Poses(
            np.zeros((0, n_nodes, 2), np.float32),
            np.zeros((0, n_nodes), np.float32),
            np.zeros(0, np.float32),
            np.zeros((0, n_classes), np.float32) if n_classes else None,
        )

    @classmethod
    def from_table(
        cls,
        table: PoseTable,
        skeleton: Skeleton,
        class_names: Sequence[str] = (),
        source: Mapping[str, Any] | None = None,
    ) -> Self:
        """Serve poses that are in memory.

        Args:
            table: The poses.
            skeleton: Their nodes.
            class_names: Their classes.
            source: Where they come from, as JSON-able values.
        """
        return cls(_Recording(table, skeleton, tuple(class_names), source or {}))

    @property
    def skeleton(self) -> Skeleton:
        """The animal's plan."""
        return self._recording.skeleton

    @property
    def class_names(self) -> tuple[str, ...]:
        """SLEAP's tracks if they are served as identities."""
        return self._recording.class_names

    @property
    def max_instances(self) -> int:
        """The most instances in any frame."""
        return max((len(poses.xy) for poses in self._poses.values()), default=0)

    @property
    def source(self) -> Mapping[str, Any]:
        """Kind, path, and SHA-256 of the file."""
        return {"kind": "recorded", **self._recording.source}

    def warm_up(self, height: int, width: int, channels: int) -> None:
        """Accept any image: it is not used."""

    def predict(
        self,
        image: NDArray[np.uint8],  # noqa: ARG002
        frame_id: int,
        expected_xy: NDArray[np.float32] | None = None,  # noqa: ARG002
    ) -> Poses:
        """Return the poses of `frame_id`; their arrays are the table's own."""
        return self._poses.get(frame_id, self._nothing)

    def close(self) -> None:
        """Release nothing."""


def _read_slp(options: RecordedOptions) -> _Recording:
    path = options.path.absolute()
    try:
        labels = read_labels(path, kind="shown", video=options.video, may_be_empty=True)
    except LabelsError as error:
        raise ModelNotOpenError(str(error)) from error
    if options.track_classes and not labels.track_names:
        raise ModelNotOpenError(f"{path}: expected tracks because of track_classes, got none")
    class_names = labels.track_names if options.track_classes else ()
    poses = {
        int(frame_id): _poses(labels, labels.rows(int(frame_id)), len(class_names), options.offset_px)
        for frame_id in np.unique(labels.frame_ids)
    }
    source = {"path": str(path), "files": {path.name: sha256_of(path)}}
    return _Recording(PoseTable(poses), labels.skeleton, class_names, source)


def _poses(labels: Labels, rows: slice, n_classes: int, offset_px: float) -> Poses:
    seen = labels.marked[rows].any(axis=1)
    class_probs = None
    if n_classes:
        # An instance without a track may be anyone.
        by_track = np.vstack([np.eye(n_classes, dtype=np.float32), np.full(n_classes, 1 / n_classes, np.float32)])
        class_probs = by_track[labels.tracks[rows][seen]]
    return Poses(
        (labels.xy[rows][seen] + offset_px).astype(np.float32),
        np.clip(labels.node_scores[rows][seen], 0, 1),
        labels.scores[rows][seen].astype(np.float32),
        class_probs,
    )
