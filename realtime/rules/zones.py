"""Zones: named places of the image, and the numbers from which the kernel knows them."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Annotated, Final, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from realtime.plane import Plane

TOLERANCE_PX: Final = 0.05
"""The border of a zone that was drawn in px is a polygon of levelled px that is so close to it, or closer."""

_MOST_PIECES: Final = 1024  # of one side: more are needed only close to the horizon
_Curve: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]

_Coordinate: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
_Corner: TypeAlias = Annotated[tuple[_Coordinate, _Coordinate], Field(strict=False)]


class ZoneSpec(BaseModel):
    """One `[zones.NAME]` table: a circle, a rectangle or a polygon; its border belongs to it.

    Attributes:
        circle: Centre and radius: `[x, y, radius]`.
        rectangle: `[left, top, right, bottom]`.
        polygon: Its corners in order, three or more; where its sides cross, what is enclosed twice is outside.
        unit: What the numbers are: `px` of the image, or `mm` from the image's upper left pixel; in a levelled picture
            from where levelled px are (0, 0), which is near that pixel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    circle: Annotated[tuple[_Coordinate, _Coordinate, _Coordinate], Field(strict=False)] | None = None
    rectangle: Annotated[tuple[_Coordinate, _Coordinate, _Coordinate, _Coordinate], Field(strict=False)] | None = None
    polygon: Annotated[tuple[_Corner, ...], Field(strict=False, min_length=3)] | None = None
    unit: Literal["px", "mm"]

    @model_validator(mode="after")
    def _one_shape(self) -> Self:
        shapes = [shape for shape in ("circle", "rectangle", "polygon") if getattr(self, shape) is not None]
        if len(shapes) != 1:
            raise ValueError(f"expected one of circle, rectangle and polygon, got {' and '.join(shapes) or 'none'}")
        if self.circle is not None and self.circle[2] <= 0:
            raise ValueError(f"circle: expected a radius above 0, got {self.circle[2]:g}")
        if self.rectangle is not None:
            left, top, right, bottom = self.rectangle
            if right <= left or bottom <= top:
                raise ValueError(
                    "rectangle: expected [left, top, right, bottom] with left < right and top < bottom, got "
                    f"[{left:g}, {top:g}, {right:g}, {bottom:g}]"
                )
        return self


def encoded(zone: ZoneSpec, px_per_mm: float | None, plane: Plane | None = None) -> Sequence[float]:
    """Return a zone in px as the kernel reads it: 0, x, y, radius; or the number of corners and their x, y in turn.

    Args:
        zone: The zone.
        px_per_mm: The calibration, needed for a zone in mm.
        plane: Where rules see levelled px: then these are the numbers' px.

    Raises:
        ValueError: The zone is in px, and a part of its border shows no point of the plane.
    """
    if plane is not None and zone.unit == "px":
        outline = np.concatenate([_levelled(side, plane) for side in _sides(zone)])
        return [float(len(outline)), *outline.ravel().tolist()]
    scale = 1.0 if zone.unit == "px" else px_per_mm or math.nan
    if zone.circle is not None:
        return [0.0, *(value * scale for value in zone.circle)]
    corners = _corners(zone)
    return [float(len(corners)), *(value * scale for corner in corners for value in corner)]


def _corners(zone: ZoneSpec) -> tuple[_Corner, ...]:
    if zone.rectangle is not None:
        left, top, right, bottom = zone.rectangle
        return ((left, top), (right, top), (right, bottom), (left, bottom))
    return zone.polygon or ()


def _sides(zone: ZoneSpec) -> Iterator[_Curve]:
    """Yield the border as curves, one after the other: from `(n,)` shares of the way to `(n, 2)` px."""
    if zone.circle is not None:
        for quarter in range(4):
            yield partial(_arc, *zone.circle, quarter * math.pi / 2)
    corners = _corners(zone)
    for start, stop in zip(corners, (*corners[1:], *corners[:1]), strict=True):
        yield partial(_line, np.array(start), np.array(stop))


def _arc(x: float, y: float, radius: float, angle: float, share: NDArray[np.float64]) -> NDArray[np.float64]:
    angles = angle + share * (math.pi / 2)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def _line(start: NDArray[np.float64], stop: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(start + share[:, None] * (stop - start), np.float64)


def _levelled(side: _Curve, plane: Plane) -> NDArray[np.float64]:
    """Return a side without its end as the corners of a line in levelled px, `(n, 2)`."""
    pieces = 1
    while pieces <= _MOST_PIECES:
        drawn = side(np.linspace(0.0, 1.0, 4 * pieces + 1))
        points = plane.levelled(drawn)
        if (unseen := np.isnan(points[:, 0])).any():
            x, y = drawn[unseen][0]
            raise ValueError(
                f"expected a zone within what the camera sees of the plane, got one with a border at ({x:.0f}, "
                f"{y:.0f}) px, beyond the plane's horizon or where the lens' distortion folds back; make it smaller"
            )
        starts, chords = points[:-1:4, None], np.diff(points[::4], axis=0)[:, None]
        off = points[:-1].reshape(pieces, 4, 2) - starts
        across = np.abs(chords[..., 0] * off[..., 1] - chords[..., 1] * off[..., 0])
        if (across <= TOLERANCE_PX * np.hypot(chords[..., 0], chords[..., 1])).all():
            return points[:-1:4]
        pieces *= 2
    raise ValueError("expected a zone within what the camera sees well of the plane, got one that reaches its horizon")
