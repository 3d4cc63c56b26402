"""Labels: the animals that somebody or something marked in a video, from a SLEAP `.slp` file or from memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.errors import LabelsError, ModelNotInstalledError
from models.poses import Poses
from models.skeleton import Skeleton

Kind = Literal["user", "predicted", "auto", "shown"]
"""Which instances of a file are meant.

`user`: a person's. `predicted`: a model's, also those that a person replaced. `auto`: a person's if the file has any,
else a model's. `shown`: a person's, and those of a model's that no person replaced, as SLEAP's window shows them.
"""

TRACKING_SCORE = "tracking_score"
IDENTITY_CONFIDENCE = "identity_confidence"
"""A file whose provenance gives `TRACKING_SCORE` this meaning has identity confidences as its tracking scores.

Other trackers write other things there: SLEAP's how alike an instance is to its track, 0 where it has no number.
"""


@dataclass(frozen=True, slots=True)
class Labels:
    """The instances of one video, a row each, in the order of their frames.

    Attributes:
        skeleton: The animal's plan.
        frame_ids: `(n,)` int64, ascending: the row's frame, counted from 0.
        xy: `(n, n_nodes, 2)` float64, px, pixel centre = integer; NaN = not marked.
        node_scores: `(n, n_nodes)` float32 as the model gave them; 1 for a person's, 0 where `xy` is NaN.
        scores: `(n,)` float64; 1 for a person's.
        predicted: `(n,)` bool: a model's, not a person's.
        tracks: `(n,)` int32 index into `track_names`; −1 = none.
        track_names: The tracks or known animals.
        identity_confidence: `(n,)` float64, above 0 to 1: how sure the tracker was that the row is still the animal
            that its track began with; NaN = it did not say.
        frames: `(n_frames,)` int64, ascending: every frame that was looked at, those without an animal too.
        video: The video's file name as the label file gives it (relative to it), or None.
        source: What messages call these labels: the file's path.
    """

    skeleton: Skeleton
    frame_ids: NDArray[np.int64]
    xy: NDArray[np.float64]
    node_scores: NDArray[np.float32]
    scores: NDArray[np.float64]
    predicted: NDArray[np.bool_]
    tracks: NDArray[np.int32]
    track_names: tuple[str, ...]
    identity_confidence: NDArray[np.float64]
    frames: NDArray[np.int64]
    video: str | None = None
    source: str = "labels"

    @classmethod
    def from_arrays(
        cls,
        skeleton: Skeleton,
        frame_ids: ArrayLike,
        xy: ArrayLike,
        *,
        scores: ArrayLike | None = None,
        node_scores: ArrayLike | None = None,
        predicted: ArrayLike | None = None,
        tracks: ArrayLike | None = None,
        track_names: Sequence[str] = (),
        identity_confidence: ArrayLike | None = None,
        frames: ArrayLike | None = None,
        video: str | None = None,
        source: str = "labels",
    ) -> Self:
        """Make labels of arrays whose rows are in any order; see `Labels` for shapes and meanings.

        Args:
            skeleton: The animal's plan.
            frame_ids: Frame of every row.
            xy: Points of every row; a point with one NaN is not marked.
            scores: Of the rows; 1 if left out.
            node_scores: Of the points; 1 if left out.
            predicted: A model's rows; all of them if left out.
            tracks: Of the rows; none if left out.
            track_names: Names of the tracks.
            identity_confidence: Of the rows; not said if left out.
            frames: Every frame that was looked at; those with rows if left out.
            video: The video's file name.
            source: What messages call these labels.

        Raises:
            LabelsError: The shapes do not fit, or a track has no name.
        """
        points = np.array(xy, np.float64)
        ids = np.asarray(frame_ids, np.int64)
        n = len(ids)
        _expect_shape(source, "xy", points, (n, len(skeleton.nodes), 2))
        missing = ~np.isfinite(points).all(axis=2)
        points[missing] = np.nan
        columns = {
            "scores": _column(scores, 1.0, np.float64, (n,)),
            "node_scores": _column(node_scores, 1.0, np.float32, missing.shape),
            "predicted": _column(predicted, True, np.bool_, (n,)),
            "tracks": _column(tracks, -1, np.int32, (n,)),
            "identity_confidence": _column(identity_confidence, np.nan, np.float64, (n,)),
        }
        for name, column in columns.items():
            _expect_shape(source, name, column, missing.shape if name == "node_scores" else (n,))
        columns["node_scores"][missing] = 0.0
        if n and not -1 <= columns["tracks"].min() <= columns["tracks"].max() < len(track_names):
            raise LabelsError(
                f"{source}: tracks: expected −1 to {len(track_names) - 1}, got {columns['tracks'].min()} to "
                f"{columns['tracks'].max()}"
            )
        order = np.argsort(ids, kind="stable")
        return cls(
            skeleton=skeleton,
            frame_ids=ids[order],
            xy=points[order],
            **{name: column[order] for name, column in columns.items()},
            track_names=tuple(track_names),
            frames=np.union1d(ids, np.asarray([] if frames is None else frames, np.int64)),
            video=video,
            source=source,
        )

    def of_frames(self, frames: NDArray[np.int64]) -> Self:
        """Return the labels of some frames, `(n,)` int64, ascending; those without an animal stay in `frames`."""
        rows = np.isin(self.frame_ids, frames)
        columns = ("frame_ids", "xy", "scores", "node_scores", "predicted", "tracks", "identity_confidence")
        return replace(self, frames=frames, **{name: getattr(self, name)[rows] for name in columns})

    @classmethod
    def from_poses(
        cls,
        skeleton: Skeleton,
        poses: Mapping[int, Poses],
        class_names: Sequence[str] = (),
        *,
        video: str | None = None,
        source: str = "predictions",
    ) -> Self:
        """Make labels of what a model found, by frame; its most probable class becomes an instance's track.

        Args:
            skeleton: The model's skeleton.
            poses: The poses of every frame that the model saw.
            class_names: The identities of `Poses.class_probs`; empty for models that tell none.
            video: The video's file name.
            source: What messages call these labels.
        """
        found = [one for one in poses.values() if len(one.xy)]
        classes = [
            np.argmax(one.class_probs, axis=1)
            if class_names and one.class_probs is not None
            else np.full(len(one.xy), -1)
            for one in found
        ]
        n_nodes = len(skeleton.nodes)
        return cls.from_arrays(
            skeleton,
            np.repeat(list(poses), [len(one.xy) for one in poses.values()]),
            np.concatenate([np.empty((0, n_nodes, 2)), *(one.xy for one in found)]),
            scores=np.concatenate([np.empty(0), *(one.instance_scores for one in found)]),
            node_scores=np.concatenate([np.empty((0, n_nodes)), *(one.node_scores for one in found)]),
            tracks=np.concatenate([np.empty(0, np.int32), *classes]),
            track_names=class_names,
            frames=list(poses),
            video=video,
            source=source,
        )

    @property
    def marked(self) -> NDArray[np.bool_]:
        """`(n, n_nodes)`: which nodes have a place."""
        return np.asarray(np.isfinite(self.xy).all(axis=2))

    def rows(self, frame_id: int) -> slice:
        """Return the rows of a frame; an empty slice if it has none."""
        first, stop = np.searchsorted(self.frame_ids, (frame_id, frame_id + 1))
        return slice(int(first), int(stop))


def read_labels(
    path: Path,
    *,
    kind: Kind = "auto",
    video: int | None = None,
    skeleton: int | None = None,
    may_be_empty: bool = False,
) -> Labels:
    """Read the labels of one video and one skeleton from a SLEAP label file.

    Args:
        path: The file (`.slp`, also `.pkg.slp`), of any of SLEAP's format versions.
        kind: Which instances; see `Kind`.
        video: Which of the file's videos, counted from 0; by default the only one with instances.
        skeleton: Which of its skeletons, counted from 0; by default the only one with instances.
        may_be_empty: Accept a file without such instances.

    Raises:
        LabelsError: The file is missing, damaged or empty, or has several videos or skeletons, or not this one.
        ModelNotInstalledError: The package `sleap-io` is missing.
    """
    document = _load(path)
    film = _one(path, "video", video, document.videos, [frame.video for frame in document if frame.instances])
    frames = [frame for frame in document if frame.video is film]
    used = [instance.skeleton for frame in frames for instance in frame.instances]
    plan = _one(path, "skeleton", skeleton, document.skeletons, used)
    found_kind = kind
    if kind == "auto":
        found_kind = "user" if any(frame.user_instances for frame in frames) else "predicted"
    chosen = [
        (int(frame.frame_idx), instance)
        for frame in frames
        for instance in _chosen(frame, found_kind)
        if instance.skeleton is plan
    ]
    if not (chosen or may_be_empty):
        words = "" if kind in {"auto", "shown"} else f"{kind} "
        others = f" among {len(used)} of other kinds" if used else " at all"
        raise LabelsError(f"{path}: expected {words}instances, got none{others}")
    return _table(path, document, plan, film, chosen, _looked_at(frames, found_kind))


def _one(path: Path, what: str, number: int | None, listed: Sequence[Any], used: list[Any]) -> Any:
    """Return the video or skeleton with a number, else the only one in use."""
    if number is None:
        in_use = {id(one) for one in used}
        if len(in_use) > 1:
            raise LabelsError(f"{path}: expected labels with one {what}, got {len(in_use)}; choose one by its number")
        number = next((k for k, one in enumerate(listed) if id(one) in in_use), 0)
    if not 0 <= number < len(listed):
        raise LabelsError(f"{path}: expected {what} {number}, got a file with {len(listed)} {what}(s)")
    return listed[number]


def _load(path: Path) -> Any:  # sleap-io is untyped
    try:
        import sleap_io  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise ModelNotInstalledError(
            f"{path}: expected the package sleap-io, got none; install it with: pip install 'poseloop[sleap]'"
        ) from error
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise LabelsError(f"{path}: expected a SLEAP label file (.slp), got {got}")
    try:
        return sleap_io.load_slp(str(path), open_videos=False)
    # What HDF5 and sleap-io raise on damaged files, found by damaging some; a damaged size asks for too much memory.
    except (
        *(OSError, LookupError, ValueError, TypeError, AttributeError),
        *(RuntimeError, ArithmeticError, MemoryError),
    ) as error:
        raise LabelsError(
            f"{path}: expected a SLEAP label file (.slp), got one that cannot be read: {error}"
        ) from error


def _chosen(frame: Any, kind: Kind) -> list[Any]:
    if kind == "user":
        return list(frame.user_instances)
    if kind == "predicted":
        return list(frame.predicted_instances)
    replaced = {id(instance.from_predicted) for instance in frame.user_instances}
    return [*frame.user_instances, *(one for one in frame.predicted_instances if id(one) not in replaced)]


def _looked_at(frames: list[Any], kind: Kind) -> list[int]:
    """Return frames that count though they may have no instance: a model saw them, or a person called them empty."""
    return [int(frame.frame_idx) for frame in frames if kind == "predicted" or frame.is_negative]


def _table(
    path: Path, document: Any, plan: Any, film: Any, chosen: list[tuple[int, Any]], looked_at: list[int]
) -> Labels:
    instances = [instance for _, instance in chosen]
    n_nodes = len(plan.node_names)
    predicted = np.array([hasattr(instance, "score") for instance in instances], bool)
    node_scores = np.ones((len(instances), n_nodes), np.float32)
    scores = np.ones(len(instances))
    for row in np.flatnonzero(predicted):
        node_scores[row] = instances[row].points["score"]
        scores[row] = instances[row].score
    track_numbers = {id(track): number for number, track in enumerate(document.tracks)}
    return Labels.from_arrays(
        Skeleton(
            tuple(plan.node_names),
            tuple((int(a), int(b)) for a, b in plan.edge_inds),
            tuple(sorted((int(min(pair)), int(max(pair))) for pair in plan.symmetry_inds)),
        ),
        [frame_id for frame_id, _ in chosen],
        np.stack([instance.numpy()[:, :2] for instance in instances]) if instances else np.empty((0, n_nodes, 2)),
        scores=scores,
        node_scores=node_scores,
        predicted=predicted,
        tracks=np.array([track_numbers.get(id(instance.track), -1) for instance in instances], np.int32),
        track_names=[track.name for track in document.tracks],
        identity_confidence=_identity_confidence(document, instances, predicted),
        frames=looked_at,
        video=_file_name(film),
        source=str(path),
    )


def _identity_confidence(document: Any, instances: list[Any], predicted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return `(n,)` identity confidences; NaN for a person's, without a track, and if the file does not say any."""
    sure = np.full(len(instances), np.nan)
    if document.provenance.get(TRACKING_SCORE) == IDENTITY_CONFIDENCE:
        for row in np.flatnonzero(predicted):
            score = instances[row].tracking_score
            # 0 is what programs leave there that save the file again and do not know the column.
            if instances[row].track is not None and score is not None and 0 < score <= 1:
                sure[row] = score
    return sure


def _file_name(video: Any) -> str | None:
    # A package carries its frames and says which video they were taken from.
    original = video.source_video or video
    return original.filename if isinstance(original.filename, str) else None


def _column(values: ArrayLike | None, default: float, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    return np.full(shape, default, dtype) if values is None else np.array(values, dtype)


def _expect_shape(source: str, name: str, values: NDArray[Any], shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise LabelsError(f"{source}: {name}: expected shape {shape}, got {values.shape}")
