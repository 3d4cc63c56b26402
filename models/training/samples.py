"""Samples: labelled frames as the pixels that a network sees and what its heads should put out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.network import Head
from models.training.augment import View, moved, relit, whole_image, window
from models.training.config import AugmentConfig, InstanceConfig, WholeImageConfig
from models.training.data import LabelledFrame
from models.training.tasks import Plan, Seen, Task

Images = Mapping[int, NDArray[np.uint8]]
Sample = tuple[NDArray[np.float32], dict[Head, NDArray[np.float32]]]
"""Pixels `(height, width)` in 0–1, and the target of each head."""
Batch = tuple[NDArray[np.float32], dict[Head, NDArray[np.float32]]]
"""Pixels `(n, height, width, 1)` in 0–1, and for each head `(n, rows, columns, channels)` or `(n, n_classes)`."""

# Of the windows of a whole-image network; the others lie anywhere, mostly on nothing.
_SHARE_ON_ANIMALS = 0.85


class Samples(ABC):
    """Draws batches for one network."""

    @abstractmethod
    def __len__(self) -> int:
        """How many different samples there are before augmentation."""

    @abstractmethod
    def _draw(self, index: int, rng: np.random.Generator) -> Sample:
        """Return pixels `(height, width)` and targets of sample `index`, moved and lit at random."""

    def batch(self, indices: Sequence[int] | NDArray[np.intp], rng: np.random.Generator) -> Batch:
        """Return the samples `indices`, each moved and lit at random."""
        pixels, targets = zip(*(self._draw(int(index), rng) for index in indices), strict=True)
        return np.stack(pixels)[..., None], {head: np.stack([one[head] for one in targets]) for head in targets[0]}


def samples_for(task: Task, plan: Plan, frames: Sequence[LabelledFrame], images: Images) -> Samples:
    """Return the samples of one network from labelled frames and their images."""
    if isinstance(task.config, InstanceConfig):
        return CropSamples(task, task.config, plan, frames, images)
    assert isinstance(task.config, WholeImageConfig)  # noqa: S101 - the two kinds of networks that there are
    return WholeImageSamples(task, task.config, plan, frames, images)


class WholeImageSamples(Samples):
    """Whole images, or windows of them, with all their animals; detectors are shown the animals' anchors."""

    def __init__(
        self, task: Task, config: WholeImageConfig, plan: Plan, frames: Sequence[LabelledFrame], images: Images
    ) -> None:
        self._task = task
        self._config = config
        self._augment = plan.config.augment
        self._images = images
        self._frames = [_anchors(frame, plan.anchor) for frame in frames] if task.role == "detector" else frames
        # An anchor stands alone, so a mirror has nothing to swap.
        self._swap = np.arange(1) if task.role == "detector" else plan.swap

    def __len__(self) -> int:
        return len(self._frames)

    def _draw(self, index: int, rng: np.random.Generator) -> Sample:
        frame = self._frames[index]
        image = self._images[frame.index]
        view = moved(self._view(frame, image, rng), self._augment, self._config.shift_px, rng)
        return _seen(self._task, view, image, frame, self._swap, self._augment, rng)

    def _view(self, frame: LabelledFrame, image: NDArray[np.uint8], rng: np.random.Generator) -> View:
        height, width = image.shape
        if self._config.window_px is None:
            return whole_image(height, width, self._config.input_scale, self._config.max_stride)
        middles = centres(frame.points, None)
        middles = middles[np.isfinite(middles).all(axis=1)]
        if len(middles) and rng.random() < _SHARE_ON_ANIMALS:
            middle = middles[rng.integers(len(middles))]
        else:
            middle = rng.uniform((0, 0), (width - 1, height - 1)).astype(np.float32)
        return window(middle, self._config.window_px, self._config.input_scale)


class CropSamples(Samples):
    """Crops around each animal, with that animal alone."""

    def __init__(
        self, task: Task, config: InstanceConfig, plan: Plan, frames: Sequence[LabelledFrame], images: Images
    ) -> None:
        self._task = task
        self._config = config
        self._augment = plan.config.augment
        self._images = images
        self._swap = plan.swap
        self._animals = [
            (_alone(frame, row), centre)
            for frame in frames
            for row, centre in enumerate(centres(frame.points, plan.anchor))
            if np.isfinite(centre).all() and (plan.anchor is None or frame.learn[row, plan.anchor])
        ]

    def __len__(self) -> int:
        return len(self._animals)

    def _draw(self, index: int, rng: np.random.Generator) -> Sample:
        animal, centre = self._animals[index]
        side_px = round(self._config.crop_size_px * self._config.input_scale)
        view = moved(window(centre, side_px, self._config.input_scale), self._augment, self._config.shift_px, rng)
        return _seen(self._task, view, self._images[animal.index], animal, self._swap, self._augment, rng)


def _seen(
    task: Task,
    view: View,
    image: NDArray[np.uint8],
    frame: LabelledFrame,
    swap: NDArray[np.intp],
    augment: AugmentConfig,
    rng: np.random.Generator,
) -> Sample:
    seen = Seen(
        points=view.points(frame.points, swap),
        learn=frame.learn[:, swap] if view.mirrored else frame.learn,
        classes=frame.tracks,
        height=view.height_px,
        width=view.width_px,
    )
    return relit(view.pixels(image), augment, rng), task.targets(seen)


def _alone(frame: LabelledFrame, row: int) -> LabelledFrame:
    one = slice(row, row + 1)
    return LabelledFrame(frame.index, frame.points[one], frame.tracks[one], frame.learn[one])


def _anchors(frame: LabelledFrame, anchor: int | None) -> LabelledFrame:
    """Return the frame with one point for each animal."""
    learn = np.ones(len(frame.points), np.bool_) if anchor is None else frame.learn[:, anchor]
    return LabelledFrame(frame.index, centres(frame.points, anchor)[:, None], frame.tracks, learn[:, None])


def centres(points: NDArray[np.float32], anchor: int | None) -> NDArray[np.float32]:
    """Return where each animal is: its anchor, or the middle of its visible nodes' box (SLEAP's rule).

    Args:
        points: `(n_instances, n_nodes, 2)` float32, NaN = not labelled.
        anchor: Index of the anchor node; None = always the box.

    Returns:
        `(n_instances, 2)` float32; NaN where nothing is labelled.
    """
    middles = np.full((len(points), 2), np.nan, np.float32)
    for i, animal in enumerate(points):
        visible = animal[np.isfinite(animal).all(axis=1)]
        if anchor is not None and np.isfinite(animal[anchor]).all():
            middles[i] = animal[anchor]
        elif len(visible):
            middles[i] = (visible.min(axis=0) + visible.max(axis=0)) / 2
    return middles
