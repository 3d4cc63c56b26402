"""A reference of drawn flies for a model of flies: `python -m benchmarks.draw_flies MODEL`.

Blobs (`models.export.reference.synthetic_images`) say little about a network that was trained on flies: it sees some
points in them, most of them barely, and any rounding decides where. On drawn flies it sees all, without a frame of a
recording in the model's folder.
"""

import argparse
import itertools
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.export.reference import N_CANDIDATES, add_reference
from models.exported import model_folder

_SUBPIXEL_BITS = 4
# Gray levels and places in px of a fly of 100 px that looks to the right, its thorax in the origin.
_LEGS = (((8, 8), (18, 18), (26, 24)), ((0, 8), (2, 22), (-4, 38)), ((-8, 8), (-16, 20), (-26, 34)))
_BODY = (((-26, 0), (24, 15), 165), ((0, 0), (15, 14), 200), ((19, 0), (8, 11), 225))


def main() -> None:
    """Make a model's reference anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model's folder, or zoo:NAME; of 1024×1024 px, gray")
    folder = model_folder(parser.parse_args().model)
    spec = add_reference(folder, np.stack([draw_pair(seed) for seed in range(N_CANDIDATES)]))
    print(f"{folder}: {spec.reference}")


def draw_pair(seed: int) -> NDArray[np.uint8]:
    """Return a picture of two flies, `(1024, 1024)` uint8, bright on dark; the same for the same seed."""
    rng = np.random.default_rng(seed)
    ground = rng.random((6, 6)).astype(np.float32) * 14
    image = np.asarray(cv2.resize(ground, (1024, 1024), interpolation=cv2.INTER_CUBIC))
    for left in (200, 560):
        at = (rng.uniform(left, left + 280), rng.uniform(250, 770))
        _draw_fly(image, at, rng.uniform(0, 2 * np.pi), size=rng.uniform(0.9, 1.15), spread=rng.uniform(8, 24))
    return np.asarray(np.clip(np.rint(cv2.GaussianBlur(image, (0, 0), 1.0)), 0, 255), np.uint8)


def _draw_fly(image: NDArray[np.float32], at: tuple[float, float], angle: float, *, size: float, spread: float) -> None:
    """Draw a fly at `at`, px, that looks along `angle`, radians, with wings `spread` degrees from its axis."""
    turn = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])

    def fixed(values: object) -> tuple[int, ...]:
        return tuple(np.rint(np.asarray(values) * 2**_SUBPIXEL_BITS).astype(int).tolist())

    def place(ahead: float, aside: float) -> tuple[int, ...]:
        return fixed(turn @ (ahead, aside) + at)

    def ellipse(middle: tuple[float, float], radii: tuple[float, float], gray: float, tilt: float = 0.0) -> None:
        half = fixed(np.multiply(radii, size))
        tilted = float(np.degrees(angle)) + tilt
        cv2.ellipse(image, place(*middle), half, tilted, 0, 360, gray, -1, cv2.LINE_AA, _SUBPIXEL_BITS)

    for side in (1, -1):
        for leg in _LEGS:
            joints = [place(ahead, side * aside) for ahead, aside in leg]
            for joint, following in itertools.pairwise(joints):
                cv2.line(image, joint, following, 95.0, 2, cv2.LINE_AA, _SUBPIXEL_BITS)
        ellipse((-34, side * (8 + spread / 2)), (32, 11), 75, -side * spread)
    for middle, radii, gray in _BODY[:1]:
        ellipse(middle, radii, gray)
    for k in range(5):
        ellipse((-12 - 8 * k, 0), (1.5, 13 - 1.2 * k), 125)
    for middle, radii, gray in _BODY[1:]:
        ellipse(middle, radii, gray)
    for side in (1, -1):
        ellipse((20, side * 9), (5, 5), 245)


if __name__ == "__main__":
    main()
