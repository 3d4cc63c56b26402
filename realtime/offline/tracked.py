"""TrackedVideo: who was where in a video, as the writers of files take it."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.skeleton import Skeleton


@dataclass(frozen=True, slots=True)
class TrackedFrame:
    """The animals of one frame, in rows.

    Attributes:
        index: 0 for the first frame of the video.
        tracks: `(n_instances,)` int, index into `TrackedVideo.track_names`, -1 = no track; no track twice.
        xy: `(n_instances, n_nodes, 2)` float, px, x right, y down, pixel centre = integer, NaN = not seen.
        node_scores: `(n_instances, n_nodes)` float, 0 or NaN where not seen.
        instance_scores: `(n_instances,)` float.
        tracking_scores: `(n_instances,)` float, 0 without a track; what they mean is in `TrackedVideo.provenance` under
            `tracking_score`.
    """

    index: int
    tracks: NDArray[np.int32]
    xy: NDArray[np.floating[Any]]
    node_scores: NDArray[np.floating[Any]]
    instance_scores: NDArray[np.floating[Any]]
    tracking_scores: NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class TrackedVideo:
    """A video and its animals, for one pass after another over its frames.

    Attributes:
        path: The video file.
        shape: `(n_frames, height, width, channels)` of the video; `n_frames` 0 where its container does not say.
        frame_rate_hz: As the container says, or None.
        skeleton: The animals' plan.
        track_names: Unique; SLEAP's are `track_0`, `track_1`, ….
        n_frames: One more than the index of the last frame that was looked at.
        frames: Gives the frames that were looked at in ascending order, those without animals too, from the first on
            every call.
        provenance: How this came to be, as JSON-able values.
    """

    path: Path
    shape: tuple[int, int, int, int]
    frame_rate_hz: float | None
    skeleton: Skeleton
    track_names: tuple[str, ...]
    n_frames: int
    frames: Callable[[], Iterator[TrackedFrame]]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def blocks(self, n_frames: int) -> Iterator["TrackedBlock"]:
        """Yield the frames in blocks, which begin at the multiples of `n_frames`."""
        for _, group in itertools.groupby(self.frames(), lambda frame: frame.index // n_frames):
            frames = list(group)
            yield TrackedBlock(
                indices=np.array([frame.index for frame in frames]),
                counts=np.array([len(frame.tracks) for frame in frames]),
                tracks=np.concatenate([frame.tracks for frame in frames]),
                xy=np.concatenate([frame.xy for frame in frames]),
                node_scores=np.concatenate([frame.node_scores for frame in frames]),
                instance_scores=np.concatenate([frame.instance_scores for frame in frames]),
                tracking_scores=np.concatenate([frame.tracking_scores for frame in frames]),
            )


@dataclass(frozen=True, slots=True)
class TrackedBlock:
    """Frames in ascending order, and the animals of all of them one below the other.

    Attributes:
        indices: `(n_frames,)` int, of the frames.
        counts: `(n_frames,)` int, animals in each.
        tracks: `(n_instances,)`, this and the others as in `TrackedFrame`.
        xy: `(n_instances, n_nodes, 2)`, px.
        node_scores: `(n_instances, n_nodes)`.
        instance_scores: `(n_instances,)`.
        tracking_scores: `(n_instances,)`.
    """

    indices: NDArray[np.int64]
    counts: NDArray[np.int64]
    tracks: NDArray[np.int32]
    xy: NDArray[np.floating[Any]]
    node_scores: NDArray[np.floating[Any]]
    instance_scores: NDArray[np.floating[Any]]
    tracking_scores: NDArray[np.floating[Any]]

    @property
    def frames(self) -> NDArray[np.int64]:
        """`(n_instances,)`: the index of each animal's frame."""
        return np.repeat(self.indices, self.counts)
