"""Pictures of a training: the losses over the epochs, and what the model finds beside what the labels say."""

import math
from collections.abc import Iterator, Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.fit import Epoch

_WIDTH, _PANEL_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 300, 78, 20, 34, 44
_LOSS, _VALIDATION, _INK, _GRID = "#0072b2", "#d55e00", "#1b1f24", "#e3e7ec"

_TILE_PX = 420
_LABEL_BGR, _FOUND_BGR, _ERROR_BGR = (90, 220, 90), (60, 140, 255), (0, 230, 230)


def loss_svg(epochs: Sequence[Epoch]) -> str:
    """Return a drawing with one panel a network: loss and validation loss over the epochs, logarithmic."""
    roles = list(dict.fromkeys(epoch.network for epoch in epochs))
    height = _PANEL_HEIGHT * len(roles)
    parts = [
        part
        for k, role in enumerate(roles)
        for part in _panel([epoch for epoch in epochs if epoch.network == role], k * _PANEL_HEIGHT)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="sans-serif" font-size="12" role="img" aria-label="Losses of the training">'
        f'<rect width="{_WIDTH}" height="{height}" fill="white"/>' + "".join(parts) + "</svg>\n"
    )


def _panel(epochs: Sequence[Epoch], top: int) -> Iterator[str]:
    losses = [max(value, 1e-12) for epoch in epochs for value in (epoch.loss, epoch.validation_loss)]
    low, high = math.log10(min(losses)) - 0.03, math.log10(max(losses)) + 0.03
    first, last = top + _TOP, top + _PANEL_HEIGHT - _BOTTOM

    def x(number: float) -> float:
        return _LEFT + (number - 1) / max(epochs[-1].number - 1, 1) * (_WIDTH - _LEFT - _RIGHT)

    def y(loss: float) -> float:
        return last - (math.log10(max(loss, 1e-12)) - low) / (high - low) * (last - first)

    yield _text(_LEFT, top + 20, epochs[0].network, bold=True)
    yield _text(_WIDTH - _RIGHT - 190, top + 20, "loss", color=_LOSS)
    yield _text(_WIDTH - _RIGHT - 150, top + 20, "validation loss", color=_VALIDATION)
    yield _text(_WIDTH - _RIGHT - 48, top + 20, "○ best", color=_VALIDATION)
    for loss in _ticks(10**low, 10**high):
        yield f'<path d="M{_LEFT} {y(loss):.1f}H{_WIDTH - _RIGHT}" stroke="{_GRID}"/>'
        yield _text(_LEFT - 8, y(loss) + 4, f"{loss:.3g}", anchor="end")
    step = max(1, math.ceil(epochs[-1].number / 10))
    for number in range(step, epochs[-1].number + 1, step):
        yield _text(x(number), last + 18, str(number), anchor="middle")
    yield _text((_LEFT + _WIDTH - _RIGHT) / 2, last + 36, "epoch", anchor="middle")
    for name, color in (("loss", _LOSS), ("validation_loss", _VALIDATION)):
        points = " ".join(f"{x(epoch.number):.1f},{y(getattr(epoch, name)):.1f}" for epoch in epochs)
        yield f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.6"/>'
    best = [epoch for epoch in epochs if epoch.best][-1]
    at = f'cx="{x(best.number):.1f}" cy="{y(best.validation_loss):.1f}"'
    yield f'<circle {at} r="5" fill="none" stroke="{_VALIDATION}" stroke-width="1.6"/>'


def _ticks(low: float, high: float) -> list[float]:
    for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9), tuple(k / 10 for k in range(10, 100))):
        ticks = [
            factor * 10.0**power
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for factor in factors
            if low <= factor * 10.0**power <= high
        ]
        if len(ticks) >= 3:
            return ticks
    return ticks


def _text(x: float, y: float, content: str, *, anchor: str = "start", color: str = _INK, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{color}"{weight}>{escape(content)}</text>'


def overlay(
    image: NDArray[np.uint8], labelled: NDArray[np.float32], found: NDArray[np.float32], reach_px: float
) -> NDArray[np.uint8]:
    """Return crops of an image side by side, one around each labelled animal, with labels and what was found.

    Labels are green circles, what was found orange crosses; a yellow line joins a label and the same node of the
    instance that is nearest. A crop's upper edge says which it is and the median distance.

    Args:
        image: `(height, width)` uint8.
        labelled: `(n_instances, n_nodes, 2)` px; NaN = not labelled.
        found: `(n_found, n_nodes, 2)` px; NaN = not seen.
        reach_px: From the middle of an animal to the edge of its crop.

    Returns:
        `(height, width, 3)` uint8, BGR.
    """
    tiles = [
        _tile(image, labelled, found, animal, reach_px) for animal in labelled if np.isfinite(animal).all(axis=1).any()
    ]
    if not tiles:
        tiles = [np.zeros((_TILE_PX, _TILE_PX, 3), np.uint8)]
    return np.ascontiguousarray(np.concatenate(tiles, axis=1))


def _tile(
    image: NDArray[np.uint8],
    labelled: NDArray[np.float32],
    found: NDArray[np.float32],
    animal: NDArray[np.float32],
    reach_px: float,
) -> NDArray[np.uint8]:
    middle = (np.nanmin(animal, axis=0) + np.nanmax(animal, axis=0)) / 2
    zoom = _TILE_PX / (2 * reach_px)
    offset = (_TILE_PX - 1) / 2 - zoom * middle
    matrix = np.array([[zoom, 0, offset[0]], [0, zoom, offset[1]]])
    tile = cv2.cvtColor(cv2.warpAffine(image, matrix, (_TILE_PX, _TILE_PX)), cv2.COLOR_GRAY2BGR)
    near = _nearest(animal, found)
    if near is not None:
        for start, stop in zip(animal, near, strict=True):
            if np.isfinite((*start, *stop)).all():
                cv2.line(tile, _at(start, zoom, offset), _at(stop, zoom, offset), _ERROR_BGR, 1, cv2.LINE_AA)
    for points in labelled:
        for point in points[np.isfinite(points).all(axis=1)]:
            cv2.circle(tile, _at(point, zoom, offset), 5, _LABEL_BGR, 1, cv2.LINE_AA)
    for points in found:
        for point in points[np.isfinite(points).all(axis=1)]:
            cv2.drawMarker(tile, _at(point, zoom, offset), _FOUND_BGR, cv2.MARKER_TILTED_CROSS, 9, 1, cv2.LINE_AA)
    distance = np.nan if near is None else np.linalg.norm(near - animal, axis=1)
    said = f"median {np.nanmedian(distance):.2f} px" if np.isfinite(distance).any() else "not found"
    cv2.putText(tile, said, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.rectangle(tile, (0, 0), (_TILE_PX - 1, _TILE_PX - 1), (80, 80, 80), 1)
    return np.asarray(tile, np.uint8)


def _nearest(animal: NDArray[np.float32], found: NDArray[np.float32]) -> NDArray[np.float32] | None:
    distances = np.linalg.norm(found - animal, axis=2)
    both = np.isfinite(distances)
    if not both.any():
        return None
    sums, counts = np.where(both, distances, 0).sum(axis=1), both.sum(axis=1)
    nearest: NDArray[np.float32] = found[int(np.where(counts, sums / np.maximum(counts, 1), np.inf).argmin())]
    return nearest


def _at(point: NDArray[np.float32], zoom: float, offset: NDArray[np.float32]) -> tuple[int, int]:
    x, y = np.rint(point * zoom + offset).astype(int).tolist()
    return x, y
