"""RecordedModel: poses that were found before, served by frame: from a SLEAP `.slp` file or from a table in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from models.base import PoseModel
from models.errors import ModelNotInstalledError, ModelNotOpenError
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
    labels = _load_labels(path)
    if options.video >= len(labels.videos):
        raise ModelNotOpenError(
            f"{path}: expected video {options.video}, got a file with {len(labels.videos)} video(s)"
        )
    if not labels.skeletons:
        raise ModelNotOpenError(f"{path}: expected a skeleton, got none")
    if options.track_classes and not labels.tracks:
        raise ModelNotOpenError(f"{path}: expected tracks because of track_classes, got none")
    plan = _plan(labels.skeletons[0])
    tracks = list(labels.tracks) if options.track_classes else []
    video = labels.videos[options.video]
    poses = {
        int(frame.frame_idx): _poses(_shown(frame), len(plan.nodes), tracks, options.offset_px)
        for frame in labels
        if frame.video is video
    }
    source = {"path": str(path), "files": {path.name: sha256_of(path)}}
    return _Recording(PoseTable(poses), plan, tuple(track.name for track in tracks), source)


def _plan(skeleton: Any) -> Skeleton:
    return Skeleton(
        tuple(skeleton.node_names),
        tuple((int(a), int(b)) for a, b in skeleton.edge_inds),
        tuple((int(min(pair)), int(max(pair))) for pair in skeleton.symmetry_inds),
    )


def _load_labels(path: Path) -> Any:
    try:
        import sleap_io  # noqa: PLC0415  # an optional package
    except ImportError as error:
        raise ModelNotInstalledError(
            f"{path}: expected the package sleap-io, got none; install it with: pip install 'poseloop[sleap]'"
        ) from error
    if not path.is_file():
        raise ModelNotOpenError(f"{path}: no such file")
    try:
        return sleap_io.load_slp(str(path), open_videos=False)
    except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise ModelNotOpenError(f"{path}: expected a SLEAP label file (.slp): {error!r}") from error


def _shown(frame: Any) -> list[Any]:
    """Return a person's instances and those predictions that none of them replaces; without those without a node."""
    replaced = [id(instance.from_predicted) for instance in frame.user_instances]
    shown = [*frame.user_instances, *(one for one in frame.predicted_instances if id(one) not in replaced)]
    return [instance for instance in shown if np.isfinite(instance.numpy()).all(axis=1).any()]


def _poses(instances: Sequence[Any], n_nodes: int, tracks: list[Any], offset_px: float) -> Poses:
    xy = np.full((len(instances), n_nodes, 2), np.nan, np.float32)
    node_scores = np.zeros((len(instances), n_nodes), np.float32)
    instance_scores = np.ones(len(instances), np.float32)
    # An instance without a track may be anyone.
    class_probs = np.full((len(instances), len(tracks)), 1 / max(len(tracks), 1), np.float32)
    for row, instance in enumerate(instances):
        xy[row] = np.asarray(instance.numpy(), np.float64) + offset_px
        seen = np.isfinite(xy[row]).all(axis=1)
        xy[row, ~seen] = np.nan
        predicted = hasattr(instance, "score")
        node_scores[row, seen] = np.clip(instance.points["score"][seen], 0, 1) if predicted else 1.0
        if predicted:
            instance_scores[row] = instance.score
        if instance.track in tracks:
            class_probs[row] = 0.0
            class_probs[row, tracks.index(instance.track)] = 1.0
    return Poses(xy, node_scores, instance_scores, class_probs if tracks else None)
