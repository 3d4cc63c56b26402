"""Labels and images: what a SLEAP file and its video say, ready to be learnt."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from models.errors import ModelNotInstalledError, TrainingInputError
from models.skeleton import Skeleton
from models.training.config import DataConfig

# Limited-range luma 16–235 onto 0–255, as every RGB conversion does it: cameras deliver full range.
_FULL_RANGE = np.clip(np.rint((np.arange(256) - 16.0) * 255 / 219), 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """The animals of one frame.

    Attributes:
        index: The frame's number in the video.
        points: `(n_instances, n_nodes, 2)` float32, px, pixel centre = integer; NaN = not labelled.
    """

    index: int
    points: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Labels:
    """A label file: the animal's plan, the video, and the frames for each use."""

    skeleton: Skeleton
    video: Path
    training: tuple[LabelledFrame, ...]
    validation: tuple[LabelledFrame, ...]
    held_out: tuple[LabelledFrame, ...]


def read_labels(config: DataConfig) -> Labels:
    """Read a `.slp` file and divide its frames.

    Raises:
        ModelNotInstalledError: sleap-io is not installed.
        TrainingInputError: The file cannot be read, has several skeletons or videos, or has no frames for training.
    """
    document = _load_slp(config.labels)
    skeleton = document.skeletons[0]
    frames = sorted(_frames(document, config), key=lambda frame: frame.index)
    usable = [frame for frame in frames if not any(_within(frame, excluded) for excluded in config.exclude)]
    learnt = [frame for frame in usable if not _within(frame, config.held_out)][:: config.every]
    training, validation = _divided(learnt, config)
    return Labels(
        skeleton=Skeleton(
            nodes=tuple(skeleton.node_names),
            edges=tuple((int(a), int(b)) for a, b in skeleton.edge_inds),
            symmetries=tuple(sorted((int(min(p)), int(max(p))) for p in skeleton.symmetry_inds)),
        ),
        # A label file names its video relative to itself.
        video=config.video or config.labels.parent / document.videos[0].filename,
        training=training,
        validation=validation,
        held_out=tuple(frame for frame in usable if _within(frame, config.held_out)),
    )


def _within(frame: LabelledFrame, frames: tuple[int, int] | None) -> bool:
    return frames is not None and frames[0] <= frame.index <= frames[1]


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


def _load_slp(path: Path) -> Any:  # sleap-io is untyped
    try:
        import sleap_io  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise ModelNotInstalledError(
            "training: sleap-io is not installed; install it with: pip install 'poseloop[train]'"
        ) from error
    try:
        document = sleap_io.load_slp(str(path), open_videos=False)
    except (OSError, KeyError, ValueError) as error:
        raise TrainingInputError(f"{path}: expected a SLEAP label file (.slp), got: {error}") from error
    for what, found in (("skeleton", document.skeletons), ("video", document.videos)):
        if len(found) != 1:
            raise TrainingInputError(f"{path}: expected one {what}, got {len(found)}")
    if not isinstance(document.videos[0].filename, str):
        raise TrainingInputError(f"{path}: expected labels of a video file, got labels of a list of image files")
    return document


def _frames(document: Any, config: DataConfig) -> list[LabelledFrame]:
    offset = np.float32(config.coordinate_offset_px)
    frames = []
    for labelled in document.labeled_frames:
        instances = labelled.user_instances
        if not instances and config.use_predictions:
            instances = labelled.predicted_instances
        if instances:
            points = np.stack([instance.numpy()[:, :2] for instance in instances]).astype(np.float32)
            frames.append(LabelledFrame(int(labelled.frame_idx), points + offset))
    if not frames:
        hint = "" if config.use_predictions else "; to learn from predictions set data.use_predictions = true"
        raise TrainingInputError(f"{config.labels}: expected labelled frames, got none{hint}")
    return frames


def stream_frames(video: Path, wanted: Collection[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Decode frames of a video as gray images, in the video's order.

    Args:
        video: Any video that FFmpeg reads.
        wanted: Numbers of the frames.

    Yields:
        Frame number and `(height, width)` uint8: the luma plane with its range stretched to 0–255.

    Raises:
        TrainingInputError: The video cannot be read or ends before a wanted frame.
    """
    missing = set(wanted)
    index = -1
    try:
        with av.open(str(video)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index in missing:
                    missing.remove(index)
                    yield index, _gray(frame)
                if not missing:
                    return
    except (OSError, av.FFmpegError) as error:
        raise TrainingInputError(f"{video}: expected a video that can be read, got: {error}") from error
    raise TrainingInputError(
        f"{video}: expected at least {max(missing) + 1} frames as the labels say, got {index + 1}; is it their video?"
    )


def _gray(frame: av.VideoFrame) -> NDArray[np.uint8]:
    if not frame.format.name.startswith(("gray", "yuv", "nv12")):
        frame = frame.reformat(format="gray")
    plane = frame.planes[0]
    luma: NDArray[np.uint8] = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[
        :, : plane.width
    ]
    full = frame.format.name.startswith(("gray", "yuvj")) or frame.color_range == av.video.reformatter.ColorRange.JPEG
    stretched: NDArray[np.uint8] = luma.copy() if full else _FULL_RANGE[luma]
    return stretched
