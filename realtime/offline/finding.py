"""Finding: every frame of a video through the model, into the work file."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from camera_drivers.errors import CameraError
from models.poses import Poses
from models.skeleton import Skeleton
from models.spec import ModelSpec
from realtime.offline.reading import Batch, ReadAhead
from realtime.offline.work_file import FoundBatch, FoundFrame, WorkFile
from realtime.recording.records import pack_poses

POLL_S = 0.05


class BatchModel(Protocol):
    """What finding needs of a model; `models.exported.ExportedModel` is one."""

    @property
    def overflows(self) -> int:
        """In how many images there were more animals than slots, so far."""
        ...

    @property
    def faults(self) -> int:
        """How many points came out that no healthy network gives, so far."""
        ...

    @property
    def skeleton(self) -> Skeleton:
        """The animal's plan."""
        ...

    @property
    def class_names(self) -> tuple[str, ...]:
        """Identities that the model tells apart."""
        ...

    @property
    def max_instances(self) -> int:
        """The most instances in one image."""
        ...

    @property
    def spec(self) -> ModelSpec:
        """What `model.json` says."""
        ...

    @property
    def source(self) -> Mapping[str, Any]:
        """Where it comes from, as JSON-able values; `files`: the SHA-256 of every file."""
        ...

    def predict_batch(self, images: NDArray[np.uint8]) -> list[Poses]:
        """Return the poses of each image of `(n, height, width)` or `(n, height, width, 3)`."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is.

    Attributes:
        index: Index of the frame that is next.
        end: One more than the index of the last frame of interest, or None where the video does not say.
        n_done: Frames that went through this stage in this run; 0 while others are only passed over.
        n_animals: Instances in the last of them.
        stage: What is done with them.
    """

    index: int
    end: int | None
    n_done: int
    n_animals: int
    stage: Literal["finding", "following"] = "finding"


@dataclass(frozen=True, slots=True)
class Ending:
    """How finding ended.

    Attributes:
        damage: What made the video unreadable, or None.
        n_done: Frames that went through the model in this run.
        seconds: Time that they took, s.
    """

    damage: CameraError | None
    n_done: int
    seconds: float


def find_poses(
    ahead: ReadAhead,
    model: BatchModel,
    work: WorkFile,
    *,
    stopped: Callable[[], bool],
    tell: Callable[[Progress], None],
) -> Ending:
    """Put every frame that `ahead` delivers through the model and append what was found to the work file.

    Args:
        ahead: The frames.
        model: Open.
        work: Where they go.
        stopped: Asked before every batch; True ends it, with whole batches in the work file.
        tell: Called after every batch, and a few times a second while frames are passed over.

    Raises:
        ModelFailedError: Inference failed.
        WorkFileError: The work file cannot be written.
    """
    n_done, n_animals, start_s = 0, 0, time.monotonic()
    while not ahead.ended and not stopped():
        batch = ahead.take(POLL_S)
        if batch is not None:
            start_s = start_s if n_done else time.monotonic()
            found = _found(batch, model)
            work.append(found)
            n_done += len(found.frames)
            n_animals = found.frames[-1].poses.n_instances
        index = ahead.n_passed if n_done == 0 else work.next_index or 0
        tell(Progress(index, ahead.end, n_done, n_animals))
    return Ending(ahead.error, n_done, time.monotonic() - start_s)


def _found(batch: Batch, model: BatchModel) -> FoundBatch:
    overflows, faults = model.overflows, model.faults
    poses = model.predict_batch(batch.images)
    frames = tuple(
        FoundFrame(batch.first_index + k, time_ns, pack_poses(found))
        for k, (time_ns, found) in enumerate(zip(batch.times_ns, poses, strict=True))
    )
    return FoundBatch(frames, model.overflows - overflows, model.faults - faults)
