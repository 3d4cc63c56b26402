"""Views: the image that a network sees for one label, moved and lit at random; points move with the pixels."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.config import AugmentConfig

_BLURRED_SHARE = 0.3
_LEAST_BLUR_PX = 0.3  # below it OpenCV's kernel has one cell


@dataclass(frozen=True, slots=True)
class View:
    """A window on a source image.

    Attributes:
        matrix: `(2, 3)` float64, source px → view px.
        height_px: Height of the view.
        width_px: Its width.
        mirrored: Whether the view shows the source mirrored, so that left and right nodes change places.
    """

    matrix: NDArray[np.float64]
    height_px: int
    width_px: int
    mirrored: bool = False

    def pixels(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the view of a `(height, width)` image, float32 in 0–1: bilinear, no antialias, 0 outside.

        Without a random move this is what the exported graph computes: its resize samples at half-pixel centres and
        its crop at `centre − (size − 1) / 2 + j`.
        """
        size = (self.width_px, self.height_px)
        seen: NDArray[np.uint8] = cv2.warpAffine(image, self.matrix, size, flags=cv2.INTER_LINEAR)
        return seen.astype(np.float32) / np.float32(255)

    def points(self, points: NDArray[np.float32], swap: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return `(…, n_nodes, 2)` source points in view px; `swap` reorders the nodes of a mirrored animal."""
        moved = points @ self.matrix[:, :2].T.astype(np.float32) + self.matrix[:, 2].astype(np.float32)
        return moved[..., swap, :] if self.mirrored else moved


def whole_image(height: int, width: int, scale: float, multiple: int) -> View:
    """Return the view that a detector has: the image resized about half-pixel centres, padded to the multiple."""
    shift = 0.5 * scale - 0.5
    matrix = np.array([[scale, 0, shift], [0, scale, shift]], np.float64)
    height_px, width_px = (math.ceil(int(side * scale) / multiple) * multiple for side in (height, width))
    return View(matrix, height_px, width_px)


def window(centre: NDArray[np.float32], side_px: int, scale: float = 1.0) -> View:
    """Return the square view of the image resized by `scale` that has the image's point `centre` (x, y) in its middle.

    With `side_px` = size · scale it is what an instance network has of an animal in a crop of that size.
    """
    corner = centre.astype(np.float64) * scale - (side_px - 1) / 2
    return View(np.array([[scale, 0, -corner[0]], [0, scale, -corner[1]]], np.float64), side_px, side_px)


def moved(view: View, config: AugmentConfig, shift_px: float, rng: np.random.Generator) -> View:
    """Return `view` rotated, scaled, mirrored and shifted at random about its middle.

    Args:
        view: The view to move.
        config: How far.
        shift_px: Largest shift along x and along y, px of the view.
        rng: Source of chance.
    """
    angle = math.radians(rng.uniform(-config.rotation_deg, config.rotation_deg))
    scale = rng.uniform(1 - config.scale, 1 + config.scale)
    mirrored = bool(config.mirror and rng.random() < 0.5)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirrored else 1.0, 1.0])
    middle = np.array([(view.width_px - 1) / 2, (view.height_px - 1) / 2])
    shift = rng.uniform(-shift_px, shift_px, 2)
    linear = turn @ view.matrix[:, :2]
    offset = turn @ (view.matrix[:, 2] - middle) + middle + shift
    return View(np.column_stack([linear, offset]), view.height_px, view.width_px, mirrored)


def relit(pixels: NDArray[np.float32], config: AugmentConfig, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return float32 0–1 `(height, width)` pixels with other sharpness, contrast, brightness and gamma, and noise."""
    if config.blur_px > 0 and rng.random() < _BLURRED_SHARE:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(_LEAST_BLUR_PX, max(config.blur_px, _LEAST_BLUR_PX)))
    gain = rng.uniform(1 - config.contrast, 1 + config.contrast)
    offset = rng.uniform(-config.brightness, config.brightness)
    lit = pixels * np.float32(gain) + np.float32(offset)
    if config.noise > 0:
        lit += rng.standard_normal(pixels.shape, dtype=np.float32) * np.float32(rng.uniform(0, config.noise))
    np.clip(lit, 0, 1, out=lit)
    if config.gamma > 0:
        np.power(lit, np.float32(math.exp(rng.uniform(-config.gamma, config.gamma))), out=lit)
    return lit
