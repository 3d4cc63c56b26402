"""Samples: a labelled frame as the pixels that a network sees and the maps that it should draw."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from models.training.augment import View, crop, moved, relit, whole_image
from models.training.config import AugmentConfig, DetectorConfig, InstanceConfig
from models.training.data import LabelledFrame
from models.training.targets import confidence_maps

Batch = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Pixels `(n, height, width, 1)` in 0–1 and maps `(n, rows, columns, channels)`."""


class Samples(ABC):
    """Draws batches for one network from labelled frames and their images."""

    def __init__(self, images: Mapping[int, NDArray[np.uint8]], augment: AugmentConfig) -> None:
        self._images = images
        self._augment = augment

    @abstractmethod
    def __len__(self) -> int:
        """How many different samples there are before augmentation."""

    @abstractmethod
    def _draw(self, index: int, rng: np.random.Generator) -> Batch:
        """Return pixels `(height, width)` and maps `(rows, columns, channels)` of one sample, moved but not relit."""

    def batch(self, indices: Sequence[int] | NDArray[np.intp], rng: np.random.Generator) -> Batch:
        """Return the samples `indices`, each moved and lit at random."""
        pixels, maps = zip(*(self._draw(int(index), rng) for index in indices), strict=True)
        return relit(np.stack(pixels), self._augment, rng)[..., None], np.stack(maps)


class DetectorSamples(Samples):
    """Whole images and one map of the animals' anchors."""

    def __init__(
        self,
        frames: Sequence[LabelledFrame],
        images: Mapping[int, NDArray[np.uint8]],
        anchor: int,
        config: DetectorConfig,
        augment: AugmentConfig,
    ) -> None:
        super().__init__(images, augment)
        self._frames = frames
        self._anchor = anchor
        self._config = config

    def __len__(self) -> int:
        return len(self._frames)

    def _draw(self, index: int, rng: np.random.Generator) -> Batch:
        config, frame = self._config, self._frames[index]
        image = self._images[frame.index]
        height, width = image.shape
        whole = whole_image(height, width, config.input_scale, config.max_stride)
        view = moved(whole, self._augment, config.shift_px, rng)
        # The anchor stands alone, so a mirror has nothing to swap.
        points = view.points(centres(frame.points, self._anchor)[:, None], np.arange(1))
        return view.pixels(image), _maps(points, view, config)


class InstanceSamples(Samples):
    """Crops around each animal and a map of each of its nodes."""

    def __init__(
        self,
        frames: Sequence[LabelledFrame],
        images: Mapping[int, NDArray[np.uint8]],
        anchor: int,
        swap: NDArray[np.intp],
        config: InstanceConfig,
        augment: AugmentConfig,
    ) -> None:
        super().__init__(images, augment)
        self._animals = [
            (frame.index, points, centre)
            for frame in frames
            for points, centre in zip(frame.points, centres(frame.points, anchor), strict=True)
            if np.isfinite(centre).all()
        ]
        self._swap = swap
        self._config = config

    def __len__(self) -> int:
        return len(self._animals)

    def _draw(self, index: int, rng: np.random.Generator) -> Batch:
        config = self._config
        frame_index, points, centre = self._animals[index]
        view = moved(crop(centre, config.crop_size_px), self._augment, config.shift_px, rng)
        return view.pixels(self._images[frame_index]), _maps(view.points(points[None], self._swap), view, config)


def _maps(points: NDArray[np.float32], view: View, config: DetectorConfig | InstanceConfig) -> NDArray[np.float32]:
    return confidence_maps(points, view.height_px, view.width_px, config.output_stride, config.sigma_cells)


def centres(points: NDArray[np.float32], anchor: int) -> NDArray[np.float32]:
    """Return where each animal is: its anchor, or the middle of its visible nodes' box (SLEAP's rule).

    Args:
        points: `(n_instances, n_nodes, 2)` float32, NaN = not labelled.
        anchor: Index of the anchor node.

    Returns:
        `(n_instances, 2)` float32; NaN where nothing is labelled.
    """
    middles = np.full((len(points), 2), np.nan, np.float32)
    for i, animal in enumerate(points):
        visible = animal[np.isfinite(animal).all(axis=1)]
        if np.isfinite(animal[anchor]).all():
            middles[i] = animal[anchor]
        elif len(visible):
            middles[i] = (visible.min(axis=0) + visible.max(axis=0)) / 2
    return middles
